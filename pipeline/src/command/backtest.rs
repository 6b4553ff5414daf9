//! `pipeline backtest`: an experiment at several dates, each trained on what was known then and tested on
//! what came after.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use clap::Args;
use contract::cli::ManifestArgs;
use contract::exit::{EXIT_DONE, UsageError};
use contract::manifest::BACKTEST_DIR;
use contract::manifest::time::Moment;
use contract::manifest::timeline::Timeline;
use contract::{Manifest, Stage, warn_line};

use crate::{foreground, program};

/// Arguments of `pipeline backtest`.
#[derive(Args)]
pub struct BacktestArgs {
    /// Experiment to test; the baseline is tested with it
    experiment: String,
    /// Dates of the test, such as 2024-10-01; the dates of training and valid users lie as far before
    /// each as the manifest's lie before its own
    #[arg(long, value_name = "DATE", num_args = 1.., required = true)]
    as_of: Vec<String>,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// How many stages may run at once [default: one per core, at most 4]
    #[arg(short, long, value_name = "NUM", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Run stages even if they are fresh
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the experiment and the baseline at each date, then puts the reports together; the result is the
/// exit code.
///
/// # Errors
///
/// A mistake in the manifest or the dates, or a program that cannot be run.
pub fn backtest(args: &BacktestArgs) -> Result<u8> {
    let ManifestArgs { manifest: path, set } = &args.manifest;
    let manifest = Manifest::load(path, set, &[])?;
    manifest.experiment(&args.experiment)?;
    let dates = dates(args, &manifest)?;
    foreground::pass_on_interrupts()?;
    for date in &dates {
        warn_line!("backtest: as of {}", date.test);
        let code = foreground::run(run_command(args, &manifest, date)?)?;
        if code != EXIT_DONE {
            let trained: Vec<String> = date.train.iter().map(ToString::to_string).collect();
            warn_line!(
                "backtest: stopped as of {}, which is trained as of {}; once that is fixed, the same \
                 `pipeline backtest` goes on",
                date.test,
                trained.join(", ")
            );
            return Ok(code);
        }
    }
    let mut command = Command::new(program::path(Stage::Report)?);
    command.arg("backtest").arg(&args.experiment);
    program::add_manifest(&mut command, &args.manifest);
    for date in &dates {
        command.arg("--as-of").arg(date.test.to_string());
    }
    command.args(args.json.then_some("--json"));
    foreground::run(command)
}

/// The dates of one test.
struct Dates {
    train: Vec<Moment>,
    valid: Option<Moment>,
    test: Moment,
}

/// The dates of every test, in order.
fn dates(args: &BacktestArgs, manifest: &Manifest) -> Result<Vec<Dates>, UsageError> {
    let timeline = manifest.timeline();
    let Some((timeline, own)) = timeline.as_ref().and_then(|t| Some((t, t.test.as_ref()?))) else {
        return Err(UsageError(
            "a backtest needs a test by time in the manifest\n\
             hint: `holdout: {by: time, valid: {as_of: 2024-08-01}, test: {as_of: 2024-09-01}}`"
                .to_owned(),
        ));
    };
    let parse = |text: &String| {
        Moment::parse(text)
            .ok_or_else(|| UsageError(format!("--as-of {text}: expected a day such as 2024-10-01")))
    };
    let mut tests: Vec<Moment> = args.as_of.iter().map(parse).collect::<Result<_, _>>()?;
    tests.sort_by_key(Moment::seconds);
    check_apart(&tests, timeline)?;
    let shifted = |moment: &Moment, test: &Moment| {
        Moment::of_seconds(moment.seconds() + test.seconds() - own.seconds())
    };
    let at = |test: Moment| Dates {
        train: timeline.train.iter().map(|date| shifted(date, &test)).collect(),
        valid: timeline.valid.as_ref().map(|date| shifted(date, &test)),
        test,
    };
    Ok(tests.into_iter().map(at).collect())
}

/// Labels of two tests must not overlap: the same purchases would count twice.
fn check_apart(tests: &[Moment], timeline: &Timeline) -> Result<(), UsageError> {
    for pair in tests.windows(2) {
        let end = timeline.labels_end(&pair[0]).unwrap_or(i64::MAX);
        if end > pair[1].seconds() {
            return Err(UsageError(format!(
                "--as-of: the labels of {} end at {}, after {}, so the same interactions would count \
                 twice; choose dates that are at least `labels.horizon` apart",
                pair[0],
                Moment::of_seconds(end),
                pair[1]
            )));
        }
    }
    Ok(())
}

/// The command that runs the experiment and the baseline as of a date, in a folder of its own.
fn run_command(args: &BacktestArgs, manifest: &Manifest, dates: &Dates) -> Result<Command> {
    let here = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(here);
    command.arg("run").arg(&args.experiment);
    if args.experiment != manifest.baseline {
        command.arg(&manifest.baseline);
    }
    program::add_manifest(&mut command, &args.manifest);
    let train: Vec<String> = dates.train.iter().map(Moment::to_string).collect();
    let dir = absolute(&manifest.run_dir)?.join(BACKTEST_DIR).join(dates.test.to_string());
    let mut sets = vec![
        format!("labels.as_of=[{}]", train.join(", ")),
        format!("holdout.test.as_of={}", dates.test),
        // In quotes, as a path may hold anything.
        format!("run_dir={}", serde_json::json!(dir.to_string_lossy())),
    ];
    sets.extend(dates.valid.iter().map(|valid| format!("holdout.valid.as_of={valid}")));
    for set in sets {
        command.arg("--set").arg(set);
    }
    if let Some(jobs) = args.jobs {
        command.arg("--jobs").arg(jobs.to_string());
    }
    command.args(args.force.then_some("--force"));
    command.stdout(Stdio::null());
    Ok(command)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_two_tests_do_not_overlap() {
        let day = |text| Moment::parse(text).unwrap();
        let timeline = Timeline {
            train: vec![day("2024-07-01")],
            valid: None,
            test: Some(day("2024-08-01")),
            horizon: Some(30 * 86_400),
            gap: 0,
        };
        assert!(check_apart(&[day("2024-08-01"), day("2024-08-31")], &timeline).is_ok());
        let message = check_apart(&[day("2024-08-01"), day("2024-08-30")], &timeline).unwrap_err();
        assert!(message.to_string().contains("end at 2024-08-31, after 2024-08-30"), "{message}");
    }
}

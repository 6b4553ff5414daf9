//! Compares all experiments in one report.
//!
//! Reads `brands` and, of every experiment, `scores`, `histogram`, `thresholds` and `history`,
//! where they are there; writes `report.json`, `report.md`, `report.html` and `per_brand.arrow`.

mod calibration; // probabilities and audiences against labels
mod compare; // figures and draws in, changes and verdicts out
mod evaluate; // decisions in, figures out
mod format; // numbers to text
mod html; // a page to HTML
mod load; // Arrow columns to plain values
mod markdown; // a page to Markdown
mod page; // the report as headings, sentences and tables
mod per_brand; // figures to Arrow columns
mod report; // everything put together: `report.json`
mod terminal; // the report as one table

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use contract::cli::{self, DataError, ManifestArgs};
use contract::ipc::Writer;
use contract::manifest::Experiment;
use contract::record::Record;
use contract::run::StageRun;
use contract::tables::{BRANDS, HISTOGRAM, HISTORY, PER_BRAND, SCORES, THRESHOLDS};
use contract::{Manifest, Stage};
use metrics::Curve;
use serde_json::{Value, json};

use load::{Brands, Scores};
use report::{Effort, Scored, Secs, TestUsers, Trial};

/// Compare all experiments in one report
///
/// Reads the decisions of every experiment that the manifest names and writes
/// `report.html`, `report.md`, `report.json` and `per_brand.arrow` into `report`
/// of its run folder. An experiment without decisions is listed as missing. Running it
/// twice gives the same bytes, the experiments' timings aside.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::main("report-stage", || run(&args))
}

fn run(args: &Args) -> anyhow::Result<String> {
    let manifest = args.manifest.load()?;
    let mut run = StageRun::start(&manifest, Stage::Report, None)?;
    let brands = load::brands(&run.read("brands", &BRANDS)?)?;

    let mut rows = run.writer("per_brand.arrow", &PER_BRAND, per_brand::fields(&brands))?;
    let mut first: Option<Tested> = None;
    let mut trials = Vec::new();
    for experiment in manifest.experiments() {
        trials.push(trial(&run, &manifest, experiment, &brands, &mut first, &mut rows)?);
    }
    let command = make_command(&args.manifest);
    let Some(Tested { users, .. }) = first else {
        let message = format!(
            "no experiment has scores, so there is nothing to report\nhint: run `{command}`"
        );
        return Err(DataError(message).into());
    };

    let report = report::assemble(&manifest, &brands, &users, &trials);
    let page = page::lay_out(&report, vec![command]);
    let json = serde_json::to_string_pretty(&report).context("cannot write report.json")?;
    let html = html::render(&page).context("cannot write report.html")?;
    run.add(rows.finish()?);
    run.add_text("report.json", &(json + "\n"))?;
    run.add_text("report.md", &markdown::render(&page))?;
    run.add_text("report.html", &html)?;
    let text = terminal::render(&report, &run.plan.dir);
    run.done(json!({"best": report.answer.best, "n_compared": report.method.n_compared, "missing": report.answer.missing}))?;
    Ok(text)
}

/// The first experiment with scores; the users of all others must be the same.
struct Tested {
    name: String,
    scores: Scores,
    users: TestUsers,
}

fn trial<'a>(
    run: &StageRun,
    manifest: &Manifest,
    experiment: &'a Experiment,
    brands: &Brands,
    first: &mut Option<Tested>,
    rows: &mut Writer,
) -> anyhow::Result<Trial<'a>> {
    let name = &experiment.name;
    let n_brands = brands.list.len();
    // The input's table, `None` if the experiment does not have it.
    let read = |file: &str, contract| {
        let input = format!("{name}/{file}");
        run.input(&input).exists().then(|| run.read(&input, contract)).transpose()
    };
    let history = read("history", &HISTORY)?.map_or_else(Vec::new, |table| load::history(&table));
    let effort = effort(manifest, experiment);
    let Some(table) = read("scores", &SCORES)? else {
        return Ok(Trial { settings: experiment, scored: None, history, effort });
    };

    let scores = load::scores(&table, n_brands)?;
    let histogram = read("histogram", &HISTOGRAM)?;
    let histogram = histogram.map(|table| load::test_histogram(&table, n_brands)).transpose()?;
    let thresholds = read("thresholds", &THRESHOLDS)?;
    let thresholds = thresholds.map(|table| load::thresholds(&table, n_brands)).transpose()?;
    if let Some(first) = first {
        same_users(first, name, &scores)?;
    }

    let params = &manifest.report;
    let f1_buckets: Vec<f64> = params.f1_buckets.iter().map(|bucket| bucket.0).collect();
    let ks = report::ks(experiment.score.top_k);
    let evaluation =
        evaluate::evaluate(&brands.list, &scores, histogram.as_ref(), &f1_buckets, &ks);
    let test = histogram.as_ref();
    rows.write(per_brand::columns(name, brands, &evaluation, thresholds.as_deref(), test))?;
    let calibration = thresholds.zip(test).map(|(thresholds, test)| {
        let curves: Vec<Curve> = thresholds.into_iter().map(|brand| brand.curve).collect();
        calibration::measure(test, &curves, &evaluation.counts)
    });
    let draws =
        metrics::bootstrap(&scores.decisions(), n_brands, params.bootstrap_draws, params.seed);
    if first.is_none() {
        let users = TestUsers::of(&scores, n_brands, &f1_buckets);
        *first = Some(Tested { name: name.clone(), scores, users });
    }
    Ok(Trial {
        settings: experiment,
        scored: Some(Scored { evaluation, calibration, draws }),
        history,
        effort,
    })
}

fn same_users(first: &Tested, name: &str, scores: &Scores) -> Result<(), DataError> {
    let is_same =
        *first.scores.user_ids == *scores.user_ids && first.scores.labels == scores.labels;
    if is_same {
        return Ok(());
    }
    Err(DataError(format!(
        "experiment `{name}` was scored on other test users than `{}`: found {} users, expected the same {} with the same labels\n\
         hint: rerun `make pipeline`",
        first.name,
        scores.n_users(),
        first.scores.n_users(),
    )))
}

/// What the records of an experiment's stages say; a stage without a record says nothing.
fn effort(manifest: &Manifest, experiment: &Experiment) -> Effort {
    let record = |stage| Record::of(&manifest.plan(stage, Some(experiment)));
    let sample = if experiment.needs_sample() { record(Stage::Sample) } else { None };
    let (train, score) = (record(Stage::Train), record(Stage::Score));
    let number = |record: &Option<Record>, key: &str| {
        record.as_ref()?.summary.get(key).and_then(Value::as_u64)
    };
    let statistics = sample.as_ref().map(|record| record.summary.clone());
    Effort {
        sample: statistics.and_then(|summary| serde_json::from_value(summary).ok()),
        train_rows: number(&train, "rows").or_else(|| number(&sample, "rows")),
        updates: number(&train, "updates"),
        updates_kept: number(&train, "updates_kept").or_else(|| number(&train, "updates")),
        chosen: score.as_ref().map_or(Value::Null, chosen),
        is_truth: train.as_ref().is_some_and(|record| record.summary["truth"] == true),
        secs: Secs {
            sample: sample.map(|record| record.secs),
            train: train.map(|record| record.secs),
            score: score.map(|record| record.secs),
        },
    }
}

/// What scoring chose on the valid users, of what a policy may leave open.
fn chosen(score: &Record) -> Value {
    let keys = ["brand_share", "memory_weights"];
    let found = keys.map(|key| (key.to_owned(), score.summary[key].clone()));
    found
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The command that makes everything that is reported.
fn make_command(args: &ManifestArgs) -> String {
    let mut words = vec!["make pipeline".to_owned()];
    if args.manifest != Path::new("pipeline.yaml") {
        words.push(format!("MANIFEST={}", quoted(&args.manifest.display().to_string())));
    }
    if !args.set.is_empty() {
        words.push(format!("SET={}", quoted(&args.set.join(" "))));
    }
    words.join(" ")
}

/// For a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/=".contains(c);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let args = |manifest: &str, set: &[&str]| ManifestArgs {
            manifest: manifest.into(),
            set: set.iter().map(|&set| set.to_owned()).collect(),
        };
        assert_eq!(make_command(&args("pipeline.yaml", &[])), "make pipeline");
        assert_eq!(
            make_command(&args("my data/p.yaml", &["report.seed=3", "train.epochs=2"])),
            "make pipeline MANIFEST='my data/p.yaml' SET='report.seed=3 train.epochs=2'"
        );
    }
}

//! Compares all experiments in one report.
//!
//! Reads `brands` and, of every experiment, `scores`, `histogram`, `thresholds`, `trade_off` and
//! `history`, where they are there; writes `report.json`, `report.md`, `report.html`,
//! `per_brand.arrow` and `per_brand.csv`. With `compare`, prints what differs between two.

mod answer; // which experiments are better
mod bands; // brands by volume and by F1
mod calibration; // probabilities and audiences against labels
mod chart; // numbers to positions on a canvas
mod compare; // figures and draws in, changes and verdicts out
mod definitions; // what the words mean
mod evaluate; // decisions in, figures out
mod format; // numbers to text
mod html; // a page to HTML
mod load; // Arrow columns to plain values
mod markdown; // a page to Markdown
mod page; // the report as headings, sentences, tables and charts
mod per_brand; // figures to Arrow columns and CSV
mod precision_recall; // tiers: precision against recall, thresholds
mod records; // what the stages' records say
mod report; // everything put together: `report.json`
mod settings; // experiments as the manifest sets them
mod terminal; // the report, or a comparison, as a table

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Parser, Subcommand};
use contract::cli::{self, ManifestArgs};
use contract::exit::DataError;
use contract::manifest::Experiment;
use contract::output::visible;
use contract::run::StageRun;
use contract::tables::{BRANDS, HISTOGRAM, HISTORY, PER_BRAND, SCORES, THRESHOLDS, TRADE_OFF};
use contract::{Manifest, Stage};
use metrics::{Curve, Draws};
use serde_json::json;

use bands::VolumeBand;
use compare::Side;
use evaluate::Evaluation;
use load::{Brands, Scores};
use records::{Effort, Provenance};
use report::{Scored, TestUsers, Trial};

/// Compare all experiments in one report
///
/// Reads the decisions of every experiment that the manifest names and writes `report.html`,
/// `report.md`, `report.json`, `per_brand.arrow` and `per_brand.csv` into `report` of its run
/// folder. An experiment without decisions is listed as missing. Running it twice gives the same
/// bytes, the stages' times and memory aside.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    manifest: ManifestArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Print what differs between two experiments
    ///
    /// Reads the decisions of both and prints their settings and figures as far as they differ,
    /// with paired bootstrap intervals; writes nothing.
    Compare(CompareArgs),
    /// Print the JSON Schema (draft 7) of report.json and of `compare --json`
    Schema,
}

#[derive(ClapArgs)]
struct CompareArgs {
    /// Experiment to compare with
    a: String,
    /// Experiment whose changes are shown
    b: String,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args: Args = cli::parse();
    cli::main("report-stage", || match &args.command {
        Some(Command::Compare(args)) => compare_two(args),
        Some(Command::Schema) => Ok(format!("{:#}", contract::schema::<report::Report>())),
        None => write_report(&args.manifest),
    })
}

fn write_report(args: &ManifestArgs) -> anyhow::Result<String> {
    let manifest = args.load()?;
    let mut run = StageRun::start(&manifest, Stage::Report, None)?;
    let brands = load::brands(&run.read("brands", &BRANDS)?)?;
    let experiments: Vec<&Experiment> = manifest.experiments().collect();
    let Found { trials, users } = Found::read(&run, &manifest, &brands, &experiments)?;
    let command = make_command(args);
    let Some(users) = users else { return Err(nothing_scored(&command).into()) };

    let provenance = Provenance::of(&manifest, commands(&command, args));
    let report = report::assemble(&manifest, &brands, &users, &trials, provenance);
    let page = page::lay_out(&report, &brands, &trials);
    let json = serde_json::to_string_pretty(&report).context("cannot write report.json")?;
    let html = html::render(&page).context("cannot write report.html")?;
    let fields = per_brand::fields(&brands);
    let mut rows = run.writer("per_brand.arrow", &PER_BRAND, fields.clone())?;
    let mut csv = per_brand::Csv::new(fields);
    for trial in &trials {
        if let Some(columns) = per_brand::columns(trial, &brands) {
            csv.write(columns.clone())?;
            rows.write(columns)?;
        }
    }
    run.add(rows.finish()?);
    run.add_text("per_brand.csv", &csv.finish())?;
    run.add_text("report.json", &visible(&(json + "\n")))?;
    run.add_text("report.md", &markdown::render(&page))?;
    run.add_text("report.html", &html)?;
    let text = terminal::render(&report, &run.plan.dir);
    run.done(json!({"best": report.answer.best, "n_compared": report.method.n_compared, "missing": report.answer.missing}))?;
    Ok(text)
}

fn compare_two(args: &CompareArgs) -> anyhow::Result<String> {
    let CompareArgs { a, b, manifest: manifest_args, json } = args;
    let mut set = manifest_args.set.clone();
    set.push(format!("baseline={a}"));
    let manifest = ManifestArgs { set, ..manifest_args.clone() }.load()?;
    let run = StageRun::start(&manifest, Stage::Report, None)?;
    let brands = load::brands(&run.read("brands", &BRANDS)?)?;
    let experiments = [manifest.experiment(a)?, manifest.experiment(b)?];
    let Found { trials, users } = Found::read(&run, &manifest, &brands, &experiments)?;
    let make = make_command(manifest_args);
    let Some(users) = users else { return Err(nothing_scored(&make).into()) };
    if let Some(trial) = trials.iter().find(|trial| trial.scored.is_none()) {
        let Trial { settings, effort, .. } = trial;
        let message = format!(
            "experiment `{}`: {}\nhint: run `{make} EXPERIMENT={}`",
            settings.name,
            effort.no_scores(),
            settings.name
        );
        return Err(DataError(message).into());
    }
    let provenance = Provenance::of(&manifest, Vec::new());
    let report = report::assemble(&manifest, &brands, &users, &trials, provenance);
    Ok(if *json { serde_json::to_string_pretty(&report)? } else { terminal::compare(&report) })
}

fn nothing_scored(command: &str) -> DataError {
    DataError(format!(
        "no experiment has scores, so there is nothing to report\nhint: run `{command}`"
    ))
}

/// What was found of the experiments.
struct Found<'a> {
    /// In the order asked for
    trials: Vec<Trial<'a>>,
    /// `None` if none is scored
    users: Option<TestUsers>,
}

/// The experiment that was read first; the users of all others must be the same.
struct First {
    name: String,
    scores: Scores,
    users: TestUsers,
}

/// What all others are compared with.
struct Baseline {
    evaluation: Evaluation,
    draws: Draws,
}

impl<'a> Found<'a> {
    /// Reads experiments, the baseline before the others. Of all others the scores and draws are
    /// let go at once: memory holds those of two experiments, however many there are.
    fn read(
        run: &StageRun,
        manifest: &Manifest,
        brands: &Brands,
        experiments: &[&'a Experiment],
    ) -> anyhow::Result<Self> {
        let bands = bands::volume_bands(&brands.list);
        let mut reader = Reader { run, manifest, brands, bands, first: None, baseline: None };
        let is_baseline = |&place: &usize| experiments[place].name == manifest.baseline;
        let (mut order, others): (Vec<usize>, Vec<usize>) =
            (0..experiments.len()).partition(is_baseline);
        order.extend(others);
        let mut trials: Vec<(usize, Trial)> = Vec::new();
        for place in order {
            trials.push((place, reader.trial(experiments[place])?));
        }
        trials.sort_by_key(|&(place, _)| place);
        let trials = trials.into_iter().map(|(_, trial)| trial).collect();
        Ok(Self { trials, users: reader.first.map(|first| first.users) })
    }
}

struct Reader<'a> {
    run: &'a StageRun,
    manifest: &'a Manifest,
    brands: &'a Brands,
    bands: Vec<VolumeBand>,
    first: Option<First>,
    baseline: Option<Baseline>,
}

impl Reader<'_> {
    fn trial<'a>(&mut self, experiment: &'a Experiment) -> anyhow::Result<Trial<'a>> {
        let Self { run, manifest, brands, .. } = self;
        let name = &experiment.name;
        let n_brands = brands.list.len();
        // The input's table, `None` if the experiment does not have it.
        let read = |file: &str, contract| {
            let input = format!("{name}/{file}");
            run.input(&input).exists().then(|| run.read(&input, contract)).transpose()
        };
        let history = read("history", &HISTORY)?.as_ref().map_or_else(Vec::new, load::history);
        let effort = Effort::of(manifest, experiment);
        let query =
            experiment.needs_sample().then(|| contract::query::read(experiment.sql())).transpose();
        let query = query.with_context(|| experiment.sql().display().to_string())?;
        let mut trial = Trial { settings: experiment, scored: None, history, effort, query };
        let Some(table) = read("scores", &SCORES)? else { return Ok(trial) };

        let scores = load::scores(&table, n_brands)?;
        drop(table);
        let histogram = read("histogram", &HISTOGRAM)?;
        let test = histogram.map(|table| load::test_histogram(&table, n_brands)).transpose()?;
        let thresholds = read("thresholds", &THRESHOLDS)?;
        let thresholds = thresholds.map(|table| load::thresholds(&table, brands)).transpose()?;
        let trade_off =
            read("trade_off", &TRADE_OFF)?.as_ref().map_or_else(Vec::new, load::trade_off);
        if let Some(first) = &self.first {
            same_users(first, name, &scores)?;
        }

        let params = &manifest.report;
        let f1_buckets: Vec<f64> = params.f1_buckets.iter().map(|bucket| bucket.0).collect();
        let ks = report::ks(experiment.score.top_k);
        let evaluation = evaluate::evaluate(&brands.list, &scores, test.as_ref(), &f1_buckets, &ks);
        let draws =
            metrics::bootstrap(&scores.decisions(), n_brands, params.bootstrap_draws, params.seed);
        let side = Side { figures: &evaluation.figures, counts: &evaluation.counts, draws: &draws };
        let with = |base: Side| compare::delta(&brands.list, &self.bands, side, base);
        let delta = match &self.baseline {
            _ if *name == manifest.baseline => Some(with(side)),
            Some(Baseline { evaluation: Evaluation { figures, counts, .. }, draws }) => {
                Some(with(Side { figures, counts, draws }))
            }
            None => None,
        };
        let known = test.as_ref().zip(thresholds.as_deref());
        let calibration = known.map(|(test, thresholds)| {
            let curves: Vec<Curve> = thresholds.iter().map(|brand| brand.curve.clone()).collect();
            calibration::measure(test, &curves, &evaluation.counts)
        });
        let precision_recall = known.map(|(test, thresholds)| {
            precision_recall::by_tier(&brands.list, test, thresholds, &evaluation.counts)
        });
        if *name == manifest.baseline {
            self.baseline = Some(Baseline { evaluation: evaluation.clone(), draws });
        }
        if self.first.is_none() {
            let users = TestUsers::of(&scores, n_brands, &f1_buckets);
            self.first = Some(First { name: name.clone(), scores, users });
        }
        let expected = per_brand::expected(n_brands, test.as_ref(), thresholds.as_deref());
        trial.scored = Some(Scored {
            evaluation,
            calibration,
            precision_recall,
            thresholds,
            expected,
            trade_off,
            delta,
        });
        Ok(trial)
    }
}

fn same_users(first: &First, name: &str, scores: &Scores) -> Result<(), DataError> {
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

/// All commands that a reader may want.
fn commands(make: &str, args: &ManifestArgs) -> Vec<String> {
    let rest = make.strip_prefix("make pipeline").unwrap_or_default();
    let manifest = quoted(&args.manifest.display().to_string());
    let set = args.set.iter().map(|set| format!(" --set {}", quoted(set)));
    let set = set.collect::<Vec<_>>().concat();
    vec![
        format!("{make}    # whatever is stale, then this report"),
        format!("make train EXPERIMENT=NAME{rest}    # one stage of one experiment again"),
        format!("make report{rest}    # this report again"),
        format!(
            "target/debug/pipeline compare A B --manifest {manifest}{set}    # two experiments, changes only"
        ),
    ]
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

//! Compares all experiments in one report.
//!
//! Reads `brands` and, of every experiment, `scores`, `valid_scores`, `histogram`, `thresholds`, `trade_off` and
//! `history` where they exist; writes `report.json`, `report.md`, `report.html`, `per_brand.arrow`
//! and `per_brand.csv`. With `compare`, prints what differs between two experiments.

// Reading
mod load; // Arrow columns to plain values
mod read; // one experiment after the other
mod records; // what the stages' records say
mod settings; // experiments as the manifest sets them, and their differences
mod test_users; // the users that all experiments are tested on
mod trial; // what was found of one experiment

// Figures
mod bands; // brands by volume and by F1
mod calibration; // probabilities and audiences against labels
mod compare; // changes against the baseline, and their intervals
mod evaluate; // decisions in, figures out
mod figures; // the figures of one experiment
mod precision_recall; // tiers: precision against recall, thresholds
mod repeats; // brands that users had before, and others, apart
mod verdict; // what intervals say

// The report as one value
mod answer; // which experiments are better
mod backtest; // the reports of several dates
mod definitions; // what each term means
mod experiment; // one experiment
mod fairness; // what else may explain a change
mod notes; // what a reader must know
mod report; // everything put together: `report.json`

// For other programs
mod export; // experiments and the report to a tracking server

// What people see
mod chart; // numbers to positions on a canvas
mod command_lines; // commands to print
mod comparison; // the figures of two experiments, line by line
mod format; // numbers to text
mod html; // a page to HTML
mod labels; // points and their names, without overlap
mod markdown; // a page to Markdown
mod page; // the report as headings, sentences, tables and charts
mod per_brand; // figures to Arrow columns and CSV
mod scale; // values to a share of a chart's edge
mod terminal; // the report, or a comparison, as a table

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Parser, Subcommand};
use contract::Stage;
use contract::cli::{self, ManifestArgs};
use contract::exit::DataError;
use contract::ipc;
use contract::manifest::{BACKTEST_DIR, Experiment};
use contract::output::visible;
use contract::run::StageRun;
use contract::tables::BRANDS;
use serde_json::json;

use read::Found;
use records::Provenance;

/// Compare all experiments in one report
///
/// Reads the decisions of every experiment in the manifest and writes `report.html`, `report.md`,
/// `report.json`, `per_brand.arrow` and `per_brand.csv` into the folder `report` of its run folder.
/// An experiment without decisions is listed as missing. A second run writes the same bytes, apart
/// from the times and memory of the stages.
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
    /// Reads the decisions of both and prints the settings and figures that differ, with
    /// intervals. Writes nothing.
    Compare(CompareArgs),
    /// Log experiments and the report to a tracking server
    ///
    /// Reads what the report stage wrote. Each experiment becomes a run with its settings, its figures and
    /// those of each epoch, within a run that has the report's files.
    Export(export::Args),
    /// Put the reports of several dates together
    ///
    /// Reads `run_dir/backtest/DATE/report/report.json` of each date, which `pipeline backtest` leaves;
    /// writes a page and JSON beside them and prints the figures of each date and their mean.
    Backtest(BacktestArgs),
    /// Print the JSON Schema (draft 7) of report.json and of `compare --json`
    Schema,
    /// Print the JSON Schema (draft 7) of `backtest --json`
    BacktestSchema,
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

#[derive(ClapArgs)]
struct BacktestArgs {
    /// Experiment that was tested
    experiment: String,
    /// Date of a test; may be repeated
    #[arg(long, value_name = "DATE", required = true)]
    as_of: Vec<String>,
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
        Some(Command::Export(args)) => export::run(args),
        Some(Command::Backtest(args)) => write_backtest(args),
        Some(Command::BacktestSchema) => {
            Ok(format!("{:#}", contract::schema::<backtest::Backtest>()))
        }
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
    let users = users.ok_or_else(|| nothing_scored(args))?;

    let provenance = Provenance::of(&manifest, command_lines::all(args));
    let report = report::assemble(&manifest, &brands, &users, &trials, provenance);
    let page = page::lay_out(&report, &brands, &trials);
    let json = serde_json::to_string_pretty(&report).context("cannot write report.json")?;
    let html = html::render(&page).context("cannot write report.html")?;

    per_brand::write(&mut run, &trials, &brands)?;
    run.add_text("report.json", &visible(&(json + "\n")))?;
    run.add_text("report.md", &markdown::render(&page))?;
    run.add_text("report.html", &html)?;
    let text = terminal::render(&report, &run.plan.dir);
    run.done(json!({
        "best": report.answer.best,
        "n_compared": report.method.n_compared,
        "missing": report.answer.missing,
    }))?;
    Ok(text)
}

fn compare_two(args: &CompareArgs) -> anyhow::Result<String> {
    let CompareArgs { a, b, manifest: manifest_args, json } = args;
    let mut set = manifest_args.set.clone();
    set.push(format!("baseline={a}"));
    let manifest = ManifestArgs { set, ..manifest_args.clone() }.load()?;
    let run = StageRun::open(&manifest, Stage::Report, None)?;
    let brands = load::brands(&run.read("brands", &BRANDS)?)?;
    let experiments = [manifest.experiment(a)?, manifest.experiment(b)?];
    let Found { trials, users } = Found::read(&run, &manifest, &brands, &experiments)?;
    let users = users.ok_or_else(|| nothing_scored(manifest_args))?;
    if let Some(trial) = trials.iter().find(|trial| trial.scored.is_none()) {
        let (name, why) = (&trial.settings.name, trial.effort.no_scores());
        let command = command_lines::run_one(name, manifest_args);
        return Err(DataError(format!("experiment `{name}`: {why}\nhint: run `{command}`")).into());
    }
    let provenance = Provenance::of(&manifest, Vec::new());
    let report = report::assemble(&manifest, &brands, &users, &trials, provenance);
    Ok(if *json { serde_json::to_string_pretty(&report)? } else { terminal::compare(&report) })
}

fn write_backtest(args: &BacktestArgs) -> anyhow::Result<String> {
    let manifest = args.manifest.load()?;
    let name = &args.experiment;
    let dir = manifest.run_dir.join(BACKTEST_DIR);
    let backtest = backtest::read(&manifest, name, &args.as_of, &dir)?;
    let json = serde_json::to_string_pretty(&backtest).context("cannot write the backtest")?;
    let page = page::backtest::lay_out(&backtest);
    let html = html::render(&page).context("cannot write the page")?;
    let files = [
        (format!("{name}.html"), html),
        (format!("{name}.md"), markdown::render(&page)),
        (format!("{name}.json"), visible(&(json.clone() + "\n")).into_owned()),
    ];
    let mut paths = Vec::new();
    for (file, text) in files {
        let path = dir.join(file);
        ipc::finish_text(&path, &text)?.commit()?;
        paths.push(path);
    }
    Ok(if args.json { json } else { terminal::backtest(&backtest, &paths) })
}

fn nothing_scored(args: &ManifestArgs) -> DataError {
    let command = command_lines::run_all(args);
    DataError(format!(
        "no experiment has scores, so there is nothing to report\nhint: run `{command}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        Args::command().debug_assert();
    }
}

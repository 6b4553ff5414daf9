//! Draws training examples with SQL.
//!
//! `holdout` reads the raw tables and writes what all experiments share; `sample` runs one
//! experiment's query over the training users and writes its examples.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use contract::cli::{ExperimentArgs, ManifestArgs};
use contract::record::Record;
use contract::run::StageRun;
use contract::{Stage, cli};

mod convert; // rows of a query, checked and converted to examples
mod draw; // hashes as random numbers
mod features; // feature columns of users, checked and converted
mod holdout; // raw tables -> the shared files
mod order; // the order in which examples are stored
mod query; // a query in a file, checked and planned
mod sample; // a sampling query -> examples
mod session; // DataFusion sessions and their tables
mod statistics; // what a sample did to the training users

/// Draw training examples with SQL
///
/// Reads the raw tables and the sampling query that the manifest names; writes Arrow files
/// under its `run_dir`. Running it twice gives the same bytes.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Split the users and write what all experiments share
    ///
    /// Reads `data` and `holdout` of the manifest; writes brands, features, the training
    /// tables, valid and test under `run_dir/holdout`.
    Holdout(ManifestArgs),
    /// Draw an experiment's training examples
    ///
    /// Runs the experiment's `sample.sql` over the training users; writes
    /// `run_dir/EXPERIMENT/sample/examples.arrow`.
    Sample(ExperimentArgs),
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::main("sample-stage", || run(&args))
}

fn run(args: &Args) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    match &args.command {
        Command::Holdout(args) => {
            let manifest = args.load()?;
            let stage = StageRun::start(&manifest, Stage::Holdout, None)?;
            let dir = stage.plan.dir.clone();
            let record = runtime.block_on(holdout::run(&manifest, stage))?;
            Ok(format!("holdout: {}\n{}", summary(&record), dir.display()))
        }
        Command::Sample(args) => {
            let (manifest, experiment) = args.load()?;
            let stage = StageRun::start(&manifest, Stage::Sample, Some(&experiment))?;
            let dir = stage.plan.dir.clone();
            let record = runtime.block_on(sample::run(&experiment, stage))?;
            Ok(format!("sample of {}: {}\n{}", experiment.name, summary(&record), dir.display()))
        }
    }
}

/// The record's figures in one line.
fn summary(record: &Record) -> String {
    let figures = record.summary.as_object().expect("both commands write a map");
    let shown: Vec<_> = figures.iter().map(|(name, value)| format!("{name} {value}")).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}

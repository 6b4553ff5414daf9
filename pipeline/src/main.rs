//! Runs the pipeline: which stage of which experiment is stale, in what order, run it.
//!
//! Results are files and each stage leaves a record, `stage.json`; the runner keeps nothing else.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, Parser, Subcommand};
use contract::cli::ManifestArgs;
use contract::exit;
use contract::{cli, output, print_line};
use selection::{Selection, StageName};

mod accept; // results kept after a change that somebody vouches for
mod child; // a stage's program at work
mod history; // what each run did
mod node; // a stage of an experiment: fresh, shared or stale, and why
mod progress; // what people see of stages at work
mod reference; // the manifest's keys as a page, docs/MANIFEST.md
mod run; // runs what is selected, or says what would run
mod schedule; // which stage runs when
mod schema; // JSON Schemas of all that is read and written
mod selection; // experiments and stages named on the command line
mod show; // status, explanations and graphs for people
mod store; // results kept by fingerprint

/// Run the experiments of a manifest, as far as they are stale
///
/// Reads pipeline.yaml and the records of earlier runs; runs the stage programs that stand
/// beside this one. A stage whose inputs, parameters and program have not changed is skipped.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run what is stale and make the report
    Run(RunArgs),
    /// Say of every stage whether it is fresh
    Status {
        /// The manifest
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say why a stage would run
    Explain {
        /// The manifest
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Experiment of the manifest; any for holdout and report
        experiment: String,
        /// Stage of the experiment
        stage: StageName,
        /// What a past run found, by its name in `history`; `last` is the last one
        #[arg(long, value_name = "ID")]
        run: Option<String>,
        /// Print JSON: every part that changed, with its old and new value
        #[arg(long)]
        json: bool,
    },
    /// Keep the results of stale stages after a change that you vouch for; the report says so
    Accept {
        /// The manifest
        #[command(flatten)]
        manifest: ManifestArgs,
        /// What to accept
        #[command(flatten)]
        selection: Selection,
        /// Why the results are still right
        #[arg(long, value_name = "REASON", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        because: String,
        /// Only show what would be accepted
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the runs so far: when, with what outcome, by what command
    History {
        /// The manifest
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Print JSON: also every stage, with its reasons, fingerprint, time and memory
        #[arg(long)]
        json: bool,
    },
    /// Print which stage needs which
    Graph {
        /// The manifest
        #[command(flatten)]
        manifest: ManifestArgs,
        /// How to print it
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: show::GraphFormat,
        /// Print JSON
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print what differs between two experiments: settings and figures, with intervals
    Compare {
        /// The manifest
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Experiment to compare with
        a: String,
        /// Experiment whose changes are shown
        b: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete results that nothing of the manifest stands on any more, after asking
    Clean {
        /// The manifest
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Only show what would be deleted
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Print JSON; asks nothing, so it needs `--yes` or `-n`
        #[arg(long)]
        json: bool,
    },
    /// Check the manifest and say what it holds
    Check {
        /// The manifest
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a JSON Schema (draft 7): of the manifest, for editors, or of what commands print
    Schema(schema::SchemaArgs),
}

#[derive(ClapArgs)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct RunArgs {
    /// The manifest
    #[command(flatten)]
    manifest: ManifestArgs,
    /// What to run
    #[command(flatten)]
    selection: Selection,
    /// Of these only the experiments of which a stage failed when it last ran
    #[arg(long)]
    failed: bool,
    /// Stages that run at once, each on its share of the cores; by default as many as there are
    /// cores, four at most
    #[arg(short, long, value_name = "NUM", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Memory that stages that run at once may take together, as `8GiB`; by default four fifths of
    /// the machine's. What a stage took the last time is what it is expected to take
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Say only what fails
    #[arg(short, long)]
    quiet: bool,
    /// Run also what is fresh
    #[arg(long)]
    force: bool,
    /// Go on with other experiments after one has failed
    #[arg(short, long)]
    keep_going: bool,
    /// Only say what would run
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print JSON: what the run did, in place of the report's table
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args: Args = cli::parse();
    match command(args.command) {
        Ok(code) => ExitCode::from(output::ended("pipeline", code)),
        Err(err) => cli::failed("pipeline", &err),
    }
}

/// Does what a command says; the result is the exit code.
fn command(command: Command) -> Result<u8> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Status { manifest, json } => {
            show::status(&manifest.load()?, json)?;
            Ok(exit::EXIT_DONE)
        }
        Command::Explain { manifest, experiment, stage, run, json } => {
            let (loaded, stage) = (manifest.load()?, stage.into());
            match run {
                Some(id) => show::explain_past(&loaded, &experiment, stage, &id, json)?,
                None => show::explain(&loaded, &experiment, stage, json)?,
            }
            Ok(exit::EXIT_DONE)
        }
        Command::Accept { manifest, selection, because, dry_run, json } => {
            let loaded = manifest.load()?;
            let nodes = selection.nodes(&loaded, &selection.experiments(&loaded)?)?;
            accept::accept(&loaded, &nodes, &because, dry_run, json)
        }
        Command::History { manifest, json } => {
            history::history(&manifest.load()?, json);
            Ok(exit::EXIT_DONE)
        }
        Command::Graph { manifest, format, json } => {
            show::graph(&manifest.load()?, if json { None } else { Some(format) })?;
            Ok(exit::EXIT_DONE)
        }
        Command::Completions { shell } => {
            let mut command = <Args as clap::CommandFactory>::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "pipeline", &mut script);
            print_line!("{}", String::from_utf8_lossy(&script).trim_end());
            Ok(exit::EXIT_DONE)
        }
        Command::Clean { manifest, dry_run, yes, json } => {
            let loaded = manifest.load()?;
            let _lock = if dry_run { None } else { Some(run::lock(&loaded.run_dir)?) };
            store::clean(&loaded, dry_run, yes, json)
        }
        Command::Compare { manifest, a, b, json } => run::compare(&manifest, [&a, &b], json),
        Command::Check { manifest, json } => {
            run::check(&manifest.load()?, json);
            Ok(exit::EXIT_DONE)
        }
        Command::Schema(args) => schema::print(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}

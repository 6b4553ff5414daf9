//! Runs the pipeline: which stage of which experiment is stale, in what order, run it.
//!
//! Results are files and each stage leaves a record, `stage.json`; the runner keeps nothing else.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use contract::cli::ManifestArgs;
use contract::{Manifest, Stage, cli, print_line};

mod child; // a stage's program at work
mod history; // what each run did
mod node; // a stage of an experiment: fresh, shared or stale, and why
mod progress; // what people see of stages at work
mod run; // what is selected, and runs it
mod schedule; // which stage runs when
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
        /// Print JSON: every part that changed, with its old and new value
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
    },
    /// Check the manifest and say what it holds
    Check {
        /// The manifest
        #[command(flatten)]
        manifest: ManifestArgs,
    },
    /// Print the JSON Schema (draft 7) of the manifest, for editors
    Schema,
}

#[derive(ClapArgs)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct RunArgs {
    /// The manifest
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Experiments to run, by name or pattern as `approach_1*`; all if none is named
    experiments: Vec<String>,
    /// Run this stage only
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["from", "to"])]
    stage: Option<StageName>,
    /// Run from this stage on
    #[arg(long, value_name = "STAGE")]
    from: Option<StageName>,
    /// Run up to this stage
    #[arg(long, value_name = "STAGE")]
    to: Option<StageName>,
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
}

/// A stage, as written on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum StageName {
    Holdout,
    Sample,
    Train,
    Score,
    Report,
}

impl From<StageName> for Stage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::Holdout => Self::Holdout,
            StageName::Sample => Self::Sample,
            StageName::Train => Self::Train,
            StageName::Score => Self::Score,
            StageName::Report => Self::Report,
        }
    }
}

fn main() -> ExitCode {
    match command(Args::parse().command) {
        Ok(code) => code,
        Err(err) => {
            eprintln!("pipeline: {err:#}");
            ExitCode::from(cli::exit_code(&err))
        }
    }
}

fn command(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => {
            let ManifestArgs { manifest, set } = &args.manifest;
            let patterns = &args.experiments;
            let selected = run::select(&Manifest::load(manifest, &[], &[])?, patterns)?;
            if selected.is_empty() && !patterns.is_empty() {
                return Ok(run::nothing_selected("no experiment has such a name"));
            }
            run::run(&Manifest::load(manifest, set, &selected)?, &selected, &args)
        }
        Command::Status { manifest, json } => {
            show::status(&manifest.load()?, json)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Explain { manifest, experiment, stage, json } => {
            show::explain(&manifest.load()?, &experiment, stage.into(), json)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::History { manifest, json } => {
            history::history(&manifest.load()?, json);
            Ok(ExitCode::SUCCESS)
        }
        Command::Graph { manifest, format } => {
            show::graph(&manifest.load()?, format)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut command = <Args as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "pipeline", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Clean { manifest, dry_run, yes } => {
            let loaded = manifest.load()?;
            let _lock = run::lock(&loaded.run_dir)?;
            store::clean(&loaded, dry_run, yes)
        }
        Command::Compare { manifest, a, b, json } => run::compare(&manifest, [&a, &b], json),
        Command::Check { manifest } => {
            let loaded = manifest.load()?;
            let names: Vec<_> = loaded.experiments().map(|e| e.name.as_str()).collect();
            print_line!(
                "{}: sound; {} experiments: {}",
                loaded.path.display(),
                names.len(),
                names.join(", ")
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Schema => {
            print_line!("{:#}", Manifest::schema());
            Ok(ExitCode::SUCCESS)
        }
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

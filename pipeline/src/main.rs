//! Runs the pipeline: which stage of which experiment is stale, in what order, run it.
//!
//! Results are files and each stage leaves a record, `stage.json`. There is no other state that decides
//! what runs.

use std::process::ExitCode;

use anyhow::Result;
use args::{Names, NothingSelected, RunArgs, Selection};
use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand};
use command::audience::AudienceArgs;
use command::backtest::BacktestArgs;
use command::bundle::BundleArgs;
use command::export::ExportArgs;
use command::init::InitArgs;
use command::predict::PredictArgs;
use command::publish::PublishArgs;
use command::sample::SampleArgs;
use contract::cli::{ManifestArgs, WorkerArgs};
use contract::exit::EXIT_DONE;
use contract::{Stage, cli, output, print_line, warn_line};

mod args; // arguments of commands
mod child; // a stage's program as a child process
mod command; // a file for each command
mod forecast; // what a run would find
mod foreground; // a stage's program in the foreground
mod freshness; // whether a stage's results are up to date, and why not
mod graph; // which stage needs which
mod guess; // what columns of raw tables probably are
mod halving; // which trainings of a matrix go on
mod left; // how long a run still takes
mod listing; // lines that fit the terminal
#[cfg(test)]
mod made_up; // records and stages for tests
mod new_users; // users that no stage has seen
mod program; // how the stages' programs are called
mod progress; // what users see of running stages
mod reference; // the manifest's keys as a page, docs/MANIFEST.md
mod run_dir; // the runner's own files in the folder of results
mod schedule; // which stage runs when
mod schema; // JSON Schemas of all that is read and written
mod store; // results kept by fingerprint

/// Run the stale stages of the experiments in a manifest
///
/// Reads pipeline.yaml and the records of earlier runs, and runs the stage programs, which are in the
/// same folder as this one. A stage is skipped if its inputs, parameters and program have not changed.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a first manifest for your own tables
    ///
    /// Looks at the tables' columns, and writes `pipeline.yaml`, a sampling query and, where names differ
    /// from those that the pipeline knows, queries that rename them. Then `pipeline run` works at once.
    Init(InitArgs),
    /// Run stale stages and update the report
    ///
    /// For each stage it prints `running` with the reason, or why it does not run: `fresh` (its
    /// results are up to date), `restored` (results of an earlier setting took their place again) or
    /// `shared with NAME` (another experiment made the same results). Ctrl-C once lets running stages
    /// save what they can, twice ends them at once; the next run continues from there.
    Run(RunArgs),
    /// Run the experiments of a matrix, and rank them by their figures on the valid users
    ///
    /// Runs what is stale of them and of the baseline, updates the report, and prints a table with the
    /// best experiment first. The valid users choose it; the report shows how it does on the test
    /// users. `--sweep` varies an experiment that has no matrix.
    Sweep(command::sweep::SweepArgs),
    /// Test an experiment at several dates, each trained on what was known then
    ///
    /// For each date it runs the experiment and the baseline in `run_dir/backtest/DATE`, with the dates of
    /// training and valid users moved along, so that a second run skips what is up to date. Then it prints
    /// the figures of each date and their mean, with an interval over users and dates, and writes
    /// `run_dir/backtest/EXPERIMENT.html`.
    Backtest(BacktestArgs),
    /// Show whether each stage is fresh, and why not
    ///
    /// States:
    ///   fresh    The results are up to date; a run skips the stage.
    ///   kept     A run would not compute anything, as the right results are kept in `.kept`. Either
    ///            `restored`: they are of an earlier setting of the same experiment; or `shared with
    ///            NAME`: that experiment made them.
    ///   stale    A run would run the stage, for the reason shown.
    ///   waiting  A stage before it would run first, so its state is not known yet (`after STAGE`);
    ///            or it would share results that another experiment is about to make.
    ///   ended    A training of a matrix with `halving` that goes no further, as others are better.
    ///   blocked  The stage cannot run: a file is missing or cannot be read.
    ///
    /// Fresh stages are counted, not listed, unless `--all` is given.
    #[command(verbatim_doc_comment)]
    Status {
        #[command(flatten)]
        manifest: ManifestArgs,
        #[command(flatten)]
        names: Names,
        /// List fresh stages too, and every reason in full
        #[arg(long)]
        all: bool,
        /// Print JSON, of all stages
        #[arg(long)]
        json: bool,
    },
    /// Show why a stage would run
    ///
    /// `pipeline status --help` explains the states. With `--run` it shows what became of the stage in
    /// that run: `ran`, `fresh`, `restored`, `shared with NAME`, `failed`, `blocked` (it could not
    /// start) or `interrupted`.
    Explain {
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Experiment of the manifest; for holdout and report, any of them
        experiment: String,
        /// Stage of the experiment
        stage: Stage,
        /// Show why it ran in a past run: an id shown by `pipeline history`, or `last`, the last one
        /// that reached it
        #[arg(long, value_name = "ID")]
        run: Option<String>,
        /// Print JSON: every changed part with its old and new value
        #[arg(long)]
        json: bool,
    },
    /// Keep the results of stale stages after a change that you vouch for
    ///
    /// The records of the stages then say that they are made of the changed parts. The report lists
    /// what was accepted, and the reason, until the stages run again.
    Accept {
        #[command(flatten)]
        manifest: ManifestArgs,
        #[command(flatten)]
        selection: Selection,
        /// Why the results are still right
        #[arg(long, value_name = "REASON", value_parser = NonEmptyStringValueParser::new())]
        because: String,
        /// Only print what would be accepted
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List past runs: when, how they ended, with which arguments
    ///
    /// Also those of a stage alone, by its program or by make.
    History {
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Print JSON, with every stage: its result, reasons, fingerprint, time and memory
        #[arg(long)]
        json: bool,
    },
    /// Print which stage needs which
    Graph {
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Output format
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: command::graph::GraphFormat,
        /// Print JSON
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print what differs between two experiments: settings and figures, with intervals
    Compare {
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
    /// Delete results that nothing in the manifest refers to, after asking
    ///
    /// That is, kept results of settings that no experiment has, and results of experiments that are
    /// no longer in the manifest. Files that no stage wrote are left and listed.
    Clean {
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Only print what would be deleted
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Delete without asking
        #[arg(long)]
        yes: bool,
        /// Print JSON; needs `--yes` or `-n`, as it does not ask
        #[arg(long)]
        json: bool,
    },
    /// Draw an experiment's sample and show rows of it
    ///
    /// Runs what is stale up to the sample, as `run --to sample` does, and prints examples: the user, the
    /// weight, whether it is a clone, and the names of its brands.
    Sample(SampleArgs),
    /// Predict brands for new users
    ///
    /// Reads the users as the manifest reads its own, and refuses what training refuses; writes a row
    /// for each user and predicted brand: `user_id`, `brand_id`, `brand_name`, `prob`, `rank`. The
    /// model, its thresholds and the neighbours must belong together and be as they were written. Run
    /// again after it was killed, it goes on where it was and ends with the same bytes.
    Predict(PredictArgs),
    /// Write the users of brands, best first, with what to expect of them
    ///
    /// By default a brand's audience are the users who reach its threshold. Prints each audience's size,
    /// and by the calibrated probabilities what share of it is expected to have the brand (precision) and
    /// what share of the users with the brand is in it (recall). With `-n` it writes nothing.
    Audience(AudienceArgs),
    /// Copy all that predicting needs into a folder
    ///
    /// That is the model, its thresholds, neighbours and brands, and `bundle.json`: their hashes, the
    /// columns that the model reads, and how everything was made. `pipeline predict --bundle DIR` needs
    /// nothing else.
    Bundle(BundleArgs),
    /// Write a model, or the report, for other programs
    ///
    /// `--format onnx` writes a graph from users' features to calibrated probabilities, `safetensors` the
    /// model's arrays; `mlflow` logs experiments and the report to a tracking server.
    Export(ExportArgs),
    /// Copy the report to an object store, or another folder
    ///
    /// To `s3://`, `gs://`, `az://` or `file://`: each of its files appears whole or not at all, the page
    /// last. Credentials come from the environment.
    Publish(PublishArgs),
    /// Serve parts of queries to the stages of other machines, until it is stopped
    ///
    /// For manifests with `engine: {kind: distributed, workers: [HOST:PORT]}`. Run one on each machine, of
    /// the same build; they see the raw tables and `run_dir` under the same paths.
    Worker(WorkerArgs),
    /// Check the manifest and the columns of its tables, and list the experiments
    ///
    /// Prints every mistake at once with its place: of the manifest first; if it has none, columns that
    /// are missing or of another type, and ids that can never match. Of csv and json files all rows are
    /// read, as their types come from them.
    Check {
        #[command(flatten)]
        manifest: ManifestArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a JSON Schema (draft 7): of the manifest, for editors, or of what commands print
    Schema(schema::SchemaArgs),
}

fn main() -> ExitCode {
    let args: Args = cli::parse();
    let code = match run(args.command) {
        Ok(code) => code,
        Err(err) if err.is::<NothingSelected>() => {
            warn_line!("pipeline: {err}");
            NothingSelected::EXIT_CODE
        }
        Err(err) => return cli::failed("pipeline", &err),
    };
    ExitCode::from(output::ended("pipeline", code))
}

/// Does what a command says; the result is the exit code.
fn run(command: Command) -> Result<u8> {
    match command {
        Command::Run(args) => return command::run::run(&args),
        Command::Backtest(args) => return command::backtest::backtest(&args),
        Command::Status { manifest, names, all, json } => {
            command::status::status(&manifest.load()?, &names, all, json)?;
        }
        Command::Sweep(args) => return command::sweep::sweep(&args),
        Command::Explain { manifest, experiment, stage, run, json } => {
            let loaded = manifest.load()?;
            match run {
                Some(id) => {
                    command::explain::explain_past(&loaded, &experiment, stage, &id, json)?;
                }
                None => command::explain::explain(&loaded, &experiment, stage, json)?,
            }
        }
        Command::Accept { manifest, selection, because, dry_run, json } => {
            let loaded = manifest.load()?;
            let nodes = selection.nodes(&loaded, &selection.names.experiments(&loaded)?)?;
            command::accept::accept(&loaded, &nodes, &because, dry_run, json)?;
        }
        Command::History { manifest, json } => command::history::history(&manifest.load()?, json),
        Command::Graph { manifest, format, json } => {
            command::graph::graph(&manifest.load()?, if json { None } else { Some(format) })?;
        }
        Command::Completions { shell } => completions(shell),
        Command::Clean { manifest, dry_run, yes, json } => {
            command::clean::clean(&manifest.load()?, dry_run, yes, json)?;
        }
        Command::Compare { manifest, a, b, json } => {
            return command::compare::compare(&manifest, [&a, &b], json);
        }
        Command::Check { manifest, json } => return command::check::check(&manifest, json),
        Command::Predict(args) => return command::predict::predict(&args),
        Command::Init(args) => command::init::init(&args)?,
        Command::Audience(args) => return command::audience::audience(&args),
        Command::Bundle(args) => command::bundle::bundle(&args)?,
        Command::Sample(args) => return command::sample::sample(&args),
        Command::Worker(args) => return command::worker::worker(&args),
        Command::Publish(args) => command::publish::publish(&args)?,
        Command::Export(args) => return command::export::export(&args),
        Command::Schema(args) => return schema::print(&args),
    }
    Ok(EXIT_DONE)
}

fn completions(shell: clap_complete::Shell) {
    let mut command = <Args as clap::CommandFactory>::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "pipeline", &mut script);
    print_line!("{}", String::from_utf8_lossy(&script).trim_end());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Args::command().debug_assert();
    }

    #[test]
    fn stages_are_named_on_the_command_line_as_everywhere_else() {
        use clap::ValueEnum as _;
        use contract::Stage;

        for stage in Stage::value_variants() {
            assert_eq!(stage.to_possible_value().unwrap().get_name(), stage.name());
            assert_eq!(serde_json::json!(stage), stage.name());
        }
    }

    #[test]
    fn the_help_of_status_explains_every_state() {
        let mut command = super::Args::command();
        let help = command.find_subcommand_mut("status").unwrap().render_long_help().to_string();
        for word in
            ["fresh", "kept", "restored", "shared with", "stale", "waiting", "ended", "blocked"]
        {
            assert!(help.contains(word), "{word}: {help}");
        }
    }
}

//! Draws training examples with SQL.
//!
//! `holdout` reads the raw tables and writes what all experiments share; `sample` runs one
//! experiment's query over the training users and writes its examples.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use contract::Stage;
use contract::cli::{self, ExperimentArgs, ManifestArgs, WorkerArgs};
use contract::depth::on_large_stack;
use contract::machine;
use contract::plan::StageId;
use contract::record::Record;
use contract::run::StageRun;
use contract::statistics::{SampleStatistics, Spread};
use contract::words::count;

use engine::on_workers_left;

mod as_of; // dates that labels and features are of
mod bounded; // bounds on functions with large results
mod check; // columns of the raw tables and views, before anything runs
mod clauses; // refuses clauses that DataFusion would ignore
mod convert; // rows of a query, checked and converted to examples
mod draw; // hashes as random numbers
mod engine; // where queries run
mod errors; // messages of DataFusion's errors
mod external; // numbers that may not fit into memory, kept or sorted
mod heap; // a counting allocator, the last bound on memory
mod holdout; // raw tables -> the shared files
mod id_columns; // id columns of raw tables
mod in_tasks; // batches of a frame, in tasks
mod interactions; // interactions, and what of them is known and predicted at a date
mod order; // the order in which examples are stored
mod past; // what is known of users at a date, as features
mod query; // a query file, checked and planned
mod raw; // raw tables: their files, columns and rows
mod room; // what a stage's own work may take of memory and disk
mod sample; // a sampling query -> examples
mod session; // DataFusion sessions within limits
mod settings; // what all DataFusion sessions have in common
#[cfg(test)]
mod shipped_queries; // every query of sql/ on hand-written rows and on a small population
mod stage_tables; // tables of other stages in a session
mod statistics; // statistics of a sample
mod time; // the column that says when a row happened
mod user_rows; // training users of a query's rows -> rows of features
mod users; // the users of a query, for `predict`

/// Stack of the threads that run a query, in bytes. A condition of 2,000 terms needs 8 MiB. Unused
/// stack takes no memory.
const WORKER_STACK: usize = 64 << 20;

/// Threads of a worker that serves other machines.
const WORKER_THREADS_PER_CORE: usize = 8;

#[global_allocator]
static HEAP: heap::Heap = heap::Heap;

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
    /// Check the columns of the raw tables and views
    ///
    /// Reads the files' columns, of csv and json all rows, and plans the views' queries; prints all
    /// problems at once, each with its place in the manifest. `pipeline check` does this too.
    Check(ManifestArgs),
    /// Write the users of a query, for `predict`
    ///
    /// Runs a query over the manifest's raw tables; writes its rows to an Arrow file that
    /// `score-stage predict` reads. `pipeline predict` calls it where users come from a query.
    Users(users::Args),
    /// Run queries of other machines
    ///
    /// Serves parts of queries until it is stopped, for manifests whose `engine` lists this address.
    /// `pipeline worker` calls it.
    Worker(WorkerArgs),
}

fn main() -> ExitCode {
    let args: Args = cli::parse();
    let on_large_stack = || on_large_stack(|| run(&args)).context("cannot start a thread")?;
    cli::main("sample-stage", on_large_stack)
}

fn run(args: &Args) -> anyhow::Result<String> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // The runner limits a stage's threads through rayon's variable. The number of a query's
    // partitions must not depend on it, as sums of fractions would differ.
    let share = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    if let Some(threads) = share.filter(|&threads: &usize| threads > 0) {
        runtime.worker_threads(threads);
    }
    runtime.thread_stack_size(WORKER_STACK);
    if matches!(args.command, Command::Worker(_)) {
        // A part of a query may have to start while steps of others take many seconds.
        runtime.worker_threads(WORKER_THREADS_PER_CORE * machine::cores());
    }
    runtime.enable_all(); // a network and timers for object stores
    let runtime = runtime.build()?;
    match &args.command {
        Command::Holdout(args) => {
            let manifest = args.load()?;
            let record = runtime.block_on(on_workers_left(&manifest.engine, async |engine| {
                let stage = StageRun::start(&manifest, Stage::Holdout, None)?;
                holdout::run(&manifest, engine, stage).await
            }))?;
            let (summary, took) = (summary(&record), took(&record));
            let dir = manifest.stage_dir(&StageId::shared(Stage::Holdout));
            Ok(format!("holdout: {summary}\n{took}\n{}", dir.display()))
        }
        Command::Check(args) => runtime.block_on(check::run(args)),
        Command::Users(args) => runtime.block_on(users::run(args)),
        Command::Worker(args) => runtime.block_on(engine::run_worker(args)),
        Command::Sample(args) => args.run_each(Stage::Sample, |manifest, experiment| {
            let record = runtime.block_on(on_workers_left(&manifest.engine, async |engine| {
                let stage = StageRun::start(manifest, Stage::Sample, Some(experiment))?;
                sample::run(experiment, engine, stage).await
            }))?;
            let id = StageId::in_experiment(Stage::Sample, experiment);
            let dir = manifest.stage_dir(&id);
            let took = took(&record);
            let statistics: SampleStatistics = serde_json::from_value(record.summary)?;
            Ok(format!("{id}: {}\n{took}\n{}", table(&statistics), dir.display()))
        }),
    }
}

/// The sample's statistics as a small table.
fn table(sample: &SampleStatistics) -> String {
    let SampleStatistics { before, after, brands_without_positives: without, .. } = sample;
    let number = |value: Option<f64>| value.map_or("undefined".to_owned(), |x| format!("{x:.3}"));
    let tier = |of: fn(&Spread) -> u64| [count(of(before)), count(of(after))];
    let lines = [
        ("", ["before".to_owned(), "after".to_owned()]),
        ("rows", [count(before.rows), count(after.rows)]),
        ("  without a label", [count(before.rows_without_label), count(after.rows_without_label)]),
        ("labels of head brands", tier(|spread| spread.positives_by_tier.head)),
        ("  of torso brands", tier(|spread| spread.positives_by_tier.torso)),
        ("  of tail brands", tier(|spread| spread.positives_by_tier.tail)),
        (
            "mean imbalance ratio",
            [number(before.mean_imbalance_ratio), number(after.mean_imbalance_ratio)],
        ),
        ("SCUMBLE", [number(before.scumble), number(after.scumble)]),
    ];
    let mut text = format!(
        "{} examples of {} users, {} of them clones\n",
        count(sample.rows),
        count(sample.users),
        count(sample.clones)
    );
    for (name, [before, after]) in lines {
        let _ = writeln!(text, "{name:<22}{before:>14}{after:>14}");
    }
    let _ = write!(
        text,
        "brands without a positive: {} in the sample, {} in valid, {} in test",
        count(without.train),
        count(without.valid),
        count(without.test)
    );
    text
}

/// Time and peak memory.
fn took(record: &Record) -> String {
    let memory = record.peak_memory_bytes.map_or_else(String::new, |bytes| {
        format!(", peak memory {:.2} GiB", bytes as f64 / (1_u64 << 30) as f64)
    });
    format!("{:.1} s{memory}", record.secs)
}

/// The record's numbers in one line.
fn summary(record: &Record) -> String {
    let figures = record.summary.as_object().expect("the stage writes a map");
    let numbers = figures.iter().filter(|(_, value)| value.is_number());
    numbers.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}

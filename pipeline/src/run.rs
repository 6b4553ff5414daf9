//! Runs what is stale, in order.

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use contract::cli::{self, ManifestArgs, UsageError};
use contract::interrupt::EXIT_INTERRUPTED;
use contract::manifest::MemorySize;
use contract::record::{Hashes, Record};
use contract::{Manifest, Stage, print_line};
use glob::Pattern;

use crate::RunArgs;
use crate::history::{self, Outcome, Recorder};
use crate::node::{Node, State, nodes, program};
use crate::schedule::{INTERRUPTS, Scheduler};
use crate::store::Store;

/// Exit code of a run with nothing to do because nothing was selected.
const EXIT_NOTHING_SELECTED: u8 = 4;

/// Runs the selected stages as far as they are stale.
///
/// # Errors
///
/// A manifest that names no such experiment, a folder that cannot be written, another run at
/// work. A failed stage is told by the exit code.
pub fn run(manifest: &Manifest, selected: &[String], args: &RunArgs) -> Result<ExitCode> {
    let only: Option<Stage> = args.stage.map(Stage::from);
    let (from, to) = (args.from.map(Stage::from), args.to.map(Stage::from));
    let mut all = nodes(manifest, selected)?;
    all.retain(|node| {
        let stage = node.plan.stage;
        only.is_none_or(|only| stage == only)
            && from.is_none_or(|from| stage >= from)
            && to.is_none_or(|to| stage <= to)
    });
    if all.is_empty() {
        return Ok(nothing_selected("the experiments have no such stage"));
    }
    let memory = memory_budget(args)?;
    let mut hashes = load_hashes(manifest);
    if args.dry_run {
        let code = dry_run(manifest, &all, args.force, &mut hashes)?;
        save_hashes(manifest, &hashes);
        return Ok(code);
    }

    let _lock = lock(&manifest.run_dir)?;
    // Stages are in process groups of their own: the scheduler hands Ctrl-C on, once to let them
    // end by themselves, twice to end them at once.
    ctrlc::set_handler(|| {
        INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    })?;
    let mut recorder = Recorder::begin(manifest)?;
    let started = Instant::now();
    let store = Store::of(&manifest.run_dir);
    let outcome = Scheduler::new(&all, args, store, memory, &mut hashes, &mut recorder).run();
    save_hashes(manifest, &hashes);
    let Ok(ended) = outcome else {
        recorder.end(Outcome::Failed)?;
        return outcome.map(|_| ExitCode::FAILURE);
    };
    recorder.end(ended)?;
    Ok(match ended {
        Outcome::Interrupted => {
            eprintln!("pipeline: interrupted; run it again to go on from here");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Outcome::Done if args.quiet => ExitCode::SUCCESS,
        Outcome::Done => {
            eprintln!("pipeline: done in {:.1} s", started.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Outcome::Failed | Outcome::Running => ExitCode::FAILURE,
    })
}

/// Names of the experiments that the patterns mean, in the manifest's order; all if there are none.
/// A name without `*`, `?` or `[` must be an experiment's.
///
/// # Errors
///
/// A pattern that is none, a name that is not in the manifest.
pub fn select(manifest: &Manifest, patterns: &[String]) -> Result<Vec<String>> {
    let mut wanted = Vec::new();
    for text in patterns {
        if !text.contains(['*', '?', '[']) {
            manifest.experiment(text)?;
        }
        wanted.push(Pattern::new(text).map_err(|err| UsageError(format!("`{text}`: {err}")))?);
    }
    let names = manifest.experiments().map(|e| e.name.clone());
    Ok(names.filter(|name| wanted.iter().any(|pattern| pattern.matches(name))).collect())
}

/// Says that nothing is selected.
pub fn nothing_selected(why: &str) -> ExitCode {
    eprintln!("pipeline: nothing is selected: {why}");
    ExitCode::from(EXIT_NOTHING_SELECTED)
}

/// Hashes that earlier runs left, so that a plan need not read every file again.
pub fn load_hashes(manifest: &Manifest) -> Hashes {
    Hashes::load(&manifest.run_dir.join(HASHES))
}

/// Leaves the hashes for the next run. Without them it is only slower, so a full disk is no error.
pub fn save_hashes(manifest: &Manifest, hashes: &Hashes) {
    if manifest.run_dir.is_dir() {
        let _ = hashes.save(&manifest.run_dir.join(HASHES));
    }
}

const HASHES: &str = ".hashes.json";

/// Says what would run. What follows a stage that would run cannot be looked at yet.
fn dry_run(
    manifest: &Manifest,
    all: &[Node],
    force: bool,
    hashes: &mut Hashes,
) -> Result<ExitCode> {
    let store = Store::of(&manifest.run_dir);
    let (mut secs, mut bytes) = (0.0, 0);
    let mut stale: Vec<Option<String>> = Vec::new();
    for node in all {
        let experiment = &node.plan.experiment;
        let is_after_stale = stale.iter().any(|other| {
            other.is_none() || other == experiment || node.plan.stage == Stage::Report
        });
        let state = if is_after_stale { None } else { Some(node.state(&store, hashes)?) };
        let (runs, why) = match state {
            None => (true, "a stage before it would run".to_owned()),
            Some(State::Blocked(reason)) => (true, reason),
            Some(State::Stale(why)) => (true, why.line()),
            Some(State::Kept { record, .. }) => (force, node.kept_words(&record)),
            Some(State::Fresh) => (force, "fresh".to_owned()),
        };
        if runs {
            stale.push(experiment.clone());
        }
        let last = Record::of(&node.plan).filter(|_| runs).map_or_else(String::new, |record| {
            let n_bytes: u64 = record.outputs.values().map(|output| output.n_bytes).sum();
            secs += record.secs;
            bytes += n_bytes;
            format!("; {:.1} s and {} MiB the last time", record.secs, cli::count(n_bytes >> 20))
        });
        print_line!(
            "{}: {} ({why}{last})",
            node.plan.label(),
            if runs { "would run" } else { "would not run" }
        );
    }
    if secs > 0.0 {
        print_line!("about {secs:.0} s and {} MiB, as far as it is known", cli::count(bytes >> 20));
    }
    Ok(ExitCode::SUCCESS)
}

/// Hands the manifest and what is set in it on to a stage.
pub fn add_manifest(command: &mut Command, ManifestArgs { manifest, set }: &ManifestArgs) {
    command.arg("--manifest").arg(manifest);
    for set in set {
        command.arg("--set").arg(set);
    }
}

/// Compares two experiments; the report's program does, as it knows the figures.
///
/// # Errors
///
/// If the program is not there.
pub fn compare(manifest: &ManifestArgs, experiments: [&str; 2], json: bool) -> Result<ExitCode> {
    let binary = program(Stage::Report)?;
    let mut command = Command::new(&binary);
    command.arg("compare").args(experiments);
    add_manifest(&mut command, manifest);
    if json {
        command.arg("--json");
    }
    let status = command.status().with_context(|| format!("cannot run {}", binary.display()))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Bytes that stages may take together.
fn memory_budget(args: &RunArgs) -> Result<u64> {
    let Some(text) = &args.memory else {
        return Ok(history::machine().memory_bytes.map_or(u64::MAX, |bytes| bytes / 5 * 4));
    };
    let size = MemorySize::parse(text);
    size.ok_or_else(|| {
        UsageError(format!("--memory: found `{text}`, expected a size as `8GiB`")).into()
    })
}

/// Holds the results' folder; the kernel frees it when this program ends, however it ends.
pub fn lock(run_dir: &Path) -> Result<File> {
    std::fs::create_dir_all(run_dir)
        .with_context(|| format!("cannot make {}", run_dir.display()))?;
    let path = run_dir.join(".lock");
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        let holder = std::fs::read_to_string(&path).unwrap_or_default();
        bail!(
            "{}: another run is at work here (process {holder}); wait for it to end",
            run_dir.display()
        );
    }
    std::fs::write(&path, std::process::id().to_string())?;
    Ok(file)
}

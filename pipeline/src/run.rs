//! Runs what is stale, in order.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use contract::cli::{self, ManifestArgs};
use contract::exit;
use contract::exit::EXIT_INTERRUPTED;
use contract::exit::UsageError;
use contract::hashes::Hashes;
use contract::manifest::{MemorySize, is_of_experiment, name_experiments};
use contract::record::Record;
use contract::words;
use contract::{Manifest, Stage, print_line, warn_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::RunArgs;
use crate::history::{self, Outcome, Recorder};
use crate::node::{Node, State, forecast, program};
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
pub fn run(args: &RunArgs) -> Result<u8> {
    let ManifestArgs { manifest: path, set } = &args.manifest;
    // An experiment may be one that is only set. What is set in stages, is set in those named.
    let of_manifest: Vec<String> =
        set.iter().filter(|set| !is_of_experiment(set)).cloned().collect();
    let named = Manifest::load(path, &of_manifest, &[])?;
    let mut experiments = args.selection.experiments(&named)?;
    if experiments.is_empty() {
        let names: Vec<&str> = named.experiments().map(|e| &*e.name).collect();
        let names = names.join(", ");
        return Ok(nothing_selected(&format!("no experiment has such a name; there are {names}")));
    }
    if args.failed {
        experiments.retain(history::failed(&named));
        if experiments.is_empty() {
            return Ok(nothing_selected("no stage of them failed when it last ran"));
        }
    }
    // What is set is set in the experiments that are named, else in what all start from.
    let set_in = if args.selection.is_of_all() && !args.failed { &[][..] } else { &experiments };
    let manifest = &Manifest::load(path, set, set_in)?;
    cli::say_notes(manifest, None);
    let all = args.selection.nodes(manifest, &experiments)?;
    if all.is_empty() {
        return Ok(nothing_selected("the experiments have no such stage"));
    }
    warn(manifest);
    let memory = memory_budget(args)?;
    let mut hashes = load_hashes(manifest);
    if args.dry_run {
        let planned = plan(manifest, &all, args.force, &mut hashes);
        save_hashes(manifest, &hashes);
        planned.print(args.json);
        return Ok(exit::EXIT_DONE);
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
    let set = set.iter().flat_map(|set| name_experiments(set, set_in)).collect();
    let manifest_args = ManifestArgs { manifest: path.clone(), set };
    let scheduler =
        Scheduler::new(&all, args, manifest_args, store, memory, &mut hashes, &mut recorder);
    let outcome = scheduler.run();
    save_hashes(manifest, &hashes);
    let Ok(ended) = outcome else {
        drop(recorder.end(Outcome::Failed)?);
        return outcome.map(|_| exit::EXIT_FAILED);
    };
    let done = recorder.end(ended)?;
    if args.json {
        print_line!("{:#}", json!(done));
    }
    Ok(match ended {
        Outcome::Interrupted => {
            warn_line!("pipeline: interrupted; run it again to go on from here");
            EXIT_INTERRUPTED
        }
        Outcome::Done if args.quiet => exit::EXIT_DONE,
        Outcome::Done => {
            warn_line!("pipeline: done in {:.1} s", started.elapsed().as_secs_f64());
            exit::EXIT_DONE
        }
        Outcome::Failed | Outcome::Running => exit::EXIT_FAILED,
    })
}

/// Says that nothing is selected; the result is the exit code.
pub fn nothing_selected(why: &str) -> u8 {
    warn_line!("pipeline: nothing is selected: {why}");
    EXIT_NOTHING_SELECTED
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

/// What a run would do.
#[derive(Serialize, JsonSchema)]
pub struct Planned {
    /// Every selected stage, in order
    stages: Vec<PlannedStage>,
    /// What those that would run took the last time, as far as it is known
    secs: f64,
    /// Size of what they wrote then
    bytes: u64,
}

/// What a run would do with a stage.
#[derive(Serialize, JsonSchema)]
struct PlannedStage {
    /// `None` for a stage that all share
    experiment: Option<String>,
    /// Its name
    stage: String,
    /// Whether it would run
    runs: bool,
    /// Why, or why not
    why: String,
    /// Wall time of its last run
    last_secs: Option<f64>,
    /// Size of what it wrote then
    last_bytes: Option<u64>,
}

/// Looks at what would run.
fn plan(manifest: &Manifest, all: &[Node], force: bool, hashes: &mut Hashes) -> Planned {
    let mut planned = Planned { stages: Vec::new(), secs: 0.0, bytes: 0 };
    let states = forecast(all, force, &Store::of(&manifest.run_dir), hashes);
    for (node, state) in all.iter().zip(states) {
        let (runs, why) = match state {
            State::Stale(why) | State::Waiting(why) => (true, why.line()),
            State::Blocked(reason) => (false, format!("cannot run: {reason}")),
            State::Shared { with } => (false, format!("shared with {with}")),
            State::Kept { record, .. } => (false, node.kept_words(&record)),
            State::Fresh => (false, "fresh".to_owned()),
        };
        let last = Record::of(&node.plan);
        let last_secs = last.as_ref().map(|record| record.secs);
        let last_bytes = last.as_ref().map(Record::n_bytes);
        if runs {
            planned.secs += last_secs.unwrap_or(0.0);
            planned.bytes += last_bytes.unwrap_or(0);
        }
        let (experiment, stage) = (node.plan.experiment.clone(), node.plan.stage.to_string());
        planned.stages.push(PlannedStage { experiment, stage, runs, why, last_secs, last_bytes });
    }
    planned
}

impl Planned {
    fn print(&self, as_json: bool) {
        if as_json {
            print_line!("{:#}", json!(self));
            return;
        }
        for PlannedStage { experiment, stage, runs, why, last_secs, last_bytes } in &self.stages {
            let label = contract::plan::label(stage, experiment.as_deref());
            let would = if *runs { "would run" } else { "would not run" };
            let last = last_secs.zip(*last_bytes).filter(|_| *runs);
            let last = last.map_or_else(String::new, |(secs, bytes)| {
                format!("; {secs:.1} s and {} MiB the last time", words::count(bytes >> 20))
            });
            print_line!("{label}: {would} ({why}{last})");
        }
        if self.secs > 0.0 {
            let (secs, mib) = (self.secs, words::count(self.bytes >> 20));
            print_line!("about {secs:.0} s and {mib} MiB, as far as it is known");
        }
    }
}

/// A manifest without a mistake.
#[derive(Serialize, JsonSchema)]
pub struct Checked {
    /// Its file
    manifest: String,
    /// Names of its experiments
    experiments: Vec<String>,
}

/// Says what is probably a mistake.
fn warn(manifest: &Manifest) {
    for warning in manifest.warnings() {
        warn_line!("warning: {warning}");
    }
}

/// Says what a manifest holds.
pub fn check(manifest: &Manifest, as_json: bool) {
    warn(manifest);
    let experiments: Vec<String> = manifest.experiments().map(|e| e.name.clone()).collect();
    let path = manifest.path.display().to_string();
    if as_json {
        print_line!("{:#}", json!(Checked { manifest: path, experiments }));
    } else {
        let names = experiments.join(", ");
        print_line!("{path}: sound; {} experiments: {names}", experiments.len());
    }
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
pub fn compare(manifest: &ManifestArgs, experiments: [&str; 2], json: bool) -> Result<u8> {
    let binary = program(Stage::Report)?;
    let mut command = Command::new(&binary);
    command.arg("compare").args(experiments);
    add_manifest(&mut command, manifest);
    if json {
        command.arg("--json");
    }
    let status = command.status().with_context(|| format!("cannot run {}", binary.display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::EXIT_FAILED))
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

/// Whether a run is at work on the results' folder.
pub fn is_at_work(run_dir: &Path) -> bool {
    let lock = File::open(run_dir.join(LOCK));
    lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

const LOCK: &str = ".lock";

/// Holds the results' folder; the kernel frees it when this program ends, however it ends.
pub fn lock(run_dir: &Path) -> Result<File> {
    std::fs::create_dir_all(run_dir)
        .with_context(|| format!("cannot make {}", run_dir.display()))?;
    let path = run_dir.join(LOCK);
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let mut locked = file.try_lock();
    // Who only looks holds it for a moment.
    for _ in 0..5 {
        if matches!(locked, Err(TryLockError::WouldBlock)) {
            std::thread::sleep(Duration::from_millis(20));
            locked = file.try_lock();
        }
    }
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            bail!(
                "{}: another run is at work here (process {holder}); wait for it to end",
                run_dir.display()
            );
        }
        Err(TryLockError::Error(err)) => {
            return Err(err).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    std::fs::write(&path, std::process::id().to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file)
}

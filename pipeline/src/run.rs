//! Runs what is stale, in order.

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use contract::cli::{self, ManifestArgs, UsageError};
use contract::interrupt::EXIT_INTERRUPTED;
use contract::record::{Hashes, Record};
use contract::{Manifest, Stage, print_line};
use glob::Pattern;

use crate::RunArgs;
use crate::history::{Outcome, Recorder};
use crate::node::{Node, State, Why, nodes, program};
use crate::store::{Store, take_over};

/// Exit code of a run with nothing to do because nothing was selected.
const EXIT_NOTHING_SELECTED: u8 = 4;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

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
    let mut hashes = load_hashes(manifest);
    if args.dry_run {
        let code = dry_run(manifest, &all, args.force, &mut hashes)?;
        save_hashes(manifest, &hashes);
        return Ok(code);
    }

    let _lock = lock(&manifest.run_dir)?;
    // Ctrl-C goes to the stage too, which ends on its own; this program only stops starting.
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))?;
    let mut recorder = Recorder::begin(manifest)?;
    let started = Instant::now();
    let outcome = run_all(&all, manifest, args, &mut hashes, &mut recorder);
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
        Outcome::Done => {
            eprintln!("pipeline: done in {:.1} s", started.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Outcome::Failed | Outcome::Running => ExitCode::FAILURE,
    })
}

/// Runs stage after stage.
fn run_all(
    all: &[Node],
    manifest: &Manifest,
    args: &RunArgs,
    hashes: &mut Hashes,
    recorder: &mut Recorder,
) -> Result<Outcome> {
    let store = Store::of(&manifest.run_dir);
    let mut failed: Vec<String> = Vec::new();
    for node in all {
        let label = node.plan.label();
        if let Some(experiment) = &node.plan.experiment
            && failed.contains(experiment)
        {
            continue;
        }
        let state = match node.state(&store, hashes)? {
            State::Fresh if args.force => State::Stale(Why::of("--force")),
            State::Kept { .. } if args.force && args.stage.is_some() => {
                State::Stale(Why::of("--force"))
            }
            state => state,
        };
        let (outcome, why) = match state {
            State::Fresh => {
                eprintln!("{label}: fresh");
                ("fresh".to_owned(), Why::default())
            }
            State::Kept { dir, record } => {
                take_over(&dir, &record, &node.plan.dir)?;
                let words = node.kept_words(&record);
                eprintln!("{label}: {words}");
                (words, Why::default())
            }
            State::Stale(why) => {
                eprintln!("{label}: running ({})", why.line());
                let is_ok = run_stage(node, args)?;
                (if is_ok { "ran" } else { "failed" }.to_owned(), why)
            }
            State::Blocked(reason) => {
                eprintln!("{label}: cannot run: {reason}");
                ("blocked".to_owned(), Why::of(reason))
            }
        };
        let is_ok = outcome != "failed" && outcome != "blocked";
        recorder.add(node, outcome, why)?;
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Ok(Outcome::Interrupted);
        }
        // A report is made faster than it is found again.
        if is_ok
            && node.plan.stage != Stage::Report
            && let Some(record) = Record::of(&node.plan)
        {
            store.keep(&node.plan.dir, &record, hashes)?;
        }
        if !is_ok {
            match &node.plan.experiment {
                Some(experiment) if args.keep_going => failed.push(experiment.clone()),
                _ => {
                    eprintln!("pipeline: {label} failed; results of earlier stages are kept");
                    return Ok(Outcome::Failed);
                }
            }
        }
    }
    if failed.is_empty() {
        return Ok(Outcome::Done);
    }
    eprintln!("pipeline: failed: {}", failed.join(", "));
    Ok(Outcome::Failed)
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

/// Runs a stage's program; whether it ended well.
fn run_stage(node: &Node, args: &RunArgs) -> Result<bool> {
    let mut command = Command::new(&node.binary);
    match node.plan.stage {
        Stage::Holdout => drop(command.arg("holdout")),
        Stage::Sample => drop(command.arg("sample")),
        Stage::Train | Stage::Score | Stage::Report => {}
    }
    add_manifest(&mut command, &args.manifest);
    if let Some(experiment) = &node.plan.experiment {
        command.arg("--experiment").arg(experiment);
    }
    let cannot = || format!("cannot run {}", node.binary.display());
    // The report's table is the run's result; what other stages say is progress.
    if node.plan.stage == Stage::Report {
        return Ok(command.status().with_context(cannot)?.success());
    }
    let output = command.stdout(Stdio::piped()).spawn().with_context(cannot)?.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if let Some(first) = said.lines().next() {
        eprintln!("{first}");
    }
    Ok(output.status.success())
}

fn add_manifest(command: &mut Command, ManifestArgs { manifest, set }: &ManifestArgs) {
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

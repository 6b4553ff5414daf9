//! Runs what is stale, in order.

use std::collections::HashMap;
use std::fs::File;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use contract::cli::{self, ManifestArgs, UsageError};
use contract::interrupt::EXIT_INTERRUPTED;
use contract::manifest::MemorySize;
use contract::record::{Hashes, Record};
use contract::{Manifest, Stage, print_line};
use glob::Pattern;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::RunArgs;
use crate::child::{self, Event, Running};
use crate::history::{self, Outcome, Recorder};
use crate::node::{Node, State, Why, nodes, program};
use crate::store::{Store, take_over};

/// Exit code of a run with nothing to do because nothing was selected.
const EXIT_NOTHING_SELECTED: u8 = 4;

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

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
    let outcome = Scheduler {
        all: &all,
        args,
        store: Store::of(&manifest.run_dir),
        hashes: &mut hashes,
        recorder: &mut recorder,
        progress: Progress::new(args.quiet),
        ended: vec![None; all.len()],
        running: Vec::new(),
        whys: HashMap::new(),
        has_failed: false,
        jobs: args.jobs.map_or_else(|| history::machine().cores.min(DEFAULT_JOBS), usize::from),
        memory,
    }
    .run();
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

/// How a stage ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its results are there
    Well,
    /// It failed or could not begin
    Badly,
    /// One that it needs failed
    NotRun,
}

/// A run at work.
struct Scheduler<'a> {
    all: &'a [Node],
    args: &'a RunArgs,
    store: Store,
    hashes: &'a mut Hashes,
    recorder: &'a mut Recorder,
    progress: Progress,
    /// By place: `None` until the stage has ended
    ended: Vec<Option<End>>,
    running: Vec<Running>,
    whys: HashMap<usize, Why>,
    has_failed: bool,
    /// Stages that run at once, at most
    jobs: usize,
    /// Bytes that they may take together
    memory: u64,
}

impl Scheduler<'_> {
    /// Runs every stage when those that it needs have ended well.
    fn run(&mut self) -> Result<Outcome> {
        let (sender, events) = mpsc::channel();
        let mut n_signals = 0;
        loop {
            let n_asked = INTERRUPTS.load(Ordering::Relaxed);
            if n_asked > n_signals {
                n_signals = n_asked;
                self.running.iter().for_each(|running| running.stop(n_asked > 1));
            }
            let may_start = n_signals == 0 && (!self.has_failed || self.args.keep_going);
            if may_start {
                self.start_ready(&sender)?;
            }
            if self.running.is_empty() && (!may_start || self.ended.iter().all(Option::is_some)) {
                break;
            }
            match events.recv_timeout(POLL) {
                Ok(Event::Line { node, line }) => self.progress.line(node, &line),
                Ok(Event::End { node, status, stdout }) => self.end(node, status?, &stdout)?,
                Err(_) => {} // time to look whether Ctrl-C was pressed
            }
        }
        let failed: Vec<String> = self
            .all
            .iter()
            .zip(&self.ended)
            .filter(|(_, ended)| **ended == Some(End::Badly))
            .map(|(node, _)| node.plan.label())
            .collect();
        if n_signals > 0 {
            return Ok(Outcome::Interrupted);
        }
        if failed.is_empty() {
            return Ok(Outcome::Done);
        }
        eprintln!("pipeline: failed: {}; results of other stages are kept", failed.join(", "));
        Ok(Outcome::Failed)
    }

    /// Starts or ends whatever can be started or is there already.
    fn start_ready(&mut self, events: &mpsc::Sender<Event>) -> Result<()> {
        for place in 0..self.all.len() {
            let is_open = self.ended[place].is_none()
                && self.running.iter().all(|running| running.node != place);
            if is_open && self.is_ready(place) {
                self.start(place, events)?;
            }
            if self.has_failed && !self.args.keep_going {
                break;
            }
        }
        Ok(())
    }

    /// Whether all that a stage needs has ended; the report does without what failed.
    fn is_ready(&self, place: usize) -> bool {
        let needs = |before: &Node| match &self.all[place].plan {
            plan if plan.stage == Stage::Report => true,
            plan => {
                before.plan.stage == Stage::Holdout
                    || before.plan.experiment == plan.experiment && before.plan.stage < plan.stage
            }
        };
        let is_report = self.all[place].plan.stage == Stage::Report;
        let mut before =
            (0..self.all.len()).filter(|&other| other != place && needs(&self.all[other]));
        before.all(|other| match self.ended[other] {
            Some(end) => end == End::Well || is_report,
            None => false,
        })
    }

    fn start(&mut self, place: usize, events: &mpsc::Sender<Event>) -> Result<()> {
        if self.running.len() >= self.jobs {
            return Ok(());
        }
        let node = &self.all[place];
        let label = node.plan.label();
        let why = match node.state(&self.store, self.hashes)? {
            State::Fresh if self.args.force => Why::of("--force"),
            State::Kept { .. } if self.args.force && self.args.stage.is_some() => {
                Why::of("--force")
            }
            State::Fresh => {
                self.progress.say(&format!("{label}: fresh"));
                return self.finish(place, "fresh", Why::default());
            }
            State::Kept { dir, record } => {
                take_over(&dir, &record, &node.plan.dir)?;
                let words = node.kept_words(&record);
                self.progress.say(&format!("{label}: {words}"));
                return self.finish(place, &words, Why::default());
            }
            State::Blocked(reason) => {
                self.progress.fail(&format!("{label}: cannot run: {reason}"));
                return self.finish(place, "blocked", Why::of(reason));
            }
            State::Stale(why) => why,
        };
        let is_made = |running: &Running| {
            !why.fingerprint.is_empty() && running.fingerprint == why.fingerprint
        };
        let memory = self.expected_memory(node);
        let taken: u64 = self.running.iter().map(|running| running.memory).sum();
        let fits = self.running.is_empty() || taken + memory <= self.memory;
        if self.running.iter().any(is_made) || !fits {
            return Ok(()); // later
        }
        self.progress.say(&format!("{label}: running ({})", why.line()));
        let group = child::start(command(node, self.args, self.jobs), place, node, events)?;
        self.running.push(Running::new(place, group, why.fingerprint.clone(), memory));
        self.progress.start(place, &label);
        self.whys.insert(place, why);
        Ok(())
    }

    /// What the stage took the last time; its share where that is not known.
    fn expected_memory(&self, node: &Node) -> u64 {
        let last = Record::of(&node.plan).and_then(|record| record.peak_memory_bytes);
        last.unwrap_or(self.memory / self.jobs as u64)
    }

    fn end(&mut self, place: usize, status: ExitStatus, stdout: &str) -> Result<()> {
        self.running.retain(|running| running.node != place);
        self.progress.end(place);
        let node = &self.all[place];
        let why = self.whys.remove(&place).unwrap_or_default();
        if !status.success() {
            let label = node.plan.label();
            if INTERRUPTS.load(Ordering::Relaxed) == 0 {
                let (lines, log) = (child::last_lines(node), child::log_path(node));
                self.progress.fail(&format!(
                    "{label}: failed ({status}); its last lines, of {}:\n{lines}",
                    log.display()
                ));
            }
            return self.finish(place, "failed", why);
        }
        // The report's table is the run's result; what other stages say is progress.
        if node.plan.stage == Stage::Report {
            print_line!("{}", stdout.trim_end());
        } else if let Some(first) = stdout.lines().next() {
            self.progress.say(first);
        }
        self.finish(place, "ran", why)
    }

    /// Notes what became of a stage.
    fn finish(&mut self, place: usize, outcome: &str, why: Why) -> Result<()> {
        let node = &self.all[place];
        let is_ok = outcome != "failed" && outcome != "blocked";
        self.recorder.add(node, outcome, why)?;
        // A report is made faster than it is found again.
        if is_ok
            && node.plan.stage != Stage::Report
            && let Some(record) = Record::of(&node.plan)
        {
            self.store.keep(&node.plan.dir, &record, self.hashes)?;
        }
        self.ended[place] = Some(if is_ok { End::Well } else { End::Badly });
        if !is_ok {
            self.has_failed = true;
            // What follows a failure is not run.
            for (other, ended) in self.ended.iter_mut().enumerate() {
                let later = &self.all[other].plan;
                let follows = match &node.plan.experiment {
                    Some(experiment) => {
                        later.experiment.as_ref() == Some(experiment)
                            && later.stage > node.plan.stage
                    }
                    None => true,
                };
                if follows && ended.is_none() {
                    *ended = Some(End::NotRun);
                }
            }
        }
        Ok(())
    }
}

/// Stages that run at once by default, at most. Two on two cores, each on one, take a sixth less time
/// than one on both (measured on the demo); beyond four, one long stage would be left with too few.
const DEFAULT_JOBS: usize = 4;

/// How long the runner waits for a stage before it looks whether Ctrl-C was pressed.
const POLL: Duration = Duration::from_millis(100);

/// What is shown of stages at work: on a terminal a line each, else what they say.
struct Progress {
    bars: Option<MultiProgress>,
    of_node: HashMap<usize, ProgressBar>,
    is_quiet: bool,
}

impl Progress {
    fn new(is_quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && !is_quiet;
        Self { bars: is_terminal.then(MultiProgress::new), of_node: HashMap::new(), is_quiet }
    }

    /// Something that a reader may want to know.
    fn say(&self, text: &str) {
        if !self.is_quiet {
            self.fail(text);
        }
    }

    /// Something that a reader must know.
    fn fail(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn start(&mut self, place: usize, label: &str) {
        if let Some(bars) = &self.bars {
            let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}");
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style.expect("the template is sound"));
            bar.set_prefix(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(500));
            self.of_node.insert(place, bar);
        }
    }

    fn line(&self, place: usize, line: &str) {
        match self.of_node.get(&place) {
            Some(bar) => bar.set_message(line.to_owned()),
            None => self.say(line),
        }
    }

    fn end(&mut self, place: usize) {
        if let Some(bar) = self.of_node.remove(&place) {
            bar.finish_and_clear();
        }
    }
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

/// The command that runs a stage.
fn command(node: &Node, args: &RunArgs, jobs: usize) -> Command {
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
    if jobs > 1 {
        let share = (history::machine().cores / jobs).max(1);
        command.env("RAYON_NUM_THREADS", share.to_string());
    }
    command
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

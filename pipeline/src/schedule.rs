//! Which stage runs when: as soon as those that it needs have ended well, as many at once as the
//! cores and the memory allow.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use contract::cli::{ManifestArgs, UNDER_RUNNER};
use contract::hashes::Hashes;
use contract::record::Record;
use contract::{Stage, print_line, warn_line};
use nix::sys::signal::Signal;

use crate::RunArgs;
use crate::child::{self, Event, Running};
use crate::history::{Outcome, Recorder, machine};
use crate::node::{Node, State, Why};
use crate::progress::Progress;
use crate::run::add_manifest;
use crate::store::{Store, take_over};

/// How often Ctrl-C was pressed.
pub static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// A run at work.
pub struct Scheduler<'a> {
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
    /// Fingerprints of what this run made
    made: BTreeSet<String>,
    /// What stages are told of the manifest
    manifest: ManifestArgs,
    has_failed: bool,
    /// Stages that run at once, at most
    jobs: usize,
    /// Bytes that they may take together
    memory: u64,
}

impl<'a> Scheduler<'a> {
    /// A run of these stages, of which nothing has begun.
    ///
    /// * `manifest`: the manifest, and what is set in it, for stages that are not told which
    ///   experiments were named.
    /// * `memory`: bytes that stages may take together.
    pub fn new(
        all: &'a [Node],
        args: &'a RunArgs,
        manifest: ManifestArgs,
        store: Store,
        memory: u64,
        hashes: &'a mut Hashes,
        recorder: &'a mut Recorder,
    ) -> Self {
        Self {
            all,
            args,
            store,
            hashes,
            recorder,
            progress: Progress::new(args.quiet),
            ended: vec![None; all.len()],
            running: Vec::new(),
            whys: HashMap::new(),
            made: BTreeSet::new(),
            manifest,
            has_failed: false,
            jobs: args.jobs.map_or_else(|| machine().cores.min(DEFAULT_JOBS), usize::from),
            memory,
        }
    }

    /// Runs every stage when those that it needs have ended well.
    ///
    /// # Errors
    ///
    /// If a program cannot be waited for; a stage's failure is none.
    pub fn run(mut self) -> Result<Outcome> {
        let (sender, events) = mpsc::channel();
        let mut n_signals = 0;
        // What can start changes only when a stage has ended; looking means hashing files.
        let mut has_changed = true;
        loop {
            let n_asked = INTERRUPTS.load(Ordering::Relaxed);
            if n_asked > n_signals {
                n_signals = n_asked;
                self.running.iter().for_each(|running| running.stop(n_asked > 1));
                if n_asked == 1 && !self.running.is_empty() {
                    self.progress.say(
                        "stopping; stages at work keep what they can. Ctrl-C again ends them at once",
                    );
                }
            }
            let may_start = n_signals == 0 && self.may_start();
            // With nothing at work something must be found to start: one that could not has ended.
            if may_start && (std::mem::take(&mut has_changed) || self.running.is_empty()) {
                self.start_ready(&sender);
            }
            if self.running.is_empty() && (!may_start || self.ended.iter().all(Option::is_some)) {
                break;
            }
            match events.recv_timeout(POLL) {
                Ok(Event::Line { node, line }) => self.progress.line(node, &line),
                Ok(Event::End { node, status, stdout }) => {
                    self.end(node, status?, &stdout);
                    has_changed = true;
                }
                Err(_) => {} // time to look whether Ctrl-C was pressed
            }
        }
        if n_signals > 0 {
            return Ok(Outcome::Interrupted);
        }
        let labels = |is_meant: fn(&Option<End>) -> bool| {
            let nodes = self.all.iter().zip(&self.ended).filter(|(_, ended)| is_meant(ended));
            nodes.map(|(node, _)| node.plan.label()).collect::<Vec<_>>()
        };
        let failed = labels(|ended| *ended == Some(End::Badly));
        if failed.is_empty() {
            return Ok(Outcome::Done);
        }
        warn_line!("pipeline: failed: {}; results of other stages are kept", failed.join(", "));
        let n_left = labels(|ended| matches!(ended, None | Some(End::NotRun))).len();
        if n_left > 0 {
            warn_line!("pipeline: not run: {n_left} more");
        }
        let keep_going =
            if self.args.keep_going { "" } else { "; `--keep-going` runs what does not need it" };
        warn_line!("hint: fix it, then `pipeline run` goes on from here{keep_going}");
        Ok(Outcome::Failed)
    }

    /// Ends what is there already and starts what can be started.
    fn start_ready(&mut self, events: &mpsc::Sender<Event>) {
        // What is there already first: how many cores a stage gets goes by what is left to do.
        let stale = loop {
            let (mut stale, mut has_ended) = (Vec::new(), false);
            for place in 0..self.all.len() {
                let is_running = self.running.iter().any(|running| running.node == place);
                if is_running || self.ended[place].is_some() || !self.is_ready(place) {
                    continue;
                }
                match self.look(place) {
                    Some(why) => stale.push((place, why)),
                    None => has_ended = true,
                }
                if !self.may_start() {
                    return;
                }
            }
            if !has_ended {
                break stale;
            }
        };
        let n_threads = self.share_of_cores(&stale);
        for (place, why) in stale {
            if self.running.len() < self.jobs && self.may_start() {
                self.start(place, why, n_threads, events);
            }
        }
    }

    /// Cores for each stage that is started now: no more are at work at once than there are to
    /// start, and of those that make the same only one.
    fn share_of_cores(&self, stale: &[(usize, Why)]) -> usize {
        let waiting = stale.iter().map(|(_, why)| &*why.fingerprint);
        let running = self.running.iter().map(|running| &*running.fingerprint);
        let (unknown, known): (Vec<&str>, Vec<&str>) =
            waiting.chain(running).partition(|fingerprint| fingerprint.is_empty());
        let n_at_once = unknown.len() + known.into_iter().collect::<BTreeSet<_>>().len();
        (machine().cores / n_at_once.clamp(1, self.jobs)).max(1)
    }

    /// Whether no failure keeps other stages from being started.
    fn may_start(&self) -> bool {
        !self.has_failed || self.args.keep_going
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

    /// Ends a stage whose results are there, or that cannot run; else says why it must run.
    fn look(&mut self, place: usize) -> Option<Why> {
        let node = &self.all[place];
        let state = node.state(&self.store, self.hashes);
        let mut state = state.unwrap_or_else(|err| State::Blocked(format!("{err:#}")));
        let is_made = match &state {
            State::Fresh => {
                Record::of(&node.plan).is_some_and(|r| self.made.contains(&r.fingerprint))
            }
            State::Kept { record, .. } => self.made.contains(&record.fingerprint),
            _ => false,
        };
        if self.args.force && !is_made {
            state = state.forced(node);
        }
        let label = node.plan.label();
        match state {
            State::Fresh => {
                self.progress.say(&format!("{label}: fresh"));
                self.finish(place, "fresh", Why::default(), None);
            }
            State::Kept { dir, record, why } => {
                self.keep_earlier(node);
                if let Err(err) = take_over(&dir, &record, &node.plan.dir) {
                    self.cannot_run(place, &format!("{err:#}"));
                    return None;
                }
                let _ = std::fs::remove_file(child::log_path(node)); // of other results
                let words = node.kept_words(&record);
                self.progress.say(&format!("{label}: {words}"));
                self.finish(place, &words, why, None);
            }
            State::Stale(why) => return Some(why),
            State::Blocked(reason) => self.cannot_run(place, &reason),
            State::Waiting(_) | State::Shared { .. } => unreachable!("said by a forecast alone"),
        }
        None
    }

    /// Ends a stage that cannot begin.
    fn cannot_run(&mut self, place: usize, reason: &str) {
        self.progress.fail(&format!("{}: cannot run: {reason}", self.all[place].plan.label()));
        self.finish(place, "blocked", Why::of(reason), None);
    }

    /// Keeps results that a stage made without the runner, before others take their place.
    fn keep_earlier(&mut self, node: &Node) {
        let whole =
            |record: &Record, hashes: &mut Hashes| record.damage(&node.plan.dir, hashes).is_none();
        if let Some(record) = Record::of(&node.plan).filter(|record| whole(record, self.hashes)) {
            self.keep(node, &record);
        }
    }

    /// Keeps results by their fingerprint. A full disk is no reason to stop: nothing is lost yet.
    fn keep(&mut self, node: &Node, record: &Record) {
        // A report is made faster than it is found again.
        if node.plan.stage != Stage::Report
            && let Err(err) = self.store.keep(&node.plan.dir, record, self.hashes)
        {
            self.progress.fail(&format!("warning: {}: {err:#}", node.plan.label()));
        }
    }

    /// Starts a stage, if there is memory for it and just this is not being made already.
    ///
    /// * `n_threads`: its share of the cores.
    fn start(&mut self, place: usize, why: Why, n_threads: usize, events: &mpsc::Sender<Event>) {
        let node = &self.all[place];
        let label = node.plan.label();
        let is_made = |running: &Running| {
            !why.fingerprint.is_empty() && running.fingerprint == why.fingerprint
        };
        let memory = self.expected_memory(node);
        let taken: u64 = self.running.iter().map(|running| running.memory).sum();
        let fits = self.running.is_empty() || taken + memory <= self.memory;
        if self.running.iter().any(is_made) || !fits {
            return; // later
        }
        self.keep_earlier(node);
        let command = command(node, &self.manifest, n_threads);
        let group = match child::start(command, place, node, events) {
            Ok(group) => group,
            Err(err) => return self.cannot_run(place, &format!("{err:#}")),
        };
        self.progress.say(&format!("{label}: running ({})", why.line()));
        self.running.push(Running::new(place, group, why.fingerprint.clone(), memory));
        self.progress.start(place, &label);
        self.whys.insert(place, why);
    }

    /// What the stage took the last time; its share where that is not known.
    fn expected_memory(&self, node: &Node) -> u64 {
        let last = Record::of(&node.plan).and_then(|record| record.peak_memory_bytes);
        last.unwrap_or(self.memory / self.jobs as u64)
    }

    fn end(&mut self, place: usize, status: ExitStatus, stdout: &str) {
        let ended = self.running.iter().position(|running| running.node == place);
        let ended = ended.map(|i| self.running.remove(i));
        let secs = ended.map(|running| running.started.elapsed().as_secs_f64());
        self.progress.end(place);
        let node = &self.all[place];
        let why = self.whys.remove(&place).unwrap_or_default();
        if !status.success() {
            let label = node.plan.label();
            let is_interrupted = INTERRUPTS.load(Ordering::Relaxed) > 0;
            if !is_interrupted {
                let log = child::log_path(node).display().to_string();
                let lines = if self.progress.shows_lines() {
                    format!("its log is {log}") // its lines stand above
                } else {
                    format!("its last lines, of {log}:\n{}", child::last_lines(node))
                };
                let killed = if status.signal() == Some(Signal::SIGKILL as i32) {
                    "\nhint: something killed it, as the system does when memory runs out; try `-j 1`"
                } else {
                    ""
                };
                self.progress.fail(&format!("{label}: failed ({status}); {lines}{killed}"));
            }
            let outcome = if is_interrupted { "interrupted" } else { "failed" };
            return self.finish(place, outcome, why, secs);
        }
        // The report's table is the run's result; what other stages say is progress.
        if node.plan.stage == Stage::Report && !self.args.json {
            print_line!("{}", stdout.trim_end());
        } else if let Some(first) = stdout.lines().next() {
            self.progress.say(first);
        }
        self.finish(place, "ran", why, secs);
    }

    /// Notes what became of a stage.
    ///
    /// * `secs`: that it was at work, if it was.
    fn finish(&mut self, place: usize, outcome: &str, why: Why, secs: Option<f64>) {
        let node = &self.all[place];
        let is_ok = !["failed", "blocked", "interrupted"].contains(&outcome);
        let record = Record::of(&node.plan).filter(|_| is_ok);
        if let Err(err) = self.recorder.add(node, outcome, why, record.as_ref(), secs) {
            // The stage's own record counts; this one is for people.
            self.progress.fail(&format!("warning: {err:#}"));
        }
        if let Some(record) = record {
            self.keep(node, &record);
            if outcome == "ran" {
                self.made.insert(record.fingerprint);
            }
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
    }
}

/// Stages that run at once by default, at most. Two on two cores, each on one, take a sixth less time
/// than one on both (measured on the demo); beyond four, one long stage would be left with too few.
const DEFAULT_JOBS: usize = 4;

/// How long the runner waits for a stage before it looks whether Ctrl-C was pressed.
const POLL: Duration = Duration::from_millis(100);

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

/// The command that runs a stage.
fn command(node: &Node, manifest: &ManifestArgs, n_threads: usize) -> Command {
    let mut command = Command::new(&node.binary);
    match node.plan.stage {
        Stage::Holdout => drop(command.arg("holdout")),
        Stage::Sample => drop(command.arg("sample")),
        Stage::Train | Stage::Score | Stage::Report => {}
    }
    add_manifest(&mut command, manifest);
    if let Some(experiment) = &node.plan.experiment {
        command.arg("--experiment").arg(experiment);
    }
    command.env(UNDER_RUNNER, "1");
    if n_threads < machine().cores {
        command.env("RAYON_NUM_THREADS", n_threads.to_string());
    }
    command
}

//! Which stage runs when: as soon as those that it needs have ended well, as many at once as the
//! cores and the memory allow.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Result;
use contract::cli::ManifestArgs;
use contract::hashes::Hashes;
use contract::record::Record;
use contract::words::plural;
use contract::{Stage, print_line, warn_line};
use nix::sys::signal::Signal;

use crate::args::RunArgs;
use crate::child::{self, Event, Group};
use crate::forecast::{Forecast, forecast};
use crate::freshness::{State, Why};
use crate::graph::{Node, fails_with, needs};
use crate::left::Left;
use crate::program;
use crate::progress::Progress;
use crate::store::{Store, take_over};
use contract::machine;
use contract::outcome::{Outcome, StageResult};
use contract::runs::{Recorder, StageEnd};

/// How often Ctrl-C was pressed.
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// From now on Ctrl-C and SIGTERM do not end this program, but stop a [`Scheduler`].
///
/// # Errors
///
/// If the system refuses.
pub fn catch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| {
        INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    })?;
    Ok(())
}

/// Runs a list of stages. A stage is named by its place in that list.
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
    /// Fingerprints of what this run made
    made: BTreeSet<String>,
    /// What the stages' programs are given of the manifest
    manifest: ManifestArgs,
    has_failed: bool,
    /// Stages that run at once, at most
    jobs: usize,
    /// Bytes that they may take together
    memory: u64,
    n_interrupts: usize,
}

/// How a stage ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    /// It failed or could not start.
    Badly,
    /// One that it needs failed.
    NotRun,
}

/// A stage that must run.
struct Due {
    place: usize,
    /// Of the results that it will make
    fingerprint: String,
    why: Why,
}

/// A stage that is running.
struct Running {
    due: Due,
    group: Group,
    /// Bytes that it is expected to take
    memory: u64,
    started: Instant,
}

impl<'a> Scheduler<'a> {
    /// * `manifest`: the manifest and the values set in it, for stages' programs, which are not given
    ///   the names of the selected experiments.
    pub fn new(
        all: &'a [Node],
        args: &'a RunArgs,
        manifest: ManifestArgs,
        store: Store,
        hashes: &'a mut Hashes,
        recorder: &'a mut Recorder,
    ) -> Self {
        let jobs = args.how.jobs.map_or_else(|| machine::cores().min(DEFAULT_JOBS), usize::from);
        let forecasts = forecast(all, args.how.force, &store, hashes);
        let will_run = forecasts.iter().map(Forecast::will_run);
        let progress =
            Progress::new(Left::new(all.iter().zip(will_run)), all.len(), jobs, args.how.quiet);
        Self {
            all,
            args,
            store,
            hashes,
            recorder,
            progress,
            ended: vec![None; all.len()],
            running: Vec::new(),
            made: BTreeSet::new(),
            manifest,
            has_failed: false,
            jobs,
            memory: args.how.memory.unwrap_or_else(machine::most_of_memory),
            n_interrupts: 0,
        }
    }

    /// Runs every stage when those that it needs have ended well.
    ///
    /// # Errors
    ///
    /// If a program cannot be waited for. A stage that fails is no error, but an outcome.
    pub fn run(mut self) -> Result<Outcome> {
        let (sender, events) = mpsc::channel();
        // What can start changes only when a stage has ended; looking means hashing files.
        let mut has_changed = true;
        loop {
            self.pass_on_interrupts();
            let may_start = self.n_interrupts == 0 && self.may_start();
            // While nothing runs, a stage that can be started is always found: each that cannot has ended.
            if may_start && (std::mem::take(&mut has_changed) || self.running.is_empty()) {
                self.start_ready(&sender);
            }
            if self.running.is_empty() && (!may_start || self.ended.iter().all(Option::is_some)) {
                break;
            }
            match events.recv_timeout(POLL) {
                Ok(Event::Line { place, line }) => self.progress.line(place, &line),
                Ok(Event::End { place, status, stdout }) => {
                    self.end(place, status?, &stdout);
                    has_changed = true;
                }
                Err(_) => self.progress.tick(), // and time to look for an interrupt
            }
        }
        self.progress.finish();
        Ok(if self.n_interrupts > 0 { Outcome::Interrupted } else { self.conclude() })
    }

    /// The first Ctrl-C asks running stages to end, the second ends them at once.
    fn pass_on_interrupts(&mut self) {
        let n_interrupts = INTERRUPTS.load(Ordering::Relaxed);
        if n_interrupts == self.n_interrupts {
            return;
        }
        self.n_interrupts = n_interrupts;
        for running in &self.running {
            if n_interrupts > 1 { running.group.kill() } else { running.group.interrupt() }
        }
        if n_interrupts == 1 && !self.running.is_empty() {
            self.progress.say(
                "stopping: running stages save what they can; press Ctrl-C again to end them at once",
            );
        }
    }

    /// Says what failed, if anything did.
    fn conclude(&self) -> Outcome {
        let places = |is_meant: fn(&Option<End>) -> bool| {
            (0..self.all.len()).filter(move |&place| is_meant(&self.ended[place]))
        };
        let failed: Vec<String> =
            places(|end| *end == Some(End::Badly)).map(|place| self.label(place)).collect();
        if failed.is_empty() {
            return Outcome::Done;
        }
        warn_line!("pipeline: failed: {}; results of other stages are kept", failed.join(", "));
        let n_not_run = places(|end| matches!(end, None | Some(End::NotRun))).count();
        if n_not_run > 0 {
            warn_line!("pipeline: not run: {}", plural(n_not_run as u64, "more stage"));
        }
        let keep_going = if self.args.how.keep_going {
            ""
        } else {
            "; `--keep-going` also runs the stages that do not need it"
        };
        warn_line!("hint: fix it, then run `pipeline run` again{keep_going}");
        Outcome::Failed
    }

    fn label(&self, place: usize) -> String {
        self.all[place].plan.id.to_string()
    }

    /// Whether no failure keeps other stages from being started.
    fn may_start(&self) -> bool {
        !self.has_failed || self.args.how.keep_going
    }

    /// Ends the stages whose results exist already, and starts others that can be started.
    fn start_ready(&mut self, events: &mpsc::Sender<Event>) {
        // Existing results first, as the share of the cores depends on how many stages must run.
        let due = loop {
            let (mut due, mut has_ended) = (Vec::new(), false);
            for place in 0..self.all.len() {
                let is_running = self.running.iter().any(|running| running.due.place == place);
                if is_running || self.ended[place].is_some() || !self.is_ready(place) {
                    continue;
                }
                match self.look(place) {
                    Some(stage) => due.push(stage),
                    None => has_ended = true,
                }
                if !self.may_start() {
                    return;
                }
            }
            if !has_ended {
                break due;
            }
        };
        let n_threads = self.share_of_cores(&due);
        for stage in due {
            if self.running.len() < self.jobs && self.may_start() {
                self.start(stage, n_threads, events);
            }
        }
    }

    /// Whether all stages that a stage needs have ended, and so that it can run.
    fn is_ready(&self, place: usize) -> bool {
        let id = &self.all[place].plan.id;
        self.all.iter().zip(&self.ended).all(|(other, end)| match end {
            _ if !needs(id, &other.plan.id) => true,
            None => false,
            Some(End::Well) => true,
            Some(End::Badly | End::NotRun) => !fails_with(id, &other.plan.id),
        })
    }

    /// Ends a stage whose results exist, or that cannot run; else says why it must run.
    fn look(&mut self, place: usize) -> Option<Due> {
        let node = &self.all[place];
        let mut state = State::of(node, &self.store, self.hashes);
        let is_made = state.fingerprint().is_some_and(|f| self.made.contains(f));
        if self.args.how.force && !is_made {
            state = state.forced();
        }
        match state {
            State::Fresh { .. } => {
                self.progress.fresh(&node.plan.id.to_string());
                let end = StageEnd::without_running(StageResult::Fresh, Why::default());
                self.finish(place, end);
            }
            State::Kept { dir, record, why } => {
                self.keep_earlier(node);
                if let Err(err) = take_over(&dir, &record, &node.plan.dir) {
                    self.cannot_run(place, &format!("{err:#}"));
                    return None;
                }
                let _ = std::fs::remove_file(node.plan.log_path()); // of the results before
                let result = StageResult::of_kept(
                    record.experiment.as_ref(),
                    node.plan.id.experiment.as_ref(),
                );
                self.progress.say(&format!("{}: {result}", node.plan.id));
                self.finish(place, StageEnd::without_running(result, why));
            }
            State::Stale { fingerprint, why } => return Some(Due { place, fingerprint, why }),
            State::Ended { rungs, .. } => {
                let words = rungs.ended_in_words().unwrap_or_default();
                self.progress.say(&format!("{}: {words}", node.plan.id));
                let why = Why::of(words);
                self.finish(place, StageEnd::without_running(StageResult::EndedEarly, why));
            }
            State::Blocked(reason) => self.cannot_run(place, &reason),
        }
        None
    }

    /// Cores for each stage that is started now. Of stages that would make the same results only one
    /// runs.
    fn share_of_cores(&self, due: &[Due]) -> usize {
        let all = due.iter().chain(self.running.iter().map(|running| &running.due));
        let n_different = all.map(|stage| &stage.fingerprint).collect::<BTreeSet<_>>().len();
        (machine::cores() / n_different.clamp(1, self.jobs)).max(1)
    }

    /// Starts a stage, unless its memory is taken or another is making the same results.
    ///
    /// * `n_threads`: its share of the cores.
    fn start(&mut self, due: Due, n_threads: usize, events: &mpsc::Sender<Event>) {
        let node = &self.all[due.place];
        let memory = self.expected_memory(due.place);
        let taken: u64 = self.running.iter().map(|running| running.memory).sum();
        let fits = self.running.is_empty() || taken + memory <= self.memory;
        let is_same = |running: &Running| running.due.fingerprint == due.fingerprint;
        if self.running.iter().any(is_same) || !fits {
            return; // later
        }
        self.keep_earlier(node);
        let Node { plan, binary, pause_after, .. } = node;
        let command = program::command(binary, &plan.id, *pause_after, &self.manifest, n_threads);
        let group = match child::start(command, due.place, &plan.log_path(), events) {
            Ok(group) => group,
            Err(err) => return self.cannot_run(due.place, &format!("{err:#}")),
        };
        let why = match node.pause_after {
            Some(updates) => format!("to update {updates}"),
            None => due.why.line(),
        };
        self.progress.say(&format!("{}: running ({why})", plan.id));
        self.progress.start(due.place, &plan.id.to_string());
        self.running.push(Running { due, group, memory, started: Instant::now() });
    }

    /// Bytes that the stage took the last time; an equal share where that is not known.
    fn expected_memory(&self, place: usize) -> u64 {
        let last = Record::of(&self.all[place].plan).and_then(|record| record.peak_memory_bytes);
        last.unwrap_or(self.memory / self.jobs as u64)
    }

    /// Ends a stage that cannot be started.
    fn cannot_run(&mut self, place: usize, reason: &str) {
        self.progress.fail(&format!("{}: cannot run: {reason}", self.label(place)));
        self.finish(place, StageEnd::without_running(StageResult::Blocked, Why::of(reason)));
    }

    /// Ends a stage whose program has ended.
    fn end(&mut self, place: usize, status: ExitStatus, stdout: &str) {
        let is_it = |running: &Running| running.due.place == place;
        let running = self.running.iter().position(is_it).expect("only running stages end");
        let Running { due: Due { fingerprint, why, .. }, started, .. } =
            self.running.remove(running);
        let secs = Some(started.elapsed().as_secs_f64());
        self.progress.stop(place);
        let is_paused =
            || Record::of(&self.all[place].plan).is_none_or(|r| r.fingerprint != fingerprint);
        let result = if status.success() && self.all[place].pause_after.is_some() && is_paused() {
            StageResult::Paused
        } else if status.success() {
            StageResult::Ran
        } else if INTERRUPTS.load(Ordering::Relaxed) > 0 {
            StageResult::Interrupted
        } else {
            self.show_failure(place, status);
            StageResult::Failed
        };
        self.finish(place, StageEnd { result, why, fingerprint: Some(fingerprint), secs });
        if status.success() {
            self.show_result(place, stdout);
        }
    }

    /// Shows what a program wrote to stdout: the report's table is the result of the run, the summaries
    /// of other stages are progress.
    fn show_result(&self, place: usize, stdout: &str) {
        let is_report = self.all[place].plan.id.stage == Stage::Report;
        let first = stdout.lines().next().unwrap_or_default();
        match is_report {
            true if self.args.json || self.args.is_sweep => self.progress.result("report: made"),
            true => print_line!("{}", stdout.trim_end()),
            false => self.progress.result(first),
        }
    }

    fn show_failure(&self, place: usize, status: ExitStatus) {
        let log = self.all[place].plan.log_path();
        let lines = format!("the last lines of {}:\n{}", log.display(), child::last_lines(&log));
        let hint = if status.signal() == Some(Signal::SIGKILL as i32) {
            "\nhint: it was killed, perhaps because the memory ran out; try `-j 1`"
        } else {
            ""
        };
        self.progress.fail(&format!("{}: failed ({status}); {lines}{hint}", self.label(place)));
    }

    /// Records what became of a stage. If it ended badly, those that cannot run without it have ended
    /// too.
    fn finish(&mut self, place: usize, end: StageEnd) {
        let node = &self.all[place];
        let ended = match end.result {
            StageResult::EndedEarly => End::NotRun,
            StageResult::Paused => End::Well,
            _ if end.result.is_success() => End::Well,
            _ => End::Badly,
        };
        let (is_success, ran) = (end.result.is_success(), end.result == StageResult::Ran);
        self.progress.end(place, end.secs.filter(|_| ran));
        let record = Record::of(&node.plan).filter(|_| is_success);
        if let Err(err) = self.recorder.add(&node.plan, end, record.as_ref()) {
            // What counts is the stage's own record.
            self.progress.fail(&format!("warning: {err:#}"));
        }
        if let Some(record) = record {
            self.keep(node, &record);
            if ran {
                self.made.insert(record.fingerprint);
            }
        }
        self.ended[place] = Some(ended);
        self.has_failed |= ended == End::Badly;
        if ended != End::Well {
            for (other, ended) in self.all.iter().zip(&mut self.ended) {
                if fails_with(&other.plan.id, &node.plan.id) {
                    ended.get_or_insert(End::NotRun);
                }
            }
        }
    }

    /// Keeps the undamaged results of a stage before others replace them: they may be of a stage that was
    /// run without the runner.
    fn keep_earlier(&mut self, node: &Node) {
        if let Some(record) = Record::of(&node.plan)
            && record.damage(&node.plan.dir, self.hashes).is_none()
        {
            self.keep(node, &record);
        }
    }

    /// Puts results into the store. A failure, as on a full disk, is no reason to stop: nothing is lost yet.
    fn keep(&mut self, node: &Node, record: &Record) {
        // Making a report takes less time than checking that a kept one is undamaged.
        if node.plan.id.stage != Stage::Report
            && let Err(err) = self.store.keep(&node.plan.dir, record, self.hashes)
        {
            self.progress.fail(&format!("warning: {}: {err:#}", node.plan.id));
        }
    }
}

/// Stages that run at once by default, at most. Two on two cores, each on one, take a sixth less time
/// than one on both (measured on the demo); beyond four, one long stage would be left with too few.
const DEFAULT_JOBS: usize = 4;

/// How long the runner waits for an event before it looks for an interrupt.
const POLL: Duration = Duration::from_millis(100);

//! A stage of an experiment: what it needs, and whether its results are fresh.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use contract::Stage;
use contract::hashes::Hashes;
use contract::manifest::{Experiment, Manifest};
use contract::plan::StagePlan;
use contract::record::{Change, Parts, Record};

use crate::child;
use crate::store::Store;

/// A stage of an experiment, or one that all share.
pub struct Node {
    /// What it reads and writes
    pub plan: StagePlan,
    /// Its program
    pub binary: PathBuf,
}

/// Whether a stage must run.
#[derive(Debug)]
pub enum State {
    /// Its results are those that running it would give
    Fresh,
    /// Just these results are kept: of another experiment, or of an earlier setting
    Kept {
        /// Where they are kept
        dir: PathBuf,
        /// What they are
        record: Box<Record>,
        /// Why they are not those that are there
        why: Why,
    },
    /// It must run
    Stale(Why),
    /// A stage before it would run, so it cannot be said yet; what is known already
    Waiting(Why),
    /// An experiment before it in the list makes just this, and it would take that over
    Shared {
        /// That experiment
        with: String,
    },
    /// Something that it needs is not there or cannot be read
    Blocked(String),
}

/// Why a stage must run.
#[derive(Debug, Default)]
pub struct Why {
    /// A reason that is no change of a part
    pub words: Option<String>,
    /// Parts of the fingerprint that are not as they were
    pub changes: Vec<Change>,
    /// Of what it would make; empty where that cannot be told
    pub fingerprint: String,
}

impl Why {
    /// A reason in words.
    pub fn of(words: impl Into<String>) -> Self {
        Self { words: Some(words.into()), ..Self::default() }
    }

    /// Every reason in words.
    pub fn reasons(&self) -> Vec<String> {
        self.words.iter().cloned().chain(self.changes.iter().map(Change::to_string)).collect()
    }

    /// The first reasons on one line.
    pub fn line(&self) -> String {
        const SHOWN: usize = 3;

        // A change of a query goes on for lines.
        let first = |reason: String| {
            reason.lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
        };
        let mut reasons: Vec<String> = self.reasons().into_iter().map(first).collect();
        let n_more = reasons.len().saturating_sub(SHOWN);
        reasons.truncate(SHOWN);
        if n_more > 0 {
            reasons.push(format!("and {n_more} more; see `pipeline explain`"));
        }
        reasons.join("; ")
    }
}

/// All stages of the selected experiments in the order they run; the report is last.
pub fn nodes(manifest: &Manifest, selected: &[String]) -> Result<Vec<Node>> {
    let node = |stage: Stage, experiment: Option<&Experiment>| -> Result<Node> {
        Ok(Node { plan: manifest.plan(stage, experiment), binary: program(stage)? })
    };
    let mut nodes = vec![node(Stage::Holdout, None)?];
    for experiment in manifest.experiments() {
        if selected.is_empty() || selected.contains(&experiment.name) {
            for stage in Stage::OF_EXPERIMENT {
                if stage != Stage::Sample || experiment.needs_sample() {
                    nodes.push(node(stage, Some(experiment))?);
                }
            }
        }
    }
    nodes.push(node(Stage::Report, None)?);
    Ok(nodes)
}

/// A stage's program: it stands beside this one.
///
/// # Errors
///
/// If this program's folder is not known.
pub fn program(stage: Stage) -> Result<PathBuf> {
    let here = std::env::current_exe().context("cannot find this program's folder")?;
    Ok(here.parent().unwrap_or(Path::new(".")).join(stage.binary()))
}

/// The state of every stage in a list, in order, as a run of just these would find it: what a stage
/// would take over or leave as it is counts for those after it.
///
/// * `force`: whether also what is there would run.
pub fn forecast(nodes: &[Node], force: bool, store: &Store, hashes: &mut Hashes) -> Vec<State> {
    let mut states: Vec<State> = Vec::new();
    // Stages whose results will be others, with the fingerprints of those that would run.
    let mut pending: Vec<(&Node, Option<String>)> = Vec::new();
    for node in nodes {
        let before = pending.iter().find(|(other, _)| {
            let is_of_all = other.plan.experiment.is_none();
            is_of_all
                || other.plan.experiment == node.plan.experiment
                || node.plan.stage == Stage::Report
        });
        let before = before.map(|(other, _)| other.plan.label());
        let state = node.state(store, hashes);
        let mut state = state.unwrap_or_else(|err| State::Blocked(format!("{err:#}")));
        if force {
            state = state.forced(node);
        }
        state = match (before, state) {
            (None, State::Stale(why)) => {
                let same = |(_, fingerprint): &&(&Node, Option<String>)| {
                    fingerprint.as_ref() == Some(&why.fingerprint)
                };
                let maker =
                    pending.iter().find(same).and_then(|(maker, _)| maker.plan.experiment.clone());
                match maker {
                    Some(with) => State::Shared { with },
                    None => State::Stale(why),
                }
            }
            (Some(before), state) => {
                let words = Some(format!("after {before}"));
                let changes = match state {
                    State::Stale(why) | State::Kept { why, .. } => why.changes,
                    _ => Vec::new(),
                };
                State::Waiting(Why { words, changes, fingerprint: String::new() })
            }
            (None, state) => state,
        };
        match &state {
            State::Kept { record, .. } => hashes.assume(&node.plan.dir, record),
            State::Stale(why) => pending.push((node, Some(why.fingerprint.clone()))),
            State::Shared { .. } | State::Waiting(_) => pending.push((node, None)),
            State::Fresh | State::Blocked(_) => {}
        }
        states.push(state);
    }
    hashes.assume_nothing();
    states
}

impl State {
    /// With `--force` also what is there runs.
    pub fn forced(self, node: &Node) -> Self {
        let fingerprint = match &self {
            Self::Fresh => Record::of(&node.plan).map(|record| record.fingerprint),
            Self::Kept { record, .. } => Some(record.fingerprint.clone()),
            _ => None,
        };
        match fingerprint {
            Some(fingerprint) => Self::Stale(Why { fingerprint, ..Why::of("--force") }),
            None => self,
        }
    }
}

impl Node {
    /// Compares what the stage would be made of with what its results were made of.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the stage's program is not built.
    pub fn state(&self, store: &Store, hashes: &mut Hashes) -> Result<State> {
        anyhow::ensure!(
            self.binary.exists(),
            "{}: the program is not built\nhint: run `make build`",
            self.binary.display()
        );
        let is_missing =
            |input: &&contract::plan::Input| !input.is_optional && !hashes.is_there(&input.path);
        if let Some(input) = self.plan.inputs.iter().find(is_missing) {
            return Ok(State::Blocked(format!("`{}` is not there yet", input.path.display())));
        }
        let parts = Parts::of(&self.plan, &self.binary, hashes)?;
        let fingerprint = parts.fingerprint();
        let why = match Record::of(&self.plan) {
            // A stage's log stands there from its first moment.
            None if child::log_path(self).exists() => Why::of("it has not ended well yet"),
            None => Why::of("it has not run yet"),
            Some(record) => {
                let changes = parts.changes_since(&record.parts);
                let damage = record.damage(&self.plan.dir, hashes);
                if record.fingerprint == fingerprint && damage.is_none() {
                    return Ok(State::Fresh);
                }
                let words = damage.or_else(|| {
                    changes.is_empty().then(|| {
                        "its settings differ only in their order or a last digit".to_owned()
                    })
                });
                Why { words, changes, ..Why::default() }
            }
        };
        let why = Why { fingerprint: fingerprint.clone(), ..why };
        Ok(match store.find(&fingerprint, hashes) {
            Some((dir, record)) => State::Kept { dir, record: Box::new(record), why },
            None => State::Stale(why),
        })
    }

    /// How results that are kept are called: by the experiment that made them, if it is another.
    pub fn kept_words(&self, record: &Record) -> String {
        match &record.experiment {
            Some(maker) if Some(maker) != self.plan.experiment.as_ref() => {
                format!("shared with {maker}")
            }
            _ => "restored".to_owned(),
        }
    }
}

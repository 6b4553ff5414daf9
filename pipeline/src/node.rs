//! A stage of an experiment: what it needs, and whether its results are fresh.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use contract::Stage;
use contract::manifest::{Experiment, Manifest};
use contract::plan::StagePlan;
use contract::record::{Change, Hashes, Parts, Record};

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
    },
    /// It must run
    Stale(Why),
    /// A stage before it has not run, so nothing can be said
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

        let mut reasons = self.reasons();
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
            |input: &&contract::plan::Input| !input.is_optional && !input.path.exists();
        if let Some(input) = self.plan.inputs.iter().find(is_missing) {
            return Ok(State::Blocked(format!("`{}` is not there yet", input.path.display())));
        }
        let parts = Parts::of(&self.plan, &self.binary, hashes)?;
        let fingerprint = parts.fingerprint();
        let why = match Record::of(&self.plan) {
            None => Why::of("it has not run yet"),
            Some(record) if record.fingerprint != fingerprint => {
                Why { changes: parts.changes_since(&record.parts), ..Why::default() }
            }
            Some(record) => match record.damage(&self.plan.dir, hashes) {
                None => return Ok(State::Fresh),
                Some(damage) => Why::of(damage),
            },
        };
        Ok(match store.find(&fingerprint, hashes) {
            Some((dir, record)) => State::Kept { dir, record: Box::new(record) },
            None => State::Stale(Why { fingerprint, ..why }),
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

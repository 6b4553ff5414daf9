//! A stage of an experiment: what it needs, and whether its results are fresh.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use contract::Stage;
use contract::manifest::{Experiment, Manifest};
use contract::plan::StagePlan;
use contract::record::{Hashes, Parts, Record};

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
    /// It must run, for these reasons
    Stale(Vec<String>),
    /// A stage before it has not run, so nothing can be said
    Blocked(String),
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
        let reasons = match Record::of(&self.plan) {
            None => vec!["it has not run yet".to_owned()],
            Some(record) if record.fingerprint != fingerprint => parts.changes_since(&record.parts),
            Some(record) => match record.damage(&self.plan.dir, hashes) {
                None => return Ok(State::Fresh),
                Some(damage) => vec![damage],
            },
        };
        Ok(match store.find(&fingerprint, hashes) {
            Some((dir, record)) => State::Kept { dir, record: Box::new(record) },
            None => State::Stale(reasons),
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

//! A stage of an experiment: what it needs, and whether its results are fresh.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use contract::manifest::{Experiment, Manifest};
use contract::plan::StagePlan;
use contract::record::{Hashes, Parts, Record};
use contract::{Stage, ipc};

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
    /// Another experiment has just these results
    Shared {
        /// The record's folder
        dir: PathBuf,
        /// The other experiment
        experiment: String,
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
    pub fn state(&self, manifest: &Manifest, hashes: &mut Hashes) -> Result<State> {
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
        Ok(self.shared(manifest, &fingerprint, hashes).unwrap_or(State::Stale(reasons)))
    }

    /// Another experiment whose results of this stage are made of just the same.
    fn shared(&self, manifest: &Manifest, fingerprint: &str, hashes: &mut Hashes) -> Option<State> {
        let own = self.plan.experiment.as_ref()?;
        let others = manifest.experiments().filter(|other| other.name != *own);
        for other in others {
            let dir = manifest.stage_dir(self.plan.stage, Some(&other.name));
            let Some(record) = Record::load(&dir.join("stage.json")) else { continue };
            if record.fingerprint == fingerprint && record.damage(&dir, hashes).is_none() {
                return Some(State::Shared { dir, experiment: other.name.clone() });
            }
        }
        None
    }

    /// Takes over another experiment's results; the files are shared, not copied.
    ///
    /// # Errors
    ///
    /// If a file cannot be linked.
    pub fn take_over(&self, from: &Path) -> Result<()> {
        let record = Record::load(&from.join("stage.json")).context("the shared record is gone")?;
        let dir = &self.plan.dir;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let own = self.plan.record_path();
        if own.exists() {
            std::fs::remove_file(&own)
                .with_context(|| format!("cannot replace {}", own.display()))?;
        }
        for name in record.outputs.keys() {
            let link = dir.join(format!(".{name}.link"));
            let _ = std::fs::remove_file(&link); // left by a run that was killed
            let linked = std::fs::hard_link(from.join(name), &link)
                .or_else(|_| std::fs::copy(from.join(name), &link).map(drop)); // some file systems have no links
            linked
                .and_then(|()| std::fs::rename(&link, dir.join(name)))
                .with_context(|| format!("cannot share {}", from.join(name).display()))?;
        }
        let text = serde_json::to_string_pretty(&record)?;
        ipc::finish_text(&own, &text)?.commit()?;
        Ok(())
    }
}

//! `pipeline accept`: keeps results after a change that the user vouches for.

use std::time::SystemTime;

use anyhow::Result;
use contract::hashes::Hashes;
use contract::plan::{StageId, StagePlan};
use contract::record::{Accepted, Change, Output, Parts, Record};
use contract::{Manifest, Stage, print_line, warn_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::args::NothingSelected;
use crate::freshness::{State, Why, look};
use crate::graph::Node;
use crate::run_dir;
use crate::store::Store;

/// A stage whose results are kept though what they are made of has changed.
#[derive(Serialize, JsonSchema)]
pub struct AcceptedStage {
    /// Which stage
    #[serde(flatten)]
    id: StageId,
    /// What has changed
    changes: Vec<Change>,
}

/// Writes into the records of stale stages, whose files are undamaged, that they are made of what is
/// there now, and what had changed. That makes the report stale, which then lists what was accepted.
///
/// # Errors
///
/// If a file cannot be read or written, or a run is at work; [`NothingSelected`] if there is nothing to
/// accept.
pub fn accept(
    manifest: &Manifest,
    nodes: &[Node],
    because: &str,
    dry_run: bool,
    as_json: bool,
) -> Result<()> {
    let _lock = if dry_run { None } else { Some(run_dir::lock(&manifest.run_dir)?) };
    let mut hashes = run_dir::load_hashes(&manifest.run_dir);
    let store = Store::of(&manifest.run_dir);
    let mut accepted = Vec::new();
    for node in nodes.iter().filter(|node| node.plan.id.stage != Stage::Report) {
        let Some(candidate) = Candidate::find(node, &store, &mut hashes)? else { continue };
        if !dry_run {
            candidate.save(node, because, &mut hashes)?;
        }
        let stage = AcceptedStage { id: node.plan.id.clone(), changes: candidate.changes };
        if !as_json {
            stage.print(dry_run);
        }
        accepted.push(stage);
    }
    run_dir::save_hashes(&manifest.run_dir, &hashes);
    if as_json {
        print_line!("{:#}", json!(accepted));
    }
    if accepted.is_empty() {
        let why = "no stage is stale only because of a change; see `pipeline status`";
        return Err(NothingSelected(why.to_owned()).into());
    }
    if !dry_run {
        warn_line!(
            "pipeline: run `pipeline run` to update the report, which lists what was accepted"
        );
    }
    Ok(())
}

impl AcceptedStage {
    fn print(&self, dry_run: bool) {
        let would = if dry_run { "would be accepted" } else { "accepted" };
        print_line!("{}: {would}", self.id);
        for change in &self.changes {
            print_line!("  {change}");
        }
    }
}

/// Results that can be accepted.
struct Candidate {
    record: Record,
    /// Of the results that running the stage would make
    fingerprint: String,
    changes: Vec<Change>,
}

impl Candidate {
    /// The results of a stage, if it is stale and nothing but its parts has changed. Warns of damaged
    /// files.
    fn find(node: &Node, store: &Store, hashes: &mut Hashes) -> Result<Option<Self>> {
        let Some(record) = Record::of(&node.plan) else { return Ok(None) };
        let State::Stale { fingerprint, why: Why { changes, .. } } = look(node, store, hashes)?
        else {
            return Ok(None);
        };
        if changes.is_empty() {
            return Ok(None); // damaged: the files are not what the stage wrote
        }
        let damage = record.damage(&node.plan.dir, hashes);
        if let Some(damage) = damage.or(damaged_input(&node.plan, hashes)?) {
            warn_line!("pipeline: {}: not accepted: {damage}", node.plan.id);
            return Ok(None);
        }
        Ok(Some(Self { record, fingerprint, changes }))
    }

    /// Writes the record of the accepted results.
    fn save(&self, node: &Node, because: &str, hashes: &mut Hashes) -> Result<()> {
        let mut record = self.record.clone();
        record.parts = Parts::of(&node.plan, &node.binary, hashes)?;
        record.fingerprint.clone_from(&self.fingerprint);
        record.accepted.push(Accepted {
            when: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            because: because.to_owned(),
            changes: self.changes.clone(),
        });
        record.save(&node.plan.record_path())?;
        Ok(())
    }
}

/// An input that is not as its stage wrote it, which is no change to vouch for.
fn damaged_input(plan: &StagePlan, hashes: &mut Hashes) -> Result<Option<String>> {
    for input in &plan.inputs {
        let recorded = Output::recorded(&input.path);
        if let Some(recorded) = recorded.filter(|_| input.path.exists())
            && hashes.of(&input.path)? != recorded.blake3
        {
            let path = input.path.display();
            return Ok(Some(format!("`{path}`, which it reads, was changed after it was written")));
        }
    }
    Ok(None)
}

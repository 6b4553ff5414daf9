//! Keeps results after a change that somebody vouches for.

use std::time::SystemTime;

use anyhow::Result;
use contract::exit;
use contract::hashes::Hashes;
use contract::plan::StagePlan;
use contract::record::{Accepted, Change, Output, Parts, Record};
use contract::{Manifest, Stage, print_line, warn_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::node::{Node, State, Why};
use crate::run::{load_hashes, lock, nothing_selected, save_hashes};
use crate::store::Store;

/// A stage whose results are kept though what they are made of has changed.
#[derive(Serialize, JsonSchema)]
pub struct AcceptedStage {
    /// `None` for a stage that all share
    experiment: Option<String>,
    /// Its name
    stage: String,
    /// What has changed
    changes: Vec<Change>,
}

/// Writes into the records of stale stages, whose files are whole, that they are made of what is
/// there now, and what had changed. That makes the report stale, which says so.
///
/// # Errors
///
/// If a file cannot be read or written, or a run is at work.
pub fn accept(
    manifest: &Manifest,
    nodes: &[Node],
    because: &str,
    dry_run: bool,
    as_json: bool,
) -> Result<u8> {
    let _lock = if dry_run { None } else { Some(lock(&manifest.run_dir)?) };
    let mut hashes = load_hashes(manifest);
    let store = Store::of(&manifest.run_dir);
    let mut accepted = Vec::new();
    for node in nodes.iter().filter(|node| node.plan.stage != Stage::Report) {
        let Some(mut record) = Record::of(&node.plan) else { continue };
        let State::Stale(Why { changes, fingerprint, .. }) = node.state(&store, &mut hashes)?
        else {
            continue;
        };
        if changes.is_empty() {
            continue; // spoilt: the files are not what the stage wrote
        }
        let damage = record.damage(&node.plan.dir, &mut hashes);
        if let Some(damage) = damage.or(spoilt_input(&node.plan, &mut hashes)?) {
            warn_line!("pipeline: {}: not accepted: {damage}", node.plan.label());
            continue;
        }
        if !dry_run {
            record.parts = Parts::of(&node.plan, &node.binary, &mut hashes)?;
            record.fingerprint = fingerprint;
            record.accepted.push(Accepted {
                when: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
                because: because.to_owned(),
                changes: changes.clone(),
            });
            record.save(&node.plan.record_path())?;
        }
        if !as_json {
            let would = if dry_run { "would be accepted" } else { "accepted" };
            print_line!("{}: {would}", node.plan.label());
            for change in &changes {
                print_line!("  {change}");
            }
        }
        accepted.push(AcceptedStage {
            experiment: node.plan.experiment.clone(),
            stage: node.plan.stage.to_string(),
            changes,
        });
    }
    save_hashes(manifest, &hashes);
    if as_json {
        print_line!("{:#}", json!(accepted));
    }
    if accepted.is_empty() {
        return Ok(nothing_selected("no stage is stale by a change alone; see `pipeline status`"));
    }
    if !dry_run {
        warn_line!("pipeline: `pipeline run` makes the report again, which says so");
    }
    Ok(exit::EXIT_DONE)
}

/// An input that is not as its stage wrote it: no change to vouch for.
fn spoilt_input(plan: &StagePlan, hashes: &mut Hashes) -> Result<Option<String>> {
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

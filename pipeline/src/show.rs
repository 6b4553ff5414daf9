//! Status and explanations.

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets};
use contract::record::{Hashes, Record};
use contract::{Manifest, Stage};
use serde_json::json;

use crate::node::{Node, State, nodes};
use crate::store::Store;

/// Prints whether each stage is fresh, and why not.
///
/// # Errors
///
/// If a file cannot be read.
pub fn status(manifest: &Manifest, as_json: bool) -> Result<()> {
    let mut hashes = Hashes::default();
    let store = Store::of(&manifest.run_dir);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["experiment", "stage", "state", "took", "why"]);
    let mut rows = Vec::new();
    for node in nodes(manifest, &[])? {
        let (state, reasons) = words(&node, node.state(&store, &mut hashes)?);
        let secs = Record::of(&node.plan).map(|record| record.secs);
        let experiment = node.plan.experiment.clone();
        rows.push(json!({
            "experiment": experiment, "stage": node.plan.stage.name(), "state": state, "secs": secs, "reasons": reasons,
        }));
        let took = secs.map_or(String::new(), |secs| format!("{secs:.1} s"));
        let name = experiment.unwrap_or_default();
        table.add_row([
            name,
            node.plan.stage.to_string(),
            state.to_owned(),
            took,
            reasons.join("; "),
        ]);
    }
    if as_json {
        println!("{:#}", json!(rows));
    } else {
        println!("{table}");
    }
    Ok(())
}

/// Prints why a stage would run.
///
/// # Errors
///
/// If there is no such experiment or stage, or a file cannot be read.
pub fn explain(manifest: &Manifest, experiment: &str, stage: Stage) -> Result<()> {
    manifest.experiment(experiment)?;
    let selected = [experiment.to_owned()];
    let node = nodes(manifest, &selected)?.into_iter().find(|node| node.plan.stage == stage);
    let node = node.with_context(|| {
        format!("`{experiment}` has no stage {stage}: its model needs no examples")
    })?;
    let (state, reasons) =
        words(&node, node.state(&Store::of(&manifest.run_dir), &mut Hashes::default())?);
    println!("{}: {state}", node.plan.label());
    for reason in reasons {
        println!("  {reason}");
    }
    Ok(())
}

fn words(node: &Node, state: State) -> (&'static str, Vec<String>) {
    match state {
        State::Fresh => ("fresh", Vec::new()),
        State::Kept { record, .. } => ("kept", vec![node.kept_words(&record)]),
        State::Stale(reasons) => ("stale", reasons),
        State::Blocked(reason) => ("blocked", vec![reason]),
    }
}

//! Status and explanations.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use comfy_table::{Table, presets};
use contract::record::Record;
use contract::{Manifest, Stage, print_line};
use serde_json::json;

use crate::node::{Node, State, Why, nodes};
use crate::run::{load_hashes, save_hashes};
use crate::store::Store;

/// Prints whether each stage is fresh, and why not.
///
/// # Errors
///
/// If a file cannot be read.
pub fn status(manifest: &Manifest, as_json: bool) -> Result<()> {
    let mut hashes = load_hashes(manifest);
    let store = Store::of(&manifest.run_dir);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["experiment", "stage", "state", "took", "why"]);
    let mut rows = Vec::new();
    for node in nodes(manifest, &[])? {
        let (state, why) = words(&node, node.state(&store, &mut hashes)?);
        let secs = Record::of(&node.plan).map(|record| record.secs);
        let experiment = node.plan.experiment.clone();
        rows.push(json!({
            "experiment": experiment, "stage": node.plan.stage.name(), "state": state, "secs": secs,
            "reasons": why.reasons(), "changes": why.changes,
        }));
        let took = secs.map_or(String::new(), |secs| format!("{secs:.1} s"));
        let name = experiment.unwrap_or_default();
        table.add_row([name, node.plan.stage.to_string(), state.to_owned(), took, why.line()]);
    }
    save_hashes(manifest, &hashes);
    if as_json {
        print_line!("{:#}", json!(rows));
    } else {
        print_line!("{table}");
    }
    Ok(())
}

/// Prints why a stage would run: every part that changed, with its old and new value.
///
/// # Errors
///
/// If there is no such experiment or stage, or a file cannot be read.
pub fn explain(manifest: &Manifest, experiment: &str, stage: Stage, as_json: bool) -> Result<()> {
    manifest.experiment(experiment)?;
    let selected = [experiment.to_owned()];
    let node = nodes(manifest, &selected)?.into_iter().find(|node| node.plan.stage == stage);
    let node = node.with_context(|| {
        format!("`{experiment}` has no stage {stage}: its model needs no examples")
    })?;
    let mut hashes = load_hashes(manifest);
    let (state, why) = words(&node, node.state(&Store::of(&manifest.run_dir), &mut hashes)?);
    save_hashes(manifest, &hashes);
    if as_json {
        let label = node.plan.label();
        let Why { words, changes, .. } = why;
        print_line!(
            "{:#}",
            json!({"stage": label, "state": state, "reason": words, "changes": changes})
        );
        return Ok(());
    }
    print_line!("{}: {state}", node.plan.label());
    if let Some(reason) = &why.words {
        print_line!("  {reason}");
    }
    for change in &why.changes {
        let is_hash = change.part == "program" || change.part.starts_with("input.");
        let hashes = change.old.as_str().zip(change.new.as_str()).filter(|_| is_hash);
        // Of a file or a program the hashes are all that is known of it.
        let detail = hashes.map_or_else(String::new, |(old, new)| {
            let short = |hash: &str| hash.chars().take(12).collect::<String>();
            format!(": {} -> {}", short(old), short(new))
        });
        print_line!("  {change}{detail}");
    }
    Ok(())
}

fn words(node: &Node, state: State) -> (&'static str, Why) {
    match state {
        State::Fresh => ("fresh", Why::default()),
        State::Kept { record, .. } => ("kept", Why::of(node.kept_words(&record))),
        State::Stale(why) => ("stale", why),
        State::Blocked(reason) => ("blocked", Why::of(reason)),
    }
}

/// How a graph is printed.
#[derive(Clone, Copy, ValueEnum)]
pub enum GraphFormat {
    /// A tree
    Text,
    /// For Markdown
    Mermaid,
    /// For Graphviz
    Dot,
}

/// Prints which stage needs which.
///
/// # Errors
///
/// If this program's folder is not known.
pub fn graph(manifest: &Manifest, format: GraphFormat) -> Result<()> {
    let nodes = nodes(manifest, &[])?;
    let stages: Vec<(Option<&str>, Stage)> =
        nodes.iter().map(|node| (node.plan.experiment.as_deref(), node.plan.stage)).collect();
    let id = |&(experiment, stage): &(Option<&str>, Stage)| match experiment {
        Some(experiment) => format!("{experiment}/{stage}"),
        None => stage.to_string(),
    };
    // What a stage of an experiment follows is the one before it in the list, or the holdout.
    let edges = stages.windows(2).flat_map(|pair| match (pair[0], pair[1]) {
        (before, after) if before.0.is_some() && before.0 == after.0 => vec![(before, after)],
        (_, after) if after.0.is_some() => vec![((None, Stage::Holdout), after)],
        _ => vec![],
    });
    let to_report = stages.iter().filter(|(_, stage)| *stage == Stage::Score);
    let to_report = to_report.map(|&score| (score, (None, Stage::Report)));
    let edges: Vec<(String, String)> =
        edges.chain(to_report).map(|(from, to)| (id(&from), id(&to))).collect();
    match format {
        GraphFormat::Text => {
            print_line!("holdout");
            for experiment in manifest.experiments() {
                let own = stages.iter().filter(|(name, _)| *name == Some(&experiment.name));
                let own: Vec<String> = own.map(|(_, stage)| stage.to_string()).collect();
                print_line!("├─ {}: {} ─ report", experiment.name, own.join(" ─ "));
            }
        }
        GraphFormat::Mermaid => {
            print_line!("flowchart LR");
            let plain = |id: &str| id.replace(['/', '-', '.'], "_");
            for (from, to) in &edges {
                print_line!("    {}[\"{from}\"] --> {}[\"{to}\"]", plain(from), plain(to));
            }
        }
        GraphFormat::Dot => {
            print_line!("digraph pipeline {{\n    rankdir=LR;");
            for (from, to) in &edges {
                print_line!("    \"{from}\" -> \"{to}\";");
            }
            print_line!("}}");
        }
    }
    Ok(())
}

//! `pipeline graph`: which stage needs which.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::ValueEnum;
use contract::manifest::in_words;
use contract::plan::{StageId, seed_dir};
use contract::{Manifest, Stage, print_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::graph::{edges, nodes};

/// How a graph is printed.
#[derive(Clone, Copy, ValueEnum)]
pub enum GraphFormat {
    /// A tree
    Text,
    /// A diagram for Markdown
    Mermaid,
    /// For Graphviz
    Dot,
}

/// Which stage needs which.
#[derive(Serialize, JsonSchema)]
pub struct Graph {
    /// Every stage, as `bau/train`, in the order they run
    stages: Vec<String>,
    /// From the stage that is needed to the one that needs it
    edges: Vec<(String, String)>,
}

/// Prints which stage needs which; as JSON if no format is given.
///
/// # Errors
///
/// If this program's folder is not known.
pub fn graph(manifest: &Manifest, format: Option<GraphFormat>) -> Result<()> {
    let nodes = nodes(manifest, &[])?;
    let ids: Vec<&StageId> = nodes.iter().map(|node| &node.plan.id).collect();
    let graph = Graph {
        stages: ids.iter().map(|id| name(id)).collect(),
        edges: edges(&ids).into_iter().map(|(from, to)| (name(from), name(to))).collect(),
    };
    match format {
        Some(GraphFormat::Text) => print_tree(manifest, &ids),
        Some(GraphFormat::Mermaid) => graph.print_mermaid(),
        Some(GraphFormat::Dot) => graph.print_dot(),
        None => print_line!("{:#}", json!(graph)),
    }
    Ok(())
}

/// A stage as in the graph: `bau/train`, or `bau/seed-8/train`.
fn name(id: &StageId) -> String {
    let folders = [id.experiment.clone(), id.seed.map(seed_dir), Some(id.stage.to_string())];
    folders.into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// A line for each experiment.
fn print_tree(manifest: &Manifest, ids: &[&StageId]) {
    print_line!("holdout");
    let n_experiments = manifest.experiments().count();
    for (i, experiment) in manifest.experiments().enumerate() {
        let branch = if i + 1 < n_experiments { '├' } else { '└' };
        let own = ids.iter().filter(|id| id.experiment.as_ref() == Some(&experiment.name));
        let stages: BTreeSet<Stage> = own.map(|id| id.stage).collect(); // once for all seeds
        let own: Vec<&str> = stages.into_iter().map(Stage::name).collect();
        let seeds = match manifest.trainings(experiment).len() {
            1 => String::new(),
            n => format!(" ({n} seeds)"),
        };
        let values = match &experiment.matrix {
            Some(cell) => format!(" ({})", in_words(&cell.values)),
            None => String::new(),
        };
        let (name, own) = (&experiment.name, own.join(" ─ "));
        print_line!("{branch}─ {name}{values}{seeds}: {own} ─ report");
    }
}

impl Graph {
    fn print_mermaid(&self) {
        print_line!("flowchart LR");
        let place = |id: &String| self.stages.iter().position(|s| s == id).unwrap_or_default();
        for (from, to) in &self.edges {
            print_line!("    s{}[\"{from}\"] --> s{}[\"{to}\"]", place(from), place(to));
        }
    }

    fn print_dot(&self) {
        print_line!("digraph pipeline {{\n    rankdir=LR;");
        for (from, to) in &self.edges {
            print_line!("    \"{from}\" -> \"{to}\";");
        }
        print_line!("}}");
    }
}

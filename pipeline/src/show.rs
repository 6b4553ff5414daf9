//! Status, explanations and graphs.

use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{Table, presets};
use contract::exit::UsageError;
use contract::plan::label;
use contract::record::{Change, Record};
use contract::{Manifest, Stage, print_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::history::{self, StageOutcome};
use crate::node::{Node, State, Why, forecast, nodes};
use crate::run::{load_hashes, save_hashes};
use crate::store::Store;

/// Whether a stage is fresh.
#[derive(Serialize, JsonSchema)]
pub struct StageStatus {
    /// `None` for a stage that all share
    experiment: Option<String>,
    /// Its name
    stage: String,
    /// `fresh`, `kept`, `stale`, `waiting` or `blocked`
    state: &'static str,
    /// Wall time of its last run
    secs: Option<f64>,
    /// Why it is not fresh, in words
    reasons: Vec<String>,
    /// Parts of its fingerprint that have changed
    changes: Vec<Change>,
}

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
    let nodes = nodes(manifest, &[])?;
    let states = forecast(&nodes, false, &store, &mut hashes);
    for (node, state) in nodes.iter().zip(states) {
        let (state, why) = words(node, state);
        let secs = Record::of(&node.plan).map(|record| record.secs);
        let experiment = node.plan.experiment.clone();
        let stage = node.plan.stage.to_string();
        let took = secs.map_or(String::new(), |secs| format!("{secs:.1} s"));
        let name = experiment.as_deref().unwrap_or_default();
        table.add_row([name, &stage, state, &took, &why.line()]);
        let reasons = why.reasons();
        rows.push(StageStatus { experiment, stage, state, secs, reasons, changes: why.changes });
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
    // The report's reasons may be any experiment's.
    let selected = if stage == Stage::Report { vec![] } else { vec![experiment.to_owned()] };
    let nodes = nodes(manifest, &selected)?;
    let place = nodes.iter().position(|node| node.plan.stage == stage).ok_or_else(|| {
        UsageError(format!("`{experiment}` has no stage {stage}: its model needs no examples"))
    })?;
    let node = &nodes[place];
    let mut hashes = load_hashes(manifest);
    let mut states = forecast(&nodes, false, &Store::of(&manifest.run_dir), &mut hashes);
    let (state, why) = words(node, states.swap_remove(place));
    save_hashes(manifest, &hashes);
    let Why { words, changes, .. } = why;
    let stage = node.plan.label();
    Explanation { stage, run: None, state: state.to_owned(), reason: words, changes }
        .print(as_json);
    Ok(())
}

/// Prints what a past run found of a stage.
///
/// * `id`: the run's name, or `last`.
///
/// # Errors
///
/// If there is no such run, or it did not come to the stage.
pub fn explain_past(
    manifest: &Manifest,
    experiment: &str,
    stage: Stage,
    id: &str,
    as_json: bool,
) -> Result<()> {
    let mut runs = history::runs(manifest);
    let found = match id {
        "last" => runs.pop(),
        id => runs.into_iter().find(|run| run.id == id),
    };
    let unknown = || UsageError(format!("no run `{id}` is on record; see `pipeline history`"));
    let run = found.ok_or_else(unknown)?;
    let is_asked_for = |outcome: &StageOutcome| {
        let is_of = outcome.experiment.as_deref().is_none_or(|name| name == experiment);
        is_of && outcome.stage == stage.name()
    };
    let unknown = || {
        let label = label(stage.name(), Some(experiment));
        UsageError(format!("the run {} did not come to {label}", run.id))
    };
    let outcome = run.stages.into_iter().find(is_asked_for).ok_or_else(unknown)?;
    let StageOutcome { experiment, outcome: state, reason, changes, .. } = outcome;
    let stage = label(stage.name(), experiment.as_deref());
    Explanation { stage, run: Some(run.id), state, reason, changes }.print(as_json);
    Ok(())
}

/// Why a stage would run, or ran.
#[derive(Serialize, JsonSchema)]
pub struct Explanation {
    /// As `train of bau`
    stage: String,
    /// The past run, if it is about one
    run: Option<String>,
    /// `fresh`, `kept`, `stale`, `waiting` or `blocked`; of a past run what became of the stage
    state: String,
    /// A reason that is no change of a part
    reason: Option<String>,
    /// Parts of the fingerprint that had changed
    changes: Vec<Change>,
}

impl Explanation {
    fn print(&self, as_json: bool) {
        let Self { stage, run, state, reason, changes } = self;
        if as_json {
            print_line!("{:#}", json!(self));
            return;
        }
        let of_run = run.as_ref().map_or_else(String::new, |id| format!(" in run {id}"));
        print_line!("{stage}{of_run}: {state}");
        if let Some(reason) = reason {
            print_line!("  {reason}");
        }
        for change in changes {
            let is_hash = change.part == "program" || change.part.starts_with("input.");
            let hashes = change.old.as_str().zip(change.new.as_str()).filter(|_| is_hash);
            // Of a file or a program the hashes are all that is known of it.
            let detail = hashes.map_or_else(String::new, |(old, new)| {
                let short = |hash: &str| hash.chars().take(12).collect::<String>();
                format!(": {} -> {}", short(old), short(new))
            });
            print_line!("  {change}{detail}");
        }
    }
}

fn words(node: &Node, state: State) -> (&'static str, Why) {
    match state {
        State::Fresh => ("fresh", Why::default()),
        State::Kept { record, why, .. } => {
            let words = [Some(node.kept_words(&record)), why.words];
            let words = words.into_iter().flatten().collect::<Vec<_>>().join("; ");
            ("kept", Why { words: Some(words), ..why })
        }
        State::Stale(why) => ("stale", why),
        State::Waiting(why) => ("waiting", why),
        State::Shared { with } => ("waiting", Why::of(format!("to share what {with} makes"))),
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
    let Some(format) = format else {
        print_line!("{:#}", json!(Graph { stages: stages.iter().map(id).collect(), edges }));
        return Ok(());
    };
    match format {
        GraphFormat::Text => {
            print_line!("holdout");
            let n_experiments = manifest.experiments().count();
            for (i, experiment) in manifest.experiments().enumerate() {
                let branch = if i + 1 < n_experiments { '├' } else { '└' };
                let own = stages.iter().filter(|(name, _)| *name == Some(&experiment.name));
                let own: Vec<String> = own.map(|(_, stage)| stage.to_string()).collect();
                print_line!("{branch}─ {}: {} ─ report", experiment.name, own.join(" ─ "));
            }
        }
        GraphFormat::Mermaid => {
            print_line!("flowchart LR");
            let ids: Vec<String> = stages.iter().map(id).collect();
            let place = |id: &String| ids.iter().position(|other| other == id).unwrap_or_default();
            for (from, to) in &edges {
                print_line!("    s{}[\"{from}\"] --> s{}[\"{to}\"]", place(from), place(to));
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

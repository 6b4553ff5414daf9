//! `pipeline explain`: why a stage would run, or why it ran.

use anyhow::Result;
use contract::exit::UsageError;
use contract::plan::{StageId, StagePlan};
use contract::record::Change;
use contract::words::count;
use contract::{Manifest, Stage, print_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use stores::listing::Tag;

use super::status::{forecasts, words};
use crate::freshness::Why;
use crate::graph::nodes;
use contract::runs::{StageOutcome, runs};

/// Why a stage would run, or ran.
#[derive(Serialize, JsonSchema)]
pub struct Explanation {
    /// As `train of bau`
    stage: String,
    /// The past run, if it is about one
    run: Option<String>,
    /// `fresh`, `kept`, `stale`, `waiting`, `ended` or `blocked`; of a past run what became of the stage
    state: String,
    /// A reason other than a change of a part
    reason: Option<String>,
    /// Parts of the fingerprint that had changed
    changes: Vec<Change>,
    /// Tables in stores that it reads, and how a change of them is noticed
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stores: Vec<TableInStore>,
}

/// A table in a store.
#[derive(Serialize, JsonSchema)]
pub struct TableInStore {
    /// Its name
    table: String,
    /// URL of its first object
    first: String,
    /// How many objects it has
    n_objects: u64,
    /// What tells that they changed: their `etag`, their `version`, or `reading` them, where the store
    /// gives neither
    changed_by: String,
}

/// Tables in stores among a stage's inputs.
fn tables_in_stores(plan: &StagePlan) -> Vec<TableInStore> {
    let mut tables: Vec<TableInStore> = Vec::new();
    for (input, object) in plan.inputs.iter().filter_map(|i| Some((i, i.object.as_ref()?))) {
        let table = input.name.split(':').next().unwrap_or_default();
        let changed_by = match object.tag {
            Some(Tag::Etag(_)) => "etag",
            Some(Tag::Version(_)) => "version",
            None => "reading",
        };
        match tables.last_mut().filter(|t| t.table == table && t.changed_by == changed_by) {
            Some(known) => known.n_objects += 1,
            None => tables.push(TableInStore {
                table: table.to_owned(),
                first: object.url.to_string(),
                n_objects: 1,
                changed_by: changed_by.to_owned(),
            }),
        }
    }
    tables
}

/// What `--json` prints: an object, or a list of one for each seed.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Explanations {
    One(Explanation),
    EachSeed(Vec<Explanation>),
}

/// Prints why a stage would run: every part that changed, with its old and new value.
///
/// # Errors
///
/// If there is no such experiment or stage, or this program's folder is not known.
pub fn explain(manifest: &Manifest, experiment: &str, stage: Stage, as_json: bool) -> Result<()> {
    manifest.experiment(experiment)?;
    // The report's reasons may be of any experiment.
    let selected = if stage == Stage::Report { vec![] } else { vec![experiment.to_owned()] };
    let nodes = nodes(manifest, &selected)?;
    if !nodes.iter().any(|node| node.plan.id.stage == stage) {
        let why = format!("`{experiment}` has no stage {stage}: its model needs no examples");
        return Err(UsageError(why).into());
    }
    let forecasts = forecasts(manifest, &nodes);
    let of_stage = nodes.iter().zip(forecasts).filter(|(node, _)| node.plan.id.stage == stage);
    let explanations = of_stage.map(|(node, forecast)| {
        let id = &node.plan.id;
        let (state, why) = words(id, forecast);
        let (state, Why { words: reason, changes }) = (state.to_owned(), why);
        let stores = tables_in_stores(&node.plan);
        Explanation { stage: id.to_string(), run: None, state, reason, changes, stores }
    });
    print(explanations.collect(), as_json);
    Ok(())
}

/// Prints what a past run found of a stage.
///
/// * `run`: the run's id, or `last`.
///
/// # Errors
///
/// If there is no such run, or it did not reach the stage.
pub fn explain_past(
    manifest: &Manifest,
    experiment: &str,
    stage: Stage,
    run: &str,
    as_json: bool,
) -> Result<()> {
    let is_asked_for = |StageOutcome { id, .. }: &StageOutcome| {
        id.stage == stage && id.experiment.as_deref().is_none_or(|name| name == experiment)
    };
    let mut runs = runs(manifest);
    let found = match run {
        "last" => {
            runs.retain(|run| run.stages.iter().any(is_asked_for));
            runs.pop()
        }
        id => runs.into_iter().find(|run| run.id == id),
    };
    let id = StageId::of(stage, experiment);
    let run = found.ok_or_else(|| match run {
        "last" => UsageError(format!("no run reached {id}; see `pipeline history`")),
        run => UsageError(format!("there is no run `{run}`; see `pipeline history`")),
    })?;
    let explanations: Vec<Explanation> = run
        .stages
        .iter()
        .filter(|outcome| is_asked_for(outcome))
        .map(|StageOutcome { id, outcome, reason, changes, .. }| Explanation {
            stage: id.to_string(),
            run: Some(run.id.clone()),
            state: outcome.to_string(),
            reason: reason.clone(),
            changes: changes.clone(),
            stores: Vec::new(), // of now, not of then
        })
        .collect();
    if explanations.is_empty() {
        return Err(UsageError(format!("run {} did not reach {id}", run.id)).into());
    }
    print(explanations, as_json);
    Ok(())
}

/// Prints one explanation for each seed.
fn print(mut explanations: Vec<Explanation>, as_json: bool) {
    if !as_json {
        return explanations.iter().for_each(Explanation::print);
    }
    let explanations = match explanations.len() {
        1 => Explanations::One(explanations.remove(0)),
        _ => Explanations::EachSeed(explanations),
    };
    print_line!("{:#}", json!(explanations));
}

impl Explanation {
    fn print(&self) {
        let Self { stage, run, state, reason, changes, stores } = self;
        let of_run = run.as_ref().map_or_else(String::new, |id| format!(" in run {id}"));
        print_line!("{stage}{of_run}: {state}");
        if let Some(reason) = reason {
            print_line!("  {reason}");
        }
        for change in changes {
            print_line!("  {change}{}", hashes(change).unwrap_or_default());
        }
        for TableInStore { table, first, n_objects, changed_by } in stores {
            let by = match changed_by.as_str() {
                "etag" => "a change is noticed by the ETag",
                "version" => "a change is noticed by the version",
                _ => "a change is noticed by reading it, as the store gives no ETag",
            };
            let more = match n_objects - 1 {
                0 => String::new(),
                n => format!(" and {} more", count(n)),
            };
            print_line!("  table `{table}` is {first}{more}: {by}");
        }
    }
}

/// The old and the new hash of a file or a program, of which nothing else is known.
fn hashes(change: &Change) -> Option<String> {
    let Change { part, old, new } = change;
    let is_file = part == "program" || part.starts_with("input.");
    let (old, new) = old.as_str().zip(new.as_str()).filter(|_| is_file)?;
    let short = |hash: &str| hash.chars().take(12).collect::<String>();
    Some(format!(": {} -> {}", short(old), short(new)))
}

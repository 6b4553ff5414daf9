//! `pipeline status`: whether each stage is fresh.

use anyhow::Result;
use contract::manifest::{Cell, in_words};
use contract::plan::StageId;
use contract::record::{Change, Record};
use contract::{Manifest, Stage, print_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::args::{Names, NothingSelected};
use crate::forecast::{Forecast, forecast};
use crate::freshness::{State, Why};
use crate::graph::{Node, nodes};
use crate::listing;
use crate::run_dir;
use crate::store::Store;
use contract::outcome::StageResult;

/// Whether a stage is fresh.
#[derive(Serialize, JsonSchema)]
pub struct StageStatus {
    /// Which stage
    #[serde(flatten)]
    id: StageId,
    /// `fresh`, `kept`, `stale`, `waiting`, `ended` or `blocked`
    state: &'static str,
    /// Wall time of its last run
    secs: Option<f64>,
    /// Why it is not fresh, in words
    reasons: Vec<String>,
    /// Parts of its fingerprint that have changed
    changes: Vec<Change>,
    /// What a matrix sets in its experiment, if it is of one
    #[serde(skip_serializing_if = "Option::is_none")]
    matrix: Option<Cell>,
}

/// Prints whether each stage of the selected experiments is fresh, and why not.
///
/// * `all`: whether fresh stages are listed too, and reasons not cut.
///
/// # Errors
///
/// No such experiment, or this program's folder is not known.
pub fn status(manifest: &Manifest, names: &Names, all: bool, as_json: bool) -> Result<()> {
    let nodes = nodes(manifest, &[])?;
    let selected = names.experiments(manifest)?;
    if selected.is_empty() {
        return Err(NothingSelected("no experiment matches".to_owned()).into());
    }
    let is_meant = |id: &StageId| match &id.experiment {
        Some(experiment) => selected.contains(experiment),
        None => names.is_of_all() || id.stage == Stage::Holdout,
    };
    let found = nodes.iter().zip(forecasts(manifest, &nodes));
    let rows: Vec<(StageStatus, Why)> = found
        .filter(|(node, _)| is_meant(&node.plan.id))
        .map(|(node, forecast)| of_stage(manifest, node, forecast))
        .collect();
    if as_json {
        let rows: Vec<StageStatus> = rows.into_iter().map(|(row, _)| row).collect();
        print_line!("{:#}", json!(rows));
    } else {
        print(&rows, all);
    }
    Ok(())
}

fn of_stage(manifest: &Manifest, node: &Node, forecast: Forecast) -> (StageStatus, Why) {
    let id = node.plan.id.clone();
    let (state, why) = words(&id, forecast);
    let secs = Record::of(&node.plan).map(|record| record.secs);
    let experiment = id.experiment.as_ref().and_then(|name| manifest.experiment(name).ok());
    let matrix = experiment.and_then(|experiment| experiment.matrix.clone());
    let (reasons, changes) = (why.reasons(), why.changes.clone());
    (StageStatus { id, state, secs, reasons, changes, matrix }, why)
}

/// Columns of a terminal from which on the values of a matrix are shown too.
const WIDE: usize = 110;

/// * `all`: as in [`status`].
fn print(rows: &[(StageStatus, Why)], all: bool) {
    let is_fresh = |(row, _): &&(StageStatus, Why)| row.state == "fresh";
    let listed: Vec<_> = rows.iter().filter(|row| all || !is_fresh(row)).collect();
    // Reasons need the room of a narrow terminal.
    let has_room = all || listing::width().is_none_or(|width| width >= WIDE);
    let is_of_matrix = has_room && listed.iter().any(|(row, _)| row.matrix.is_some());
    let mut header = vec!["experiment", "stage", "state", "took", "why"];
    if is_of_matrix {
        header.insert(1, "values");
    }
    let mut table = listing::table(&header);
    for (row, why) in &listed {
        let took = row.secs.map_or(String::new(), |secs| format!("{secs:.1} s"));
        let why = if all { row.reasons.join("\n") } else { why.line() };
        let mut cells =
            vec![row.id.whose(), row.id.stage.name().to_owned(), row.state.to_owned(), took, why];
        if is_of_matrix {
            cells.insert(1, row.matrix.as_ref().map_or(String::new(), |m| in_words(&m.values)));
        }
        table.add_row(cells);
    }
    match (listed.is_empty(), all) {
        (true, _) => {}
        (false, true) => print_line!("{table}"),
        (false, false) => listing::print(&table),
    }
    print_line!("{}", listing::summary(rows.iter().filter(is_fresh).count(), rows.len()));
}

/// What a run of these stages would find.
pub fn forecasts(manifest: &Manifest, nodes: &[Node]) -> Vec<Forecast> {
    let mut hashes = run_dir::load_hashes(&manifest.run_dir);
    let forecasts = forecast(nodes, false, &Store::of(&manifest.run_dir), &mut hashes);
    run_dir::save_hashes(&manifest.run_dir, &hashes);
    forecasts
}

/// The word for what a run would find of a stage, and why it is not fresh.
pub fn words(id: &StageId, forecast: Forecast) -> (&'static str, Why) {
    match forecast {
        Forecast::Known(State::Fresh { .. }) => ("fresh", Why::default()),
        Forecast::Known(State::Kept { record, why, .. }) => {
            let result = StageResult::of_kept(record.experiment.as_ref(), id.experiment.as_ref());
            let words = [Some(result.to_string()), why.words];
            let words = words.into_iter().flatten().collect::<Vec<_>>().join("; ");
            ("kept", Why { words: Some(words), ..why })
        }
        Forecast::Known(State::Stale { why, .. }) => ("stale", why),
        Forecast::Known(State::Ended { rungs, .. }) => {
            ("ended", Why::of(rungs.ended_in_words().unwrap_or_default()))
        }
        Forecast::Known(State::Blocked(reason)) => ("blocked", Why::of(reason)),
        Forecast::Waiting(why) => ("waiting", why),
        Forecast::Shared { with } => {
            ("waiting", Why::of(format!("to share the results of {with}")))
        }
    }
}

//! `pipeline status`: whether each stage is fresh.

use anyhow::Result;
use comfy_table::{Table, presets};
use contract::plan::StageId;
use contract::record::{Change, Record};
use contract::{Manifest, print_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::forecast::{Forecast, forecast};
use crate::freshness::{State, Why};
use crate::graph::{Node, nodes};
use crate::outcome::StageResult;
use crate::run_dir;
use crate::store::Store;

/// Whether a stage is fresh.
#[derive(Serialize, JsonSchema)]
pub struct StageStatus {
    /// Which stage
    #[serde(flatten)]
    id: StageId,
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
/// If this program's folder is not known.
pub fn status(manifest: &Manifest, as_json: bool) -> Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["experiment", "stage", "state", "took", "why"]);
    let mut rows = Vec::new();
    let nodes = nodes(manifest, &[])?;
    for (node, forecast) in nodes.iter().zip(forecasts(manifest, &nodes)) {
        let id = node.plan.id.clone();
        let (state, why) = words(&id, forecast);
        let secs = Record::of(&node.plan).map(|record| record.secs);
        let took = secs.map_or(String::new(), |secs| format!("{secs:.1} s"));
        table.add_row([&id.whose(), id.stage.name(), state, &took, &why.line()]);
        let reasons = why.reasons();
        rows.push(StageStatus { id, state, secs, reasons, changes: why.changes });
    }
    if as_json {
        print_line!("{:#}", json!(rows));
    } else {
        print_line!("{table}");
    }
    Ok(())
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
        Forecast::Known(State::Blocked(reason)) => ("blocked", Why::of(reason)),
        Forecast::Waiting(why) => ("waiting", why),
        Forecast::Shared { with } => {
            ("waiting", Why::of(format!("to share the results of {with}")))
        }
    }
}

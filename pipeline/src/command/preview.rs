//! `pipeline run -n`: what a run would do.

use contract::plan::StageId;
use contract::record::Record;
use contract::words::count;
use contract::{Manifest, print_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::forecast::{Forecast, forecast};
use crate::freshness::State;
use crate::graph::Node;
use crate::outcome::StageResult;
use crate::run_dir;
use crate::store::Store;

/// What a run would do.
#[derive(Serialize, JsonSchema)]
pub struct Planned {
    /// Every selected stage, in order
    stages: Vec<PlannedStage>,
    /// Wall time of the last runs of the stages that would run, as far as it is known
    secs: f64,
    /// Size of what they wrote then
    bytes: u64,
}

/// What a run would do with a stage.
#[derive(Serialize, JsonSchema)]
struct PlannedStage {
    /// Which stage
    #[serde(flatten)]
    id: StageId,
    /// Whether it would run
    runs: bool,
    /// Why, or why not
    why: String,
    /// Wall time of its last run
    last_secs: Option<f64>,
    /// Size of what it wrote then
    last_bytes: Option<u64>,
}

/// Prints what a run of these stages would do.
pub fn preview(manifest: &Manifest, nodes: &[Node], force: bool, as_json: bool) {
    let mut hashes = run_dir::load_hashes(&manifest.run_dir);
    let forecasts = forecast(nodes, force, &Store::of(&manifest.run_dir), &mut hashes);
    run_dir::save_hashes(&manifest.run_dir, &hashes);
    let stages: Vec<PlannedStage> =
        nodes.iter().zip(forecasts).map(|(node, forecast)| planned(node, forecast)).collect();
    let running = || stages.iter().filter(|stage| stage.runs);
    let secs = running().filter_map(|stage| stage.last_secs).sum();
    let bytes = running().filter_map(|stage| stage.last_bytes).sum();
    let planned = Planned { stages, secs, bytes };
    if as_json {
        print_line!("{:#}", json!(planned));
    } else {
        planned.print();
    }
}

fn planned(node: &Node, forecast: Forecast) -> PlannedStage {
    let id = node.plan.id.clone();
    let (runs, why) = match forecast {
        Forecast::Known(State::Stale { why, .. }) | Forecast::Waiting(why) => (true, why.line()),
        Forecast::Known(State::Blocked(reason)) => (false, format!("cannot run: {reason}")),
        Forecast::Known(State::Fresh { .. }) => (false, StageResult::Fresh.to_string()),
        Forecast::Known(State::Kept { record, .. }) => {
            let result = StageResult::of_kept(record.experiment.as_ref(), id.experiment.as_ref());
            (false, result.to_string())
        }
        Forecast::Shared { with } => (false, StageResult::SharedWith(with).to_string()),
    };
    let last = Record::of(&node.plan);
    let last_secs = last.as_ref().map(|record| record.secs);
    let last_bytes = last.as_ref().map(Record::n_bytes);
    PlannedStage { id, runs, why, last_secs, last_bytes }
}

impl Planned {
    fn print(&self) {
        for PlannedStage { id, runs, why, last_secs, last_bytes } in &self.stages {
            let would = if *runs { "would run" } else { "would not run" };
            let last = last_secs.zip(*last_bytes).filter(|_| *runs);
            let last = last.map_or_else(String::new, |(secs, bytes)| {
                format!("; {secs:.1} s and {} MiB the last time", count(bytes >> 20))
            });
            print_line!("{id}: {would} ({why}{last})");
        }
        if self.secs > 0.0 {
            let (secs, mib) = (self.secs, count(self.bytes >> 20));
            print_line!("about {secs:.0} s and {mib} MiB, as far as it is known");
        }
    }
}

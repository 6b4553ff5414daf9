//! `pipeline run -n`: what a run would do.

use contract::plan::StageId;
use contract::record::Record;
use contract::words::count;
use contract::{Manifest, print_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::args::RunArgs;
use crate::forecast::{Forecast, forecast};
use crate::freshness::State;
use crate::graph::Node;
use crate::listing;
use crate::run_dir;
use crate::store::Store;
use contract::outcome::StageResult;

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
pub fn preview(manifest: &Manifest, nodes: &[Node], args: &RunArgs) {
    let mut hashes = run_dir::load_hashes(&manifest.run_dir);
    let forecasts = forecast(nodes, args.how.force, &Store::of(&manifest.run_dir), &mut hashes);
    run_dir::save_hashes(&manifest.run_dir, &hashes);
    let stages: Vec<PlannedStage> =
        nodes.iter().zip(forecasts).map(|(node, forecast)| planned(node, forecast)).collect();
    let running = || stages.iter().filter(|stage| stage.runs);
    let secs = running().filter_map(|stage| stage.last_secs).sum();
    let bytes = running().filter_map(|stage| stage.last_bytes).sum();
    let planned = Planned { stages, secs, bytes };
    if args.json {
        print_line!("{:#}", json!(planned));
    } else {
        planned.print(args.how.all);
    }
}

fn planned(node: &Node, forecast: Forecast) -> PlannedStage {
    let id = node.plan.id.clone();
    let (runs, why) = match forecast {
        Forecast::Known(State::Stale { why, .. }) | Forecast::Waiting(why) => (true, why.line()),
        Forecast::Known(State::Ended { rungs, .. }) => {
            (false, rungs.ended_in_words().unwrap_or_default())
        }
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
    /// * `all`: whether stages that are fresh are listed too, and reasons not cut.
    fn print(&self, all: bool) {
        let width = listing::width().filter(|_| !all);
        let is_fresh = |stage: &&PlannedStage| stage.why == StageResult::Fresh.to_string();
        for stage in self.stages.iter().filter(|stage| all || !is_fresh(stage)) {
            let PlannedStage { id, runs, why, last_secs, last_bytes } = stage;
            let would = if *runs { "would run" } else { "would not run" };
            let last = last_secs.zip(*last_bytes).filter(|_| *runs);
            let last = last.map_or_else(String::new, |(secs, bytes)| {
                format!("; {secs:.1} s and {} MiB the last time", count(bytes >> 20))
            });
            print_line!("{}", listing::cut(&format!("{id}: {would} ({why}{last})"), width));
        }
        let n_fresh = self.stages.iter().filter(is_fresh).count();
        print_line!("{}", listing::summary(n_fresh, self.stages.len()));
        if self.secs > 0.0 {
            let (secs, mib) = (self.secs, count(self.bytes >> 20));
            print_line!("about {secs:.0} s and {mib} MiB, as far as it is known");
        }
    }
}

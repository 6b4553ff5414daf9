//! An experiment and the baseline at several dates: the reports of each date, and what holds over them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::Manifest;
use contract::exit::DataError;
use metrics::Repeated;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::compare::LEVEL;
use crate::figures::Figures;

/// Version of `backtest --json`.
const VERSION: u32 = 1;

/// What a backtest found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Backtest {
    /// Version of this format
    pub version: u32,
    /// Name of the experiment
    pub experiment: String,
    /// Name of the experiment that it is compared with
    pub baseline: String,
    /// How long after each date labels reach, as in the manifest
    pub horizon: Option<String>,
    /// In order
    pub dates: Vec<Tested>,
    /// Over the dates
    pub mean: Mean,
}

/// The test as of one date.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tested {
    /// The date
    pub as_of: String,
    /// Users that the figures are measured on
    pub n_test_users: u64,
    /// Those of them with a label
    pub n_users_with_labels: u64,
    /// The experiment's
    pub figures: Figures,
    /// The baseline's
    pub baseline: Figures,
    /// Experiment less baseline
    pub delta: Deltas,
}

/// What holds over the dates: means of each date's figures, counts rounded.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Mean {
    /// The experiment's
    pub figures: Figures,
    /// The baseline's
    pub baseline: Figures,
    /// Experiment less baseline; the intervals cover other users and other dates
    pub delta: Deltas,
}

/// Changes against the baseline; null for the baseline itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Deltas {
    /// Of item macro F1
    pub item_f1: Change,
    /// Of user F1
    pub user_f1: Change,
}

/// A change and its interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// Experiment less baseline
    pub abs: Option<f64>,
    /// Interval of 95 %
    pub ci95: Option<[f64; 2]>,
}

/// Puts the reports of the dates together.
///
/// * `name`: of the experiment.
/// * `dates`: of the tests, in order.
/// * `dir`: has a run folder for each date.
///
/// # Errors
///
/// A report that is missing or has no figures of the experiment.
pub fn read(
    manifest: &Manifest,
    name: &str,
    dates: &[String],
    dir: &Path,
) -> anyhow::Result<Backtest> {
    manifest.experiment(name)?;
    let tested = |as_of: &String| {
        let path = dir.join(as_of).join("report/report.json");
        date(as_of, &path, name, &manifest.baseline)
    };
    let dates: Vec<Tested> = dates.iter().map(tested).collect::<anyhow::Result<_>>()?;
    let horizon = manifest.labels.as_ref().and_then(|labels| labels.horizon.as_ref());
    let mean_of =
        |of: fn(&Tested) -> &Figures| Figures::mean(&dates.iter().map(of).collect::<Vec<_>>());
    let mean = Mean {
        figures: mean_of(|tested| &tested.figures),
        baseline: mean_of(|tested| &tested.baseline),
        delta: Deltas {
            item_f1: over_dates(dates.iter().map(|tested| tested.delta.item_f1)),
            user_f1: over_dates(dates.iter().map(|tested| tested.delta.user_f1)),
        },
    };
    Ok(Backtest {
        version: VERSION,
        experiment: name.to_owned(),
        baseline: manifest.baseline.clone(),
        horizon: horizon.map(ToString::to_string),
        dates,
        mean,
    })
}

/// The report of a date.
fn date(as_of: &str, path: &PathBuf, experiment: &str, baseline: &str) -> anyhow::Result<Tested> {
    let at = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(at)?;
    let report: Value = serde_json::from_str(&text).with_context(at)?;
    let found = |name: &str| {
        let experiments = report["experiments"].as_array();
        let found = experiments.and_then(|list| list.iter().find(|e| e["name"] == name));
        found.filter(|e| e["status"] == "ok").ok_or_else(|| {
            DataError(format!("{}: no figures of experiment `{name}`", path.display()))
        })
    };
    let (ours, base) = (found(experiment)?, found(baseline)?);
    let figures = |of: &Value| serde_json::from_value(of.clone()).with_context(at);
    let change = |key: &str| {
        let delta = &ours["delta"][key];
        let end = |i: usize| delta["ci95"][i].as_f64();
        let ci95 = end(0).zip(end(1)).map(|(low, high)| [low, high]);
        Change { abs: delta["abs"].as_f64(), ci95 }
    };
    let delta = if experiment == baseline {
        Deltas::default()
    } else {
        Deltas { item_f1: change("item_f1"), user_f1: change("user_f1") }
    };
    let count = |key: &str| report[key].as_u64().unwrap_or(0);
    Ok(Tested {
        as_of: as_of.to_owned(),
        n_test_users: count("n_test_users"),
        n_users_with_labels: count("n_users_with_labels"),
        figures: figures(ours)?,
        baseline: figures(base)?,
        delta,
    })
}

/// The mean change, with an interval over users and dates; undefined if it is at one of the dates.
fn over_dates(changes: impl Iterator<Item = Change>) -> Change {
    let changes: Option<Vec<(f64, [f64; 2])>> =
        changes.map(|change| change.abs.zip(change.ci95)).collect();
    let Some(changes) = changes else { return Change::default() };
    let repeated = Repeated {
        points: changes.iter().map(|&(point, _)| point).collect(),
        halves: changes.iter().map(|&(_, [low, high])| (high - low) / 2.0).collect(),
    };
    let interval = repeated.interval(LEVEL);
    Change { abs: repeated.mean(), ci95: interval.map(|(low, high)| [low, high]) }
}

//! What else may explain a change than what an experiment is meant to show.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::experiment::Experiment;
use crate::format;
use crate::settings;

/// More experiments that isolate a setting are not named.
const MAX_CONTROLS: usize = 3;

/// Differences from the baseline that a reader must know to compare fairly, a sentence or two each;
/// empty for the baseline and without scores.
///
/// * `all`: the experiments of the report.
pub fn fairness(ours: &Experiment, baseline: &Experiment, all: &[Experiment]) -> Vec<String> {
    if ours.name == baseline.name || ours.is_truth || !ours.is_ok() {
        return Vec::new();
    }
    let notes = [
        several_settings(ours, baseline, all),
        updates(ours, baseline),
        refit(ours, baseline),
        same_decisions(ours, all),
    ];
    notes.into_iter().flatten().collect()
}

fn is_trained(e: &Experiment) -> bool {
    !e.settings["sample"].is_null()
}

/// What differs between two experiments: a setting each, and the sample as a whole.
fn differing(a: &Experiment, b: &Experiment) -> BTreeSet<String> {
    let name = |key: &str| {
        if key.starts_with("sample.") { "sample".to_owned() } else { key.to_owned() }
    };
    settings::differences(&a.settings, &b.settings).keys().map(|key| name(key)).collect()
}

/// A change by several settings at once, and the experiments that tell them apart.
fn several_settings(
    ours: &Experiment,
    baseline: &Experiment,
    all: &[Experiment],
) -> Option<String> {
    if !is_trained(ours) || !is_trained(baseline) {
        return None;
    }
    let from_baseline = differing(ours, baseline);
    if from_baseline.len() < 2 {
        return None;
    }
    let n = from_baseline.len();
    let what = format::names(&from_baseline.iter().cloned().collect::<Vec<_>>());
    let intro = format!("It differs from `{}` by {n} settings: {what}.", baseline.name);
    let isolated = |control: &Experiment| {
        // A control stands between the two: it has some of the settings, and no other.
        let between = differing(control, baseline);
        let is_control = control.is_ok() && is_trained(control) && !between.is_empty();
        let by = differing(ours, control);
        let setting = by.first().filter(|_| by.len() == 1)?;
        let is_between = between.is_subset(&from_baseline) && between.len() < n;
        (is_control && is_between)
            .then(|| format!("`{}` differs from it only by `{setting}`", control.name))
    };
    let controls: Vec<String> = all.iter().filter_map(isolated).take(MAX_CONTROLS).collect();
    Some(if controls.is_empty() {
        format!("{intro} No experiment here isolates one of them.")
    } else {
        format!("{intro} {}.", controls.join("; "))
    })
}

/// Networks that learned for longer, or of which an earlier state is in use.
fn updates(ours: &Experiment, baseline: &Experiment) -> Option<String> {
    let of = |e: &Experiment| {
        let all = e.updates.filter(|&n_updates| n_updates > 0)?; // what learns nothing has none
        Some((all, e.updates_kept.unwrap_or(all)))
    };
    let (mine, theirs) = (of(ours)?, of(baseline)?);
    let words = |(all, kept): (u64, u64)| {
        let all = format::count(all);
        if kept.to_string() == all {
            all
        } else {
            format!("{all} (in use: {})", format::count(kept))
        }
    };
    (mine != theirs).then(|| {
        format!(
            "It was trained for {} gradient updates, `{}` for {}.",
            words(mine),
            baseline.name,
            words(theirs)
        )
    })
}

/// A model that also learned from the valid users.
fn refit(ours: &Experiment, baseline: &Experiment) -> Option<String> {
    let of = |e: &Experiment| e.settings["train"]["refit"] == Value::Bool(true);
    let name = &baseline.name;
    match (of(ours), of(baseline)) {
        (true, false) => Some(format!(
            "It also learned from the valid users (`refit`), from whom `{name}` did not."
        )),
        (false, true) => Some(format!(
            "`{name}` also learned from the valid users (`refit`), from whom it did not."
        )),
        _ => None,
    }
}

/// An experiment of other settings, but of the same decisions.
fn same_decisions(ours: &Experiment, all: &[Experiment]) -> Option<String> {
    let earlier = all.iter().take_while(|e| e.name != ours.name);
    let twin = earlier.filter(|e| e.is_ok()).find(|e| e.decisions == ours.decisions)?;
    let is_weightless =
        ours.chosen["memory_weights"].as_array().is_some_and(|w| w.iter().all(|w| *w == 0.0));
    let why = if is_weightless { ": its neighbours have a weight of 0" } else { "" };
    Some(format!("It predicts the same brands as `{}` for every test user{why}.", twin.name))
}

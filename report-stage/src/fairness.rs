//! What else may explain a change than what an experiment is meant to show.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::experiment::Experiment;
use crate::format;
use crate::settings;

/// A threshold whose odds change by more than this without a fifth of the valid users is unstable.
const UNSTABLE_FACTOR: f64 = 2.0;

/// More experiments that isolate a setting are not named.
const MAX_CONTROLS: usize = 3;

/// Differences from the baseline that a reader must know to compare fairly, for each experiment a
/// sentence or two each; none for the baseline and without scores.
pub fn fairness(experiments: &[Experiment], baseline: &Experiment) -> Vec<Vec<String>> {
    let from_baseline: Vec<BTreeSet<String>> =
        experiments.iter().map(|e| differing(e, baseline)).collect();
    let of_experiment = |(place, ours): (usize, &Experiment)| {
        if ours.name == baseline.name || ours.is_truth || !ours.is_ok() {
            return Vec::new();
        }
        let notes = [
            several_settings(place, baseline, experiments, &from_baseline),
            updates(ours, baseline),
            refit(ours, baseline),
            unstable_threshold(ours),
            same_decisions(place, experiments),
        ];
        notes.into_iter().flatten().collect()
    };
    experiments.iter().enumerate().map(of_experiment).collect()
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
///
/// * `from_baseline`: what differs between each experiment and the baseline.
fn several_settings(
    place: usize,
    baseline: &Experiment,
    experiments: &[Experiment],
    from_baseline: &[BTreeSet<String>],
) -> Option<String> {
    let (ours, differs) = (&experiments[place], &from_baseline[place]);
    let n = differs.len();
    if n < 2 || !is_trained(ours) || !is_trained(baseline) {
        return None;
    }
    let what = format::names(&differs.iter().cloned().collect::<Vec<_>>());
    let intro = format!("It differs from `{}` by {n} settings: {what}.", baseline.name);
    let isolated = |(control, between): (&Experiment, &BTreeSet<String>)| {
        // A control stands between the two: it has all of the settings but one, and no other.
        let is_control = control.is_ok() && is_trained(control);
        if !is_control || between.len() + 1 != n || !between.is_subset(differs) {
            return None;
        }
        let by = differing(ours, control);
        let setting = by.first().filter(|_| by.len() == 1)?;
        Some(format!("`{}` differs from it only by `{setting}`", control.name))
    };
    let others = experiments.iter().zip(from_baseline);
    let controls: Vec<String> = others.filter_map(isolated).take(MAX_CONTROLS).collect();
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

/// A single threshold that would have been another one without a few of the valid users.
fn unstable_threshold(ours: &Experiment) -> Option<String> {
    let chosen = ours.chosen["threshold"].as_f64()?;
    let by_fold = ours.chosen["threshold_by_fold"].as_array()?;
    let by_fold: Vec<f64> = by_fold.iter().filter_map(Value::as_f64).collect();
    let log_odds = |p: f64| (p / (1.0 - p)).ln();
    let is_far = |&other: &f64| (log_odds(other) - log_odds(chosen)).abs() > UNSTABLE_FACTOR.ln();
    let [low, high] = [f64::min, f64::max].map(|end| by_fold.iter().copied().reduce(end));
    let range = format!("{} and {}", format::metric(low), format::metric(high));
    by_fold.iter().any(is_far).then(|| {
        format!(
            "Its single threshold is unstable: {} by all valid users, between {range} if a fifth of \
             them is left out. A few valid users decide it.",
            format::metric(Some(chosen))
        )
    })
}

/// An experiment of other settings, but of the same decisions.
fn same_decisions(place: usize, experiments: &[Experiment]) -> Option<String> {
    let ours = &experiments[place];
    let twin = experiments[..place]
        .iter()
        .filter(|e| e.is_ok())
        .find(|e| e.decisions == ours.decisions)?;
    let is_weightless =
        ours.chosen["memory_weights"].as_array().is_some_and(|w| w.iter().all(|w| *w == 0.0));
    let why = if is_weightless { ": its neighbours have a weight of 0" } else { "" };
    Some(format!("It predicts the same brands as `{}` for every test user{why}.", twin.name))
}

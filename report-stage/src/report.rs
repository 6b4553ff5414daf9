//! The whole report as one value: `report.json` is this, written; all else is a view of it.

use contract::Manifest;
use contract::manifest::Experiment as Settings;
use contract::statistics::SampleStatistics;
use indexmap::IndexMap;
use metrics::{Draws, f1};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::calibration::Calibration;
use crate::compare::{self, Delta, Outcomes, Standing};
use crate::evaluate::{self, ByTier, Evaluation, Figures, Floor};
use crate::format;
use crate::load::{Brand, Brands, Epoch, Scores};

/// Version of `report.json`.
const VERSION: u32 = 1;

/// Lengths of a user's list of best brands that are measured, where the list is long enough.
const KS: [usize; 5] = [1, 3, 5, 10, 20];

/// In place of a verdict where there are no scores.
pub const NO_SCORES: &str = "no scores: the experiment did not finish or was not run";

/// What was found of one experiment.
pub struct Trial<'a> {
    /// As the manifest sets it
    pub settings: &'a Settings,
    /// `None` without scores
    pub scored: Option<Scored>,
    /// Empty for a model that is not trained
    pub history: Vec<Epoch>,
    /// From the records of its stages
    pub effort: Effort,
}

/// An experiment's figures and what its intervals are made of.
pub struct Scored {
    /// Figures and counts per brand
    pub evaluation: Evaluation,
    /// `None` without a histogram and thresholds
    pub calibration: Option<Calibration>,
    /// Draws over the test users; paired by the seed
    pub draws: Draws,
}

/// What an experiment took. `None` where no stage recorded it.
#[derive(Clone, Debug, Default)]
pub struct Effort {
    /// What the sample did to the training users
    pub sample: Option<SampleStatistics>,
    /// Training examples
    pub train_rows: Option<u64>,
    /// Gradient updates
    pub updates: Option<u64>,
    /// After how many of them the model that was kept stood, by its figures on the valid users
    pub updates_kept: Option<u64>,
    /// What scoring chose on the valid users: `brand_share`, `memory_weights`
    pub chosen: Value,
    /// Whether the model is the truth that made the data: a ceiling, not a rival
    pub is_truth: bool,
    /// Wall time
    pub secs: Secs,
}

/// Wall time of an experiment's stages: the only figures that differ from run to run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Secs {
    /// Drawing the examples
    pub sample: Option<f64>,
    /// Training
    pub train: Option<f64>,
    /// Scoring valid and test users
    pub score: Option<f64>,
}

/// What all experiments are tested on.
#[derive(Clone, Debug)]
pub struct TestUsers {
    /// All of them
    pub n_users: u64,
    /// Those that have at least one of the brands
    pub n_with_labels: u64,
    /// Mean over all of them
    pub labels_per_user: Option<f64>,
    /// By `brand_idx`, test users that have the brand
    pub supports: Vec<u64>,
    /// What predicting everything would reach
    pub floor: Floor,
}

impl TestUsers {
    /// Reads the labels; they are the same in all experiments' scores.
    pub fn of(scores: &Scores, n_brands: usize, f1_buckets: &[f64]) -> Self {
        let mut supports = vec![0; n_brands];
        for &brand in scores.labels.lists().values {
            supports[brand as usize] += 1;
        }
        Self {
            n_users: scores.n_users() as u64,
            n_with_labels: scores.labels.lists().iter().filter(|labels| !labels.is_empty()).count()
                as u64,
            labels_per_user: evaluate::per_user(supports.iter().sum(), scores.n_users()),
            floor: evaluate::floor(&supports, scores, f1_buckets),
            supports,
        }
    }
}

/// `report.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of this format
    pub version: u32,
    /// Name of the experiment that all others are compared with
    pub baseline: String,
    /// Brands that are predicted
    pub n_brands: u64,
    /// Users that the figures are measured on
    pub n_test_users: u64,
    /// Those with at least one label: what user level averages over
    pub n_users_with_labels: u64,
    /// Mean over all test users
    pub labels_per_user: Option<f64>,
    /// Which experiments are better
    pub answer: Answer,
    /// Brands of each tier
    pub tiers: ByTier<u64>,
    /// What predicting every brand for every user would reach
    pub floor: Floor,
    /// In the manifest's order
    pub experiments: Vec<Experiment>,
    /// The largest brands one by one
    pub top_brands: Vec<TopBrand>,
    /// What a reader must know to read the figures right
    pub notes: Vec<String>,
    /// How changes were judged
    pub method: Method,
    /// What the words and figures mean
    pub definitions: IndexMap<String, String>,
}

/// Which experiments are better, by the rule of `definitions`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Answer {
    /// Of those that beat the baseline, the one with the highest item macro F1
    pub best: Option<String>,
    /// Better at one level at least, worse at none
    pub beats_baseline: Vec<String>,
    /// Better at one level, worse at the other
    pub trade_offs: Vec<String>,
    /// Without scores
    pub missing: Vec<String>,
    /// The same in sentences
    pub text: Vec<String>,
}

/// One experiment.
#[derive(Debug, Serialize)]
pub struct Experiment {
    /// As the manifest names it
    pub name: String,
    /// `ok` or `missing`
    pub status: &'static str,
    /// What follows from the intervals, in words
    pub verdict: String,
    /// Part of the verdict, if most brands are never predicted
    pub warning: Option<String>,
    /// What follows from the intervals; `None` for the baseline and where nothing is compared
    pub outcomes: Option<Outcomes>,
    /// What was measured
    #[serde(flatten)]
    pub figures: Figures,
    /// Against the baseline
    pub delta: Delta,
    /// What the sample did to the training users; `None` for a model without one
    pub sample: Option<SampleStatistics>,
    /// Training examples
    pub train_rows: Option<u64>,
    /// Gradient updates
    pub updates: Option<u64>,
    /// After how many of them the model that was kept stood, by its figures on the valid users
    pub updates_kept: Option<u64>,
    /// What scoring chose on the valid users: `brand_share`, `memory_weights`
    pub chosen: Value,
    /// Probabilities and audiences against the labels of the test users
    pub calibration: Option<Calibration>,
    /// Whether the model is the truth that made the data: a ceiling, not a rival
    pub is_truth: bool,
    /// Wall time
    pub secs: Secs,
    /// By `stage.key`, the manifest's values that are not the baseline's
    pub differs: Map<String, Value>,
    /// The manifest's values
    pub settings: Value,
    /// One entry an epoch
    pub history: Vec<Epoch>,
}

impl Experiment {
    /// Whether it has scores.
    pub fn is_ok(&self) -> bool {
        self.status == "ok"
    }
}

/// One of the largest brands.
#[derive(Debug, Serialize)]
pub struct TopBrand {
    /// Position, from 0
    pub brand_idx: usize,
    /// Source identifier
    pub brand_id: Value,
    /// As the data call it
    pub name: String,
    /// Training users that have it
    pub volume: u64,
    /// `head`, `torso` or `tail`
    pub tier: &'static str,
    /// Test users that have it
    pub support: u64,
    /// By experiment
    pub f1: IndexMap<String, Option<f64>>,
}

/// How changes were judged.
#[derive(Debug, Serialize)]
pub struct Method {
    /// Resamples of the test users
    pub bootstrap_draws: usize,
    /// Of the resamples
    pub seed: u64,
    /// Share of the draws inside an interval
    pub level: f64,
    /// Experiments compared with the baseline
    pub n_compared: usize,
    /// Intervals computed, none of them corrected for their number
    pub n_intervals: usize,
}

/// The lengths of a list of best brands that are measured.
pub fn ks(top_k: usize) -> Vec<usize> {
    KS.into_iter().filter(|&k| k <= top_k).collect()
}

/// Puts the report together.
///
/// * `trials`: one for each experiment of the manifest, in its order; at least one is scored.
pub fn assemble(
    manifest: &Manifest,
    brands: &Brands,
    test: &TestUsers,
    trials: &[Trial],
) -> Report {
    let f1_buckets: Vec<f64> = manifest.report.f1_buckets.iter().map(|bucket| bucket.0).collect();
    let baseline = trials.iter().find(|trial| trial.settings.name == manifest.baseline);
    let baseline = baseline.expect("the manifest checks that the baseline is an experiment");
    let experiments: Vec<Experiment> = trials
        .iter()
        .map(|trial| experiment(trial, baseline, manifest, &f1_buckets, brands.list.len() as u64))
        .collect();
    let n_compared = experiments.iter().filter(|e| e.outcomes.is_some()).count();
    Report {
        version: VERSION,
        baseline: manifest.baseline.clone(),
        n_brands: brands.list.len() as u64,
        n_test_users: test.n_users,
        n_users_with_labels: test.n_with_labels,
        labels_per_user: test.labels_per_user,
        answer: answer(&experiments, &manifest.baseline),
        tiers: ByTier::of(|tier| {
            brands.list.iter().filter(|brand| brand.tier == tier).count() as u64
        }),
        floor: test.floor.clone(),
        top_brands: top_brands(&brands.list, test, trials, manifest.report.top_brands),
        notes: notes(&experiments, &manifest.baseline),
        method: Method {
            bootstrap_draws: manifest.report.bootstrap_draws,
            seed: manifest.report.seed,
            level: compare::LEVEL,
            n_compared,
            n_intervals: compare::N_INTERVALS * n_compared,
        },
        definitions: definitions(),
        experiments,
    }
}

fn experiment(
    trial: &Trial,
    baseline: &Trial,
    manifest: &Manifest,
    f1_buckets: &[f64],
    n_brands: u64,
) -> Experiment {
    let name = trial.settings.name.clone();
    let figures = match &trial.scored {
        Some(scored) => scored.evaluation.figures.clone(),
        None => evaluate::unknown(f1_buckets, &ks(trial.settings.score.top_k)),
    };
    let delta = match (&trial.scored, &baseline.scored) {
        (Some(ours), Some(base)) => {
            compare::delta((&figures, &ours.draws), (&base.evaluation.figures, &base.draws))
        }
        _ => compare::unknown(&figures),
    };
    let standing = match &baseline.scored {
        _ if name == manifest.baseline => Standing::Baseline,
        None => Standing::NoBaseline,
        Some(_) => Standing::Compared(compare::outcomes(&delta)),
    };
    let settings = settings(trial.settings, manifest);
    let differs = differences(&settings, &self::settings(baseline.settings, manifest));
    let Effort { sample, train_rows, updates, updates_kept, chosen, is_truth, secs } =
        trial.effort.clone();
    let warning = figures.n_never_predicted.and_then(|n_never| compare::warning(n_never, n_brands));
    let (status, verdict) = match trial.scored {
        None => ("missing", NO_SCORES.to_owned()),
        Some(_) if is_truth => {
            ("ok", "the truth that made the data: a ceiling, not a rival".to_owned())
        }
        Some(_) => ("ok", compare::verdict(standing, warning.as_deref())),
    };
    let outcomes = match standing {
        Standing::Compared(outcomes) if trial.scored.is_some() => Some(outcomes),
        _ => None,
    };
    let history = trial.history.clone();
    Experiment {
        name,
        status,
        verdict,
        warning,
        outcomes,
        figures,
        delta,
        sample,
        train_rows,
        updates,
        updates_kept,
        chosen,
        calibration: trial.scored.as_ref().and_then(|scored| scored.calibration.clone()),
        is_truth,
        secs,
        differs,
        settings,
        history,
    }
}

/// The manifest's values of an experiment, without what changes no result.
fn settings(experiment: &Settings, manifest: &Manifest) -> Value {
    let dir = manifest.path.parent().unwrap_or(std::path::Path::new(""));
    let relative =
        |path: &std::path::Path| path.strip_prefix(dir).unwrap_or(path).display().to_string();
    let mut train = json!(experiment.train);
    train["pretrained"] = json!(experiment.train.pretrained.as_deref().map(relative));
    let mut score = json!(experiment.score);
    for stage in [&mut train, &mut score] {
        stage.as_object_mut().expect("a struct is a map").shift_remove("threads");
    }
    let sample = if experiment.needs_sample() {
        json!({"sql": relative(experiment.sql()), "params": experiment.sample.params})
    } else {
        Value::Null
    };
    tidy(json!({"sample": sample, "train": train, "score": score}))
}

/// Numbers that were `f32` get the digits that the manifest wrote: 0.001, not 0.0010000000475.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, tidy(value))).collect(),
        Value::Array(items) => items.into_iter().map(tidy).collect(),
        Value::Number(number) if number.is_f64() => {
            let wide = number.as_f64().expect("just asked");
            let narrow = wide as f32;
            let is_narrow = (f64::from(narrow) - wide).abs() == 0.0;
            let shortest = is_narrow.then(|| narrow.to_string().parse::<f64>().ok()).flatten();
            json!(shortest.unwrap_or(wide))
        }
        other => other,
    }
}

/// What is not as in the baseline, by `stage.key`; a query's parameters one by one.
fn differences(ours: &Value, baseline: &Value) -> Map<String, Value> {
    let (ours, baseline) = (leaves(ours), leaves(baseline));
    let gone = baseline.keys().filter(|key| !ours.contains_key(*key));
    let gone: Vec<_> = gone.map(|key| (key.clone(), Value::Null)).collect();
    ours.into_iter().filter(|(key, value)| baseline.get(key) != Some(value)).chain(gone).collect()
}

fn leaves(settings: &Value) -> Map<String, Value> {
    let mut leaves = Map::new();
    for (stage, values) in settings.as_object().into_iter().flatten() {
        for (key, value) in values.as_object().into_iter().flatten() {
            match value {
                Value::Object(params) if key == "params" => {
                    leaves.extend(
                        params.iter().map(|(k, v)| (format!("{stage}.{key}.{k}"), v.clone())),
                    );
                }
                value => drop(leaves.insert(format!("{stage}.{key}"), value.clone())),
            }
        }
    }
    leaves
}

fn answer(experiments: &[Experiment], baseline: &str) -> Answer {
    let names = |wanted: fn(Outcomes) -> bool| -> Vec<String> {
        let rivals = experiments.iter().filter(|e| !e.is_truth);
        let found = rivals.filter(|e| e.outcomes.is_some_and(wanted));
        found.map(|e| e.name.clone()).collect()
    };
    let mut answer = Answer {
        best: None,
        beats_baseline: names(Outcomes::beats_baseline),
        trade_offs: names(Outcomes::is_trade_off),
        missing: experiments.iter().filter(|e| !e.is_ok()).map(|e| e.name.clone()).collect(),
        text: Vec::new(),
    };
    let mut best: Option<&Experiment> = None;
    for candidate in experiments.iter().filter(|e| answer.beats_baseline.contains(&e.name)) {
        // Of equals the first in the manifest wins.
        if best.is_none_or(|best| candidate.figures.item.macro_f1 > best.figures.item.macro_f1) {
            best = Some(candidate);
        }
    }
    answer.best = best.map(|e| e.name.clone());
    answer.text = answer_text(&answer, best, experiments, baseline);
    answer
}

fn answer_text(
    answer: &Answer,
    best: Option<&Experiment>,
    experiments: &[Experiment],
    baseline: &str,
) -> Vec<String> {
    let base = experiments.iter().find(|e| e.name == baseline).filter(|e| e.is_ok());
    let is_compared = experiments.iter().any(|e| e.outcomes.is_some());
    let mut text = Vec::new();
    match (base, best) {
        (None, _) => text.push(format!(
            "The baseline `{baseline}` has no scores, so nothing is compared with it: all changes are missing."
        )),
        (Some(_), None) if !is_compared => {
            text.push(format!("Only the baseline `{baseline}` has scores, so nothing is compared."));
        }
        (Some(_), None) => text.push(format!(
            "No experiment beats the baseline `{baseline}`: none is better at one level without being worse at the other."
        )),
        (Some(base), Some(best)) => {
            text.push(format!("`{}` beats the baseline `{baseline}`: {}.", best.name, best.verdict));
            let line = |what: &str, ours, base, delta: &compare::Judged| {
                let change = format::change(delta.abs, delta.rel);
                let interval = format::interval(delta.ci95).map_or_else(String::new, |i| format!(", 95% interval {i}"));
                format!("{what} {} against {}: {change}{interval}.", format::metric(ours), format::metric(base))
            };
            let (ours, theirs) = (&best.figures, &base.figures);
            text.push(format!(
                "{} {}",
                line("Item macro F1", ours.item.macro_f1, theirs.item.macro_f1, &best.delta.item_f1),
                line("User F1", ours.user.f1, theirs.user.f1, &best.delta.user_f1),
            ));
        }
    }
    if let Some(warning) = base.and_then(|base| base.warning.as_ref()) {
        text.push(format!("The baseline itself is {warning}."));
    }
    let others: Vec<String> = answer
        .beats_baseline
        .iter()
        .filter(|name| Some(*name) != answer.best.as_ref())
        .cloned()
        .collect();
    for (intro, names) in [
        ("Also beating the baseline, with a lower item macro F1: ", &others),
        ("Better at one level but worse at the other: ", &answer.trade_offs),
        ("Without scores, so not compared: ", &answer.missing),
    ] {
        if !names.is_empty() {
            text.push(format!("{intro}{}.", listed(names)));
        }
    }
    text
}

fn notes(experiments: &[Experiment], baseline: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if experiments.iter().any(|e| e.name == baseline && !e.is_ok()) {
        notes.push(format!("The baseline `{baseline}` has no scores; no change can be shown."));
    }
    let trained: Vec<(&str, u64)> = experiments
        .iter()
        .filter(|e| e.is_ok())
        .filter_map(|e| Some((e.name.as_str(), e.updates?)))
        .collect();
    if trained.iter().any(|(_, updates)| *updates != trained[0].1) {
        let list: Vec<String> = trained
            .iter()
            .map(|(name, updates)| format!("`{name}` {}", format::count(*updates)))
            .collect();
        notes.push(format!(
            "The experiments were trained for different numbers of gradient updates, so part of a \
             difference may be the length of training: {}.",
            list.join(", ")
        ));
    }
    notes
}

/// Names as code, in a sentence.
pub fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn top_brands(brands: &[Brand], test: &TestUsers, trials: &[Trial], n_top: usize) -> Vec<TopBrand> {
    let f1_of =
        |trial: &Trial, brand_idx: usize| f1(trial.scored.as_ref()?.evaluation.counts[brand_idx]);
    let row = |(brand_idx, brand): (usize, &Brand)| TopBrand {
        brand_idx,
        brand_id: brand.id.clone(),
        name: brand.name.clone(),
        volume: brand.volume,
        tier: brand.tier.name(),
        support: test.supports[brand_idx],
        f1: trials.iter().map(|t| (t.settings.name.clone(), f1_of(t, brand_idx))).collect(),
    };
    brands.iter().enumerate().take(n_top).map(row).collect()
}

fn definitions() -> IndexMap<String, String> {
    const DEFINITIONS: [(&str, &str); 22] = [
        ("F1", "2·tp / (2·tp + fp + fn), from counts of test users. Undefined if all three are 0."),
        (
            "item level",
            "F1 of each brand, then the unweighted mean over the brands where it is defined. A brand that test users have but that is never predicted has F1 0 and is included.",
        ),
        (
            "user level",
            "F1 of each test user who has at least one label, then the mean over those users. Precision is the mean over those of them who have a prediction.",
        ),
        ("micro F1", "F1 of the counts summed over all brands."),
        ("support", "Test users who have the brand."),
        ("volume", "Distinct training users who have the brand, before sampling."),
        (
            "head, torso, tail",
            "Brands by volume: the head is the fewest largest brands that together hold a given share of the training labels, the tail the smallest brands that together hold at most a given share, the torso what lies between.",
        ),
        ("F1 bucket", "Number of brands whose F1 is defined and at least the bound."),
        ("never predicted", "Brands for which no test user's probability reaches the threshold."),
        (
            "P@k, R@k, NDCG@k",
            "Of a user's k most probable brands: share that are labels; share of the user's labels among them; discounted gain relative to the best order. Mean over users with a label.",
        ),
        (
            "MAP",
            "Average precision of each brand over the test users ranked by its logit, then the mean over brands with support.",
        ),
        (
            "mean imbalance ratio",
            "For each brand that has a label, labels of the most common brand over its own; then the mean over those brands (MeanIR, Charte et al. 2015). 1 is even.",
        ),
        (
            "SCUMBLE",
            "1 minus the geometric over the arithmetic mean of the imbalance ratios of a row's brands; then the mean over rows with a label (Charte et al. 2019). 0 if rare and common brands never share a row, toward 1 the more they do: then a row added for a rare brand adds to common ones too.",
        ),
        (
            "trivial floor",
            "Predicting every brand for every user: F1 is 2π / (1 + π) for a brand of prevalence π among the test users. No model is needed for it.",
        ),
        (
            "ceiling",
            "F1 of each brand at the threshold that is best on the test users themselves: a bound on what any choice of thresholds could reach with these logits, not a result. Mean over brands with support.",
        ),
        (
            "expected labels",
            "Sum of the probabilities over users and brands, or over one brand. Calibrated probabilities expect as many labels as there are.",
        ),
        (
            "calibration error",
            "How far the labels expected are from those found, summed over brands (or over bands of probability), over all labels. 0 is right everywhere, 1 is off by as many as there are.",
        ),
        (
            "audience ratio",
            "Users predicted to have a brand over those who have it, over brands that a test user has.",
        ),
        (
            "brand share",
            "Of the policy `gain`: weight of the mean F1 over brands in what a prediction gains, the mean over users having the rest. 1 is each brand's own threshold, 0 each user's own list.",
        ),
        (
            "memory weight",
            "Share of the nearest training users' labels in a probability, the model having the rest.",
        ),
        (
            "verdict",
            "A level is better or worse if the 95% interval of its change against the baseline lies wholly above or below 0, else there is no clear change; item level goes by macro F1. An experiment in which more than half of all brands are never predicted is called not working.",
        ),
        (
            "beats the baseline",
            "Better at one level at least and worse at none. The best experiment is the one of these with the highest item macro F1.",
        ),
    ];
    DEFINITIONS.map(|(term, text)| (term.to_owned(), text.to_owned())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_of_the_manifest() {
        assert_eq!(
            tidy(json!({"a": 0.001_f32, "b": [0.1_f64, 2.0_f32, 7]})),
            json!({"a": 0.001, "b": [0.1, 2.0, 7]})
        );
    }

    #[test]
    fn differences_name_the_key_and_our_value() {
        let baseline =
            json!({"sample": {"sql": "a.sql", "params": {"n": 1, "m": 2}}, "train": {"epochs": 5}});
        let ours = json!({"sample": {"sql": "a.sql", "params": {"n": 3}}, "train": {"epochs": 5}});
        let expected = json!({"sample.params.n": 3, "sample.params.m": null});
        assert_eq!(Value::Object(differences(&ours, &baseline)), expected);
        assert!(differences(&baseline, &baseline).is_empty());
    }

    #[test]
    fn only_lists_that_are_long_enough_are_measured() {
        assert_eq!(ks(20), [1, 3, 5, 10, 20]);
        assert_eq!(ks(7), [1, 3, 5]);
    }
}

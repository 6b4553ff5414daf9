//! The whole report as one value: `report.json` is this, written; all else is a view of it.

use contract::Manifest;
use contract::brands::ByTier;
use contract::manifest::{Decision, Experiment as Settings};
use contract::statistics::{LeftOut, SampleStatistics};
use indexmap::IndexMap;
use metrics::f1;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::answer::{self, Answer};
use crate::bands::volume_bands;
use crate::calibration::Calibration;
use crate::compare::{self, Delta, Judged, Outcomes, Standing};
use crate::definitions::definitions;
use crate::evaluate::{self, Evaluation, Figures, Floor};
use crate::load::{Alternative, Brand, Brands, Epoch, Scores, Threshold};
use crate::precision_recall::TierCurve;
use crate::records::{Effort, Provenance, Secs, StageTrace};
use crate::settings;

/// Version of `report.json`.
const VERSION: u32 = 1;

/// A note where epochs, thresholds and all else were chosen without a label.
const NOTHING_IN_VALID: &str = "No valid user has a label of a predicted brand, so nothing that was \
     chosen on valid (epoch, calibration, thresholds) means anything.";

/// Lengths of a user's list of best brands that are measured, where the list is long enough.
const KS: [usize; 5] = [1, 3, 5, 10, 20];

/// Those of them that people are shown; `report.json` has all.
pub const SHOWN_KS: [usize; 3] = [1, 5, 20];

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
    /// The sampling query; `None` for a model without a sample
    pub query: Option<String>,
}

/// An experiment's figures.
pub struct Scored {
    /// Figures and counts per brand
    pub evaluation: Evaluation,
    /// `None` without a histogram and thresholds
    pub calibration: Option<Calibration>,
    /// `None` without a histogram and thresholds
    pub precision_recall: Option<ByTier<TierCurve>>,
    /// By `brand_idx`
    pub thresholds: Option<Vec<Threshold>>,
    /// By `brand_idx`, users expected to have it before and after calibration
    pub expected: Option<Vec<[f64; 2]>>,
    /// What other decisions would have given
    pub trade_off: Vec<Alternative>,
    /// The changes against the baseline, and each brand's; `None` if the baseline has no scores
    pub delta: Option<(Delta, Vec<Judged>)>,
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
#[derive(Debug, Serialize, JsonSchema)]
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
    /// The experiment that is shown beside the baseline in full: the best one; if none beats the
    /// baseline, of the others the one with the highest item macro F1
    pub selected: Option<String>,
    /// Brands of each tier
    pub tiers: ByTier<u64>,
    /// Labels of brands that are not predicted, which no figure counts; `None` if it is not known
    pub left_out: Option<LeftOut>,
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
    /// What all of it was made from
    pub provenance: Provenance,
    /// What the words and figures mean
    pub definitions: IndexMap<String, String>,
}

/// One experiment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Experiment {
    /// As the manifest names it
    pub name: String,
    /// `ok` or `missing`
    pub status: &'static str,
    /// What follows from the intervals, in words
    pub verdict: String,
    /// Part of the verdict, if most brands are never predicted
    pub warning: Option<String>,
    /// Why its figures are not those that the manifest describes, if so
    pub outdated: Option<String>,
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
    /// Precision against recall of the brands of each tier
    pub precision_recall: Option<ByTier<TierCurve>>,
    /// What other decisions of the same probabilities would have given the test users
    pub trade_off: Vec<Alternative>,
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
#[derive(Debug, Serialize, JsonSchema)]
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
#[derive(Debug, Serialize, JsonSchema)]
pub struct Method {
    /// Resamples of the test users
    pub bootstrap_draws: usize,
    /// Of the resamples
    pub seed: u64,
    /// Share of the draws inside an interval
    pub level: f64,
    /// Experiments compared with the baseline
    pub n_compared: usize,
    /// Intervals computed but for those of single brands, none corrected for their number
    pub n_intervals: usize,
}

/// The lengths of a list of best brands that are measured.
pub fn ks(top_k: usize) -> Vec<usize> {
    KS.into_iter().filter(|&k| k <= top_k).collect()
}

/// Fewest test users whose intervals are not warned of.
const ENOUGH_USERS: u64 = 100;

impl TestUsers {
    /// Why nothing can be judged with these users, if so.
    fn nothing_to_judge(&self) -> Option<String> {
        match (self.n_users, self.n_with_labels) {
            (_, 0) => Some("no test user has a label of a predicted brand".to_owned()),
            (1, _) => Some("there is one test user only".to_owned()),
            _ => None,
        }
    }

    /// That there are few of them, if so.
    fn warning(&self) -> Option<String> {
        let is_few = self.n_users < ENOUGH_USERS;
        is_few.then(|| {
            format!(
                "There are {} only, so the intervals mean little.",
                contract::words::plural(self.n_users, "test user")
            )
        })
    }
}

/// Puts the report together.
///
/// * `trials`: one for each experiment of the manifest, in its order; at least one is scored.
pub fn assemble(
    manifest: &Manifest,
    brands: &Brands,
    test: &TestUsers,
    trials: &[Trial],
    provenance: Provenance,
) -> Report {
    let f1_buckets: Vec<f64> = manifest.report.f1_buckets.iter().map(|bucket| bucket.0).collect();
    let baseline = trials.iter().find(|trial| trial.settings.name == manifest.baseline);
    let baseline = baseline.expect("the manifest checks that the baseline is an experiment");
    let is_defined = |trial: &Trial| {
        let scored = trial.scored.as_ref();
        scored.is_some_and(|scored| scored.evaluation.figures.item.macro_f1.is_some())
    };
    let nothing = test.nothing_to_judge().or_else(|| {
        let is_any = trials.iter().any(is_defined);
        (!is_any).then(|| "no figure of any experiment is defined".to_owned())
    });
    let judge = Judge {
        baseline,
        manifest,
        f1_buckets,
        n_brands: brands.list.len() as u64,
        has_labels: test.n_with_labels > 0,
        nothing: nothing.as_deref(),
    };
    let experiments: Vec<Experiment> = trials.iter().map(|trial| judge.experiment(trial)).collect();
    let n_compared = experiments.iter().filter(|e| e.outcomes.is_some() && !e.is_truth).count();
    let n_bands = volume_bands(&brands.list).len();
    let answer = answer::answer(&experiments, &manifest.baseline, nothing.as_deref());
    let left_out = brands.left_out.as_ref().and_then(LeftOut::message);
    let best_known = || highest(&experiments, &manifest.baseline).filter(|_| nothing.is_none());
    let selected = answer.best.clone().or_else(best_known);
    let is_shown = |stage: &&StageTrace| {
        let name = stage.id.experiment.as_ref();
        name.is_none_or(|name| experiments.iter().any(|e| e.name == *name))
    };
    let vouched = provenance.stages.iter().filter(is_shown).flat_map(StageTrace::vouched).collect();
    Report {
        version: VERSION,
        baseline: manifest.baseline.clone(),
        n_brands: brands.list.len() as u64,
        n_test_users: test.n_users,
        n_users_with_labels: test.n_with_labels,
        labels_per_user: test.labels_per_user,
        selected,
        tiers: ByTier::of(|tier| {
            brands.list.iter().filter(|brand| brand.tier == tier).count() as u64
        }),
        floor: test.floor.clone(),
        top_brands: top_brands(&brands.list, test, trials, manifest.report.top_brands),
        notes: [
            nothing.map(|why| format!("Nothing to judge: {why}.")).into_iter().collect(),
            answer::notes(&experiments, &manifest.baseline),
            test.warning().into_iter().collect(),
            brands.are_unseen_in_valid.then(|| NOTHING_IN_VALID.to_owned()).into_iter().collect(),
            left_out.map(|what| format!("No figure counts these: {what}.")).into_iter().collect(),
            vouched,
        ]
        .concat(),
        left_out: brands.left_out.clone(),
        answer,
        method: Method {
            bootstrap_draws: manifest.report.bootstrap_draws,
            seed: manifest.report.seed,
            level: compare::LEVEL,
            n_compared,
            n_intervals: compare::n_intervals(n_bands) * n_compared,
        },
        provenance,
        definitions: definitions(),
        experiments,
    }
}

/// The experiment with the highest item macro F1 but the baseline and the truth.
fn highest(experiments: &[Experiment], baseline: &str) -> Option<String> {
    let rivals = experiments.iter().filter(|e| e.name != baseline && !e.is_truth && e.is_ok());
    // Of equals the first in the manifest wins.
    let best = rivals.rev().max_by(|a, b| {
        let f1 = |e: &Experiment| e.figures.item.macro_f1.unwrap_or(-1.0);
        f1(a).total_cmp(&f1(b))
    });
    best.map(|e| e.name.clone())
}

/// What an experiment is judged by.
struct Judge<'a> {
    baseline: &'a Trial<'a>,
    manifest: &'a Manifest,
    f1_buckets: Vec<f64>,
    n_brands: u64,
    /// Whether any test user has a label; without one, an F1 of 0 says nothing
    has_labels: bool,
    /// Why nothing can be judged, if so
    nothing: Option<&'a str>,
}

impl Judge<'_> {
    fn experiment(&self, trial: &Trial) -> Experiment {
        let Self { baseline, manifest, .. } = self;
        let name = trial.settings.name.clone();
        let scored = trial.scored.as_ref();
        let measured = scored.filter(|_| self.has_labels);
        let figures = measured.map_or_else(
            || evaluate::unknown(&self.f1_buckets, &ks(trial.settings.score.top_k)),
            |scored| scored.evaluation.figures.clone(),
        );
        let delta = measured.and_then(|scored| scored.delta.as_ref());
        let delta = delta.map_or_else(|| compare::unknown(&figures), |(delta, _)| delta.clone());
        let standing = match &baseline.scored {
            _ if self.nothing.is_some() => Standing::Nothing,
            _ if name == manifest.baseline => Standing::Baseline,
            None => Standing::NoBaseline,
            Some(_) => Standing::Compared(compare::outcomes(&delta)),
        };
        let settings = settings::settings(trial.settings, manifest);
        let differs =
            settings::differences(&settings, &settings::settings(baseline.settings, manifest));
        let effort = trial.effort.clone();
        let judged = figures.n_never_predicted.filter(|_| self.nothing.is_none());
        let warning = judged.and_then(|n_never| {
            let decision = trial.settings.score.decision;
            let by_threshold = !matches!(decision, Decision::TopK { .. } | Decision::Gain { .. });
            compare::warning(n_never, self.n_brands, by_threshold)
        });
        let (status, verdict) = match scored {
            None => ("missing", effort.no_scores()),
            Some(_) if effort.is_truth && self.nothing.is_none() => {
                ("ok", "the truth that made the data: a ceiling, not a rival".to_owned())
            }
            Some(_) => ("ok", compare::verdict(standing, warning.as_deref())),
        };
        let outcomes = match standing {
            Standing::Compared(outcomes) if scored.is_some() => Some(outcomes),
            _ => None,
        };
        Experiment {
            name,
            status,
            verdict,
            warning,
            outdated: scored.and(effort.outdated),
            outcomes,
            figures,
            delta,
            sample: effort.sample,
            train_rows: effort.train_rows,
            updates: effort.updates,
            updates_kept: effort.updates_kept,
            chosen: effort.chosen,
            calibration: scored.and_then(|scored| scored.calibration.clone()),
            precision_recall: scored.and_then(|scored| scored.precision_recall.clone()),
            trade_off: scored.map_or_else(Vec::new, |scored| scored.trade_off.clone()),
            is_truth: effort.is_truth,
            secs: effort.secs,
            differs,
            settings,
            history: trial.history.clone(),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lists_that_are_long_enough_are_measured() {
        assert_eq!(ks(20), [1, 3, 5, 10, 20]);
        assert_eq!(ks(7), [1, 3, 5]);
    }
}

//! The whole report as one value. `report.json` is this value; everything else is a view of it.

use contract::Manifest;
use contract::brands::ByTier;
use contract::statistics::LeftOut;
use indexmap::IndexMap;
use metrics::MAX_DRAWS;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::answer::{self, Answer};
use crate::bands::volume_bands;
use crate::compare;
use crate::definitions::definitions;
use crate::experiment::{Experiment, Judge};
use crate::fairness::fairness;
use crate::figures::Floor;
use crate::load::{Brand, Brands};
use crate::notes::notes;
use crate::records::Provenance;
use crate::settings;
use crate::test_users::TestUsers;
use crate::trial::Trial;

/// Version of `report.json`.
const VERSION: u32 = 1;

/// `report.json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    /// Version of this format
    pub version: u32,
    /// Name of the experiment that all others are compared with
    pub baseline: String,
    /// Names of other experiments that all are compared with
    pub also_against: Vec<String>,
    /// Predicted brands
    pub n_brands: u64,
    /// Users that the figures are measured on
    pub n_test_users: u64,
    /// Users that everything is chosen on; null without them
    pub n_valid_users: Option<u64>,
    /// Test users with at least one label; user level is the mean over them
    pub n_users_with_labels: u64,
    /// Mean number of labels over all test users
    pub labels_per_user: Option<f64>,
    /// Which experiments are better
    pub answer: Answer,
    /// The experiment that is shown beside the baseline: the best one or, if none is better on the valid
    /// users, the one of the others with the highest item macro F1 there
    pub selected: Option<String>,
    /// Brands of each tier
    pub tiers: ByTier<u64>,
    /// Labels of brands that are not predicted, which no figure counts; null if not known
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
    /// What the report was made from
    pub provenance: Provenance,
    /// What each term means
    pub definitions: IndexMap<String, String>,
}

/// One of the brands with most training users.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TopBrand {
    /// Position in order of volume, from 0
    pub brand_idx: usize,
    /// Source identifier
    pub brand_id: Value,
    /// As in the user's data
    pub name: String,
    /// Training users that have it
    pub volume: u64,
    /// `head`, `torso` or `tail`
    pub tier: &'static str,
    /// Test users that have it
    pub support: u64,
    /// F1 in each experiment; null where undefined or not known
    pub f1: IndexMap<String, Option<f64>>,
}

/// How changes were judged.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Method {
    /// Resamples of the test users, for F1 buckets and single brands
    pub bootstrap_draws: usize,
    /// Seed of the resamples
    pub seed: u64,
    /// Seeds of training; empty where the manifest lists none
    pub seeds: Vec<u64>,
    /// Chance that an interval holds the change
    pub level: f64,
    /// Experiments compared with the baseline
    pub n_compared: usize,
    /// Intervals without those of single brands; none is corrected for their number
    pub n_intervals: usize,
}

impl Method {
    /// What figures are means over, to be put after their name; empty with one seed.
    pub fn over_seeds(&self) -> String {
        match &self.seeds[..] {
            [] | [_] => String::new(),
            seeds => format!(", means over {} seeds", seeds.len()),
        }
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
    let baseline = trials.iter().find(|trial| trial.settings.name == manifest.baseline);
    let baseline = baseline.expect("the manifest checks that the baseline is an experiment");
    let nothing = nothing_to_judge(test, trials);
    let judge = Judge {
        baseline,
        manifest,
        f1_buckets: settings::f1_buckets(manifest),
        n_brands: brands.list.len() as u64,
        has_labels: test.n_with_labels > 0,
        nothing: nothing.as_deref(),
    };
    let mut experiments: Vec<Experiment> =
        trials.iter().map(|trial| judge.experiment(trial)).collect();
    add_fairness(&mut experiments, &manifest.baseline);
    let n_compared = experiments.iter().filter(|e| e.outcomes.is_some() && !e.is_truth).count();
    let n_comparisons =
        n_compared + experiments.iter().map(|experiment| experiment.against.len()).sum::<usize>();
    let n_bands = volume_bands(&brands.list).len();
    let answer = answer::answer(&experiments, &manifest.baseline, nothing.as_deref());
    let best_known = || highest(&experiments, &manifest.baseline).filter(|_| nothing.is_none());
    Report {
        version: VERSION,
        baseline: manifest.baseline.clone(),
        also_against: also_against(manifest, &experiments),
        n_brands: brands.list.len() as u64,
        n_test_users: test.n_users,
        n_valid_users: trials.iter().find_map(|trial| trial.scored.as_ref()?.n_valid_users),
        n_users_with_labels: test.n_with_labels,
        labels_per_user: test.labels_per_user,
        selected: answer.best.clone().or_else(best_known),
        tiers: ByTier::of(|tier| {
            brands.list.iter().filter(|brand| brand.tier == tier).count() as u64
        }),
        floor: test.floor.clone(),
        top_brands: top_brands(&brands.list, test, trials, manifest.report.top_brands),
        notes: notes(&experiments, manifest, nothing.as_deref(), brands, test, &provenance.stages),
        left_out: brands.left_out.clone(),
        answer,
        method: Method {
            bootstrap_draws: manifest.report.bootstrap_draws.min(MAX_DRAWS),
            seed: manifest.report.seed,
            seeds: manifest.seeds.clone(),
            level: compare::LEVEL,
            n_compared,
            n_intervals: compare::n_intervals(n_bands, manifest.report.f1_buckets.len())
                * n_comparisons,
        },
        provenance,
        definitions: definitions(),
        experiments,
    }
}

/// The experiments of `also_against` that this report has with scores.
fn also_against(manifest: &Manifest, experiments: &[Experiment]) -> Vec<String> {
    let is_here = |name: &String| experiments.iter().any(|e| e.name == *name && e.is_ok());
    manifest.also_against().map(|rival| rival.name.clone()).filter(is_here).collect()
}

fn add_fairness(experiments: &mut [Experiment], baseline: &str) {
    let Some(base) = experiments.iter().find(|e| e.name == baseline).filter(|e| e.is_ok()) else {
        return;
    };
    let notes = fairness(experiments, base);
    for (experiment, notes) in experiments.iter_mut().zip(notes) {
        experiment.fairness = notes;
    }
}

/// Why no experiment can be judged, if so.
fn nothing_to_judge(test: &TestUsers, trials: &[Trial]) -> Option<String> {
    let is_defined = |trial: &Trial| {
        let scored = trial.scored.as_ref();
        scored.is_some_and(|scored| scored.evaluation.figures.item.macro_f1.is_some())
    };
    test.nothing_to_judge().or_else(|| {
        let is_any = trials.iter().any(is_defined);
        (!is_any).then(|| "no figure of any experiment is defined".to_owned())
    })
}

/// The experiment with the highest item macro F1 on valid, without the baseline and the truth.
fn highest(experiments: &[Experiment], baseline: &str) -> Option<String> {
    let rivals = experiments.iter().filter(|e| e.name != baseline && !e.is_truth && e.is_ok());
    // Of equal ones the first in the manifest wins.
    let best = rivals.rev().max_by(|a, b| {
        let f1 = |e: &Experiment| e.valid.as_ref().and_then(|v| v.item.macro_f1).unwrap_or(-1.0);
        f1(a).total_cmp(&f1(b))
    });
    best.map(|e| e.name.clone())
}

fn top_brands(brands: &[Brand], test: &TestUsers, trials: &[Trial], n_top: usize) -> Vec<TopBrand> {
    let f1_of = |trial: &Trial, brand_idx: usize| trial.scored.as_ref()?.brands[brand_idx].f1;
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

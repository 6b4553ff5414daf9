//! One experiment in the report: what was measured, and the verdict.

use contract::Manifest;
use contract::brands::ByTier;
use contract::manifest::{Cell, Decision};
use contract::statistics::SampleStatistics;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::calibration::Calibration;
use crate::compare::{self, Delta};
use crate::figures::{self, Figures};
use crate::load::{Alternative, Epoch};
use crate::precision_recall::TierCurve;
use crate::records::Secs;
use crate::settings;
use crate::trial::{SeedFigures, Trial};
use crate::verdict::{self, Outcomes, Standing};

/// One experiment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Experiment {
    /// As in the manifest
    pub name: String,
    /// Whether there are figures
    pub status: Status,
    /// What follows from the intervals, in words
    pub verdict: String,
    /// Part of the verdict, if most brands are never predicted
    pub warning: Option<String>,
    /// Why the figures do not match the manifest, if so
    pub outdated: Option<String>,
    /// What follows from the intervals; null for the baseline and where nothing is compared
    pub outcomes: Option<Outcomes>,
    /// What was measured: means over the seeds, counts rounded
    #[serde(flatten)]
    pub figures: Figures,
    /// The same on the valid users, each decided by what was fitted on other valid users; null without
    /// them
    pub valid: Option<Figures>,
    /// What was measured with each seed; empty where the manifest lists none
    pub seeds: Vec<SeedFigures>,
    /// What a matrix sets in it; null if it is of none
    pub matrix: Option<Cell>,
    /// Changes against the baseline
    pub delta: Delta,
    /// Changes against the other experiments that all are compared with, by name
    pub against: IndexMap<String, Delta>,
    /// What else may explain a change than what the experiment is meant to show
    pub fairness: Vec<String>,
    /// What the sample did to the training users; null for a model without one
    pub sample: Option<SampleStatistics>,
    /// Training examples
    pub train_rows: Option<u64>,
    /// Gradient updates of all its networks
    pub updates: Option<u64>,
    /// Updates that the model in use had seen; chosen on the valid users
    pub updates_kept: Option<u64>,
    /// What scoring chose on the valid users: `brand_share`, `k`, `threshold` and what it would have been
    /// without each fifth of them, `memory_weights`
    pub chosen: Value,
    /// Probabilities and audiences against the labels of the test users
    pub calibration: Option<Calibration>,
    /// Precision against recall of the brands of each tier
    pub precision_recall: Option<ByTier<TierCurve>>,
    /// What other decisions would have given the test users with the same probabilities
    pub trade_off: Vec<Alternative>,
    /// Whether the model is the truth that made the data: a ceiling, not a rival
    pub is_truth: bool,
    /// Wall time of each stage
    pub secs: Secs,
    /// The manifest's values that differ from the baseline's, by `stage.key`
    pub differs: Map<String, Value>,
    /// The manifest's values
    pub settings: Value,
    /// One entry for each epoch
    pub history: Vec<Epoch>,
    /// Hash of the predictions for the test users, of each seed
    #[serde(skip)]
    pub decisions: Vec<u64>,
}

/// Whether an experiment has figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has scores
    Ok,
    /// It has no scores
    Missing,
}

impl Experiment {
    /// Whether it has scores.
    pub fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }
}

/// What all experiments are judged by.
pub struct Judge<'a> {
    /// The baseline, which may have no scores
    pub baseline: &'a Trial<'a>,
    pub manifest: &'a Manifest,
    pub f1_buckets: Vec<f64>,
    pub n_brands: u64,
    /// Whether any test user has a label; without one, an F1 of 0 says nothing
    pub has_labels: bool,
    /// Why nothing can be judged, if so
    pub nothing: Option<&'a str>,
}

impl Judge<'_> {
    /// The experiment as the report has it.
    pub fn experiment(&self, trial: &Trial) -> Experiment {
        let scored = trial.scored.as_ref();
        let measured = scored.filter(|_| self.has_labels);
        let figures = measured.map_or_else(
            || figures::unknown(&self.f1_buckets, &figures::ks(trial.settings.score.top_k)),
            |scored| scored.evaluation.figures.clone(),
        );
        let delta = measured.and_then(|scored| scored.delta.as_ref());
        let delta = delta.map_or_else(|| compare::unknown(&figures), |(delta, _)| delta.clone());
        let standing = self.standing(trial, &delta);
        let warning = self.warning(trial, &figures);
        let settings = settings::settings(trial.settings, self.manifest);
        let of_baseline = settings::settings(self.baseline.settings, self.manifest);
        let effort = trial.effort.clone();
        Experiment {
            name: trial.settings.name.clone(),
            status: if scored.is_some() { Status::Ok } else { Status::Missing },
            verdict: self.verdict(
                trial,
                standing,
                self.is_one_seed(trial, &delta),
                warning.as_deref(),
            ),
            warning,
            outdated: scored.and(effort.outdated),
            outcomes: match standing {
                Standing::Compared(outcomes) if scored.is_some() => Some(outcomes),
                _ => None,
            },
            figures,
            valid: scored.and_then(|scored| scored.valid.clone()),
            seeds: measured.map_or_else(Vec::new, |scored| scored.seeds.clone()),
            matrix: trial.settings.matrix.clone(),
            delta,
            against: measured.map(|scored| scored.against.clone()).unwrap_or_default(),
            fairness: Vec::new(), // needs all experiments
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
            differs: settings::differences(&settings, &of_baseline),
            settings,
            history: trial.history.clone(),
            decisions: scored.map_or_else(Vec::new, |scored| scored.decisions.clone()),
        }
    }

    fn standing(&self, trial: &Trial, delta: &Delta) -> Standing {
        match &self.baseline.scored {
            _ if self.nothing.is_some() => Standing::Nothing,
            _ if trial.settings.name == self.manifest.baseline => Standing::Baseline,
            None => Standing::NoBaseline,
            Some(_) if has_no_pair(trial) => Standing::NoCommonSeed,
            Some(_) => Standing::Compared(delta.outcomes()),
        }
    }

    fn warning(&self, trial: &Trial, figures: &Figures) -> Option<String> {
        let n_never = figures.n_never_predicted.filter(|_| self.nothing.is_none())?;
        let decision = trial.settings.score.decision;
        let by_threshold = !matches!(decision, Decision::TopK { .. } | Decision::Gain { .. });
        verdict::warning(n_never, self.n_brands, by_threshold)
    }

    /// Whether one training alone speaks for the experiment or for the baseline.
    fn is_one_seed(&self, trial: &Trial, delta: &Delta) -> bool {
        let is_trained = [trial, self.baseline].iter().any(|trial| trial.settings.needs_sample());
        is_trained && delta.item_f1.n_seeds.max(delta.user_f1.n_seeds) < 2
    }

    fn verdict(
        &self,
        trial: &Trial,
        standing: Standing,
        is_one_seed: bool,
        warning: Option<&str>,
    ) -> String {
        if trial.scored.is_none() {
            trial.effort.no_scores()
        } else if trial.effort.is_truth && self.nothing.is_none() {
            "the truth that made the data: a ceiling, not a rival".to_owned()
        } else {
            verdict::verdict(standing, is_one_seed, warning)
        }
    }
}

/// Whether no seed of an experiment is one of the baseline's.
fn has_no_pair(trial: &Trial) -> bool {
    trial.scored.as_ref().is_some_and(|scored| scored.delta.is_none())
}

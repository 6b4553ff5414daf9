//! What was found of one experiment, before it is judged.

use contract::brands::ByTier;
use contract::manifest::Experiment as Settings;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use crate::calibration::Calibration;
use crate::compare::{Delta, Judged};
use crate::evaluate::Evaluation;
use crate::figures::Figures;
use crate::load::{Alternative, Epoch, Threshold};
use crate::precision_recall::TierCurve;
use crate::records::Effort;

/// An experiment of the manifest, with or without results.
pub struct Trial<'a> {
    /// As the manifest sets it
    pub settings: &'a Settings,
    /// `None` without scores
    pub scored: Option<Scored>,
    /// Of the first seed; empty for a model that is not trained
    pub history: Vec<Epoch>,
    /// From the records of its stages
    pub effort: Effort,
    /// Text of the sampling query; `None` for a model without a sample
    pub query: Option<String>,
}

/// What was measured of a brand: means over the seeds where it is defined.
#[derive(Clone, Copy, Debug, Default)]
pub struct BrandFigures {
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
}

/// The figures of one seed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SeedFigures {
    /// What the experiment was trained with
    pub seed: u64,
    /// What was measured
    #[serde(flatten)]
    pub figures: Figures,
}

/// What was measured of an experiment with scores. Calibration, curves, thresholds and trade-off are
/// those of the first seed.
pub struct Scored {
    /// Figures over all seeds; counts and average precision of the first
    pub evaluation: Evaluation,
    /// On the valid users, by what was fitted on other valid users; means over the seeds
    pub valid: Option<Figures>,
    /// `None` without valid users
    pub n_valid_users: Option<u64>,
    /// Hash of the predictions for the test users, of each seed
    pub decisions: Vec<u64>,
    /// By `brand_idx`, means over the seeds
    pub brands: Vec<BrandFigures>,
    /// The same of the users who had the brand before, and of those who had not
    pub parts: [Option<Vec<BrandFigures>>; 2],
    /// The figures of each seed, where the manifest lists seeds
    pub seeds: Vec<SeedFigures>,
    /// `None` without a histogram and thresholds
    pub calibration: Option<Calibration>,
    /// `None` without a histogram and thresholds
    pub precision_recall: Option<ByTier<TierCurve>>,
    /// By `brand_idx`
    pub thresholds: Option<Vec<Threshold>>,
    /// By `brand_idx`, users expected to have the brand before and after calibration
    pub expected: Option<Vec<[f64; 2]>>,
    /// What other decisions would have given
    pub trade_off: Vec<Alternative>,
    /// The changes against the baseline, and each brand's by `brand_idx`; `None` if the baseline has
    /// no scores
    pub delta: Option<(Delta, Vec<Judged>)>,
    /// The changes against each experiment of the manifest's `also_against`, by name
    pub against: IndexMap<String, Delta>,
}

//! What was found of one experiment, before it is judged.

use contract::brands::ByTier;
use contract::manifest::Experiment as Settings;

use crate::calibration::Calibration;
use crate::compare::{Delta, Judged};
use crate::evaluate::Evaluation;
use crate::load::{Alternative, Epoch, Threshold};
use crate::precision_recall::TierCurve;
use crate::records::Effort;

/// An experiment of the manifest, with or without results.
pub struct Trial<'a> {
    /// As the manifest sets it
    pub settings: &'a Settings,
    /// `None` without scores
    pub scored: Option<Scored>,
    /// Empty for a model that is not trained
    pub history: Vec<Epoch>,
    /// From the records of its stages
    pub effort: Effort,
    /// Text of the sampling query; `None` for a model without a sample
    pub query: Option<String>,
}

/// What was measured of an experiment with scores.
pub struct Scored {
    /// Figures, and counts by brand
    pub evaluation: Evaluation,
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
}

//! Counts to F1, thresholds, calibration, intervals: arrays in, numbers out.
//!
//! No file, clock or global random state is touched here, and every result is the same
//! for any number of threads. Metrics count first (`u64`), then apply one formula
//! (`f64`); an undefined result is `None`, never a silent 0.
//!
//! The way from logits to decisions and their quality:
//!
//! 1. [`HistogramBuilder`] counts, per brand, the logits of the users with and without the label;
//! 2. [`calibration`] turns logits into probabilities, one [`Curve`] per brand;
//! 3. [`thresholds`] chooses the probability from which a brand is predicted; [`gain`] weighs
//!    what a prediction is worth to its brand against what it is worth to its user;
//! 4. [`point`], [`Jackknife`] and [`bootstrap()`] measure the decisions, with [`counts`] for the formulas;
//!    [`ranking`] measures a user's ordered list instead, [`trade_off`] what other decisions of
//!    the same probabilities would give.

pub mod bins;
pub mod bootstrap;
pub mod calibration;
pub mod cells;
mod counter;
pub mod counts;
pub mod curve;
pub mod decisions;
pub mod drift;
pub mod gain;
pub mod histogram;
pub mod histogram_builder;
pub mod imbalance;
pub mod isotonic;
pub mod jackknife;
pub mod lists;
mod logistic;
pub mod ranked_bins;
pub mod ranking;
mod reached;
mod repeated;
pub mod seeds;
mod tasks;
pub mod thresholds;
pub mod trade_off;
pub mod user_sweep;

#[cfg(test)]
mod exact;
#[cfg(test)]
mod reference;

pub use bins::Bin;
pub use bootstrap::{BrandDraws, MAX_DRAWS, bootstrap, percentile_interval};
pub use calibration::{DEFAULT_STRENGTH, Platt};
pub use cells::{N_STEPS, step_centre, step_of};
pub use counts::{Counts, f1, macro_f1, mean_defined, precision, recall, sum};
pub use curve::Curve;
pub use decisions::{Classified, Decisions, Point, point};
pub use gain::Stake;
pub use histogram::{BrandHistogram, Histogram};
pub use histogram_builder::HistogramBuilder;
pub use imbalance::{Scumble, imbalance_ratios, mean_imbalance_ratio};
pub use isotonic::Isotonic;
pub use jackknife::Jackknife;
pub use lists::{Lists, OwnedLists};
pub use ranked_bins::{RankedBin, ranked_bins};
pub use ranking::{ndcg_at, precision_at, recall_at};
pub use reached::reached;
pub use repeated::Repeated;
pub use seeds::{Resampling, SeedChanges};
pub use thresholds::{
    Expected, Objective, average_precision, best_f1, counts_at, expected,
    expected_volume_threshold, threshold_candidates, tune_global, tuned_threshold,
};
pub use trade_off::TradeOff;
pub use user_sweep::{ListOrder, UserSweep};

//! Statistics of a sample beside those of the training users, as recorded by its stage and shown in
//! the report.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::brands::ByTier;
use crate::words::{count, plural};

/// Statistics of a sample and of the training users it was drawn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleStatistics {
    /// Examples
    pub rows: u64,
    /// Distinct users among them
    pub users: u64,
    /// Examples that are clones
    pub clones: u64,
    /// Labels of the examples
    pub labels: u64,
    /// Examples without labels
    pub rows_without_label: u64,
    /// Cells that `ignored_brands` leaves out of the loss
    pub ignored_cells: u64,
    /// Of the training users
    pub before: Spread,
    /// Of the examples
    pub after: Spread,
    /// Brands without positives
    pub brands_without_positives: WithoutPositives,
}

/// How labels are spread over rows and brands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// Users or examples
    pub rows: u64,
    /// Those without any label
    pub rows_without_label: u64,
    /// Labels by tier of their brand
    pub positives_by_tier: ByTier<u64>,
    /// Mean over brands of the most common brand's labels over the brand's own (`MeanIR`)
    pub mean_imbalance_ratio: Option<f64>,
    /// How much common and rare brands share rows (SCUMBLE)
    pub scumble: Option<f64>,
}

/// Numbers of brands without positives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WithoutPositives {
    /// Among the examples
    pub train: u64,
    /// Among the valid users
    pub valid: u64,
    /// Among the test users
    pub test: u64,
}

/// Share of rows that have each brand; one value per brand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prevalence {
    /// Of the training users
    pub before: Vec<f64>,
    /// Of the examples by weight, without those whose loss leaves the brand out; null if all do
    pub after: Vec<Option<f64>>,
}

/// Metadata key of `examples.arrow` with [`SampleStatistics`] as JSON.
pub const STATISTICS_KEY: &str = "statistics";

/// Metadata key of `examples.arrow` with [`Prevalence`] as JSON.
pub const PREVALENCE_KEY: &str = "prevalence";

/// Metadata of `brands`: the [`LeftOut`].
pub const LEFT_OUT_KEY: &str = "left_out";

/// Labels of brands that are not predicted; no figure counts them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Of brands that no training user has
    pub without_training_users: LeftOutLabels,
    /// Of brands that `data.keep_brands` leaves out
    pub not_kept: LeftOutLabels,
}

/// Brands, and their labels by split.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOutLabels {
    /// Brands, those that no user has included
    pub brands: u64,
    /// Labels of training users
    pub train: u64,
    /// Labels of valid users
    pub valid: u64,
    /// Labels of test users
    pub test: u64,
}

impl LeftOut {
    /// A sentence about what was left out; `None` if nothing was.
    pub fn message(&self) -> Option<String> {
        let kinds = [
            (&self.without_training_users, "without training users"),
            (&self.not_kept, "that `data.keep_brands` leaves out"),
        ];
        let parts = kinds.into_iter().filter_map(|(labels, which)| labels.message(which));
        let parts: Vec<String> = parts.collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

impl LeftOutLabels {
    fn message(&self, which: &str) -> Option<String> {
        let n = self.train + self.valid + self.test;
        if self.brands == 0 {
            return None;
        }
        let brands = plural(self.brands, "brand");
        if n == 0 {
            return Some(format!("left out: {brands} {which}, which no user has"));
        }
        let splits = [(self.train, "train"), (self.valid, "valid"), (self.test, "test")];
        let splits = splits.iter().filter(|(n, _)| *n > 0);
        let splits: Vec<_> = splits.map(|(n, name)| format!("{} of {name}", count(*n))).collect();
        Some(format!(
            "{} of {brands} {which} are left out ({} users)",
            plural(n, "label"),
            splits.join(", ")
        ))
    }
}

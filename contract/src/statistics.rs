//! What a sample did to the training users, as its stage records it and the report shows it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A sample beside the training users that it was drawn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleStatistics {
    /// Examples
    pub rows: u64,
    /// Distinct users among them
    pub users: u64,
    /// Examples that are clones
    pub clones: u64,
    /// Labels that the examples show
    pub labels: u64,
    /// Examples that show no label
    pub rows_without_label: u64,
    /// Cells that `ignored_brands` leaves out of the loss
    pub ignored_cells: u64,
    /// The training users as they are
    pub before: Spread,
    /// The examples
    pub after: Spread,
    /// Brands without a positive
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
    pub positives_by_tier: ByTier,
    /// Mean over brands of the most common brand's labels over the brand's own (`MeanIR`)
    pub mean_imbalance_ratio: Option<f64>,
    /// How much common and rare brands share rows (SCUMBLE)
    pub scumble: Option<f64>,
}

/// Labels by tier of their brand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the tiers of brands.arrow")]
pub struct ByTier {
    pub head: u64,
    pub torso: u64,
    pub tail: u64,
}

/// Number of brands without a positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WithoutPositives {
    /// Among the examples
    pub train: u64,
    /// Among the valid users
    pub valid: u64,
    /// Among the test users
    pub test: u64,
}

/// Share of rows that have each brand; one value a brand each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prevalence {
    /// Of the training users
    pub before: Vec<f64>,
    /// Of the examples by weight, without those whose loss leaves the brand out; null where all do
    pub after: Vec<Option<f64>>,
}

/// Metadata key of `examples.arrow` with [`SampleStatistics`] as JSON.
pub const STATISTICS_KEY: &str = "statistics";

/// Metadata key of `examples.arrow` with [`Prevalence`] as JSON.
pub const PREVALENCE_KEY: &str = "prevalence";

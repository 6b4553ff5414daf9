//! What `predict --json` prints: what was written, and how the users differ from those that the
//! experiment was judged on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `predict` did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Predicted {
    /// Users that were predicted for
    pub n_users: u64,
    /// Brands of all users that were written
    pub n_brands: u64,
    /// Users without one
    pub n_without: u64,
    /// The file or folder that was written
    pub output: String,
    /// How the users differ from the experiment's test users
    pub drift: Drift,
}

/// How users differ from an experiment's test users.
///
/// Something has moved if the difference is large and no chance would explain it: of users from the same
/// population one in a hundred jobs says that anything has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// Why drift could not be checked; null if it was
    pub unchecked: Option<String>,
    /// Test users that were looked at
    pub n_reference_users: u64,
    /// Users that were looked at, every so many of them
    pub n_users: u64,
    /// How many of `features` and `brands` have moved
    pub n_moved: u64,
    /// What users have, in the order of the model's features
    pub features: Vec<FeatureDrift>,
    /// What is predicted for them, largest brand first
    pub brands: Vec<BrandDrift>,
}

impl Drift {
    /// Drift that cannot be told.
    pub fn unchecked(why: impl Into<String>) -> Self {
        Self {
            unchecked: Some(why.into()),
            n_reference_users: 0,
            n_users: 0,
            n_moved: 0,
            features: Vec::new(),
            brands: Vec::new(),
        }
    }
}

/// What is measured of a feature.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A number, one of a vector's
    Value,
    /// How many ids a list has
    NIds,
    /// The sum of a list's weights
    SumOfWeights,
    /// Whether a list has an id
    HasId,
}

/// A number, or an id in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureDrift {
    /// Name of the feature
    pub feature: String,
    /// What is measured of it
    pub what: What,
    /// Of `value` the position in the vector from 0, of `has_id` the id (of a list of brands a brand's
    /// position), else 0
    pub place: u32,
    /// Mean over the test users; of `has_id` the share that has it
    pub mean_before: f64,
    /// Mean over the users
    pub mean_now: f64,
    /// Standard deviation over the test users
    pub sd_before: f64,
    /// Standard deviation over the users
    pub sd_now: f64,
    /// Population stability index, from 0.1 on a moderate, from 0.25 on a large shift; null of `has_id`
    pub psi: Option<f64>,
    /// Whether it has moved
    pub has_moved: bool,
}

/// A brand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BrandDrift {
    /// Its id, as text
    pub brand_id: String,
    /// Its name
    pub brand_name: String,
    /// Share of the test users for whom it was predicted
    pub predicted_before: f64,
    /// Share of the users for whom it is predicted; null where decisions are made in another way than
    /// the experiment's
    pub predicted_now: Option<f64>,
    /// Mean calibrated probability of the test users
    pub expected_before: f64,
    /// Mean calibrated probability of the users
    pub expected_now: f64,
    /// Whether one of the two has moved
    pub has_moved: bool,
}

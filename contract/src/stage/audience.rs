//! What `audience --json` prints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::drift::Drift;

/// The users of some brands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Audiences {
    /// Users that were scored
    pub n_users: u64,
    /// The file or folder that was written; null with `-n`
    pub output: Option<String>,
    /// In the order in which they were named, or largest brand first
    pub brands: Vec<Audience>,
    /// How the users differ from the experiment's test users
    pub drift: Drift,
}

/// The users of a brand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Audience {
    /// Its id, as text
    pub brand_id: String,
    /// Its name
    pub brand_name: String,
    /// Users in its audience. With `-n` an estimate where a threshold decides: some of the probabilities
    /// are counted in bins
    pub n_users: u64,
    /// The least probability in it; null if it is empty
    pub from_prob: Option<f64>,
    /// Share of them that are expected to have the brand, by their calibrated probabilities; null if it
    /// is empty
    pub expected_precision: Option<f64>,
    /// Share of all users with the brand that are expected to be in it; null if none is expected
    pub expected_recall: Option<f64>,
}

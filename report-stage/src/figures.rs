//! What the report says of one experiment, as `report.json` has it.

use std::collections::BTreeMap;

use contract::brands::ByTier;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use crate::bands::F1Band;

/// How many brands reach each F1, by the F1 as the manifest writes it; `None` where not known.
pub type Buckets = IndexMap<String, Option<u64>>;

/// A metric of the `k` most probable brands, by `k`.
pub type AtK = BTreeMap<usize, Option<f64>>;

/// The lengths of a list of most probable brands that are measured, where the list has as many.
const KS: [usize; 5] = [1, 3, 5, 10, 20];

/// Those of them that people are shown; `report.json` has all.
pub const SHOWN_KS: [usize; 3] = [1, 5, 20];

/// The lengths that are measured of lists of `top_k` brands.
pub fn ks(top_k: usize) -> Vec<usize> {
    KS.into_iter().filter(|&k| k <= top_k).collect()
}

/// The figures of an experiment; each is `None` where it is undefined or not known.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Figures {
    /// Brands that reach each F1
    pub buckets: Buckets,
    /// Per brand, then the mean over brands
    pub item: Item,
    /// Per user, then the mean over users with a label
    pub user: User,
    /// From the counts summed over brands
    pub micro: Micro,
    /// Mean average precision over brands that a test user has
    pub map: Option<f64>,
    /// Each brand at its best threshold on the test users themselves: a bound, not a result
    pub ceiling: Ceiling,
    /// Brands that no test user has or is predicted to have: their F1 is undefined
    pub n_undefined: Option<u64>,
    /// Brands that are predicted for no test user
    pub n_never_predicted: Option<u64>,
    /// Which brands those are
    pub never_predicted: NeverPredicted,
    /// Mean over all test users
    pub predictions_per_user: Option<f64>,
    /// Brands by F1; those whose F1 is undefined are in no band
    pub f1_bands: Vec<F1Band>,
}

/// Item level: the unweighted mean over brands.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Item {
    /// Over `n_defined` brands
    pub macro_f1: Option<f64>,
    /// Over `n_precision` brands
    pub macro_precision: Option<f64>,
    /// Over `n_recall` brands
    pub macro_recall: Option<f64>,
    /// Brands with `tp + fp + fn > 0`
    pub n_defined: Option<u64>,
    /// Brands that are predicted at least once
    pub n_precision: Option<u64>,
    /// Brands that at least one test user has
    pub n_recall: Option<u64>,
    /// The same for each tier
    pub by_tier: ByTier<TierItem>,
    /// The same for each volume band, the largest brands first
    pub by_volume: Vec<VolumeItem>,
}

/// Item level of the brands of a volume band.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct VolumeItem {
    /// Least training users of a brand
    pub from: u64,
    /// A brand has fewer training users than this; `None` for the largest brands
    pub below: Option<u64>,
    /// Brands of the band
    pub n_brands: u64,
    /// Over `n_defined` brands
    pub macro_f1: Option<f64>,
    /// Brands with `tp + fp + fn > 0`
    pub n_defined: Option<u64>,
}

/// Item level of one tier.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct TierItem {
    /// Over `n_defined` brands
    pub macro_f1: Option<f64>,
    /// Over the brands that are predicted
    pub macro_precision: Option<f64>,
    /// Over the brands that a test user has
    pub macro_recall: Option<f64>,
    /// Brands with `tp + fp + fn > 0`
    pub n_defined: Option<u64>,
    /// Brands that reach each F1
    pub buckets: Buckets,
}

/// User level: the mean over users with at least one label.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct User {
    /// Over `n_users` users
    pub f1: Option<f64>,
    /// Over `n_with_predictions` users
    pub precision: Option<f64>,
    /// Over `n_users` users
    pub recall: Option<f64>,
    /// Users with a label
    pub n_users: Option<u64>,
    /// Users with a label and a prediction
    pub n_with_predictions: Option<u64>,
    /// Users with a label for whom no prediction is right
    pub n_without_hit: Option<u64>,
    /// Mean F1 of the tenth of the users whose F1 is lowest
    pub worst_tenth_f1: Option<f64>,
    /// F1 of the user in the middle
    pub median_f1: Option<f64>,
    /// Share of the `k` most probable brands that are labels
    #[schemars(with = "BTreeMap<String, Option<f64>>")]
    pub precision_at: AtK,
    /// Share of the labels that are among the `k` most probable brands
    #[schemars(with = "BTreeMap<String, Option<f64>>")]
    pub recall_at: AtK,
    /// Normalised discounted cumulative gain of the `k` most probable brands
    #[schemars(with = "BTreeMap<String, Option<f64>>")]
    pub ndcg_at: AtK,
}

/// Micro level: from the counts summed over brands.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Micro {
    /// `2·tp / (2·tp + fp + fn)`
    pub f1: Option<f64>,
    /// `tp / (tp + fp)`
    pub precision: Option<f64>,
    /// `tp / (tp + fn)`
    pub recall: Option<f64>,
}

/// The best that thresholds could do with these logits.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Ceiling {
    /// Over brands that a test user has
    pub macro_f1: Option<f64>,
    /// Brands that reach each F1
    pub buckets: Buckets,
}

/// Brands that are predicted for no test user.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct NeverPredicted {
    /// Those that at least one test user has: their F1 is 0
    pub n_with_support: Option<u64>,
    /// All of them, by tier
    pub by_tier: ByTier<Option<u64>>,
}

/// What predicting every brand for every user would reach, without any model.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Floor {
    /// Mean over all brands of `2π / (1 + π)`, where `π` is the brand's share of the test users
    pub macro_f1: Option<f64>,
    /// Mean over users with a label
    pub user_f1: Option<f64>,
    /// Brands that reach each F1
    pub buckets: Buckets,
}

/// The figures of an experiment without scores: every key is there, nothing is known.
pub fn unknown(f1_buckets: &[f64], ks: &[usize]) -> Figures {
    let buckets: Buckets = f1_buckets.iter().map(|low| (low.to_string(), None)).collect();
    let at_k: AtK = ks.iter().map(|&k| (k, None)).collect();
    Figures {
        item: Item {
            by_tier: ByTier::of(|_| TierItem { buckets: buckets.clone(), ..TierItem::default() }),
            ..Item::default()
        },
        user: User {
            precision_at: at_k.clone(),
            recall_at: at_k.clone(),
            ndcg_at: at_k,
            ..User::default()
        },
        ceiling: Ceiling { buckets: buckets.clone(), ..Ceiling::default() },
        buckets,
        ..Figures::default()
    }
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

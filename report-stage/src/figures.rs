//! What the report says of one experiment, as `report.json` has it.

use std::collections::BTreeMap;

use contract::brands::ByTier;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// The figures of an experiment; each is null where it is undefined or not known.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
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
    /// The decisions about brands that the users had before; missing if that is not known, as on valid
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Part>,
    /// The decisions about brands that the users had not had before
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Part>,
}

/// Item level: the unweighted mean over brands.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct VolumeItem {
    /// Least training users of a brand
    pub from: u64,
    /// A brand has fewer training users than this; null for the largest brands
    pub below: Option<u64>,
    /// Brands of the band
    pub n_brands: u64,
    /// Over `n_defined` brands
    pub macro_f1: Option<f64>,
    /// Brands with `tp + fp + fn > 0`
    pub n_defined: Option<u64>,
}

/// Item level of one tier.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Micro {
    /// `2·tp / (2·tp + fp + fn)`
    pub f1: Option<f64>,
    /// `tp / (tp + fp)`
    pub precision: Option<f64>,
    /// `tp / (tp + fn)`
    pub recall: Option<f64>,
}

/// Figures of one part of the decisions; each is null where it is undefined.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Brands that reach each F1
    pub buckets: Buckets,
    /// Per brand, then the mean over brands
    pub item: PartItem,
    /// Per user, then the mean over users with a label of this part
    pub user: PartUser,
    /// From the counts summed over brands
    pub micro: Micro,
    /// Labels of this part
    pub n_labels: Option<u64>,
    /// Predictions of this part
    pub n_predicted: Option<u64>,
}

/// Item level of a part.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PartItem {
    /// Over `n_defined` brands
    pub macro_f1: Option<f64>,
    /// Over brands that are predicted at least once
    pub macro_precision: Option<f64>,
    /// Over brands that at least one test user has
    pub macro_recall: Option<f64>,
    /// Brands with `tp + fp + fn > 0`
    pub n_defined: Option<u64>,
}

/// User level of a part.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PartUser {
    /// Over `n_users` users
    pub f1: Option<f64>,
    /// Over those of them with a prediction
    pub precision: Option<f64>,
    /// Over `n_users` users
    pub recall: Option<f64>,
    /// Users with a label of this part
    pub n_users: Option<u64>,
}

/// The best that thresholds could do with these logits.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Ceiling {
    /// Over brands that a test user has
    pub macro_f1: Option<f64>,
    /// Brands that reach each F1
    pub buckets: Buckets,
}

/// Brands that are predicted for no test user.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
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

/// Brands whose F1 is defined and reaches each bound.
pub fn buckets(f1_buckets: &[f64], f1s: impl Iterator<Item = Option<f64>> + Clone) -> Buckets {
    let n_from = |low: f64| f1s.clone().flatten().filter(|&f1| f1 >= low).count() as u64;
    f1_buckets.iter().map(|&low| (low.to_string(), Some(n_from(low)))).collect()
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

impl Figures {
    /// The mean over seeds of every figure, of those seeds where it is defined; counts are rounded.
    ///
    /// # Panics
    ///
    /// Without seeds.
    pub fn mean(seeds: &[&Self]) -> Self {
        if let [only] = seeds {
            return (*only).clone();
        }
        let values = seeds.iter().map(serde_json::to_value);
        let values: Result<Vec<Value>, _> = values.collect();
        let mean = mean(&values.expect("figures are plain data").iter().collect::<Vec<_>>());
        serde_json::from_value(mean).expect("the mean has the form of the figures")
    }
}

/// The mean of values of one form, number by number. Whole numbers have a rounded mean.
fn mean(values: &[&Value]) -> Value {
    let defined: Vec<&Value> = values.iter().copied().filter(|value| !value.is_null()).collect();
    let at = |get: &dyn Fn(&Value) -> Option<Value>| {
        let parts: Vec<Value> = defined.iter().filter_map(|value| get(value)).collect();
        mean(&parts.iter().collect::<Vec<_>>())
    };
    match defined.first() {
        None => Value::Null,
        Some(Value::Object(first)) => first
            .keys()
            .map(|key| (key.clone(), at(&|value| value.get(key).cloned())))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Some(Value::Array(first)) => {
            (0..first.len()).map(|i| at(&|value| value.get(i).cloned())).collect()
        }
        Some(Value::Number(_)) => {
            let sum: f64 = defined.iter().filter_map(|value| value.as_f64()).sum();
            let mean = sum / defined.len() as f64;
            if defined.iter().all(|value| value.is_u64()) {
                Value::from(mean.round() as u64)
            } else {
                Value::from(mean)
            }
        }
        Some(&other) => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F1 .2 and .3; brands at .5: 3 and 4, of which the mean is rounded; a figure that one seed
    /// lacks is the other's.
    #[test]
    fn a_mean_over_seeds_is_that_of_each_figure() {
        let seed = |f1: f64, n_buckets: u64, map: Option<f64>| Figures {
            buckets: [("0.5".to_owned(), Some(n_buckets))].into_iter().collect(),
            user: User { f1: Some(f1), ..unknown(&[0.5], &[1]).user },
            map,
            ..unknown(&[0.5], &[1])
        };
        let mean = Figures::mean(&[&seed(0.2, 3, None), &seed(0.3, 4, Some(0.1))]);
        assert!((mean.user.f1.unwrap() - 0.25).abs() < 1e-12);
        assert_eq!((mean.buckets["0.5"], mean.map), (Some(4), Some(0.1)));
        assert_eq!(mean.user.precision_at, AtK::from([(1, None)]));
    }

    #[test]
    fn only_lists_that_are_long_enough_are_measured() {
        assert_eq!(ks(20), [1, 3, 5, 10, 20]);
        assert_eq!(ks(7), [1, 3, 5]);
    }
}

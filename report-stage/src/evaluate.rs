//! One experiment's figures, from its decisions for the test users.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use metrics::{
    Counts, Histogram, Point, average_precision, best_f1, f1, macro_f1, mean_defined, ndcg_at,
    point, precision, precision_at, recall, recall_at, sum,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::bands::{F1Band, VolumeBand, f1_bands, volume_bands};
use crate::load::{Brand, Scores};
use contract::brands::{ByTier, Tier};

/// An experiment on the test users.
#[derive(Clone)]
pub struct Evaluation {
    /// Decisions against labels, by `brand_idx`
    pub counts: Vec<Counts>,
    /// By `brand_idx`; `None` without a test user that has the brand, or without a histogram
    pub average_precision: Vec<Option<f64>>,
    /// All that the report says of it
    pub figures: Figures,
}

/// How many brands reach each F1, by the F1 as the manifest writes it. `None`: not known.
pub type Buckets = IndexMap<String, Option<u64>>;

/// A metric of the best `k` brands, by `k`.
pub type AtK = BTreeMap<usize, Option<f64>>;

/// What the report says of an experiment. All is `None` where undefined or not known.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Figures {
    /// Brands by F1
    pub buckets: Buckets,
    /// Per brand, then the mean over brands
    pub item: Item,
    /// Per user, then the mean over users with a label
    pub user: User,
    /// Of the counts summed over brands
    pub micro: Micro,
    /// Mean average precision over brands with a test user
    pub map: Option<f64>,
    /// Each brand's best threshold on the test users themselves: a bound, not a result
    pub ceiling: Ceiling,
    /// Brands that no test user has or is predicted to have: their F1 is undefined
    pub n_undefined: Option<u64>,
    /// Brands that no test user is predicted to have
    pub n_never_predicted: Option<u64>,
    /// Which those are
    pub never_predicted: NeverPredicted,
    /// Mean over all test users
    pub predictions_per_user: Option<f64>,
    /// Brands by F1; those where it is undefined are in none
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
    /// The same by volume
    pub by_tier: ByTier<TierItem>,
    /// By bands of volume, the largest brands first
    pub by_volume: Vec<VolumeItem>,
}

/// Item level of the brands of a band of volume.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct VolumeItem {
    /// Training users, at least
    pub from: u64,
    /// Training users, fewer than; `None` for the largest brands
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
    /// Brands by F1
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
    /// Of those, users with a prediction
    pub n_with_predictions: Option<u64>,
    /// Of those, users for whom no prediction is right
    pub n_without_hit: Option<u64>,
    /// Mean F1 of the tenth of the users with the lowest
    pub worst_tenth_f1: Option<f64>,
    /// Median of F1
    pub median_f1: Option<f64>,
    /// Share of the best `k` brands that are labels
    #[schemars(with = "BTreeMap<String, Option<f64>>")]
    pub precision_at: AtK,
    /// Share of the labels among the best `k` brands
    #[schemars(with = "BTreeMap<String, Option<f64>>")]
    pub recall_at: AtK,
    /// Normalised discounted cumulative gain
    #[schemars(with = "BTreeMap<String, Option<f64>>")]
    pub ndcg_at: AtK,
}

/// The counts summed over brands.
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
    /// Over brands with a test user
    pub macro_f1: Option<f64>,
    /// Brands by F1
    pub buckets: Buckets,
}

/// Brands that are never predicted.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct NeverPredicted {
    /// Of those, brands that at least one test user has: their F1 is 0
    pub n_with_support: Option<u64>,
    /// All of those, by volume
    pub by_tier: ByTier<Option<u64>>,
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

/// Measures an experiment's decisions.
///
/// * `brands`: by `brand_idx`.
/// * `test`: logits of the test users by brand, for average precision and the ceiling.
/// * `f1_buckets`: the report counts the brands that reach each.
/// * `ks`: lengths of the list of best brands to measure, none longer than the list.
pub fn evaluate(
    brands: &[Brand],
    scores: &Scores,
    test: Option<&Histogram>,
    f1_buckets: &[f64],
    ks: &[usize],
) -> Evaluation {
    let Point { brands: counts, user_f1 } = point(&scores.decisions(), brands.len());
    let in_tier = |tier: Tier| -> Vec<Counts> {
        let of_tier = brands.iter().zip(&counts).filter(|(brand, _)| brand.tier == tier);
        of_tier.map(|(_, &counts)| counts).collect()
    };
    let n_never = |counts: &[Counts]| counts.iter().filter(|c| c.predicted() == 0).count() as u64;

    let mut item = item_level(&counts);
    item.by_tier = ByTier::of(|tier| {
        let counts = in_tier(tier);
        let Item { macro_f1, macro_precision, macro_recall, n_defined, .. } = item_level(&counts);
        let buckets = buckets(f1_buckets, counts.iter().map(|&c| f1(c)));
        TierItem { macro_f1, macro_precision, macro_recall, n_defined, buckets }
    });
    item.by_volume = volume_bands(brands)
        .into_iter()
        .map(|VolumeBand { from, below, members }| {
            let counts: Vec<Counts> = members.iter().map(|&brand| counts[brand]).collect();
            let Item { macro_f1, n_defined, .. } = item_level(&counts);
            VolumeItem { from, below, n_brands: members.len() as u64, macro_f1, n_defined }
        })
        .collect();
    let total = sum(&counts);
    let histogram_of = |brand_idx| test.map(|test: &Histogram| test.brand(brand_idx));
    let average_precision: Vec<_> =
        (0..brands.len()).map(|i| histogram_of(i).and_then(average_precision)).collect();
    let ceiling = match test {
        Some(test) => ceiling(test, f1_buckets),
        None => unknown(f1_buckets, &[]).ceiling,
    };

    let figures = Figures {
        buckets: buckets(f1_buckets, counts.iter().map(|&c| f1(c))),
        n_undefined: item.n_defined.map(|n| brands.len() as u64 - n),
        item,
        user: User { f1: user_f1, ..user_level(scores, ks) },
        micro: Micro { f1: f1(total), precision: precision(total), recall: recall(total) },
        map: mean_defined(average_precision.iter().copied()),
        ceiling,
        n_never_predicted: Some(n_never(&counts)),
        never_predicted: NeverPredicted {
            n_with_support: Some(
                counts.iter().filter(|c| c.predicted() == 0 && c.support() > 0).count() as u64,
            ),
            by_tier: ByTier::of(|tier| Some(n_never(&in_tier(tier)))),
        },
        predictions_per_user: per_user(total.predicted(), scores.n_users()),
        f1_bands: f1_bands(counts.iter().filter_map(|&c| f1(c))),
    };
    Evaluation { counts, average_precision, figures }
}

/// Mean of a total over all test users, `None` if there is none.
pub fn per_user(total: u64, n_users: usize) -> Option<f64> {
    (n_users > 0).then(|| total as f64 / n_users as f64)
}

/// Brands whose F1 is defined and reaches each bound.
pub fn buckets(f1_buckets: &[f64], f1s: impl Iterator<Item = Option<f64>> + Clone) -> Buckets {
    let n_from = |low: f64| f1s.clone().flatten().filter(|&f1| f1 >= low).count() as u64;
    f1_buckets.iter().map(|&low| (low.to_string(), Some(n_from(low)))).collect()
}

fn item_level(counts: &[Counts]) -> Item {
    let n_where = |has: fn(Counts) -> bool| Some(counts.iter().filter(|&&c| has(c)).count() as u64);
    Item {
        macro_f1: macro_f1(counts),
        macro_precision: mean_defined(counts.iter().map(|&c| precision(c))),
        macro_recall: mean_defined(counts.iter().map(|&c| recall(c))),
        n_defined: n_where(|c| f1(c).is_some()),
        n_precision: n_where(|c| c.predicted() > 0),
        n_recall: n_where(|c| c.support() > 0),
        ..Item::default()
    }
}

fn user_level(scores: &Scores, ks: &[usize]) -> User {
    type RankingMetric = fn(&[u32], &[u32], usize) -> Option<f64>;
    let (labels, predicted) = (scores.labels.lists(), scores.predicted.lists());
    let counts: Vec<Counts> = labels
        .iter()
        .zip(predicted.iter())
        .filter(|(labels, _)| !labels.is_empty())
        .map(|(labels, predicted)| user_counts(labels, predicted))
        .collect();
    let ranking = |metric: RankingMetric| -> AtK {
        let mean = |k| {
            let users = scores.top_brands.lists().iter().zip(labels.iter());
            mean_defined(users.map(|(ranked, labels)| metric(ranked, labels, k)))
        };
        ks.iter().map(|&k| (k, mean(k))).collect()
    };
    let mut f1s: Vec<f64> = counts.iter().filter_map(|&c| f1(c)).collect();
    f1s.sort_by(f64::total_cmp);
    let worst = &f1s[..f1s.len().div_ceil(10)];
    User {
        n_without_hit: Some(counts.iter().filter(|c| c.tp == 0).count() as u64),
        worst_tenth_f1: mean_defined(worst.iter().map(|&f1| Some(f1))),
        median_f1: median(&f1s),
        f1: None, // with the brands' counts, above
        precision: mean_defined(counts.iter().map(|&c| precision(c))),
        recall: mean_defined(counts.iter().map(|&c| recall(c))),
        n_users: Some(counts.len() as u64),
        n_with_predictions: Some(counts.iter().filter(|c| c.predicted() > 0).count() as u64),
        precision_at: ranking(precision_at),
        recall_at: ranking(recall_at),
        ndcg_at: ranking(ndcg_at),
    }
}

/// Of ascending values; `None` without any.
pub fn median(sorted: &[f64]) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]))
}

fn user_counts(labels: &[u32], predicted: &[u32]) -> Counts {
    let tp = predicted.iter().filter(|brand| labels.binary_search(brand).is_ok()).count();
    Counts { tp: tp as u64, fp: (predicted.len() - tp) as u64, fn_: (labels.len() - tp) as u64 }
}

fn ceiling(test: &Histogram, f1_buckets: &[f64]) -> Ceiling {
    let best: Vec<Option<f64>> = (0..test.n_brands())
        .map(|brand_idx| best_f1(test.brand(brand_idx)).and_then(|(_, counts)| f1(counts)))
        .collect();
    Ceiling {
        macro_f1: mean_defined(best.iter().copied()),
        buckets: buckets(f1_buckets, best.iter().copied()),
    }
}

/// What predicting every brand for every user would reach: no model is needed for that.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Floor {
    /// Mean over all brands of `2π / (1 + π)`, `π` being the brand's prevalence among test users
    pub macro_f1: Option<f64>,
    /// Mean over users with a label
    pub user_f1: Option<f64>,
    /// Brands by F1
    pub buckets: Buckets,
}

/// The floor of the test users.
///
/// * `supports`: `(n_brands,)`, test users that have the brand.
/// * `scores`: of any experiment; only the labels are used.
pub fn floor(supports: &[u64], scores: &Scores, f1_buckets: &[f64]) -> Floor {
    let n_users = scores.n_users() as u64;
    let everyone = |tp: u64, n: u64| f1(Counts { tp, fp: n - tp, fn_: 0 });
    let brands = supports.iter().map(|&support| everyone(support, n_users));
    let users = scores.labels.lists().iter().filter(|labels| !labels.is_empty());
    Floor {
        macro_f1: mean_defined(brands.clone()),
        user_f1: mean_defined(
            users.map(|labels| everyone(labels.len() as u64, supports.len() as u64)),
        ),
        buckets: buckets(f1_buckets, brands),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::UserLists;
    use arrow::array::Int64Array;
    use std::sync::Arc;

    const BOUNDS: [f64; 2] = [0.5, 0.1];

    fn brands() -> Vec<Brand> {
        let brand = |tier| Brand { id: 1.into(), name: "a".to_owned(), volume: 1, tier };
        [Tier::Head, Tier::Torso, Tier::Tail, Tier::Tail].map(brand).into()
    }

    fn lists(rows: [&[u32]; 4]) -> UserLists {
        let mut lists = UserLists::default();
        for row in rows {
            lists.push(row);
        }
        lists
    }

    /// Counts as tp, fp, fn: brand 0: 2, 0, 0; brand 1: 0, 2, 1; brand 2: 0, 0, 1; brand 3: none.
    fn scores() -> Scores {
        Scores {
            user_ids: Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
            labels: lists([&[0, 1], &[0], &[2], &[]]),
            predicted: lists([&[0], &[0, 1], &[], &[1]]),
            top_brands: lists([&[0, 1, 2], &[1, 0, 2], &[0, 1, 3], &[1, 0, 2]]),
        }
    }

    fn histogram() -> Histogram {
        let mut histogram = Histogram::new(4);
        let users: [(usize, f32, bool); 10] = [
            (0, 2.0, true),
            (0, 2.0, true),
            (0, -2.0, false),
            (0, -2.0, false), // ranked perfectly
            (1, 0.0, false),
            (1, 0.0, false),
            (1, 0.0, false),
            (1, -2.0, true), // ranked last
            (2, 2.0, false),
            (2, 1.0, true), // ranked second
        ];
        for (brand_idx, logit, is_positive) in users {
            histogram.add(brand_idx, logit, is_positive);
        }
        histogram
    }

    fn figures() -> Figures {
        evaluate(&brands(), &scores(), Some(&histogram()), &BOUNDS, &[1, 3]).figures
    }

    #[track_caller]
    fn near(found: Option<f64>, expected: f64) {
        assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?}, expected {expected}");
    }

    /// F1 is 1, 0 and 0: brand 2 has support and is never predicted, brand 3 has neither.
    #[test]
    fn a_never_predicted_brand_counts_as_zero_and_an_undefined_one_does_not_count() {
        let figures = figures();
        near(figures.item.macro_f1, 1.0 / 3.0);
        assert_eq!((figures.item.n_defined, figures.n_undefined), (Some(3), Some(1)));
        near(figures.item.macro_precision, 0.5); // 1 and 0, of brands 0 and 1
        near(figures.item.macro_recall, 1.0 / 3.0); // 1, 0 and 0
        assert_eq!((figures.item.n_precision, figures.item.n_recall), (Some(2), Some(3)));
        assert_eq!(figures.n_never_predicted, Some(2));
        assert_eq!(figures.never_predicted.n_with_support, Some(1));
        assert_eq!(figures.never_predicted.by_tier.tail, Some(2));
    }

    #[test]
    fn tiers_and_buckets_look_at_their_own_brands() {
        let figures = figures();
        near(figures.item.by_tier.head.macro_f1, 1.0);
        near(figures.item.by_tier.tail.macro_f1, 0.0);
        assert_eq!(figures.item.by_tier.tail.n_defined, Some(1));
        assert_eq!(
            figures.buckets,
            IndexMap::from([("0.5".to_owned(), Some(1)), ("0.1".to_owned(), Some(1))])
        );
        assert_eq!(figures.item.by_tier.torso.buckets["0.1"], Some(0));
    }

    /// User 3 has no label and is left out; user 2 has no prediction.
    #[test]
    fn user_level_is_the_mean_over_users_with_a_label() {
        let User {
            f1,
            precision,
            recall,
            n_users,
            n_with_predictions,
            n_without_hit,
            worst_tenth_f1,
            median_f1,
            precision_at,
            ..
        } = figures().user;
        near(f1, 4.0 / 9.0); // 2/(1+2), 2/(2+1), 0
        near(precision, 0.75); // 1, 1/2
        near(recall, 0.5); // 1/2, 1, 0
        assert_eq!((n_users, n_with_predictions), (Some(3), Some(2)));
        assert_eq!(n_without_hit, Some(1));
        near(median_f1, 2.0 / 3.0); // 0, 2/3, 2/3
        near(worst_tenth_f1, 0.0); // one of three users
        near(precision_at[&1], 1.0 / 3.0); // 1, 0, 0
        near(precision_at[&3], 1.0 / 3.0); // 2/3, 1/3, 0
    }

    #[test]
    fn micro_f1_is_that_of_the_summed_counts() {
        near(figures().micro.f1, 0.5); // 2·2 / (2·2 + 2 + 2)
        near(figures().predictions_per_user, 1.0); // 4 predictions, 4 users
    }

    #[test]
    fn map_and_ceiling_are_means_over_brands_with_support() {
        let figures = figures();
        near(figures.map, (1.0 + 0.25 + 0.5) / 3.0);
        // Best F1: 1; all four predicted, 2·1/(4+1); both predicted, 2·1/(2+1).
        near(figures.ceiling.macro_f1, (1.0 + 0.4 + 2.0 / 3.0) / 3.0);
        assert_eq!(figures.ceiling.buckets["0.5"], Some(2));
    }

    #[test]
    fn without_a_histogram_map_and_ceiling_are_not_known() {
        let figures = evaluate(&brands(), &scores(), None, &BOUNDS, &[]).figures;
        assert_eq!(
            (figures.map, figures.ceiling.macro_f1, figures.ceiling.buckets["0.5"]),
            (None, None, None)
        );
    }

    /// 2π/(1+π): prevalence 1/2 gives 2/3, 1/4 gives 2/5, 0 gives 0.
    #[test]
    fn the_floor_predicts_every_brand_for_every_user() {
        let floor = floor(&[2, 1, 1, 0], &scores(), &BOUNDS);
        near(floor.macro_f1, (2.0 / 3.0 + 0.4 + 0.4) / 4.0);
        near(floor.user_f1, (4.0 / 6.0 + 2.0 / 5.0 + 2.0 / 5.0) / 3.0); // 2·n/(4 + n) for 2, 1, 1 labels
        assert_eq!((floor.buckets["0.5"], floor.buckets["0.1"]), (Some(1), Some(3)));
    }
}

//! One experiment's figures, from its decisions for the test users.

use contract::brands::{ByTier, Tier};
use metrics::{
    Counts, Histogram, OwnedLists, Point, average_precision, best_f1, f1, macro_f1, mean_defined,
    ndcg_at, point, precision, precision_at, recall, recall_at, sum,
};

use crate::bands::{VolumeBand, f1_bands, volume_bands};
use crate::figures::{
    AtK, Ceiling, Figures, Floor, Item, Micro, NeverPredicted, TierItem, User, VolumeItem, buckets,
    unknown,
};
use crate::load::{Brand, Scores};
use crate::repeats::{self, PartCounts};

/// An experiment on the test users.
#[derive(Clone)]
pub struct Evaluation {
    /// Decisions against labels, by `brand_idx`
    pub counts: Vec<Counts>,
    /// By `brand_idx`; `None` without a test user that has the brand, or without a histogram
    pub average_precision: Vec<Option<f64>>,
    /// The decisions about brands that users had before, and about those that they had not; `None` if
    /// that is not known
    pub parts: Option<[PartCounts; 2]>,
    /// All that the report says of it
    pub figures: Figures,
}

/// Measures an experiment's decisions.
///
/// * `brands`: by `brand_idx`.
/// * `test`: logits of the test users by brand, for average precision and the ceiling.
/// * `f1_buckets`: the report counts the brands that reach each.
/// * `ks`: lengths of the list of most probable brands to measure, none longer than the list.
/// * `had`: the brands that each user had before, if that is known.
pub fn evaluate(
    brands: &[Brand],
    scores: &Scores,
    test: Option<&Histogram>,
    f1_buckets: &[f64],
    ks: &[usize],
    had: Option<&OwnedLists>,
) -> Evaluation {
    let Point { brands: counts, user_f1 } = point(&scores.decisions(), brands.len());
    let item = Item {
        by_tier: by_tier(brands, &counts, f1_buckets),
        by_volume: by_volume(brands, &counts),
        ..item_level(&counts)
    };
    let total = sum(&counts);
    let of_brand = |brand_idx| test.and_then(|test| average_precision(test.brand(brand_idx)));
    let average_precision: Vec<Option<f64>> = (0..brands.len()).map(of_brand).collect();
    let parts = had.map(|had| repeats::counts(scores, had, brands.len()));
    let part = |i: usize| parts.as_ref().map(|parts| parts[i].figures(f1_buckets));
    let figures = Figures {
        repeat: part(0),
        new: part(1),
        buckets: buckets(f1_buckets, counts.iter().map(|&c| f1(c))),
        n_undefined: item.n_defined.map(|n| brands.len() as u64 - n),
        item,
        user: User { f1: user_f1, ..user_level(scores, ks) },
        micro: Micro { f1: f1(total), precision: precision(total), recall: recall(total) },
        map: mean_defined(average_precision.iter().copied()),
        ceiling: match test {
            Some(test) => ceiling(test, f1_buckets),
            None => unknown(f1_buckets, &[]).ceiling,
        },
        n_never_predicted: Some(n_never(counts.iter())),
        never_predicted: NeverPredicted {
            n_with_support: Some(n_never(counts.iter().filter(|c| c.support() > 0))),
            by_tier: ByTier::of(|tier| Some(n_never(in_tier(tier, brands, &counts)))),
        },
        predictions_per_user: per_user(total.predicted(), scores.n_users()),
        f1_bands: f1_bands(counts.iter().filter_map(|&c| f1(c))),
    };
    Evaluation { counts, average_precision, parts, figures }
}

/// The counts of a tier's brands.
fn in_tier<'a>(
    tier: Tier,
    brands: &'a [Brand],
    counts: &'a [Counts],
) -> impl Iterator<Item = &'a Counts> {
    let of_tier = brands.iter().zip(counts).filter(move |(brand, _)| brand.tier == tier);
    of_tier.map(|(_, counts)| counts)
}

fn n_never<'a>(counts: impl Iterator<Item = &'a Counts>) -> u64 {
    counts.filter(|c| c.predicted() == 0).count() as u64
}

fn by_tier(brands: &[Brand], counts: &[Counts], f1_buckets: &[f64]) -> ByTier<TierItem> {
    ByTier::of(|tier| {
        let counts: Vec<Counts> = in_tier(tier, brands, counts).copied().collect();
        let Item { macro_f1, macro_precision, macro_recall, n_defined, .. } = item_level(&counts);
        let buckets = buckets(f1_buckets, counts.iter().map(|&c| f1(c)));
        TierItem { macro_f1, macro_precision, macro_recall, n_defined, buckets }
    })
}

fn by_volume(brands: &[Brand], counts: &[Counts]) -> Vec<VolumeItem> {
    let of_band = |VolumeBand { from, below, members }| {
        let counts: Vec<Counts> = members.iter().map(|&brand: &usize| counts[brand]).collect();
        let Item { macro_f1, n_defined, .. } = item_level(&counts);
        VolumeItem { from, below, n_brands: members.len() as u64, macro_f1, n_defined }
    };
    volume_bands(brands).into_iter().map(of_band).collect()
}

/// Mean of a total over all test users, `None` if there is none.
pub fn per_user(total: u64, n_users: usize) -> Option<f64> {
    (n_users > 0).then(|| total as f64 / n_users as f64)
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
    let (labels, predicted) = (scores.labels.as_lists(), scores.predicted.as_lists());
    let counts: Vec<Counts> = labels
        .iter()
        .zip(predicted.iter())
        .filter(|(labels, _)| !labels.is_empty())
        .map(|(labels, predicted)| user_counts(labels, predicted))
        .collect();
    let ranking = |metric: RankingMetric| -> AtK {
        let mean = |k| {
            let users = scores.top_brands.as_lists().iter().zip(labels.iter());
            mean_defined(users.map(|(ranked, labels)| metric(ranked, labels, k)))
        };
        ks.iter().map(|&k| (k, mean(k))).collect()
    };
    let mut f1s: Vec<f64> = counts.iter().filter_map(|&c| f1(c)).collect();
    f1s.sort_by(f64::total_cmp);
    let worst_tenth = &f1s[..f1s.len().div_ceil(10)];
    User {
        n_without_hit: Some(counts.iter().filter(|c| c.tp == 0).count() as u64),
        worst_tenth_f1: mean_defined(worst_tenth.iter().map(|&f1| Some(f1))),
        median_f1: median(&f1s),
        f1: None, // counted together with the brands, by `point`
        precision: mean_defined(counts.iter().map(|&c| precision(c))),
        recall: mean_defined(counts.iter().map(|&c| recall(c))),
        n_users: Some(counts.len() as u64),
        n_with_predictions: Some(counts.iter().filter(|c| c.predicted() > 0).count() as u64),
        precision_at: ranking(precision_at),
        recall_at: ranking(recall_at),
        ndcg_at: ranking(ndcg_at),
    }
}

/// Median of ascending values; `None` without any.
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

/// The floor of the test users.
///
/// * `supports`: `(n_brands,)`, test users that have the brand.
/// * `scores`: of any experiment; only the labels are used.
pub fn floor(supports: &[u64], scores: &Scores, f1_buckets: &[f64]) -> Floor {
    let n_users = scores.n_users() as u64;
    let everyone = |tp: u64, n: u64| f1(Counts { tp, fp: n - tp, fn_: 0 });
    let brands = supports.iter().map(|&support| everyone(support, n_users));
    let users = scores.labels.as_lists().iter().filter(|labels| !labels.is_empty());
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
    use arrow::array::Int64Array;
    use indexmap::IndexMap;
    use std::sync::Arc;

    const BOUNDS: [f64; 2] = [0.5, 0.1];

    fn brands() -> Vec<Brand> {
        let brand = |tier| Brand { id: 1.into(), name: "a".to_owned(), volume: 1, tier };
        [Tier::Head, Tier::Torso, Tier::Tail, Tier::Tail].map(brand).into()
    }

    fn lists(rows: [&[u32]; 4]) -> OwnedLists {
        rows.into_iter().collect()
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
        evaluate(&brands(), &scores(), Some(&histogram()), &BOUNDS, &[1, 3], None).figures
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
        let figures = evaluate(&brands(), &scores(), None, &BOUNDS, &[], None).figures;
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

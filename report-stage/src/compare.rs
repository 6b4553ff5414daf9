//! An experiment beside the baseline: changes and their intervals.

use std::collections::BTreeMap;

use contract::brands::{ByTier, Tier};
use indexmap::IndexMap;
use metrics::{Counts, Draws, f1, paired_interval};
use schemars::JsonSchema;
use serde::Serialize;

use crate::bands::VolumeBand;
use crate::figures::{AtK, Buckets, Figures};
use crate::load::Brand;
use crate::verdict::{Outcome, Outcomes};

/// Share of the bootstrap draws inside an interval.
pub const LEVEL: f64 = 0.95;

/// Intervals computed for each compared experiment: item, user and micro F1, each tier and each
/// volume band; those of single brands are not counted.
pub fn n_intervals(n_bands: usize) -> usize {
    3 + Tier::ALL.len() + n_bands
}

/// A change against the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// Experiment minus baseline
    pub abs: Option<f64>,
    /// `abs` as a fraction of the baseline's value; `None` where that is 0
    pub rel: Option<f64>,
}

/// A change with its interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Judged {
    /// Experiment minus baseline
    pub abs: Option<f64>,
    /// `abs` as a fraction of the baseline's value; `None` where that is 0
    pub rel: Option<f64>,
    /// The central 95 % of the change over the paired bootstrap draws
    pub ci95: Option<[f64; 2]>,
}

impl Judged {
    /// Without its interval.
    pub fn change(&self) -> Change {
        Change { abs: self.abs, rel: self.rel }
    }

    /// What the interval says.
    pub fn outcome(&self) -> Outcome {
        Outcome::of(self.ci95)
    }
}

/// All changes against the baseline; each is `None` if one of the two has no scores.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Delta {
    /// Item macro F1
    pub item_f1: Judged,
    /// User F1
    pub user_f1: Judged,
    /// Micro F1
    pub micro_f1: Judged,
    /// Mean average precision
    pub map: Change,
    /// Macro F1 by tier
    pub by_tier: ByTier<Judged>,
    /// Macro F1 by volume band, in the order of the figures' `by_volume`
    pub by_volume: Vec<Judged>,
    /// How many brands are better or worse
    pub brands: Option<BrandOutcomes>,
    /// Brands that reach each F1
    pub buckets: IndexMap<String, Change>,
    /// User precision
    pub user_precision: Change,
    /// User recall
    pub user_recall: Change,
    /// By `k`
    #[schemars(with = "BTreeMap<String, Change>")]
    pub precision_at: BTreeMap<usize, Change>,
    /// By `k`
    #[schemars(with = "BTreeMap<String, Change>")]
    pub recall_at: BTreeMap<usize, Change>,
    /// By `k`
    #[schemars(with = "BTreeMap<String, Change>")]
    pub ndcg_at: BTreeMap<usize, Change>,
}

impl Delta {
    /// What the intervals say of both levels.
    pub fn outcomes(&self) -> Outcomes {
        Outcomes { item: self.item_f1.outcome(), user: self.user_f1.outcome() }
    }
}

/// Number of brands by the change of their F1; brands with undefined F1 on both sides are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BrandOutcomes {
    /// The brand's interval lies entirely above 0
    pub better: u64,
    /// The brand's interval lies entirely below 0
    pub worse: u64,
    /// The brand's interval contains 0
    pub no_clear_change: u64,
    /// F1 is higher, clearly or not
    pub higher: u64,
    /// F1 is lower, clearly or not
    pub lower: u64,
}

/// One experiment's side of a comparison.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// What was measured
    pub figures: &'a Figures,
    /// Decisions against labels, by `brand_idx`
    pub counts: &'a [Counts],
    /// Over the same users with the same seed as the other side's
    pub draws: &'a Draws,
}

/// Compares an experiment with the baseline.
///
/// Returns the changes, and the change of each brand's F1 by `brand_idx`.
pub fn delta(
    brands: &[Brand],
    bands: &[VolumeBand],
    ours: Side,
    baseline: Side,
) -> (Delta, Vec<Judged>) {
    let of_brands = brand_changes(ours, baseline);
    let draws = [ours.draws, baseline.draws];
    let [our_draws, base_draws] = draws;
    let (ours, base) = (ours.figures, baseline.figures);
    let (our_user, base_user) = (&ours.user, &base.user);
    let delta = Delta {
        item_f1: judge(
            change(ours.item.macro_f1, base.item.macro_f1),
            &our_draws.macro_f1,
            &base_draws.macro_f1,
        ),
        user_f1: judge(change(our_user.f1, base_user.f1), &our_draws.user_f1, &base_draws.user_f1),
        micro_f1: judge(
            change(ours.micro.f1, base.micro.f1),
            &our_draws.micro_f1,
            &base_draws.micro_f1,
        ),
        map: change(ours.map, base.map),
        by_tier: ByTier::of(|tier| {
            let [ours, base] = [ours, base].map(|side| side.item.by_tier.get(tier).macro_f1);
            let members = (0..brands.len()).filter(|&brand| brands[brand].tier == tier);
            judge_group(change(ours, base), draws, &members.collect::<Vec<_>>())
        }),
        by_volume: bands
            .iter()
            .enumerate()
            .map(|(i, band)| {
                let [ours, base] = [ours, base].map(|side| side.item.by_volume[i].macro_f1);
                judge_group(change(ours, base), draws, &band.members)
            })
            .collect(),
        brands: Some(brand_outcomes(&of_brands)),
        buckets: bucket_changes(&ours.buckets, &base.buckets),
        user_precision: change(our_user.precision, base_user.precision),
        user_recall: change(our_user.recall, base_user.recall),
        precision_at: changes_at(&our_user.precision_at, &base_user.precision_at),
        recall_at: changes_at(&our_user.recall_at, &base_user.recall_at),
        ndcg_at: changes_at(&our_user.ndcg_at, &base_user.ndcg_at),
    };
    (delta, of_brands)
}

/// The change of each brand's F1; nothing where it is undefined on both sides.
fn brand_changes(ours: Side, baseline: Side) -> Vec<Judged> {
    let of_brand = |(brand, (&ours_counts, &base_counts)): (usize, (&Counts, &Counts))| {
        let (ours_f1, base_f1) = (f1(ours_counts), f1(base_counts));
        if ours_f1.is_none() && base_f1.is_none() {
            return Judged::default();
        }
        // Undefined on one side: neither a user nor a prediction there, so nothing is gained.
        let Change { abs, rel } = change(ours_f1.or(Some(0.0)), base_f1.or(Some(0.0)));
        let interval = ours.draws.brands.change_of(brand, &baseline.draws.brands, LEVEL);
        Judged { abs, rel, ci95: interval.map(|(low, high)| [low, high]) }
    };
    ours.counts.iter().zip(baseline.counts).enumerate().map(of_brand).collect()
}

fn brand_outcomes(changes: &[Judged]) -> BrandOutcomes {
    let mut outcomes = BrandOutcomes::default();
    for judged in changes {
        match judged.outcome() {
            Outcome::Better => outcomes.better += 1,
            Outcome::Worse => outcomes.worse += 1,
            Outcome::NoClearChange => outcomes.no_clear_change += 1,
            Outcome::Undefined => {}
        }
        outcomes.higher += u64::from(judged.abs > Some(0.0));
        outcomes.lower += u64::from(judged.abs.is_some_and(|abs| abs < 0.0));
    }
    outcomes
}

/// The changes of an experiment that cannot be compared: every key is there, nothing is known.
pub fn unknown(figures: &Figures) -> Delta {
    let at_k = |at_k: &AtK| at_k.keys().map(|&k| (k, Change::default())).collect();
    Delta {
        buckets: figures.buckets.keys().map(|low| (low.clone(), Change::default())).collect(),
        precision_at: at_k(&figures.user.precision_at),
        recall_at: at_k(&figures.user.recall_at),
        ndcg_at: at_k(&figures.user.ndcg_at),
        by_volume: vec![Judged::default(); figures.item.by_volume.len()],
        ..Delta::default()
    }
}

fn change(ours: Option<f64>, baseline: Option<f64>) -> Change {
    let (Some(ours), Some(baseline)) = (ours, baseline) else { return Change::default() };
    let abs = ours - baseline;
    Change { abs: Some(abs), rel: (baseline != 0.0).then(|| abs / baseline) }
}

fn judge(Change { abs, rel }: Change, ours: &[f64], baseline: &[f64]) -> Judged {
    let interval = paired_interval(ours, baseline, LEVEL);
    Judged { abs, rel, ci95: interval.map(|(low, high)| [low, high]) }
}

/// Judges the macro F1 of some brands. A draw without any of their users shows no change, as with
/// single brands.
fn judge_group(change: Change, draws: [&Draws; 2], members: &[usize]) -> Judged {
    let [ours, base] = draws.map(|draws| -> Vec<f64> {
        let means = draws.brands.mean(members.iter().copied());
        means.into_iter().map(|mean| if mean.is_nan() { 0.0 } else { mean }).collect()
    });
    judge(change, &ours, &base)
}

fn changes_at(ours: &AtK, base: &AtK) -> BTreeMap<usize, Change> {
    ours.iter().map(|(&k, &value)| (k, change(value, base.get(&k).copied().flatten()))).collect()
}

fn bucket_changes(ours: &Buckets, base: &Buckets) -> IndexMap<String, Change> {
    let as_f64 = |n: Option<u64>| n.map(|n| n as f64);
    let of_bucket =
        |(low, &n): (&String, &Option<u64>)| (low.clone(), change(as_f64(n), as_f64(base[low])));
    ours.iter().map(of_bucket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brands_are_counted_by_their_interval_and_by_their_sign() {
        let judged = |abs, low, high| Judged { abs: Some(abs), rel: None, ci95: Some([low, high]) };
        let changes = [
            judged(0.2, 0.1, 0.3),
            judged(0.2, 0.0, 0.4),
            judged(-0.2, -0.3, -0.1),
            judged(0.0, 0.0, 0.0),
            Judged::default(),
        ];
        let expected =
            BrandOutcomes { better: 1, worse: 1, no_clear_change: 2, higher: 2, lower: 1 };
        assert_eq!(brand_outcomes(&changes), expected);
    }

    #[test]
    fn a_change_is_relative_to_the_baseline() {
        // 0.066 - 0.055 = 0.011, and 0.011 / 0.055 = 0.2
        let Change { abs, rel } = change(Some(0.066), Some(0.055));
        assert!((abs.unwrap() - 0.011).abs() < 1e-12 && (rel.unwrap() - 0.2).abs() < 1e-12);
        assert_eq!(change(Some(0.5), Some(0.0)), Change { abs: Some(0.5), rel: None });
        assert_eq!(change(None, Some(0.5)), Change::default());
    }
}

//! An experiment beside the baseline: changes and their intervals.

use std::collections::BTreeMap;

use contract::brands::{ByTier, Tier};
use indexmap::IndexMap;
use metrics::seeds::spread;
use metrics::{BrandDraws, Counts, Jackknife, Resampling, SeedChanges, f1, percentile_interval};
use schemars::JsonSchema;
use serde::Serialize;

use crate::bands::VolumeBand;
use crate::figures::{AtK, Figures};
use crate::load::Brand;
use crate::verdict::{Agreement, Outcome, Outcomes};

/// Chance that an interval holds the change.
pub const LEVEL: f64 = 0.95;

/// Intervals computed for each compared experiment: item, user and micro F1, each tier, each volume
/// band and each F1 bucket; those of single brands are not counted.
pub fn n_intervals(n_bands: usize, n_buckets: usize) -> usize {
    3 + Tier::ALL.len() + n_bands + n_buckets
}

/// A change against the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// Experiment minus baseline
    pub abs: Option<f64>,
    /// `abs` as a fraction of the baseline's value; null where that is 0
    pub rel: Option<f64>,
}

/// A change with its interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Judged {
    /// Experiment minus baseline
    pub abs: Option<f64>,
    /// `abs` as a fraction of the baseline's value; null where that is 0
    pub rel: Option<f64>,
    /// The 95 % interval of the change over users and, where there are several, seeds
    pub ci95: Option<[f64; 2]>,
    /// Standard deviation of the change over the seeds; null with one
    pub spread: Option<f64>,
    /// Seeds that the change was measured with
    pub n_seeds: u64,
    /// Those whose own change, by its own interval over users, is as the mean's: above 0, below 0 or
    /// neither
    pub n_agree: u64,
}

impl Judged {
    /// Without its interval.
    pub fn change(&self) -> Change {
        Change { abs: self.abs, rel: self.rel }
    }

    /// What the interval says, if no seed says something else.
    pub fn outcome(&self) -> Outcome {
        match Outcome::of(self.ci95) {
            Outcome::Better | Outcome::Worse if self.n_agree < self.n_seeds => Outcome::NotSettled,
            outcome => outcome,
        }
    }

    fn agreement(&self) -> Agreement {
        Agreement { n_agree: self.n_agree, n_seeds: self.n_seeds }
    }
}

/// All changes against the baseline; each is null if one of the two has no scores.
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
    pub buckets: IndexMap<String, Judged>,
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
        Outcomes {
            item: self.item_f1.outcome(),
            user: self.user_f1.outcome(),
            agreement: [self.item_f1.agreement(), self.user_f1.agreement()],
        }
    }
}

/// Number of brands by the change of their F1; brands with undefined F1 on both sides are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BrandOutcomes {
    /// The brand's interval lies entirely above 0
    pub better: u64,
    /// The brand's interval lies entirely below 0
    pub worse: u64,
    /// The brand's interval contains 0, or its seeds disagree
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
    /// Over the same users as the other side's
    pub jackknife: &'a Jackknife,
    /// Over the same users, with the same seed of the bootstrap, as the other side's
    pub draws: &'a BrandDraws,
}

/// An experiment and the baseline, trained with one seed.
pub type Pair<'a> = [Side<'a>; 2];

/// Compares an experiment with the baseline.
///
/// * `pairs`: one for each seed, at least one.
/// * `means`: the experiment's figures and the baseline's, over the seeds.
///
/// Returns the changes, and the change of each brand's F1 by `brand_idx`.
pub fn delta(
    brands: &[Brand],
    bands: &[VolumeBand],
    pairs: &[Pair],
    means: [&Figures; 2],
) -> (Delta, Vec<Judged>) {
    let of_brands: Vec<Judged> =
        (0..brands.len()).map(|brand| brand_change(pairs, brand)).collect();
    let [ours, base] = means;
    let (our_user, base_user) = (&ours.user, &base.user);
    let delta = Delta {
        item_f1: macro_change(pairs, means, 0..brands.len(), |f| f.item.macro_f1),
        user_f1: judge(
            pairs,
            Resampling::Jackknife,
            |f| f.user.f1,
            |side| side.jackknife.user_f1(),
            means,
        ),
        micro_f1: judge(
            pairs,
            Resampling::Jackknife,
            |f| f.micro.f1,
            |side| side.jackknife.micro_f1(),
            means,
        ),
        map: change(ours.map, base.map),
        by_tier: ByTier::of(|tier| {
            let members = (0..brands.len()).filter(|&brand| brands[brand].tier == tier);
            let value = |figures: &Figures| figures.item.by_tier.get(tier).macro_f1;
            macro_change(pairs, means, members, value)
        }),
        by_volume: bands
            .iter()
            .enumerate()
            .map(|(i, band)| {
                let value = |figures: &Figures| figures.item.by_volume[i].macro_f1;
                macro_change(pairs, means, band.members.iter().copied(), value)
            })
            .collect(),
        brands: Some(brand_outcomes(&of_brands)),
        buckets: bucket_changes(pairs, means),
        user_precision: change(our_user.precision, base_user.precision),
        user_recall: change(our_user.recall, base_user.recall),
        precision_at: changes_at(&our_user.precision_at, &base_user.precision_at),
        recall_at: changes_at(&our_user.recall_at, &base_user.recall_at),
        ndcg_at: changes_at(&our_user.ndcg_at, &base_user.ndcg_at),
    };
    (delta, of_brands)
}

/// The change of a brand's F1; nothing where it is undefined on both sides for all seeds.
///
/// A brand has too few users for an interval around the measured change, so this one is the central
/// 95 % of the draws, each a mean over the seeds.
fn brand_change(pairs: &[Pair], brand: usize) -> Judged {
    let f1s = pairs.iter().map(|pair| pair.map(|side| f1(side.counts[brand])));
    // Undefined on one side: neither a user nor a prediction there, so nothing is gained.
    let defined = |[ours, base]: [Option<f64>; 2]| {
        (ours.is_some() || base.is_some()).then(|| [ours.unwrap_or(0.0), base.unwrap_or(0.0)])
    };
    let f1s: Vec<[f64; 2]> = f1s.filter_map(defined).collect();
    if f1s.is_empty() {
        return Judged::default();
    }
    let [ours, base] =
        [0, 1].map(|side| f1s.iter().map(|f1s| f1s[side]).sum::<f64>() / f1s.len() as f64);
    let Change { abs, rel } = change(Some(ours), Some(base));
    let draws: Vec<Vec<f64>> =
        pairs.iter().map(|[ours, base]| ours.draws.changes_of(brand, base.draws)).collect();
    let means: Vec<f64> = (0..draws[0].len())
        .map(|draw| draws.iter().map(|draws| draws[draw]).sum::<f64>() / draws.len() as f64)
        .collect();
    let changes: Vec<f64> = f1s.iter().map(|[ours, base]| ours - base).collect();
    let sign = abs.and_then(|abs| abs.partial_cmp(&0.0));
    let is_alike = |change: &&f64| change.partial_cmp(&&0.0) == sign;
    Judged {
        abs,
        rel,
        ci95: percentile_interval(&means, LEVEL).map(|(low, high)| [low, high]),
        spread: spread(&changes),
        n_seeds: changes.len() as u64,
        n_agree: changes.iter().filter(is_alike).count() as u64,
    }
}

fn brand_outcomes(changes: &[Judged]) -> BrandOutcomes {
    let mut outcomes = BrandOutcomes::default();
    for judged in changes {
        match judged.outcome() {
            Outcome::Better => outcomes.better += 1,
            Outcome::Worse => outcomes.worse += 1,
            Outcome::NoClearChange | Outcome::NotSettled => outcomes.no_clear_change += 1,
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
        buckets: figures.buckets.keys().map(|low| (low.clone(), Judged::default())).collect(),
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

/// Judges the change of one figure.
///
/// * `value`: the figure.
/// * `resampled`: the figure in each resample of the users.
fn judge(
    pairs: &[Pair],
    resampling: Resampling,
    value: impl Fn(&Figures) -> Option<f64>,
    resampled: impl Fn(&Side) -> Vec<f64>,
    means: [&Figures; 2],
) -> Judged {
    let [ours, base] = means.map(&value);
    let Change { abs, rel } = change(ours, base);
    let mut seeds = SeedChanges::by(resampling);
    let mut alone = Vec::new();
    for pair in pairs {
        let [Some(ours), Some(base)] = pair.map(|side| value(side.figures)) else {
            return Judged { abs, rel, ..Judged::default() };
        };
        let [ours_in_each, base_in_each] = pair.map(|side| resampled(&side));
        let changes: Vec<f64> =
            ours_in_each.iter().zip(&base_in_each).map(|(a, b)| a - b).collect();
        let mut of_seed = SeedChanges::by(resampling);
        of_seed.push(ours - base, changes.clone());
        alone.push(Outcome::of(interval(&of_seed)));
        seeds.push(ours - base, changes);
    }
    let ci95 = interval(&seeds);
    let is_alike = |outcome: &&Outcome| **outcome == Outcome::of(ci95);
    Judged {
        abs,
        rel,
        ci95,
        spread: spread(seeds.points()),
        n_seeds: pairs.len() as u64,
        n_agree: alone.iter().filter(is_alike).count() as u64,
    }
}

fn interval(changes: &SeedChanges) -> Option<[f64; 2]> {
    changes.interval(LEVEL).map(|(low, high)| [low, high])
}

/// Judges the change of the macro F1 of some brands.
fn macro_change(
    pairs: &[Pair],
    means: [&Figures; 2],
    members: impl Iterator<Item = usize> + Clone,
    value: impl Fn(&Figures) -> Option<f64>,
) -> Judged {
    let resampled = |side: &Side| side.jackknife.macro_f1(members.clone());
    judge(pairs, Resampling::Jackknife, value, resampled, means)
}

fn changes_at(ours: &AtK, base: &AtK) -> BTreeMap<usize, Change> {
    ours.iter().map(|(&k, &value)| (k, change(value, base.get(&k).copied().flatten()))).collect()
}

fn bucket_changes(pairs: &[Pair], means: [&Figures; 2]) -> IndexMap<String, Judged> {
    let of_bucket = |low: &String| {
        let bound = low.parse::<f64>().expect("written from a number");
        let value = |figures: &Figures| figures.buckets[low].map(|n| n as f64);
        let resampled = |side: &Side| side.draws.n_reaching(bound);
        (low.clone(), judge(pairs, Resampling::Bootstrap, value, resampled, means))
    };
    means[0].buckets.keys().map(of_bucket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brands_are_counted_by_their_interval_and_by_their_sign() {
        let judged = |abs, low, high| Judged {
            abs: Some(abs),
            ci95: Some([low, high]),
            n_seeds: 1,
            n_agree: 1,
            ..Judged::default()
        };
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

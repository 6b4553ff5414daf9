//! An experiment beside the baseline: changes, their intervals, and the verdict that follows.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use metrics::{Counts, Draws, f1, paired_interval};
use schemars::JsonSchema;
use serde::Serialize;

use crate::bands::VolumeBand;
use crate::evaluate::{AtK, Figures};
use crate::format;
use crate::load::Brand;
use contract::brands::{ByTier, Tier};

/// Share of the bootstrap draws inside an interval.
pub const LEVEL: f64 = 0.95;

/// Intervals computed for each compared experiment: item, user and micro F1, each tier and each
/// band of volume; those of single brands are not counted.
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
}

/// All changes against the baseline. All is `None` if one of the two has no scores.
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
    /// Macro F1 by band of volume, as the figures' `by_volume`
    pub by_volume: Vec<Judged>,
    /// How many brands are better or worse
    pub brands: Option<BrandOutcomes>,
    /// Brands by F1
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

/// Brands by what became of their F1, of those where it is defined for one of the two at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BrandOutcomes {
    /// All of the brand's interval lies above 0
    pub better: u64,
    /// All of the brand's interval lies below 0
    pub worse: u64,
    /// The brand's interval holds 0
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

/// What an interval says of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All of the interval lies above 0
    Better,
    /// All of the interval lies below 0
    Worse,
    /// The interval holds 0
    NoClearChange,
    /// There is no interval: the metric is undefined for one of the two
    Undefined,
}

/// Both levels' outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outcomes {
    /// By the interval of item macro F1
    pub item: Outcome,
    /// By the interval of user F1
    pub user: Outcome,
}

/// Compares an experiment with the baseline.
///
/// Returns the changes, and the interval of each brand's by `brand_idx`.
pub fn delta(
    brands: &[Brand],
    bands: &[VolumeBand],
    ours: Side,
    baseline: Side,
) -> (Delta, Vec<Judged>) {
    let of_brands = brand_changes(ours, baseline);
    let (our_draws, base_draws) = (ours.draws, baseline.draws);
    let group = |ours: Option<f64>, base: Option<f64>, members: &dyn Fn() -> Vec<usize>| {
        // A draw without any user of the group shows no change, as with single brands.
        let draws = |draws: &Draws| -> Vec<f64> {
            let means = draws.brands.mean(members().into_iter());
            means.into_iter().map(|mean| if mean.is_nan() { 0.0 } else { mean }).collect()
        };
        judge(change(ours, base), &draws(our_draws), &draws(base_draws))
    };
    let outcomes = brand_outcomes(&of_brands);
    let (ours, base) = (ours.figures, baseline.figures);
    let at_k = |ours: &AtK, base: &AtK| -> BTreeMap<usize, Change> {
        ours.iter()
            .map(|(&k, &value)| (k, change(value, base.get(&k).copied().flatten())))
            .collect()
    };
    let as_f64 = |n: Option<u64>| n.map(|n| n as f64);
    let delta = Delta {
        item_f1: judge(
            change(ours.item.macro_f1, base.item.macro_f1),
            &our_draws.macro_f1,
            &base_draws.macro_f1,
        ),
        user_f1: judge(change(ours.user.f1, base.user.f1), &our_draws.user_f1, &base_draws.user_f1),
        micro_f1: judge(
            change(ours.micro.f1, base.micro.f1),
            &our_draws.micro_f1,
            &base_draws.micro_f1,
        ),
        map: change(ours.map, base.map),
        by_tier: ByTier::of(|tier| {
            let value = |figures: &Figures| figures.item.by_tier.get(tier).macro_f1;
            let in_tier = |&brand: &usize| brands[brand].tier == tier;
            group(value(ours), value(base), &|| (0..brands.len()).filter(in_tier).collect())
        }),
        by_volume: bands
            .iter()
            .enumerate()
            .map(|(i, band)| {
                let value = |figures: &Figures| figures.item.by_volume[i].macro_f1;
                group(value(ours), value(base), &|| band.members.clone())
            })
            .collect(),
        brands: Some(outcomes),
        buckets: ours
            .buckets
            .iter()
            .map(|(low, &n)| (low.clone(), change(as_f64(n), as_f64(base.buckets[low]))))
            .collect(),
        user_precision: change(ours.user.precision, base.user.precision),
        user_recall: change(ours.user.recall, base.user.recall),
        precision_at: at_k(&ours.user.precision_at, &base.user.precision_at),
        recall_at: at_k(&ours.user.recall_at, &base.user.recall_at),
        ndcg_at: at_k(&ours.user.ndcg_at, &base.user.ndcg_at),
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
    for &Judged { abs, ci95, .. } in changes {
        match outcome(ci95) {
            Outcome::Better => outcomes.better += 1,
            Outcome::Worse => outcomes.worse += 1,
            Outcome::NoClearChange => outcomes.no_clear_change += 1,
            Outcome::Undefined => {}
        }
        outcomes.higher += u64::from(abs > Some(0.0));
        outcomes.lower += u64::from(abs.is_some_and(|abs| abs < 0.0));
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

/// What the intervals say of both levels.
pub fn outcomes(delta: &Delta) -> Outcomes {
    Outcomes { item: outcome(delta.item_f1.ci95), user: outcome(delta.user_f1.ci95) }
}

/// What one interval says.
pub fn outcome(ci95: Option<[f64; 2]>) -> Outcome {
    match ci95 {
        None => Outcome::Undefined,
        Some([low, _]) if low > 0.0 => Outcome::Better,
        Some([_, high]) if high < 0.0 => Outcome::Worse,
        Some(_) => Outcome::NoClearChange,
    }
}

impl Outcomes {
    /// Better at one level at least, and worse at none.
    pub fn beats_baseline(self) -> bool {
        let levels = [self.item, self.user];
        levels.contains(&Outcome::Better) && !levels.contains(&Outcome::Worse)
    }

    /// Better at one level, worse at the other.
    pub fn is_trade_off(self) -> bool {
        let levels = [self.item, self.user];
        levels.contains(&Outcome::Better) && levels.contains(&Outcome::Worse)
    }

    /// In words.
    pub fn words(self) -> String {
        let word = |outcome| match outcome {
            Outcome::Better => "better",
            Outcome::Worse => "worse",
            Outcome::NoClearChange => "no clear change",
            Outcome::Undefined => "undefined",
        };
        match (self.item, self.user) {
            (Outcome::NoClearChange, Outcome::NoClearChange) => "no clear change".to_owned(),
            (item, user) if item == user => format!("{} at both levels", word(item)),
            (item, user) => format!("{} at item level, {} at user level", word(item), word(user)),
        }
    }
}

/// What the report says of an experiment against the baseline.
#[derive(Clone, Copy, Debug)]
pub enum Standing {
    /// It is the baseline
    Baseline,
    /// Nothing can be judged with these test users
    Nothing,
    /// It has scores, the baseline has none
    NoBaseline,
    /// Both have scores
    Compared(Outcomes),
}

/// The verdict: the standing, then the warning if there is one.
pub fn verdict(standing: Standing, warning: Option<&str>) -> String {
    let words = match standing {
        Standing::Nothing => return "nothing to judge".to_owned(),
        Standing::Baseline => "the baseline".to_owned(),
        Standing::NoBaseline => "not compared: the baseline has no scores".to_owned(),
        Standing::Compared(outcomes) => outcomes.words(),
    };
    let is_better = matches!(standing, Standing::Compared(outcomes) if outcomes.beats_baseline());
    match warning {
        None => words,
        Some(warning) if is_better => format!("{words}; still {warning}"),
        Some(warning) => format!("{words}; {warning}"),
    }
}

/// That an experiment does not work, if more than half of the brands are never predicted.
///
/// * `n_never`: brands that are predicted for no test user, of `n_brands`.
/// * `by_threshold`: whether a brand's threshold alone decides.
pub fn warning(n_never: u64, n_brands: u64, by_threshold: bool) -> Option<String> {
    let (never, all) = (format::count(n_never), format::count(n_brands));
    let is_most = 2 * n_never > n_brands;
    let words = if by_threshold {
        format!("not working: no score passes its threshold for {never} of {all} brands")
    } else {
        format!("not working: {never} of {all} brands are predicted for no test user")
    };
    is_most.then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_decides_only_when_zero_lies_outside() {
        assert_eq!(outcome(Some([0.001, 0.02])), Outcome::Better);
        assert_eq!(outcome(Some([-0.02, -0.001])), Outcome::Worse);
        assert_eq!(outcome(Some([-0.01, 0.01])), Outcome::NoClearChange);
        assert_eq!(outcome(Some([0.0, 0.01])), Outcome::NoClearChange, "0 itself is inside");
        assert_eq!(outcome(Some([-0.01, 0.0])), Outcome::NoClearChange);
        assert_eq!(outcome(None), Outcome::Undefined);
    }

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
    fn every_pair_of_outcomes_has_its_words() {
        use Outcome::{Better, NoClearChange, Undefined, Worse};
        let rows = [
            (Better, Better, "better at both levels", true, false),
            (Better, Worse, "better at item level, worse at user level", false, true),
            (
                Better,
                NoClearChange,
                "better at item level, no clear change at user level",
                true,
                false,
            ),
            (Worse, Better, "worse at item level, better at user level", false, true),
            (Worse, Worse, "worse at both levels", false, false),
            (
                Worse,
                NoClearChange,
                "worse at item level, no clear change at user level",
                false,
                false,
            ),
            (
                NoClearChange,
                Better,
                "no clear change at item level, better at user level",
                true,
                false,
            ),
            (
                NoClearChange,
                Worse,
                "no clear change at item level, worse at user level",
                false,
                false,
            ),
            (NoClearChange, NoClearChange, "no clear change", false, false),
            (Better, Undefined, "better at item level, undefined at user level", true, false),
            (Undefined, Undefined, "undefined at both levels", false, false),
        ];
        for (item, user, words, beats, trades) in rows {
            let outcomes = Outcomes { item, user };
            assert_eq!(outcomes.words(), words);
            assert_eq!(outcomes.beats_baseline(), beats, "{words}");
            assert_eq!(outcomes.is_trade_off(), trades, "{words}");
        }
    }

    #[test]
    fn a_model_that_never_predicts_most_brands_is_not_working() {
        let expected = "not working: no score passes its threshold for 2,311 of 3,000 brands";
        assert_eq!(warning(2311, 3000, true).as_deref(), Some(expected));
        let expected = "not working: 2,311 of 3,000 brands are predicted for no test user";
        assert_eq!(warning(2311, 3000, false).as_deref(), Some(expected));
        assert_eq!(warning(1500, 3000, true), None, "one half is not most");
    }

    #[test]
    fn a_verdict_is_the_standing_and_the_warning() {
        let compared = |item, user| Standing::Compared(Outcomes { item, user });
        let better = compared(Outcome::Better, Outcome::NoClearChange);
        let rows = [
            (Standing::Baseline, None, "the baseline"),
            (Standing::Baseline, Some("not working"), "the baseline; not working"),
            (Standing::NoBaseline, None, "not compared: the baseline has no scores"),
            (
                compared(Outcome::Worse, Outcome::Worse),
                Some("not working"),
                "worse at both levels; not working",
            ),
            (better, None, "better at item level, no clear change at user level"),
            (
                better,
                Some("not working"),
                "better at item level, no clear change at user level; still not working",
            ),
        ];
        for (standing, warning, words) in rows {
            assert_eq!(verdict(standing, warning), words);
        }
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

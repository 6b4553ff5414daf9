//! The probability from which a brand is predicted, and what a threshold is worth.
//!
//! A threshold is a calibrated probability; a brand is predicted when `prob >= threshold`.
//! Here a bin of the histogram ([`crate::bins`]) is decided as a whole, by the probability of its
//! logit.

use crate::bins::Bin;
use crate::calibration::sigmoid;
use crate::counts::{Counts, f1};
use crate::curve::Curve;
use crate::histogram::{BrandHistogram, Histogram};
use crate::ranked_bins::{RankedBin, ranked_bins};

/// What a single threshold for all brands is tuned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// F1 of the counts summed over brands: brands with many labels decide.
    MicroF1,
    /// Unweighted mean of brand F1 where it is defined: every brand counts alike.
    MacroF1,
}

/// The F1 to expect of a brand, by its probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Highest F1 that any threshold is expected to reach, in `(0, 1]`.
    pub f1: f64,
    /// Share of the users that this threshold predicts.
    pub predicted: f64,
    /// Share of the users expected to have the brand: their mean probability.
    pub positives: f64,
}

impl Expected {
    /// Probability from which predicting the brand maximises its expected F1 (the "plug-in"
    /// rule): half of that F1, so a brand that is hard to predict has a low threshold.
    ///
    /// # Source
    ///
    /// Lipton, Elkan and Narayanaswamy 2014.
    pub fn threshold(&self) -> f64 {
        self.f1 / 2.0
    }
}

/// The best F1 that a threshold is expected to reach, by the probabilities alone.
///
/// * `brand`: logits of any users, the very ones to be decided included: only the sum of
///   positives and negatives is used, never the labels.
/// * `curve`: the brand's curve; the rule is as good as its probabilities.
///
/// With the users by descending probability `p`, F1 is the maximum over `k` of
/// `2·Σ_{i <= k} p_i / (k + Σ_i p_i)`; `k` moves by whole bins. `None` where nobody is expected
/// to have the brand.
pub fn expected(brand: BrandHistogram, curve: &Curve) -> Option<Expected> {
    let users_and_hits = users_and_hits(brand, curve);
    let positives: f64 = users_and_hits.iter().map(|(_, hits)| hits).sum();
    let (mut n_predicted, mut n_hits, mut best) = (0.0, 0.0, (0.0_f64, 0.0));
    for (users, hits) in users_and_hits.into_iter().rev() {
        n_predicted += users;
        n_hits += hits;
        let f1 = 2.0 * n_hits / (n_predicted + positives);
        if f1 > best.0 {
            best = (f1, n_predicted);
        }
    }
    let n_users = n_predicted;
    (best.0 > 0.0).then(|| Expected {
        f1: best.0,
        predicted: best.1 / n_users,
        positives: positives / n_users,
    })
}

/// Probability from which a brand is predicted about as often as it is expected (`PCut`).
///
/// Arguments as in [`expected`]. Returns the probability at the lower end of a bin, so that the
/// number of users predicted is nearest to the sum of all users' probabilities, but not 0.
/// `None` where nobody is expected to have the brand.
///
/// # Source
///
/// Lewis 1992 (proportional assignment), with the expected in place of the past proportion.
pub fn expected_volume_threshold(brand: BrandHistogram, curve: &Curve) -> Option<f64> {
    let users_and_hits = users_and_hits(brand, curve);
    let wanted: f64 = users_and_hits.iter().map(|(_, hits)| hits).sum();
    let mut n_predicted = 0.0;
    let mut last = None;
    for (bin, (users, _)) in users_and_hits.into_iter().enumerate().rev() {
        let is_nearer = (n_predicted + users - wanted).abs() < (n_predicted - wanted).abs();
        if last.is_some() && !is_nearer {
            break;
        }
        n_predicted += users;
        last = Some(bin);
    }
    let prob_of_lowest = |bin: usize| curve.prob(brand.bins[bin].low.into());
    let from = |bin| if bin == 0 { 0.0 } else { prob_of_lowest(bin) };
    last.filter(|_| wanted > 0.0).map(from)
}

/// For each bin its users, and how many of them are expected to have the brand.
fn users_and_hits(brand: BrandHistogram, curve: &Curve) -> Vec<(f64, f64)> {
    let of_bin = |bin: &Bin| {
        let users = bin.users() as f64;
        (users, users * curve.prob(bin.logit()))
    };
    brand.bins.iter().map(of_bin).collect()
}

/// A brand's best threshold on labelled users (`SCut`), pulled towards another one.
///
/// * `pull_to`: a probability, for example [`Expected::threshold`].
/// * `strength`: weight of the pull in positives of the brand; 0 is no pull. A brand with this
///   many positives gets the probability half-way in log-odds.
///
/// `None` where no user has the brand and nothing pulls.
///
/// # Source
///
/// Yang 2001 for the rule without the pull.
pub fn tuned_threshold(
    brand: BrandHistogram,
    curve: &Curve,
    pull_to: f64,
    strength: f64,
) -> Option<f64> {
    let log_odds = |p: f64| {
        let p = p.clamp(1e-12, 1.0 - 1e-12);
        (p / (1.0 - p)).ln()
    };
    let Some((logit, _)) = best_f1(brand) else { return (strength > 0.0).then_some(pull_to) };
    let n = brand.support() as f64;
    let own = if logit.is_finite() { curve.prob(logit) } else { 0.0 };
    if strength == 0.0 {
        return Some(own);
    }
    let weight = n / (n + strength);
    Some(sigmoid(weight * log_odds(own) + (1.0 - weight) * log_odds(pull_to)))
}

/// Counts of a brand at a threshold.
///
/// * `threshold`: a calibrated probability; a bin is predicted when that of its logit reaches
///   it. A threshold above 1 (or NaN) predicts nobody.
pub fn counts_at(brand: BrandHistogram, curve: &Curve, threshold: f64) -> Counts {
    let is_predicted = |bin: &Bin| curve.prob(bin.logit()) >= threshold;
    let first = brand.bins.partition_point(|bin| !is_predicted(bin));
    let (below, predicted) = brand.bins.split_at(first);
    Counts {
        tp: predicted.iter().map(|bin| bin.positives).sum(),
        fp: predicted.iter().map(|bin| bin.negatives).sum(),
        fn_: below.iter().map(|bin| bin.positives).sum(),
    }
}

/// The best F1 that any threshold reaches on these very labels: a ceiling, not a rule.
///
/// Returns the logit (not a probability) to predict from, the lowest of a bin or minus infinity for
/// everybody, and the counts there. Of equals the highest threshold wins.
/// Thresholds are tried between bins. `None` where no user has the brand.
pub fn best_f1(brand: BrandHistogram) -> Option<(f64, Counts)> {
    let support = brand.support();
    let mut counts = Counts { tp: 0, fp: 0, fn_: support };
    let (mut best_bin, mut best_counts) = (0, counts);
    for (i, bin) in brand.bins.iter().enumerate().rev() {
        counts.tp += bin.positives;
        counts.fp += bin.negatives;
        counts.fn_ -= bin.positives;
        if f1(counts) > f1(best_counts) {
            (best_bin, best_counts) = (i, counts);
        }
    }
    let from = |bin: usize| if bin == 0 { f64::NEG_INFINITY } else { brand.bins[bin].low.into() };
    (support > 0).then(|| (from(best_bin), best_counts))
}

/// The single threshold for all brands that maximises micro or macro F1 on these labels.
///
/// * `curves`: `(n_brands,)`, the brands' curves.
///
/// Returns the best of the probabilities of all bins; of equals the highest. Each is judged as
/// [`counts_at`] counts. `None` where none of them has an F1 above 0, as without any label.
///
/// # Panics
///
/// If `curves` has another length than the histogram has brands.
pub fn tune_global(histogram: &Histogram, curves: &[Curve], objective: Objective) -> Option<f64> {
    assert_eq!(curves.len(), histogram.n_brands(), "one curve per brand");
    let nobody = |brand| Counts { tp: 0, fp: 0, fn_: histogram.support(brand) };
    let mut counts: Vec<Counts> = (0..curves.len()).map(nobody).collect();
    let mut total: Counts = counts.iter().copied().sum();
    let mut mean = RunningMean::default();
    for &counts in &counts {
        mean.change(None, f1(counts));
    }

    let mut best = None;
    let ranked = ranked_bins(histogram, curves.iter().enumerate());
    for tied in ranked.chunk_by(RankedBin::is_tied_with) {
        for bin in tied {
            let of_brand = &mut counts[bin.brand_idx as usize];
            let before = f1(*of_brand);
            for counts in [&mut *of_brand, &mut total] {
                counts.tp += bin.positives;
                counts.fp += bin.negatives;
                counts.fn_ -= bin.positives;
            }
            mean.change(before, f1(*of_brand));
        }
        let value = match objective {
            Objective::MicroF1 => f1(total),
            Objective::MacroF1 => mean.value(),
        };
        if value > best.map_or(Some(0.0), |(value, _)| value) {
            best = Some((value, tied[0].prob));
        }
    }
    best.map(|(_, threshold)| threshold)
}

/// The mean of values of which one changes at a time. What rounding loses is summed too (Neumaier
/// 1974), so that after millions of changes it is as exact as a new sum.
#[derive(Default)]
struct RunningMean {
    sum: f64,
    lost: f64,
    n: u64,
}

impl RunningMean {
    /// Takes out `before` and puts in `after`.
    fn change(&mut self, before: Option<f64>, after: Option<f64>) {
        for value in before.map(|value| -value).into_iter().chain(after) {
            let sum = self.sum + value;
            self.lost += if self.sum.abs() >= value.abs() {
                self.sum - sum + value
            } else {
                value - sum + self.sum
            };
            self.sum = sum;
        }
        self.n = self.n + u64::from(after.is_some()) - u64::from(before.is_some());
    }

    fn value(&self) -> Option<f64> {
        (self.n > 0).then(|| (self.sum + self.lost) / self.n as f64)
    }
}

/// Thresholds to try where each costs a pass over the users, ascending.
///
/// * `curves`: `(n_brands,)`, the brands' curves.
///
/// Each lies half-way between two probabilities of bins, so that rounding decides about nobody,
/// and predicts at most 2 % more (or one bin) than the next higher: about 1,000 thresholds for
/// 100,000,000 pairs of a user and a brand, however close their probabilities are to each other.
pub fn threshold_candidates(histogram: &Histogram, curves: &[Curve]) -> Vec<f64> {
    const STEP: f64 = 1.02;

    let ranked = ranked_bins(histogram, curves.iter().enumerate());
    let (mut candidates, mut n_predicted, mut next) = (Vec::new(), 0, 0);
    let mut ranked = ranked.chunk_by(RankedBin::is_tied_with).peekable();
    while let Some(tied) = ranked.next() {
        n_predicted += tied.iter().map(|bin| bin.positives + bin.negatives).sum::<u64>();
        let below = ranked.peek().map_or(0.0, |tied| tied[0].prob);
        if n_predicted > next || ranked.peek().is_none() {
            candidates.push(f64::midpoint(tied[0].prob, below));
            next = (n_predicted as f64 * STEP) as u64;
        }
    }
    candidates.reverse();
    candidates
}

/// Average precision of a brand: the area under its precision-recall steps.
///
/// Returns `Σ (R_n - R_{n-1})·P_n` over the users by descending logit, in `(0, 1]`; users of the
/// same logit are tied. Of others who share a bin the order is not known: the result is the mean
/// over all their orders. It does not depend on the calibration, which keeps the order. `None`
/// where no user has the brand.
///
/// # Source
///
/// As `average_precision_score` of scikit-learn: no interpolation.
pub fn average_precision(brand: BrandHistogram) -> Option<f64> {
    let (mut tp, mut n_predicted, mut area) = (0, 0, 0.0);
    for &bin in brand.bins.iter().rev() {
        if bin.positives > 0 && bin.is_tie() {
            let precision = (tp + bin.positives) as f64 / (n_predicted + bin.users()) as f64;
            area += bin.positives as f64 * precision;
        } else if bin.positives > 0 {
            area += precisions_in_any_order(tp, n_predicted, bin);
        }
        tp += bin.positives;
        n_predicted += bin.users();
    }
    (tp > 0).then(|| area / tp as f64)
}

/// Sum of the precisions at a bin's positives, the mean over all orders of its users.
///
/// * `tp`, `n`: positives and users above the bin.
///
/// The user at place `j` of `m` is one of the `s` positives with probability `s / m`; then
/// `(j - 1)·r` positives of the bin are expected before it, `r` being `(s - 1) / (m - 1)`. The
/// precision there is `(tp + 1 + (j - 1)·r) / (n + j)`, or `r + (tp + 1 - r - n·r) / (n + j)`.
fn precisions_in_any_order(tp: u64, n: u64, bin: Bin) -> f64 {
    let (m, s) = (bin.users() as f64, bin.positives as f64);
    let r = (s - 1.0) / (m - 1.0).max(1.0);
    let rest = tp as f64 + 1.0 - r - n as f64 * r;
    s / m * (m * r + rest * (harmonic(n + bin.users()) - harmonic(n)))
}

/// `1 + 1/2 + … + 1/n`.
fn harmonic(n: u64) -> f64 {
    const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

    if n < 32 {
        return (1..=n).map(|i| 1.0 / i as f64).sum();
    }
    let n = n as f64; // the next term of the series is below 1e-11
    n.ln() + EULER_GAMMA + 1.0 / (2.0 * n) - 1.0 / (12.0 * n * n) + 1.0 / (120.0 * n.powi(4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::{macro_f1, sum};
    use crate::histogram::one_brand;
    use crate::{Platt, reference};
    use proptest::prelude::*;

    fn brands(logits: &[Vec<(f32, bool)>]) -> Histogram {
        let mut histogram = Histogram::new(logits.len());
        for (brand_idx, users) in logits.iter().enumerate() {
            for &(logit, is_positive) in users {
                histogram.add(brand_idx, logit, is_positive);
            }
        }
        histogram
    }

    fn any_brands() -> impl Strategy<Value = Vec<Vec<(f32, bool)>>> {
        let users = prop::collection::vec((-15_f32..15.0, any::<bool>()), 1..25);
        prop::collection::vec(users, 1..5)
    }

    fn any_curve() -> impl Strategy<Value = Curve> {
        (0.05..3.0, -4.0..4.0).prop_map(|(slope, intercept)| Platt { slope, intercept }.into())
    }

    #[test]
    fn counts_split_at_the_threshold() {
        let histogram = one_brand(&[(-1.0, 2, 10), (0.5, 3, 4), (2.0, 5, 1)]);
        let brand = histogram.brand(0);
        // sigmoid(0) = 0.5 lies between the first and second logit.
        assert_eq!(counts_at(brand, &Curve::IDENTITY, 0.5), Counts { tp: 8, fp: 5, fn_: 2 });
        // With intercept -1 the second logit, 0.5, falls below.
        let lower = Curve::from(Platt { slope: 1.0, intercept: -1.0 });
        assert_eq!(counts_at(brand, &lower, 0.5), Counts { tp: 5, fp: 1, fn_: 5 });
        assert_eq!(counts_at(brand, &lower, 0.0), Counts { tp: 10, fp: 15, fn_: 0 });
        assert_eq!(counts_at(brand, &lower, 1.5), Counts { tp: 0, fp: 0, fn_: 10 });
    }

    #[test]
    fn a_bin_whose_probability_equals_the_threshold_is_predicted() {
        let histogram = one_brand(&[(-1.0, 0, 1), (-0.3, 0, 1), (2.0, 0, 1)]);
        let predicted =
            |threshold| counts_at(histogram.brand(0), &Curve::IDENTITY, threshold).predicted();
        let threshold = Curve::IDENTITY.prob((-0.3_f32).into());
        assert_eq!((predicted(threshold), predicted(threshold.next_up())), (2, 1));
    }

    /// Ten users at p = 0.8, ninety at p = 0.1: 17 positives expected.
    /// F(10) = 2·8 / (10 + 17) = 0.593, F(100) = 2·17 / (100 + 17) = 0.291.
    #[test]
    fn expected_f1_is_the_best_over_the_sorted_probabilities() {
        let histogram = one_brand(&[(4_f32.ln(), 0, 10), ((1.0_f32 / 9.0).ln(), 0, 90)]);
        let best = expected(histogram.brand(0), &Curve::IDENTITY).unwrap();
        assert!((best.f1 - 16.0 / 27.0).abs() < 1e-6, "{}", best.f1);
        assert!((best.threshold() - 8.0 / 27.0).abs() < 1e-6, "{}", best.threshold());
        let counts = counts_at(histogram.brand(0), &Curve::IDENTITY, best.threshold());
        assert_eq!(counts.predicted(), 10); // all of p = 0.8
    }

    /// Everybody alike at p: all or none. F = 2p / (1 + p), the trivial floor.
    #[test]
    fn where_all_users_are_alike_the_plug_in_predicts_everyone() {
        let histogram = one_brand(&[(-5.0, 1, 999)]);
        let p = Curve::IDENTITY.prob(-5.0);
        let best = expected(histogram.brand(0), &Curve::IDENTITY).unwrap().f1;
        assert!((best - 2.0 * p / (1.0 + p)).abs() < 1e-12); // 0.0133
        let counts = counts_at(histogram.brand(0), &Curve::IDENTITY, best / 2.0);
        assert_eq!(counts, Counts { tp: 1, fp: 999, fn_: 0 });
    }

    /// Ten users at p = .8, ninety at p = .1: 17 positives expected. Ten are nearer than all.
    /// With four users at .8 only, 3.2 are expected: one bin is predicted, or nobody would be.
    #[test]
    fn the_expected_volume_is_met_as_nearly_as_bins_allow() {
        let histogram_ = one_brand(&[(4_f32.ln(), 0, 10), ((1.0_f32 / 9.0).ln(), 0, 90)]);
        let at = |histogram: &Histogram| {
            let brand = histogram.brand(0);
            let threshold = expected_volume_threshold(brand, &Curve::IDENTITY).unwrap();
            counts_at(brand, &Curve::IDENTITY, threshold).predicted()
        };
        assert_eq!(at(&histogram_), 10);
        assert_eq!(at(&one_brand(&[(-3.0, 0, 4)])), 4);
        // 5 · .5 + 5 · .27 + 90 · .018 = 5.5 expected: five are nearer than ten.
        assert_eq!(at(&one_brand(&[(0.0, 0, 5), (-1.0, 0, 5), (-4.0, 0, 90)])), 5);
    }

    /// The best cut on these labels lies at logit 1, p = .73; it is pulled to .1, log-odds -2.2.
    /// With five positives and a pull of five the log-odds are half-way: (1 - 2.197) / 2 = -.6.
    #[test]
    fn a_tuned_threshold_is_pulled_by_the_positives_it_lacks() {
        let histogram = one_brand(&[(1.0, 5, 0), (-3.0, 0, 95)]);
        let tuned = |strength| {
            let threshold = tuned_threshold(histogram.brand(0), &Curve::IDENTITY, 0.1, strength);
            let threshold: f64 = threshold.unwrap();
            (threshold / (1.0 - threshold)).ln()
        };
        assert!((tuned(0.0) - 1.0).abs() < 1e-9, "{}", tuned(0.0));
        assert!((tuned(5.0) + (9_f64.ln() - 1.0) / 2.0).abs() < 1e-9, "{}", tuned(5.0));
        assert!((tuned(1e9) + 9.0_f64.ln()).abs() < 1e-6);
        let none = Histogram::new(1);
        let tuned = |strength| tuned_threshold(none.brand(0), &Curve::IDENTITY, 0.1, strength);
        assert_eq!((tuned(0.0), tuned(5.0)), (None, Some(0.1)));
    }

    #[test]
    fn without_users_or_labels_the_results_are_undefined() {
        let empty = Histogram::new(1);
        assert_eq!(expected(empty.brand(0), &Curve::IDENTITY), None);
        assert_eq!(expected_volume_threshold(empty.brand(0), &Curve::IDENTITY), None);
        let unlabelled = one_brand(&[(0.0, 0, 9)]);
        assert_eq!(average_precision(unlabelled.brand(0)), None);
        assert_eq!(best_f1(unlabelled.brand(0)), None);
        for objective in [Objective::MicroF1, Objective::MacroF1] {
            assert_eq!(tune_global(&unlabelled, &[Curve::IDENTITY], objective), None);
        }
    }

    /// From the top: 5/1, then 8/5, then 10/15 as tp/fp of 10. F1: 10/16, 16/23, 20/35.
    #[test]
    fn best_f1_tries_every_bin() {
        let histogram = one_brand(&[(-1.0, 2, 10), (0.5, 3, 4), (2.0, 5, 1)]);
        let (logit, counts) = best_f1(histogram.brand(0)).unwrap();
        assert_eq!(counts, Counts { tp: 8, fp: 5, fn_: 2 });
        assert_eq!(logit as f32, 0.5);
    }

    /// Two brands. Micro F1 is best with the head brand's negatives left out (threshold between
    /// p(-1) and p(1)); macro F1 gains more from reaching down to the tail brand at -3.
    #[test]
    fn micro_and_macro_f1_want_different_global_thresholds() {
        let mut both = Histogram::new(2);
        for _ in 0..100 {
            both.add(0, 1.0, true);
            both.add(0, -1.0, false);
        }
        both.add(1, -3.0, true);
        let curves = [Curve::IDENTITY; 2];
        let at = |threshold| [0, 1].map(|i| counts_at(both.brand(i), &curves[i], threshold));
        // High: brand F1 1 and 0. Low: 200/300 and 1. Micro 200/201 or 202/302; macro 1/2 or 5/6.
        let micro = tune_global(&both, &curves, Objective::MicroF1).unwrap();
        assert_eq!(f1(sum(&at(micro))), Some(200.0 / 201.0));
        let macro_ = tune_global(&both, &curves, Objective::MacroF1).unwrap();
        assert!((macro_f1(&at(macro_)).unwrap() - 5.0 / 6.0).abs() < 1e-12);
        // Ties go to the highest threshold, the probability of a user.
        assert!((micro - sigmoid(1.0)).abs() < 1e-12, "{micro}");
        assert!((macro_ - sigmoid(-3.0)).abs() < 1e-12, "{macro_}");
    }

    /// `average_precision_score` and `f1_score` of scikit-learn on the same logits.
    #[test]
    fn average_precision_and_f1_agree_with_scikit_learn() {
        let histogram = reference::histogram();
        let area = average_precision(histogram.brand(0)).unwrap();
        assert!((area - reference::value("average_precision")).abs() < 1e-12);
        let counts = counts_at(histogram.brand(0), &Curve::IDENTITY, 0.5);
        assert!((f1(counts).unwrap() - reference::value("f1_at_logit_0")).abs() < 1e-12);
    }

    #[test]
    fn the_global_threshold_is_the_same_for_any_number_of_threads() {
        let mut histogram = Histogram::new(200);
        for brand_idx in 0..200 {
            for user in 0..60_usize {
                let is_positive = user % (3 + brand_idx % 11) == 0;
                let logit = (user * (brand_idx + 3) % 19) as f32 / 2.0 - 7.0;
                histogram.add(brand_idx, logit + 2.0 * f32::from(is_positive), is_positive);
            }
        }
        let curves = vec![Curve::from(Platt { slope: 1.3, intercept: 0.2 }); 200];
        let tune = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| tune_global(&histogram, &curves, Objective::MacroF1).unwrap())
        };
        assert_eq!(tune(1).to_bits(), tune(2).to_bits());
    }

    proptest! {
        #[test]
        fn a_higher_threshold_never_adds_a_prediction(
            logits in any_brands(),
            curve in any_curve(),
            low in 0.0..1.0_f64,
            step in 0.0..0.5_f64,
        ) {
            let histogram = brands(&logits);
            let low_counts = counts_at(histogram.brand(0), &curve, low);
            let high_counts = counts_at(histogram.brand(0), &curve, low + step);
            prop_assert!(high_counts.tp <= low_counts.tp && high_counts.fp <= low_counts.fp);
            prop_assert_eq!(high_counts.support(), low_counts.support());
        }

        /// The plug-in is exact: no other bin has a higher expected F1 than its threshold.
        #[test]
        fn the_plug_in_threshold_reaches_the_expected_f1(
            logits in any_brands(),
            curve in any_curve(),
        ) {
            let histogram = brands(&logits);
            let brand = histogram.brand(0);
            let best = expected(brand, &curve).unwrap().f1;
            let cells = users_and_hits(brand, &curve);
            let total: f64 = cells.iter().map(|(_, hits)| hits).sum();
            let is_predicted = |(users, hits): &&(f64, f64)| hits / users >= best / 2.0;
            let predicted = || cells.iter().filter(is_predicted);
            let hits: f64 = predicted().map(|(_, hits)| hits).sum();
            let n_predicted: f64 = predicted().map(|(users, _)| users).sum();
            prop_assert!((2.0 * hits / (n_predicted + total) - best).abs() < 1e-9);
        }

        #[test]
        fn no_threshold_beats_the_tuned_one_nor_the_ceiling(
            logits in any_brands(),
            curve in any_curve(),
        ) {
            let histogram = brands(&logits);
            let curves = vec![curve.clone(); logits.len()];
            let all = || logits.iter().flatten();
            let probs = || all().map(|&(logit, _)| curve.prob(logit.into()));
            let counts = |threshold| -> Vec<Counts> {
                (0..logits.len())
                    .map(|i| counts_at(histogram.brand(i), &curve, threshold))
                    .collect()
            };
            for (objective, value) in [
                (Objective::MicroF1, (|c: &[Counts]| f1(sum(c))) as fn(&[Counts]) -> Option<f64>),
                (Objective::MacroF1, macro_f1),
            ] {
                let best = probs().filter_map(|t| value(&counts(t))).fold(0.0, f64::max);
                let tuned = tune_global(&histogram, &curves, objective);
                let tuned = tuned.and_then(|t| value(&counts(t))).unwrap_or(0.0);
                prop_assert!((tuned - best).abs() < 1e-12);
            }
            if let Some((_, ceiling)) = best_f1(histogram.brand(0)) {
                for threshold in probs() {
                    let counts = counts_at(histogram.brand(0), &curve, threshold);
                    prop_assert!(f1(counts) <= f1(ceiling));
                }
            }
        }
    }
}

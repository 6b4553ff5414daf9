//! Decisions from logits, by thresholds that were fitted before.

use contract::manifest::TopBy;
use metrics::gain::threshold;
use metrics::{Curve, Expected, Platt, Stake, reached};
use model::mlp::sigmoid_in_place;
use model::sigmoid::{logit, parts};
use multiversion::multiversion;
use ndarray::parallel::prelude::*;
use ndarray::{ArrayView1, ArrayView2, Axis};

use crate::top_k::{Numbered, keep_largest, largest_first};

/// The threshold of a brand where none is defined, as without valid users: it is never predicted.
pub const NEVER: f64 = 1.0;

/// What was fitted for a brand.
#[derive(Debug, Clone, PartialEq)]
pub struct BrandRule {
    /// From logits to probabilities
    pub curve: Curve,
    /// The probability from which it is predicted; used by [`Rule::Brand`] alone
    pub threshold: f64,
    /// The F1 to expect of it; `None` where there was no user to expect it from
    pub expected: Option<Expected>,
}

/// Which brands are predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Every brand whose probability reaches its threshold
    Brand,
    /// The best brands of each user
    TopK {
        /// How many
        k: usize,
        /// Which come first
        by: TopBy,
    },
    /// What gains for brands and users; see [`metrics::gain`]
    Gain {
        /// Weight of the mean over brands
        brand_share: f64,
    },
}

/// Decides for users.
pub struct Decider {
    brands: Vec<BrandRule>,
    rule: Rule,
    /// `(n_brands,)`: the logit, before calibration, at which a brand reaches its threshold
    cuts: Vec<f32>,
    stakes: Vec<Stake>,
    /// `(n_brands,)`: [`Stake::lowest`]
    lowest: Vec<f32>,
    /// Slope and intercept of each brand's curve, in arrays of their own so that a loop over them is
    /// vectorised; 0 for isotonic curves
    slopes: Vec<f64>,
    intercepts: Vec<f64>,
    /// Brands whose curve is isotonic, ascending
    isotonic: Vec<usize>,
}

/// The decisions for one user.
pub struct UserDecision {
    /// Brands that are predicted, in order of `brand_idx`
    pub predicted: Vec<u32>,
    /// Their probabilities
    pub predicted_probs: Vec<f32>,
    /// The brands of the highest probabilities, best first, ties in order of `brand_idx`
    pub top_brands: Vec<u32>,
    /// Their probabilities
    pub top_probs: Vec<f32>,
}

/// Buffers for one user, reused.
#[derive(Default)]
struct Scratch {
    log_odds: Vec<f32>,
    probs: Vec<f32>,
    ranked: Vec<Numbered>,
}

impl Decider {
    /// * `brands`: by `brand_idx`.
    pub fn new(brands: Vec<BrandRule>, rule: Rule) -> Self {
        let cuts = brands.iter().map(|b| b.curve.logit_of(b.threshold) as f32).collect();
        // Without an expected F1: one that makes the threshold, which is its half, `NEVER`.
        let unknown = Expected { f1: 2.0 * NEVER, predicted: 0.0, positives: 0.0 };
        let stake =
            |b: &BrandRule| Stake::of_brand(b.expected.as_ref().unwrap_or(&unknown), brands.len());
        let stakes: Vec<Stake> = brands.iter().map(stake).collect();
        let platt = |b: &BrandRule| match b.curve {
            Curve::Platt(platt) => platt,
            Curve::Isotonic(_) => Platt { slope: 0.0, intercept: 0.0 },
        };
        let is_isotonic = |&brand: &usize| matches!(brands[brand].curve, Curve::Isotonic(_));
        Self {
            slopes: brands.iter().map(|b| platt(b).slope).collect(),
            intercepts: brands.iter().map(|b| platt(b).intercept).collect(),
            isotonic: (0..brands.len()).filter(is_isotonic).collect(),
            brands,
            rule,
            cuts,
            lowest: stakes.iter().map(|stake| stake.lowest()).collect(),
            stakes,
        }
    }

    /// The same brands by another rule.
    pub fn with_rule(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }

    /// The same brands with other thresholds.
    pub fn with_thresholds(mut self, threshold: impl Fn(&BrandRule) -> f64) -> Self {
        for brand in &mut self.brands {
            brand.threshold = threshold(brand);
        }
        Self::new(self.brands, self.rule)
    }

    /// Number of brands.
    pub fn n_brands(&self) -> usize {
        self.brands.len()
    }

    /// What was fitted for each brand.
    pub fn brands(&self) -> &[BrandRule] {
        &self.brands
    }

    /// Which brands are predicted.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// What a prediction is worth to each brand.
    pub fn stakes(&self) -> &[Stake] {
        &self.stakes
    }

    /// Calibrated probabilities of one user, in place of what `probs` held.
    pub fn probs(&self, logits: ArrayView1<f32>, probs: &mut Vec<f32>) {
        self.log_odds(logits, probs);
        sigmoid_in_place(probs);
    }

    /// Log-odds of the calibrated probabilities of one user, in place of what `log_odds` held;
    /// finer than the probabilities themselves near 1.
    pub fn log_odds(&self, logits: ArrayView1<f32>, log_odds: &mut Vec<f32>) {
        log_odds.resize(logits.len(), 0.0);
        let logits = logits.to_slice().expect("a user's logits are contiguous");
        lines(logits, &self.slopes, &self.intercepts, log_odds);
        for &brand in &self.isotonic {
            let prob = self.brands[brand].curve.prob(f64::from(logits[brand]));
            log_odds[brand] = logit(prob.clamp(1e-12, 1.0 - 1e-12)) as f32;
        }
    }

    /// Decides for a batch of users.
    ///
    /// * `logits`: `(n_users, n_brands)`, before calibration.
    pub fn decide(&self, logits: ArrayView2<f32>, top_k: usize) -> Vec<UserDecision> {
        Self::decide_each(logits, top_k, |_| self)
    }

    /// Decides for a batch of users, each by a decider of its own.
    ///
    /// * `logits`: `(n_users, n_brands)`, before calibration.
    /// * `decider`: of the user at a place in the batch.
    pub fn decide_each<'a>(
        logits: ArrayView2<f32>,
        top_k: usize,
        decider: impl Fn(usize) -> &'a Self + Sync,
    ) -> Vec<UserDecision> {
        let users = logits.axis_iter(Axis(0)).into_par_iter().enumerate();
        let decide =
            |scratch: &mut Scratch, (user, row)| decider(user).decide_one(row, top_k, scratch);
        users.map_init(Scratch::default, decide).collect()
    }

    fn decide_one(
        &self,
        logits: ArrayView1<f32>,
        top_k: usize,
        scratch: &mut Scratch,
    ) -> UserDecision {
        let Scratch { log_odds: calibrated, probs, ranked } = scratch;
        self.log_odds(logits, calibrated);
        let predicted: Vec<u32> = match self.rule {
            Rule::Brand => {
                let mut predicted = Vec::new();
                let logits = logits.to_slice().expect("a user's logits are contiguous");
                reached(logits, &self.cuts, f32::INFINITY, &mut predicted);
                predicted
            }
            Rule::TopK { k, by } => {
                match by {
                    TopBy::Probability => best(calibrated, k, ranked),
                    TopBy::Gain => {
                        let gain =
                            |(&z, stake): (&f32, &Stake)| stake.gain(f64::from(parts(z).p)) as f32;
                        probs.clear(); // the buffer holds gains here
                        probs.extend(calibrated.iter().zip(&self.stakes).map(gain));
                        best(probs, k, ranked);
                    }
                }
                let mut list: Vec<u32> = ranked.iter().map(|&(_, brand)| brand).collect();
                list.sort_unstable();
                list
            }
            Rule::Gain { brand_share } => {
                probs.clone_from(calibrated);
                sigmoid_in_place(probs);
                let user = Stake::of_user(probs);
                let mut predicted = Vec::new();
                reached(probs, &self.lowest, user.lowest(), &mut predicted);
                predicted.retain(|&brand| {
                    let (p, stake) = (probs[brand as usize], self.stakes[brand as usize]);
                    f64::from(p) >= threshold(stake, user, brand_share)
                });
                predicted
            }
        };
        best(calibrated, top_k, ranked);
        let prob = |&brand: &u32| parts(calibrated[brand as usize]).p;
        UserDecision {
            predicted_probs: predicted.iter().map(prob).collect(),
            predicted,
            top_brands: ranked.iter().map(|&(_, brand)| brand).collect(),
            top_probs: ranked.iter().map(|&(z, _)| parts(z).p).collect(),
        }
    }
}

/// Straight lines, one for each value.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn lines(values: &[f32], slopes: &[f64], intercepts: &[f64], results: &mut [f32]) {
    let lines = slopes.iter().zip(intercepts);
    for ((result, &value), (slope, intercept)) in results.iter_mut().zip(values).zip(lines) {
        *result = (slope * f64::from(value) + intercept) as f32;
    }
}

/// The `k` brands of the largest values, largest first, ties in order of brand, into `ranked`.
fn best(values: &[f32], k: usize, ranked: &mut Vec<Numbered>) {
    ranked.clear();
    if k > 0 {
        keep_largest(ranked, values, |brand| brand as u32, k);
    }
    ranked.sort_unstable_by(largest_first);
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Isotonic;
    use ndarray::array;

    fn brand(slope: f64, intercept: f64, threshold: f64) -> BrandRule {
        BrandRule { curve: Platt { slope, intercept }.into(), threshold, expected: None }
    }

    /// Brand 0 predicts from 0.5 (logit 0); brand 1 is shifted by -2, so that its logit must
    /// reach 2; brand 2 has a threshold of 0 and is always predicted.
    #[test]
    fn a_brand_is_predicted_from_its_calibrated_threshold_on() {
        let brands = vec![brand(1.0, 0.0, 0.5), brand(1.0, -2.0, 0.5), brand(1.0, 0.0, 0.0)];
        let decider = Decider::new(brands, Rule::Brand);
        let decisions = decider.decide(array![[0.0, 1.9, -9.0], [-0.1, 2.1, -9.0]].view(), 2);
        assert_eq!(decisions[0].predicted, [0, 2]);
        assert_eq!(decisions[1].predicted, [1, 2]);
        assert_eq!(decisions[1].predicted_probs[0], decisions[1].top_probs[0]);
        // Ranked by calibrated probability: 0 before 1.9 - 2 = -0.1; then 2.1 - 2 before -0.1.
        assert_eq!(decisions[0].top_brands, [0, 1]);
        assert_eq!(decisions[1].top_brands, [1, 0]);
        assert!((decisions[0].top_probs[0] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn equal_probabilities_rank_in_order_of_brand() {
        let decider = Decider::new(vec![brand(1.0, 0.0, 0.5); 4], Rule::Brand);
        let decisions = decider.decide(array![[0.0, 1.0, 0.0, 1.0]].view(), 3);
        assert_eq!(decisions[0].top_brands, [1, 3, 0]);
    }

    /// Of 500 values in no order, each of 50 ten times.
    #[test]
    fn the_best_are_those_of_a_whole_sort() {
        let values: Vec<f32> = (0..500).map(|i| (i * 37 % 50) as f32 - 25.0).collect();
        let mut sorted: Vec<(f32, u32)> = values.iter().copied().zip(0..).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: ties stay in order of brand
        for k in [0, 1, 7, 20, 499, 500, 600] {
            let mut ranked = Vec::new();
            best(&values, k, &mut ranked);
            assert_eq!(ranked, sorted[..k.min(500)], "{k}");
        }
    }

    /// Knots (-1, .2) and (1, .8): logit 0 is .5 and reaches the threshold of .5, -.1 does not.
    #[test]
    fn an_isotonic_curve_decides_as_platts_does() {
        let curve = Curve::Isotonic(Isotonic::from_knots(vec![-1.0, 1.0], vec![0.2, 0.8]).unwrap());
        let rule = BrandRule { curve, threshold: 0.5, expected: None };
        let decisions =
            Decider::new(vec![rule], Rule::Brand).decide(array![[0.01], [-0.1]].view(), 1);
        assert_eq!(decisions[0].predicted, [0]);
        assert_eq!(decisions[1].predicted, [0_u32; 0]);
        assert!((decisions[1].top_probs[0] - 0.47).abs() < 1e-6); // .2 + .6 · .9 / 2
    }

    /// p = .9, .5, .1. The two best by probability are 0 and 1. Brand 0 expects F1 .95 in half of
    /// the users: a prediction gains (1.8 - .95) / 1; brand 2 expects .1 in a hundredth:
    /// (.2 - .1) / .02 = 5; brand 1, expecting .9, loses.
    #[test]
    fn a_users_list_has_the_most_probable_brands_or_the_largest_gains() {
        let known = |f1, share| Some(Expected { f1, predicted: share, positives: share });
        let mut brands = vec![brand(1.0, 0.0, 0.5); 3];
        brands[0].expected = known(0.95, 0.5);
        brands[1].expected = known(0.9, 0.3);
        brands[2].expected = known(0.1, 0.01);
        let z = |p: f32| (p / (1.0 - p)).ln();
        let logits = array![[z(0.9), z(0.5), z(0.1)]];
        let list = |by| {
            let decider = Decider::new(brands.clone(), Rule::TopK { k: 2, by });
            decider.decide(logits.view(), 1)[0].predicted.clone()
        };
        assert_eq!(list(TopBy::Probability), [0, 1]);
        assert_eq!(list(TopBy::Gain), [0, 2]);
    }

    /// At a share of 1 the rule is each brand's threshold, half of its expected F1; at 0 the
    /// user's: p = .9, .5, .1 make 1.5 positives; F(2) = 2.8 / 3.5 = .8, so .4.
    #[test]
    fn the_brand_share_moves_from_the_users_threshold_to_the_brands() {
        let known = |f1| Some(Expected { f1, predicted: 0.1, positives: 0.1 });
        let mut brands = vec![brand(1.0, 0.0, 0.5); 3];
        brands[0].expected = known(0.8);
        brands[1].expected = None;
        brands[2].expected = known(0.15);
        let z = |p: f32| (p / (1.0 - p)).ln();
        let logits = array![[z(0.9), z(0.5), z(0.1)]];
        let list = |brand_share| {
            let decider = Decider::new(brands.clone(), Rule::Gain { brand_share });
            decider.decide(logits.view(), 1)[0].predicted.clone()
        };
        assert_eq!(list(1.0), [0, 2]);
        assert_eq!(list(0.0), [0, 1]);
    }
}

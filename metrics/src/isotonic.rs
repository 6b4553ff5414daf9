//! Logits to probabilities without a formula: the curve that never falls and fits best.
//!
//! It can follow any bend, and needs many positives for that: with few it is a staircase of
//! noise.

use crate::histogram::BrandHistogram;

/// Straight lines between knots, level beyond them.
#[derive(Clone, Debug, PartialEq)]
pub struct Isotonic {
    /// Logits of the knots, ascending
    logits: Vec<f32>,
    /// Their probabilities, never falling
    probs: Vec<f32>,
}

impl Isotonic {
    /// A curve from its knots, e.g. read from a file.
    ///
    /// Returns `None` if there is no knot, their numbers differ, the logits do not ascend, or
    /// the probabilities fall.
    pub fn from_knots(logits: Vec<f32>, probs: Vec<f32>) -> Option<Isotonic> {
        let is_sound = !logits.is_empty()
            && logits.len() == probs.len()
            && logits.is_sorted_by(|a, b| a < b)
            && probs.is_sorted_by(|a, b| a <= b);
        is_sound.then_some(Isotonic { logits, probs })
    }

    /// Logits and probabilities of the knots.
    pub fn knots(&self) -> (&[f32], &[f32]) {
        (&self.logits, &self.probs)
    }

    /// Probability of a logit, in `[0, 1]`.
    pub fn prob(&self, logit: f64) -> f64 {
        let right = self.logits.partition_point(|&knot| f64::from(knot) <= logit);
        if right == 0 || right == self.logits.len() {
            return f64::from(self.probs[right.saturating_sub(1)]);
        }
        let (x0, y0) = self.knot(right - 1);
        let (x1, y1) = self.knot(right);
        y0 + (y1 - y0) * (logit - x0) / (x1 - x0)
    }

    /// The smallest logit whose probability reaches `prob`.
    pub fn logit_of(&self, prob: f64) -> f64 {
        let right = self.probs.partition_point(|&p| f64::from(p) < prob);
        if right == 0 {
            return f64::NEG_INFINITY;
        }
        if right == self.probs.len() {
            return f64::INFINITY;
        }
        let (x0, y0) = self.knot(right - 1);
        let (x1, y1) = self.knot(right);
        x0 + (x1 - x0) * (prob - y0) / (y1 - y0)
    }

    fn knot(&self, i: usize) -> (f64, f64) {
        (f64::from(self.logits[i]), f64::from(self.probs[i]))
    }
}

/// The curve that never falls and has the least squared error.
///
/// Neighbouring bins in which the share of positives falls are pooled until it rises everywhere;
/// a knot lies at the mean logit of each pool.
///
/// # Panics
///
/// If no user is counted.
///
/// # Source
///
/// Pool adjacent violators (Ayer et al. 1955; Zadrozny and Elkan 2002 for calibration).
pub fn fit(brand: BrandHistogram) -> Isotonic {
    let mut pools: Vec<Pool> = Vec::new();
    for bin in brand.bins {
        let users = bin.users() as f64;
        let mut pool = Pool { users, positives: bin.positives as f64, logits: users * bin.logit() };
        while let Some(before) = pools.pop_if(|before| before.share() >= pool.share()) {
            pool.users += before.users;
            pool.positives += before.positives;
            pool.logits += before.logits;
        }
        pools.push(pool);
    }
    let logits = pools.iter().map(|pool| (pool.logits / pool.users) as f32).collect();
    let probs = pools.iter().map(|pool| pool.share() as f32).collect();
    Isotonic::from_knots(logits, probs).expect("pools ascend")
}

/// Neighbouring bins taken together.
struct Pool {
    users: f64,
    positives: f64,
    /// Summed over users
    logits: f64,
}

impl Pool {
    fn share(&self) -> f64 {
        self.positives / self.users
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{Histogram, one_brand};
    use proptest::prelude::*;

    /// Shares .1, .5, .3, .8 by rising logit: the middle two, of 10 and 30 users, become
    /// (5 + 9) / 40 = .35 at the mean logit of their users.
    #[test]
    fn bins_whose_share_falls_are_pooled() {
        let cells = [(-2.0, 1, 9), (0.0, 5, 5), (1.0, 9, 21), (3.0, 8, 2)];
        let isotonic = fit(one_brand(&cells).brand(0));
        let (logits, probs) = isotonic.knots();
        assert_eq!(probs, [0.1, 0.35, 0.8]);
        assert!((f64::from(logits[1]) - 0.75).abs() < 1e-6); // (10 · 0 + 30 · 1) / 40
    }

    /// Between knots (-1, .2) and (1, .6): .4 half-way; .5 three quarters of the way.
    #[test]
    fn the_curve_runs_straight_between_knots_and_level_beyond() {
        let curve = Isotonic::from_knots(vec![-1.0, 1.0], vec![0.2, 0.6]).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
        close(curve.prob(0.0), 0.4);
        close(curve.prob(-9.0), 0.2);
        close(curve.prob(9.0), 0.6);
        close(curve.logit_of(0.5), 0.5);
        assert_eq!(Some(curve.logit_of(0.1)), Some(f64::NEG_INFINITY));
        assert_eq!(Some(curve.logit_of(0.7)), Some(f64::INFINITY));
    }

    #[test]
    fn knots_out_of_order_are_refused() {
        assert!(Isotonic::from_knots(vec![0.0, 0.0], vec![0.1, 0.2]).is_none());
        assert!(Isotonic::from_knots(vec![0.0, 1.0], vec![0.2, 0.1]).is_none());
        assert!(Isotonic::from_knots(vec![0.0], vec![]).is_none());
        assert!(Isotonic::from_knots(vec![], vec![]).is_none());
    }

    proptest! {
        /// The fit keeps the number of positives, never falls, and beats every constant.
        #[test]
        fn the_fit_is_calibrated_as_a_whole(
            users in prop::collection::vec((-9_f32..9.0, any::<bool>()), 1..60),
        ) {
            let mut histogram = Histogram::new(1);
            for &(logit, is_positive) in &users {
                histogram.add(0, logit, is_positive);
            }
            let curve = fit(histogram.brand(0));
            let (logits, probs) = curve.knots();
            prop_assert!(logits.is_sorted() && probs.is_sorted());
            for &(logit, _) in &users {
                let p = curve.prob(f64::from(logit));
                prop_assert!((0.0..=1.0).contains(&p));
                let back = curve.logit_of(p);
                prop_assert!(back <= f64::from(logit) + 1e-4);
            }
        }
    }
}

//! Mean F1 over users at many decisions at once: every single threshold, and every share of the
//! brands' say ([`crate::gain`]).
//!
//! What a user is worth depends on all of a user's brands together, so histograms by brand
//! cannot tell; this takes a pass over the users.

use crate::gain::{Stake, threshold};
use crate::thresholds::threshold_grid;

/// Shares of the brands to choose from, descending: closer to 0, where users pay less.
pub const BRAND_SHARES: [f64; 14] =
    [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.0];

/// Sums of the users' F1.
#[derive(Clone, Debug, PartialEq)]
pub struct UserSweep {
    grid: Vec<f64>,
    /// At each threshold of the grid
    by_threshold: Vec<f64>,
    /// At each of [`BRAND_SHARES`]
    by_share: Vec<f64>,
    n_users: u64,
}

impl Default for UserSweep {
    fn default() -> Self {
        let grid = threshold_grid();
        let by_threshold = vec![0.0; grid.len()];
        Self { grid, by_threshold, by_share: vec![0.0; BRAND_SHARES.len()], n_users: 0 }
    }
}

impl UserSweep {
    /// Adds a user; one without labels changes nothing.
    ///
    /// * `probs`: `(n_brands,)`, calibrated.
    /// * `labels`: brands that the user has.
    /// * `stakes`: `(n_brands,)`, those of the brands; empty if shares are of no interest.
    pub fn add(&mut self, probs: &[f32], labels: &[u32], stakes: &[Stake]) {
        if labels.is_empty() {
            return;
        }
        self.n_users += 1;
        let f1 = |tp: u32, predicted: u32| {
            2.0 * f64::from(tp) / (f64::from(predicted) + labels.len() as f64)
        };
        // Cells from each threshold on, by counting those whose last threshold it is.
        let n_reached = |p: f32| self.grid.partition_point(|&threshold| threshold <= f64::from(p));
        let mut predicted = vec![0; self.grid.len() + 1];
        let mut tp = vec![0; self.grid.len() + 1];
        for &p in probs {
            predicted[n_reached(p)] += 1;
        }
        for &brand in labels {
            tp[n_reached(probs[brand as usize])] += 1;
        }
        let (mut n_predicted, mut n_tp) = (0, 0);
        for i in (0..self.grid.len()).rev() {
            n_predicted += predicted[i + 1];
            n_tp += tp[i + 1];
            self.by_threshold[i] += f1(n_tp, n_predicted);
        }

        if stakes.is_empty() {
            return;
        }
        let user = Stake::of_user(&mut probs.to_vec());
        for (sum, share) in self.by_share.iter_mut().zip(BRAND_SHARES) {
            let is_predicted =
                |brand: usize| f64::from(probs[brand]) >= threshold(stakes[brand], user, share);
            let n_predicted = (0..probs.len()).filter(|&brand| is_predicted(brand)).count();
            let n_tp = labels.iter().filter(|&&brand| is_predicted(brand as usize)).count();
            *sum += f1(n_tp as u32, n_predicted as u32);
        }
    }

    /// Adds the sums of other users.
    pub fn merge(&mut self, other: &Self) {
        let mine = self.by_threshold.iter_mut().chain(&mut self.by_share);
        for (mine, theirs) in mine.zip(other.by_threshold.iter().chain(&other.by_share)) {
            *mine += theirs;
        }
        self.n_users += other.n_users;
    }

    /// The single threshold of the highest mean F1; of equals the highest. `None` without a user.
    pub fn best_threshold(&self) -> Option<f64> {
        let best = best(&self.by_threshold)?;
        (self.n_users > 0).then(|| self.grid[best])
    }

    /// The largest share of the brands at which the users' mean F1 is at most `loss` of its best
    /// below it. `None` without a user.
    pub fn share_within(&self, loss: f64) -> Option<f64> {
        let best = self.by_share.iter().copied().fold(0.0, f64::max);
        let is_enough = |&sum: &f64| sum >= best * (1.0 - loss);
        let place = self.by_share.iter().position(is_enough)?;
        (self.n_users > 0).then(|| BRAND_SHARES[place])
    }

    /// Mean F1 over the users at each of [`BRAND_SHARES`].
    pub fn by_share(&self) -> impl Iterator<Item = f64> {
        self.by_share.iter().map(|sum| sum / self.n_users as f64)
    }
}

/// Position of the largest value; of equals the last.
fn best(values: &[f64]) -> Option<usize> {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thresholds::expected;
    use crate::{Curve, Histogram};

    /// Two users, three brands. At .5 and above each has one right prediction of two labels
    /// (F1 2/3); from .3 down two right ones and no wrong one (1); from .1 down one wrong (4/5).
    #[test]
    fn the_threshold_best_for_users_is_found() {
        let mut sweep = UserSweep::default();
        sweep.add(&[0.6, 0.35, 0.1], &[0, 1], &[]);
        sweep.add(&[0.1, 0.7, 0.4], &[1, 2], &[]);
        sweep.add(&[0.9, 0.9, 0.9], &[], &[]);
        let best = sweep.best_threshold().unwrap();
        assert!(best > 0.34 && best <= 0.35, "{best}");
    }

    /// Brand 1 is rare and its own best threshold is low; predicting it costs users, as brand 0
    /// alone is right.
    #[test]
    fn the_share_is_the_largest_that_costs_users_no_more() {
        let mut histogram = Histogram::new(2);
        let logit = |p: f32| (p / (1.0 - p)).ln();
        for i in 0..100 {
            histogram.add(0, logit(if i < 50 { 0.9 } else { 0.1 }), false);
            histogram.add(1, logit(if i < 10 { 0.1 } else { 0.01 }), false);
        }
        let stakes: Vec<Stake> = (0..2)
            .map(|brand| {
                let expected = expected(histogram.brand(brand), &Curve::IDENTITY).unwrap();
                Stake::of_brand(&expected, 2)
            })
            .collect();
        let mut sweep = UserSweep::default();
        for i in 0..50 {
            sweep.add(&[0.9, if i < 10 { 0.1 } else { 0.01 }], &[0], &stakes);
        }
        let means: Vec<f64> = sweep.by_share().collect();
        assert!(means[0] < 0.98 && means[13] > 0.9999, "{means:?}");
        let chosen = |loss| {
            let share = sweep.share_within(loss).unwrap();
            BRAND_SHARES.iter().position(|&s| s == share).unwrap()
        };
        assert_eq!(chosen(0.5), 0);
        let free = chosen(0.0);
        assert!(means[free] > 0.9999 && means[free - 1] < 0.9999, "{free}: {means:?}");
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let users = [([0.6, 0.35, 0.1], vec![0, 1]), ([0.1, 0.7, 0.4], vec![1, 2])];
        let stakes = [0.1, 0.5, 0.9].map(|f1| Stake { f1, weight: 1.0 });
        let mut whole = UserSweep::default();
        let mut merged = UserSweep::default();
        for (probs, labels) in &users {
            whole.add(probs, labels, &stakes);
            let mut part = UserSweep::default();
            part.add(probs, labels, &stakes);
            merged.merge(&part);
        }
        assert_eq!(whole, merged);
        assert_eq!(UserSweep::default().best_threshold(), None);
        assert_eq!(UserSweep::default().share_within(0.1), None);
    }
}

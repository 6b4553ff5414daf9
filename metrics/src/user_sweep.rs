//! Mean F1 over users at many decisions at once: single thresholds, weights of the mean over brands
//! ([`crate::gain`]), or lengths of the users' lists.
//!
//! A user's F1 depends on all brands of the user together, so it cannot be computed from
//! histograms by brand; this takes a pass over the users.

use crate::gain::{Stake, gaining};
use crate::lists::Lists;
use crate::reached::reached;
use crate::tasks::parts;

/// Weights of the mean over brands to choose from, descending; closer together near 1, where users
/// gain most by what brands hardly miss, and near 0, where brands gain most by what users hardly miss.
pub const BRAND_SHARES: [f64; 18] = [
    1.0, 0.99, 0.97, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.0,
];

/// Lists that are longer than this are not tried.
const MAX_LENGTH: usize = 1000;

/// Users summed together.
const USERS_PER_PART: usize = 64;

/// Which brands are first in a user's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOrder {
    /// Those of the highest probabilities
    Probability,
    /// Those whose prediction gains most for the mean over brands
    Gain,
}

/// What the candidates are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Thresholds,
    BrandShares,
    Lengths(ListOrder),
}

/// Sums of the users' F1 at each candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct UserSweep {
    over: Over,
    candidates: Vec<f64>,
    sums: Vec<f64>,
    n_users: u64,
}

impl UserSweep {
    /// Over single thresholds for all brands.
    ///
    /// * `thresholds`: ascending, for example [`crate::threshold_candidates`].
    pub fn over_thresholds(thresholds: Vec<f64>) -> Self {
        Self::new(Over::Thresholds, thresholds)
    }

    /// Over [`BRAND_SHARES`].
    pub fn over_brand_shares() -> Self {
        Self::new(Over::BrandShares, BRAND_SHARES.to_vec())
    }

    /// Over the lengths of lists, from one brand to all but at most 1,000, of equal length for all
    /// users.
    pub fn over_lengths(n_brands: usize, order: ListOrder) -> Self {
        let lengths = (1..=n_brands.min(MAX_LENGTH)).map(|length| length as f64);
        Self::new(Over::Lengths(order), lengths.collect())
    }

    fn new(over: Over, candidates: Vec<f64>) -> Self {
        let sums = vec![0.0; candidates.len()];
        Self { over, candidates, sums, n_users: 0 }
    }

    /// Adds a batch of users; those without labels change nothing.
    ///
    /// * `labels`: one list per user, each brand once.
    /// * `stakes`: `(n_brands,)`, those of the brands.
    /// * `probs`: fills its argument with the `n_brands` calibrated probabilities of a user of the
    ///   batch.
    pub fn add(
        &mut self,
        labels: Lists,
        stakes: &[Stake],
        probs: impl Fn(usize, &mut Vec<f32>) + Sync,
    ) {
        let lowest: Vec<f32> = stakes.iter().map(|stake| stake.lowest()).collect();
        let empty = || Self::new(self.over, self.candidates.clone());
        let parts = parts(labels, USERS_PER_PART, empty, probs, |part, probs, labels| {
            part.add_user(probs, labels, stakes, &lowest);
        });
        for part in &parts {
            self.merge(part);
        }
    }

    /// * `lowest`: that of each of `stakes`.
    fn add_user(&mut self, probs: &[f32], labels: &[u32], stakes: &[Stake], lowest: &[f32]) {
        if labels.is_empty() {
            return;
        }
        self.n_users += 1;
        match self.over {
            Over::Thresholds => self.add_thresholds(probs, labels),
            Over::BrandShares => self.add_brand_shares(probs, labels, stakes, lowest),
            Over::Lengths(order) => self.add_lengths(probs, labels, stakes, order),
        }
    }

    fn add_lengths(&mut self, probs: &[f32], labels: &[u32], stakes: &[Stake], order: ListOrder) {
        let value = |brand: usize| match order {
            ListOrder::Probability => probs[brand],
            ListOrder::Gain => stakes[brand].gain(f64::from(probs[brand])) as f32,
        };
        let mut list: Vec<(f32, u32)> =
            (0..probs.len()).map(|brand| (value(brand), brand as u32)).collect();
        list.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut n_tp = 0;
        for (place, (sum, (_, brand))) in self.sums.iter_mut().zip(&list).enumerate() {
            n_tp += usize::from(labels.contains(brand));
            *sum += user_f1(n_tp, place + 1, labels);
        }
    }

    fn add_thresholds(&mut self, probs: &[f32], labels: &[u32]) {
        // Cells from each threshold on, by counting those whose last threshold it is.
        let n_reached =
            |p: f32| self.candidates.partition_point(|&threshold| threshold <= f64::from(p));
        let mut predicted = vec![0; self.candidates.len() + 1];
        let mut tp = vec![0; self.candidates.len() + 1];
        for &p in probs {
            predicted[n_reached(p)] += 1;
        }
        for &brand in labels {
            tp[n_reached(probs[brand as usize])] += 1;
        }
        let (mut n_predicted, mut n_tp) = (0, 0);
        for (i, sum) in self.sums.iter_mut().enumerate().rev() {
            n_predicted += predicted[i + 1];
            n_tp += tp[i + 1];
            *sum += user_f1(n_tp, n_predicted, labels);
        }
    }

    fn add_brand_shares(
        &mut self,
        probs: &[f32],
        labels: &[u32],
        stakes: &[Stake],
        lowest: &[f32],
    ) {
        let user = Stake::of_user(probs);
        let mut places = Vec::new();
        reached(probs, lowest, user.lowest(), &mut places);
        // Where a range of shares that predict a cell begins and ends.
        let mut predicted = vec![0; self.candidates.len() + 1];
        let mut tp = predicted.clone();
        for brand in places {
            let (p, stake) = (probs[brand as usize], stakes[brand as usize]);
            let shares = gaining(f64::from(p), stake, user, &self.candidates);
            let counts = [&mut predicted, &mut tp];
            for counts in counts.into_iter().take(1 + usize::from(labels.contains(&brand))) {
                counts[shares.start] += 1;
                counts[shares.end] -= 1;
            }
        }
        let (mut n_predicted, mut n_tp) = (0, 0);
        for ((sum, predicted), tp) in self.sums.iter_mut().zip(predicted).zip(tp) {
            n_predicted += predicted;
            n_tp += tp;
            *sum += user_f1(n_tp as usize, n_predicted as usize, labels);
        }
    }

    /// Adds the sums of another part of the users.
    ///
    /// # Panics
    ///
    /// If the candidates differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.candidates, other.candidates, "merged sweeps have the same candidates");
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            *mine += theirs;
        }
        self.n_users += other.n_users;
    }

    /// The candidate of the highest mean F1; of equals the last, so the highest threshold or the
    /// longest list.
    /// `None` without users.
    pub fn best(&self) -> Option<f64> {
        let best = best(&self.sums)?;
        (self.n_users > 0).then(|| self.candidates[best])
    }

    /// The first candidate, so the largest share, at which the users' mean F1 is at least
    /// `1 - loss` times its best. `None` without users.
    pub fn first_within(&self, loss: f64) -> Option<f64> {
        let best = self.sums.iter().copied().fold(0.0, f64::max);
        let is_enough = |&sum: &f64| sum >= best * (1.0 - loss);
        let place = self.sums.iter().position(is_enough)?;
        (self.n_users > 0).then(|| self.candidates[place])
    }
}

/// F1 of one user.
pub(crate) fn user_f1(tp: usize, predicted: usize, labels: &[u32]) -> f64 {
    2.0 * tp as f64 / (predicted as f64 + labels.len() as f64)
}

/// Position of the largest value; of equals the last.
fn best(values: &[f64]) -> Option<usize> {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thresholds::{expected, threshold_candidates};
    use crate::{Curve, Histogram};

    fn lowest(stakes: &[Stake]) -> Vec<f32> {
        stakes.iter().map(|stake| stake.lowest()).collect()
    }

    /// Two users, three brands. At .5 and above each has one right prediction of two labels
    /// (F1 2/3); from .3 down two right ones and no wrong one (1); from .1 down one wrong (4/5).
    #[test]
    fn the_threshold_best_for_users_is_found() {
        let mut histogram = Histogram::new(1);
        for p in [0.6_f32, 0.35, 0.1, 0.7, 0.4] {
            histogram.add(0, (p / (1.0 - p)).ln(), false);
        }
        let candidates = threshold_candidates(&histogram, &[Curve::IDENTITY]);
        let mut sweep = UserSweep::over_thresholds(candidates);
        sweep.add_user(&[0.6, 0.35, 0.1], &[0, 1], &[], &[]);
        sweep.add_user(&[0.1, 0.7, 0.4], &[1, 2], &[], &[]);
        sweep.add_user(&[0.9, 0.9, 0.9], &[], &[], &[]);
        let best = sweep.best().unwrap();
        assert!((best - 0.225).abs() < 1e-6, "{best}"); // half-way from .1 to .35
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
        let mut sweep = UserSweep::over_brand_shares();
        for i in 0..50 {
            sweep.add_user(
                &[0.9, if i < 10 { 0.1 } else { 0.01 }],
                &[0],
                &stakes,
                &lowest(&stakes),
            );
        }
        let means: Vec<f64> = sweep.sums.iter().map(|sum| sum / sweep.n_users as f64).collect();
        assert!(means[0] < 0.98 && means[BRAND_SHARES.len() - 1] > 0.9999, "{means:?}");
        let chosen = |loss| {
            let share = sweep.first_within(loss).unwrap();
            BRAND_SHARES.iter().position(|&s| s == share).unwrap()
        };
        assert_eq!(chosen(0.5), 0);
        let free = chosen(0.0);
        assert!(means[free] > 0.9999 && means[free - 1] < 0.9999, "{free}: {means:?}");
    }

    /// Two users of two labels each.
    #[test]
    fn the_length_best_for_users_is_found() {
        let stakes = [0.8, 0.6, 0.0].map(|f1| Stake { f1, weight: 1.0 });
        let users = [([0.6, 0.5, 0.1], [0, 1]), ([0.7, 0.4, 0.3], [0, 2])];
        let swept = |order| {
            let mut sweep = UserSweep::over_lengths(3, order);
            for (probs, labels) in &users {
                sweep.add_user(probs, labels, &stakes, &[]);
            }
            sweep
        };
        let sweep = swept(ListOrder::Probability);
        // One brand: 2/3 and 2/3; two: 1 and 1/2; three: 4/5 and 4/5.
        let means: Vec<f64> = sweep.sums.iter().map(|sum| sum / 2.0).collect();
        assert!(
            means.iter().zip([2.0 / 3.0, 0.75, 0.8]).all(|(a, b)| (a - b).abs() < 1e-12),
            "{means:?}"
        );
        assert_eq!(sweep.best(), Some(3.0));
        // Gains 0.4, 0.4, 0.2 and 0.6, 0.2, 0.6: of equal ones the lower number comes first.
        let means: Vec<f64> = swept(ListOrder::Gain).sums.iter().map(|sum| sum / 2.0).collect();
        assert!((means[1] - 1.0).abs() < 1e-12, "{means:?}");
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let users = [([0.6, 0.35, 0.1], vec![0, 1]), ([0.1, 0.7, 0.4], vec![1, 2])];
        let stakes = [0.1, 0.5, 0.9].map(|f1| Stake { f1, weight: 1.0 });
        let thresholds = UserSweep::over_thresholds(vec![0.2, 0.5]);
        let lengths = UserSweep::over_lengths(3, ListOrder::Gain);
        for sweep in [thresholds, UserSweep::over_brand_shares(), lengths] {
            let mut whole = sweep.clone();
            let mut merged = sweep.clone();
            for (probs, labels) in &users {
                whole.add_user(probs, labels, &stakes, &lowest(&stakes));
                let labels = Lists { offsets: &[0, 2], values: labels };
                merged.add(labels, &stakes, |_, into| *into = probs.to_vec());
            }
            assert_eq!(whole, merged);
            assert_ne!(whole, sweep);
            assert_eq!((sweep.best(), sweep.first_within(0.1)), (None, None));
        }
    }
}

//! What a prediction is worth to its brand, and what to its user.
//!
//! Macro F1 over brands and mean F1 over users are sums of the same form, `2·tp / (predicted +
//! positives)`, over the columns and over the rows of one matrix of decisions. One more
//! prediction of probability `p` changes a term of either by about `(2p - F) / size`, with `F`
//! the F1 expected there and `size` its predicted plus positive cells. So a prediction gains in
//! the mean of both if
//!
//! `share · (2p - F_b) / size_b + (1 - share) · (2p - F_u) / size_u > 0`,
//!
//! a threshold between `F_b / 2` and `F_u / 2`. A rare brand has a small `size` and decides
//! itself who gets it; to a large brand one user more or less matters little, and the user
//! decides. That is why one decision can serve both.
//!
//! # Source
//!
//! The threshold of each side is that of Lipton, Elkan and Narayanaswamy 2014; the mean of both
//! is its first-order condition.

use std::ops::Range;

use crate::reached::{at_least, sum_and_largest};
use crate::thresholds::Expected;

/// What a prediction of probability `p` is worth to one side: `weight · (2p - f1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stake {
    /// Best F1 expected of this brand or user.
    pub f1: f64,
    /// How much a unit of `2p - f1` changes the mean.
    pub weight: f64,
}

/// What a prediction is worth to its brand.
pub type BrandStake = Stake;

/// What a prediction is worth to its user.
pub type UserStake = Stake;

impl Stake {
    /// What a prediction of probability `p` is worth.
    pub fn gain(self, p: f64) -> f64 {
        self.weight * (2.0 * p - self.f1)
    }

    /// A probability below this gains nothing here, but for the last digit.
    pub fn lowest(self) -> f32 {
        below(self.f1 / 2.0)
    }

    /// Of one of `n_brands` brands; its size is a share of the users.
    pub fn of_brand(expected: &Expected, n_brands: usize) -> BrandStake {
        let size = expected.predicted + expected.positives;
        Stake { f1: expected.f1, weight: 1.0 / (size.max(f64::MIN_POSITIVE) * n_brands as f64) }
    }

    /// Of one user.
    ///
    /// * `probs`: the user's probabilities.
    pub fn of_user(probs: &[f32]) -> UserStake {
        let (positives, highest) = sum_and_largest(probs);
        // F1 rises with every brand whose `p` is at least half of it, and the most probable brand
        // alone has an F1 of `2·p / (1 + positives)`: what is below half of that is in no best list.
        let mut list = Vec::new();
        at_least(probs, below(f64::from(highest) / (1.0 + positives)), &mut list);
        list.sort_unstable_by(|a, b| b.total_cmp(a));
        let (mut hits, mut best) = (0.0, (0.0, 0));
        for (i, &p) in list.iter().enumerate() {
            hits += f64::from(p);
            let f1 = 2.0 * hits / ((i + 1) as f64 + positives);
            if f1 > best.0 {
                best = (f1, i + 1);
            }
        }
        // A user with no expected positives gains nothing.
        let weight = if best.0 > 0.0 { 1.0 / (best.1 as f64 + positives) } else { 0.0 };
        Stake { f1: best.0, weight }
    }
}

/// Probability from which a prediction gains more than it costs.
///
/// * `brand_share`: weight of the mean over brands in `[0, 1]`; the mean over users has the rest.
///
/// At 1 it is the brand's own threshold, `brand.f1 / 2`, at 0 the user's.
pub fn threshold(brand: BrandStake, user: UserStake, brand_share: f64) -> f64 {
    let (of_brand, of_user) = (brand_share * brand.weight, (1.0 - brand_share) * user.weight);
    let total = of_brand + of_user;
    if total == 0.0 {
        return 1.0;
    }
    (of_brand * brand.f1 + of_user * user.f1) / (2.0 * total)
}

/// The shares at which a prediction of probability `p` gains more than it costs.
///
/// * `shares`: weights of the mean over brands, descending.
///
/// The threshold goes from the brand's own to the user's own as the share falls, so most cells are
/// predicted at every share or at none. A user with no expected positives has no threshold.
pub fn gaining(p: f64, brand: BrandStake, user: UserStake, shares: &[f64]) -> Range<usize> {
    match (p >= brand.f1 / 2.0, p >= user.f1 / 2.0) {
        (true, true) if user.weight > 0.0 => 0..shares.len(),
        (false, false) => 0..0,
        _ => {
            let rises = brand.f1 < user.f1;
            let is_first = |&share: &f64| (p >= threshold(brand, user, share)) == rises;
            let place = shares.partition_point(is_first);
            if rises { 0..place } else { place..shares.len() }
        }
    }
}

/// A number of 32 bits that is surely not above `value`.
fn below(value: f64) -> f32 {
    (value as f32).next_down()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// p = .9, .6, .2, .1: 1.8 positives. F(1) = 1.8/2.8 = .643, F(2) = 3/3.8 = .789,
    /// F(3) = 3.4/4.8 = .708: the best list has two.
    #[test]
    fn a_users_best_list_is_the_one_of_highest_expected_f1() {
        let stake = Stake::of_user(&[0.2, 0.9, 0.1, 0.6]);
        assert!((stake.f1 - 3.0 / 3.8).abs() < 1e-6, "{stake:?}");
        assert!((stake.weight - 1.0 / 3.8).abs() < 1e-6, "{stake:?}");
    }

    /// 600 brands of probability .9.
    #[test]
    fn a_list_of_hundreds_is_found() {
        let mut probs = vec![0.01; 1000];
        probs[200..800].fill(0.9);
        let stake = Stake::of_user(&probs);
        // 2 · 540 / (600 + 544)
        assert!((stake.f1 - 1080.0 / 1144.0).abs() < 1e-4, "{stake:?}");
    }

    /// Of 100 users a rare brand is predicted to 1 and expected at 1 (size .02, of 10 brands:
    /// weight 5); the user's size is 4 (weight .25).
    #[test]
    fn a_rare_brand_decides_itself_and_a_large_one_leaves_it_to_the_user() {
        let user = Stake { f1: 0.6, weight: 0.25 };
        let rare = Expected { f1: 0.2, predicted: 0.01, positives: 0.01 };
        let rare = threshold(Stake::of_brand(&rare, 10), user, 0.5);
        // (5 · .2 + .25 · .6) / (2 · 5.25) = .1095, near the brand's .1
        assert!((rare - 1.15 / 10.5).abs() < 1e-9, "{rare}");
        let large = Expected { f1: 0.8, predicted: 0.5, positives: 0.5 };
        let large = threshold(Stake::of_brand(&large, 10), user, 0.5);
        // (.1 · .8 + .25 · .6) / (2 · .35) = .329, near the user's .3
        assert!((large - 0.23 / 0.7).abs() < 1e-9, "{large}");
    }

    proptest! {
        #[test]
        fn no_longer_and_no_shorter_list_expects_more(
            probs in prop::collection::vec(0.0..1.0_f32, 1..40),
        ) {
            let positives: f64 = probs.iter().map(|&p| f64::from(p)).sum();
            let mut sorted = probs.clone();
            sorted.sort_unstable_by(|a, b| b.total_cmp(a));
            let f1 = |n: usize| {
                2.0 * sorted[..n].iter().map(|&p| f64::from(p)).sum::<f64>() / (n as f64 + positives)
            };
            let best = (1..=probs.len()).map(f1).fold(0.0, f64::max);
            prop_assert!((Stake::of_user(&probs).f1 - best).abs() < 1e-12);
        }

        #[test]
        fn the_threshold_lies_between_those_of_brand_and_user(
            brand in (0.01..1.0_f64, 0.001..10.0_f64),
            user in (0.01..1.0_f64, 0.001..10.0_f64),
            share in 0.0..=1.0_f64,
        ) {
            let stake = |(f1, weight)| Stake { f1, weight };
            let (brand, user) = (stake(brand), stake(user));
            let found = threshold(brand, user, share);
            let (low, high) = (brand.f1.min(user.f1) / 2.0, brand.f1.max(user.f1) / 2.0);
            prop_assert!(found >= low - 1e-12 && found <= high + 1e-12);
            prop_assert!((threshold(brand, user, 1.0) - brand.f1 / 2.0).abs() < 1e-12);
            prop_assert!((threshold(brand, user, 0.0) - user.f1 / 2.0).abs() < 1e-12);
        }
    }
}

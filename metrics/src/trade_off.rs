//! What other decisions would give brands and users from the same probabilities: a picture of the
//! conflict between item and user level, not a choice.

use crate::calibration::sigmoid;
use crate::counts::{Counts, macro_f1};
use crate::gain::{Stake, gaining};
use crate::lists::Lists;
use crate::reached::reached;
use crate::tasks::parts;
use crate::user_sweep::{BRAND_SHARES, user_f1};
use std::ops::Range;

/// A decision to try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Candidate {
    /// One threshold for all brands.
    Threshold(f64),
    /// Weight of the mean over brands; see [`crate::gain`].
    BrandShare(f64),
}

/// The result of a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The decision.
    pub candidate: Candidate,
    /// Mean F1 over brands where it is defined.
    pub macro_f1: Option<f64>,
    /// Mean F1 over users with a label.
    pub user_f1: Option<f64>,
    /// Predictions, summed over users.
    pub n_predicted: u64,
}

/// Lowest and highest threshold tried, and the step between, in log-odds: .01 to .9.
const LOG_ODDS: (f64, f64, f64) = (-4.5, 2.25, 0.25);

/// Users counted together.
const USERS_PER_PART: usize = 1024;

/// Counts of many decisions over the same users.
#[derive(Clone, Debug, PartialEq)]
pub struct TradeOff {
    /// Ascending.
    thresholds: Vec<f64>,
    /// `(n_brands, 2, n_steps)`: users predicted, then those of them who have the brand. Each number
    /// is the difference to the candidate before, so that a cell predicted by a range of candidates
    /// changes two numbers.
    brands: Vec<i32>,
    /// `(n_brands,)`, users who have the brand.
    supports: Vec<u64>,
    /// `(n_candidates,)`, sums over users with a label.
    user_f1: Vec<f64>,
    n_users: u64,
}

impl TradeOff {
    /// With no users counted.
    pub fn new(n_brands: usize) -> Self {
        let (low, high, step) = LOG_ODDS;
        let n_thresholds = ((high - low) / step) as u32 + 1;
        let probability = |i: u32| sigmoid(low + f64::from(i) * step);
        let thresholds: Vec<f64> = (0..n_thresholds).map(probability).collect();
        let n_candidates = thresholds.len() + BRAND_SHARES.len();
        Self {
            thresholds,
            brands: vec![0; n_brands * 2 * (n_candidates + 1)],
            supports: vec![0; n_brands],
            user_f1: vec![0.0; n_candidates],
            n_users: 0,
        }
    }

    /// Counts a batch of users.
    ///
    /// * `labels`: one list per user, each brand once, ascending.
    /// * `stakes`: `(n_brands,)`, those of the brands.
    /// * `probs`: fills its argument with the `n_brands` calibrated probabilities of a user of the
    ///   batch.
    pub fn add(
        &mut self,
        labels: Lists,
        stakes: &[Stake],
        probs: impl Fn(usize, &mut Vec<f32>) + Sync,
    ) {
        let n_brands = self.supports.len();
        let lowest: Vec<f32> = stakes.iter().map(|stake| stake.lowest()).collect();
        let empty = || Self::new(n_brands);
        let parts = parts(labels, USERS_PER_PART, empty, probs, |part, probs, labels| {
            part.add_user(probs, labels, stakes, &lowest);
        });
        for part in &parts {
            self.merge(part);
        }
    }

    fn add_user(&mut self, probs: &[f32], labels: &[u32], stakes: &[Stake], lowest: &[f32]) {
        let user = Stake::of_user(probs);
        let n_steps = self.n_steps();
        let mut of_user = vec![0; 2 * n_steps];
        // Below this and the brand's own lowest no candidate predicts: most cells end here.
        let any = user.lowest().min(self.thresholds[0] as f32).next_down();
        let mut places = Vec::new();
        reached(probs, lowest, any, &mut places);
        let mut next_label = 0;
        for brand in places {
            next_label += labels[next_label..].iter().take_while(|&&l| l < brand).count();
            let n_counts = 1 + usize::from(labels.get(next_label) == Some(&brand));
            let brand = brand as usize;
            let ranges = self.predicting(f64::from(probs[brand]), stakes[brand], user);
            let of_brand = &mut self.brands[brand * 2 * n_steps..][..2 * n_steps];
            for steps in [of_brand, &mut of_user] {
                for counts in steps.chunks_exact_mut(n_steps).take(n_counts) {
                    for range in &ranges {
                        counts[range.start] += 1;
                        counts[range.end] -= 1;
                    }
                }
            }
        }
        if !labels.is_empty() {
            self.n_users += 1;
            let (predicted, hits) = of_user.split_at(n_steps);
            let counts = totals(predicted).zip(totals(hits));
            for (sum, (predicted, hits)) in self.user_f1.iter_mut().zip(counts) {
                *sum += user_f1(hits as usize, predicted as usize, labels);
            }
        }
        for &brand in labels {
            self.supports[brand as usize] += 1;
        }
    }

    fn n_steps(&self) -> usize {
        self.user_f1.len() + 1
    }

    /// The candidates that predict a cell of probability `p`: some thresholds, some shares.
    fn predicting(&self, p: f64, brand: Stake, user: Stake) -> [Range<usize>; 2] {
        let n_thresholds = self.thresholds.len();
        let n_reached = self.thresholds.partition_point(|&threshold| threshold <= p);
        let shares = gaining(p, brand, user, &BRAND_SHARES);
        [0..n_reached, n_thresholds + shares.start..n_thresholds + shares.end]
    }

    fn merge(&mut self, other: &Self) {
        add(&mut self.brands, &other.brands);
        add(&mut self.supports, &other.supports);
        add(&mut self.user_f1, &other.user_f1);
        self.n_users += other.n_users;
    }

    /// The result of each decision: thresholds ascending, then brand shares descending.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let mut counts = vec![Vec::with_capacity(self.supports.len()); self.user_f1.len()];
        let n_steps = self.n_steps();
        for (steps, &support) in self.brands.chunks_exact(2 * n_steps).zip(&self.supports) {
            let (predicted, hits) = steps.split_at(n_steps);
            for ((predicted, tp), counts) in totals(predicted).zip(totals(hits)).zip(&mut counts) {
                counts.push(Counts { tp, fp: predicted - tp, fn_: support - tp });
            }
        }
        let thresholds = self.thresholds.iter().copied().map(Candidate::Threshold);
        let candidates = thresholds.chain(BRAND_SHARES.map(Candidate::BrandShare));
        let outcome = |((candidate, counts), f1_sum): ((Candidate, &Vec<Counts>), &f64)| Outcome {
            candidate,
            macro_f1: macro_f1(counts),
            user_f1: (self.n_users > 0).then(|| f1_sum / self.n_users as f64),
            n_predicted: counts.iter().map(|c| c.predicted()).sum(),
        };
        candidates.zip(&counts).zip(&self.user_f1).map(outcome).collect()
    }
}

/// The count of each candidate.
fn totals(steps: &[i32]) -> impl Iterator<Item = u64> {
    let n_candidates = steps.len() - 1;
    let total = |sum: &mut i32, &step: &i32| {
        *sum += step;
        Some(*sum as u64) // a range that begins has not ended before: never negative
    };
    steps[..n_candidates].iter().scan(0, total)
}

fn add<T: Copy + std::ops::AddAssign>(sums: &mut [T], more: &[T]) {
    for (sum, &more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::{f1, mean_defined};
    use crate::gain::threshold;
    use crate::thresholds::expected;
    use crate::{Curve, Histogram, OwnedLists};

    const N_BRANDS: usize = 3;
    const N_USERS: usize = 3000;

    /// Log-odds of a user and a brand: any, but not on a threshold.
    fn log_odds(user: usize, brand: usize) -> f32 {
        ((user * 7 + brand * 13) % 29) as f32 / 4.0 - 4.37
    }

    fn has(user: usize, brand: usize) -> bool {
        (user * 11 + brand * 5) % 29 < 3
    }

    fn prob(user: usize, brand: usize) -> f32 {
        1.0 / (1.0 + (-log_odds(user, brand)).exp())
    }

    /// Macro F1, user F1 and predictions of one decision, cell by cell.
    fn one_by_one(candidate: Candidate, stakes: &[Stake]) -> (f64, f64, u64) {
        let mut brands = vec![Counts::default(); N_BRANDS];
        let mut user_f1s = Vec::new();
        for user in 0..N_USERS {
            let probs: Vec<f32> = (0..N_BRANDS).map(|brand| prob(user, brand)).collect();
            let mut of_user = Counts::default();
            for (brand, counts) in brands.iter_mut().enumerate() {
                let from = match candidate {
                    Candidate::Threshold(threshold) => threshold,
                    Candidate::BrandShare(share) => {
                        threshold(stakes[brand], Stake::of_user(&probs), share)
                    }
                };
                let cell = match (f64::from(probs[brand]) >= from, has(user, brand)) {
                    (true, true) => Counts { tp: 1, fp: 0, fn_: 0 },
                    (true, false) => Counts { tp: 0, fp: 1, fn_: 0 },
                    (false, true) => Counts { tp: 0, fp: 0, fn_: 1 },
                    (false, false) => Counts::default(),
                };
                *counts += cell;
                of_user += cell;
            }
            user_f1s.push(if of_user.support() > 0 { f1(of_user) } else { None });
        }
        let n_predicted = brands.iter().map(|counts| counts.predicted()).sum();
        (macro_f1(&brands).unwrap(), mean_defined(user_f1s.into_iter()).unwrap(), n_predicted)
    }

    fn trade_off(n_threads: usize) -> Vec<Outcome> {
        let mut histogram = Histogram::new(N_BRANDS);
        let mut labels = OwnedLists::default();
        for user in 0..N_USERS {
            for brand in 0..N_BRANDS {
                histogram.add(brand, log_odds(user, brand), has(user, brand));
            }
            let has = (0..N_BRANDS as u32).filter(|&brand| has(user, brand as usize));
            labels.push(&has.collect::<Vec<_>>());
        }
        let stake = |brand| {
            let expected = expected(histogram.brand(brand), &Curve::IDENTITY).unwrap();
            Stake::of_brand(&expected, N_BRANDS)
        };
        let stakes: Vec<Stake> = (0..N_BRANDS).map(stake).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| {
            let mut trade_off = TradeOff::new(N_BRANDS);
            trade_off.add(labels.as_lists(), &stakes, |user, probs| {
                probs.clear();
                probs.extend((0..N_BRANDS).map(|brand| prob(user, brand)));
            });
            let outcomes = trade_off.outcomes();
            for outcome in &outcomes {
                let (macro_f1, user_f1, n_predicted) = one_by_one(outcome.candidate, &stakes);
                assert!((outcome.macro_f1.unwrap() - macro_f1).abs() < 1e-12, "{outcome:?}");
                assert!((outcome.user_f1.unwrap() - user_f1).abs() < 1e-12, "{outcome:?}");
                assert_eq!(outcome.n_predicted, n_predicted, "{outcome:?}");
            }
            outcomes
        })
    }

    #[test]
    fn decisions_are_counted_as_if_taken_one_by_one_whatever_the_threads() {
        let outcomes = trade_off(1);
        assert_eq!(outcomes.len(), 28 + BRAND_SHARES.len());
        assert_eq!(outcomes, trade_off(3));
    }

    /// Two users, two brands. At .5 the first user has one right of one label (F1 1), the second
    /// none of one (0); the third has no label. At .2 the second's label is found too, among two.
    #[test]
    fn users_are_averaged_over_those_with_a_label() {
        let probs = [[0.9, 0.1], [0.3, 0.3], [0.9, 0.9]];
        let labels = Lists { offsets: &[0, 1, 2, 2], values: &[0, 1] };
        let stakes = [Stake { f1: 0.8, weight: 1.0 }; 2];
        let mut trade_off = TradeOff::new(2);
        trade_off.add(labels, &stakes, |user, into| {
            into.clear();
            into.extend(probs[user]);
        });
        let at = |wanted: f64| {
            let outcomes = trade_off.outcomes();
            let found = outcomes.into_iter().find(
                |o| matches!(o.candidate, Candidate::Threshold(t) if (t - wanted).abs() < 0.03),
            );
            found.unwrap()
        };
        assert_eq!(at(0.5).user_f1, Some(0.5));
        assert_eq!(at(0.2).user_f1, Some(f64::midpoint(1.0, 2.0 / 3.0)));
        assert_eq!(at(0.5).n_predicted, 3);
        // Brand 0: tp 1, fp 1; brand 1: fp 1, fn 1.
        assert_eq!(at(0.5).macro_f1, Some((2.0 / 3.0) / 2.0));
    }

    #[test]
    fn without_users_the_outcomes_are_undefined() {
        let outcomes = TradeOff::new(2).outcomes();
        assert!(outcomes.iter().all(|o| o.user_f1.is_none() && o.macro_f1.is_none()));
    }
}

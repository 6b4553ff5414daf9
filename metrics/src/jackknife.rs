//! How much a mean over brands or users would change with other users: the jackknife, which leaves
//! out one user after another.
//!
//! A bootstrap of macro F1 is too narrow, the more so the fewer users there are: a draw resamples
//! the few users of a rare brand as if they were all there could be. The jackknife errs on the wide
//! side, and needs no draws. For a number of brands that reach an F1, which a single user hardly
//! moves, it does not work; [`crate::bootstrap()`] does.
//!
//! # Source
//!
//! Efron and Stein (1981), "The jackknife estimate of variance", Annals of Statistics 9;
//! `tests/coverage.rs` simulates how often intervals by it hold the truth.

use rayon::prelude::*;

use crate::counts::{Counts, f1, sum};
use crate::decisions::{Classified, FN, FP, TP};

/// The decisions of an experiment, prepared to leave out users.
#[derive(Clone, Debug, Default)]
pub struct Jackknife {
    users: Classified,
    /// `(n_brands,)`, over all users
    brands: Vec<Counts>,
}

/// What a mean of F1s loses without a user.
#[derive(Clone, Copy, Debug, Default)]
struct Effect {
    sum: f64,
    n_defined: f64,
}

impl Jackknife {
    /// Of an experiment's decisions.
    pub fn of(users: Classified) -> Self {
        Self { brands: users.counts(), users }
    }

    /// Macro F1 of some brands without each of the users, `(n_users,)`: the mean over those where it
    /// is defined; NaN if none is.
    pub fn macro_f1(&self, members: impl IntoIterator<Item = usize>) -> Vec<f64> {
        let mut effects = vec![[Effect::default(); 3]; self.brands.len()];
        let mut whole = Effect::default();
        for brand in members {
            let counts = self.brands[brand];
            let Some(with) = f1(counts) else { continue };
            whole.sum += with;
            whole.n_defined += 1.0;
            for kind in [TP, FP, FN] {
                let Some(without) = without(counts, kind) else { continue };
                effects[brand][kind as usize] = match f1(without) {
                    Some(without) => Effect { sum: with - without, n_defined: 0.0 },
                    None => Effect { sum: with, n_defined: 1.0 },
                };
            }
        }
        let of_user = |cells: &[u32]| {
            let mut left = whole;
            for &cell in cells {
                let effect = effects[cell as usize / 3][cell as usize % 3];
                left.sum -= effect.sum;
                left.n_defined -= effect.n_defined;
            }
            left.sum / left.n_defined // 0 / 0 is NaN
        };
        self.each_user(of_user)
    }

    /// Micro F1 without each of the users, `(n_users,)`; NaN where it is undefined.
    pub fn micro_f1(&self) -> Vec<f64> {
        let whole = sum(&self.brands);
        self.each_user(|cells| {
            let of_kind = |kind| cells.iter().filter(|&cell| cell % 3 == kind).count() as u64;
            let left = Counts {
                tp: whole.tp - of_kind(TP),
                fp: whole.fp - of_kind(FP),
                fn_: whole.fn_ - of_kind(FN),
            };
            f1(left).unwrap_or(f64::NAN)
        })
    }

    /// Mean F1 of the users with a label without each of the users, `(n_users,)`; NaN if no other has
    /// one.
    pub fn user_f1(&self) -> Vec<f64> {
        let defined = || self.users.f1.iter().flatten();
        let (sum, n) = (defined().sum::<f64>(), defined().count() as f64);
        let without = |f1: &Option<f64>| f1.map_or(sum / n, |f1| (sum - f1) / (n - 1.0));
        self.users.f1.iter().map(without).collect()
    }

    fn each_user(&self, value: impl Fn(&[u32]) -> f64 + Sync) -> Vec<f64> {
        let ranges = self.users.offsets.par_windows(2);
        ranges.map(|range| value(&self.users.cells[range[0]..range[1]])).collect()
    }
}

/// The counts without one user of a kind; `None` if there is none.
fn without(counts: Counts, kind: u32) -> Option<Counts> {
    let less = |count: u64, is_kind: bool| count.checked_sub(u64::from(is_kind));
    Some(Counts {
        tp: less(counts.tp, kind == TP)?,
        fp: less(counts.fp, kind == FP)?,
        fn_: less(counts.fn_, kind == FN)?,
    })
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::{Decisions, Lists, OwnedLists, macro_f1, mean_defined, point};

    fn owned(lists: &[Vec<u32>]) -> OwnedLists {
        lists.iter().map(Vec::as_slice).collect()
    }

    fn of<'a>(labels: &'a OwnedLists, predicted: &'a OwnedLists) -> Decisions<'a> {
        Decisions { labels: labels.as_lists(), predicted: predicted.as_lists() }
    }

    /// Thirty users, some without labels, and twelve brands, some of which one user alone has.
    fn random_users() -> [Vec<Vec<u32>>; 2] {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let mut list = |n: u32| -> Vec<u32> {
            (0..rng.random_range(0..n)).map(|_| rng.random_range(0..12_u32.min(3 * n))).collect()
        };
        let labels = (0..30).map(|_| list(4)).collect();
        [labels, (0..30).map(|_| list(3)).collect()]
    }

    /// Computed the slow way, with all users but one.
    #[test]
    fn a_value_is_the_metric_of_all_users_but_one() {
        let [labels, predicted] = random_users();
        let (all_labels, all_predicted) = (owned(&labels), owned(&predicted));
        let jackknife = Jackknife::of(Classified::of(&of(&all_labels, &all_predicted), 13));
        let (of_brands, of_some) = (jackknife.macro_f1(0..13), jackknife.macro_f1([2, 5, 12]));
        let (of_users, micro) = (jackknife.user_f1(), jackknife.micro_f1());
        for user in 0..30 {
            let but_one =
                |lists: &[Vec<u32>]| owned(&[&lists[..user], &lists[user + 1..]].concat());
            let slow = point(&of(&but_one(&labels), &but_one(&predicted)), 13);
            let some =
                mean_defined([2, 5, 12].into_iter().map(|brand: usize| f1(slow.brands[brand])));
            for (fast, slow) in [
                (of_brands[user], macro_f1(&slow.brands)),
                (of_some[user], some),
                (of_users[user], slow.user_f1),
                (micro[user], f1(sum(&slow.brands))),
            ] {
                assert!((fast - slow.unwrap()).abs() < 1e-12, "user {user}: {fast} {slow:?}");
            }
        }
        assert!(of_brands.iter().any(|&value| (value - of_brands[0]).abs() > 1e-3));
    }

    #[test]
    fn what_is_undefined_without_a_user_is_nan() {
        let (labels, nobody) = (owned(&[vec![0], vec![]]), owned(&[vec![], vec![]]));
        let jackknife = Jackknife::of(Classified::of(&of(&labels, &nobody), 2));
        let [macro_f1, user_f1] = [jackknife.macro_f1(0..2), jackknife.user_f1()];
        assert!(macro_f1[0].is_nan() && user_f1[0].is_nan());
        assert_eq!([macro_f1[1], user_f1[1]], [0.0, 0.0]);
        let none = Lists { offsets: &[0], values: &[] };
        let empty = Jackknife::of(Classified::of(&Decisions { labels: none, predicted: none }, 2));
        assert!(empty.macro_f1(0..2).is_empty() && empty.micro_f1().is_empty());
    }
}

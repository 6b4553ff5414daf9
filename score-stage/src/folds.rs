//! Valid users in folds, so that each is judged by what was fitted on the others.

use std::ops::{Index, IndexMut, Range};

/// Each fold is judged by what four fifths of the valid users say.
const N_FOLDS: usize = 5;

/// The rows of a fold, ascending.
///
/// * `n_users`: all valid users.
pub fn rows_of(fold: usize, n_users: usize) -> impl Iterator<Item = usize> {
    (fold..n_users).step_by(N_FOLDS)
}

/// One value for each fold.
#[derive(Clone, Copy)]
pub struct Folds<T>([T; N_FOLDS]);

/// The fold of a user. Neighbouring rows may be alike, so folds take turns.
///
/// * `row`: of all valid users.
pub fn fold_of(row: usize) -> usize {
    row % N_FOLDS
}

impl<T> Folds<T> {
    /// The numbers of the folds.
    pub fn all() -> Range<usize> {
        0..N_FOLDS
    }

    /// Makes each fold's value.
    pub fn of(make: impl FnMut(usize) -> T) -> Self {
        Self(std::array::from_fn(make))
    }

    /// A value of each fold's.
    pub fn each<'a, U>(&'a self, value: impl FnMut(&'a T) -> U) -> Folds<U> {
        Folds(self.0.each_ref().map(value))
    }

    /// Changes each fold's value into another.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Folds<U> {
        Folds(self.0.map(change))
    }

    /// Each fold with its users' places in a batch.
    ///
    /// * `batch`: rows of the batch.
    pub fn with_users(&mut self, batch: &[usize]) -> impl Iterator<Item = (&mut T, Vec<usize>)> {
        let places =
            move |fold| (0..batch.len()).filter(|&place| fold_of(batch[place]) == fold).collect();
        self.0.iter_mut().enumerate().map(move |(fold, value)| (value, places(fold)))
    }
}

impl<T: Clone> Folds<T> {
    /// All folds together, or all but one.
    ///
    /// * `merge`: adds the second value to the first.
    pub fn without(&self, left_out: Option<usize>, merge: fn(&mut T, &T)) -> T {
        let mut kept = (0..N_FOLDS).filter(|&fold| Some(fold) != left_out);
        let mut sum = kept.next().map(|fold| self[fold].clone()).expect("several folds");
        kept.for_each(|fold| merge(&mut sum, &self[fold]));
        sum
    }
}

impl<T> Index<usize> for Folds<T> {
    type Output = T;

    fn index(&self, fold: usize) -> &T {
        &self.0[fold]
    }
}

impl<T> IndexMut<usize> for Folds<T> {
    fn index_mut(&mut self, fold: usize) -> &mut T {
        &mut self.0[fold]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_is_in_one_fold_and_a_fold_is_left_out_of_its_own_sum() {
        let mut folds = Folds::of(|_| Vec::new());
        for batch in [0..7, 7..13] {
            for (users, places) in folds.with_users(&batch.clone().collect::<Vec<_>>()) {
                users.extend(places.into_iter().map(|place| batch.start + place));
            }
        }
        assert_eq!(folds[2], [2, 7, 12]);
        let merge = |sum: &mut Vec<usize>, other: &Vec<usize>| sum.extend(other);
        let sorted = |left_out| {
            let mut users = folds.without(left_out, merge);
            users.sort_unstable();
            users
        };
        assert_eq!(sorted(None), (0..13).collect::<Vec<_>>());
        assert_eq!(sorted(Some(2)), [0, 1, 3, 4, 5, 6, 8, 9, 10, 11]);
    }
}

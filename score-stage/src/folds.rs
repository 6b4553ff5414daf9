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

    /// Makes each fold's value.
    ///
    /// # Errors
    ///
    /// The first error of `make`.
    pub fn try_of<E>(make: impl FnMut(usize) -> Result<T, E>) -> Result<Self, E> {
        let made: Vec<T> = Self::all().map(make).collect::<Result<_, E>>()?;
        Ok(Self(made.try_into().unwrap_or_else(|_| unreachable!("one value a fold"))))
    }

    /// A value of each fold's.
    pub fn each<'a, U>(&'a self, value: impl FnMut(&'a T) -> U) -> Folds<U> {
        Folds(self.0.each_ref().map(value))
    }

    /// Changes each fold's value into another.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Folds<U> {
        Folds(self.0.map(change))
    }

    /// Each fold's value with another of the same fold.
    pub fn zip<U>(self, other: Folds<U>) -> Folds<(T, U)> {
        let mut pairs = self.0.into_iter().zip(other.0);
        Folds::of(|_| pairs.next().expect("one pair a fold"))
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
    /// For each fold something of all others together, and all folds together.
    ///
    /// * `merge`: adds the second value to the first.
    pub fn without_each<U>(
        &self,
        merge: fn(&mut T, &T),
        mut of_others: impl FnMut(T) -> U,
    ) -> (Folds<U>, T) {
        // The folds after each but the last, the first fold's at the end.
        let mut after: Vec<T> = Vec::new();
        for fold in self.0[1..].iter().rev() {
            let mut sum = fold.clone();
            after.last().inspect(|later| merge(&mut sum, later));
            after.push(sum);
        }
        let mut before: Option<T> = None;
        let folds = Folds::of(|fold| {
            let others = match (before.as_ref(), after.pop()) {
                (None, after) => after,
                (before, None) => before.cloned(),
                (Some(before), Some(mut others)) => {
                    merge(&mut others, before);
                    Some(others)
                }
            };
            match &mut before {
                None => before = Some(self[fold].clone()),
                Some(before) => merge(before, &self[fold]),
            }
            of_others(others.expect("several folds"))
        });
        (folds, before.expect("several folds"))
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
        let sorted = |mut users: Vec<usize>| {
            users.sort_unstable();
            users
        };
        let (without, all) = folds.without_each(merge, sorted);
        assert_eq!(sorted(all), (0..13).collect::<Vec<_>>());
        for fold in Folds::<()>::all() {
            let others = (0..13).filter(|&user| fold_of(user) != fold);
            assert_eq!(without[fold], others.collect::<Vec<_>>());
        }
    }
}

//! Users, counted. Counts of parts add up, and are the same for any number of threads.

use std::ops::AddAssign;

use contract::ipc::Table;
use multiversion::multiversion;
use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::measures::{Column, Measures, Number, Sample};
use crate::decide::{Decider, UserDecision};

/// Probabilities are summed as whole multiples of this, so that their order does not matter. The sum of
/// a hundred thousand of them has 57 bits.
const UNIT: f64 = 1.0 / (1_u64 << 40) as f64;

/// Users whose probabilities a task sums.
const USERS_PER_TASK: usize = 256;

/// Users, counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Users that were looked at
    pub n_users: u64,
    /// As [`Measures::numbers`]
    pub numbers: Vec<NumberCounts>,
    /// Users who have each of [`Measures::ids`]
    pub ids: Vec<u64>,
    /// By `brand_idx`
    pub brands: Vec<BrandCounts>,
    /// All users, if they were decided for as the test users
    pub n_decided: u64,
    /// Of these, users for whom each brand is predicted, by `brand_idx`
    pub predicted: Vec<u64>,
}

/// A number of users.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NumberCounts {
    /// Users in each bin
    pub bins: Vec<u64>,
    /// Sum of the values
    #[serde(with = "bits")]
    pub sum: f64,
    /// Sum of their squares
    #[serde(with = "bits")]
    pub squares: f64,
}

/// A brand's probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct BrandCounts {
    /// Sum, in units of 2^-40
    pub sum: u64,
    /// Sum of the squares, likewise
    pub squares: u64,
}

/// Numbers by their bits, as their decimals would not give back the same sums.
mod bits {
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(value.to_bits())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

impl BrandCounts {
    /// * `sum`, `squares`: of the probabilities.
    pub fn of_sums(sum: f64, squares: f64) -> Self {
        Self { sum: (sum / UNIT).round() as u64, squares: (squares / UNIT).round() as u64 }
    }

    /// Sums of the probabilities and of their squares.
    pub fn sums(self) -> (f64, f64) {
        (self.sum as f64 * UNIT, self.squares as f64 * UNIT)
    }
}

impl Counts {
    /// Counts of no users.
    pub fn empty(measures: &Measures) -> Self {
        let number = |number: &Number| NumberCounts {
            bins: vec![0; number.edges.len() + 1],
            ..NumberCounts::default()
        };
        Self {
            n_users: 0,
            numbers: measures.numbers.iter().map(number).collect(),
            ids: vec![0; measures.ids.len()],
            brands: vec![BrandCounts::default(); measures.n_brands],
            n_decided: 0,
            predicted: vec![0; measures.n_brands],
        }
    }

    /// Adds what some users have.
    ///
    /// * `users`: a table with the features.
    /// * `first`: row of the first among all users.
    pub fn add_features(
        &mut self,
        measures: &Measures,
        users: &Table,
        mut first: usize,
        sample: Sample,
    ) {
        for batch in users.batches.iter().filter(|batch| batch.num_rows() > 0) {
            let rows: Vec<usize> = sample.rows(first, batch.num_rows()).collect();
            first += batch.num_rows();
            self.n_users += rows.len() as u64;
            for (number, counts) in measures.numbers.iter().zip(&mut self.numbers) {
                let column = Column::of(batch, &number.feature);
                for &row in &rows {
                    let value = column.number(row, number.what, number.place as usize);
                    counts.bins[number.bin(value)] += 1;
                    counts.sum += f64::from(value);
                    counts.squares += f64::from(value).powi(2);
                }
            }
            for (listed, count) in measures.ids.iter().zip(&mut self.ids) {
                let column = Column::of(batch, &listed.feature);
                let has = |&&row: &&usize| column.ids(row).contains(&listed.id);
                *count += rows.iter().filter(has).count() as u64;
            }
        }
    }

    /// Adds the probabilities of some users.
    ///
    /// * `logits`: `(n_users, n_brands)`.
    /// * `first`: row of the first among all users.
    pub fn add_probs(
        &mut self,
        decider: &Decider,
        logits: ArrayView2<f32>,
        first: usize,
        sample: Sample,
    ) {
        let rows: Vec<usize> = sample.rows(first, logits.nrows()).collect();
        let none = || vec![BrandCounts::default(); logits.ncols()];
        let sum = |users: &[usize]| {
            let (mut sums, mut probs) = (none(), Vec::new());
            for &user in users {
                decider.probs(logits.row(user), &mut probs);
                add_user(&mut sums, &probs);
            }
            sums
        };
        let sums = rows.par_chunks(USERS_PER_TASK).map(sum).reduce(none, |mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        });
        self.brands.iter_mut().zip(sums).for_each(|(all, more)| *all += more);
    }

    /// Adds what was decided for some users.
    pub fn add_decisions(&mut self, decisions: &[UserDecision]) {
        self.n_decided += decisions.len() as u64;
        for &brand in decisions.iter().flat_map(|decision| &decision.predicted) {
            self.predicted[brand as usize] += 1;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn add_user(sums: &mut [BrandCounts], probs: &[f32]) {
    for (sum, &p) in sums.iter_mut().zip(probs) {
        let p = f64::from(p);
        sum.sum += (p / UNIT) as u64;
        sum.squares += (p * p / UNIT) as u64;
    }
}

impl AddAssign for BrandCounts {
    fn add_assign(&mut self, other: Self) {
        self.sum += other.sum;
        self.squares += other.squares;
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.n_users += other.n_users;
        self.n_decided += other.n_decided;
        for (all, more) in self.numbers.iter_mut().zip(&other.numbers) {
            all.bins.iter_mut().zip(&more.bins).for_each(|(all, more)| *all += more);
            all.sum += more.sum;
            all.squares += more.squares;
        }
        self.ids.iter_mut().zip(&other.ids).for_each(|(all, more)| *all += more);
        self.predicted.iter_mut().zip(&other.predicted).for_each(|(all, more)| *all += more);
        self.brands.iter_mut().zip(&other.brands).for_each(|(all, more)| *all += *more);
    }
}

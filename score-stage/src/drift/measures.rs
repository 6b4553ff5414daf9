//! What is counted of users: numbers in bins, the most common ids, brands.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use contract::columns::{self, ListSlices};
use contract::drift::What;
use contract::features::{Feature, FeatureKind};
use contract::ipc::Table;
use ndarray::parallel::prelude::*;

/// Users that are looked at, at most: enough to see what matters, and a small part of the work.
const MAX_SAMPLED: usize = 100_000;

/// Bins of a number with many values.
const N_BINS: usize = 10;

/// Ids of a list that are counted.
const N_IDS: usize = 100;

/// Every so many users, so that none of a sorted table is missed and the same ones are looked at again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    every: usize,
}

impl Sample {
    /// * `n_users`: how many there are.
    pub fn of(n_users: usize) -> Self {
        Self { every: n_users.div_ceil(MAX_SAMPLED).max(1) }
    }

    /// Those of some users, counted from the first of them.
    ///
    /// * `first`: row of the first of `n` users among all.
    pub fn rows(self, first: usize, n: usize) -> impl Iterator<Item = usize> {
        let start = (self.every - first % self.every) % self.every;
        (start..n).step_by(self.every)
    }
}

/// A number that each user has.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    pub feature: Feature,
    pub what: What,
    /// In the vector
    pub place: u32,
    /// Ascending; a bin reaches from one edge, which it does not hold, to the next, which it holds
    pub edges: Vec<f32>,
}

impl Number {
    /// The bin of a value.
    pub fn bin(&self, value: f32) -> usize {
        self.edges.iter().map(|&edge| usize::from(value > edge)).sum()
    }
}

/// An id that a user may have in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedId {
    pub feature: Feature,
    pub id: u32,
}

/// What is counted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measures {
    /// Those of a feature follow one another
    pub numbers: Vec<Number>,
    pub ids: Vec<ListedId>,
    pub n_brands: usize,
}

impl Measures {
    /// Chooses bins and ids by some users.
    ///
    /// * `features`: those that the model reads.
    pub fn of(users: &Table, features: &[Feature], n_brands: usize, sample: Sample) -> Self {
        let mut measures = Self { n_brands, ..Self::default() };
        for feature in features {
            let number = |what, place: usize| {
                let mut values = Vec::new();
                for_each_batch(users, sample, |batch, rows| {
                    let column = Column::of(batch, feature);
                    values.extend(rows.map(|row| column.number(row, what, place)));
                });
                let edges = edges(values);
                Number { feature: feature.clone(), what, place: place as u32, edges }
            };
            match feature.kind {
                FeatureKind::Dense { dim } => {
                    let numbers = (0..dim).into_par_iter().map(|place| number(What::Value, place));
                    measures.numbers.extend(numbers.collect::<Vec<_>>());
                }
                FeatureKind::Sparse { is_weighted, .. } => {
                    measures.numbers.push(number(What::NIds, 0));
                    if is_weighted {
                        measures.numbers.push(number(What::SumOfWeights, 0));
                    }
                    let ids = common_ids(users, feature, sample).into_iter();
                    let listed = |id| ListedId { feature: feature.clone(), id };
                    measures.ids.extend(ids.map(listed));
                }
            }
        }
        measures
    }
}

/// Calls `each` with the batches of a table and the sampled rows of each.
fn for_each_batch(
    users: &Table,
    sample: Sample,
    mut each: impl FnMut(&RecordBatch, &mut dyn Iterator<Item = usize>),
) {
    let mut first = 0;
    for batch in users.batches.iter().filter(|batch| batch.num_rows() > 0) {
        each(batch, &mut sample.rows(first, batch.num_rows()));
        first += batch.num_rows();
    }
}

/// A feature's columns in a batch.
pub enum Column<'a> {
    Dense(&'a [f32], usize),
    Listed(ListSlices<'a, u32>, Option<ListSlices<'a, f32>>),
}

impl<'a> Column<'a> {
    pub fn of(batch: &'a RecordBatch, feature: &Feature) -> Self {
        match feature.kind {
            FeatureKind::Dense { .. } => {
                let (values, dim) = columns::dense(batch, &feature.name);
                Self::Dense(values, dim)
            }
            FeatureKind::Sparse { is_weighted, .. } => {
                let weights = || columns::f32_lists(batch, &feature.weights_column());
                Self::Listed(columns::u32_lists(batch, &feature.name), is_weighted.then(weights))
            }
        }
    }

    /// A number of the user of a row.
    pub fn number(&self, row: usize, what: What, place: usize) -> f32 {
        match self {
            Self::Dense(values, dim) => values[row * dim + place],
            Self::Listed(_, Some(weights)) if what == What::SumOfWeights => {
                weights.get(row).iter().sum()
            }
            Self::Listed(ids, _) => ids.get(row).len() as f32,
        }
    }

    /// The ids in a user's list.
    pub fn ids(&self, row: usize) -> &'a [u32] {
        match self {
            Self::Dense(..) => &[],
            Self::Listed(ids, _) => ids.get(row),
        }
    }
}

/// The edges of a number's bins: between its values if they are few, else its deciles.
fn edges(mut values: Vec<f32>) -> Vec<f32> {
    values.sort_unstable_by(f32::total_cmp);
    let mut distinct: Vec<f32> = Vec::new();
    for &value in &values {
        if distinct.last() != Some(&value) && distinct.len() <= N_BINS {
            distinct.push(value);
        }
    }
    if distinct.len() <= N_BINS {
        let below = distinct.first().map(|lowest| lowest.next_down());
        return below.into_iter().chain(distinct).collect();
    }
    let mut edges: Vec<f32> = (1..N_BINS).map(|i| values[i * values.len() / N_BINS]).collect();
    edges.dedup();
    edges
}

/// The ids that most users have, ascending.
fn common_ids(users: &Table, feature: &Feature, sample: Sample) -> Vec<u32> {
    let mut counts: HashMap<u32, u64> = HashMap::new();
    for_each_batch(users, sample, |batch, rows| {
        let column = Column::of(batch, feature);
        for id in rows.flat_map(|row| column.ids(row)) {
            *counts.entry(*id).or_default() += 1;
        }
    });
    let mut counts: Vec<(u32, u64)> = counts.into_iter().collect();
    counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut ids: Vec<u32> = counts.into_iter().take(N_IDS).map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_users_are_sampled_in_whatever_batches_they_come() {
        let sample = Sample::of(350_000); // every fourth
        let whole: Vec<usize> = sample.rows(0, 1000).collect();
        assert_eq!(whole[..3], [0, 4, 8]);
        for size in [1, 3, 4, 7, 1000] {
            let firsts = (0..1000).step_by(size);
            let parts = firsts.flat_map(|first| {
                sample.rows(first, size.min(1000 - first)).map(move |row| first + row)
            });
            assert_eq!(parts.collect::<Vec<_>>(), whole, "{size}");
        }
        assert_eq!(Sample::of(0).rows(0, 2).count(), 2);
    }

    /// 0 and 1 have bins of their own, with others for what is below, between and above; of 0 to 999
    /// each bin holds a tenth.
    #[test]
    fn a_few_values_have_a_bin_each_and_many_are_cut_at_deciles() {
        let number = |values: Vec<f32>| Number {
            feature: Feature::new("x", FeatureKind::Dense { dim: 1 }),
            what: What::Value,
            place: 0,
            edges: edges(values),
        };
        let flag = number(vec![0.0, 1.0, 0.0]);
        assert_eq!([-1.0, 0.0, 0.5, 1.0, 2.0].map(|x| flag.bin(x)), [0, 1, 2, 2, 3]);
        let many = number((0..1000).map(|i| i as f32).collect());
        assert_eq!(
            [-5.0, 0.0, 100.0, 101.0, 899.0, 900.0, 5000.0].map(|x| many.bin(x)),
            [0, 0, 0, 1, 8, 8, 9]
        );
        // More than half are 0: the deciles that fall together are one edge.
        let zeros = number((0..1000).map(|i| (i - 600).max(0) as f32).collect());
        assert_eq!(zeros.edges, [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(number(Vec::new()).edges, [0.0; 0]);
    }
}

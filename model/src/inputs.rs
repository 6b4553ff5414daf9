//! Gathers batches of users from the feature columns of a table.

use arrow::array::RecordBatch;
use contract::columns::{self, BatchIndex, ListSlices};
use contract::features::{Feature, FeatureKind};
use contract::ipc::Table;
use ndarray::Array2;

/// Features of a batch of users; reused from batch to batch.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// `(n_users, n_dense)`: all dense features side by side, as they are in the table
    pub dense: Array2<f32>,
    /// One for each sparse feature, in order
    pub bags: Vec<Bags>,
}

/// The ids of one sparse feature for a batch of users, as rows of its weights.
#[derive(Debug, Default, Clone)]
pub struct Bags {
    /// User `i` has `ids[offsets[i]..offsets[i + 1]]`
    pub offsets: Vec<usize>,
    /// Rows of weights, user after user; a number without a row adds nothing
    pub ids: Vec<u32>,
    /// One for each id; 1 where the feature has no weights
    pub weights: Vec<f32>,
}

impl Bags {
    /// Adds a user.
    ///
    /// * `weights`: one for each id; 1 each by default.
    /// * `known`: the ids that have a row of weights, ascending; others are left out. If it is empty,
    ///   every id is the number of its row.
    fn push(&mut self, ids: &[u32], weights: Option<&[f32]>, known: &[u32]) {
        if known.is_empty() {
            self.ids.extend_from_slice(ids);
            match weights {
                Some(weights) => self.weights.extend_from_slice(weights),
                None => self.weights.extend(std::iter::repeat_n(1.0, ids.len())),
            }
        } else {
            for (i, id) in ids.iter().enumerate() {
                if let Ok(row) = known.binary_search(id) {
                    self.ids.push(row as u32);
                    self.weights.push(weights.map_or(1.0, |weights| weights[i]));
                }
            }
        }
        self.offsets.push(self.ids.len());
    }

    /// The ids of user `i` with their weights.
    pub fn of(&self, i: usize) -> impl Iterator<Item = (u32, f32)> {
        self.with(&self.weights, i)
    }

    /// The ids of user `i` with other values than their weights.
    ///
    /// * `values`: one for each of [`Self::ids`].
    pub fn with(&self, values: &[f32], i: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = self.offsets[i]..self.offsets[i + 1];
        self.ids[range.clone()].iter().copied().zip(values[range].iter().copied())
    }

    /// Removes all users and keeps the allocations.
    fn clear(&mut self) {
        self.offsets.clear();
        self.offsets.push(0);
        self.ids.clear();
        self.weights.clear();
    }
}

impl Batch {
    /// Number of users.
    pub fn n_users(&self) -> usize {
        self.dense.nrows()
    }

    /// Replaces its users by those of two batches with the same features.
    ///
    /// * `is_second`: for each user in turn, whether it is the next one of `second` or of `first`.
    pub fn merge(
        &mut self,
        first: &Self,
        second: &Self,
        is_second: impl ExactSizeIterator<Item = bool>,
    ) {
        let shape = (is_second.len(), first.dense.ncols());
        if self.dense.dim() != shape {
            self.dense = Array2::zeros(shape);
        }
        self.bags.resize_with(first.bags.len(), Bags::default);
        self.bags.iter_mut().for_each(Bags::clear);
        let sources = [first, second];
        let mut next = [0, 0];
        for (mut into, is_second) in self.dense.rows_mut().into_iter().zip(is_second) {
            let from = usize::from(is_second);
            let row = next[from];
            next[from] += 1;
            into.assign(&sources[from].dense.row(row));
            for (bags, source) in self.bags.iter_mut().zip(&sources[from].bags) {
                let range = source.offsets[row]..source.offsets[row + 1];
                bags.ids.extend_from_slice(&source.ids[range.clone()]);
                bags.weights.extend_from_slice(&source.weights[range]);
                bags.offsets.push(bags.ids.len());
            }
        }
    }
}

/// The columns of a table that a model reads; [`Self::gather`] copies from them.
pub struct Inputs<'a> {
    index: BatchIndex,
    /// The features' columns in each record batch
    parts: Vec<Vec<FeatureColumn<'a>>>,
    n_dense: usize,
    n_bags: usize,
    /// As [`crate::Mlp::ids`]
    ids: Vec<Vec<u32>>,
}

enum FeatureColumn<'a> {
    Dense { values: &'a [f32], dim: usize },
    Sparse { ids: ListSlices<'a, u32>, weights: Option<ListSlices<'a, f32>> },
}

impl<'a> FeatureColumn<'a> {
    fn of(batch: &'a RecordBatch, feature: &Feature) -> Self {
        match feature.kind {
            FeatureKind::Dense { .. } => {
                let (values, dim) = columns::dense(batch, &feature.name);
                Self::Dense { values, dim }
            }
            FeatureKind::Sparse { is_weighted, .. } => Self::Sparse {
                ids: columns::u32_lists(batch, &feature.name),
                weights: is_weighted.then(|| columns::f32_lists(batch, &feature.weights_column())),
            },
        }
    }
}

impl<'a> Inputs<'a> {
    /// Finds `features` among the columns of a table.
    ///
    /// # Errors
    ///
    /// The first feature that the table does not have, and those that it has.
    pub fn new(table: &'a Table, features: &[Feature]) -> Result<Self, String> {
        let found = contract::features::of_schema(&table.schema);
        if let Some(missing) = features.iter().find(|feature| !found.contains(feature)) {
            let found: Vec<_> = found.iter().map(Feature::describe).collect();
            return Err(format!(
                "{}: the model reads the feature {}, the table has {}",
                table.path.display(),
                missing.describe(),
                found.join(", ")
            ));
        }
        let part =
            |batch| features.iter().map(|feature| FeatureColumn::of(batch, feature)).collect();
        let n_dense = features.iter().map(Feature::n_dense).sum();
        let n_bags = features.iter().filter(|feature| feature.is_sparse()).count();
        Ok(Self {
            index: BatchIndex::of(&table.batches),
            parts: table.batches.iter().map(part).collect(),
            n_dense,
            n_bags,
            ids: vec![Vec::new(); n_bags],
        })
    }

    /// Turns ids into the numbers of their rows of weights.
    ///
    /// * `ids`: as [`crate::Mlp::ids`].
    #[must_use]
    pub fn with_ids(mut self, ids: &[Vec<u32>]) -> Self {
        self.ids = ids.to_vec();
        self.ids.resize(self.n_bags, Vec::new());
        self
    }

    /// Number of users in the table.
    pub fn n_users(&self) -> usize {
        self.index.n_rows()
    }

    /// Replaces the users in `batch` by those of `rows`.
    pub fn gather(&self, rows: impl ExactSizeIterator<Item = usize>, batch: &mut Batch) {
        if batch.dense.dim() != (rows.len(), self.n_dense) {
            batch.dense = Array2::zeros((rows.len(), self.n_dense));
        }
        batch.bags.resize_with(self.n_bags, Bags::default);
        batch.bags.iter_mut().for_each(Bags::clear);
        for (i, row) in rows.enumerate() {
            let (part, row) = self.index.find(row);
            let mut next_dense = 0;
            let mut bags = batch.bags.iter_mut().zip(&self.ids);
            let mut into = batch.dense.row_mut(i);
            let into = into.as_slice_mut().expect("rows of a fresh array are contiguous");
            for column in &self.parts[part] {
                match column {
                    FeatureColumn::Dense { values, dim } => {
                        into[next_dense..next_dense + dim]
                            .copy_from_slice(&values[row * dim..(row + 1) * dim]);
                        next_dense += dim;
                    }
                    FeatureColumn::Sparse { ids, weights } => {
                        let (bags, known) = bags.next().expect("one for each sparse feature");
                        bags.push(ids.get(row), weights.map(|weights| weights.get(row)), known);
                    }
                }
            }
        }
    }
}

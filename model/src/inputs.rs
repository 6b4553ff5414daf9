//! Feature columns of a table -> batches of users.

use contract::columns::{self, ListSlices};
use contract::features::{Feature, FeatureKind};
use contract::ipc::Table;
use ndarray::Array2;

/// Features of a batch of users, reused from batch to batch.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// `(n_users, n_dense)`: all dense features side by side, as they are in the table
    pub dense: Array2<f32>,
    /// One per sparse feature, in order
    pub bags: Vec<Bags>,
}

/// The ids of one sparse feature for a batch of users.
#[derive(Debug, Default, Clone)]
pub struct Bags {
    /// User `i` has `ids[offsets[i]..offsets[i + 1]]`
    pub offsets: Vec<usize>,
    /// The ids
    pub ids: Vec<u32>,
    /// A weight for each id; 1 where the feature has none
    pub weights: Vec<f32>,
}

impl Bags {
    /// The ids of user `i` with their weights.
    pub fn of(&self, i: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = self.offsets[i]..self.offsets[i + 1];
        self.ids[range.clone()].iter().copied().zip(self.weights[range].iter().copied())
    }

    /// No user, with the room that it has.
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

    /// Takes the users of two batches with the same features, in place of its own.
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

/// The feature columns of a table that a model reads. Nothing is copied until a batch is gathered.
pub struct Inputs<'a> {
    /// First row of each part, and the number of rows at the end
    starts: Vec<usize>,
    parts: Vec<Vec<Column<'a>>>,
    n_dense: usize,
    n_bags: usize,
}

enum Column<'a> {
    Dense { values: &'a [f32], dim: usize },
    Sparse { ids: ListSlices<'a, u32>, weights: Option<ListSlices<'a, f32>> },
}

impl<'a> Inputs<'a> {
    /// Finds `features` among the columns of a table.
    ///
    /// # Errors
    ///
    /// The feature that the table does not have, and what it has.
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
        let mut starts = vec![0];
        let mut parts = Vec::new();
        for batch in &table.batches {
            let column = |feature: &Feature| match feature.kind {
                FeatureKind::Dense { .. } => {
                    let (values, dim) = columns::dense(batch, &feature.name);
                    Column::Dense { values, dim }
                }
                FeatureKind::Sparse { is_weighted, .. } => Column::Sparse {
                    ids: columns::u32_lists(batch, &feature.name),
                    weights: is_weighted
                        .then(|| columns::f32_lists(batch, &feature.weights_column())),
                },
            };
            parts.push(features.iter().map(column).collect());
            starts.push(starts[starts.len() - 1] + batch.num_rows());
        }
        let n_dense = features.iter().map(Feature::n_dense).sum();
        let n_bags = features.iter().filter(|feature| feature.is_sparse()).count();
        Ok(Self { starts, parts, n_dense, n_bags })
    }

    /// Number of users in the table.
    pub fn n_users(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Copies the users of `rows` into `batch`.
    pub fn gather(&self, rows: impl ExactSizeIterator<Item = usize>, batch: &mut Batch) {
        if batch.dense.dim() != (rows.len(), self.n_dense) {
            batch.dense = Array2::zeros((rows.len(), self.n_dense));
        }
        batch.bags.resize_with(self.n_bags, Bags::default);
        batch.bags.iter_mut().for_each(Bags::clear);
        for (i, row) in rows.enumerate() {
            let part = self.starts.partition_point(|&start| start <= row) - 1;
            let row = row - self.starts[part];
            let mut next_dense = 0;
            let mut bags = batch.bags.iter_mut();
            let mut into = batch.dense.row_mut(i);
            let into = into.as_slice_mut().expect("rows of a fresh array are contiguous");
            for column in &self.parts[part] {
                match column {
                    Column::Dense { values, dim } => {
                        into[next_dense..next_dense + dim]
                            .copy_from_slice(&values[row * dim..(row + 1) * dim]);
                        next_dense += dim;
                    }
                    Column::Sparse { ids, weights } => {
                        let bags = bags.next().expect("one for each sparse feature");
                        let ids = ids.get(row);
                        bags.ids.extend_from_slice(ids);
                        match weights {
                            Some(weights) => bags.weights.extend_from_slice(weights.get(row)),
                            None => bags.weights.extend(std::iter::repeat_n(1.0, ids.len())),
                        }
                        bags.offsets.push(bags.ids.len());
                    }
                }
            }
        }
    }
}

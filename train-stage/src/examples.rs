//! Sources of training examples, and batches of them.

use contract::columns::{self, BatchIndex, ListColumn};
use contract::ipc::Table;
use metrics::{Lists, OwnedLists};
use model::{Batch, Inputs};
use ndarray::{Array2, ArrayView2};

use crate::labels::Labels;

/// Examples that can be gathered by position.
pub trait Examples: Sync {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there is no example.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces the examples in `batch` by those of `rows`, in this order.
    ///
    /// A sketch relies on the order: rows come shuffled, so that the first users of a batch are a
    /// random draw.
    fn gather(&self, rows: &[u32], batch: &mut ExampleBatch);
}

/// A batch of examples, reused from update to update.
#[derive(Debug, Default, Clone)]
pub struct ExampleBatch {
    /// Features of the examples' users
    pub inputs: Batch,
    brands: OwnedLists,
    ignored: OwnedLists,
    weights: Vec<f32>,
}

impl ExampleBatch {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Labels of example `i`.
    pub fn labels(&self, i: usize) -> Labels<'_> {
        Labels { brands: self.brands.get(i), ignored: self.ignored.get(i), weight: self.weights[i] }
    }

    /// The brands of every example's user, whether ignored or not.
    pub fn brands(&self) -> Lists<'_> {
        self.brands.as_lists()
    }

    /// Removes the labels; gathering overwrites the inputs.
    pub fn clear_labels(&mut self) {
        self.brands.clear();
        self.ignored.clear();
        self.weights.clear();
    }

    /// Adds the labels of one example.
    pub fn push_labels(&mut self, labels: Labels) {
        self.brands.push(labels.brands);
        self.ignored.push(labels.ignored);
        self.weights.push(labels.weight);
    }
}

/// `examples.arrow` over `features.arrow`, both memory-mapped.
pub struct TableExamples<'a> {
    inputs: Inputs<'a>,
    index: BatchIndex,
    /// Of each record batch, as `weights`
    user_rows: Vec<&'a [u32]>,
    weights: Vec<&'a [f32]>,
    brands: ListColumn<'a>,
    ignored: ListColumn<'a>,
}

impl<'a> TableExamples<'a> {
    /// * `inputs`: the features that `user_row` points into.
    ///
    /// # Errors
    ///
    /// The first row with a user or brand that does not exist.
    pub fn new(examples: &'a Table, inputs: Inputs<'a>, n_brands: usize) -> Result<Self, String> {
        let batches = &examples.batches;
        let user_rows: Vec<&[u32]> =
            batches.iter().map(|batch| columns::u32s(batch, "user_row")).collect();
        let n_users = inputs.n_users();
        let is_beyond = |&(_, user): &(usize, &u32)| *user as usize >= n_users;
        if let Some((row, user)) = user_rows.iter().copied().flatten().enumerate().find(is_beyond) {
            return Err(format!(
                "row {row}: `user_row` is {user}, expected less than the number of users in \
                 features, {n_users}"
            ));
        }
        let lists = |name| ListColumn::of(batches, name);
        let (brands, ignored) = (lists("brands"), lists("ignored_brands"));
        brands.check_brands(n_brands)?;
        ignored.check_brands(n_brands)?;
        let weights = batches.iter().map(|batch| columns::f32s(batch, "weight")).collect();
        Ok(Self { inputs, index: BatchIndex::of(batches), user_rows, weights, brands, ignored })
    }
}

impl Examples for TableExamples<'_> {
    fn len(&self) -> usize {
        self.index.n_rows()
    }

    fn gather(&self, rows: &[u32], batch: &mut ExampleBatch) {
        let users = rows.iter().map(|&row| {
            let (part, row) = self.index.find(row as usize);
            self.user_rows[part][row] as usize
        });
        self.inputs.gather(users, &mut batch.inputs);
        batch.clear_labels();
        for &row in rows {
            let row = row as usize;
            let (part, row_in_part) = self.index.find(row);
            batch.push_labels(Labels {
                brands: self.brands.get(row),
                ignored: self.ignored.get(row),
                weight: self.weights[part][row_in_part],
            });
        }
    }
}

/// Users with their brands, as `valid.arrow` has them; no brand is ignored, every weight is 1.
pub struct HoldoutExamples<'a> {
    inputs: Inputs<'a>,
    /// Rows of the table that are taken
    rows: Vec<u32>,
    brands: ListColumn<'a>,
}

impl<'a> HoldoutExamples<'a> {
    /// Every `step`-th user, with the smallest step that takes `n_most` at most.
    ///
    /// # Errors
    ///
    /// The first row with a brand that does not exist.
    pub fn new(
        table: &'a Table,
        inputs: Inputs<'a>,
        n_brands: usize,
        n_most: usize,
    ) -> Result<Self, String> {
        let brands = ListColumn::of(&table.batches, "brands");
        brands.check_brands(n_brands)?;
        let step = brands.len().div_ceil(n_most).max(1);
        let rows = (0..brands.len() as u32).step_by(step).collect();
        Ok(Self { inputs, rows, brands })
    }
}

impl Examples for HoldoutExamples<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn gather(&self, rows: &[u32], batch: &mut ExampleBatch) {
        let users = rows.iter().map(|&row| self.rows[row as usize] as usize);
        self.inputs.gather(users.clone(), &mut batch.inputs);
        batch.clear_labels();
        for user in users {
            let brands = self.brands.get(user);
            batch.push_labels(Labels { brands, ignored: &[], weight: 1.0 });
        }
    }
}

/// Two sources with the same features as one: the rows of the second follow those of the first.
pub struct Chained<'a> {
    /// Rows from 0
    pub first: &'a dyn Examples,
    /// Rows from `first.len()`
    pub second: &'a dyn Examples,
}

impl Examples for Chained<'_> {
    fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    fn gather(&self, rows: &[u32], batch: &mut ExampleBatch) {
        let n_first = self.first.len() as u32;
        let (first_rows, second_rows): (Vec<u32>, Vec<u32>) =
            rows.iter().partition(|&&row| row < n_first);
        let second_rows: Vec<u32> = second_rows.iter().map(|row| row - n_first).collect();
        let [mut first, mut second] = [ExampleBatch::default(), ExampleBatch::default()];
        self.first.gather(&first_rows, &mut first);
        self.second.gather(&second_rows, &mut second);
        let is_second = rows.iter().map(|&row| row >= n_first);
        batch.inputs.merge(&first.inputs, &second.inputs, is_second.clone());
        batch.clear_labels();
        let mut next = [0, 0];
        for from in is_second.map(usize::from) {
            batch.push_labels([&first, &second][from].labels(next[from]));
            next[from] += 1;
        }
    }
}

/// A feature matrix and a 0/1 target matrix in memory, as a `linfa::Dataset` has them.
pub struct ArrayExamples<'a> {
    records: ArrayView2<'a, f32>,
    brands: OwnedLists,
}

impl<'a> ArrayExamples<'a> {
    /// * `records`: `(n_users, n_features)`; `targets`: `(n_users, n_brands)`, each cell 0 or 1.
    ///
    /// # Errors
    ///
    /// Shapes that differ, or a target that is neither 0 nor 1.
    pub fn new(records: ArrayView2<'a, f32>, targets: ArrayView2<f32>) -> Result<Self, String> {
        if records.nrows() != targets.nrows() || records.nrows() == 0 {
            return Err(format!(
                "{} rows of features and {} of targets",
                records.nrows(),
                targets.nrows()
            ));
        }
        if let Some(bad) = targets.iter().find(|&&y| y != 0.0 && y != 1.0) {
            return Err(format!("a target is {bad}, expected 0 or 1"));
        }
        let mut brands = OwnedLists::default();
        let mut of_user = Vec::new();
        for row in targets.rows() {
            of_user.clear();
            of_user.extend((0..).zip(row).filter(|(_, y)| **y == 1.0).map(|(brand, _)| brand));
            brands.push(&of_user);
        }
        Ok(Self { records, brands })
    }
}

impl Examples for ArrayExamples<'_> {
    fn len(&self) -> usize {
        self.brands.len()
    }

    fn gather(&self, rows: &[u32], batch: &mut ExampleBatch) {
        let shape = (rows.len(), self.records.ncols());
        if batch.inputs.dense.dim() != shape {
            batch.inputs.dense = Array2::zeros(shape);
        }
        batch.clear_labels();
        for (mut into, &row) in batch.inputs.dense.rows_mut().into_iter().zip(rows) {
            into.assign(&self.records.row(row as usize));
        }
        for &row in rows {
            let brands = self.brands.get(row as usize);
            batch.push_labels(Labels { brands, ignored: &[], weight: 1.0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn chained_examples_are_those_of_both() {
        let (first, first_targets) =
            (array![[0.0], [1.0], [2.0]], array![[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
        let (second, second_targets) = (array![[10.0], [11.0]], array![[0.0, 0.0], [0.0, 1.0]]);
        let first = ArrayExamples::new(first.view(), first_targets.view()).unwrap();
        let second = ArrayExamples::new(second.view(), second_targets.view()).unwrap();
        let chained = Chained { first: &first, second: &second };
        assert_eq!(chained.len(), 5);
        let mut batch = ExampleBatch::default();
        chained.gather(&[4, 2, 3, 0], &mut batch);
        assert_eq!(batch.inputs.dense, array![[11.0], [2.0], [10.0], [0.0]]);
        let expected: [&[u32]; 4] = [&[1], &[0, 1], &[], &[0]];
        assert_eq!(batch.brands().iter().collect::<Vec<_>>(), expected);
    }
}

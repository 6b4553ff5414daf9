//! Where training examples come from, and batches of them.

use contract::columns::{self, ListSlices};
use contract::ipc::Table;
use model::{Batch, Inputs};
use ndarray::{Array2, ArrayView2};

use crate::loss::Labels;

/// Examples that can be gathered by position.
pub trait Examples: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `rows` into `batch`, in this order, in place of what it held.
    ///
    /// The order matters: rows come shuffled, and of a shuffled batch the first users are a random
    /// draw, which negative sampling relies on.
    fn gather(&self, rows: &[u32], batch: &mut ExampleBatch);
}

/// A batch of examples, reused from update to update.
#[derive(Debug, Default, Clone)]
pub struct ExampleBatch {
    /// Features of their users
    pub inputs: Batch,
    brands: LabelLists,
    ignored: LabelLists,
    weights: Vec<f32>,
}

/// Lists of brands, one after another.
#[derive(Debug, Default, Clone)]
struct LabelLists {
    ends: Vec<usize>,
    brands: Vec<u32>,
}

impl LabelLists {
    fn clear(&mut self) {
        self.ends.clear();
        self.brands.clear();
    }

    fn push(&mut self, brands: &[u32]) {
        self.brands.extend_from_slice(brands);
        self.ends.push(self.brands.len());
    }

    fn get(&self, i: usize) -> &[u32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.brands[start..self.ends[i]]
    }
}

impl ExampleBatch {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Labels of example `i`.
    pub fn labels(&self, i: usize) -> Labels<'_> {
        Labels { brands: self.brands.get(i), ignored: self.ignored.get(i), weight: self.weights[i] }
    }

    /// Forgets the labels; the inputs are overwritten by gathering.
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
    starts: Vec<usize>,
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    user_row: &'a [u32],
    brands: ListSlices<'a, u32>,
    ignored: ListSlices<'a, u32>,
    weight: &'a [f32],
}

impl<'a> TableExamples<'a> {
    /// * `inputs`: the features that `user_row` points into.
    ///
    /// # Errors
    ///
    /// A user row or brand that is not there, by its position.
    pub fn new(examples: &'a Table, inputs: Inputs<'a>, n_brands: usize) -> Result<Self, String> {
        let mut starts = vec![0];
        let mut parts = Vec::new();
        for batch in &examples.batches {
            let part = Part {
                user_row: columns::u32s(batch, "user_row"),
                brands: columns::u32_lists(batch, "brands"),
                ignored: columns::u32_lists(batch, "ignored_brands"),
                weight: columns::f32s(batch, "weight"),
            };
            let start: usize = starts[starts.len() - 1];
            if let Some(row) =
                part.user_row.iter().position(|&row| row as usize >= inputs.n_users())
            {
                return Err(format!(
                    "row {}: `user_row` is {}, but there are {} users in features",
                    start + row,
                    part.user_row[row],
                    inputs.n_users()
                ));
            }
            for lists in [part.brands, part.ignored] {
                check_brands(lists, start, n_brands)?;
            }
            starts.push(start + batch.num_rows());
            parts.push(part);
        }
        Ok(Self { inputs, starts, parts })
    }

    fn part(&self, row: u32) -> (&Part<'a>, usize) {
        let row = row as usize;
        let part = self.starts.partition_point(|&start| start <= row) - 1;
        (&self.parts[part], row - self.starts[part])
    }
}

impl Examples for TableExamples<'_> {
    fn len(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    fn gather(&self, rows: &[u32], batch: &mut ExampleBatch) {
        let users = rows.iter().map(|&row| {
            let (part, row) = self.part(row);
            part.user_row[row] as usize
        });
        self.inputs.gather(users, &mut batch.inputs);
        batch.clear_labels();
        for &row in rows {
            let (part, row) = self.part(row);
            batch.push_labels(Labels {
                brands: part.brands.get(row),
                ignored: part.ignored.get(row),
                weight: part.weight[row],
            });
        }
    }
}

/// * `start`: row of the first list in its table.
fn check_brands(lists: ListSlices<u32>, start: usize, n_brands: usize) -> Result<(), String> {
    let is_wrong = |brands: &[u32]| brands.iter().any(|&brand| brand as usize >= n_brands);
    match lists.iter().position(is_wrong) {
        Some(row) => {
            Err(format!("row {}: a brand is beyond the {n_brands} of brands", start + row))
        }
        None => Ok(()),
    }
}

/// Users with labels, as `valid.arrow` has them; every label counts, with weight 1.
pub struct HoldoutExamples<'a> {
    inputs: Inputs<'a>,
    rows: Vec<u32>,
    starts: Vec<usize>,
    brands: Vec<ListSlices<'a, u32>>,
}

impl<'a> HoldoutExamples<'a> {
    /// Every `step`-th user, so that no more than `n_most` are taken.
    ///
    /// # Errors
    ///
    /// A brand that is not there, by its position.
    pub fn new(
        table: &'a Table,
        inputs: Inputs<'a>,
        n_brands: usize,
        n_most: usize,
    ) -> Result<Self, String> {
        let n_users = table.n_rows();
        let step = n_users.div_ceil(n_most).max(1);
        let mut starts = vec![0];
        let mut brands = Vec::new();
        for batch in &table.batches {
            let lists = columns::u32_lists(batch, "brands");
            let start = starts[starts.len() - 1];
            check_brands(lists, start, n_brands)?;
            starts.push(start + batch.num_rows());
            brands.push(lists);
        }
        Ok(Self { inputs, rows: (0..n_users as u32).step_by(step).collect(), starts, brands })
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
        for row in users {
            let part = self.starts.partition_point(|&start| start <= row) - 1;
            let brands = self.brands[part].get(row - self.starts[part]);
            batch.push_labels(Labels { brands, ignored: &[], weight: 1.0 });
        }
    }
}

/// Two sets of examples with the same features: the rows of the second come after those of the
/// first.
pub struct Chained<'a> {
    /// The first
    pub first: &'a dyn Examples,
    /// The second
    pub second: &'a dyn Examples,
}

impl Examples for Chained<'_> {
    fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    fn gather(&self, rows: &[u32], batch: &mut ExampleBatch) {
        let n_first = self.first.len() as u32;
        let (first_rows, mut second_rows): (Vec<u32>, Vec<u32>) =
            rows.iter().partition(|&&row| row < n_first);
        second_rows.iter_mut().for_each(|row| *row -= n_first);
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
    labels: Vec<Vec<u32>>,
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
        let positions = |row: ndarray::ArrayView1<f32>| {
            row.iter().enumerate().filter(|(_, y)| **y == 1.0).map(|(j, _)| j as u32).collect()
        };
        Ok(Self { records, labels: targets.rows().into_iter().map(positions).collect() })
    }
}

impl Examples for ArrayExamples<'_> {
    fn len(&self) -> usize {
        self.labels.len()
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
            let brands = &self.labels[row as usize];
            batch.push_labels(Labels { brands, ignored: &[], weight: 1.0 });
        }
    }
}

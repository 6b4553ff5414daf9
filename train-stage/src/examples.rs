//! Where training examples come from.

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

    /// Copies the inputs of `rows` into `batch`.
    fn gather(&self, rows: &[u32], batch: &mut Batch);

    /// The labels of one example.
    fn labels(&self, row: u32) -> Labels<'_>;
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
                let is_wrong =
                    |brands: &[u32]| brands.iter().any(|&brand| brand as usize >= n_brands);
                if let Some(row) = lists.iter().position(is_wrong) {
                    return Err(format!(
                        "row {}: a brand is beyond the {n_brands} of brands",
                        start + row
                    ));
                }
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

    fn gather(&self, rows: &[u32], batch: &mut Batch) {
        let users = rows.iter().map(|&row| {
            let (part, row) = self.part(row);
            part.user_row[row] as usize
        });
        self.inputs.gather(users, batch);
    }

    fn labels(&self, row: u32) -> Labels<'_> {
        let (part, row) = self.part(row);
        Labels {
            brands: part.brands.get(row),
            ignored: part.ignored.get(row),
            weight: part.weight[row],
        }
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
    pub fn new(table: &'a Table, inputs: Inputs<'a>, n_most: usize) -> Self {
        let n_users = table.n_rows();
        let step = n_users.div_ceil(n_most).max(1);
        let mut starts = vec![0];
        for batch in &table.batches {
            starts.push(starts[starts.len() - 1] + batch.num_rows());
        }
        let brands =
            table.batches.iter().map(|batch| columns::u32_lists(batch, "brands")).collect();
        Self { inputs, rows: (0..n_users as u32).step_by(step).collect(), starts, brands }
    }
}

impl Examples for HoldoutExamples<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn gather(&self, rows: &[u32], batch: &mut Batch) {
        self.inputs.gather(rows.iter().map(|&row| self.rows[row as usize] as usize), batch);
    }

    fn labels(&self, row: u32) -> Labels<'_> {
        let row = self.rows[row as usize] as usize;
        let part = self.starts.partition_point(|&start| start <= row) - 1;
        Labels { brands: self.brands[part].get(row - self.starts[part]), ignored: &[], weight: 1.0 }
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

    fn gather(&self, rows: &[u32], batch: &mut Batch) {
        batch.dense = Array2::zeros((rows.len(), self.records.ncols()));
        for (mut into, &row) in batch.dense.rows_mut().into_iter().zip(rows) {
            into.assign(&self.records.row(row as usize));
        }
    }

    fn labels(&self, row: u32) -> Labels<'_> {
        Labels { brands: &self.labels[row as usize], ignored: &[], weight: 1.0 }
    }
}

//! Users whose brands are known, and what the last hidden layer makes of them.

use contract::columns;
use contract::exit::DataError;
use contract::ipc::{self, Table};
use contract::tables::EXAMPLES;
use model::{Batch, Inputs, Kind, Mlp, Model, Workspace};
use ndarray::ArrayView2;

use crate::labels::Labels;
use crate::split::{BATCH, Split};

/// A group of users with their brands: training users, or after a refit the valid users.
pub struct KnownUsers<'a> {
    /// Their features
    pub inputs: &'a Inputs<'a>,
    /// Of each user the row of the inputs, and the brands
    pub rows: Vec<(u32, &'a [u32])>,
}

impl<'a> KnownUsers<'a> {
    /// The users of a sample: each once, as their first example that is no clone.
    ///
    /// # Errors
    ///
    /// A user or a brand that does not exist.
    pub fn of_examples(
        examples: &'a Table,
        inputs: &'a Inputs<'a>,
        n_brands: usize,
    ) -> Result<Self, ipc::Error> {
        let n_users = inputs.n_users();
        let labels = Labels::of(examples, &EXAMPLES, n_brands)?;
        let batches = || examples.batches.iter();
        let user_rows = batches().flat_map(|batch| columns::u32s(batch, "user_row"));
        let is_clone = batches().flat_map(|batch| columns::bools(batch, "is_clone").values());
        let mut rows = Vec::new();
        let mut is_known = vec![false; n_users];
        for (example, ((&row, is_clone), labels)) in
            user_rows.zip(is_clone).zip(labels.iter()).enumerate()
        {
            if is_clone {
                continue;
            }
            if row as usize >= n_users {
                let found = format!(
                    "row {example}: `user_row` is {row}, expected a row below the number of users \
                     in `features`, {n_users}"
                );
                return Err(examples.broken(&EXAMPLES, found));
            }
            if !std::mem::replace(&mut is_known[row as usize], true) {
                rows.push((row, labels));
            }
        }
        Ok(Self { inputs, rows })
    }

    /// All users of a split.
    pub fn of_split(split: &'a Split<'a>) -> Self {
        Self { inputs: &split.inputs, rows: (0..).zip(split.labels.iter()).collect() }
    }
}

/// The network of a model, and the width of its last hidden layer.
///
/// # Errors
///
/// If the model has no hidden layer.
pub fn network(model: &Model) -> Result<(&Mlp, usize), DataError> {
    if let Kind::Mlp(mlp) = &model.kind
        && let Some(n_hidden) = mlp.hidden_width().filter(|&n_hidden| n_hidden > 0)
    {
        return Ok((mlp, n_hidden));
    }
    let what = "`score.memory` needs a network with a hidden layer; see `train.hidden`";
    Err(DataError(what.to_owned()))
}

/// Calls `each` with the last hidden layer `(n_users, n_hidden)` of every batch of users, in order.
pub fn for_each_hidden(mlp: &Mlp, users: &[KnownUsers], mut each: impl FnMut(ArrayView2<f32>)) {
    let mut batch = Batch::default();
    let mut workspace = Workspace::default();
    for part in users {
        for rows in part.rows.chunks(BATCH) {
            part.inputs.gather(rows.iter().map(|&(row, _)| row as usize), &mut batch);
            mlp.forward_hidden(&batch, &mut workspace, None);
            each(workspace.hidden[workspace.hidden.len() - 1].view());
        }
    }
}

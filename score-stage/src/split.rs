//! A split of the holdout, ready to be scored.

use anyhow::Result;
use arrow::array::ArrayRef;
use contract::exit::DataError;
use contract::ipc::Table;
use contract::tables::HOLDOUT;
use model::{Inputs, Model};

use crate::labels::Labels;

/// Users that go through the model at a time: the logits of 4,096 x 3,000 brands are 49 MB.
pub const BATCH: usize = 4096;

/// The users of valid or test.
pub struct Split<'a> {
    /// Their features
    pub inputs: Inputs<'a>,
    /// Their brands
    pub labels: Labels<'a>,
    /// Their ids, `Int64` or `Utf8`
    pub ids: ArrayRef,
}

impl<'a> Split<'a> {
    /// The users of `valid.arrow` or `test.arrow` as the model reads them.
    ///
    /// # Errors
    ///
    /// A feature that the table does not have, or a brand that the model does not have.
    pub fn of(table: &'a Table, model: &Model) -> Result<Self> {
        Ok(Self {
            inputs: model.inputs(table).map_err(DataError)?,
            labels: Labels::of(table, &HOLDOUT, model.brand_ids.len())?,
            ids: table.whole_column("user_id")?,
        })
    }

    /// Number of users.
    pub fn n_users(&self) -> usize {
        self.inputs.n_users()
    }
}

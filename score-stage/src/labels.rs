//! The brands that users have, as a table's column `brands`.

use contract::columns::ListColumn;
use contract::ipc::{self, Table};
use contract::tables::Contract;
use metrics::OwnedLists;

/// Lists of brands that the model knows, one a row: holding one proves that they were checked.
pub struct Labels<'a>(ListColumn<'a>);

impl<'a> Labels<'a> {
    /// The column `brands` of a table.
    ///
    /// # Errors
    ///
    /// The first row with a brand that is not below `n_brands`.
    pub fn of(table: &'a Table, contract: &Contract, n_brands: usize) -> Result<Self, ipc::Error> {
        let column = ListColumn::of(&table.batches, "brands");
        column.check_brands(n_brands).map_err(|found| table.broken(contract, found))?;
        Ok(Self(column))
    }

    /// The brands of every row, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u32]> {
        self.0.iter()
    }

    /// The brands of some rows.
    pub fn of_rows(&self, rows: &[usize]) -> OwnedLists {
        rows.iter().map(|&row| self.0.get(row)).collect()
    }
}

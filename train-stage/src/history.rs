//! `history.arrow`: one row an epoch.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, UInt32Array};
use arrow::datatypes::Field;
use contract::tables::{HISTORY, Kind};
use train_stage::trainer::Epoch;
use train_stage::validation::Figures;

/// An epoch and how good the network was after it.
pub struct Row {
    /// The epoch
    pub epoch: Epoch,
    /// On the valid users
    pub valid: Figures,
}

/// Arrow fields of the table.
pub fn fields() -> Vec<Field> {
    let field = |c: &contract::tables::Column| {
        Field::new(c.name, c.kind.data_type(), c.kind == Kind::NullableF64)
    };
    HISTORY.columns.iter().map(field).collect()
}

/// The table's columns.
pub fn columns(rows: &[Row]) -> Vec<ArrayRef> {
    let f64s = |value: &dyn Fn(&Row) -> f64| -> ArrayRef {
        Arc::new(rows.iter().map(|r| Some(value(r))).collect::<Float64Array>())
    };
    let options = |value: &dyn Fn(&Row) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<Float64Array>())
    };
    vec![
        Arc::new(rows.iter().map(|row| row.epoch.epoch).collect::<UInt32Array>()),
        f64s(&|row| row.epoch.train_loss),
        f64s(&|row| row.valid.loss),
        options(&|row| row.valid.macro_f1),
        options(&|row| row.valid.user_f1),
        f64s(&|row| row.epoch.rows_per_s),
        f64s(&|row| row.epoch.secs),
    ]
}

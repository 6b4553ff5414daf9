//! Tables that other stages wrote, as tables of a DataFusion session.

use std::sync::Arc;

use anyhow::Result;
use contract::ipc::Table;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::lit;
use datafusion::prelude::SessionContext;

use crate::as_of::AS_OF;

/// A table that another stage wrote, with a column `as_of` in any case, so that a query may pass it on:
/// without dates it is the same day in all rows, 1970-01-01.
///
/// * `table`: as a table of the session.
///
/// # Errors
///
/// If the name is taken.
pub fn register_dated(
    session: &SessionContext,
    name: &str,
    table: Arc<dyn TableProvider>,
) -> Result<()> {
    if table.schema().field_with_name(AS_OF).is_ok() {
        session.register_table(name, table)?;
        return Ok(());
    }
    let no_date = lit(ScalarValue::Date32(Some(0)));
    let frame = session.read_table(table)?.with_column(AS_OF, no_date)?;
    session.register_table(name, frame.into_view())?;
    Ok(())
}

/// A table that another stage wrote, without copying its columns.
///
/// # Errors
///
/// None that a table between stages can cause.
pub fn in_memory(table: &Table) -> Result<MemTable> {
    let (schema, batches) = without_metadata(table)?;
    Ok(MemTable::try_new(schema, vec![batches])?)
}

/// Columns and rows of a table; `DataFusion` cannot join tables with different metadata.
///
/// # Errors
///
/// None that a table between stages can cause.
pub fn without_metadata(table: &Table) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let schema = Arc::new(table.schema.as_ref().clone().with_metadata([].into()));
    let strip =
        |batch: &RecordBatch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec());
    let batches = table.batches.iter().map(strip).collect::<Result<_, _>>()?;
    Ok((schema, batches))
}

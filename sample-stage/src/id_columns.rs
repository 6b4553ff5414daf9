//! Id columns of raw tables: sorted, without duplicates, as `Int64` or `Utf8`.

use std::sync::Arc;

use anyhow::Result;
use contract::exit::DataError;
use contract::ids::{self, IdIndex, IdKind};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::{cast, concat, sort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf, ident};

use crate::raw::RawTables;

/// All ids of a table, sorted and distinct, with another column.
pub struct SortedIds {
    pub ids: ArrayRef,
    /// In order of the ids
    pub other: Option<StringArray>,
    pub index: IdIndex,
}

/// Reads `column` and, as text, `other`; no id may be null or appear twice.
pub async fn sorted_ids(
    raw: &RawTables,
    frame: DataFrame,
    table: &str,
    column: &str,
    other: Option<&str>,
) -> Result<SortedIds> {
    let schema = frame.schema().as_arrow().clone();
    let found = column_type(&schema, table, column)?;
    if found != DataType::Null {
        IdKind::of(&found).map_err(|err| raw.bad_ids(table, column, &err))?;
    }
    let mut wanted = vec![ident(column)];
    if let Some(other) = other {
        column_type(&schema, table, other)?;
        wanted.push(ident(other));
    }
    let batches = raw.collect(frame.select(wanted)?, table).await?;
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        return Err(DataError(format!("{table}: no rows found")).into());
    }
    let parts: Vec<&ArrayRef> = batches.iter().map(|batch| batch.column(0)).collect();
    let all = ids::whole(&parts).map_err(|err| err.at(table, column))?;
    let order = sort_to_indices(&all, None, None)?;
    let ids = take(&all, &order, None)?;
    let index = ids::index(table, column, &ids, found)?;
    let other = match other {
        Some(_) => {
            let others: Vec<ArrayRef> = batches
                .iter()
                .map(|batch| cast(batch.column(1), &DataType::Utf8))
                .collect::<Result<_, _>>()?;
            let others: Vec<&dyn Array> = others.iter().map(AsRef::as_ref).collect();
            Some(take(&concat(&others)?, &order, None)?.as_string::<i32>().clone())
        }
        None => None,
    };
    Ok(SortedIds { ids, other, index })
}

/// The frame with its id column converted to `Int64` or `Utf8`.
pub fn with_stored_ids(frame: DataFrame, column: &str, to: &DataType) -> Result<DataFrame> {
    let found = frame.schema().field_with_unqualified_name(column)?.data_type().clone();
    if found == *to {
        return Ok(frame);
    }
    let stored = to.clone();
    let convert = move |arguments: &[ColumnarValue]| {
        let ids = ColumnarValue::values_to_arrays(arguments)?.swap_remove(0);
        let ids = ids::convert(&ids, &stored);
        Ok(ColumnarValue::Array(ids.map_err(|err| DataFusionError::External(err.into()))?))
    };
    let stored_id =
        create_udf("stored_id", vec![found], to.clone(), Volatility::Immutable, Arc::new(convert));
    Ok(frame.with_column(column, stored_id.call(vec![ident(column)]))?)
}

/// The type of a column.
///
/// # Errors
///
/// If it is missing, with the columns there are.
pub fn column_type(schema: &Schema, table: &str, column: &str) -> Result<DataType, DataError> {
    let field = schema.field_with_name(column).map_err(|_| {
        let found: Vec<_> = schema.fields().iter().map(|f| format!("`{}`", f.name())).collect();
        DataError(format!("{table}: column `{column}` is missing; found {}", found.join(", ")))
    })?;
    Ok(field.data_type().clone())
}

//! Id columns of raw tables: sorted, without duplicates, as `Int64` or `Utf8`.

use std::sync::Arc;

use anyhow::Result;
use contract::exit::DataError;
use contract::ids::{self, IdIndex, IdKind, Ids};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use datafusion::arrow::compute::{cast, concat, sort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf, ident};
use futures::StreamExt as _;
use rayon::prelude::*;

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
    let mut stream = raw.stream(frame.select(wanted)?, table).await?;
    let (mut all, mut others) = (Ids::default(), Vec::new());
    let mut n_rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        n_rows += batch.num_rows();
        all.add(batch.column(0)).map_err(|err| err.at(table, column))?;
        if other.is_some() {
            others.push(cast(batch.column(1), &DataType::Utf8)?);
        }
    }
    if n_rows == 0 {
        return Err(DataError(format!("{table}: no rows found")).into());
    }
    let all = all.finish().map_err(|err| err.at(table, column))?;
    let (ids, other) = if other.is_some() {
        let order = sort_to_indices(&all, None, None)?;
        let others: Vec<&dyn Array> = others.iter().map(AsRef::as_ref).collect();
        let other = take(&concat(&others)?, &order, None)?.as_string::<i32>().clone();
        (take(&all, &order, None)?, Some(other))
    } else {
        (sorted(all)?, None)
    };
    let index = ids::index(table, column, &ids, found)?;
    Ok(SortedIds { ids, other, index })
}

/// Ids in order; numbers are sorted in place.
fn sorted(ids: ArrayRef) -> Result<ArrayRef> {
    if *ids.data_type() != DataType::Int64 {
        let order = sort_to_indices(&ids, None, None)?;
        return Ok(take(&ids, &order, None)?);
    }
    let (_, numbers, _) = ids.as_primitive::<Int64Type>().clone().into_parts();
    drop(ids);
    let mut numbers: Vec<i64> = numbers.into_inner().into_vec().expect("nothing else holds them");
    numbers.par_sort_unstable();
    Ok(Arc::new(Int64Array::from(numbers)))
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

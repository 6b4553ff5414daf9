//! Rows of a sampling query -> columns of `examples`.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use contract::columns::ListBuilder;
use contract::exit::DataError;
use contract::ids::{IdError, IdIndex, convert, shown};
use contract::source_features::list_item;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, ListArray, RecordBatch,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Int64Type, Schema};

use crate::as_of::AS_OF;
use crate::query::Query;
use crate::user_rows::{Unknown, UserRows};

/// Columns that are read.
const READ: [&str; 6] = ["user_id", "as_of", "brands", "weight", "is_clone", "ignored_brands"];

/// Whether a column's type fits.
type Fits<'a> = &'a dyn Fn(&DataType) -> bool;

/// Checks rows of a query and converts them.
pub struct Converter {
    /// The query, for messages
    pub query: Query,
    /// Training users
    pub users: UserRows,
    /// Brands
    pub brands: IdIndex,
}

impl Converter {
    /// Warns of columns that are not read.
    pub fn warn_of_unused(&self, found: &Schema) {
        let names = found.fields().iter().map(|field| field.name().as_str());
        for warning in contract::unused("column", names, READ) {
            contract::warn_line!("warning: {}: {warning}", self.query.path().display());
        }
    }

    /// Checks the columns that a query returns, before it runs.
    ///
    /// # Errors
    ///
    /// A column that is missing or of a wrong type.
    pub fn check_columns(&self, found: &Schema) -> Result<(), DataError> {
        let names: Vec<_> = found.fields().iter().map(|f| format!("`{}`", f.name())).collect();
        let kind = |name: &str| found.field_with_name(name).ok().map(Field::data_type);
        for required in ["user_id", "brands"] {
            if kind(required).is_none() {
                return Err(self.query.fail(format!(
                    "the query returns no column `{required}`; it returns {}",
                    names.join(", ")
                )));
            }
        }
        let is_ids = |t: &DataType| *t == DataType::Null || list_item(t).is_some();
        let checks: [(&str, Fits, &str); 4] = [
            ("brands", &is_ids, "a list of brand ids"),
            ("ignored_brands", &is_ids, "a list of brand ids"),
            ("weight", &DataType::is_numeric, "a number"),
            ("is_clone", &|t| *t == DataType::Boolean, "`Boolean`"),
        ];
        for (name, fits, expected) in checks {
            if let Some(found) = kind(name).filter(|found| !fits(found)) {
                return Err(self
                    .query
                    .fail(format!("column `{name}` is `{found}`, expected {expected}")));
            }
        }
        self.users.check_columns(found).map_err(|unknown| self.unknown(unknown))?;
        let id_columns = [
            ("brands", &self.brands, kind("brands").and_then(list_item)),
            ("ignored_brands", &self.brands, kind("ignored_brands").and_then(list_item)),
        ];
        for (name, ids, found) in id_columns {
            if let Some(found) = found.filter(|found| **found != DataType::Null) {
                ids.check_type(found).map_err(|err| self.bad_ids(name, &err))?;
            }
        }
        Ok(())
    }

    /// The columns of `examples`, in the contract's order.
    ///
    /// # Errors
    ///
    /// An unknown user or brand, an invalid weight, a null: the column and the first such value.
    pub fn convert(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let n = batch.num_rows();
        let column = |name: &str| batch.column_by_name(name);
        let weight: ArrayRef = match column("weight") {
            Some(weight) => self.weights(weight)?,
            None => Arc::new(Float32Array::from(vec![1.0; n])),
        };
        let is_clone: ArrayRef = match column("is_clone") {
            Some(flags) if flags.null_count() > 0 => {
                return Err(self
                    .query
                    .fail("column `is_clone` holds nulls, expected true or false")
                    .into());
            }
            Some(flags) => flags.clone(),
            None => Arc::new(BooleanArray::from(vec![false; n])),
        };
        let brands = self.brand_lists(column("brands"), n, "brands")?;
        let ignored = self.brand_lists(column("ignored_brands"), n, "ignored_brands")?;
        let ids = column("user_id").expect("checked before");
        let users = self.users.find(ids, column(AS_OF)).map_err(|unknown| self.unknown(unknown))?;
        Ok(vec![users, brands, ignored, weight, is_clone])
    }

    fn unknown(&self, unknown: Unknown) -> DataError {
        match unknown {
            Unknown::Ids(err) => self.bad_ids("user_id", &err),
            Unknown::Column(column, what) => {
                let colon = if what.starts_with("found") { ":" } else { "" };
                self.query.fail(format!("column `{column}`{colon} {what}"))
            }
        }
    }

    fn bad_ids(&self, column: &str, err: &IdError) -> DataError {
        err.at(&self.query.path().display().to_string(), column)
    }

    fn weights(&self, column: &ArrayRef) -> Result<ArrayRef> {
        let weights = cast(column, &DataType::Float32)?;
        let values = weights.as_primitive::<Float32Type>();
        let is_good = |row: usize| {
            values.is_valid(row) && values.value(row) >= 0.0 && values.value(row).is_finite()
        };
        if let Some(row) = (0..values.len()).find(|&row| !is_good(row)) {
            let found = shown(column, row);
            let message =
                format!("column `weight`: found {found}, expected a finite number of at least 0");
            return Err(self.query.fail(message).into());
        }
        Ok(weights)
    }

    /// Positions of brands, in order, each once. A null list is an empty one: a user without brands.
    fn brand_lists(&self, column: Option<&ArrayRef>, n: usize, name: &str) -> Result<ArrayRef> {
        let mut built = ListBuilder::<u32>::default();
        let list: Option<ListArray> = match column {
            Some(column) if *column.data_type() != DataType::Null => {
                Some(self.stored_brands(column).map_err(|err| self.bad_ids(name, &err))?)
            }
            _ => None,
        };
        let Some(list) = list else {
            (0..n).for_each(|_| built.push(&[]));
            return Ok(built.finish());
        };
        let range =
            |row: usize| list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
        let mut brands: Vec<u32> = Vec::new(); // of the last list that was looked up
        let mut looked_up = 0..0;
        for row in 0..n {
            if list.is_null(row) || range(row).is_empty() {
                built.push(&[]);
                continue;
            }
            // Clones of a user follow each other and have the same list.
            if !is_same(list.values(), looked_up.clone(), range(row)) {
                looked_up = range(row);
                let ids = list.values().slice(looked_up.start, looked_up.len());
                brands.clear();
                let positions =
                    self.brands.positions(&ids).map_err(|err| self.bad_ids(name, &err))?;
                for (i, position) in positions.into_iter().enumerate() {
                    let Some(brand_idx) = position else {
                        let found = shown(&written(column, row)?, i);
                        let message = format!(
                            "column `{name}`: found {found}, expected ids of the table brands"
                        );
                        return Err(self.query.fail(message).into());
                    };
                    brands.push(brand_idx);
                }
                brands.sort_unstable();
                brands.dedup();
            }
            built.push(&brands);
        }
        Ok(built.finish())
    }

    /// Lists of brand ids, `Int64` or `Utf8`.
    fn stored_brands(&self, lists: &ArrayRef) -> Result<ListArray, IdError> {
        let item = list_item(lists.data_type()).expect("checked before the query ran");
        let lists = cast(lists, &DataType::new_list(item.clone(), true))?;
        let (_, offsets, ids, nulls) = lists.as_list::<i32>().clone().into_parts();
        let to = self.brands.data_type();
        // A list without any value has no type of its own.
        let ids =
            if *ids.data_type() == DataType::Null { cast(&ids, &to)? } else { convert(&ids, &to)? };
        let field = Arc::new(Field::new_list_field(to, true));
        Ok(ListArray::try_new(field, offsets, ids, nulls)?)
    }
}

/// The ids of one row of a list column as the query returned them, before any cast.
fn written(lists: Option<&ArrayRef>, row: usize) -> Result<ArrayRef> {
    let lists = lists.expect("an id of it was looked up");
    let item = list_item(lists.data_type()).expect("checked before the query ran");
    let lists = cast(lists, &DataType::new_list(item.clone(), true))?;
    Ok(lists.as_list::<i32>().value(row))
}

/// Whether two stretches of an id column, `Int64` or `Utf8`, hold the same.
fn is_same(ids: &ArrayRef, a: Range<usize>, b: Range<usize>) -> bool {
    if a.len() != b.len() || ids.null_count() > 0 {
        return false;
    }
    if *ids.data_type() == DataType::Int64 {
        let ids = ids.as_primitive::<Int64Type>().values();
        return ids[a] == ids[b];
    }
    let ids = ids.as_string::<i32>();
    let text = |range: &Range<usize>| {
        let offsets = ids.value_offsets();
        &ids.value_data()[offsets[range.start] as usize..offsets[range.end] as usize]
    };
    text(&a) == text(&b) && a.zip(b).all(|(i, j)| ids.value_length(i) == ids.value_length(j))
}

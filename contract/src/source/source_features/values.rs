//! Values of feature columns, checked and converted: vectors of numbers and lists of ids.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, ListArray, RecordBatch,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type};
use arrow::util::display::array_value_to_string;

use super::brands::BrandPositions;
use crate::columns::ListBuilder;
use crate::exit::DataError;

/// Largest id of a list feature: `model.arrow` keeps ids in 32-bit floats, which hold it exactly.
pub const MAX_ID: i64 = 16_777_215;

/// The column and batch of a value, for messages.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) users: &'a RecordBatch,
    pub(super) column: &'a str,
}

impl Place<'_> {
    pub(super) fn fail(self, row: usize, what: impl AsRef<str>) -> DataError {
        let ids = self.users.column_by_name("user_id").expect("every users batch has it");
        let user = array_value_to_string(ids, row).unwrap_or_default();
        DataError(format!("users: column `{}`: user `{user}`: {}", self.column, what.as_ref()))
    }
}

/// The type of a list's items; `None` for any other type.
pub fn list_item(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type())
        }
        _ => None,
    }
}

pub(super) fn as_list(array: &ArrayRef) -> Result<ListArray> {
    let item = list_item(array.data_type()).expect("checked when the column was matched");
    let list = cast(array, &DataType::new_list(item.clone(), true))?;
    Ok(list.as_list::<i32>().clone())
}

pub(super) fn dense(
    array: &ArrayRef,
    (dim, length_of): (usize, &str),
    at: Place,
) -> Result<ArrayRef> {
    let (values, offsets): (ArrayRef, Option<ListArray>) = if list_item(array.data_type()).is_none()
    {
        (cast(array, &DataType::Float32)?, None)
    } else {
        let list = as_list(array)?;
        (cast(list.values(), &DataType::Float32)?, Some(list))
    };
    let values = values.as_primitive::<Float32Type>();
    let mut first = None; // of all values; those of a row follow those of the row before
    for row in 0..array.len() {
        if array.is_null(row) {
            return Err(at.fail(row, "found null, expected a value for every user").into());
        }
        let range = offsets.as_ref().map_or(row..row + 1, |list| {
            list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize
        });
        if range.len() != dim {
            let found = format!("found a vector of {}, expected {dim} as {length_of}", range.len());
            return Err(at.fail(row, found).into());
        }
        first.get_or_insert(range.start);
        let of_row = &values.values()[range.clone()];
        // All of a row at once, which is faster than one after the other.
        if values.null_count() == 0 && of_row.iter().fold(true, |all, x| all & x.is_finite()) {
            continue;
        }
        let bad = range.into_iter().find(|&i| values.is_null(i) || !values.value(i).is_finite());
        if let Some(i) = bad {
            let found =
                if values.is_null(i) { "null".to_owned() } else { values.value(i).to_string() };
            return Err(at.fail(row, format!("found {found}, expected finite numbers")).into());
        }
    }
    let flat = values.values().slice(first.unwrap_or(0), array.len() * dim);
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    Ok(Arc::new(FixedSizeListArray::try_new(
        item,
        dim as i32,
        Arc::new(Float32Array::new(flat, None)),
        None,
    )?))
}

/// Converts a list of ids, and their weights if they have some. Ids of brands become positions, and
/// those that are not kept are left out; other ids stay as they are. A null list is an empty one.
pub(super) fn sparse(
    array: &ArrayRef,
    weights: Option<&ArrayRef>,
    brands: Option<&BrandPositions>,
    at: Place,
) -> Result<Vec<ArrayRef>> {
    let list = as_list(array)?;
    let ids = match brands {
        Some(brands) => brand_positions(&list, brands, at)?,
        None => own_ids(&list, at)?,
    };
    let weights = weights.map(Weights::of).transpose()?;
    let mut kept_ids = ListBuilder::<u32>::default();
    let mut kept_weights = ListBuilder::<f32>::default();
    let (mut row_ids, mut row_weights) = (Vec::new(), Vec::new());
    for row in 0..list.len() {
        row_ids.clear();
        row_weights.clear();
        if let Some(weights) = &weights {
            weights.check_number(row, items(&list, row).len(), at)?;
        }
        for (i, place) in items(&list, row).enumerate() {
            let Some(id) = ids[place] else { continue };
            row_ids.push(id);
            if let Some(weights) = &weights {
                row_weights.push(weights.get(row, i, at)?);
            }
        }
        kept_ids.push(&row_ids);
        kept_weights.push(&row_weights);
    }
    let mut columns = vec![kept_ids.finish()];
    if weights.is_some() {
        columns.push(kept_weights.finish());
    }
    Ok(columns)
}

/// Places of a row's items among the values of a list column; none of a null list.
fn items(list: &ListArray, row: usize) -> Range<usize> {
    let start = list.value_offsets()[row] as usize;
    let n = if list.is_null(row) { 0 } else { list.value_length(row) as usize };
    start..start + n
}

/// `brand_idx` of each value of a list column; `None` where the brand is unknown or not kept.
fn brand_positions(
    list: &ListArray,
    brands: &BrandPositions,
    at: Place,
) -> Result<Vec<Option<u32>>> {
    for row in (0..list.len()).filter(|&row| list.is_valid(row)) {
        if list.value(row).logical_null_count() > 0 {
            return Err(at.fail(row, "found null in its list, expected brand ids").into());
        }
    }
    Ok(brands.positions(list.values()).map_err(|err| err.at("users", at.column))?)
}

/// Each value of a list column, which must be an id from 0 to [`MAX_ID`].
fn own_ids(list: &ListArray, at: Place) -> Result<Vec<Option<u32>>> {
    let found = list.values();
    let ids = cast(found, &DataType::Int64)?; // null where one does not fit
    let ids = ids.as_primitive::<Int64Type>();
    for row in 0..list.len() {
        for i in items(list, row) {
            if ids.is_null(i) || !(0..=MAX_ID).contains(&ids.value(i)) {
                let found = array_value_to_string(found, i)?;
                let found = if found.is_empty() { "null" } else { &found };
                let message = format!("found id {found}, expected 0 to {MAX_ID}");
                return Err(at.fail(row, message).into());
            }
        }
    }
    Ok(ids.values().iter().map(|&id| Some(id as u32)).collect())
}

/// Weights of a list's ids: a list with as many numbers.
struct Weights {
    list: ListArray,
    values: Float32Array,
}

impl Weights {
    fn of(weights: &ArrayRef) -> Result<Self> {
        let list = as_list(weights)?;
        let values = cast(list.values(), &DataType::Float32)?;
        Ok(Self { values: values.as_primitive().clone(), list })
    }

    fn check_number(&self, row: usize, n_ids: usize, at: Place) -> Result<(), DataError> {
        let n = items(&self.list, row).len();
        if n == n_ids {
            return Ok(());
        }
        Err(at.fail(row, format!("found {n_ids} ids and {n} weights, expected as many")))
    }

    /// The weight of the `i`th id of a row.
    fn get(&self, row: usize, i: usize, at: Place) -> Result<f32, DataError> {
        let place = items(&self.list, row).start + i;
        let weight = self.values.is_valid(place).then(|| self.values.value(place));
        let weight = weight.filter(|weight| weight.is_finite());
        weight.ok_or_else(|| at.fail(row, "found a weight that is null or not finite"))
    }
}

//! Feature columns of users as the source has them -> as the tables between stages have them.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, ListArray, RecordBatch,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, Schema};
use arrow::util::display::array_value_to_string;

use crate::cli::DataError;
use crate::columns::ListBuilder;
use crate::features::{Feature, FeatureKind};
use crate::ids::{IdError, IdIndex};
use crate::manifest::{FeatureSource, IdSpace};

/// Ids of a list feature are rows of a weight matrix, so they must be small.
const MAX_ID: i64 = 16_777_215;

/// A feature of the manifest, matched to its column.
pub struct FeatureColumn {
    source: String,
    weights: Option<String>,
    /// As the tables between stages have it
    pub feature: Feature,
}

/// Matches the manifest's features to the columns of users; `first` has at least one user.
///
/// # Errors
///
/// A column that is not there or that is no number, vector or list of ids.
pub fn match_columns(
    features: &[FeatureSource],
    first: &RecordBatch,
) -> Result<Vec<FeatureColumn>, DataError> {
    features.iter().map(|feature| match_column(feature, first)).collect()
}

/// Checks that the columns are there, before any row is read.
///
/// # Errors
///
/// The features whose column is missing, and the columns there are.
pub fn check_present(features: &[FeatureSource], users: &Schema) -> Result<(), DataError> {
    let is_there = |name: &str| users.field_with_name(name).is_ok();
    let missing: Vec<String> = features
        .iter()
        .flat_map(|feature| [Some(feature.column().to_owned()), feature.options().weights])
        .flatten()
        .filter(|name| !is_there(name))
        .map(|name| format!("`{name}`"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let found: Vec<_> = users.fields().iter().map(|f| format!("`{}`", f.name())).collect();
    Err(DataError(format!(
        "users: `data.features` names {}, but the columns are {}",
        missing.join(", "),
        found.join(", ")
    )))
}

fn match_column(source: &FeatureSource, first: &RecordBatch) -> Result<FeatureColumn, DataError> {
    let options = source.options();
    let name = options.column;
    let array = first.column_by_name(&name).expect("checked by `check_present`");
    let is_brands = options.ids == IdSpace::Brands;
    let kind = match array.data_type() {
        t if (t.is_numeric() || *t == DataType::Boolean) && !is_brands => {
            FeatureKind::Dense { dim: 1 }
        }
        t => match list_item(t) {
            Some(item) if item.is_floating() && !is_brands => {
                let dim = first_length(array).ok_or_else(|| {
                    DataError(format!("users: column `{name}` is null for the first user; every user needs a vector"))
                })?;
                FeatureKind::Dense { dim }
            }
            Some(item) if item.is_integer() || is_brands || *item == DataType::Null => {
                FeatureKind::Sparse { is_weighted: options.weights.is_some(), ids: options.ids }
            }
            _ => {
                let expected = if is_brands {
                    "a list of brand ids"
                } else {
                    "a number, a list of floats (a vector) or a list of whole numbers (ids)"
                };
                return Err(DataError(format!(
                    "users: column `{name}` is `{t}`, expected {expected}"
                )));
            }
        },
    };
    if options.weights.is_some() && matches!(kind, FeatureKind::Dense { .. }) {
        return Err(DataError(format!(
            "users: feature `{name}` has `weights`, but is no list of ids"
        )));
    }
    Ok(FeatureColumn {
        source: name.clone(),
        weights: options.weights,
        feature: Feature { name, kind },
    })
}

/// The type of a list's items; `None` for what is no list.
pub fn list_item(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type())
        }
        _ => None,
    }
}

fn first_length(array: &ArrayRef) -> Option<usize> {
    let list = as_list(array).ok()?;
    list.is_valid(0).then(|| list.value_length(0) as usize)
}

fn as_list(array: &ArrayRef) -> Result<ListArray> {
    let item = list_item(array.data_type()).expect("checked when the column was matched");
    let list = cast(array, &DataType::new_list(item.clone(), true))?;
    Ok(list.as_list::<i32>().clone())
}

impl FeatureColumn {
    /// Columns of users that the feature uses up.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        [Some(self.source.as_str()), self.weights.as_deref()].into_iter().flatten()
    }

    /// The feature of a batch of users. `brands` gives the position of each kept brand's id.
    ///
    /// # Errors
    ///
    /// A null, a number that is not finite, a vector of another length, an id that is
    /// negative or too large, with the first user it belongs to.
    pub fn convert(&self, users: &RecordBatch, brands: &BrandPositions) -> Result<Vec<ArrayRef>> {
        let column = |name: &str| users.column_by_name(name).expect("checked by `check_present`");
        let at = Place { users, column: &self.source };
        match self.feature.kind {
            FeatureKind::Dense { dim } => Ok(vec![dense(column(&self.source), dim, at)?]),
            FeatureKind::Sparse { ids, .. } => {
                let weights = self.weights.as_ref().map(|name| column(name));
                sparse(
                    column(&self.source),
                    weights,
                    (ids == IdSpace::Brands).then_some(brands),
                    at,
                )
            }
        }
    }
}

/// Where a message's value stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    users: &'a RecordBatch,
    column: &'a str,
}

impl Place<'_> {
    fn fail(self, row: usize, what: impl AsRef<str>) -> DataError {
        let ids = self.users.column_by_name("user_id").expect("every users batch has it");
        let user = array_value_to_string(ids, row).unwrap_or_default();
        DataError(format!("users: column `{}`: user `{user}`: {}", self.column, what.as_ref()))
    }
}

fn dense(array: &ArrayRef, dim: usize, at: Place) -> Result<ArrayRef> {
    let (values, offsets): (ArrayRef, Option<ListArray>) = if list_item(array.data_type()).is_none()
    {
        (cast(array, &DataType::Float32)?, None)
    } else {
        let list = as_list(array)?;
        (cast(list.values(), &DataType::Float32)?, Some(list))
    };
    let values = values.as_primitive::<Float32Type>();
    let mut flat = Vec::with_capacity(array.len() * dim);
    for row in 0..array.len() {
        if array.is_null(row) {
            return Err(at.fail(row, "found null, expected a value for every user").into());
        }
        let range = offsets.as_ref().map_or(row..row + 1, |list| {
            list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize
        });
        if range.len() != dim {
            let found =
                format!("found a vector of {}, expected {dim} as for the first user", range.len());
            return Err(at.fail(row, found).into());
        }
        for i in range {
            if values.is_null(i) || !values.value(i).is_finite() {
                let found =
                    if values.is_null(i) { "null".to_owned() } else { values.value(i).to_string() };
                return Err(at.fail(row, format!("found {found}, expected finite numbers")).into());
            }
            flat.push(values.value(i));
        }
    }
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    Ok(Arc::new(FixedSizeListArray::try_new(
        item,
        dim as i32,
        Arc::new(Float32Array::from(flat)),
        None,
    )?))
}

fn sparse(
    array: &ArrayRef,
    weights: Option<&ArrayRef>,
    brands: Option<&BrandPositions>,
    at: Place,
) -> Result<Vec<ArrayRef>> {
    let list = as_list(array)?;
    let weight_list = weights.map(as_list).transpose()?;
    let weight_values = match &weight_list {
        Some(list) => Some(cast(list.values(), &DataType::Float32)?),
        None => None,
    };
    let weight_values = weight_values.as_ref().map(AsArray::as_primitive::<Float32Type>);
    // Ids of brands that are not kept are left out; other ids stand for themselves.
    let positions: Vec<Option<u32>> = if let Some(brands) = brands {
        brands.positions(list.values()).map_err(|err| err.at("users", at.column))?
    } else {
        let ids = cast(list.values(), &DataType::Int64)?;
        let ids = ids.as_primitive::<Int64Type>();
        for row in 0..list.len() {
            for i in list.value_offsets()[row]..list.value_offsets()[row + 1] {
                let i = i as usize;
                if ids.is_null(i) || !(0..=MAX_ID).contains(&ids.value(i)) {
                    let found =
                        if ids.is_null(i) { "null".to_owned() } else { ids.value(i).to_string() };
                    return Err(at
                        .fail(row, format!("found id {found}, expected 0 to {MAX_ID}"))
                        .into());
                }
            }
        }
        ids.values().iter().map(|&id| Some(id as u32)).collect()
    };

    let mut ids = ListBuilder::<u32>::default();
    let mut kept_weights = ListBuilder::<f32>::default();
    let (mut row_ids, mut row_weights) = (Vec::new(), Vec::new());
    for row in 0..list.len() {
        row_ids.clear();
        row_weights.clear();
        // A null list is an empty one: the user has none.
        let start = list.value_offsets()[row] as usize;
        let n = if list.is_null(row) { 0 } else { list.value_length(row) as usize };
        let weight_start =
            weight_list.as_ref().map_or(0, |list| list.value_offsets()[row] as usize);
        if let Some(weight_list) = &weight_list {
            let n_weights =
                if weight_list.is_null(row) { 0 } else { weight_list.value_length(row) as usize };
            if n_weights != n {
                return Err(at
                    .fail(row, format!("found {n} ids and {n_weights} weights, expected as many"))
                    .into());
            }
        }
        for i in 0..n {
            let Some(id) = positions[start + i] else { continue };
            row_ids.push(id);
            if let Some(values) = weight_values {
                let weight = if values.is_null(weight_start + i) {
                    f32::NAN
                } else {
                    values.value(weight_start + i)
                };
                if !weight.is_finite() {
                    return Err(at.fail(row, "found a weight that is null or not finite").into());
                }
                row_weights.push(weight);
            }
        }
        ids.push(&row_ids);
        kept_weights.push(&row_weights);
    }
    let mut columns = vec![ids.finish()];
    if weights.is_some() {
        columns.push(kept_weights.finish());
    }
    Ok(columns)
}

/// From a source brand id to the kept brand's `brand_idx`.
pub struct BrandPositions {
    /// All brands of the source
    pub ids: IdIndex,
    /// `brand_idx` of each, if it is kept
    pub kept: Vec<Option<u32>>,
}

impl BrandPositions {
    /// `brand_idx` of each id of a column; `None` where the brand is unknown or not kept.
    ///
    /// # Errors
    ///
    /// As [`IdIndex::positions`].
    pub fn positions(&self, ids: &ArrayRef) -> Result<Vec<Option<u32>>, IdError> {
        let positions = self.ids.positions(ids)?.into_iter();
        Ok(positions.map(|at| self.kept[at? as usize]).collect())
    }
}

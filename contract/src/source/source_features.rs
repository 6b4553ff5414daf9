//! Feature columns of users as the source has them -> as the tables between stages have them.
//!
//! Training matches the manifest's features ([`match_columns`]), prediction those of a model
//! ([`match_model`]); what is accepted and refused is the same.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, ListArray, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, Schema, UInt32Type};
use arrow::util::display::array_value_to_string;

use crate::columns::ListBuilder;
use crate::exit::DataError;
use crate::features::{self, Feature, FeatureKind};
use crate::ids::{IdError, IdIndex, IdKind};
use crate::manifest::{FeatureSource, IdSpace};

/// Largest id of a list feature: `model.arrow` keeps ids in 32-bit floats, which hold it exactly.
pub const MAX_ID: i64 = 16_777_215;

/// A feature of the manifest, matched to its column.
pub struct FeatureColumn {
    source: String,
    weights: Option<String>,
    /// As the tables between stages have it
    pub feature: Feature,
    /// Where the length of a vector comes from, for messages
    length_of: &'static str,
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
                let why = if t.is_string() && !is_brands {
                    "\nhint: of a csv or json file, one value that is no number makes a column text; \
                     clean it in a view, as by `try_cast`"
                } else {
                    ""
                };
                return Err(DataError(format!(
                    "users: column `{name}` is `{t}`, expected {expected}{why}"
                )));
            }
        },
    };
    if options.weights.is_some() && matches!(kind, FeatureKind::Dense { .. }) {
        return Err(DataError(format!(
            "users: feature `{name}` has `weights`, but is no list of ids"
        )));
    }
    if let Some(weights) = &options.weights {
        let array = first.column_by_name(weights).expect("checked by `check_present`");
        check_weights(weights, array.data_type())
            .map_err(|err| DataError(format!("users: {err}")))?;
    }
    Ok(FeatureColumn {
        source: name.clone(),
        weights: options.weights,
        feature: Feature { name, kind },
        length_of: "for the first user",
    })
}

/// Weights of a list's ids are a list too.
fn check_weights(name: &str, found: &DataType) -> Result<(), String> {
    match list_item(found) {
        Some(item) if item.is_numeric() || *item == DataType::Null => Ok(()),
        _ => Err(format!("column `{name}` is `{found}`, expected a list of numbers (weights)")),
    }
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
            FeatureKind::Dense { dim } => {
                Ok(vec![dense(column(&self.source), (dim, self.length_of), at)?])
            }
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

impl FeatureColumn {
    /// Counts the ids of a list of brands; of any other feature nothing.
    ///
    /// * `converted`: what [`Self::convert`] made of the same users.
    ///
    /// # Errors
    ///
    /// If the list cannot be read, which then was no list.
    pub fn count_brands(
        &self,
        users: &RecordBatch,
        converted: &[ArrayRef],
        brands: &BrandPositions,
        seen: &mut BrandsSeen,
    ) -> Result<()> {
        if !matches!(self.feature.kind, FeatureKind::Sparse { ids: IdSpace::Brands, .. }) {
            return Ok(());
        }
        let given = users.column_by_name(&self.source).expect("it was converted");
        let given = as_list(given)?;
        for row in (0..given.len()).filter(|&row| given.is_valid(row)) {
            seen.n_ids += given.value_length(row) as usize;
        }
        let n_known = converted[0].as_list::<i32>().values().len();
        seen.n_known += n_known;
        seen.is_any_brand |=
            n_known > 0 || brands.ids.positions(given.values())?.iter().any(Option::is_some);
        Ok(())
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

fn dense(array: &ArrayRef, (dim, length_of): (usize, &str), at: Place) -> Result<ArrayRef> {
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
            let found = format!("found a vector of {}, expected {dim} as {length_of}", range.len());
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
        for row in (0..list.len()).filter(|&row| list.is_valid(row)) {
            if list.value(row).logical_null_count() > 0 {
                return Err(at.fail(row, "found null in its list, expected brand ids").into());
            }
        }
        brands.positions(list.values()).map_err(|err| err.at("users", at.column))?
    } else {
        let found = list.values();
        let ids = cast(found, &DataType::Int64)?; // null where one does not fit
        let ids = ids.as_primitive::<Int64Type>();
        for row in (0..list.len()).filter(|&row| list.is_valid(row)) {
            for i in list.value_offsets()[row]..list.value_offsets()[row + 1] {
                let i = i as usize;
                if ids.is_null(i) || !(0..=MAX_ID).contains(&ids.value(i)) {
                    let found = array_value_to_string(found, i)?;
                    let found = if found.is_empty() { "null" } else { &found };
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

/// A feature of a model, matched to the columns of a user's own table.
pub struct ModelColumn {
    column: FeatureColumn,
    /// As the model has it
    feature: Feature,
    brands: BrandPositions,
    seen: BrandsSeen,
}

/// Ids of brands that were read of a feature so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct BrandsSeen {
    /// All
    pub n_ids: usize,
    /// Those of brands that are predicted
    pub n_known: usize,
    /// Whether one is of a brand, predicted or not
    pub is_any_brand: bool,
}

/// Matches a model's features to the columns of users, by name.
///
/// A list of brands has brand ids, unless its metadata say that it has their positions, as
/// `features.arrow` does.
///
/// * `brand_ids`: the model's brands, in order.
///
/// # Errors
///
/// Every column that is missing or of another type, what the model reads, and what is there.
pub fn match_model(
    features: &[Feature],
    brand_ids: &[String],
    users: &Schema,
) -> Result<Vec<ModelColumn>, DataError> {
    let (mut columns, mut problems) = (Vec::new(), Vec::new());
    for feature in features {
        match ModelColumn::new(feature, brand_ids, users) {
            Ok(column) => columns.push(column),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        return Ok(columns);
    }
    let expected = features.iter().map(|f| format!("`{}` ({})", f.name, expected(f)));
    let found = users.fields().iter().map(|f| format!("`{}` ({})", f.name(), f.data_type()));
    Err(DataError(format!(
        "users: {}\nhint: the model reads {}; the columns are {}",
        problems.join("; "),
        expected.collect::<Vec<_>>().join(", "),
        found.collect::<Vec<_>>().join(", ")
    )))
}

/// What a model's feature is read from, in words.
fn expected(feature: &Feature) -> String {
    match feature.kind {
        FeatureKind::Dense { dim: 1 } => "a number".to_owned(),
        FeatureKind::Dense { dim } => format!("a vector of {dim}: a list of numbers"),
        FeatureKind::Sparse { is_weighted, ids } => {
            let ids = match ids {
                IdSpace::Brands => "a list of brand ids",
                IdSpace::Own => "a list of whole numbers",
            };
            if is_weighted {
                return format!("{ids}, their weights in `{}`", feature.weights_column());
            }
            ids.to_owned()
        }
    }
}

impl ModelColumn {
    fn new(feature: &Feature, brand_ids: &[String], users: &Schema) -> Result<Self, String> {
        let of = |name: &str| {
            users.field_with_name(name).map_err(|_| format!("column `{name}` is missing"))
        };
        let field = of(&feature.name)?;
        let found = field.data_type();
        let item = list_item(found);
        let is_number = |t: &DataType| t.is_numeric() || *t == DataType::Boolean;
        let (mut is_fit, mut kind) = (false, feature.kind);
        match &mut kind {
            FeatureKind::Dense { dim } => {
                is_fit = match (found, item) {
                    (DataType::FixedSizeList(_, length), Some(item)) => {
                        is_number(item) && usize::try_from(*length) == Ok(*dim)
                    }
                    (_, Some(item)) => is_number(item),
                    (_, None) => *dim == 1 && is_number(found),
                };
            }
            FeatureKind::Sparse { ids, .. } => {
                let said = features::id_space(field);
                if let (Some(item), true) = (item, said.is_none_or(|said| said == *ids)) {
                    is_fit = *item == DataType::Null
                        || match ids {
                            IdSpace::Own => item.is_integer(),
                            IdSpace::Brands => IdKind::of(item).is_ok(),
                        };
                    if said == Some(IdSpace::Brands) && *item == DataType::UInt32 {
                        *ids = IdSpace::Own; // positions are numbers like any others
                    }
                }
            }
        }
        if !is_fit {
            let name = &feature.name;
            return Err(format!("column `{name}` is `{found}`, expected {}", expected(feature)));
        }
        let weights = match feature.kind {
            FeatureKind::Sparse { is_weighted: true, .. } => Some(feature.weights_column()),
            _ => None,
        };
        if let Some(weights) = &weights {
            check_weights(weights, of(weights)?.data_type())?;
        }
        // The ids are compared as text, so that the model need not say what they were.
        let texts = StringArray::from_iter_values(brand_ids);
        let index = IdIndex::new(&texts, item.unwrap_or(found).clone())
            .map_err(|row| format!("the model has brand `{}` twice", brand_ids[row]))?;
        let brands =
            BrandPositions { ids: index, kept: (0..brand_ids.len() as u32).map(Some).collect() };
        let source = feature.name.clone();
        let column = FeatureColumn {
            source: source.clone(),
            weights,
            feature: Feature { name: source, kind },
            length_of: "the model has it",
        };
        Ok(Self { column, feature: feature.clone(), brands, seen: BrandsSeen::default() })
    }

    /// The columns that [`Self::convert`] gives.
    pub fn fields(&self) -> Vec<Field> {
        self.feature.fields()
    }

    /// The feature of a batch of users.
    ///
    /// # Errors
    ///
    /// As [`FeatureColumn::convert`]; also the position of a brand that the model does not have.
    pub fn convert(&mut self, users: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let columns = self.column.convert(users, &self.brands)?;
        if let FeatureKind::Sparse { ids: IdSpace::Brands, .. } = self.feature.kind {
            let n_brands = self.brands.kept.len();
            let lists = columns[0].as_list::<i32>();
            let ids = lists.values().as_primitive::<UInt32Type>();
            if let Some(at) = ids.values().iter().position(|&id| id as usize >= n_brands) {
                let row = lists.value_offsets().partition_point(|&end| end as usize <= at) - 1;
                let found = format!(
                    "found brand {}, expected 0 to {}, positions of the model's brands",
                    ids.value(at),
                    n_brands.saturating_sub(1)
                );
                let place = Place { users, column: &self.column.source };
                return Err(place.fail(row, found).into());
            }
        }
        self.column.count_brands(users, &columns, &self.brands, &mut self.seen)?;
        Ok(columns)
    }

    /// Checks, once all users are read, that a list of brands is one: that a brand is unknown is
    /// nothing special, that all are is a mistake.
    ///
    /// # Errors
    ///
    /// If there are ids of brands, and the model knows none of them.
    pub fn check_known(&self) -> Result<(), DataError> {
        let BrandsSeen { n_ids, n_known, .. } = self.seen;
        if n_ids == 0 || n_known > 0 {
            return Ok(());
        }
        Err(DataError(format!(
            "users: column `{}`: none of its {n_ids} brand ids is a brand of the model; expected \
             ids as `brand_id` of the brands that it was trained with",
            self.column.source
        )))
    }
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

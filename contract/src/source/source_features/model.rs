//! Features of a model, matched to the columns of a user's own table.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, UInt32Type};

use super::brands::{BrandPositions, BrandsSeen};
use super::categories::{CategoryIds, is_category};
use super::column::{FeatureColumn, check_weights};
use super::values::{Place, list_item};
use crate::exit::DataError;
use crate::features::{self, Feature, FeatureKind};
use crate::ids::{IdIndex, IdKind};
use crate::manifest::{FeatureOptions, IdSpace};

/// Values of which none is known to the model, from which on they must be of another kind.
const TOO_MANY_UNKNOWN: usize = 20;

/// A feature of a model, matched to the columns of a user's own table.
pub struct ModelColumn {
    column: FeatureColumn,
    /// As the model has it
    feature: Feature,
    brands: BrandPositions,
}

/// Matches a model's features to the columns of users, by name.
///
/// A list of brands has brand ids, unless its metadata says that it has their positions, as in
/// `features.arrow`.
///
/// * `brand_ids`: the model's brands, in order.
/// * `sources`: which columns the weights of lists were read from when the model was trained; without
///   it, or if there is no such column, they are in `NAME_weights`, as in `features.arrow`.
///
/// # Errors
///
/// Every column that is missing or of another type, what the model reads, and what is there.
pub fn match_model(
    features: &[Feature],
    brand_ids: &[String],
    sources: &[FeatureOptions],
    users: &Schema,
) -> Result<Vec<ModelColumn>, DataError> {
    let (mut columns, mut problems) = (Vec::new(), Vec::new());
    for feature in features {
        let source = sources.iter().find(|source| source.column == feature.name);
        let weights = source.and_then(|source| source.weights.as_deref());
        match ModelColumn::new(feature, brand_ids, weights, users) {
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

/// The expected column of a model's feature, for messages.
fn expected(feature: &Feature) -> String {
    match feature.kind {
        FeatureKind::Dense { dim: 1 } => "a number".to_owned(),
        FeatureKind::Dense { dim } => format!("a vector of {dim}: a list of numbers"),
        FeatureKind::Sparse { .. } if feature.is_categories() => {
            format!("text, one of {} categories", feature.vocabulary.len())
        }
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
    fn new(
        feature: &Feature,
        brand_ids: &[String],
        weights: Option<&str>,
        users: &Schema,
    ) -> Result<Self, String> {
        let of = |name: &str| {
            users.field_with_name(name).map_err(|_| format!("column `{name}` is missing"))
        };
        let field = of(&feature.name)?;
        let found = field.data_type();
        if feature.is_categories() && is_category(found) {
            let column = FeatureColumn::of_categories(feature.name.clone(), feature.clone());
            return Ok(Self { column, feature: feature.clone(), brands: BrandPositions::none() });
        }
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
                // Positions in another vocabulary would be other values.
                let is_same = features::vocabulary(field) == feature.vocabulary;
                let is_same = is_same && said.is_none_or(|said| said == *ids);
                if let (Some(item), true) = (item, is_same) {
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
            FeatureKind::Sparse { is_weighted: true, .. } => {
                let given = weights.filter(|name| users.field_with_name(name).is_ok());
                Some(given.map_or_else(|| feature.weights_column(), str::to_owned))
            }
            _ => None,
        };
        if let Some(weights) = &weights {
            check_weights(weights, of(weights)?.data_type())?;
        }
        // Ids are compared as text, as the model does not keep their type.
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(brand_ids));
        let index = IdIndex::new(&texts, item.unwrap_or(found).clone())
            .map_err(|row| format!("the model has brand `{}` twice", brand_ids[row]))?;
        let brands = BrandPositions {
            ids: Arc::new(index),
            kept: (0..brand_ids.len() as u32).map(Some).collect(),
        };
        let source = feature.name.clone();
        let column = FeatureColumn {
            source: source.clone(),
            weights,
            feature: Feature::new(source, kind),
            length_of: "the model has it",
            ids_of: CategoryIds::default(),
        };
        Ok(Self { column, feature: feature.clone(), brands })
    }

    /// The columns that [`Self::convert`] gives.
    pub fn fields(&self) -> Vec<Field> {
        self.feature.fields()
    }

    /// The columns of the table that the feature reads.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.column.sources()
    }

    /// The feature of a batch of users. Ids of brands are counted in `seen`.
    ///
    /// # Errors
    ///
    /// As [`FeatureColumn::convert`]; also the position of a brand that the model does not have.
    pub fn convert(&self, users: &RecordBatch, seen: &mut BrandsSeen) -> Result<Vec<ArrayRef>> {
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
        self.column.count_brands(users, &columns, &self.brands, seen)?;
        Ok(columns)
    }

    /// Checks, once all users are read, that a list of brands, or values of text, hold known ones:
    /// some unknown ones are normal, and a few users may have no others; many unknown ones and none
    /// that is known are a mistake.
    ///
    /// Returns a note about what was left out, if there is any.
    ///
    /// # Errors
    ///
    /// If there are 20 or more, and the model knows none of them.
    pub fn check_known(&self, seen: BrandsSeen) -> Result<Option<String>, DataError> {
        let BrandsSeen { n_ids, n_known, .. } = seen;
        let column = &self.column.source;
        if n_ids < TOO_MANY_UNKNOWN || n_known > 0 {
            return Ok(seen.note(&self.feature));
        }
        if self.feature.is_categories() {
            return Err(DataError(format!(
                "users: column `{column}`: none of its {n_ids} values is one of the {} categories that the \
                 model knows, such as `{}`\nhint: if they are meant to be unknown, leave them empty",
                self.feature.vocabulary.len(),
                self.feature.vocabulary[0]
            )));
        }
        Err(DataError(format!(
            "users: column `{column}`: none of its {n_ids} brand ids is a brand of the model; \
             expected ids as `brand_id` of the brands that it was trained with"
        )))
    }
}

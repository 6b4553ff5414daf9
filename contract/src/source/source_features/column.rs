//! Features of the manifest, matched to the columns of users.

use std::collections::BTreeMap;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};

use super::brands::{BrandPositions, BrandsSeen};
use super::categories::{CategoryIds, is_category};
use super::values::{Place, as_list, dense, list_item, sparse};
use crate::exit::DataError;
use crate::features::{Feature, FeatureKind};
use crate::manifest::{FeatureOptions, FeatureSource, IdSpace};

/// A feature of the manifest, matched to its column.
pub struct FeatureColumn {
    pub(super) source: String,
    pub(super) weights: Option<String>,
    /// As the tables between stages have it
    pub feature: Feature,
    /// Where the length of a vector comes from, for messages
    pub(super) length_of: &'static str,
    /// The ids of values of text; empty for all else
    pub(super) ids_of: CategoryIds,
}

/// Matches the manifest's features to the columns of users; `first` has at least one user.
///
/// * `vocabularies`: of each feature with `categories`, by its column.
///
/// # Errors
///
/// A column that is not a number, a vector, a list of ids or, with `categories`, text.
pub fn match_columns(
    features: &[FeatureSource],
    first: &RecordBatch,
    vocabularies: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<FeatureColumn>, DataError> {
    let match_one = |feature: &FeatureSource| match vocabularies.get(feature.column()) {
        Some(vocabulary) => Ok(FeatureColumn::of_categories(
            feature.column().to_owned(),
            Feature::of_categories(feature.column(), vocabulary.clone()),
        )),
        None => match_column(feature, first),
    };
    features.iter().map(match_one).collect()
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
            _ => return Err(DataError(format!("users: {}", not_a_feature(&name, t, is_brands)))),
        },
    };
    if options.weights.is_some() && matches!(kind, FeatureKind::Dense { .. }) {
        return Err(DataError(format!(
            "users: feature `{name}` has `weights`, but is not a list of ids"
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
        feature: Feature::new(name, kind),
        length_of: "for the first user",
        ids_of: CategoryIds::default(),
    })
}

fn not_a_feature(name: &str, found: &DataType, is_brands: bool) -> String {
    let expected = if is_brands {
        "a list of brand ids"
    } else {
        "a number, a list of floats (a vector) or a list of whole numbers (ids)"
    };
    let why = if found.is_string() && !is_brands {
        format!(
            "\nhint: if its values are categories, write `{{column: {name}, categories: {{top: 100}}}}`; of a \
             csv or json file, one value that is not a number makes a column text: clean it in a view, as \
             by `try_cast`"
        )
    } else {
        String::new()
    };
    format!("column `{name}` is `{found}`, expected {expected}{why}")
}

/// Why a column of this type cannot be a feature, before any row is read; `None` if it can.
pub fn type_problem(options: &FeatureOptions, found: &DataType) -> Option<String> {
    if options.categories.is_some() {
        return (!is_category(found)).then(|| {
            format!("column `{}` is `{found}`, expected text (`categories`)", options.column)
        });
    }
    let is_brands = options.ids == IdSpace::Brands;
    let is_number = found.is_numeric() || *found == DataType::Boolean;
    let item = list_item(found);
    let is_list_of_ids = item.is_some_and(|item| {
        is_brands && !item.is_floating() || item.is_integer() || *item == DataType::Null
    });
    let is_vector = item.is_some_and(DataType::is_floating) && !is_brands;
    if !(is_list_of_ids || is_vector || is_number && !is_brands) {
        return Some(not_a_feature(&options.column, found, is_brands));
    }
    (options.weights.is_some() && !is_list_of_ids)
        .then(|| format!("feature `{}` has `weights`, but is not a list of ids", options.column))
}

/// Checks that the weights of a list's ids are a list.
pub(super) fn check_weights(name: &str, found: &DataType) -> Result<(), String> {
    match list_item(found) {
        Some(item) if item.is_numeric() || *item == DataType::Null => Ok(()),
        _ => Err(format!("column `{name}` is `{found}`, expected a list of numbers (weights)")),
    }
}

fn first_length(array: &ArrayRef) -> Option<usize> {
    let list = as_list(array).ok()?;
    list.is_valid(0).then(|| list.value_length(0) as usize)
}

impl FeatureColumn {
    /// Values of text as ids.
    pub(super) fn of_categories(source: String, feature: Feature) -> Self {
        let ids_of = CategoryIds::of(&feature.vocabulary);
        Self { source, weights: None, feature, length_of: "", ids_of }
    }

    /// Columns of users that the feature reads.
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
        if self.feature.is_categories() {
            return Ok(vec![self.ids_of.convert(column(&self.source))?]);
        }
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
    /// Counts the ids of a list of brands and the values of text; for any other feature it does nothing.
    ///
    /// * `converted`: what [`Self::convert`] made of the same users.
    ///
    /// # Errors
    ///
    /// If the column is not a list.
    pub fn count_brands(
        &self,
        users: &RecordBatch,
        converted: &[ArrayRef],
        brands: &BrandPositions,
        seen: &mut BrandsSeen,
    ) -> Result<()> {
        let given = users.column_by_name(&self.source).expect("it was converted");
        if self.feature.is_categories() {
            seen.n_ids += given.len() - given.logical_null_count();
            seen.n_known += converted[0].as_list::<i32>().values().len();
            return Ok(());
        }
        if !matches!(self.feature.kind, FeatureKind::Sparse { ids: IdSpace::Brands, .. }) {
            return Ok(());
        }
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

//! Features of the manifest, matched to the columns of users.

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};

use super::brands::{BrandPositions, BrandsSeen};
use super::values::{Place, as_list, dense, list_item, sparse};
use crate::exit::DataError;
use crate::features::{Feature, FeatureKind};
use crate::manifest::{FeatureSource, IdSpace};

/// A feature of the manifest, matched to its column.
pub struct FeatureColumn {
    pub(super) source: String,
    pub(super) weights: Option<String>,
    /// As the tables between stages have it
    pub feature: Feature,
    /// Where the length of a vector comes from, for messages
    pub(super) length_of: &'static str,
}

/// Matches the manifest's features to the columns of users; `first` has at least one user.
///
/// # Errors
///
/// A column that is not a number, a vector or a list of ids.
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
                    "\nhint: of a csv or json file, one value that is not a number makes a column text; \
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
        feature: Feature { name, kind },
        length_of: "for the first user",
    })
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
    /// Counts the ids of a list of brands; for any other feature it does nothing.
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

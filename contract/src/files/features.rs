//! Feature columns in `features`, `valid` and `test`.
//!
//! A dense feature is a fixed-size list of `f32` (a plain number has length 1); a sparse
//! one is a list of `u32` ids, with a second column `NAME_weights` if the ids have weights.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::manifest::IdSpace;

/// A feature column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Name of the column
    pub name: String,
    /// What it holds
    pub kind: FeatureKind,
    /// Of a column of text: the values that ids stand for, by id; a user has at most one. Empty for others
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vocabulary: Vec<String>,
}

/// What a feature column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// A vector
    Dense {
        /// Its length
        dim: usize,
    },
    /// A list of ids
    Sparse {
        /// Whether each id has a weight
        is_weighted: bool,
        /// What the ids mean; brands are given by `brand_idx`
        ids: IdSpace,
    },
}

/// Metadata key of a list of ids: `brands` if they are positions of brands.
pub const IDS_KEY: &str = "ids";
const WEIGHTS_KEY: &str = "weights_of";
const VOCABULARY_KEY: &str = "vocabulary";

impl Feature {
    /// A feature without a vocabulary.
    pub fn new(name: impl Into<String>, kind: FeatureKind) -> Self {
        Self { name: name.into(), kind, vocabulary: Vec::new() }
    }

    /// Values of a text column as a list of at most one id.
    pub fn of_categories(name: impl Into<String>, vocabulary: Vec<String>) -> Self {
        let kind = FeatureKind::Sparse { is_weighted: false, ids: IdSpace::Own };
        Self { name: name.into(), kind, vocabulary }
    }

    /// Whether it is a column of text.
    pub fn is_categories(&self) -> bool {
        !self.vocabulary.is_empty()
    }

    /// Whether it is a list of ids.
    pub fn is_sparse(&self) -> bool {
        matches!(self.kind, FeatureKind::Sparse { .. })
    }

    /// Length of its vector; 0 for a list of ids.
    pub fn n_dense(&self) -> usize {
        match self.kind {
            FeatureKind::Dense { dim } => dim,
            FeatureKind::Sparse { .. } => 0,
        }
    }

    /// Name of the column that holds a sparse feature's weights.
    pub fn weights_column(&self) -> String {
        format!("{}_weights", self.name)
    }

    /// The feature's columns in a table.
    pub fn fields(&self) -> Vec<Field> {
        match self.kind {
            FeatureKind::Dense { dim } => {
                let item = Field::new_list_field(DataType::Float32, false).into();
                vec![Field::new(&self.name, DataType::FixedSizeList(item, dim as i32), false)]
            }
            FeatureKind::Sparse { is_weighted, ids } => {
                let space = if ids == IdSpace::Brands { "brands" } else { "own" };
                let mut metadata = HashMap::from([(IDS_KEY.to_owned(), space.to_owned())]);
                if self.is_categories() {
                    let values = serde_json::json!(self.vocabulary).to_string();
                    metadata.insert(VOCABULARY_KEY.to_owned(), values);
                }
                let list = DataType::new_list(DataType::UInt32, false);
                let mut fields = vec![Field::new(&self.name, list, false).with_metadata(metadata)];
                if is_weighted {
                    let metadata = HashMap::from([(WEIGHTS_KEY.to_owned(), self.name.clone())]);
                    let list = DataType::new_list(DataType::Float32, false);
                    fields.push(
                        Field::new(self.weights_column(), list, false).with_metadata(metadata),
                    );
                }
                fields
            }
        }
    }

    /// For messages, such as `embedding (dense, 64)`.
    pub fn describe(&self) -> String {
        match self.kind {
            FeatureKind::Dense { dim } => format!("`{}` (dense, {dim})", self.name),
            FeatureKind::Sparse { .. } if self.is_categories() => {
                format!("`{}` (one of {} categories)", self.name, self.vocabulary.len())
            }
            FeatureKind::Sparse { .. } => format!("`{}` (list of ids)", self.name),
        }
    }
}

/// What the ids of a list column mean, if its metadata says so.
pub fn id_space(field: &Field) -> Option<IdSpace> {
    let space = field.metadata().get(IDS_KEY)?;
    Some(if space == "brands" { IdSpace::Brands } else { IdSpace::Own })
}

/// The metadata of a column that says what its ids mean: positions of brands or in a vocabulary.
pub fn meaning_of_ids(field: &Field) -> HashMap<String, String> {
    let is_meaning = |key: &str| key == IDS_KEY || key == VOCABULARY_KEY;
    let metadata = field.metadata().iter().filter(|(key, _)| is_meaning(key));
    metadata.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The values that the ids of a column stand for; none if it is no column of text.
pub fn vocabulary(field: &Field) -> Vec<String> {
    let text = field.metadata().get(VOCABULARY_KEY);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The features among the columns of a table.
pub fn of_schema(schema: &Schema) -> Vec<Feature> {
    let kind = |field: &Field| match field.data_type() {
        DataType::FixedSizeList(item, dim) if *item.data_type() == DataType::Float32 => {
            Some(FeatureKind::Dense { dim: *dim as usize })
        }
        DataType::List(item) if *item.data_type() == DataType::UInt32 => {
            let ids = id_space(field)?;
            let is_weights = |other: &&std::sync::Arc<Field>| {
                other.metadata().get(WEIGHTS_KEY).is_some_and(|of| of == field.name())
            };
            Some(FeatureKind::Sparse {
                is_weighted: schema.fields().iter().any(|f| is_weights(&f)),
                ids,
            })
        }
        _ => None,
    };
    let fields = schema.fields().iter();
    let feature = |field: &Field| {
        let vocabulary = vocabulary(field);
        Some(Feature { name: field.name().clone(), kind: kind(field)?, vocabulary })
    };
    fields.filter_map(|field| feature(field)).collect()
}

//! Ids of brands in a user's table -> positions of the kept brands.

use std::ops::AddAssign;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::features::Feature;
use crate::ids::{IdError, IdIndex};
use crate::words::{count, plural};

/// From a source brand id to the kept brand's `brand_idx`.
pub struct BrandPositions {
    /// All brands of the source
    pub ids: Arc<IdIndex>,
    /// `brand_idx` of each, if it is kept
    pub kept: Vec<Option<u32>>,
}

impl BrandPositions {
    /// Of no brand, for features that have none.
    pub(super) fn none() -> Self {
        let none: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
        let ids = IdIndex::new(&none, DataType::Utf8).expect("no id repeats");
        Self { ids: Arc::new(ids), kept: Vec::new() }
    }

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

/// Counts of the brand ids of a feature, or of its values of text, that were read so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrandsSeen {
    /// All
    pub n_ids: usize,
    /// Those of brands that are predicted, or of known categories
    pub n_known: usize,
    /// Whether one is of a brand, predicted or not
    pub is_any_brand: bool,
}

impl BrandsSeen {
    /// The note about ids that were left out; `None` if there are none.
    pub fn note(&self, feature: &Feature) -> Option<String> {
        let Self { n_ids, n_known, .. } = *self;
        let column = &feature.name;
        if feature.is_categories() {
            let unknown = plural((n_ids - n_known) as u64, "value");
            return (n_known < n_ids).then(|| {
                format!(
                    "note: users: column `{column}`: {unknown} of {} are none of its {} categories, and count \
                     as missing",
                    count(n_ids as u64),
                    count(feature.vocabulary.len() as u64)
                )
            });
        }
        let left_out = plural((n_ids - n_known) as u64, "id");
        (n_known < n_ids).then(|| {
            format!(
                "note: users: column `{column}`: {left_out} of {} are of no brand that is predicted, \
                 and left out",
                count(n_ids as u64)
            )
        })
    }
}

impl AddAssign for BrandsSeen {
    fn add_assign(&mut self, other: Self) {
        self.n_ids += other.n_ids;
        self.n_known += other.n_known;
        self.is_any_brand |= other.is_any_brand;
    }
}

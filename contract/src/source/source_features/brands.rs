//! Ids of brands in a user's table -> positions of the kept brands.

use arrow::array::ArrayRef;

use crate::ids::{IdError, IdIndex};

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

/// Counts of the brand ids of a feature that were read so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct BrandsSeen {
    /// All
    pub n_ids: usize,
    /// Those of brands that are predicted
    pub n_known: usize,
    /// Whether one is of a brand, predicted or not
    pub is_any_brand: bool,
}

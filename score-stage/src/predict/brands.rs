//! Ids and names of the brands, as the output has them.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, AsArray as _, StringArray};
use contract::exit::DataError;
use contract::ids::id_texts;
use contract::ipc::Table;
use model::Model;

/// `(n_brands,)` each.
pub struct Brands {
    /// `Int64` or `Utf8`
    pub ids: ArrayRef,
    pub names: StringArray,
}

impl Brands {
    /// As the source has them.
    ///
    /// # Errors
    ///
    /// If the table's batches differ in type.
    pub fn of_table(brands: &Table) -> Result<Self> {
        let column = |name| brands.whole_column(name).map_err(|err| DataError(err.to_string()));
        Ok(Self { ids: column("brand_id")?, names: column("name")?.as_string().clone() })
    }

    /// The ids that the model has, which are text; they are also the names.
    pub fn of_model(model: &Model) -> Self {
        let names = StringArray::from_iter_values(&model.brand_ids);
        Self { ids: Arc::new(names.clone()), names }
    }

    /// An id, as text.
    pub fn id_text(&self, brand: usize) -> String {
        id_texts(&self.ids.slice(brand, 1)).swap_remove(0)
    }

    /// All ids, as text.
    pub fn id_texts(&self) -> Vec<String> {
        id_texts(&self.ids)
    }
}

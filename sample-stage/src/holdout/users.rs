//! The users of the source, all of them or those of a date.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::ids::IdIndex;
use contract::manifest::Manifest;
use contract::source_features;
use datafusion::arrow::array::{Array, ArrayRef, StringArray};
use datafusion::dataframe::DataFrame;
use datafusion::execution::memory_pool::MemoryReservation;

use crate::as_of::Date;
use crate::id_columns::{sorted_ids, with_stored_ids};
use crate::raw::RawTables;
use crate::room::Room;
use crate::time::TimeColumn;

/// Users in order of their ids.
#[derive(Clone)]
pub struct Users {
    /// Their rows, in any order
    pub frame: DataFrame,
    pub ids: ArrayRef,
    pub index: Arc<IdIndex>,
    /// The column `holdout.column`, if there is one
    pub names: Option<StringArray>,
    /// Counts their memory
    _memory: Arc<MemoryReservation>,
}

impl Users {
    /// Reads the ids.
    ///
    /// * `date`: if users have a time, only their last row at or before what is known at it counts.
    ///
    /// # Errors
    ///
    /// An id that is null or appears twice, a column that is missing.
    pub async fn read(
        raw: &RawTables,
        room: &Room<'_>,
        manifest: &Manifest,
        date: Option<&Date>,
    ) -> Result<Self> {
        let view = &manifest.data.users;
        let mut frame = raw.view(view).await.context("users")?;
        source_features::check_present(&manifest.data.features, frame.schema().as_arrow())?;
        if let (Some(source), Some(date)) = (view.time(), date) {
            let (timed, time) = TimeColumn::find(frame, source, "users")?;
            frame = time.last_rows(timed, "user_id", date.known_before)?;
        }
        let column = manifest.holdout.column.as_deref();
        let sorted = sorted_ids(raw, frame.clone(), "users", "user_id", column).await?;
        let frame = with_stored_ids(frame, "user_id", sorted.ids.data_type())?;
        let (ids, index, names) = (sorted.ids, Arc::new(sorted.index), sorted.other);
        let of_names = names.as_ref().map_or(0, Array::get_array_memory_size);
        let bytes = ids.get_array_memory_size() + index.n_bytes() + of_names + ids.len();
        let memory = Arc::new(room.hold("the ids of users", bytes));
        Ok(Self { frame, ids, index, names, _memory: memory })
    }
}

//! Rows of interactions -> labels: which user has which brand, and how often it happened.

use anyhow::Result;
use contract::exit::DataError;
use contract::ids::{self, IdIndex};
use contract::manifest::UnknownIds;
use contract::warn_line;
use contract::words::plural;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::ident;
use futures::StreamExt as _;

use crate::raw::RawTables;

/// One label: positions of a user and a brand, and how often it happened.
pub struct Label {
    pub user: u32,
    pub brand: u32,
    pub events: f64,
}

/// The rows of interactions.
#[derive(Default)]
pub struct Read {
    labels: Vec<Label>,
    pub unknown_users: Unknown,
    pub unknown_brands: Unknown,
    /// Rows whose `events` is 0
    pub n_no_event: u64,
}

/// Rows whose user or brand is unknown.
#[derive(Default)]
pub struct Unknown {
    pub count: u64,
    /// Some of the ids
    first: Vec<String>,
}

/// Most ids in a message.
const IDS_NAMED: usize = 3;

impl Unknown {
    fn add(&mut self, ids: &ArrayRef, row: usize) {
        self.count += 1;
        if self.first.len() < IDS_NAMED {
            let id = ids::shown(ids, row);
            if !self.first.contains(&id) {
                self.first.push(id);
            }
        }
    }

    fn message(&self, what: &str) -> Option<String> {
        let first = self.first.join(", ");
        (self.count > 0).then(|| {
            let rows = plural(self.count, "row");
            format!("{rows} of {what} that are not in `{what}` ({first}, …)")
        })
    }
}

impl Read {
    /// Reports dropped rows.
    ///
    /// * `users_appear`: whether a user may be there at a later date only, which is no mistake.
    ///
    /// # Errors
    ///
    /// If a row was dropped and the manifest does not allow it.
    pub fn report(&self, unknown_ids: UnknownIds, users_appear: bool) -> Result<(), DataError> {
        let of_users = self.unknown_users.message("users").filter(|_| !users_appear);
        let parts = [of_users, self.unknown_brands.message("brands")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            let message = format!("interactions: {}", parts.join("; "));
            if unknown_ids == UnknownIds::Error {
                return Err(DataError(format!("{message} (`data.unknown_ids` is `error`)")));
            }
            warn_line!("warning: {message}; dropped");
        }
        if self.n_no_event > 0 {
            let has = if self.n_no_event == 1 { "has" } else { "have" };
            let rows = plural(self.n_no_event, "row");
            warn_line!("note: interactions: {rows} {has} 0 `events`: no label");
        }
        Ok(())
    }

    /// Reads interactions; several rows of one label are summed. The labels are in order of user and
    /// brand, each once.
    ///
    /// # Errors
    ///
    /// `events` that are negative or not finite.
    pub async fn labels(
        &mut self,
        raw: &RawTables,
        interactions: DataFrame,
        users: &IdIndex,
        brands: &IdIndex,
    ) -> Result<Vec<Label>> {
        let mut wanted = vec![ident("user_id"), ident("brand_id")];
        if interactions.schema().has_column_with_unqualified_name("events") {
            wanted.push(ident("events"));
        }
        let mut stream = raw.stream(interactions.select(wanted)?, "interactions").await?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            self.add(&batch, users, brands)?;
        }
        let mut labels = std::mem::take(&mut self.labels);
        // Sorted by `events` as well, so that their sum does not depend on the order of reading.
        labels.sort_unstable_by(|a, b| {
            (a.user, a.brand).cmp(&(b.user, b.brand)).then(a.events.total_cmp(&b.events))
        });
        labels.dedup_by(|next, first| {
            let is_same = next.user == first.user && next.brand == first.brand;
            if is_same {
                first.events += next.events;
            }
            is_same
        });
        Ok(labels)
    }

    fn add(&mut self, batch: &RecordBatch, users: &IdIndex, brands: &IdIndex) -> Result<()> {
        let bad_ids = |column| move |err: ids::IdError| err.at("interactions", column);
        let user_rows = users.positions(batch.column(0)).map_err(bad_ids("user_id"))?;
        let brand_rows = brands.positions(batch.column(1)).map_err(bad_ids("brand_id"))?;
        let events = batch.columns().get(2);
        let events = events.map(|events| cast(events, &DataType::Float64)).transpose()?;
        let events: Option<&Float64Array> =
            events.as_ref().map(AsArray::as_primitive::<Float64Type>);
        for row in 0..batch.num_rows() {
            // Without a number, the event happened once.
            let events = events.filter(|events| events.is_valid(row)).map_or(1.0, |e| e.value(row));
            if !events.is_finite() || events < 0.0 {
                let remedy = if events < 0.0 {
                    "leave returns out in a view: `where events > 0`"
                } else {
                    "leave such rows out in a view"
                };
                return Err(DataError(format!(
                    "interactions: column `events`: user {}, brand {}: found {events}, expected a \
                     number of at least 0; {remedy}",
                    ids::shown(batch.column(0), row),
                    ids::shown(batch.column(1), row)
                ))
                .into());
            }
            match (user_rows[row], brand_rows[row]) {
                _ if events == 0.0 => self.n_no_event += 1,
                (None, _) => self.unknown_users.add(batch.column(0), row),
                (_, None) => self.unknown_brands.add(batch.column(1), row),
                (Some(user), Some(brand)) => self.labels.push(Label { user, brand, events }),
            }
        }
        Ok(())
    }
}

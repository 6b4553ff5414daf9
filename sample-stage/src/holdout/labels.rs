//! Rows of interactions -> labels: which user has which brand, and how often it happened; and those
//! of training users -> `train_interactions`.

use std::sync::Arc;

use anyhow::Result;
use contract::exit::DataError;
use contract::ids::{self, IdIndex};
use contract::ipc::ROWS_PER_BATCH;
use contract::manifest::UnknownIds;
use contract::run::StageRun;
use contract::words::plural;
use contract::{tables, warn_line};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::ident;
use futures::StreamExt as _;

use super::ids::column_type;
use super::split::Split;
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
    /// In order of user and brand, each once
    pub labels: Vec<Label>,
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
    /// # Errors
    ///
    /// If a row was dropped and the manifest does not allow it.
    pub fn report(&self, unknown_ids: UnknownIds) -> Result<(), DataError> {
        let parts = [self.unknown_users.message("users"), self.unknown_brands.message("brands")];
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

/// Reads interactions; several rows of one label are summed.
///
/// # Errors
///
/// A column that is missing or of another type than the ids it refers to, and `events` that are
/// negative or not finite.
pub async fn read(
    raw: &RawTables,
    frame: DataFrame,
    users: &IdIndex,
    brands: &IdIndex,
) -> Result<Read> {
    let schema = frame.schema().as_arrow().clone();
    for (column, index) in [("user_id", users), ("brand_id", brands)] {
        let found = column_type(&schema, "interactions", column)?;
        if found == DataType::Null {
            continue; // a file without a row, or without any id
        }
        let checked = index.check_type(&found);
        checked.map_err(|err| raw.bad_ids("interactions", column, &err))?;
    }
    raw.warn_of_unused("interactions", &frame, &["user_id", "brand_id", "events"]);
    let mut wanted = vec![ident("user_id"), ident("brand_id")];
    if let Ok(field) = schema.field_with_name("events") {
        let found = field.data_type();
        if !(found.is_numeric() || matches!(found, DataType::Boolean | DataType::Null)) {
            let message = format!("interactions: column `events` is `{found}`, expected a number");
            return Err(DataError(message).into());
        }
        wanted.push(ident("events"));
    }
    let mut stream = raw.stream(frame.select(wanted)?, "interactions").await?;
    let mut read = Read::default();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        read.add(&batch, users, brands)?;
    }
    // Sorted by `events` as well, so that their sum does not depend on the order of reading.
    read.labels.sort_unstable_by(|a, b| {
        (a.user, a.brand).cmp(&(b.user, b.brand)).then(a.events.total_cmp(&b.events))
    });
    read.labels.dedup_by(|next, first| {
        let is_same = next.user == first.user && next.brand == first.brand;
        if is_same {
            first.events += next.events;
        }
        is_same
    });
    Ok(read)
}

/// Writes the labels of training users, in rows a sampling query can read.
///
/// * `labels`: of kept brands, `brand` being `brand_idx`.
pub fn write(
    stage: &mut StageRun,
    user_ids: &ArrayRef,
    brand_ids: &ArrayRef,
    labels: &[Label],
    splits: &[Split],
) -> Result<()> {
    let fields = vec![
        Field::new("user_id", user_ids.data_type().clone(), false),
        Field::new("user_row", DataType::UInt32, false),
        Field::new("brand_idx", DataType::UInt32, false),
        Field::new("brand_id", brand_ids.data_type().clone(), false),
        Field::new("events", DataType::Float64, false),
    ];
    let mut writer =
        stage.writer("train_interactions.arrow", &tables::TRAIN_INTERACTIONS, fields)?;
    let train: Vec<&Label> =
        labels.iter().filter(|label| splits[label.user as usize] == Split::Train).collect();
    let mut n_train = 0;
    let train_rows: Vec<u32> = splits
        .iter()
        .map(|&split| {
            n_train += u32::from(split == Split::Train);
            n_train.saturating_sub(1) // of a training user: those before
        })
        .collect();
    for chunk in train.chunks(ROWS_PER_BATCH) {
        let users = UInt32Array::from_iter_values(chunk.iter().map(|label| label.user));
        let brand_rows = UInt32Array::from_iter_values(chunk.iter().map(|label| label.brand));
        writer.write(vec![
            take(user_ids, &users, None)?,
            Arc::new(UInt32Array::from_iter_values(
                chunk.iter().map(|label| train_rows[label.user as usize]),
            )),
            Arc::new(brand_rows.clone()),
            take(brand_ids, &brand_rows, None)?,
            Arc::new(Float64Array::from_iter_values(chunk.iter().map(|label| label.events))),
        ])?;
    }
    stage.add(writer.finish()?);
    Ok(())
}

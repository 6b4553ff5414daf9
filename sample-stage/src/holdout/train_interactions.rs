//! Labels of training users -> `train_interactions`, rows that a sampling query can read.

use std::sync::Arc;

use anyhow::Result;
use contract::ipc::ROWS_PER_BATCH;
use contract::run::StageRun;
use contract::tables;
use datafusion::arrow::array::{Array as _, ArrayRef, Float64Array, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field};

use super::labels::{Label, Labels};
use super::snapshot::Snapshot;
use super::split::Split;

/// Writes the table.
///
/// * `snapshots`: with their labels.
/// * `kept`: `brand_idx` of each brand, if it is kept.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(
    stage: &mut StageRun,
    brand_ids: &ArrayRef,
    snapshots: &[(Snapshot, Labels)],
    kept: &[Option<u32>],
) -> Result<()> {
    let (first, _) = &snapshots[0];
    let mut fields = vec![
        Field::new("user_id", first.users.ids.data_type().clone(), false),
        Field::new("user_row", DataType::UInt32, false),
        Field::new("brand_idx", DataType::UInt32, false),
        Field::new("brand_id", brand_ids.data_type().clone(), false),
        Field::new("events", DataType::Float64, false),
    ];
    fields.extend(first.date.as_ref().map(|date| date.as_of.field()));
    let mut writer =
        stage.writer("train_interactions.arrow", &tables::TRAIN_INTERACTIONS, fields)?;
    let mut n_before = 0; // training users of earlier dates
    for (Snapshot { users, splits, date }, labels) in snapshots {
        let mut rows = TrainRows { splits, n_before, user: 0 };
        let mut blocks = labels.blocks();
        let mut chunk: Vec<(Label, u32)> = Vec::with_capacity(ROWS_PER_BATCH);
        let mut write = |chunk: &mut Vec<(Label, u32)>| -> Result<()> {
            let u32s =
                |of: fn(&(Label, u32)) -> u32| UInt32Array::from_iter_values(chunk.iter().map(of));
            let of_users = u32s(|(label, _)| label.user);
            let of_brands = u32s(|(label, _)| label.brand);
            let events = chunk.iter().map(|(label, _)| label.events);
            let mut columns: Vec<ArrayRef> = vec![
                take(&users.ids, &of_users, None)?,
                Arc::new(u32s(|&(_, row)| row)),
                Arc::new(of_brands.clone()),
                take(brand_ids, &of_brands, None)?,
                Arc::new(Float64Array::from_iter_values(events)),
            ];
            columns.extend(date.as_ref().map(|date| date.as_of.column(chunk.len())));
            chunk.clear();
            Ok(writer.write(columns)?)
        };
        while let Some(labels) = blocks.next()? {
            for label in labels.filter(|label| splits[label.user as usize] == Split::Train) {
                let Some(brand) = kept[label.brand as usize] else { continue };
                chunk.push((Label { brand, ..label }, rows.of(label.user)));
                if chunk.len() == ROWS_PER_BATCH {
                    write(&mut chunk)?;
                }
            }
        }
        if !chunk.is_empty() {
            write(&mut chunk)?;
        }
        n_before = rows.end();
    }
    stage.add(writer.finish()?);
    Ok(())
}

/// Rows of training users in `features`, asked for in order of the users.
struct TrainRows<'a> {
    splits: &'a [Split],
    /// Training users before `user`
    n_before: u32,
    user: u32,
}

impl TrainRows<'_> {
    fn of(&mut self, user: u32) -> u32 {
        let passed = &self.splits[self.user as usize..user as usize];
        self.n_before += passed.iter().filter(|&&split| split == Split::Train).count() as u32;
        self.user = user;
        self.n_before
    }

    /// All training users so far.
    fn end(mut self) -> u32 {
        self.of(self.splits.len() as u32)
    }
}

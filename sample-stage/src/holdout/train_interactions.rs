//! Labels of training users -> `train_interactions`, rows that a sampling query can read.

use std::sync::Arc;

use anyhow::Result;
use contract::ipc::ROWS_PER_BATCH;
use contract::run::StageRun;
use contract::tables;
use datafusion::arrow::array::{Array as _, ArrayRef, Float64Array, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field};

use super::labels::Label;
use super::snapshot::Snapshot;
use super::split::Split;

/// Writes the table.
///
/// * `snapshots`: their labels of kept brands, `brand` being `brand_idx`.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(stage: &mut StageRun, brand_ids: &ArrayRef, snapshots: &[Snapshot]) -> Result<()> {
    let first = &snapshots[0];
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
    let mut n_train = 0;
    for Snapshot { users, splits, labels, date } in snapshots {
        let is_train = |user: u32| splits[user as usize] == Split::Train;
        let train: Vec<&Label> = labels.iter().filter(|label| is_train(label.user)).collect();
        let train_rows: Vec<u32> = splits
            .iter()
            .map(|&split| {
                n_train += u32::from(split == Split::Train);
                n_train.saturating_sub(1) // of a training user: those before
            })
            .collect();
        for chunk in train.chunks(ROWS_PER_BATCH) {
            let of_users = UInt32Array::from_iter_values(chunk.iter().map(|label| label.user));
            let of_brands = UInt32Array::from_iter_values(chunk.iter().map(|label| label.brand));
            let mut columns: Vec<ArrayRef> = vec![
                take(&users.ids, &of_users, None)?,
                Arc::new(UInt32Array::from_iter_values(
                    chunk.iter().map(|label| train_rows[label.user as usize]),
                )),
                Arc::new(of_brands.clone()),
                take(brand_ids, &of_brands, None)?,
                Arc::new(Float64Array::from_iter_values(chunk.iter().map(|label| label.events))),
            ];
            columns.extend(date.as_ref().map(|date| date.as_of.column(chunk.len())));
            writer.write(columns)?;
        }
    }
    stage.add(writer.finish()?);
    Ok(())
}

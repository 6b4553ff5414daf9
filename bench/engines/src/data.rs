//! Tables with the columns that the shipped queries read: users with features, interactions with
//! brands by a Zipf law, brands with their volumes. As Parquet and as Arrow IPC, in several files.

use std::fs::{File, create_dir_all};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Date32Array, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, UInt32Array,
    UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::ipc::writer::FileWriter;
use datafusion::error::Result;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;

use crate::functions::{DIM, uniform};

/// Files of a large table, so that every worker has some to read.
const N_FILES: usize = 12;

/// Most brands of a user; on average half of it.
const BRANDS_MAX: f64 = 11.0;

/// Rows of a batch, as the project writes them.
const ROWS_PER_BATCH: usize = 32_768;

/// Writes the three tables, each as `FOLDER/parquet/NAME/*.parquet` and `FOLDER/arrow/NAME/*.arrow`.
pub fn write(folder: &Path, n_users: usize, n_brands: usize) -> Result<()> {
    let interactions = Interactions::draw(n_users, n_brands);
    write_part(folder, "brands", 0, interactions.brands()?)?;
    for part in 0..N_FILES {
        let rows = n_users * part / N_FILES..n_users * (part + 1) / N_FILES;
        write_part(folder, "users", part, users(rows.clone())?)?;
        write_part(folder, "interactions", part, interactions.of_users(rows)?)?;
    }
    Ok(())
}

/// The identifier of a user in row `row`.
fn user_id(row: usize) -> i64 {
    1_000_000 + 3 * row as i64
}

/// One entry per interaction, sorted by user.
struct Interactions {
    user_rows: Vec<u32>,
    brand_idxs: Vec<u32>,
    events: Vec<u32>,
    /// By `brand_idx`, falling
    volumes: Vec<u64>,
}

impl Interactions {
    fn draw(n_users: usize, n_brands: usize) -> Self {
        let mut until = Vec::with_capacity(n_brands);
        let mut total = 0.0;
        for brand in 0..n_brands {
            total += 1.0 / (brand + 1) as f64;
            until.push(total);
        }
        let (mut user_rows, mut brands, mut events) = (vec![], vec![], vec![]);
        let mut volumes = vec![0_u64; n_brands];
        for row in 0..n_users {
            let key = row as i64;
            let mut own: Vec<u32> = (0..(uniform(key, 1, 0) * BRANDS_MAX) as i64)
                .map(|i| {
                    let place = uniform(key, 2, i) * total;
                    until.partition_point(|&t| t < place).min(n_brands - 1) as u32
                })
                .collect();
            own.sort_unstable();
            own.dedup();
            for brand in own {
                user_rows.push(row as u32);
                brands.push(brand);
                events.push(1 + (uniform(key, 3, brand.into()).powi(3) * 20.0) as u32);
                volumes[brand as usize] += 1;
            }
        }
        // As in the project, `brand_idx` counts from the largest brand on.
        let mut order: Vec<u32> = (0..n_brands as u32).collect();
        order.sort_by_key(|&brand| (std::cmp::Reverse(volumes[brand as usize]), brand));
        let mut place = vec![0_u32; n_brands];
        for (idx, &brand) in order.iter().enumerate() {
            place[brand as usize] = idx as u32;
        }
        Self {
            user_rows,
            brand_idxs: brands.into_iter().map(|brand| place[brand as usize]).collect(),
            events,
            volumes: order.iter().map(|&brand| volumes[brand as usize]).collect(),
        }
    }

    fn brands(&self) -> Result<RecordBatch> {
        let n = self.volumes.len() as u32;
        batch(vec![
            ("brand_idx", Arc::new(UInt32Array::from_iter_values(0..n))),
            ("brand_id", Arc::new(Int64Array::from_iter_values((0..n).map(brand_id)))),
            ("volume", Arc::new(UInt64Array::from(self.volumes.clone()))),
        ])
    }

    fn of_users(&self, rows: std::ops::Range<usize>) -> Result<RecordBatch> {
        let place = |row: usize| self.user_rows.partition_point(|&r| (r as usize) < row);
        let range = place(rows.start)..place(rows.end);
        let users = &self.user_rows[range.clone()];
        let brands = &self.brand_idxs[range.clone()];
        let ids = users.iter().map(|&row| user_id(row as usize));
        batch(vec![
            ("user_row", Arc::new(UInt32Array::from(users.to_vec()))),
            ("user_id", Arc::new(Int64Array::from_iter_values(ids))),
            ("brand_idx", Arc::new(UInt32Array::from(brands.to_vec()))),
            (
                "brand_id",
                Arc::new(Int64Array::from_iter_values(brands.iter().map(|&b| brand_id(b)))),
            ),
            ("events", Arc::new(UInt32Array::from(self.events[range].to_vec()))),
        ])
    }
}

fn brand_id(brand_idx: u32) -> i64 {
    7_000 + i64::from(brand_idx)
}

fn users(rows: std::ops::Range<usize>) -> Result<RecordBatch> {
    let features = rows
        .clone()
        .flat_map(|row| (0..DIM as i64).map(move |i| uniform(row as i64, 4, i) as f32 - 0.5));
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let features = Arc::new(Float32Array::from_iter_values(features));
    let features = FixedSizeListArray::try_new(item, DIM as i32, features, None)?;
    let ids = rows.clone().map(user_id);
    batch(vec![
        ("user_row", Arc::new(UInt32Array::from_iter_values(rows.clone().map(|row| row as u32)))),
        ("user_id", Arc::new(Int64Array::from_iter_values(ids))),
        ("as_of", Arc::new(Date32Array::from(vec![20_000; rows.len()]))),
        ("features", Arc::new(features)),
    ])
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), false);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Ok(RecordBatch::try_new(Arc::new(schema), arrays)?)
}

fn write_part(folder: &Path, name: &str, part: usize, rows: RecordBatch) -> Result<()> {
    let file = |format: &str| -> Result<File> {
        let folder = folder.join(format).join(name);
        create_dir_all(&folder)?;
        Ok(File::create(folder.join(format!("{part:02}.{format}")))?)
    };
    let snappy = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let snappy = snappy.set_max_row_group_row_count(Some(ROWS_PER_BATCH)).build();
    let mut parquet = ArrowWriter::try_new(file("parquet")?, rows.schema(), Some(snappy))?;
    let mut arrow = FileWriter::try_new(file("arrow")?, &rows.schema())?;
    for start in (0..rows.num_rows()).step_by(ROWS_PER_BATCH) {
        let slice = rows.slice(start, ROWS_PER_BATCH.min(rows.num_rows() - start));
        parquet.write(&slice)?;
        arrow.write(&slice)?;
    }
    parquet.close()?;
    arrow.finish()?;
    Ok(())
}

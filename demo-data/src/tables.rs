//! The population as a company would have it: tables of users, interactions and brands.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int64Array, StringArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field};

use crate::parquet_file::ParquetFile;
use crate::population::{TASTE_DIM, User};

/// `users.parquet`.
pub struct Users {
    pub file: ParquetFile,
    /// Length of the embedding
    dim: usize,
}

impl Users {
    pub fn create(folder: &Path, dim: usize) -> Result<Self> {
        let vector = |dim: usize| DataType::FixedSizeList(item(), dim as i32);
        let fields = vec![
            Field::new("user_id", DataType::Int64, false),
            Field::new("embedding", vector(dim), false),
            Field::new("latent", vector(TASTE_DIM), false),
        ];
        Ok(Self { file: ParquetFile::create(&folder.join("users.parquet"), fields)?, dim })
    }

    /// * `first`: number of the first of them; a user's id is one more.
    pub fn write(&mut self, first: u64, users: &[User]) -> Result<()> {
        let ids = Int64Array::from_iter_values(ids(first, users));
        let embeddings = vectors(self.dim, users, |user| &user.embedding)?;
        let tastes = vectors(TASTE_DIM, users, |user| &user.taste)?;
        self.file.write(vec![Arc::new(ids), embeddings, tastes])
    }
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Float32, false))
}

fn vectors(dim: usize, users: &[User], part: fn(&User) -> &[f32]) -> Result<ArrayRef> {
    let values = Float32Array::from_iter_values(users.iter().flat_map(part).copied());
    Ok(Arc::new(FixedSizeListArray::try_new(item(), dim as i32, Arc::new(values), None)?))
}

fn ids(first: u64, users: &[User]) -> impl Iterator<Item = i64> {
    (first as i64 + 1..).take(users.len())
}

/// `interactions.parquet`.
pub struct Interactions {
    pub file: ParquetFile,
}

impl Interactions {
    pub fn create(folder: &Path) -> Result<Self> {
        let fields = vec![
            Field::new("user_id", DataType::Int64, false),
            Field::new("brand_id", DataType::Utf8, false),
            Field::new("events", DataType::UInt32, false),
        ];
        Ok(Self { file: ParquetFile::create(&folder.join("interactions.parquet"), fields)? })
    }

    /// * `first`: as in [`Users::write`].
    pub fn write(&mut self, first: u64, users: &[User], brand_ids: &[String]) -> Result<()> {
        let (mut user_ids, mut brands, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for (id, user) in ids(first, users).zip(users) {
            for &(brand, n) in &user.labels {
                user_ids.push(id);
                brands.push(brand_ids[brand as usize].as_str());
                events.push(n);
            }
        }
        self.file.write(vec![
            Arc::new(Int64Array::from(user_ids)),
            Arc::new(StringArray::from(brands)),
            Arc::new(UInt32Array::from(events)),
        ])
    }
}

/// Writes `brands.parquet`, which is put in place when it is finished.
pub fn write_brands(folder: &Path, ids: &[String]) -> Result<ParquetFile> {
    let fields = vec![
        Field::new("brand_id", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, false),
    ];
    let mut file = ParquetFile::create(&folder.join("brands.parquet"), fields)?;
    let names = ids.iter().map(|id| format!("Brand {}", &id[1..]));
    file.write(vec![
        Arc::new(StringArray::from_iter_values(ids)),
        Arc::new(StringArray::from_iter_values(names)),
    ])?;
    Ok(file)
}

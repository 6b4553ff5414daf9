//! Parquet files.

mod object; // those in a store

use std::fs::File;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderBuilder, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use ::parquet::errors::ParquetError;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use contract::guarded;
use contract::raw_files::RawFile;
use contract::unreadable::Unreadable;
use contract::user_file::Batches;
use stores::StoreError;

use crate::messages::without_layers;
use crate::{RawTable, open};

/// Rows of a batch.
const BATCH_SIZE: usize = 8192;

const NOT_WHOLE: &str = "is not a whole parquet file; write it again";

/// The columns and the number of rows of a file, from its footer.
///
/// # Errors
///
/// A file that cannot be opened or is not whole.
pub fn look_at(file: &RawFile) -> Result<(Schema, Option<usize>), Unreadable> {
    let metadata = if let Some(object) = &file.object {
        object::metadata(object)?
    } else {
        let opened = File::open(&file.path)?;
        let load = || ArrowReaderMetadata::load(&opened, ArrowReaderOptions::new());
        let metadata = guarded(load).ok_or_else(|| Unreadable::content(NOT_WHOLE))?;
        metadata.map_err(unreadable)?
    };
    let n_rows = usize::try_from(metadata.metadata().file_metadata().num_rows()).ok();
    Ok((Schema::new(metadata.schema().fields().clone()), n_rows))
}

/// Reads the columns of a file that `wanted` has.
///
/// # Errors
///
/// As [`look_at`]; an error in a later row is in the batches.
pub fn read(file: &RawFile, wanted: &SchemaRef) -> Result<Batches, Unreadable> {
    if let Some(object) = &file.object {
        return object::read(object, wanted);
    }
    let opened = File::open(&file.path)?;
    let open = || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(opened)?;
        projected(builder, wanted).build()
    };
    let reader = guarded(open).ok_or_else(|| Unreadable::content(NOT_WHOLE))?;
    let mut reader = reader.map_err(unreadable)?;
    let next = move || guarded(|| reader.next()).unwrap_or_else(|| Some(Err(damaged_page())));
    Ok(Box::new(std::iter::from_fn(next).map(|batch| {
        batch.map_err(|err| match err.into() {
            Unreadable::Content(what) => not_whole(&what),
            io @ Unreadable::Io(_) => io,
        })
    })))
}

/// Reads only the columns that are wanted.
fn projected<T>(builder: ArrowReaderBuilder<T>, wanted: &SchemaRef) -> ArrowReaderBuilder<T> {
    let roots = builder.schema().fields().iter().enumerate();
    let is_wanted = |name: &str| wanted.field_with_name(name).is_ok();
    let roots: Vec<usize> =
        roots.filter(|(_, field)| is_wanted(field.name())).map(|(i, _)| i).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    builder.with_batch_size(BATCH_SIZE).with_projection(mask)
}

/// An error of a store is not one of the file's content.
fn unreadable(err: ParquetError) -> Unreadable {
    match StoreError::find(&err) {
        Some(found) => Unreadable::Io(found.clone().into()),
        None => not_whole(&err.to_string()),
    }
}

fn damaged_page() -> ArrowError {
    ArrowError::ParquetError("a page is damaged".to_owned())
}

fn not_whole(what: &str) -> Unreadable {
    Unreadable::Content(format!("{NOT_WHOLE}: {}", without_layers(what)))
}

/// The first of a table's files that cannot be read, found by reading them all: for readers that do not
/// name it.
pub fn damaged(table: &RawTable) -> Option<anyhow::Error> {
    table.parts.iter().find_map(|part| {
        let read = || read(&part.file, &part.schema)?.try_for_each(|batch| batch.map(drop));
        read().err().map(|err| open::at(err, &table.name, &part.file.path))
    })
}

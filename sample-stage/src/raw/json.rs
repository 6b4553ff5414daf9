//! JSON files, an object a line or an array of objects: columns and types from all rows.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader, Read};

use contract::raw_files::RawFile;
use contract::unreadable::Unreadable;
use contract::user_file::Batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::json::reader::infer_json_schema_from_iterator;
use datafusion_datasource_json::utils::JsonArrayToNdjsonReader;
use indexmap::IndexSet;
use serde_json::Value;

use super::open;

/// Rows of a batch.
const BATCH_SIZE: usize = 8192;

/// Objects, one after the other, whether the file is an array of them or not.
fn objects(file: &RawFile) -> Result<BufReader<Box<dyn Read + Send>>, Unreadable> {
    let mut reader = open::reader(file)?;
    if reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3); // a byte order mark
    }
    let first = reader.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
    let plain: Box<dyn Read + Send> = match first {
        Some(b'[') => Box::new(JsonArrayToNdjsonReader::new(reader)),
        _ => Box::new(reader),
    };
    Ok(BufReader::with_capacity(1 << 20, plain))
}

/// The columns of a file in the order in which they first appear, and types that hold all their
/// values. Numbers that 64 bits with a sign cannot hold are text, as they are ids.
pub fn look_at(file: &RawFile) -> Result<Schema, Unreadable> {
    let row = Cell::new(0_u64);
    let mut names = IndexSet::new();
    let mut large = IndexSet::new();
    let values = serde_json::Deserializer::from_reader(objects(file)?).into_iter::<Value>();
    let objects = values.map(|value| {
        row.set(row.get() + 1);
        let value = value.map_err(|err| ArrowError::JsonError(err.to_string()))?;
        let Value::Object(map) = &value else {
            return Err(ArrowError::JsonError("is no object, as `{\"user_id\": 7}`".to_owned()));
        };
        for (name, value) in map {
            if !names.contains(name) {
                names.insert(name.clone());
            }
            if value.as_u64().is_some_and(|number| i64::try_from(number).is_err()) {
                large.insert(name.clone());
            }
        }
        Ok(value)
    });
    let inferred = infer_json_schema_from_iterator(objects).map_err(|err| match err {
        ArrowError::JsonError(what) => Unreadable::Content(format!("row {}: {what}", row.get())),
        other => other.into(),
    })?;
    let fields = names.iter().map(|name| {
        let found = inferred.field_with_name(name).expect("it was inferred of the same rows");
        let data_type =
            if large.contains(name) { DataType::Utf8 } else { found.data_type().clone() };
        Field::new(name, data_type, true)
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// Reads a file with the columns of `schema`; one that a row does not have is null.
pub fn read(file: &RawFile, schema: SchemaRef) -> Result<Batches, Unreadable> {
    let reader = ReaderBuilder::new(schema)
        .with_coerce_primitive(true) // 7 in a column of text
        .with_batch_size(BATCH_SIZE)
        .build(objects(file)?)?;
    Ok(Box::new(reader.map(|batch| batch.map_err(Unreadable::from))))
}

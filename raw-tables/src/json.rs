//! JSON files, an object a line or an array of objects: columns and types from all rows.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader, Read};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema_from_iterator;
use contract::raw_files::RawFile;
use contract::unreadable::Unreadable;
use contract::user_file::Batches;
use indexmap::IndexMap;
use serde_json::Value;
use serde_json::error::Category;

use crate::json_array::JsonArray;
use crate::open;

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
        Some(b'[') => Box::new(JsonArray::new(reader)),
        _ => Box::new(reader),
    };
    Ok(BufReader::with_capacity(1 << 20, plain))
}

/// The columns of a file in the order in which they first appear, with types that hold all their
/// values. Whole numbers beyond 64 bits become text, as they are ids.
pub fn look_at(file: &RawFile) -> Result<Schema, Unreadable> {
    let row = Cell::new(0_u64);
    let mut columns: IndexMap<String, Numbers> = IndexMap::new();
    let values = serde_json::Deserializer::from_reader(objects(file)?).into_iter::<Value>();
    let objects = values.map(|value| {
        row.set(row.get() + 1);
        let value = value.map_err(|err| match err.classify() {
            Category::Io => ArrowError::IoError(String::new(), err.into()),
            _ => ArrowError::JsonError(err.to_string()),
        })?;
        let Value::Object(map) = &value else {
            return Err(ArrowError::JsonError(
                "is not an object such as `{\"user_id\": 7}`".to_owned(),
            ));
        };
        for (name, value) in map {
            match columns.get_mut(name) {
                Some(numbers) => numbers.add(value),
                None => columns.entry(name.clone()).or_default().add(value),
            }
        }
        Ok(value)
    });
    let inferred = infer_json_schema_from_iterator(objects).map_err(|err| match err {
        ArrowError::JsonError(what) => Unreadable::Content(format!("row {}: {what}", row.get())),
        other => other.into(),
    })?;
    if columns.is_empty() {
        return Err(Unreadable::content("has no rows"));
    }
    let fields = columns.iter().map(|(name, numbers)| {
        let found = inferred.field_with_name(name).expect("it was inferred of the same rows");
        Field::new(name, numbers.data_type(found.data_type()), true)
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// What is known of a column's numbers.
#[derive(Default)]
struct Numbers {
    is_negative: bool,
    has_fraction: bool,
    /// Of the largest number
    size: Size,
}

/// Bits that a whole number needs.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Size {
    /// Signed 64 bits
    #[default]
    Small,
    /// Unsigned 64 bits
    Large,
    /// More
    Huge,
}

impl Numbers {
    fn add(&mut self, value: &Value) {
        let Value::Number(number) = value else { return };
        self.is_negative |= number.as_i64().is_some_and(|number| number < 0);
        if number.is_u64() && !number.is_i64() {
            self.size = self.size.max(Size::Large);
        }
        if let Some(float) = number.as_f64().filter(|_| number.is_f64()) {
            if float.fract() == 0.0 && float.abs() >= BEYOND_64_BITS {
                self.size = Size::Huge;
            } else {
                self.has_fraction = true;
            }
        }
    }

    /// * `inferred`: by Arrow, which takes large numbers for fractions.
    fn data_type(&self, inferred: &DataType) -> DataType {
        let is_whole = inferred.is_numeric() && !self.has_fraction;
        match self.size {
            Size::Large if is_whole && !self.is_negative => DataType::UInt64,
            Size::Large | Size::Huge if is_whole => DataType::Utf8,
            _ => inferred.clone(),
        }
    }
}

/// 2^63: below it a whole number is read as one.
const BEYOND_64_BITS: f64 = 9_223_372_036_854_775_808.0;

/// Reads a file with the columns of `schema`; one that a row does not have is null.
pub fn read(file: &RawFile, schema: SchemaRef) -> Result<Batches, Unreadable> {
    let reader = ReaderBuilder::new(schema)
        .with_coerce_primitive(true) // 7 in a column of text
        .with_batch_size(BATCH_SIZE)
        .build(objects(file)?)?;
    Ok(Box::new(reader.map(|batch| batch.map_err(Unreadable::from))))
}

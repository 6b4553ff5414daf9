//! CSV files: columns and types from all rows.

use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use contract::manifest::TableOptions;
use contract::raw_files::{RawFile, delimiter};
use contract::unreadable::Unreadable;
use contract::user_file::{Batches, distinct_names};

use crate::columns::WHY_TEXT;
use crate::open::{self, Quotes};

/// Rows of a batch.
const BATCH_SIZE: usize = 8192;

/// The columns of a file, with types that hold all their values. A column of numbers is text if one
/// has a leading zero, as such numbers are names.
pub fn look_at(file: &RawFile, options: &TableOptions) -> Result<Schema, Unreadable> {
    let format = Format::default()
        .with_header(options.header)
        .with_delimiter(delimiter(options, &file.path));
    let (inferred, _) = format.infer_schema(open::reader(file)?, None)?;
    let names: Vec<&str> = inferred.fields().iter().map(|f| f.name().as_str()).collect();
    distinct_names(&inferred)?;
    if let [name] = names[..]
        && let Some(other) = [';', '\t', '|'].into_iter().find(|other| name.contains(*other))
    {
        let what = format!(
            "its first line is the single name `{name}`; if `{}` separates the fields, write \
             `delimiter: {other:?}`",
            other.escape_debug()
        );
        return Err(Unreadable::Content(what));
    }
    let kinds: Vec<Values> = values(file, options, names.len())?;
    let fields = inferred.fields().iter().zip(kinds).map(|(field, values)| {
        let is_text = field.data_type().is_numeric() && values.text.is_some();
        let data_type = match field.data_type() {
            _ if is_text => DataType::Utf8,
            DataType::Utf8 if values.is_unsigned() => DataType::UInt64,
            inferred => inferred.clone(),
        };
        let reason = values.text.filter(|_| data_type == DataType::Utf8 && values.has_number);
        let metadata = reason.map(|reason| (WHY_TEXT.to_owned(), reason)).into_iter().collect();
        Field::new(field.name(), data_type, true).with_metadata(metadata)
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// What is known of a column's values.
#[derive(Clone, Default)]
struct Values {
    has_number: bool,
    /// Whether a value is not an unsigned 64-bit whole number
    has_other: bool,
    /// The first value that is not a number, or has a leading zero, and where
    text: Option<String>,
}

fn values(file: &RawFile, options: &TableOptions, n: usize) -> Result<Vec<Values>, Unreadable> {
    let delimiter = delimiter(options, &file.path);
    let mut reader = ::csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(options.header)
        .from_reader(Quotes::new(open::reader(file)?, delimiter));
    let mut found = vec![Values::default(); n];
    let mut record = ::csv::ByteRecord::new();
    let failed = |err: ::csv::Error| {
        let text = err.to_string();
        match err.into_kind() {
            ::csv::ErrorKind::Io(err) => Unreadable::from(err),
            _ => Unreadable::Content(text),
        }
    };
    while reader.read_byte_record(&mut record).map_err(failed)? {
        let line = record.position().map_or(0, ::csv::Position::line);
        for (value, found) in record.iter().zip(&mut found) {
            if value.is_empty() {
                continue;
            }
            found.has_other = found.has_other || !is_unsigned(value);
            if found.has_number && found.text.is_some() {
                continue;
            }
            if is_plain_number(value) {
                found.has_number = true;
            } else if found.text.is_none() {
                let value = String::from_utf8_lossy(value);
                found.text = Some(format!("`{value}` in line {line}"));
            }
        }
    }
    if let Some(fault) = reader.get_ref().fault() {
        return Err(Unreadable::Content(fault));
    }
    Ok(found)
}

impl Values {
    /// Whether all are unsigned 64-bit whole numbers, such as hashes.
    fn is_unsigned(&self) -> bool {
        self.has_number && self.text.is_none() && !self.has_other
    }
}

fn is_unsigned(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| text.parse::<u64>().is_ok())
}

/// Whether a value is a plain number: `007` is a name.
fn is_plain_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let has_leading_zero = matches!(digits, [b'0', next, ..] if next.is_ascii_digit());
    !has_leading_zero
        && std::str::from_utf8(value)
            .is_ok_and(|text| text.trim() == text && text.parse::<f64>().is_ok())
}

/// Reads a file whose columns are those of `schema`, in its own order.
pub fn read(
    file: &RawFile,
    options: &TableOptions,
    schema: SchemaRef,
) -> Result<Batches, Unreadable> {
    let reader = ReaderBuilder::new(schema.clone())
        .with_header(options.header)
        .with_delimiter(delimiter(options, &file.path))
        .with_batch_size(BATCH_SIZE)
        .build_buffered(open::reader(file)?)?;
    Ok(Box::new(reader.map(move |batch| {
        batch.map_err(|err| match err.into() {
            Unreadable::Content(what) => {
                Unreadable::Content(misfit(&what, &schema).unwrap_or(what))
            }
            io @ Unreadable::Io(_) => io,
        })
    })))
}

/// Rewords the parser's error about a value of another type; `None` for other errors.
fn misfit(message: &str, schema: &Schema) -> Option<String> {
    let rest = message.strip_prefix("Error while parsing value '")?;
    let (value, rest) = rest.split_once("' as type '")?;
    let (expected, rest) = rest.split_once("' for column ")?;
    let (column, rest) = rest.split_once(" at line ")?;
    let (row, _) = rest.split_once('.')?;
    let column = schema.fields().get(column.parse::<usize>().ok()?)?.name();
    Some(format!("row {row}: column `{column}`: found `{value}`, expected `{expected}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_leading_zero_is_a_name() {
        for text in ["007", "-01", "00", "01.5", "A17", " 7"] {
            assert!(!is_plain_number(text.as_bytes()), "{text}");
        }
        for text in ["0", "-0", "0.5", "10", "1e3", "NaN"] {
            assert!(is_plain_number(text.as_bytes()), "{text}");
        }
    }
}

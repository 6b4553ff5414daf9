//! The columns that all files of a raw table have, by name, with types that hold all their values.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt32Array, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use contract::manifest::{ColumnType, TableFormat, TableOptions};
use contract::unreadable::Unreadable;

use crate::{Part, RawTable};

/// The columns of a table.
pub struct Columns {
    /// All of them, the keys of folders last
    pub schema: Schema,
    /// How many of the last columns are keys of folders
    pub n_keys: usize,
    /// Columns that are text although some of their values are numbers, with the first other value
    pub why_text: Vec<(String, String)>,
}

/// The table's columns.
///
/// # Errors
///
/// A file whose columns differ from the first file's, a column whose types have no common type, a
/// type for a column that is missing.
pub fn of_all(
    parts: &[Part],
    options: &TableOptions,
    format: TableFormat,
) -> Result<Columns, String> {
    // A json object may lack columns.
    if format != TableFormat::Json {
        for part in &parts[1..] {
            same_names(&parts[0], part, format)?;
        }
    }
    let is_inferred = matches!(format, TableFormat::Csv | TableFormat::Json);
    let mut fields = own_fields(parts, options, is_inferred)?;
    // A file's own column takes precedence over a folder's key.
    let keys = parts[0].file.keys.iter().map(|(key, _)| key);
    let keys = keys.filter(|key| !fields.iter().any(|field| field.name() == *key));
    let keys: Vec<Field> = keys.map(|key| key_field(key, parts, options)).collect();
    let n_keys = keys.len();
    fields.extend(keys);
    if let Some(name) = options.types.keys().find(|name| !fields.iter().any(|f| f.name() == *name))
    {
        let known: Vec<_> = fields.iter().map(|field| format!("`{}`", field.name())).collect();
        return Err(format!("`types` names the column `{name}`; there are {}", known.join(", ")));
    }
    Ok(Columns { why_text: why_text(parts, &fields), schema: Schema::new(fields), n_keys })
}

/// The columns of all files, in the order in which they first appear.
fn own_fields(
    parts: &[Part],
    options: &TableOptions,
    is_inferred: bool,
) -> Result<Vec<Field>, String> {
    let mut fields: Vec<Field> = Vec::new();
    for part in parts {
        for field in part.schema.fields() {
            let given = options.types.get(field.name()).map(|given| given.arrow());
            if given == Some(DataType::Int64) && field.data_type().is_floating() {
                return Err(format!(
                    "{}: column `{}` is `{}`, and `types` wants whole numbers; give `float` or \
                     `text`, or round it in a view",
                    part.file.path.display(),
                    field.name(),
                    field.data_type()
                ));
            }
            match fields.iter_mut().find(|known| known.name() == field.name()) {
                None => {
                    let data_type = given.unwrap_or_else(|| plain(field.data_type()));
                    fields.push(Field::new(field.name(), data_type, true));
                }
                Some(known) if given.is_none() => {
                    let wide = widened(known.data_type(), field.data_type(), is_inferred);
                    let wide = wide.ok_or_else(|| {
                        format!(
                            "column `{}` is `{}` in {}, and `{}` in files before it; write them \
                             alike, or give its type with `types: {{{}: text}}`",
                            field.name(),
                            field.data_type(),
                            part.file.path.display(),
                            known.data_type(),
                            field.name()
                        )
                    })?;
                    known.set_data_type(wide);
                }
                Some(_) => {}
            }
        }
    }
    Ok(fields)
}

/// As [`Columns::why_text`].
fn why_text(parts: &[Part], fields: &[Field]) -> Vec<(String, String)> {
    let texts = fields.iter().filter(|field| *field.data_type() == DataType::Utf8);
    let with_reason = texts.filter_map(|field| {
        let reason = |part: &Part| {
            let reason =
                part.schema.field_with_name(field.name()).ok()?.metadata().get(WHY_TEXT)?;
            Some(format!("{reason} of {}", part.file.path.display()))
        };
        Some((field.name().clone(), parts.iter().find_map(reason)?))
    });
    with_reason.collect()
}

/// Metadata key of a text column that also holds numbers: the first other value, and its place.
pub const WHY_TEXT: &str = "why_text";

fn names(part: &Part) -> Vec<&str> {
    part.schema.fields().iter().map(|field| field.name().as_str()).collect()
}

fn same_names(first: &Part, other: &Part, format: TableFormat) -> Result<(), String> {
    let (expected, found) = (names(first), names(other));
    let is_same = expected.len() == found.len() && expected.iter().all(|name| found.contains(name));
    if is_same {
        return Ok(());
    }
    let shown = |names: &[&str]| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let remedy = if format == TableFormat::Csv {
        "each file needs a first line with the same names, in any order"
    } else {
        "each file needs the same columns, in any order"
    };
    let (found, expected) = (shown(&found), shown(&expected));
    let (file, first) = (other.file.path.display(), first.file.path.display());
    Err(format!(
        "{file}: its columns are {found}, those of {first} are {expected}; {remedy}, or make it a \
         table of its own"
    ))
}

/// The type of a folder's key: whole numbers or days if all its values are, else text.
fn key_field(key: &str, parts: &[Part], options: &TableOptions) -> Field {
    let values = || parts.iter().filter_map(|part| key_value(part, key));
    let is_number =
        |value: &str| value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
    let is_unsigned =
        |value: &str| value.parse::<u64>().is_ok_and(|number| number.to_string() == value);
    let is_day = |value: &str| {
        value.len() == "2024-07-01".len() && of_text(value, &DataType::Date32).is_ok()
    };
    let data_type = match options.types.get(key) {
        Some(given) => given.arrow(),
        None if values().all(is_number) => DataType::Int64,
        None if values().all(is_unsigned) => DataType::UInt64,
        None if values().all(is_day) => DataType::Date32,
        None => DataType::Utf8,
    };
    Field::new(key, data_type, true)
}

fn key_value<'a>(part: &'a Part, key: &str) -> Option<&'a str> {
    part.file.keys.iter().find(|(name, _)| name == key)?.1.as_deref()
}

/// Values of a file's keys, as the table's last columns have them: arrays of one value.
///
/// # Errors
///
/// A value that is not of its column's type.
pub fn key_values(table: &RawTable, part: &Part) -> Result<Vec<ArrayRef>, Unreadable> {
    let fields = &table.schema.fields()[table.first_key()..];
    let value = |field: &FieldRef| match key_value(part, field.name()) {
        None => Ok(new_null_array(field.data_type(), 1)),
        Some(text) => of_text(text, field.data_type()),
    };
    let values = fields.iter().map(|field| {
        value(field).map_err(|_| {
            let text = key_value(part, field.name()).unwrap_or_default();
            let (name, expected) = (field.name(), field.data_type());
            Unreadable::Content(format!("its folder's `{name}={text}` is not a valid `{expected}`"))
        })
    });
    values.collect()
}

/// A value written as text, as an array of one.
fn of_text(text: &str, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(&StringArray::from(vec![text]), to, &STRICT)
}

/// A value that cannot be cast is an error.
const STRICT: CastOptions = CastOptions { safe: false, format_options: FormatOptions::new() };

trait ArrowType {
    fn arrow(self) -> DataType;
}

impl ArrowType for ColumnType {
    fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

/// A type as tables have it: all text types become `Utf8`.
fn plain(found: &DataType) -> DataType {
    match found {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Dictionary(_, values) => plain(values),
        other => other.clone(),
    }
}

/// A type that holds the values of both; text if there is no other and types were inferred from
/// values.
fn widened(a: &DataType, b: &DataType, is_inferred: bool) -> Option<DataType> {
    let (a, b) = (&plain(a), &plain(b));
    if a == b {
        return Some(a.clone());
    }
    let item = |field: &FieldRef, other: &FieldRef| {
        let wide = widened(field.data_type(), other.data_type(), is_inferred)?;
        Some(Arc::new(Field::new_list_field(wide, true)))
    };
    match (a, b) {
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        (a, b) if a.is_integer() && b.is_integer() => {
            let is_wide = |t: &DataType| *t == DataType::UInt64;
            let beyond =
                (is_wide(a) && b.is_signed_integer()) || (is_wide(b) && a.is_signed_integer());
            Some(match (is_wide(a) || is_wide(b), beyond) {
                (_, true) => DataType::Decimal128(20, 0),
                (true, false) => DataType::UInt64,
                (false, false) => DataType::Int64,
            })
        }
        (a, b) if a.is_numeric() && b.is_numeric() => Some(DataType::Float64),
        (DataType::Date32 | DataType::Date64, DataType::Timestamp(unit, None))
        | (DataType::Timestamp(unit, None), DataType::Date32 | DataType::Date64) => {
            Some(DataType::Timestamp(*unit, None))
        }
        (DataType::Timestamp(a, zone), DataType::Timestamp(b, other)) if zone == other => {
            Some(DataType::Timestamp(*a.max(b), zone.clone()))
        }
        (DataType::FixedSizeList(a, n), DataType::FixedSizeList(b, m)) if n == m => {
            Some(DataType::FixedSizeList(item(a, b)?, *n))
        }
        (
            DataType::List(a) | DataType::LargeList(a) | DataType::FixedSizeList(a, _),
            DataType::List(b) | DataType::LargeList(b) | DataType::FixedSizeList(b, _),
        ) => Some(DataType::List(item(a, b)?)),
        (a, b) if is_inferred && !a.is_nested() && !b.is_nested() => Some(DataType::Utf8),
        _ => None,
    }
}

/// A file's own columns, in its order, as the table has them.
pub fn own_columns(table: &RawTable, part: &Part) -> SchemaRef {
    let of_table = |field: &FieldRef| {
        let field = table.schema.field_with_name(field.name()).expect("all columns of all files");
        field.clone()
    };
    Arc::new(Schema::new(part.schema.fields().iter().map(of_table).collect::<Vec<_>>()))
}

/// A file's rows with columns of the table.
///
/// * `wanted`: some of the table's columns, or all.
/// * `keys`: values of the table's last columns, the keys of its folders.
///
/// # Errors
///
/// A value that the table's type cannot hold.
pub fn conform(
    table: &RawTable,
    wanted: &SchemaRef,
    keys: &[ArrayRef],
    batch: &RecordBatch,
) -> Result<RecordBatch, Unreadable> {
    let n = batch.num_rows();
    let first_key = table.first_key();
    let column = |field: &FieldRef| -> Result<ArrayRef, Unreadable> {
        let at = table.schema.index_of(field.name())?;
        if at >= first_key {
            let first = UInt32Array::from(vec![0; n]);
            return Ok(take(&keys[at - first_key], &first, None)?);
        }
        let Some(found) = batch.column_by_name(field.name()) else {
            return Ok(new_null_array(field.data_type(), n));
        };
        cast_with_options(found, field.data_type(), &STRICT).map_err(|err| {
            match Unreadable::from(err) {
                Unreadable::Content(what) => {
                    Unreadable::Content(format!("column `{}`: {what}", field.name()))
                }
                io @ Unreadable::Io(_) => io,
            }
        })
    };
    let columns = wanted.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(n));
    Ok(RecordBatch::try_new_with_options(wanted.clone(), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_files_are_widened_to_one_that_holds_all_values() {
        let wide = |a, b| widened(&a, &b, false);
        assert_eq!(wide(DataType::Int32, DataType::Int64), Some(DataType::Int64));
        assert_eq!(wide(DataType::UInt64, DataType::Int64), Some(DataType::Decimal128(20, 0)));
        assert_eq!(wide(DataType::Int64, DataType::Float64), Some(DataType::Float64));
        assert_eq!(wide(DataType::Null, DataType::Date32), Some(DataType::Date32));
        assert_eq!(wide(DataType::LargeUtf8, DataType::Utf8View), Some(DataType::Utf8));
        assert_eq!(
            wide(DataType::Utf8, DataType::Int64),
            None,
            "which is right is not ours to say"
        );
        assert_eq!(widened(&DataType::Utf8, &DataType::Int64, true), Some(DataType::Utf8));
        let list = |item| DataType::new_list(item, true);
        assert_eq!(
            wide(list(DataType::Int64), DataType::new_fixed_size_list(DataType::Float32, 2, true)),
            Some(list(DataType::Float64))
        );
    }
}

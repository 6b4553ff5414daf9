//! Ids of users and brands: columns of whole numbers or text, as `Int64` or `Utf8`.
//!
//! | found | becomes |
//! | --- | --- |
//! | integers, decimals of scale 0, dictionaries of them | `Int64`; `Utf8` of their digits if one is beyond 64 bits with a sign |
//! | text, dictionaries of text, binary that is UTF-8 | `Utf8` |
//! | 16 bytes that are no printable ASCII: a UUID | `Utf8`, as `550e8400-e29b-41d4-a716-446655440000` |
//!
//! Floats, dates and lists are refused: which id `7.0` or a date means cannot be guessed.

use std::fmt::{self, Write as _};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::exit::DataError;
use crate::words::plural;

/// Kind of ids. Ids of two tables can match only if they are of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// Whole numbers
    Number,
    /// Text
    Text,
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "whole numbers",
            Self::Text => "text",
        })
    }
}

/// Why a column's values are not ids. `Display` leaves out where the column is, and says what to
/// write in a manifest; see [`Self::at`] and [`Self::in_file`].
#[derive(Debug, thiserror::Error)]
pub enum IdError {
    /// Its type holds none
    NotIds {
        /// Its type
        found: DataType,
        /// What would make ids of it
        remedy: Remedy,
    },
    /// They are numbers where others are text, or the other way round
    OtherKind {
        /// Its type
        found: DataType,
        /// What its ids are
        kind: IdKind,
        /// Type of the column that it refers to
        expected: DataType,
        /// What the ids of that column are
        expected_kind: IdKind,
    },
    /// Bytes that are not text
    Bytes {
        /// 0-based row of the batch
        row: usize,
        /// As hexadecimal digits
        bytes: String,
    },
    /// This many are null
    Nulls(usize),
    /// Arrow could not convert them
    Arrow(#[from] ArrowError),
}

/// What makes ids of a column. Messages call the column `COLUMN` until its name is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// A cast to this SQL type
    Cast(&'static str),
    /// The bytes as hexadecimal digits
    Encode,
    /// Values: the column has none
    Values,
    /// None is known
    Unknown,
}

impl Remedy {
    /// For a table of a manifest: SQL for a view, or a type to read a column as.
    fn in_manifest(self) -> String {
        let here = self.in_file();
        match self {
            Self::Cast(_) => {
                format!("{here} in a view, or `types: {{COLUMN: text}}` if it is of csv or json")
            }
            Self::Encode => format!("{here} in a view"),
            Self::Values | Self::Unknown => here,
        }
    }

    /// For a file that no manifest describes: SQL for whoever makes it.
    fn in_file(self) -> String {
        match self {
            Self::Cast(to) => format!("; write `cast(COLUMN as {to})`"),
            Self::Encode => "; write `encode(COLUMN, 'hex')`".to_owned(),
            Self::Values => "; it has no value".to_owned(),
            Self::Unknown => String::new(),
        }
    }
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message(Remedy::in_manifest))
    }
}

impl IdError {
    /// With the table and the column, for a table of a manifest.
    pub fn at(&self, table: &str, column: &str) -> DataError {
        self.located(table, column, Remedy::in_manifest)
    }

    /// With the table and the column, for a file that no manifest describes.
    pub fn in_file(&self, table: &str, column: &str) -> DataError {
        self.located(table, column, Remedy::in_file)
    }

    fn located(&self, table: &str, column: &str, remedy: fn(Remedy) -> String) -> DataError {
        let what = self.message(remedy).replace("COLUMN", column);
        DataError(format!("{table}: column `{column}` {what}"))
    }

    fn message(&self, words: fn(Remedy) -> String) -> String {
        match self {
            Self::NotIds { found, remedy } => {
                format!("is `{found}`, expected whole numbers or text{}", words(*remedy))
            }
            Self::OtherKind { found, kind, expected, expected_kind } => format!(
                "is `{found}` ({kind}), but the ids it refers to are `{expected}` \
                 ({expected_kind}); cast one of them in a view, or give the type of a csv or json \
                 column with `types`"
            ),
            Self::Bytes { row, bytes } => format!(
                "holds bytes that are neither UTF-8 text nor a UUID (row {row}: `{bytes}`){}",
                words(Remedy::Encode)
            ),
            Self::Nulls(n) => format!("holds {}, expected none", plural(*n as u64, "null")),
            Self::Arrow(err) => err.to_string(),
        }
    }
}

impl IdKind {
    /// What a column's ids are.
    ///
    /// # Errors
    ///
    /// [`IdError::NotIds`], with what to write instead.
    pub fn of(found: &DataType) -> Result<Self, IdError> {
        let not_ids = |remedy| IdError::NotIds { found: found.clone(), remedy };
        match found {
            t if t.is_integer() => Ok(Self::Number),
            DataType::Decimal32(_, 0)
            | DataType::Decimal64(_, 0)
            | DataType::Decimal128(_, 0)
            | DataType::Decimal256(_, 0) => Ok(Self::Number),
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Ok(Self::Text),
            DataType::Dictionary(_, values) => Self::of(values),
            t if t.is_floating() || t.is_decimal() => Err(not_ids(Remedy::Cast("bigint"))),
            t if t.is_temporal() || *t == DataType::Boolean => {
                Err(not_ids(Remedy::Cast("varchar")))
            }
            DataType::Null => Err(not_ids(Remedy::Values)),
            _ => Err(not_ids(Remedy::Unknown)),
        }
    }
}

/// The type that ids of a column have between stages: `Int64` unless they are text or one of
/// them does not fit.
///
/// # Errors
///
/// [`IdError::NotIds`].
pub fn stored_type(ids: &ArrayRef) -> Result<DataType, IdError> {
    match IdKind::of(ids.data_type())? {
        IdKind::Text => Ok(DataType::Utf8),
        IdKind::Number => {
            let fitting = convert(ids, &DataType::Int64)?;
            let fits = fitting.null_count() == ids.logical_null_count();
            Ok(if fits { DataType::Int64 } else { DataType::Utf8 })
        }
    }
}

/// Ids of any column as `to`, `Int64` or `Utf8`; null where a number does not fit.
///
/// # Errors
///
/// [`IdError::NotIds`] or [`IdError::Bytes`].
pub fn convert(ids: &ArrayRef, to: &DataType) -> Result<ArrayRef, IdError> {
    IdKind::of(ids.data_type())?;
    match ids.data_type() {
        found if found == to => Ok(ids.clone()),
        DataType::Dictionary(_, values) => convert(&cast(ids, values)?, to),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            Ok(Arc::new(texts_of(&cast(ids, &DataType::LargeBinary)?, is_utf8)?))
        }
        DataType::FixedSizeBinary(_) => {
            Ok(Arc::new(texts_of(&cast(ids, &DataType::LargeBinary)?, is_printable)?))
        }
        _ => Ok(cast_with_options(ids, to, &CastOptions { safe: true, ..CastOptions::default() })?),
    }
}

fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && (bytes.len() != UUID_BYTES || is_printable(bytes))
}

/// A UUID of any standard variant has a byte beyond ASCII, so none is taken for text.
fn is_printable(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| (b' '..=b'~').contains(byte))
}

const UUID_BYTES: usize = 16;

fn texts_of(bytes: &ArrayRef, is_text: fn(&[u8]) -> bool) -> Result<StringArray, IdError> {
    let mut texts = StringBuilder::new();
    for (row, bytes) in bytes.as_binary::<i64>().iter().enumerate() {
        let text = bytes.map(std::str::from_utf8);
        match (bytes, text) {
            (None, _) | (_, None) => texts.append_null(),
            (Some(bytes), Some(Ok(text))) if is_text(bytes) => texts.append_value(text),
            (Some(bytes), _) if bytes.len() == UUID_BYTES => texts.append_value(uuid(bytes)),
            (Some(_), Some(Ok(text))) => texts.append_value(text),
            (Some(bytes), _) => return Err(IdError::Bytes { row, bytes: hex(bytes) }),
        }
    }
    Ok(texts.finish())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn uuid(bytes: &[u8]) -> String {
    let parts = [0..4, 4..6, 6..8, 8..10, 10..UUID_BYTES];
    parts.map(|part| hex(&bytes[part])).join("-")
}

/// All ids of a table's column, taken batch by batch, as they are between stages: beside a batch
/// nothing else is held.
#[derive(Debug, Default)]
pub struct Ids {
    values: Values,
    n_nulls: usize,
}

#[derive(Debug)]
enum Values {
    Numbers(Vec<i64>),
    /// Where each text ends, after a 0, and the texts
    Texts(Vec<i32>, String),
}

impl Default for Values {
    fn default() -> Self {
        Self::Numbers(Vec::new())
    }
}

impl Ids {
    /// Takes a batch. From the first on that is not of whole numbers of 64 bits, all become text.
    ///
    /// # Errors
    ///
    /// A type that holds no ids, bytes that are not text, or more than 2 GiB of text.
    pub fn add(&mut self, ids: &ArrayRef) -> Result<(), IdError> {
        self.n_nulls += ids.logical_null_count();
        if let Values::Numbers(numbers) = &mut self.values {
            if stored_type(ids)? == DataType::Int64 {
                let found = convert(ids, &DataType::Int64)?;
                numbers.extend_from_slice(found.as_primitive::<Int64Type>().values());
                return Ok(());
            }
            let numbers = std::mem::take(numbers);
            self.values = Values::Texts(vec![0], String::new());
            for number in numbers {
                self.push(&number.to_string())?;
            }
        }
        for id in convert(ids, &DataType::Utf8)?.as_string::<i32>() {
            self.push(id.unwrap_or_default())?;
        }
        Ok(())
    }

    fn push(&mut self, id: &str) -> Result<(), IdError> {
        let Values::Texts(ends, texts) = &mut self.values else { unreachable!("they are text") };
        texts.push_str(id);
        let end = i32::try_from(texts.len());
        ends.push(end.map_err(|_| ArrowError::OffsetOverflowError(texts.len()))?);
        Ok(())
    }

    /// The ids, in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`IdError::Nulls`].
    pub fn finish(self) -> Result<ArrayRef, IdError> {
        if self.n_nulls > 0 {
            return Err(IdError::Nulls(self.n_nulls));
        }
        Ok(match self.values {
            Values::Numbers(numbers) => Arc::new(Int64Array::from(numbers)),
            Values::Texts(ends, texts) => {
                let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(StringArray::new(ends, Buffer::from_vec(texts.into_bytes()), None))
            }
        })
    }
}

/// Numbers the ids of a table's column, none of which may appear twice.
///
/// * `found`: type of the column before it was converted.
///
/// # Errors
///
/// The first id that appears a second time.
pub fn index(
    table: &str,
    column: &str,
    ids: &ArrayRef,
    found: DataType,
) -> Result<IdIndex, DataError> {
    IdIndex::new(ids, found).map_err(|row| DataError(twice(table, column, &shown(ids, row))))
}

/// The message about an id that appears a second time.
///
/// * `id`: as shown.
pub(crate) fn twice(table: &str, column: &str, id: &str) -> String {
    format!("{table}: `{column}` {id} appears twice, expected once")
}

/// The ids of an `Int64` or `Utf8` column, as text.
pub fn id_texts(ids: &dyn Array) -> Vec<String> {
    if *ids.data_type() == DataType::Int64 {
        return ids.as_primitive::<Int64Type>().values().iter().map(i64::to_string).collect();
    }
    ids.as_string::<i32>().iter().map(|id| id.unwrap_or_default().to_owned()).collect()
}

/// An id, for messages.
pub fn shown(ids: &dyn Array, row: usize) -> String {
    if ids.is_null(row) {
        return "null".to_owned();
    }
    format!("`{}`", array_value_to_string(ids, row).unwrap_or_default())
}

/// Maps an id to its position. Takes some 6 to 12 bytes an id beside the ids themselves.
#[derive(Debug)]
pub struct IdIndex {
    /// Type of the column as it was found
    found: DataType,
    /// `Int64` or `Utf8`
    ids: ArrayRef,
    positions: HashTable<u32>,
    /// Ids come from the user's own tables, so the hash may be fast instead of resistant to attacks.
    state: RandomState,
}

impl IdIndex {
    /// Numbers the ids of an `Int64` or `Utf8` column in order.
    ///
    /// * `found`: type of the column before it was converted.
    ///
    /// # Errors
    ///
    /// The 0-based row of the first id that appears a second time.
    pub fn new(ids: &ArrayRef, found: DataType) -> Result<Self, usize> {
        let state = RandomState::default();
        let mut positions = HashTable::with_capacity(ids.len());
        if *ids.data_type() == DataType::Int64 {
            let ids = ids.as_primitive::<Int64Type>().values();
            let hash = |row: &u32| state.hash_one(ids[*row as usize]);
            number_rows(&mut positions, ids.len(), hash, |a, b| {
                ids[a as usize] == ids[b as usize]
            })?;
        } else {
            let ids = ids.as_string::<i32>();
            let id = |row: u32| ids.value(row as usize);
            let hash = |row: &u32| state.hash_one(id(*row));
            number_rows(&mut positions, ids.len(), hash, |a, b| id(a) == id(b))?;
        }
        Ok(Self { found, ids: ids.clone(), positions, state })
    }

    /// Memory of the index without its ids, in bytes.
    pub fn n_bytes(&self) -> usize {
        self.positions.allocation_size()
    }

    /// The Arrow type of the ids between stages, `Int64` or `Utf8`.
    pub fn data_type(&self) -> DataType {
        self.ids.data_type().clone()
    }

    /// Checks that a column can refer to these ids.
    ///
    /// # Errors
    ///
    /// [`IdError::NotIds`] or [`IdError::OtherKind`].
    pub fn check_type(&self, found: &DataType) -> Result<(), IdError> {
        let (kind, expected_kind) = (IdKind::of(found)?, IdKind::of(&self.found)?);
        if kind == expected_kind {
            return Ok(());
        }
        let (found, expected) = (found.clone(), self.found.clone());
        Err(IdError::OtherKind { found, kind, expected, expected_kind })
    }

    /// The position of each id of a column; `None` where it is unknown or null.
    ///
    /// # Errors
    ///
    /// As [`Self::check_type`]; also [`IdError::Bytes`].
    pub fn positions(&self, ids: &ArrayRef) -> Result<Vec<Option<u32>>, IdError> {
        if *ids.data_type() == DataType::Null {
            return Ok(vec![None; ids.len()]); // a column or list without any value
        }
        self.check_type(ids.data_type())?;
        Ok(self.stored_positions(&convert(ids, self.ids.data_type())?))
    }

    /// As [`Self::positions`], for ids that are [`Self::data_type`] already: they may be text that stands
    /// for numbers.
    pub fn stored_positions(&self, ids: &ArrayRef) -> Vec<Option<u32>> {
        if *self.ids.data_type() == DataType::Int64 {
            let known = self.ids.as_primitive::<Int64Type>().values();
            positions_of(ids.as_primitive::<Int64Type>().iter(), |id| {
                let is_same = |row: &u32| known[*row as usize] == id;
                self.positions.find(self.state.hash_one(id), is_same).copied()
            })
        } else {
            let known = self.ids.as_string::<i32>();
            positions_of(ids.as_string::<i32>().iter(), |id| {
                let is_same = |row: &u32| known.value(*row as usize) == id;
                self.positions.find(self.state.hash_one(id), is_same).copied()
            })
        }
    }
}

/// Puts `n` rows into a table.
///
/// # Errors
///
/// The first row that is the same as one before.
fn number_rows(
    positions: &mut HashTable<u32>,
    n: usize,
    hash: impl Fn(&u32) -> u64,
    is_same: impl Fn(u32, u32) -> bool,
) -> Result<(), usize> {
    for row in 0..n as u32 {
        match positions.entry(hash(&row), |&other| is_same(row, other), &hash) {
            Entry::Occupied(_) => return Err(row as usize),
            Entry::Vacant(place) => drop(place.insert(row)),
        }
    }
    Ok(())
}

/// The position of each id. Rows of a user often follow each other, so the last id is remembered.
fn positions_of<T: Copy + PartialEq>(
    ids: impl Iterator<Item = Option<T>>,
    find: impl Fn(T) -> Option<u32>,
) -> Vec<Option<u32>> {
    let mut last = None;
    let mut position = None;
    ids.map(|id| {
        if id != last {
            (last, position) = (id, id.and_then(&find));
        }
        position
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BinaryArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray, Float64Array,
        Int32Array, Int64Array, LargeStringArray, UInt64Array,
    };
    use arrow::datatypes::{Int8Type, Int32Type};

    fn stored(ids: ArrayRef) -> Vec<String> {
        let to = stored_type(&ids).unwrap();
        id_texts(&*convert(&ids, &to).unwrap())
    }

    #[test]
    fn every_type_that_holds_whole_numbers_or_text_is_an_id() {
        assert_eq!(stored(Arc::new(Int32Array::from(vec![7, -1]))), ["7", "-1"]);
        let decimals = Decimal128Array::from(vec![7, 8]).with_precision_and_scale(38, 0).unwrap();
        assert_eq!(stored(Arc::new(decimals)), ["7", "8"]);
        let categories: DictionaryArray<Int8Type> = vec!["b", "a", "b"].into_iter().collect();
        assert_eq!(stored(Arc::new(categories)), ["b", "a", "b"]);
        assert_eq!(stored(Arc::new(LargeStringArray::from(vec!["07"]))), ["07"]);
        assert_eq!(stored(Arc::new(BinaryArray::from(vec!["ü7".as_bytes()]))), ["ü7"]);
    }

    /// 2^63 is the first number that `Int64` cannot hold: then all are kept as their digits.
    #[test]
    fn unsigned_64_bit_ids_keep_all_digits() {
        let small: ArrayRef = Arc::new(UInt64Array::from(vec![1, (1 << 63) - 1]));
        assert_eq!(stored_type(&small).unwrap(), DataType::Int64);
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![1, 1 << 63]));
        assert_eq!(stored_type(&large).unwrap(), DataType::Utf8);
        assert_eq!(stored(large.clone()), ["1", "9223372036854775808"]);

        let large: ArrayRef = Arc::new(StringArray::from(stored(large)));
        let index = IdIndex::new(&large, DataType::UInt64).unwrap();
        let others: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        assert_eq!(index.positions(&others).unwrap(), [Some(0), None], "still whole numbers");
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["9223372036854775808", "7"]));
        assert!(index.positions(&texts).is_err(), "text of another table");
        assert_eq!(index.stored_positions(&texts), [Some(1), None]);
    }

    /// Batch by batch, ids become what they would be together.
    #[test]
    fn ids_of_all_batches_are_text_if_one_is() {
        let all = |parts: &[ArrayRef]| {
            let mut ids = Ids::default();
            for part in parts {
                ids.add(part).unwrap();
            }
            ids.finish()
        };
        let numbers = |ids: &[u64]| -> ArrayRef { Arc::new(UInt64Array::from(ids.to_vec())) };
        let (small, large) = (numbers(&[7, 8]), numbers(&[9, u64::MAX]));
        let found = all(&[small.clone(), numbers(&[9])]).unwrap();
        assert_eq!(found.as_primitive::<Int64Type>().values(), &[7, 8, 9]);
        let found = all(&[small, large]).unwrap();
        assert_eq!(id_texts(&found), ["7", "8", "9", "18446744073709551615"]);
        let none: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        assert_eq!(all(&[none]).unwrap_err().to_string(), "holds 1 null, expected none");
        assert_eq!(all(&[]).unwrap().len(), 0);
    }

    #[test]
    fn an_index_finds_ids_in_any_order_and_the_first_that_repeats() {
        let texts = |ids: &[&str]| -> ArrayRef { Arc::new(StringArray::from(ids.to_vec())) };
        let index = IdIndex::new(&texts(&["b", "a", "c"]), DataType::Utf8).unwrap();
        let found = index.positions(&texts(&["c", "c", "d", "d", "b"])).unwrap();
        assert_eq!(found, [Some(2), Some(2), None, None, Some(0)]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![5, -5, 7, -5, 5]));
        assert_eq!(IdIndex::new(&numbers, DataType::Int64).unwrap_err(), 3);
    }

    #[test]
    fn sixteen_bytes_are_a_uuid_unless_they_are_printable() {
        let bytes: Vec<u8> = (0x80..0x90).collect();
        let values = [bytes.as_slice(), b"abcdefghijklmnop"];
        let ids = FixedSizeBinaryArray::try_from_iter(values.into_iter()).unwrap();
        let expected = ["80818283-8485-8687-8889-8a8b8c8d8e8f", "abcdefghijklmnop"];
        assert_eq!(stored(Arc::new(ids)), expected);
        assert_eq!(stored(Arc::new(BinaryArray::from(values.to_vec()))), expected);
    }

    /// Whoever makes a file on its own has no view and no `types`.
    #[test]
    fn the_remedy_fits_where_the_column_is_from() {
        let dates: ArrayRef = Arc::new(arrow::array::Date32Array::from(vec![7]));
        let err = stored_type(&dates).unwrap_err();
        assert_eq!(
            err.at("users", "user_id").0,
            "users: column `user_id` is `Date32`, expected whole numbers or text; write \
             `cast(user_id as varchar)` in a view, or `types: {user_id: text}` if it is of csv or json"
        );
        assert_eq!(
            err.in_file("users", "user_id").0,
            "users: column `user_id` is `Date32`, expected whole numbers or text; write \
             `cast(user_id as varchar)`"
        );
    }

    #[test]
    fn a_column_that_holds_no_ids_is_rejected_with_a_remedy() {
        let message = |ids: ArrayRef| stored_type(&ids).unwrap_err().to_string();
        assert_eq!(
            message(Arc::new(Float64Array::from(vec![7.0]))),
            "is `Float64`, expected whole numbers or text; write `cast(COLUMN as bigint)` in a view, \
             or `types: {COLUMN: text}` if it is of csv or json"
        );
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&[0xff_u8, 0xfe][..]]));
        let message = convert(&bytes, &DataType::Utf8).unwrap_err().to_string();
        assert!(message.contains("row 0: `fffe`"), "{message}");
    }

    #[test]
    fn numbers_and_text_never_match() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["7"]));
        let index = IdIndex::new(&texts, DataType::Utf8).unwrap();
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let message = index.positions(&numbers).unwrap_err().to_string();
        assert!(
            message.starts_with(
                "is `Int64` (whole numbers), but the ids it refers to are `Utf8` (text)"
            ),
            "{message}"
        );
        let dictionary: ArrayRef =
            Arc::new(vec!["7"].into_iter().collect::<DictionaryArray<Int32Type>>());
        assert_eq!(index.positions(&dictionary).unwrap(), [Some(0)]);
    }
}

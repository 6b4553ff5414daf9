//! Columns of a table that was read, as slices; and lists being built.
//!
//! The accessors panic on a column that is missing or of another type: call them for the columns of
//! a contract, which reading has checked.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Float32Array, ListArray,
    PrimitiveArray, RecordBatch, StringArray, UInt32Array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, UInt32Type, UInt64Type};
use std::sync::Arc;

fn primitive<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> &'a PrimitiveArray<T> {
    column(batch, name).as_primitive::<T>()
}

/// The column of this name.
pub fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).expect("the contract was checked when the table was read")
}

/// A `UInt32` column.
pub fn u32s<'a>(batch: &'a RecordBatch, name: &str) -> &'a [u32] {
    primitive::<UInt32Type>(batch, name).values()
}

/// A `UInt64` column.
pub fn u64s<'a>(batch: &'a RecordBatch, name: &str) -> &'a [u64] {
    primitive::<UInt64Type>(batch, name).values()
}

/// A `Float32` column.
pub fn f32s<'a>(batch: &'a RecordBatch, name: &str) -> &'a [f32] {
    primitive::<Float32Type>(batch, name).values()
}

/// A `Float64` column.
pub fn f64s<'a>(batch: &'a RecordBatch, name: &str) -> &'a [f64] {
    primitive::<Float64Type>(batch, name).values()
}

/// A `Float64` column with nulls.
pub fn nullable_f64s(batch: &RecordBatch, name: &str) -> Vec<Option<f64>> {
    primitive::<Float64Type>(batch, name).iter().collect()
}

/// A `Boolean` column.
pub fn bools<'a>(batch: &'a RecordBatch, name: &str) -> &'a BooleanArray {
    column(batch, name).as_boolean()
}

/// A `Utf8` column.
pub fn texts<'a>(batch: &'a RecordBatch, name: &str) -> &'a StringArray {
    column(batch, name).as_string::<i32>()
}

/// A list column, as offsets into its values: row `i` is `values[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, Copy)]
pub struct ListSlices<'a, T> {
    offsets: &'a [i32],
    values: &'a [T],
}

impl<'a, T: Copy> ListSlices<'a, T> {
    /// The list of row `i`.
    pub fn get(&self, i: usize) -> &'a [T] {
        &self.values[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All lists, in order.
    pub fn iter(self) -> impl Iterator<Item = &'a [T]> {
        (0..self.len()).map(move |i| self.get(i))
    }
}

fn list<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> ListSlices<'a, T::Native> {
    let list = column(batch, name).as_list::<i32>();
    ListSlices { offsets: list.value_offsets(), values: list.values().as_primitive::<T>().values() }
}

/// A `List<UInt32>` column.
pub fn u32_lists<'a>(batch: &'a RecordBatch, name: &str) -> ListSlices<'a, u32> {
    list::<UInt32Type>(batch, name)
}

/// A `List<Float32>` column.
pub fn f32_lists<'a>(batch: &'a RecordBatch, name: &str) -> ListSlices<'a, f32> {
    list::<Float32Type>(batch, name)
}

/// Finds the record batch of a table's row.
#[derive(Debug, Clone)]
pub struct BatchIndex {
    /// First row of each batch, and the number of rows at the end
    starts: Vec<usize>,
}

impl BatchIndex {
    /// Of these batches, in order.
    pub fn of(batches: &[RecordBatch]) -> Self {
        let mut starts = vec![0];
        for batch in batches {
            starts.push(starts[starts.len() - 1] + batch.num_rows());
        }
        Self { starts }
    }

    /// Number of rows of all batches.
    pub fn n_rows(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// The batch of a row, and the row's place in it.
    pub fn find(&self, row: usize) -> (usize, usize) {
        let batch = self.starts.partition_point(|&start| start <= row) - 1;
        (batch, row - self.starts[batch])
    }
}

/// A `List<UInt32>` column of all batches of a table.
#[derive(Debug, Clone)]
pub struct ListColumn<'a> {
    name: &'static str,
    index: BatchIndex,
    parts: Vec<ListSlices<'a, u32>>,
}

impl<'a> ListColumn<'a> {
    /// The column `name` of a table's batches.
    pub fn of(batches: &'a [RecordBatch], name: &'static str) -> Self {
        let parts = batches.iter().map(|batch| u32_lists(batch, name)).collect();
        Self { name, index: BatchIndex::of(batches), parts }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.index.n_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The list of a row.
    pub fn get(&self, row: usize) -> &'a [u32] {
        let (part, row) = self.index.find(row);
        self.parts[part].get(row)
    }

    /// All lists, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u32]> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// Checks that every list holds positions of `n_brands` brands.
    ///
    /// # Errors
    ///
    /// The first row with a brand that is not among them.
    pub fn check_brands(&self, n_brands: usize) -> Result<(), String> {
        for (row, list) in self.iter().enumerate() {
            if let Some(brand) = list.iter().find(|&&brand| brand as usize >= n_brands) {
                let name = self.name;
                return Err(format!(
                    "row {row}: `{name}` has brand {brand}, expected a position below the number \
                     of brands, {n_brands}"
                ));
            }
        }
        Ok(())
    }
}

/// A `FixedSizeList<Float32>` column: its values row by row, and the length of a row.
pub fn dense<'a>(batch: &'a RecordBatch, name: &str) -> (&'a [f32], usize) {
    let list = column(batch, name).as_fixed_size_list();
    let dim = list.value_length() as usize;
    let values: &[f32] = list.values().as_primitive::<Float32Type>().values();
    let start = list.value_offset(0) as usize;
    (&values[start..start + list.len() * dim], dim)
}

/// Lists of one column, built row by row.
#[derive(Debug)]
pub struct ListBuilder<T> {
    offsets: Vec<i32>,
    values: Vec<T>,
}

impl<T> Default for ListBuilder<T> {
    fn default() -> Self {
        Self { offsets: vec![0], values: Vec::new() }
    }
}

impl<T: Copy> ListBuilder<T> {
    /// Adds a row.
    pub fn push(&mut self, row: &[T]) {
        self.values.extend_from_slice(row);
        self.offsets.push(i32::try_from(self.values.len()).expect("a batch has few enough values"));
    }

    fn finish_with<A: Array + From<Vec<T>> + 'static>(self, item: DataType) -> ArrayRef {
        let field = Arc::new(Field::new_list_field(item, false));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Arc::new(ListArray::new(field, offsets, Arc::new(A::from(self.values)), None))
    }
}

impl ListBuilder<u32> {
    /// The column.
    pub fn finish(self) -> ArrayRef {
        self.finish_with::<UInt32Array>(DataType::UInt32)
    }
}

impl ListBuilder<f32> {
    /// The column.
    pub fn finish(self) -> ArrayRef {
        self.finish_with::<Float32Array>(DataType::Float32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Schema;

    /// Three batches, of which the second is empty.
    fn batches() -> Vec<RecordBatch> {
        let batch = |rows: &[&[u32]]| {
            let mut lists = ListBuilder::<u32>::default();
            for row in rows {
                lists.push(row);
            }
            let field = Field::new("brands", DataType::new_list(DataType::UInt32, false), false);
            RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![lists.finish()]).unwrap()
        };
        vec![batch(&[&[0, 2], &[]]), batch(&[]), batch(&[&[1], &[3, 4]])]
    }

    #[test]
    fn a_row_after_an_empty_batch_is_found() {
        let index = BatchIndex::of(&batches());
        assert_eq!(index.n_rows(), 4);
        assert_eq!(
            (0..4).map(|row| index.find(row)).collect::<Vec<_>>(),
            [(0, 0), (0, 1), (2, 0), (2, 1)]
        );
    }

    #[test]
    fn a_list_column_reads_over_all_batches() {
        let batches = batches();
        let column = ListColumn::of(&batches, "brands");
        let expected: [&[u32]; 4] = [&[0, 2], &[], &[1], &[3, 4]];
        assert_eq!(column.iter().collect::<Vec<_>>(), expected);
        assert_eq!((0..4).map(|row| column.get(row)).collect::<Vec<_>>(), expected);
        assert!(ListColumn::of(&[], "brands").is_empty());
    }

    #[test]
    fn a_brand_out_of_range_is_reported_with_its_row() {
        let batches = batches();
        let column = ListColumn::of(&batches, "brands");
        assert_eq!(column.check_brands(5), Ok(()));
        let expected =
            "row 3: `brands` has brand 4, expected a position below the number of brands, 4";
        assert_eq!(column.check_brands(4), Err(expected.to_owned()));
    }
}

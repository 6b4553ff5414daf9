//! Ids of a table that is too large to hold: their type, and whether one appears twice.

use std::collections::HashSet;
use std::hash::BuildHasher as _;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use foldhash::quality::FixedState;

use crate::exit::DataError;
use crate::ids::{self, IdError, IdKind};

/// Takes the ids of a table batch by batch and keeps eight bytes of each.
#[derive(Debug, Default)]
pub struct IdScan {
    hashes: Vec<u64>,
    n_nulls: usize,
    is_text: bool,
}

impl IdScan {
    /// Takes a batch of ids.
    ///
    /// # Errors
    ///
    /// [`IdError::NotIds`] or [`IdError::Bytes`].
    pub fn add(&mut self, ids: &ArrayRef) -> Result<(), IdError> {
        self.n_nulls += ids.logical_null_count();
        self.is_text |= ids::stored_type(ids)? == DataType::Utf8;
        self.hashes.extend(hashes(ids)?.into_iter().flatten());
        Ok(())
    }

    /// The type of all ids between stages, `Int64` or `Utf8`.
    pub fn data_type(&self) -> DataType {
        if self.is_text { DataType::Utf8 } else { DataType::Int64 }
    }

    /// Number of ids.
    pub fn n_ids(&self) -> usize {
        self.hashes.len()
    }

    /// Checks that there is no null.
    ///
    /// # Errors
    ///
    /// [`IdError::Nulls`].
    pub fn check_nulls(&self) -> Result<(), IdError> {
        if self.n_nulls == 0 { Ok(()) } else { Err(IdError::Nulls(self.n_nulls)) }
    }

    /// Checks that each id appears once.
    ///
    /// * `again`: the same batches once more; they are read only if two ids seem to be the same.
    ///
    /// # Errors
    ///
    /// The first id that appears a second time.
    pub fn check_distinct(
        mut self,
        table: &str,
        column: &str,
        again: impl Iterator<Item = Result<ArrayRef>>,
    ) -> Result<()> {
        self.hashes.sort_unstable();
        let pairs = self.hashes.windows(2).filter(|pair| pair[0] == pair[1]);
        let suspects: HashSet<u64> = pairs.map(|pair| pair[0]).collect();
        if suspects.is_empty() {
            return Ok(());
        }
        // Different ids may have the same hash.
        let mut seen = HashSet::new();
        for ids in again {
            let ids = ids?;
            let texts = ids::convert(&ids, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            for (row, hash) in hashes(&ids)?.into_iter().enumerate() {
                let is_suspect = hash.is_some_and(|hash| suspects.contains(&hash));
                if is_suspect && !seen.insert(texts.value(row).to_owned()) {
                    return Err(
                        DataError(ids::twice(table, column, &ids::shown(texts, row))).into()
                    );
                }
            }
        }
        Ok(())
    }
}

/// A hash of each id, `None` for null: of the number if it fits into 64 bits with a sign, else of the
/// text, so that it does not depend on the batch.
fn hashes(ids: &ArrayRef) -> Result<Vec<Option<u64>>, IdError> {
    let state = FixedState::with_seed(7);
    let is_number = IdKind::of(ids.data_type())? == IdKind::Number;
    let numbers = if is_number { Some(ids::convert(ids, &DataType::Int64)?) } else { None };
    if let Some(numbers) = numbers.as_ref().filter(|n| n.null_count() == ids.logical_null_count()) {
        let numbers = numbers.as_primitive::<Int64Type>();
        return Ok(numbers.iter().map(|number| Some(state.hash_one(number?))).collect());
    }
    let texts = ids::convert(ids, &DataType::Utf8)?;
    let hash = |(row, text): (usize, Option<&str>)| {
        let numbers = numbers.as_ref().map(AsArray::as_primitive::<Int64Type>);
        match numbers.filter(|numbers| numbers.is_valid(row)) {
            Some(numbers) => Some(state.hash_one(numbers.value(row))),
            None => Some(state.hash_one(text?)),
        }
    };
    Ok(texts.as_string::<i32>().iter().enumerate().map(hash).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, Int64Array, StringArray, UInt64Array};
    use std::sync::Arc;

    fn scanned(batches: &[ArrayRef]) -> (DataType, String) {
        let mut scan = IdScan::default();
        for batch in batches {
            scan.add(batch).unwrap();
        }
        let data_type = scan.data_type();
        let again = batches.iter().map(|batch| Ok(batch.clone()));
        let checked = scan.check_distinct("users", "user_id", again);
        (data_type, checked.map_or_else(|err| err.to_string(), |()| "distinct".to_owned()))
    }

    #[test]
    fn an_id_that_appears_in_two_batches_is_found() {
        let texts = |ids: &[&str]| -> ArrayRef { Arc::new(StringArray::from(ids.to_vec())) };
        let twice = |id: &str| format!("users: `user_id` `{id}` appears twice, expected once");
        assert_eq!(
            scanned(&[texts(&["a", "b"]), texts(&["c"])]),
            (DataType::Utf8, "distinct".into())
        );
        assert_eq!(scanned(&[texts(&["a", "b"]), texts(&["b", "a"])]).1, twice("b"));
        let small: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![3, 2]));
        assert_eq!(scanned(std::slice::from_ref(&small)), (DataType::Int64, "distinct".into()));
        assert_eq!(scanned(&[small, wide]).1, twice("2"));
    }

    /// 1 and 2^64 - 1 make a column of text, in which 1 is still 1.
    #[test]
    fn numbers_that_become_text_later_are_compared_all_the_same() {
        let batch = |ids: Vec<u64>| -> ArrayRef { Arc::new(UInt64Array::from(ids)) };
        let found = scanned(&[batch(vec![1, 2]), batch(vec![u64::MAX, 3])]);
        assert_eq!(found, (DataType::Utf8, "distinct".into()));
        assert!(
            scanned(&[batch(vec![1]), batch(vec![u64::MAX, 1])]).1.contains("`1` appears twice")
        );
    }

    /// The hashes claim that all ids are the same.
    #[test]
    fn different_ids_of_one_hash_are_not_taken_for_the_same() {
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let [a, b] = hashes(&ids).unwrap()[..] else { panic!("two hashes") };
        let claimed = |hashes: Vec<u64>| IdScan { hashes, n_nulls: 0, is_text: true };
        let scan = claimed(vec![a.unwrap(), a.unwrap(), b.unwrap(), b.unwrap()]);
        scan.check_distinct("users", "user_id", std::iter::once(Ok(ids))).unwrap();
    }

    #[test]
    fn nulls_are_counted() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, None]));
        let mut scan = IdScan::default();
        scan.add(&ids).unwrap();
        assert_eq!(scan.n_ids(), 1);
        let message = scan.check_nulls().unwrap_err().to_string();
        assert_eq!(message, "holds 2 nulls, expected none");
    }
}

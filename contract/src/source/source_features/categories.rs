//! Values of text columns -> categories, as lists of at most one id.

use std::collections::HashMap;

use anyhow::Result;
use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::columns::ListBuilder;

/// Whether a column of this type can be categories: text, whole numbers and booleans, by how they are
/// written.
pub fn is_category(found: &DataType) -> bool {
    match found {
        DataType::Dictionary(_, values) => is_category(values),
        t => t.is_string() || t.is_integer() || matches!(t, DataType::Boolean | DataType::Null),
    }
}

/// The values of a column as text; nulls stay.
///
/// # Errors
///
/// A type that is not text.
pub fn category_texts(column: &ArrayRef) -> Result<StringArray> {
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// From a value to its id.
#[derive(Debug, Default)]
pub(super) struct CategoryIds(HashMap<String, u32>);

impl CategoryIds {
    /// * `vocabulary`: the values, by id.
    pub(super) fn of(vocabulary: &[String]) -> Self {
        Self(vocabulary.iter().cloned().zip(0..).collect())
    }

    /// For each user the id of the value, or an empty list.
    pub(super) fn convert(&self, column: &ArrayRef) -> Result<ArrayRef> {
        let texts = category_texts(column)?;
        let mut lists = ListBuilder::<u32>::default();
        for value in &texts {
            let id = value.and_then(|value| self.0.get(value));
            lists.push(id.map_or(&[][..], std::slice::from_ref));
        }
        Ok(lists.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array as _, BooleanArray, DictionaryArray, Int8Array};
    use arrow::datatypes::{Int32Type, UInt32Type};

    use super::*;

    #[test]
    fn a_user_has_the_id_of_a_known_value_or_none() {
        let ids = CategoryIds::of(&["de", "7", "true"].map(str::to_owned));
        let found = |column: ArrayRef| -> Vec<Vec<u32>> {
            assert!(is_category(column.data_type()), "{}", column.data_type());
            let lists = ids.convert(&column).unwrap();
            let lists = lists.as_list::<i32>();
            let list = |row| lists.value(row).as_primitive::<UInt32Type>().values().to_vec();
            (0..lists.len()).map(list).collect()
        };
        let text = StringArray::from(vec![Some("de"), None, Some("DE"), Some("7")]);
        assert_eq!(found(Arc::new(text)), [vec![0], vec![], vec![], vec![1]]);
        let dictionary: DictionaryArray<Int32Type> = vec!["x", "de", "x"].into_iter().collect();
        assert_eq!(found(Arc::new(dictionary)), [vec![], vec![0], vec![]]);
        assert_eq!(found(Arc::new(Int8Array::from(vec![7, 8]))), [vec![1], vec![]]);
        let flags = BooleanArray::from(vec![true, false]);
        assert_eq!(found(Arc::new(flags)), [vec![2], vec![]]);
        assert!(!is_category(&DataType::Float64) && !is_category(&DataType::Date32));
    }
}

//! Random draws that depend on their arguments alone, not on the order they are made in.
//!
//! `draw(user_id, seed, draw)` is the same number on every machine and for any number of threads,
//! and any engine with 64-bit arithmetic can compute it.

use std::sync::Arc;

use contract::ids::{self, IdError, IdKind};
use contract::splitmix;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::cast::as_int64_array;
use datafusion::common::{DataFusionError, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The draw that decides the holdout. No query can name it by accident, so that a sample
/// with the holdout's seed is still independent of it.
pub const HOLDOUT_DRAW: i64 = i64::MIN;

/// FNV-1a, 64 bits, of a text id.
fn text_key(text: &str) -> i64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash as i64
}

/// Uniform on 0..2^64: `hash(hash(hash(seed) ^ key) ^ draw)` by [`splitmix::hash`].
fn hash(key: i64, seed: i64, draw: i64) -> u64 {
    splitmix::hash(splitmix::hash(splitmix::hash(seed as u64) ^ key as u64) ^ draw as u64)
}

/// Uniform on [0, 1): the upper 53 bits of the hash.
fn uniform(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// One hash per id of an `Int64` or `Utf8` column.
pub fn hashes(ids: &ArrayRef, seed: i64, draw: i64) -> Vec<u64> {
    let keys = keys(ids).expect("a stored id is one");
    keys.into_iter().map(|key| hash(key, seed, draw)).collect()
}

/// The key of a number is the number; that of text, or of a number beyond signed 64 bits, is a
/// hash.
fn keys(ids: &ArrayRef) -> Result<Vec<i64>, IdError> {
    if *ids.data_type() == DataType::Int64 {
        return Ok(ids.as_primitive::<Int64Type>().values().to_vec());
    }
    let texts = ids::convert(ids, &DataType::Utf8)?;
    let of_texts = texts.as_string::<i32>().iter().map(|id| text_key(id.unwrap_or("")));
    if IdKind::of(ids.data_type())? == IdKind::Text {
        return Ok(of_texts.collect());
    }
    let numbers = ids::convert(ids, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>().iter();
    Ok(numbers.zip(of_texts).map(|(number, of_text)| number.unwrap_or(of_text)).collect())
}

/// The SQL function `draw(user_id, seed, draw)`: uniform on [0, 1), null for a null id.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Draw {
    signature: Signature,
}

impl ScalarUDFImpl for Draw {
    fn name(&self) -> &'static str {
        "draw"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [id, seed, draw] = given else {
            return plan_err!("draw takes (user_id, seed, draw), got {} arguments", given.len());
        };
        if let Err(err) = IdKind::of(id) {
            return plan_err!("draw: the id {}", err.to_string().replace("COLUMN", "ID"));
        }
        for number in [seed, draw] {
            if !number.is_integer() && *number != DataType::Null {
                return plan_err!("draw: seed and draw must be whole numbers, got {number}");
            }
        }
        Ok(vec![id.clone(), DataType::Int64, DataType::Int64])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (seeds, draws) = (as_int64_array(&arrays[1])?, as_int64_array(&arrays[2])?);
        let ids: &ArrayRef = &arrays[0];
        let keys = keys(ids).map_err(|err| DataFusionError::External(err.into()))?;
        let uniform: Float64Array = (0..ids.len())
            .map(|i| {
                let is_known = ids.is_valid(i) && seeds.is_valid(i) && draws.is_valid(i);
                is_known.then(|| uniform(hash(keys[i], seeds.value(i), draws.value(i))))
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(uniform)))
    }
}

/// The SQL function `draw`, to be registered in a session.
pub fn function() -> ScalarUDF {
    ScalarUDF::from(Draw { signature: Signature::user_defined(Volatility::Immutable) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{DictionaryArray, StringArray, UInt64Array};
    use datafusion::arrow::datatypes::Int8Type;

    #[test]
    fn a_draw_is_the_same_on_every_machine() {
        // Computed with Python integers from the formula in the docs:
        // see reference/draw.py.
        assert_eq!(hash(42, 7, 0), DRAW_42_7_0);
        assert_eq!(hash(text_key("user-42"), 7, 1), DRAW_TEXT_7_1);
    }

    // From reference/draw.py.
    const DRAW_42_7_0: u64 = 0x26df_ada5_d87f_e2d5;
    const DRAW_TEXT_7_1: u64 = 0x6028_4ee4_161c_e1ef;

    /// 100,000 draws in 10 cells: the sum of squared deviations over the expectation has
    /// 9 degrees of freedom, so 33.7 is its 99.99th percentile.
    #[test]
    fn draws_are_uniform() {
        let mut cells = [0_f64; 10];
        for id in 0..100_000 {
            cells[(uniform(hash(id, 7, 0)) * 10.0) as usize] += 1.0;
        }
        let chi2: f64 = cells.iter().map(|n| (n - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi2 < 33.7, "{chi2}");
    }

    #[test]
    fn an_id_has_one_key_however_it_is_stored() {
        let number: ArrayRef = Arc::new(UInt64Array::from(vec![42, u64::MAX]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["18446744073709551615", "user-42"]));
        let categories: DictionaryArray<Int8Type> = vec!["user-42"].into_iter().collect();
        let categories: ArrayRef = Arc::new(categories);
        let (of_number, of_text) = (keys(&number).unwrap(), keys(&text).unwrap());
        assert_eq!(of_number[0], 42);
        assert_eq!(of_number[1], of_text[0], "beyond 64 bits with a sign");
        assert_eq!(keys(&categories).unwrap()[0], of_text[1]);
    }

    #[test]
    fn another_seed_or_draw_is_another_number() {
        assert_ne!(hash(1, 7, 0), hash(1, 8, 0));
        assert_ne!(hash(1, 7, 0), hash(1, 7, 1));
        assert_ne!(hash(1, 7, 0), hash(2, 7, 0));
    }
}

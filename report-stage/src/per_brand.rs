//! `per_brand.arrow`: the figures of every brand in every experiment.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field};
use contract::tables::{Kind, PER_BRAND};
use metrics::{Counts, Curve, Histogram, f1, precision, recall};

use crate::calibration::expected_users;
use crate::evaluate::Evaluation;
use crate::load::{Brands, Threshold};

/// Columns beside those of the contract.
const THRESHOLD: &str = "threshold";
const AVERAGE_PRECISION: &str = "average_precision";
const EXPECTED_BEFORE: &str = "expected_before";
const EXPECTED_AFTER: &str = "expected_after";

/// The columns; `brand_id` is of the type that the brands' table has.
pub fn fields(brands: &Brands) -> Vec<Field> {
    let of_contract = PER_BRAND.columns.iter().map(|column| {
        let is_id = column.kind == Kind::Id;
        let data_type =
            if is_id { brands.ids.data_type().clone() } else { column.kind.data_type() };
        Field::new(column.name, data_type, column.kind == Kind::NullableF64)
    });
    let more = [THRESHOLD, AVERAGE_PRECISION, EXPECTED_BEFORE, EXPECTED_AFTER]
        .map(|name| Field::new(name, DataType::Float64, true));
    of_contract.chain(more).collect()
}

/// One experiment's rows, one a brand. Users expected to have it, by the model's probabilities
/// and by the calibrated ones, stand beside those who do.
///
/// * `test`: logits of the test users.
pub fn columns(
    name: &str,
    brands: &Brands,
    evaluation: &Evaluation,
    thresholds: Option<&[Threshold]>,
    test: Option<&Histogram>,
) -> Vec<ArrayRef> {
    let Evaluation { counts, average_precision, .. } = evaluation;
    let list = &brands.list;
    let count = |of: fn(&Counts) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(counts.iter().map(of)))
    };
    let metric = |of: fn(Counts) -> Option<f64>| -> ArrayRef {
        Arc::new(counts.iter().map(|&counts| of(counts)).collect::<Float64Array>())
    };
    let of_brand = |value: &dyn Fn(usize) -> Option<f64>| -> ArrayRef {
        Arc::new((0..list.len()).map(value).collect::<Float64Array>())
    };
    let identity = Curve::IDENTITY;
    let expected = |brand, curve: Option<&Curve>| Some(expected_users(test?, brand, curve?));
    vec![
        Arc::new(StringArray::from_iter_values(list.iter().map(|_| name))),
        Arc::new(UInt32Array::from_iter_values(0..list.len() as u32)),
        brands.ids.clone(),
        Arc::new(StringArray::from_iter_values(list.iter().map(|brand| &brand.name))),
        Arc::new(UInt64Array::from_iter_values(list.iter().map(|brand| brand.volume))),
        Arc::new(StringArray::from_iter_values(list.iter().map(|brand| brand.tier.name()))),
        count(|counts| counts.tp),
        count(|counts| counts.fp),
        count(|counts| counts.fn_),
        metric(precision),
        metric(recall),
        metric(f1),
        of_brand(&|brand| Some(thresholds?[brand].prob)),
        of_brand(&|brand| average_precision[brand]),
        of_brand(&|brand| expected(brand, Some(&identity))),
        of_brand(&|brand| expected(brand, thresholds.map(|all| &all[brand].curve))),
    ]
}

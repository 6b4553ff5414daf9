//! `per_brand.arrow`: the figures of every brand in every experiment.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field};
use contract::tables::{Kind, PER_BRAND};
use metrics::{Counts, f1, precision, recall};

use crate::evaluate::Evaluation;
use crate::load::Brands;

/// Columns beside those of the contract.
const THRESHOLD: &str = "threshold";
const AVERAGE_PRECISION: &str = "average_precision";

/// The columns; `brand_id` is of the type that the brands' table has.
pub fn fields(brands: &Brands) -> Vec<Field> {
    let of_contract = PER_BRAND.columns.iter().map(|column| {
        let is_id = column.kind == Kind::Id;
        let data_type =
            if is_id { brands.ids.data_type().clone() } else { column.kind.data_type() };
        Field::new(column.name, data_type, column.kind == Kind::NullableF64)
    });
    let more = [THRESHOLD, AVERAGE_PRECISION].map(|name| Field::new(name, DataType::Float64, true));
    of_contract.chain(more).collect()
}

/// One experiment's rows, one a brand.
pub fn columns(
    name: &str,
    brands: &Brands,
    evaluation: &Evaluation,
    thresholds: Option<&[f64]>,
) -> Vec<ArrayRef> {
    let Evaluation { counts, average_precision, .. } = evaluation;
    let list = &brands.list;
    let count = |of: fn(&Counts) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(counts.iter().map(of)))
    };
    let metric = |of: fn(Counts) -> Option<f64>| -> ArrayRef {
        Arc::new(counts.iter().map(|&counts| of(counts)).collect::<Float64Array>())
    };
    let thresholds = (0..list.len()).map(|brand_idx| thresholds.map(|all| all[brand_idx]));
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
        Arc::new(thresholds.collect::<Float64Array>()),
        Arc::new(average_precision.iter().copied().collect::<Float64Array>()),
    ]
}

//! Decisions, thresholds and histograms -> Arrow columns, nothing else.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::Field;
use contract::columns::ListBuilder;
use contract::tables::{Contract, Kind, PREDICTIONS, SCORES};
use metrics::{Histogram, N_BINS};

use crate::decide::{Decider, UserDecision};
use crate::users::Labels;

/// Arrow fields of a contract without ids.
pub fn fields(contract: &Contract) -> Vec<Field> {
    contract.columns.iter().map(|c| Field::new(c.name, c.kind.data_type(), false)).collect()
}

/// Fields of `scores` or, without labels, of `predictions`.
pub fn score_fields(ids: &ArrayRef, has_labels: bool) -> Vec<Field> {
    let contract = if has_labels { &SCORES } else { &PREDICTIONS };
    let mut fields = fields(contract);
    debug_assert_eq!(contract.columns[0].kind, Kind::Id);
    fields[0] = Field::new("user_id", ids.data_type().clone(), false);
    fields
}

/// Rows of `scores` or `predictions` for the users from `first` on.
pub fn scores(
    ids: &ArrayRef,
    first: usize,
    labels: Option<&Labels>,
    decisions: &[UserDecision],
) -> Vec<ArrayRef> {
    let mut rows = vec![ids.slice(first, decisions.len())];
    if let Some(labels) = labels {
        rows.push(lists(labels.lists(first, decisions.len())));
    }
    rows.push(lists(decisions.iter().map(|d| d.predicted.as_slice())));
    rows.push(lists(decisions.iter().map(|d| d.top_brands.as_slice())));
    let mut probs = ListBuilder::<f32>::default();
    for decision in decisions {
        probs.push(&decision.top_probs);
    }
    rows.push(probs.finish());
    rows
}

fn lists<'a>(lists: impl Iterator<Item = &'a [u32]>) -> ArrayRef {
    let mut built = ListBuilder::<u32>::default();
    lists.for_each(|list| built.push(list));
    built.finish()
}

/// Rows of `thresholds`.
pub fn thresholds(decider: &Decider) -> Vec<ArrayRef> {
    let brands = decider.brands();
    vec![
        Arc::new(UInt32Array::from_iter_values(0..brands.len() as u32)),
        Arc::new(Float64Array::from_iter_values(brands.iter().map(|(platt, _)| platt.slope))),
        Arc::new(Float64Array::from_iter_values(brands.iter().map(|(platt, _)| platt.intercept))),
        Arc::new(Float64Array::from_iter_values(brands.iter().map(|(_, threshold)| *threshold))),
    ]
}

/// Rows of `histogram` for one split: the bins that hold someone.
pub fn histogram(split: &str, histogram: &Histogram) -> Vec<ArrayRef> {
    let (mut brand_idx, mut bins, mut positives, mut negatives) = (vec![], vec![], vec![], vec![]);
    for brand in 0..histogram.n_brands() {
        let counts = histogram.brand(brand);
        for bin in 0..N_BINS {
            if counts.positives[bin] + counts.negatives[bin] > 0 {
                brand_idx.push(brand as u32);
                bins.push(bin as u32);
                positives.push(counts.positives[bin]);
                negatives.push(counts.negatives[bin]);
            }
        }
    }
    vec![
        Arc::new(StringArray::from(vec![split; bins.len()])),
        Arc::new(UInt32Array::from(brand_idx)),
        Arc::new(UInt32Array::from(bins)),
        Arc::new(UInt64Array::from(positives)),
        Arc::new(UInt64Array::from(negatives)),
    ]
}

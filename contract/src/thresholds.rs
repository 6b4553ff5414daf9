//! `thresholds.arrow` as rows: written by score-stage, read by its `predict` and by the report.

use crate::columns::{f32_lists, f64s, u32s};
use crate::ipc::{Error, Table};
use crate::tables::{THRESHOLDS, THRESHOLDS_MORE};

/// What the file says of a brand.
#[derive(Debug, Clone, PartialEq)]
pub struct BrandThreshold {
    /// Factor on the logit
    pub slope: f64,
    /// Added after the factor
    pub intercept: f64,
    /// Predicted from this probability on
    pub threshold: f64,
    /// What older files do not have
    pub more: Option<More>,
}

/// The columns of [`THRESHOLDS_MORE`].
#[derive(Debug, Clone, PartialEq)]
pub struct More {
    /// Logits of the curve's knots; none where slope and intercept are the curve
    pub knot_logits: Vec<f32>,
    /// Their probabilities
    pub knot_probs: Vec<f32>,
    /// The best F1 expected; not a number where there was no user to tell
    pub expected_f1: f64,
    /// Share of the users that it predicts
    pub expected_predicted: f64,
    /// Share of the users expected to have the brand
    pub expected_positives: f64,
    /// Share of the neighbours in the probability
    pub memory_weight: f64,
}

/// The file's rows, by `brand_idx`.
///
/// # Errors
///
/// [`Error::Broken`] if there is not one row a brand, in order.
pub fn rows(table: &Table) -> Result<Vec<BrandThreshold>, Error> {
    let mut rows = Vec::new();
    for batch in &table.batches {
        let has_more = THRESHOLDS_MORE.iter().all(|c| batch.column_by_name(c.name).is_some());
        let value = |name: &str, row: usize| f64s(batch, name)[row];
        for (row, &brand_idx) in u32s(batch, "brand_idx").iter().enumerate() {
            if brand_idx as usize != rows.len() {
                let found = format!("row {} is brand {brand_idx}", rows.len());
                return Err(
                    table.broken(&THRESHOLDS, found + ", expected one row a brand in order")
                );
            }
            let more = has_more.then(|| More {
                knot_logits: f32_lists(batch, "knot_logits").get(row).to_vec(),
                knot_probs: f32_lists(batch, "knot_probs").get(row).to_vec(),
                expected_f1: value("expected_f1", row),
                expected_predicted: value("expected_predicted", row),
                expected_positives: value("expected_positives", row),
                memory_weight: value("memory_weight", row),
            });
            rows.push(BrandThreshold {
                slope: value("slope", row),
                intercept: value("intercept", row),
                threshold: value("threshold", row),
                more,
            });
        }
    }
    Ok(rows)
}

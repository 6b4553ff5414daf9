//! `thresholds.arrow` as rows: written by score-stage, read by its `predict` and by the report.
//!
//! Its metadata says for which model and which brands the thresholds were fitted: rows are brands
//! by position, and a threshold is meaningless for another model's probabilities.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::columns::{f32_lists, f64s, u32s};
use crate::ipc::{self, Error, Table};
use crate::tables::{Column, THRESHOLDS, THRESHOLDS_HISTORY, THRESHOLDS_MORE};

/// A brand's row.
#[derive(Debug, Clone, PartialEq)]
pub struct BrandThreshold {
    /// Factor on the logit
    pub slope: f64,
    /// Added after the factor
    pub intercept: f64,
    /// The brand is predicted from this probability on
    pub threshold: f64,
    /// Factor on the logit before the curve, where the brand is in the user's own history; 1 in older
    /// files
    pub history_slope: f64,
    /// Added after that factor; 0 in older files
    pub history_intercept: f64,
    /// Columns that older files lack
    pub more: Option<More>,
}

/// The columns of [`THRESHOLDS_MORE`].
#[derive(Debug, Clone, PartialEq)]
pub struct More {
    /// Logits of the curve's knots; none where slope and intercept are the curve
    pub knot_logits: Vec<f32>,
    /// Their probabilities
    pub knot_probs: Vec<f32>,
    /// The best expected F1; NaN if there was no user to estimate it from
    pub expected_f1: f64,
    /// Share of the users that it predicts
    pub expected_predicted: f64,
    /// Share of the users expected to have the brand
    pub expected_positives: f64,
    /// Weight of the neighbours in the probability
    pub memory_weight: f64,
}

const MODELS_KEY: &str = "models";
const BRANDS_KEY: &str = "brands_hash";

/// Metadata that binds thresholds to their models and brands.
///
/// * `models`: hash of each model that they may be used with.
/// * `brand_ids`: the brands, in order.
pub fn bound_to(models: &[String], brand_ids: &[String]) -> HashMap<String, String> {
    HashMap::from([
        (MODELS_KEY.to_owned(), models.join(" ")),
        (BRANDS_KEY.to_owned(), hash_brands(brand_ids)),
    ])
}

/// Hashes of the models that thresholds were fitted for; `None` for files of earlier versions, which
/// do not say.
pub fn models(table: &Table) -> Option<Vec<&str>> {
    table.metadata(MODELS_KEY).map(|models| models.split(' ').collect())
}

/// Checks that thresholds are of these brands, in this order, if the file says.
///
/// # Errors
///
/// [`Error::Broken`] if they are of other brands.
pub fn check_brands(table: &Table, brand_ids: &[String]) -> Result<(), Error> {
    match table.metadata(BRANDS_KEY) {
        Some(hash) if hash != hash_brands(brand_ids) => {
            let found = "fitted for other brands, or for the same in another order";
            Err(table.broken(&THRESHOLDS, found))
        }
        _ => Ok(()),
    }
}

fn hash_brands(brand_ids: &[String]) -> String {
    let texts = brand_ids.iter().map(String::as_str);
    ipc::hash_rows(texts, []).expect("there are no rows to differ")
}

/// The file's rows, by `brand_idx`.
///
/// # Errors
///
/// [`Error::Broken`] unless there is one row per brand, in order, with possible values.
pub fn rows(table: &Table) -> Result<Vec<BrandThreshold>, Error> {
    let has_more = has_all(table, &THRESHOLDS_MORE)?;
    let has_history = has_all(table, &THRESHOLDS_HISTORY)?;
    let mut rows = Vec::new();
    for batch in &table.batches {
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
            let brand = BrandThreshold {
                slope: value("slope", row),
                intercept: value("intercept", row),
                threshold: value("threshold", row),
                history_slope: if has_history { value("history_slope", row) } else { 1.0 },
                history_intercept: if has_history { value("history_intercept", row) } else { 0.0 },
                more,
            };
            brand.check().map_err(|found| {
                table.broken(&THRESHOLDS, format!("brand {brand_idx}: {found}"))
            })?;
            rows.push(brand);
        }
    }
    Ok(rows)
}

/// Whether a table has these columns: all or none.
fn has_all(table: &Table, columns: &[Column]) -> Result<bool, Error> {
    let has = |column: &&Column| table.schema.field_with_name(column.name).is_ok();
    let (there, missing): (Vec<&Column>, Vec<&Column>) = columns.iter().partition(has);
    if !there.is_empty() && !missing.is_empty() {
        let names = |columns: Vec<&Column>| {
            let names = columns.iter().map(|column| format!("`{}`", column.name));
            names.collect::<Vec<_>>().join(", ")
        };
        let found = format!("has {}, but not {}", names(there), names(missing));
        return Err(table.broken(&THRESHOLDS, found));
    }
    Ok(missing.is_empty())
}

impl BrandThreshold {
    fn check(&self) -> Result<(), String> {
        const SHARE: RangeInclusive<f64> = 0.0..=1.0;
        let share = |name: &str, value: f64| {
            if SHARE.contains(&value) {
                return Ok(());
            }
            Err(format!("`{name}` is {value}, expected 0 to 1"))
        };
        for (name, slope) in [("slope", self.slope), ("history_slope", self.history_slope)] {
            if !(slope > 0.0 && slope.is_finite()) {
                return Err(format!("`{name}` is {slope}, expected a number above 0"));
            }
        }
        let intercepts =
            [("intercept", self.intercept), ("history_intercept", self.history_intercept)];
        for (name, intercept) in intercepts {
            if !intercept.is_finite() {
                return Err(format!("`{name}` is {intercept}, expected a finite number"));
            }
        }
        share("threshold", self.threshold)?;
        let Some(more) = &self.more else { return Ok(()) };
        if let Some(bad) = more.knot_logits.iter().find(|logit| !logit.is_finite()) {
            return Err(format!("`knot_logits` has {bad}, expected finite numbers"));
        }
        for &prob in &more.knot_probs {
            share("knot_probs", prob.into())?;
        }
        share("memory_weight", more.memory_weight)?;
        // All three are NaN if there was no user to estimate them from.
        let expected = [
            ("expected_f1", more.expected_f1),
            ("expected_predicted", more.expected_predicted),
            ("expected_positives", more.expected_positives),
        ];
        if expected.iter().all(|(_, value)| value.is_nan()) {
            return Ok(());
        }
        expected.into_iter().try_for_each(|(name, value)| share(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Field, Schema};

    fn sound() -> BrandThreshold {
        let more = More {
            knot_logits: vec![-1.0, 1.0],
            knot_probs: vec![0.0, 1.0],
            expected_f1: 0.5,
            expected_predicted: 0.1,
            expected_positives: 0.2,
            memory_weight: 0.9,
        };
        BrandThreshold {
            slope: 1.0,
            intercept: -2.0,
            threshold: 0.25,
            history_slope: 1.0,
            history_intercept: 0.0,
            more: Some(more),
        }
    }

    #[test]
    fn thresholds_are_bound_to_their_models_and_brands() {
        let brands = ["a", "b"].map(str::to_owned);
        let models = ["one", "other"].map(str::to_owned);
        let table = |metadata| Table {
            schema: Schema::new_with_metadata(Vec::<Field>::new(), metadata).into(),
            batches: Vec::new(),
            path: "thresholds.arrow".into(),
        };
        let bound = table(bound_to(&models, &brands));
        assert_eq!(super::models(&bound).unwrap(), ["one", "other"]);
        check_brands(&bound, &brands).unwrap();
        let reversed = ["b", "a"].map(str::to_owned);
        let err = check_brands(&bound, &reversed).unwrap_err().to_string();
        assert!(err.contains("fitted for other brands"), "{err}");
        let earlier = table(HashMap::new());
        assert_eq!(super::models(&earlier), None);
        check_brands(&earlier, &reversed).unwrap();
    }

    #[test]
    fn impossible_values_are_rejected() {
        type Change = fn(&mut BrandThreshold);
        sound().check().unwrap();
        let unknown = |brand: &mut BrandThreshold| {
            let more = brand.more.as_mut().unwrap();
            [more.expected_f1, more.expected_predicted, more.expected_positives] = [f64::NAN; 3];
        };
        let mut brand = sound();
        unknown(&mut brand);
        brand.check().unwrap();
        let broken: [(&str, Change); 13] = [
            ("history_slope", |b| b.history_slope = 0.0),
            ("history_intercept", |b| b.history_intercept = f64::INFINITY),
            ("slope", |b| b.slope = f64::NAN),
            ("slope", |b| b.slope = 0.0),
            ("slope", |b| b.slope = -1.0),
            ("intercept", |b| b.intercept = f64::INFINITY),
            ("threshold", |b| b.threshold = 1.5),
            ("threshold", |b| b.threshold = f64::NAN),
            ("knot_logits", |b| b.more.as_mut().unwrap().knot_logits[0] = f32::NEG_INFINITY),
            ("knot_probs", |b| b.more.as_mut().unwrap().knot_probs[1] = 1.1),
            ("expected_f1", |b| b.more.as_mut().unwrap().expected_f1 = -1.0),
            ("expected_predicted", |b| b.more.as_mut().unwrap().expected_predicted = f64::NAN),
            ("memory_weight", |b| b.more.as_mut().unwrap().memory_weight = 1e300),
        ];
        for (name, change) in broken {
            let mut brand = sound();
            change(&mut brand);
            let found = brand.check().unwrap_err();
            assert!(found.starts_with(&format!("`{name}` ")), "{name}: {found}");
        }
    }
}

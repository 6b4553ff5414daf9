//! Decisions, thresholds and histograms as Arrow columns, nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field};
use contract::columns::ListBuilder;
use contract::ipc::{self, Table};
use contract::manifest::Decision;
use contract::tables::{Contract, THRESHOLDS};
use metrics::trade_off::{Candidate, Outcome};
use metrics::{Bin, Curve, Expected, Histogram, Lists, Platt, step_of};

use crate::decide::{BrandRule, Decider, Rule, UserDecision};
use crate::history::HistoryLines;

/// Fields of a table of decisions.
///
/// * `ids`: type of the users' ids.
pub fn fields_with_ids(contract: &Contract, ids: &DataType) -> Vec<Field> {
    let mut fields = contract.all_fields();
    fields[0] = Field::new("user_id", ids.clone(), false);
    fields
}

/// Rows of `scores`.
///
/// * `ids`, `labels`, `decisions`: of the same users.
pub fn scores(ids: ArrayRef, labels: Lists, decisions: &[UserDecision]) -> Vec<ArrayRef> {
    vec![
        ids,
        lists(labels.iter()),
        lists(decisions.iter().map(|d| d.predicted.as_slice())),
        lists(decisions.iter().map(|d| d.top_brands.as_slice())),
        probs(decisions.iter().map(|d| d.top_probs.as_slice())),
    ]
}

/// Rows of `predictions`.
///
/// * `ids`, `decisions`: of the same users.
pub fn predictions(ids: ArrayRef, decisions: &[UserDecision]) -> Vec<ArrayRef> {
    vec![
        ids,
        lists(decisions.iter().map(|d| d.predicted.as_slice())),
        lists(decisions.iter().map(|d| d.top_brands.as_slice())),
        probs(decisions.iter().map(|d| d.top_probs.as_slice())),
        probs(decisions.iter().map(|d| d.predicted_probs.as_slice())),
    ]
}

fn probs<'a>(lists: impl Iterator<Item = &'a [f32]>) -> ArrayRef {
    let mut built = ListBuilder::<f32>::default();
    lists.for_each(|list| built.push(list));
    built.finish()
}

fn lists<'a>(lists: impl Iterator<Item = &'a [u32]>) -> ArrayRef {
    let mut built = ListBuilder::<u32>::default();
    lists.for_each(|list| built.push(list));
    built.finish()
}

const RULE_KEY: &str = "decision";

/// Metadata of `thresholds`: the rule, where it is more than a threshold for each brand.
///
/// * `set`: the decision as the manifest has it; what was chosen for it is in `rule`.
pub fn rule_metadata(rule: Rule, set: Decision) -> HashMap<String, String> {
    let decision = match (rule, set) {
        (Rule::Brand, _) => return HashMap::new(),
        (Rule::Gain { brand_share }, Decision::Gain { user_loss, over, .. }) => {
            Decision::Gain { brand_share: Some(brand_share), user_loss, over }
        }
        (Rule::TopK { k, by }, _) => Decision::TopK { k: Some(k), by },
        (Rule::Gain { .. }, _) => set,
    };
    let text = serde_json::to_string(&decision).expect("plain data");
    HashMap::from([(RULE_KEY.to_owned(), text)])
}

/// Rows of `trade_off`.
pub fn trade_off(outcomes: &[Outcome]) -> Vec<ArrayRef> {
    let kind = |o: &Outcome| match o.candidate {
        Candidate::Threshold(_) => "threshold",
        Candidate::BrandShare(_) => "brand_share",
    };
    let value = |o: &Outcome| match o.candidate {
        Candidate::Threshold(value) | Candidate::BrandShare(value) => value,
    };
    vec![
        Arc::new(StringArray::from_iter_values(outcomes.iter().map(kind))),
        Arc::new(Float64Array::from_iter_values(outcomes.iter().map(value))),
        Arc::new(outcomes.iter().map(|o| o.macro_f1).collect::<Float64Array>()),
        Arc::new(outcomes.iter().map(|o| o.user_f1).collect::<Float64Array>()),
        Arc::new(UInt64Array::from_iter_values(outcomes.iter().map(|o| o.n_predicted))),
    ]
}

/// Rows of `thresholds`.
///
/// * `weights`: `(n_brands,)`, shares of the neighbours.
/// * `lines`: what moves the logits of brands that a user had.
pub fn thresholds(
    decider: &Decider,
    weights: &[f32],
    lines: Option<&HistoryLines>,
) -> Vec<ArrayRef> {
    let brands = decider.brands();
    let f64s = |value: &dyn Fn(&BrandRule) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(brands.iter().map(value)))
    };
    let platt = |brand: &BrandRule| match brand.curve {
        Curve::Platt(platt) => platt,
        Curve::Isotonic(_) => Platt::IDENTITY,
    };
    let expected = |value: fn(Expected) -> f64| {
        f64s(&move |brand: &BrandRule| brand.expected.map_or(f64::NAN, value))
    };
    let of_line = |value: fn(&Platt) -> f64| -> ArrayRef {
        let line = |brand: usize| lines.map_or(&Platt::IDENTITY, |lines| &lines.lines()[brand]);
        Arc::new(Float64Array::from_iter_values((0..brands.len()).map(|brand| value(line(brand)))))
    };
    let (mut logits, mut probs) = (ListBuilder::<f32>::default(), ListBuilder::<f32>::default());
    for brand in brands {
        let knots = match &brand.curve {
            Curve::Platt(_) => (&[][..], &[][..]),
            Curve::Isotonic(isotonic) => isotonic.knots(),
        };
        logits.push(knots.0);
        probs.push(knots.1);
    }
    vec![
        Arc::new(UInt32Array::from_iter_values(0..brands.len() as u32)),
        f64s(&|brand| platt(brand).slope),
        f64s(&|brand| platt(brand).intercept),
        f64s(&|brand| brand.threshold),
        logits.finish(),
        probs.finish(),
        expected(|expected| expected.f1),
        expected(|expected| expected.predicted),
        expected(|expected| expected.positives),
        Arc::new(Float64Array::from_iter_values(weights.iter().map(|&w| f64::from(w)))),
        of_line(|line| line.slope),
        of_line(|line| line.intercept),
    ]
}

/// What `thresholds.arrow` holds.
pub struct Thresholds {
    pub decider: Decider,
    /// The neighbours' shares, `(n_brands,)`; none in a file of an earlier version
    pub weights: Vec<f32>,
    /// What moves the logits of brands that a user had; `None` if nothing does
    pub lines: Option<HistoryLines>,
}

/// The rows of `thresholds.arrow`.
///
/// # Errors
///
/// A value out of range, knots that are not a curve, or an unknown policy.
pub fn read_thresholds(table: &Table) -> Result<Thresholds, ipc::Error> {
    let (mut brands, mut weights, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for (brand, row) in contract::thresholds::rows(table)?.into_iter().enumerate() {
        let platt = Platt { slope: row.slope, intercept: row.intercept };
        let mut rule = BrandRule { curve: platt.into(), threshold: row.threshold, expected: None };
        if let Some(more) = row.more {
            rule.curve =
                Curve::from_parts(platt, more.knot_logits, more.knot_probs).ok_or_else(|| {
                    table.broken(
                        &THRESHOLDS,
                        format!("brand {brand}: its knots are not a curve that rises"),
                    )
                })?;
            rule.expected = more.expected_f1.is_finite().then_some(Expected {
                f1: more.expected_f1,
                predicted: more.expected_predicted,
                positives: more.expected_positives,
            });
            weights.push(more.memory_weight as f32);
        }
        brands.push(rule);
        lines.push(Platt { slope: row.history_slope, intercept: row.history_intercept });
    }
    let rule = match table.metadata(RULE_KEY).map(serde_json::from_str) {
        None => Rule::Brand,
        Some(Ok(Decision::TopK { k: Some(k), by })) if k > 0 => Rule::TopK { k, by },
        Some(Ok(Decision::Gain { brand_share: Some(brand_share), .. }))
            if (0.0..=1.0).contains(&brand_share) =>
        {
            Rule::Gain { brand_share }
        }
        Some(_) => return Err(table.broken(&THRESHOLDS, "its `decision` is not a known policy")),
    };
    let is_moved = lines.iter().any(|&line| line != Platt::IDENTITY);
    let lines = is_moved.then(|| HistoryLines::new(lines));
    Ok(Thresholds { decider: Decider::new(brands, rule), weights, lines })
}

/// Rows of `histogram` for one split, one per bin.
pub fn histogram(split: &str, histogram: &Histogram) -> Vec<ArrayRef> {
    let brands = 0..histogram.n_brands();
    let bins: Vec<(u32, &Bin)> = brands
        .flat_map(|brand| histogram.brand(brand).bins.iter().map(move |bin| (brand as u32, bin)))
        .collect();
    let u32s = |value: fn(&(u32, &Bin)) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(bins.iter().map(value)))
    };
    let u64s = |value: fn(&Bin) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(bins.iter().map(|(_, bin)| value(bin))))
    };
    let f32s = |value: fn(&Bin) -> f32| -> ArrayRef {
        Arc::new(Float32Array::from_iter_values(bins.iter().map(|(_, bin)| value(bin))))
    };
    vec![
        Arc::new(StringArray::from(vec![split; bins.len()])),
        u32s(|(brand, _)| *brand),
        u32s(|(_, bin)| step_of(bin.low) as u32),
        u64s(|bin| bin.positives),
        u64s(|bin| bin.negatives),
        f32s(|bin| bin.low),
        f32s(|bin| bin.high),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::manifest::ExpectedOver;

    #[test]
    fn the_rule_is_recorded_as_it_was_set_with_what_was_chosen() {
        let set = Decision::Gain { brand_share: None, user_loss: 0.03, over: ExpectedOver::Scored };
        let metadata = rule_metadata(Rule::Gain { brand_share: 0.4 }, set);
        let read: Decision = serde_json::from_str(&metadata[RULE_KEY]).unwrap();
        let over = ExpectedOver::Scored;
        assert_eq!(read, Decision::Gain { brand_share: Some(0.4), user_loss: 0.03, over });
        let single = Decision::Fixed { threshold: 0.5 };
        assert!(rule_metadata(Rule::Brand, single).is_empty());
    }

    /// 2,000 users of one brand: 512 have a bin each, others share one. All are in one row.
    #[test]
    fn rows_of_a_histogram_hold_all_users() {
        let mut users = Histogram::new(2);
        for i in 0..2000_u16 {
            users.add(1, f32::from(i) / 1000.0, i % 3 == 0);
        }
        let rows = histogram("test", &users);
        let n_rows = users.brand(1).bins.len();
        assert!(rows.iter().all(|column| column.len() == n_rows) && n_rows < 2000);
        let fields = contract::tables::HISTOGRAM.all_fields();
        assert!(fields.iter().zip(&rows).all(|(f, column)| f.data_type() == column.data_type()));
        let counts: UInt64Array = rows[3].to_data().into();
        assert_eq!(counts.values().iter().sum::<u64>(), 667);
    }
}

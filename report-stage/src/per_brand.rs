//! `per_brand.arrow` and `per_brand.csv`: the figures of every brand in every experiment.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use contract::output::visible;
use contract::run::StageRun;
use contract::tables::{Kind, PER_BRAND};
use metrics::Counts;

use crate::evaluate::Evaluation;
use crate::load::Brands;
use crate::trial::{BrandFigures, Trial};

/// Columns that the contract does not have.
const THRESHOLD: &str = "threshold";
const AVERAGE_PRECISION: &str = "average_precision";
const EXPECTED_BEFORE: &str = "expected_before";
const EXPECTED_AFTER: &str = "expected_after";
const F1_CHANGE: &str = "f1_change";
const F1_CHANGE_LOW: &str = "f1_change_low";
/// Of users who had the brand before, then of those who had not.
const OF_PARTS: [&str; 6] =
    ["repeat_precision", "repeat_recall", "repeat_f1", "new_precision", "new_recall", "new_f1"];
const F1_CHANGE_HIGH: &str = "f1_change_high";

/// Writes both files: a row for each brand in each experiment with scores. Precision, recall, F1 and its
/// change are over all seeds; counts, threshold and what follows from it are of the first.
pub fn write(run: &mut StageRun, trials: &[Trial], brands: &Brands) -> anyhow::Result<()> {
    let scored = |trial: &Trial| trial.scored.as_ref().is_some_and(|s| s.parts[0].is_some());
    let has_parts = trials.iter().any(scored);
    let fields = fields(brands, has_parts);
    let mut rows = run.writer("per_brand.arrow", &PER_BRAND, fields.clone())?;
    let mut csv = Csv::new(fields);
    for trial in trials {
        if let Some(columns) = columns(trial, brands, has_parts) {
            csv.write(columns.clone())?;
            rows.write(columns)?;
        }
    }
    run.add(rows.finish()?);
    Ok(run.add_text("per_brand.csv", &csv.finish())?)
}

/// The columns; `brand_id` has the same type as in `brands.arrow`.
///
/// * `has_parts`: whether users who had a brand before are known.
fn fields(brands: &Brands, has_parts: bool) -> Vec<Field> {
    let of_contract = PER_BRAND.columns.iter().map(|column| {
        let is_id = column.kind == Kind::Id;
        let data_type =
            if is_id { brands.ids.data_type().clone() } else { column.kind.data_type() };
        Field::new(column.name, data_type, column.kind == Kind::NullableF64)
    });
    let more = [
        THRESHOLD,
        AVERAGE_PRECISION,
        EXPECTED_BEFORE,
        EXPECTED_AFTER,
        F1_CHANGE,
        F1_CHANGE_LOW,
        F1_CHANGE_HIGH,
    ];
    let parts = OF_PARTS.into_iter().filter(|_| has_parts);
    let more = more.into_iter().chain(parts).map(|name| Field::new(name, DataType::Float64, true));
    of_contract.chain(more).collect()
}

/// One experiment's rows, one for each brand; `None` without scores.
fn columns(trial: &Trial, brands: &Brands, has_parts: bool) -> Option<Vec<ArrayRef>> {
    let scored = trial.scored.as_ref()?;
    let Evaluation { counts, average_precision, .. } = &scored.evaluation;
    let list = &brands.list;
    let count = |of: fn(&Counts) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(counts.iter().map(of)))
    };
    let metric = |of: fn(&BrandFigures) -> Option<f64>| -> ArrayRef {
        Arc::new(scored.brands.iter().map(of).collect::<Float64Array>())
    };
    let of_brand = |value: &dyn Fn(usize) -> Option<f64>| -> ArrayRef {
        Arc::new((0..list.len()).map(value).collect::<Float64Array>())
    };
    let name = &trial.settings.name;
    let change = |brand: usize| Some(scored.delta.as_ref()?.1[brand]);
    let end = |brand: usize, end: usize| Some(change(brand)?.ci95?[end]);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(list.iter().map(|_| name))),
        Arc::new(UInt32Array::from_iter_values(0..list.len() as u32)),
        brands.ids.clone(),
        Arc::new(StringArray::from_iter_values(list.iter().map(|brand| &brand.name))),
        Arc::new(UInt64Array::from_iter_values(list.iter().map(|brand| brand.volume))),
        Arc::new(StringArray::from_iter_values(list.iter().map(|brand| brand.tier.name()))),
        count(|counts| counts.tp),
        count(|counts| counts.fp),
        count(|counts| counts.fn_),
        metric(|brand| brand.precision),
        metric(|brand| brand.recall),
        metric(|brand| brand.f1),
        of_brand(&|brand| Some(scored.thresholds.as_ref()?[brand].prob)),
        of_brand(&|brand| average_precision[brand]),
        of_brand(&|brand| Some(scored.expected.as_ref()?[brand][0])),
        of_brand(&|brand| Some(scored.expected.as_ref()?[brand][1])),
        of_brand(&|brand| change(brand)?.abs),
        of_brand(&|brand| end(brand, 0)),
        of_brand(&|brand| end(brand, 1)),
    ];
    for part in scored.parts.iter().filter(|_| has_parts) {
        let of_part =
            |of: fn(&BrandFigures) -> Option<f64>| of_brand(&|brand| of(&part.as_ref()?[brand]));
        columns.extend([
            of_part(|brand| brand.precision),
            of_part(|brand| brand.recall),
            of_part(|brand| brand.f1),
        ]);
    }
    Some(columns)
}

/// The same rows as comma-separated values; undefined is empty. Strings are as [`cell`] writes them.
struct Csv {
    schema: SchemaRef,
    writer: arrow::csv::Writer<Vec<u8>>,
}

impl Csv {
    fn new(fields: Vec<Field>) -> Self {
        let writer = WriterBuilder::new().with_header(true).build(Vec::new());
        Self { schema: Arc::new(Schema::new(fields)), writer }
    }

    fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), ArrowError> {
        let columns = columns.into_iter().map(|column| match column.as_string_opt::<i32>() {
            Some(texts) => {
                Arc::new(texts.iter().map(|text| text.map(cell)).collect::<StringArray>())
            }
            None => column,
        });
        let columns: Vec<ArrayRef> = columns.collect();
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn finish(self) -> String {
        String::from_utf8(self.writer.into_inner()).expect("columns are numbers and strings")
    }
}

/// A string that a spreadsheet shows as it is. What a spreadsheet would run as a formula gets an
/// apostrophe in front, as OWASP recommends against CSV injection; control characters are escaped.
fn cell(text: &str) -> String {
    const STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

    let guard = if text.starts_with(STARTS) { "'" } else { "" };
    format!("{guard}{}", visible(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_string_is_run_as_a_formula() {
        for text in ["=HYPERLINK(\"x\")", "+1", "-1+1", "@sum", "\tx", "＝1"] {
            assert_eq!(cell(text), format!("'{text}"));
        }
        assert_eq!(cell("\r=1\0"), "'\\u000d=1\\u0000");
        assert_eq!(cell("Marks - Spencer = 1"), "Marks - Spencer = 1");
    }
}

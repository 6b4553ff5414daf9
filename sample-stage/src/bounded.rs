//! Functions with large results from small arguments, each with a bound on one call.
//!
//! `range(0, n)` makes n values from two, and DataFusion's memory pool counts what operators hold,
//! not what functions make. So these functions are registered again, each with an estimate of its
//! result's size that is checked before it runs.

use std::sync::Arc;

use contract::words::plural;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::length::length;
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Float64Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use datafusion::prelude::{Expr, SessionContext};

/// Assumed size of a value, in bytes.
const VALUE_BYTES: f64 = 8.0;

/// Bounds a session's functions.
///
/// * `bytes`: most that one call may make, for all rows of a batch together.
pub fn register(session: &SessionContext, bytes: u64) {
    let functions = session.state().scalar_functions().clone();
    for (name, estimate) in ESTIMATES {
        if let Some(inner) = functions.get(name) {
            let inner = inner.as_ref().clone();
            session.register_udf(ScalarUDF::new_from_impl(Bounded { inner, estimate, bytes }));
        }
    }
}

/// The size of each function's result.
const ESTIMATES: [(&str, Estimate); 10] = [
    ("range", Estimate::Range),
    ("generate_series", Estimate::Range),
    ("repeat", Estimate::Times),
    ("array_repeat", Estimate::Times),
    ("array_resize", Estimate::Resized),
    ("lpad", Estimate::Padded),
    ("rpad", Estimate::Padded),
    ("replace", Estimate::Replaced),
    ("regexp_replace", Estimate::Replaced),
    ("array_to_string", Estimate::Joined),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Estimate {
    /// `(start, stop, step)` or `(stop)`: values from start to stop
    Range,
    /// `(value, n)`: n times the value
    Times,
    /// `(list, n, value)`: n values
    Resized,
    /// `(text, n, padding)`: n characters
    Padded,
    /// `(text, from, to)`: at most a `to` before, between and after all characters of the text
    Replaced,
    /// `(list, delimiter)`: a delimiter for each value
    Joined,
}

impl Estimate {
    /// Bytes of the results, row by row.
    fn bytes(self, args: &[ColumnarValue], n_rows: usize) -> Result<Vec<f64>> {
        let none = || Column::Same(0.0);
        let number = |i: usize| args.get(i).map_or(Ok(none()), number_of);
        let size = |i: usize| args.get(i).map_or(Ok(none()), size_of);
        let rows = |row: &dyn Fn(usize) -> f64| (0..n_rows).map(row).collect();
        Ok(match self {
            Self::Range => {
                let (start, stop) =
                    if args.len() == 1 { (none(), number(0)?) } else { (number(0)?, number(1)?) };
                let step = if args.len() > 2 { number(2)? } else { Column::Same(1.0) };
                rows(&|row| {
                    let step = step.at(row);
                    // A step of 0 is an error, which the function itself reports.
                    let n = if step == 0.0 { 0.0 } else { (stop.at(row) - start.at(row)) / step };
                    (n.max(0.0) + 1.0) * VALUE_BYTES
                })
            }
            Self::Times => {
                let (value, times) = (size(0)?, number(1)?);
                rows(&|row| value.at(row) * times.at(row).max(0.0))
            }
            Self::Resized => {
                let (n, value) = (number(1)?, size(2)?);
                rows(&|row| n.at(row).max(0.0) * value.at(row).max(VALUE_BYTES))
            }
            Self::Padded => {
                let n = number(1)?;
                rows(&|row| n.at(row).max(0.0))
            }
            Self::Replaced => {
                let (text, to) = (size(0)?, size(2)?);
                rows(&|row| text.at(row) + (text.at(row) + 1.0) * to.at(row))
            }
            Self::Joined => {
                let (list, delimiter) = (size(0)?, size(1)?);
                rows(&|row| list.at(row) / VALUE_BYTES * delimiter.at(row))
            }
        })
    }
}

/// A number for each row; a constant is not expanded, as it may be large itself.
enum Column {
    Same(f64),
    Each(ArrayRef),
}

impl Column {
    fn new(value: &ColumnarValue, convert: impl Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Array(values) => Self::Each(convert(values)?),
            ColumnarValue::Scalar(value) => {
                let converted = Self::Each(convert(&value.to_array()?)?);
                Self::Same(converted.at(0))
            }
        })
    }

    /// 0 for null, from which the functions make nothing.
    fn at(&self, row: usize) -> f64 {
        match self {
            Self::Same(value) => *value,
            Self::Each(values) if values.is_null(row) => 0.0,
            Self::Each(values) => values.as_primitive::<Float64Type>().value(row),
        }
    }
}

/// Numbers as they are; dates, times and intervals in days, as `range` has them for bounds and step.
fn number_of(value: &ColumnarValue) -> Result<Column> {
    const NS_PER_DAY: f64 = 86_400.0 * 1e9;
    Column::new(value, |values| {
        let to_days = |per_day: f64| -> Result<ArrayRef> {
            let days = cast(&cast(values, &DataType::Int64)?, &DataType::Float64)?;
            let days = days.as_primitive::<Float64Type>().unary::<_, Float64Type>(|n| n / per_day);
            Ok(Arc::new(days))
        };
        match values.data_type() {
            DataType::Timestamp(unit, _) => to_days(match unit {
                TimeUnit::Second => 86_400.0,
                TimeUnit::Millisecond => 86_400.0 * 1e3,
                TimeUnit::Microsecond => 86_400.0 * 1e6,
                TimeUnit::Nanosecond => NS_PER_DAY,
            }),
            DataType::Date32 => Ok(cast(&cast(values, &DataType::Int32)?, &DataType::Float64)?),
            DataType::Date64 => to_days(86_400.0 * 1e3),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let steps = values.as_primitive::<IntervalMonthDayNanoType>();
                let days = steps.unary::<_, Float64Type>(|step| {
                    f64::from(step.months) * 28.0
                        + f64::from(step.days)
                        + step.nanoseconds as f64 / NS_PER_DAY
                });
                Ok(Arc::new(days))
            }
            _ => Ok(cast(values, &DataType::Float64)?),
        }
    })
}

/// Bytes of texts and lists.
fn size_of(value: &ColumnarValue) -> Result<Column> {
    Column::new(value, |values| {
        let per_item = match values.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => 1.0,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => VALUE_BYTES,
            _ => {
                let same = ScalarValue::Float64(Some(VALUE_BYTES));
                return same.to_array_of_size(values.len());
            }
        };
        let items = cast(&cast(&length(values)?, &DataType::Int64)?, &DataType::Int64)?;
        let items = items.as_primitive::<Int64Type>();
        Ok(Arc::new(items.unary::<_, Float64Type>(|n| n as f64 * per_item)))
    })
}

/// A function that refuses to make more than `bytes`; otherwise it behaves as `inner`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: ScalarUDF,
    estimate: Estimate,
    bytes: u64,
}

impl ScalarUDFImpl for Bounded {
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_array = |arg: &ColumnarValue| matches!(arg, ColumnarValue::Array(_));
        let n_rows = if args.args.iter().any(is_array) { args.number_rows } else { 1 };
        let bytes = self.estimate.bytes(&args.args, n_rows)?;
        let total: f64 = bytes.iter().sum();
        if total > self.bytes as f64 {
            let mib = |bytes: f64| (bytes / f64::from(1 << 20)).ceil();
            let largest = bytes.into_iter().fold(0.0, f64::max);
            return exec_err!(
                "`{}` would make {:.0} MiB for {}, {:.0} MiB for one of them, and may make {:.0} MiB\n\
                 hint: check its arguments; the bound is a quarter of `memory_limit`",
                self.name(),
                mib(total),
                plural(n_rows as u64, "row"),
                mib(largest),
                mib(self.bytes as f64)
            );
        }
        self.inner.inner().invoke_with_args(args)
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: u64 = 1 << 20;

    async fn error_of(expr: &str) -> Option<String> {
        let session = SessionContext::new();
        register(&session, BOUND);
        // n is a column, so that nothing is computed while planning.
        let sql = format!(
            "select {expr} from (values (1, 'a', date '2000-01-01')) as t (n, text, day), \
             (values (1), (2), (3)) as u (k)"
        );
        let ran = async { session.sql(&sql).await?.collect().await };
        ran.await.err().map(|err| err.find_root().to_string())
    }

    /// The bound is 1 MiB, for three rows together.
    #[tokio::test]
    async fn a_call_beyond_the_bound_is_rejected_before_it_runs() {
        for (function, expr) in [
            ("range", "range(0, 1000000000 + n)"),
            ("range", "range(k * 50000)"),
            ("range", "range(n * 1000000000, 0, -1)"),
            ("generate_series", "generate_series(n, 1000000000)"),
            ("range", "range(day, date '9999-12-31', interval '1' day)"),
            (
                "generate_series",
                "generate_series(cast(day as timestamp), timestamp '2000-01-09', interval '1' second)",
            ),
            ("repeat", "repeat('a', 100000000 + n)"),
            ("repeat", "repeat(text, 400000 * k)"),
            ("lpad", "lpad(text, 2000000 * n)"),
            ("rpad", "rpad(text, 2000000 * n, '-')"),
            ("array_repeat", "array_repeat(n, 1000000 * n)"),
            ("array_repeat", "list_repeat(make_array(n, n, n, n), 20000 * k)"),
            ("array_resize", "array_resize(make_array(n), 1000000 * n, 0)"),
            ("replace", "replace(repeat(text, 1000 * k), text, repeat(text, 1000))"),
            (
                "regexp_replace",
                "regexp_replace(repeat(text, 1000 * k), text, repeat('b', 1000), 'g')",
            ),
            ("array_to_string", "array_to_string(range(2000 * k), repeat(text, 1000))"),
        ] {
            let found = error_of(expr).await.unwrap_or_default();
            assert!(found.contains(&format!("`{function}` would make ")), "{expr}: {found}");
        }
    }

    #[tokio::test]
    async fn a_call_within_the_bound_runs_as_before() {
        for expr in [
            "range(0, 1000 + n)",
            "range(n, -100, -1)",
            "range(day, date '2001-01-01', interval '1' month)",
            "generate_series(n, null)",
            "repeat(text, n)",
            "lpad(text, n, '-')",
            "array_repeat(text, 10 * n)",
            "array_resize(make_array(n), 10 * n)",
            "replace(text, 'a', 'b')",
            "array_to_string(range(n), ', ')",
        ] {
            assert_eq!(error_of(expr).await, None, "{expr}");
        }
    }
}

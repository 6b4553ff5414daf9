//! The column that says when a row happened: dates, timestamps, text, or whole days from an origin.

use anyhow::Result;
use contract::exit::DataError;
use contract::manifest::time::{DAY, TimeSource};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::functions_window::expr_fn::rank;
use datafusion::logical_expr::{Expr, ExprFunctionExt as _, cast, ident, lit};

use crate::id_columns::column_type;

/// A column with the time of each row. A row without a time is neither before nor after anything.
#[derive(Debug, Clone)]
pub struct TimeColumn {
    pub name: String,
    kind: DataType,
    /// Ticks of one second; `None` for whole days
    per_second: Option<i64>,
    /// For whole days: days from 1970 to day 0
    origin_days: i64,
}

impl TimeColumn {
    /// Finds the column; text becomes a timestamp in the frame.
    ///
    /// * `table`: `users` or `interactions`, for messages.
    ///
    /// # Errors
    ///
    /// If it is missing, of another type, or whole numbers without an origin.
    pub fn find(
        frame: DataFrame,
        source: &TimeSource,
        table: &str,
    ) -> Result<(DataFrame, Self), anyhow::Error> {
        let name = source.column();
        let found = column_type(frame.schema().as_arrow(), table, name)?;
        let fail =
            |what: String| DataError(format!("{table}: column `{name}` is `{found}`, {what}"));
        if source.origin().is_some() && !found.is_integer() {
            let what = "which has no `origin`; give one for whole days only".to_owned();
            return Err(fail(what).into());
        }
        let mut frame = frame;
        let (kind, per_second, origin_days) = match &found {
            DataType::Date32 => (found.clone(), None, 0),
            DataType::Date64 => (found.clone(), Some(1000), 0),
            DataType::Timestamp(unit, _) => (found.clone(), Some(ticks(*unit)), 0),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
                frame = frame.with_column(name, cast(ident(name), kind.clone()))?;
                (kind, Some(ticks(TimeUnit::Microsecond)), 0)
            }
            whole if whole.is_integer() => {
                let origin = source.origin().ok_or_else(|| {
                    fail(format!(
                        "whole days; say which date day 0 is: `time: {{column: {name}, origin: 2024-01-01}}`"
                    ))
                })?;
                (DataType::Int64, None, origin.seconds() / DAY)
            }
            _ => {
                let what = "expected a date, a timestamp, text such as `2024-07-01`, or whole days";
                return Err(fail(what.to_owned()).into());
            }
        };
        Ok((frame, Self { name: name.to_owned(), kind, per_second, origin_days }))
    }

    /// Whether a row happened before a moment.
    ///
    /// * `moment`: seconds since 1970.
    pub fn before(&self, moment: i64) -> Expr {
        ident(&self.name).lt(self.first_from(moment))
    }

    /// Whether a row happened at a moment or after it.
    pub fn from(&self, moment: i64) -> Expr {
        ident(&self.name).gt_eq(self.first_from(moment))
    }

    /// The row's time as whole ticks or days since 1970.
    pub fn ticks(&self) -> Expr {
        cast(ident(&self.name), DataType::Int64) + lit(self.origin_days)
    }

    /// Seconds since 1970 of a number of [`Self::ticks`], rounded down.
    pub fn seconds_of(&self, ticks: i64) -> i64 {
        match self.per_second {
            Some(per_second) => ticks.div_euclid(per_second),
            None => ticks * DAY,
        }
    }

    /// Days from the row to a moment, with a fraction; not negative for rows before it.
    pub fn days_until(&self, moment: i64) -> Expr {
        match self.per_second {
            Some(per_second) => {
                let until = lit(moment.saturating_mul(per_second)) - self.ticks();
                cast(until, DataType::Float64) / lit((per_second * DAY) as f64)
            }
            None => lit(moment as f64 / DAY as f64) - cast(self.ticks(), DataType::Float64),
        }
    }

    /// Each user's last row at or before a moment; several at the same time are all kept.
    ///
    /// # Errors
    ///
    /// If the frame has no such columns.
    pub fn last_rows(&self, frame: DataFrame, id: &str, moment: i64) -> Result<DataFrame> {
        /// No table has such a column.
        const RANK: &str = "rank of the row among those of its user";

        let names: Vec<Expr> =
            frame.schema().fields().iter().map(|field| ident(field.name())).collect();
        let newest_first = rank()
            .partition_by(vec![ident(id)])
            .order_by(vec![ident(&self.name).sort(false, false)])
            .build()?
            .alias(RANK);
        let known = frame.filter(self.before(moment + 1))?;
        let ranked = known.window(vec![newest_first])?;
        Ok(ranked.filter(ident(RANK).eq(lit(1_u64)))?.select(names)?)
    }

    /// The first value of the column that is not before a moment: a day that begins at it or later,
    /// since a day stands for its midnight.
    fn first_from(&self, moment: i64) -> Expr {
        let days = -(-moment).div_euclid(DAY) - self.origin_days;
        let ticks = moment.saturating_mul(self.per_second.unwrap_or(1));
        let value = match &self.kind {
            DataType::Date32 => ScalarValue::Date32(Some(days as i32)),
            DataType::Date64 => ScalarValue::Date64(Some(ticks)),
            DataType::Timestamp(TimeUnit::Second, zone) => {
                ScalarValue::TimestampSecond(Some(ticks), zone.clone())
            }
            DataType::Timestamp(TimeUnit::Millisecond, zone) => {
                ScalarValue::TimestampMillisecond(Some(ticks), zone.clone())
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                ScalarValue::TimestampMicrosecond(Some(ticks), zone.clone())
            }
            DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
                ScalarValue::TimestampNanosecond(Some(ticks), zone.clone())
            }
            _ => ScalarValue::Int64(Some(days)),
        };
        lit(value)
    }
}

fn ticks(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

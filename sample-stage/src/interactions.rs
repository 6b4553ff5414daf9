//! Interactions, and what of them is known and predicted at a date.

use anyhow::{Context as _, Result};
use contract::exit::DataError;
use contract::ids::IdIndex;
use contract::manifest::Data;
use contract::manifest::time::{DAY, DecayedCount, HistoryWeight, Moment, PlainWeight};
use contract::warn_line;
use contract::words::plural;
use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::dataframe::DataFrame;
use datafusion::functions::expr_fn::{coalesce, power};
use datafusion::functions_aggregate::expr_fn::{count, max, min, sum};
use datafusion::logical_expr::{Expr, cast, ident, lit};

use crate::as_of::Date;
use crate::id_columns::{column_type, with_stored_ids};
use crate::raw::RawTables;
use crate::time::TimeColumn;

/// Decimal digits of a sum of `events`: sums of whole numbers are the same in any order, sums of
/// floating-point numbers are not.
const SUM: DataType = DataType::Decimal128(38, 12);

/// The rows of interactions.
pub struct Interactions {
    frame: DataFrame,
    time: Option<TimeColumn>,
    events: Expr,
}

/// When interactions happened, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    first: i64,
    pub last: i64,
}

impl Interactions {
    /// Plans the view and checks its columns.
    ///
    /// # Errors
    ///
    /// A column that is missing or of another type.
    pub async fn open(raw: &RawTables, data: &Data) -> Result<Self> {
        let view = &data.interactions;
        let mut frame = raw.view(view).await.context("interactions")?;
        let mut time = None;
        if let Some(source) = view.time() {
            let (timed, column) = TimeColumn::find(frame, source, "interactions")?;
            (frame, time) = (timed, Some(column));
        }
        let known = ["user_id", "brand_id", "events"].into_iter();
        let known: Vec<&str> = known.chain(time.as_ref().map(|time| &*time.name)).collect();
        raw.warn_of_unused("interactions", &frame, &known);
        let mut events = lit(1.0);
        if let Ok(field) = frame.schema().field_with_unqualified_name("events") {
            let found = field.data_type();
            if !(found.is_numeric() || matches!(found, DataType::Boolean | DataType::Null)) {
                let message =
                    format!("interactions: column `events` is `{found}`, expected a number");
                return Err(DataError(message).into());
            }
            // Without a number, the event happened once.
            events = coalesce(vec![cast(ident("events"), DataType::Float64), lit(1.0)]);
        }
        Ok(Self { frame, time, events })
    }

    /// Checks that the columns of ids are of the type of those that they refer to.
    ///
    /// # Errors
    ///
    /// A column that is missing or of another type.
    pub fn check_ids(&self, raw: &RawTables, users: &IdIndex, brands: &IdIndex) -> Result<()> {
        for (column, index) in [("user_id", users), ("brand_id", brands)] {
            let found = column_type(self.frame.schema().as_arrow(), "interactions", column)?;
            if found == DataType::Null {
                continue; // a file without a row, or without any id
            }
            let checked = index.check_type(&found);
            checked.map_err(|err| raw.bad_ids("interactions", column, &err))?;
        }
        Ok(())
    }

    /// The rows that are labels at a date; all without a date.
    ///
    /// # Errors
    ///
    /// None that a manifest can cause.
    pub fn labels(&self, date: Option<&Date>) -> Result<DataFrame> {
        let frame = self.frame.clone();
        let (Some(date), Some(time)) = (date, &self.time) else { return Ok(frame) };
        let mut is_label = time.from(date.as_of.seconds());
        if let Some(end) = date.labels_end {
            is_label = is_label.and(time.before(end));
        }
        Ok(frame.filter(is_label)?)
    }

    /// What is known at a date: a row for each user and brand, with one number a weight, in order of
    /// user. The last column is the least of `events`, which should not be negative.
    ///
    /// * `user_id`: the type of stored ids, whose order is that of the rows.
    ///
    /// # Errors
    ///
    /// None that a manifest can cause.
    pub fn past(
        &self,
        weights: &[HistoryWeight],
        date: &Date,
        user_id: &DataType,
    ) -> Result<DataFrame> {
        let time = self.time.as_ref().expect("a manifest with dates has it");
        let known = self.frame.clone().filter(time.before(date.known_before))?;
        let known = with_stored_ids(known, "user_id", user_id)?;
        let days = time.days_until(date.as_of.seconds());
        let exact = |amount: Expr| cast(sum(cast(amount, SUM)), DataType::Float64);
        let events = || self.events.clone();
        let number = |weight: &HistoryWeight| match weight {
            HistoryWeight::Plain(PlainWeight::Count) => exact(events()),
            HistoryWeight::Plain(PlainWeight::SinceLast) => min(days.clone()),
            HistoryWeight::Decayed(DecayedCount { decayed: half_life }) => {
                let half_lives = days.clone() / lit(half_life.seconds() as f64 / DAY as f64);
                exact(events() * power(lit(0.5), half_lives))
            }
        };
        let mut numbers: Vec<Expr> = weights.iter().map(number).collect();
        numbers.push(min(events()));
        let named = |(i, number): (usize, Expr)| number.alias(format!("number {i}"));
        let numbers = numbers.into_iter().enumerate().map(named).collect();
        let happened = known.filter(events().not_eq(lit(0.0)))?;
        let grouped = happened.aggregate(vec![ident("user_id"), ident("brand_id")], numbers)?;
        Ok(grouped.sort(vec![ident("user_id").sort(true, true)])?)
    }

    /// When they happened; `None` without a time. Rows whose time is null are reported.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or interactions none of which has a time.
    pub async fn range(&self, raw: &RawTables) -> Result<Option<Range>> {
        let Some(time) = &self.time else { return Ok(None) };
        let ticks = || time.ticks();
        let ends = vec![min(ticks()), max(ticks()), count(ticks()), count(lit(1_i64))];
        let ends = self.frame.clone().aggregate(Vec::new(), ends)?;
        let found = raw.collect(ends, "interactions").await?;
        let number = |i: usize| {
            let batch = found.iter().find(|batch| batch.num_rows() > 0)?;
            let column = batch.column(i).as_primitive::<Int64Type>();
            column.iter().next().flatten()
        };
        let (Some(first), Some(last)) = (number(0), number(1)) else {
            let message = format!("interactions: no row has a `{}`", time.name);
            return Err(DataError(message).into());
        };
        let without = number(3).unwrap_or(0) - number(2).unwrap_or(0);
        if without > 0 {
            let (rows, name) = (plural(without as u64, "row"), &time.name);
            warn_line!("warning: interactions: {rows} without a `{name}`; left out");
        }
        let [first, last] = [first, last].map(|ticks| time.seconds_of(ticks));
        Ok(Some(Range { first, last }))
    }

    /// Names of the raw tables that the rows come from.
    pub fn tables(&self) -> Vec<String> {
        crate::raw::tables_of(&self.frame)
    }
}

impl Range {
    /// Checks that there is something to predict, and says where labels or histories are cut off.
    ///
    /// # Errors
    ///
    /// If no interaction comes at or after a date.
    pub fn check(&self, date: &Date, has_history: bool) -> Result<(), DataError> {
        let as_of = &date.as_of.moment;
        let [first, last] = [self.first, self.last].map(Moment::of_seconds);
        if self.last < as_of.seconds() {
            return Err(DataError(format!(
                "interactions: none is at or after {as_of}, so there is nothing to predict as of this \
                 date; they are from {first} to {last}"
            )));
        }
        // The last day may have hours without an interaction.
        if let Some(end) = date.labels_end.filter(|&end| end >= self.last + 2 * DAY) {
            let end = Moment::of_seconds(end);
            warn_line!(
                "warning: interactions: the labels as of {as_of} are those until {end}, but the last \
                 interaction is of {last}, so some may be missing"
            );
        }
        if has_history && self.first >= date.known_before {
            warn_line!(
                "warning: interactions: none is before {}, so the histories as of {as_of} are empty",
                Moment::of_seconds(date.known_before)
            );
        }
        Ok(())
    }
}

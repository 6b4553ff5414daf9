//! Training users of a sampling query's rows -> rows of `features`.

use anyhow::Result;
use contract::ids::{IdIndex, shown};
use contract::ipc::{Error, Table};
use contract::tables::FEATURES;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, UInt32Array};
use datafusion::arrow::compute::{cast, filter};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use std::sync::Arc;

use crate::as_of::AS_OF;

/// Where each training user stands in `features`; with several dates, at each of them.
pub struct UserRows {
    /// In the order of `features`, which has the users of one date after those of another
    dates: Vec<UsersOfDate>,
    /// Type of the column `as_of`, if there are several dates
    as_of: Option<DataType>,
}

struct UsersOfDate {
    /// Value of `as_of`; 0 without dates
    as_of: i64,
    index: IdIndex,
    /// Row of the first
    start: u32,
}

/// Why users of a query's rows were not found.
pub enum Unknown {
    /// A column that the query should return, and what is wrong with it
    Column(&'static str, String),
    /// Ids of another type
    Ids(contract::ids::IdError),
}

impl UserRows {
    /// From the table `features`.
    ///
    /// # Errors
    ///
    /// If an id repeats at a date.
    pub fn new(features: &Table) -> Result<Self> {
        let ids = features.whole_column("user_id")?;
        let dates = match features.schema.field_with_name(AS_OF) {
            Ok(_) => ticks(&features.whole_column(AS_OF)?)?,
            Err(_) => vec![Some(0); ids.len()],
        };
        let mut found = Vec::new();
        let mut start = 0;
        for users in dates.chunk_by(|a, b| a == b) {
            let of_date = ids.slice(start, users.len());
            let index = IdIndex::new(&of_date, ids.data_type().clone());
            let index = index.map_err(|row| repeats(features, start + row))?;
            let as_of = users[0].ok_or_else(|| repeats(features, start))?;
            found.push(UsersOfDate { as_of, index, start: start as u32 });
            start += users.len();
        }
        let of_several = features.schema.field_with_name(AS_OF).ok().filter(|_| found.len() > 1);
        Ok(Self { as_of: of_several.map(|field| field.data_type().clone()), dates: found })
    }

    /// Checks the columns that a query returns, before it runs.
    ///
    /// # Errors
    ///
    /// A column that is missing or of another type.
    pub fn check_columns(&self, found: &Schema) -> Result<(), Unknown> {
        let kind = |name: &str| found.field_with_name(name).ok().map(Field::data_type);
        let of_ids = kind("user_id").filter(|found| **found != DataType::Null);
        if let (Some(found), Some(date)) = (of_ids, self.dates.first()) {
            date.index.check_type(found).map_err(Unknown::Ids)?;
        }
        match kind(AS_OF) {
            _ if self.as_of.is_none() => Ok(()),
            None => Err(Unknown::Column(
                AS_OF,
                "is missing; as `labels.as_of` has several dates, an example is a user at one of \
                 them: return `users.as_of` or `interactions.as_of`"
                    .to_owned(),
            )),
            Some(found) if !found.is_temporal() => {
                Err(Unknown::Column(AS_OF, format!("is `{found}`, expected a date")))
            }
            Some(_) => Ok(()),
        }
    }

    /// The row of each user.
    ///
    /// * `as_of`: the column, if the query returns it.
    ///
    /// # Errors
    ///
    /// A user who is no training user, or none at the date.
    pub fn find(&self, ids: &ArrayRef, as_of: Option<&ArrayRef>) -> Result<ArrayRef, Unknown> {
        let (Some(kind), Some(as_of)) = (&self.as_of, as_of) else {
            let rows = self.dates[0].index.positions(ids).map_err(Unknown::Ids)?;
            if let Some(row) = rows.iter().position(Option::is_none) {
                let found = shown(ids, row);
                let message = format!("found {found}, expected the id of a training user");
                return Err(Unknown::Column("user_id", message));
            }
            return Ok(Arc::new(rows.into_iter().collect::<UInt32Array>()));
        };
        let wrong = |err: String| Unknown::Column(AS_OF, err);
        let stored = cast(as_of, kind).map_err(|err| wrong(err.to_string()))?;
        let wanted = ticks(&stored).map_err(|err| wrong(err.to_string()))?;
        let mut found = vec![None; ids.len()];
        for date in &self.dates {
            let is_of_date: BooleanArray =
                wanted.iter().map(|tick| Some(*tick == Some(date.as_of))).collect();
            let of_date = filter(ids, &is_of_date).map_err(|err| wrong(err.to_string()))?;
            let rows = date.index.positions(&of_date).map_err(Unknown::Ids)?;
            let places = (0..ids.len()).filter(|&place| is_of_date.value(place));
            for (place, row) in places.zip(rows) {
                found[place] = row.map(|row| row + date.start);
            }
        }
        if let Some(place) = found.iter().position(Option::is_none) {
            let (user, date) = (shown(ids, place), shown(as_of, place));
            let message = format!(
                "found {user} as of {date}, expected the id of a training user of this date"
            );
            return Err(Unknown::Column("user_id", message));
        }
        Ok(Arc::new(found.into_iter().collect::<UInt32Array>()))
    }
}

fn repeats(features: &Table, row: usize) -> Error {
    features.broken(&FEATURES, format!("`user_id` repeats in row {row}"))
}

/// A column of dates or timestamps as numbers.
fn ticks(column: &ArrayRef) -> Result<Vec<Option<i64>>> {
    let ticks = match column.data_type() {
        DataType::Date32 => cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(column, &DataType::Int64)?,
    };
    Ok(ticks.as_primitive::<Int64Type>().iter().collect())
}

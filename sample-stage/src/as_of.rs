//! Dates that labels and features are of, and the column `as_of` that names them.

use std::sync::Arc;

use contract::manifest::time::{DAY, Moment};
use contract::manifest::timeline::Timeline;
use datafusion::arrow::array::{ArrayRef, Date32Array, TimestampSecondArray};
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};

/// Name of the column.
pub const AS_OF: &str = "as_of";

/// A date, and what is known and predicted at it; seconds since 1970.
#[derive(Debug, Clone)]
pub struct Date {
    pub as_of: AsOf,
    /// What is known lies before this
    pub known_before: i64,
    /// Labels lie before this; `None` if all that comes after is one
    pub labels_end: Option<i64>,
}

impl Date {
    pub fn of(timeline: &Timeline, moment: &Moment) -> Self {
        Self {
            as_of: AsOf { moment: moment.clone(), is_of_days: timeline.is_of_days() },
            known_before: timeline.known_before(moment),
            labels_end: timeline.labels_end(moment),
        }
    }
}

/// A value of the column `as_of`.
#[derive(Debug, Clone)]
pub struct AsOf {
    pub moment: Moment,
    /// Whether all dates are midnights, so that the column holds dates, not timestamps
    is_of_days: bool,
}

impl AsOf {
    pub fn seconds(&self) -> i64 {
        self.moment.seconds()
    }

    /// The column.
    pub fn field(&self) -> Field {
        let timestamp = DataType::Timestamp(TimeUnit::Second, None);
        Field::new(AS_OF, if self.is_of_days { DataType::Date32 } else { timestamp }, false)
    }

    /// So many rows of the column.
    pub fn column(&self, n: usize) -> ArrayRef {
        let seconds = self.moment.seconds();
        if self.is_of_days {
            Arc::new(Date32Array::from(vec![(seconds / DAY) as i32; n]))
        } else {
            Arc::new(TimestampSecondArray::from(vec![seconds; n]))
        }
    }
}

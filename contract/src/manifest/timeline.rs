//! Which dates a manifest's labels and features are of.

use super::Manifest;
use super::time::Moment;

/// The dates of a manifest with `labels`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Dates of training, ascending
    pub train: Vec<Moment>,
    /// Date at which all users are valid users; `None` if some users are, at the last of training
    pub valid: Option<Moment>,
    /// Date at which all users are test users; `None` if some users are, at the last of training
    pub test: Option<Moment>,
    /// Seconds after a date in which an interaction is a label; `None` for all that comes after
    pub horizon: Option<i64>,
    /// Seconds before a date at which what is known ends
    pub gap: i64,
}

impl Timeline {
    /// What is known at a date lies before this, in seconds since 1970.
    pub fn known_before(&self, as_of: &Moment) -> i64 {
        as_of.seconds() - self.gap
    }

    /// When the labels of a date end, in seconds since 1970; `None` if never.
    pub fn labels_end(&self, as_of: &Moment) -> Option<i64> {
        self.horizon.map(|horizon| as_of.seconds() + horizon)
    }

    /// The last date of training.
    pub fn last_train(&self) -> &Moment {
        self.train.last().expect("the manifest has at least one date")
    }

    /// All dates.
    pub fn dates(&self) -> impl Iterator<Item = &Moment> {
        self.train.iter().chain(&self.valid).chain(&self.test)
    }

    /// Whether every date is a midnight, so that columns of dates hold them.
    pub fn is_of_days(&self) -> bool {
        self.dates().all(Moment::is_day)
    }
}

impl Manifest {
    /// The dates of labels and features; `None` if time plays no part.
    pub fn timeline(&self) -> Option<Timeline> {
        let labels = self.labels.as_ref()?;
        let mut train = labels.as_of.dates().to_vec();
        train.sort_by_key(Moment::seconds);
        Some(Timeline {
            train,
            valid: self.holdout.valid.as_of().cloned(),
            test: self.holdout.test.as_of().cloned(),
            horizon: labels.horizon.as_ref().map(super::time::Span::seconds),
            gap: labels.gap.seconds(),
        })
    }
}

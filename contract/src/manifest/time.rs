//! Time in the manifest: days and spans, when rows happened, what is predicted as of when, and what
//! is told of the time before.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FeatureOptions, FeatureSource, IdSpace};

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// A day such as `2024-07-01`, which stands for its midnight, or a second of it such as
/// `2024-07-01T12:00:00`; in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Moment(
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z?)?$"), extend("examples" = ["2024-07-01"]))]
     String,
);

impl Moment {
    /// From a text; `None` if it is no day, such as `2024-02-30`.
    pub fn parse(text: &str) -> Option<Self> {
        let moment = Self(text.to_owned());
        moment.checked_seconds().map(|_| moment)
    }

    /// From seconds since 1970; a midnight is written as a day.
    pub fn of_seconds(seconds: i64) -> Self {
        let (year, month, day) = civil(seconds.div_euclid(DAY));
        let rest = seconds.rem_euclid(DAY);
        let date = format!("{year:04}-{month:02}-{day:02}");
        Self(match rest {
            0 => date,
            _ => format!("{date}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60),
        })
    }

    /// Since 1970.
    pub fn seconds(&self) -> i64 {
        self.checked_seconds().expect("checked when the manifest was loaded")
    }

    /// Seconds since 1970; `None` if there is no such day or second.
    pub(super) fn checked_seconds(&self) -> Option<i64> {
        let number = |from: usize, n: usize| self.0.get(from..from + n)?.parse::<i64>().ok();
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let days = days(year, month, day);
        if self.0.as_bytes().get(4) != Some(&b'-') || civil(days) != (year, month, day) {
            return None;
        }
        if self.0.len() == 10 {
            return Some(days * DAY);
        }
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        let is_time = hour < 24 && minute < 60 && second < 60;
        is_time.then_some(days * DAY + hour * 3600 + minute * 60 + second)
    }

    /// Whether it is a midnight.
    pub fn is_day(&self) -> bool {
        self.seconds() % DAY == 0
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Days since 1970 of a date of the Gregorian calendar.
///
/// Source: `days_from_civil`, Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a number of days since 1970.
///
/// Source: `civil_from_days`, as [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

/// A span of time such as `30d`: a number of hours (`h`), days (`d`) or weeks (`w`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Span(
    #[schemars(regex(pattern = r"^[0-9]{1,5}[hdw]$"), extend("examples" = ["30d", "6w"]))] String,
);

impl Span {
    /// In seconds.
    pub fn seconds(&self) -> i64 {
        let (number, unit) = self.0.split_at(self.0.len() - 1);
        let number: i64 = number.parse().expect("checked against the schema");
        number
            * match unit {
                "h" => 3600,
                "d" => DAY,
                _ => 7 * DAY,
            }
    }
}

impl Default for Span {
    fn default() -> Self {
        Self("0d".to_owned())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The column that says when a row happened.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TimeSource {
    /// A column of dates, of timestamps, or of text such as `2024-07-01`
    Column(String),
    /// A column of whole days
    Options(TimeOptions),
}

/// A column of whole days.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeOptions {
    /// Its name
    pub column: String,
    /// For a column of whole numbers: the date of day 0
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Moment>,
}

impl TimeSource {
    /// Name of the column.
    pub fn column(&self) -> &str {
        match self {
            Self::Column(column) => column,
            Self::Options(options) => &options.column,
        }
    }

    /// The date of day 0 of a column of whole numbers.
    pub fn origin(&self) -> Option<&Moment> {
        match self {
            Self::Column(_) => None,
            Self::Options(options) => options.origin.as_ref(),
        }
    }
}

/// Which interactions are predicted: those of `[as_of, as_of + horizon)`. Needs
/// `data.interactions.time`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// The date at which training stands, such as `2024-07-01`, or a list of dates: then a training
    /// example is a user at a date, with the history and the labels of that date
    pub as_of: AsOf,
    /// How long after `as_of` an interaction is a label, such as `30d` or `6w`. Default: all that
    /// comes after
    #[serde(default)]
    pub horizon: Option<Span>,
    /// How long before `as_of` what is known ends, for data that arrive late: a feature is made of
    /// what lies before `as_of - gap`
    #[serde(default)]
    pub gap: Span,
    /// Which of a user's brands are labels
    #[serde(default)]
    pub only: LabelsOnly,
}

/// One date, or several.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AsOf {
    /// A date
    One(Moment),
    /// Several dates
    Several(#[schemars(length(min = 1, max = 100))] Vec<Moment>),
}

impl AsOf {
    /// The dates as they are written.
    pub fn dates(&self) -> &[Moment] {
        match self {
            Self::One(date) => std::slice::from_ref(date),
            Self::Several(dates) => dates,
        }
    }
}

/// Which of a user's brands are labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LabelsOnly {
    /// All
    #[default]
    All,
    /// Brands without an interaction of the user before `as_of - gap`
    New,
    /// Brands with one
    Repeat,
}

/// Features made of a user's interactions before `as_of - gap`: the brands, with a number each. Needs
/// `labels`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Name of the feature with the first of `weights`, such as `past`; the others are `past_count`,
    /// `past_decayed_30d` and `past_since_last`. They come after `data.features`
    pub name: String,
    /// What is told of a user's interactions with a brand; each makes a feature
    #[serde(default = "counts")]
    #[schemars(length(min = 1, max = 20))]
    pub weights: Vec<HistoryWeight>,
}

fn counts() -> Vec<HistoryWeight> {
    vec![HistoryWeight::Plain(PlainWeight::Count)]
}

/// What is told of a user's interactions with a brand.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum HistoryWeight {
    /// `count`: how often, the sum of `events`; `since_last`: days from the last one to `as_of`
    Plain(PlainWeight),
    /// Like `count`, but the past fades
    Decayed(DecayedCount),
}

/// A number without options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlainWeight {
    /// How often: the sum of `events`
    Count,
    /// Days from the last one to `as_of`
    SinceLast,
}

/// Like `count`, but the past fades.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecayedCount {
    /// An event that lies this long before `as_of` counts one half, twice as long a quarter
    pub decayed: Span,
}

impl History {
    /// The features' names, in the order of the weights.
    pub fn names(&self) -> Vec<String> {
        let suffix = |weight: &HistoryWeight| match weight {
            HistoryWeight::Plain(PlainWeight::Count) => "count".to_owned(),
            HistoryWeight::Plain(PlainWeight::SinceLast) => "since_last".to_owned(),
            HistoryWeight::Decayed(DecayedCount { decayed }) => format!("decayed_{decayed}"),
        };
        let name = |(i, weight): (usize, &HistoryWeight)| match i {
            0 => self.name.clone(),
            _ => format!("{}_{}", self.name, suffix(weight)),
        };
        self.weights.iter().enumerate().map(name).collect()
    }

    /// The features, as if they were columns of users.
    pub fn features(&self) -> Vec<FeatureSource> {
        let feature = |column: String| {
            let weights = Some(format!("{column}_weights"));
            FeatureSource::Options(FeatureOptions {
                column,
                ids: IdSpace::Brands,
                weights,
                categories: None,
            })
        };
        self.names().into_iter().map(feature).collect()
    }
}

/// Whether users are split, or the same users are seen at several dates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HoldoutBy {
    /// Each user is a training, a valid or a test user
    #[default]
    Users,
    /// All users are trained on as of `labels.as_of`, and valid and test users as of later dates
    Time,
}

impl HoldoutBy {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn is_users(&self) -> bool {
        *self == Self::Users
    }
}

/// The users of valid or test.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum HeldOut {
    /// Some users
    Users(NumUsers),
    /// With `by: time`, all users as of a date
    AsOf(HeldOutAsOf),
}

/// A fraction of the users, or how many.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct NumUsers(#[schemars(range(min = 0.000_001, max = 4_294_967_295_u32))] pub f64);

/// All users as of a date.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeldOutAsOf {
    /// The date, such as `2025-01-01`; labels and features are those of this date
    pub as_of: Moment,
}

impl HeldOut {
    /// The fraction or number of users, if it is one.
    pub fn users(&self) -> Option<f64> {
        match self {
            Self::Users(amount) => Some(amount.0),
            Self::AsOf(_) => None,
        }
    }

    /// The date, if it is one.
    pub fn as_of(&self) -> Option<&Moment> {
        match self {
            Self::Users(_) => None,
            Self::AsOf(held_out) => Some(&held_out.as_of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_and_its_seconds_are_the_same_both_ways() {
        // As `date -u -d TEXT +%s`.
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2024-02-29", 1_709_164_800),
            ("2024-07-01", 1_719_792_000),
            ("1969-12-31", -86_400),
            ("2000-03-01", 951_868_800),
            ("2024-07-01T12:34:56", 1_719_837_296),
        ] {
            assert_eq!(Moment::parse(text).unwrap().seconds(), seconds, "{text}");
            assert_eq!(Moment::of_seconds(seconds).to_string(), text);
        }
        for text in ["2023-02-29", "2024-13-01", "2024-00-10", "2024-07-01T24:00:00", "2024-07"] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_span_is_hours_days_or_weeks() {
        for (text, seconds) in [("12h", 43_200), ("30d", 2_592_000), ("6w", 3_628_800)] {
            assert_eq!(Span(text.to_owned()).seconds(), seconds);
        }
    }

    #[test]
    fn the_first_weight_has_the_name_of_the_history() {
        let names = |weights: &str| {
            let weights = serde_json::from_str(weights).unwrap();
            History { name: "past".into(), weights }.names()
        };
        let fading_first = r#"[{"decayed": "30d"}, "count", "since_last"]"#;
        assert_eq!(names(fading_first), ["past", "past_count", "past_since_last"]);
        assert_eq!(names(r#"["count", {"decayed": "30d"}]"#), ["past", "past_decayed_30d"]);
    }
}

//! Rules about time: dates that exist, keys that need each other, labels that must not overlap.

use super::load::{Loader, path_of};
use super::time::{AsOf, DAY, History, HoldoutBy, Labels, Moment, TimeSource};
use super::yaml;
use super::{Data, FeatureSource, Holdout};

/// Names of columns that no feature may have.
const TAKEN: [&str; 3] = ["user_id", "brands", "as_of"];

impl Loader {
    /// Checks `labels` alone.
    #[expect(
        clippy::option_option,
        reason = "none if there is a mistake, some of none if it is not written"
    )]
    pub(super) fn labels(&mut self) -> Option<Option<Labels>> {
        let labels: Option<Labels> = self.sound_or_default(&["labels"])?;
        let Some(found) = &labels else { return Some(None) };
        let path = |i: usize| match found.as_of {
            AsOf::One(_) => path_of(&["labels", "as_of"]),
            AsOf::Several(_) => path_of(&["labels", "as_of", &i.to_string()]),
        };
        let mut is_sound = true;
        let dates = found.as_of.dates();
        for (i, date) in dates.iter().enumerate() {
            is_sound &= self.check_moment(&path(i), date);
            if dates[..i].contains(date) {
                let message = format!("`labels.as_of`: {date} appears twice");
                self.problem(&path(i), false, message);
            }
        }
        if found.horizon.as_ref().is_some_and(|horizon| horizon.seconds() == 0) {
            let message = "`labels.horizon`: must be longer than 0".to_owned();
            self.problem(&path_of(&["labels", "horizon"]), false, message);
        }
        is_sound.then_some(labels)
    }

    /// Checks `history` alone.
    #[expect(
        clippy::option_option,
        reason = "none if there is a mistake, some of none if it is not written"
    )]
    pub(super) fn history(&mut self) -> Option<Option<History>> {
        let history: Option<History> = self.sound_or_default(&["history"])?;
        if let Some(History { weights, .. }) = &history {
            for (i, weight) in weights.iter().enumerate().filter(|(i, w)| weights[..*i].contains(w))
            {
                let shown = serde_json::to_value(weight).unwrap_or_default();
                let message = format!("`history.weights`: `{shown}` appears twice");
                self.problem(&path_of(&["history", "weights", &i.to_string()]), false, message);
            }
        }
        Some(history)
    }

    /// All features that experiments may name: those of users, then those of the history. `None` if
    /// not all are known.
    pub(super) fn known_features(
        &mut self,
        features: Option<&[FeatureSource]>,
        history: Option<&Option<History>>,
    ) -> Option<Vec<FeatureSource>> {
        let features = features?;
        let of_history = history?.as_ref().map_or_else(Vec::new, History::features);
        for name in of_history.iter().map(FeatureSource::column) {
            let is_feature = features.iter().any(|feature| feature.column() == name);
            if is_feature || TAKEN.contains(&name) {
                let what = if is_feature { "a feature of users" } else { "another column" };
                let message = format!("`history.name`: `{name}` is {what} already; choose another");
                self.problem(&path_of(&["history", "name"]), false, message);
            }
        }
        Some(features.iter().cloned().chain(of_history).collect())
    }

    /// Checks what `labels`, `history`, `holdout` and the tables' times say together.
    pub(super) fn check_time(
        &mut self,
        data: &Data,
        holdout: &Holdout,
        labels: Option<&Labels>,
        history: Option<&History>,
    ) {
        self.check_sources(data, labels.is_some());
        if history.is_some() && labels.is_none() {
            let message = "`history` needs `labels`: it is made of what lies before `labels.as_of`";
            self.problem(&path_of(&["history"]), true, message.to_owned());
        }
        if labels.is_some()
            && let Some(i) = data.features.iter().position(|feature| feature.column() == "as_of")
        {
            let message =
                "`data.features`: with `labels`, the column `as_of` has the date".to_owned();
            self.problem(&path_of(&["data", "features", &i.to_string()]), false, message);
        }
        let mut is_sound = true;
        for (key, held_out) in [("valid", &holdout.valid), ("test", &holdout.test)] {
            if let Some(date) = held_out.as_of() {
                is_sound &= self.check_moment(&path_of(&["holdout", key, "as_of"]), date);
                if holdout.by == HoldoutBy::Users {
                    let message =
                        format!("`holdout.{key}.as_of` needs `by: time`; without it, give users");
                    self.problem(&path_of(&["holdout", key]), false, message);
                }
            }
        }
        if holdout.by == HoldoutBy::Time && is_sound {
            self.check_by_time(holdout, labels);
        }
    }

    /// The columns with the time of rows.
    fn check_sources(&mut self, data: &Data, has_labels: bool) {
        let views = [("users", &data.users), ("interactions", &data.interactions)];
        for (name, time) in views.map(|(name, view)| (name, view.time())) {
            let path = path_of(&["data", name, "time"]);
            if let Some(origin) = time.and_then(TimeSource::origin)
                && self.check_moment(&path, origin)
                && !origin.is_day()
            {
                let message = format!("`data.{name}.time.origin`: expected a day, got {origin}");
                self.problem(&path, false, message);
            }
            if time.is_some() && !has_labels {
                let message = format!(
                    "`data.{name}.time` has no effect without `labels`, which says what is predicted \
                     as of when; add it, or remove `time`"
                );
                self.problem(&path, true, message);
            }
        }
        if data.brands.time().is_some() {
            let message = "`data.brands.time`: brands have no time; remove it".to_owned();
            self.problem(&path_of(&["data", "brands", "time"]), true, message);
        }
        if has_labels && data.interactions.time().is_none() {
            let message =
                "`labels` needs `data.interactions.time`, the column that says when".to_owned();
            self.problem(&path_of(&["labels"]), true, message);
        }
    }

    /// A test by time: dates in order, and labels that end before the next date.
    fn check_by_time(&mut self, holdout: &Holdout, labels: Option<&Labels>) {
        let path = path_of(&["holdout", "by"]);
        let Some(labels) = labels else {
            let message = "`holdout.by: time` needs `labels`".to_owned();
            return self.problem(&path, false, message);
        };
        if holdout.column.is_some() {
            let message = "`holdout.column` splits users, `by: time` does not; remove one of them";
            self.problem(&path_of(&["holdout", "column"]), true, message.to_owned());
        }
        let Some(test) = holdout.test.as_of() else {
            let message =
                "`holdout.by: time` needs the date of the test, `test: {as_of: 2025-01-01}`"
                    .to_owned();
            return self.problem(&path, false, message);
        };
        let Some(horizon) = &labels.horizon else {
            let message = "`holdout.by: time` needs `labels.horizon`: without it the labels of training \
                           reach beyond the date of the test";
            return self.problem(&path, false, message.to_owned());
        };
        let last = labels.as_of.dates().iter().max_by_key(|date| date.seconds());
        let train = ("`labels.as_of`", last.expect("at least one by the schema"));
        let valid = holdout.valid.as_of().map(|valid| ("`holdout.valid.as_of`", valid));
        let test = ("`holdout.test.as_of`", test);
        let in_order: Vec<_> = [Some(train), valid, Some(test)].into_iter().flatten().collect();
        for pair in in_order.windows(2) {
            let [(earlier, from), (later, to)] = pair else { unreachable!("windows of two") };
            let end = from.seconds() + horizon.seconds();
            if end > to.seconds() {
                let end = Moment::of_seconds(end);
                let message = format!(
                    "{later}: labels of {earlier} {from} end at {end} ({horizon} later), after {to}: what \
                     happens after {to} would be trained on; expected {end} or later, or a shorter \
                     `labels.horizon`"
                );
                let key = if *later == "`holdout.test.as_of`" { "test" } else { "valid" };
                self.problem(&path_of(&["holdout", key, "as_of"]), false, message);
            }
        }
    }

    /// Whether there is such a day.
    fn check_moment(&mut self, path: &yaml::Path, moment: &Moment) -> bool {
        let is_sound =
            moment.checked_seconds().is_some_and(|seconds| seconds.abs() < 200_000 * DAY);
        if !is_sound {
            let message = format!("`{}`: there is no day or time `{moment}`", path.join("."));
            self.problem(path, false, message);
        }
        is_sound
    }
}

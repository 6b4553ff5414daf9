//! All users as of a date: what each is kept for, and their labels.

use anyhow::{Context as _, Result};
use contract::ids::{self, IdIndex};
use contract::manifest::Manifest;
use contract::manifest::time::{LabelsOnly, Moment};
use contract::manifest::timeline::Timeline;
use contract::source_features::BrandPositions;

use super::labels::{Label, Labels, Read};
use super::split::{Split, split_users};
use super::users::Users;
use crate::as_of::Date;
use crate::interactions::Interactions;
use crate::past::Past;
use crate::raw::RawTables;
use crate::room::Room;

/// All users as of a date; without dates there is one snapshot.
pub struct Snapshot {
    pub users: Users,
    /// In order of the users
    pub splits: Vec<Split>,
    pub date: Option<Date>,
}

impl Snapshot {
    /// Number of users of a split.
    pub fn n(&self, split: Split) -> usize {
        self.splits.iter().filter(|&&other| other == split).count()
    }

    /// The labels of users that are kept for something.
    ///
    /// # Errors
    ///
    /// `events` that are negative or not finite.
    pub async fn labels(
        &self,
        raw: &RawTables,
        room: &Room<'_>,
        interactions: &Interactions,
        brands: &BrandPositions,
        only: LabelsOnly,
        read: &mut Read,
    ) -> Result<Labels> {
        let rows = interactions.labels(self.date.as_ref())?;
        let mut summed = read.labels(raw, room, rows, &self.users.index, &brands.ids).await?;
        let mut repeats = match &self.date {
            Some(date) if only != LabelsOnly::All => {
                let past = interactions.past(&[], date, self.users.ids.data_type())?;
                let past = Past::open(raw, past, 0, &self.users.index, brands).await?;
                Some(Repeats { past, user: None, brands: Vec::new() })
            }
            _ => None,
        };
        let mut labels = Labels::new(room, brands.kept.len());
        let mut some: Vec<Label> = Vec::new();
        loop {
            summed.next(&mut some)?;
            if some.is_empty() {
                break;
            }
            some.retain(|label| self.splits[label.user as usize] != Split::Unused);
            if let Some(repeats) = &mut repeats {
                let mut wanted = Vec::new();
                for label in some.drain(..) {
                    if repeats.has(label).await? == (only == LabelsOnly::Repeat) {
                        wanted.push(label);
                    }
                }
                some = wanted;
            }
            labels.add(room, &some, &self.splits)?;
        }
        if let Some(repeats) = repeats {
            repeats.past.finish().await?;
        }
        Ok(labels)
    }
}

/// Tells which labels repeat what was known at the date.
struct Repeats<'a> {
    past: Past<'a>,
    user: Option<u32>,
    /// Known of the user, ascending
    brands: Vec<u32>,
}

impl Repeats<'_> {
    /// Whether the user had the brand before; labels come in order of user.
    async fn has(&mut self, label: Label) -> Result<bool> {
        if self.user != Some(label.user) {
            (self.user, self.brands) = (Some(label.user), self.past.brands_of(label.user).await?);
        }
        Ok(self.brands.binary_search(&label.brand).is_ok())
    }
}

/// The users of every date, without their labels: dates of training in order, then valid and test.
///
/// # Errors
///
/// Ids that are null or repeat, a column that is missing, a split without a user.
pub async fn read(raw: &RawTables, room: &Room<'_>, manifest: &Manifest) -> Result<Vec<Snapshot>> {
    let Some(timeline) = manifest.timeline() else {
        let users = Users::read(raw, room, manifest, None).await?;
        let splits = split_users(&users.ids, users.names.as_ref(), &manifest.holdout)?;
        return Ok(vec![Snapshot { users, splits, date: None }]);
    };
    let mut reader = Reader { raw, room, manifest, timeline: &timeline, unchanging: None };
    let (last, earlier) = timeline.train.split_last().expect("at least one date");
    let last = reader.users(last).await?;
    let drawn = if timeline.valid.is_some() {
        vec![Split::Train; last.0.ids.len()]
    } else {
        split_users(&last.0.ids, last.0.names.as_ref(), &manifest.holdout)?
    };
    let mut snapshots = Vec::new();
    for date in earlier {
        let (users, date) = reader.users(date).await?;
        let splits = earlier_splits(&users, &last.0.index, &drawn)?;
        snapshots.push(Snapshot { users, splits, date: Some(date) });
    }
    let (users, date) = last;
    snapshots.push(Snapshot { users, splits: drawn, date: Some(date) });
    for (date, split) in [(&timeline.valid, Split::Valid), (&timeline.test, Split::Test)] {
        if let Some(date) = date {
            let (users, date) = reader.users(date).await?;
            let splits = vec![split; users.ids.len()];
            snapshots.push(Snapshot { users, splits, date: Some(date) });
        }
    }
    Ok(snapshots)
}

/// What users are for at an earlier date of training: valid and test users for nothing.
fn earlier_splits(users: &Users, last: &IdIndex, drawn: &[Split]) -> Result<Vec<Split>> {
    let of_last = last.stored_positions(&ids::convert(&users.ids, &last.data_type())?);
    let split = |row: Option<u32>| match row.map(|row| drawn[row as usize]) {
        None | Some(Split::Train) => Split::Train,
        Some(_) => Split::Unused,
    };
    Ok(of_last.into_iter().map(split).collect())
}

struct Reader<'a> {
    raw: &'a RawTables,
    room: &'a Room<'a>,
    manifest: &'a Manifest,
    timeline: &'a Timeline,
    /// The users of any date, if they have no time
    unchanging: Option<Users>,
}

impl Reader<'_> {
    async fn users(&mut self, moment: &Moment) -> Result<(Users, Date)> {
        let date = Date::of(self.timeline, moment);
        if let Some(users) = &self.unchanging {
            return Ok((users.clone(), date));
        }
        let is_timed = self.manifest.data.users.time().is_some();
        let read = Users::read(self.raw, self.room, self.manifest, Some(&date)).await;
        let users = if is_timed {
            read.with_context(|| format!("users at or before {moment}, by `data.users.time`"))?
        } else {
            read?
        };
        if !is_timed {
            self.unchanging = Some(users.clone());
        }
        Ok((users, date))
    }
}

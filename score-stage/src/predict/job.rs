//! Decisions in parts: a killed program leaves the finished ones, and the next goes on after them.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result};
use arrow::array::ArrayRef;
use contract::exit::DataError;
use contract::ipc::{self, Table, Writer};
use contract::resumable::Resumable;
use contract::source_features::BrandsSeen;
use contract::tables::PREDICTIONS;
use contract::warn_line;
use ndarray::ArrayView2;
use serde_json::{Value, json};

use super::sources::Loaded;
use super::stream::{self, Event};
use super::users::NewUsers;
use crate::decide::UserDecision;
use crate::drift::{Counts, Watch};
use crate::table;

/// Increased when the meaning of parts changes.
const VERSION: u32 = 2;

/// Metadata key of a part: ids of brands that were read, by feature.
const SEEN_KEY: &str = "brands_seen";

/// Metadata key of a part: its users, counted.
const COUNTS_KEY: &str = "counts";

/// What failed, before the file and its error.
const CANNOT_WRITE: &str = "cannot write";

/// Decisions for all users of a table.
pub struct Job<'a> {
    loaded: &'a Loaded,
    users: &'a NewUsers<'a>,
    /// Counts the users, if anything is known to compare them with
    watch: Option<Watch<'a>>,
    /// All that the parts depend on
    text: String,
    part_users: usize,
}

/// From logits, `(n_users, n_brands)`, to decisions.
pub type Decide<'a> = dyn Fn(ArrayView2<f32>) -> Vec<UserDecision> + 'a;

/// A share of the parts, as that of one of several machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// From 0
    place: usize,
    of: usize,
}

impl Share {
    /// Parts of the share: whole ones that follow each other, as many as in the others or one more.
    fn of(self, n_parts: usize) -> Range<usize> {
        n_parts * self.place / self.of..n_parts * (self.place + 1) / self.of
    }
}

impl FromStr for Share {
    type Err = String;

    /// `2/5` is the second of five.
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(place, of)| {
            Some((place.parse::<usize>().ok()?, of.parse::<usize>().ok()?))
        });
        match numbers {
            Some((place, of)) if (1..=of).contains(&place) => Ok(Self { place: place - 1, of }),
            _ => Err("expected a place and how many there are, such as 2/5".to_owned()),
        }
    }
}

/// The finished parts.
pub struct Decided {
    pub work: Resumable,
    /// In order; tables as [`PREDICTIONS`]
    pub parts: Vec<PathBuf>,
    /// What users should know
    pub notes: Vec<String>,
    /// The users, if they were counted
    pub counts: Option<Counts>,
}

impl<'a> Job<'a> {
    /// * `watch`: counts the users.
    /// * `how`: all that the decisions depend on besides the files and the users.
    ///
    /// # Errors
    ///
    /// If a file of the users cannot be read.
    pub fn new(
        loaded: &'a Loaded,
        users: &'a NewUsers<'a>,
        watch: Option<Watch<'a>>,
        part_users: usize,
        how: &Value,
    ) -> Result<Self> {
        let job = json!({
            "version": VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "decides": loaded.hashes,
            "users": users.hashes()?,
            "how": how,
            "is_watched": watch.is_some(),
            "part_users": part_users,
        });
        Ok(Self { loaded, users, watch, text: format!("{job:#}\n"), part_users })
    }

    /// Makes the parts that are missing.
    ///
    /// # Errors
    ///
    /// Users whose features training would refuse, with the first of them; then no part is kept.
    pub fn run(&self, target: &Path, decide: &Decide) -> Result<Decided> {
        let work = Resumable::open(target, &self.text).context(CANNOT_WRITE)?;
        let finish = |parts: Vec<PathBuf>| Ok((notes(self.users, &parts)?, parts));
        match self.complete(&work, decide, 0..self.n_parts()).and_then(finish) {
            Ok((notes, parts)) => {
                let counts = self.watch.map(|watch| counted(&watch, &parts)).transpose()?;
                Ok(Decided { work, parts, notes, counts })
            }
            Err(err) if err.chain().any(<dyn std::error::Error>::is::<DataError>) => {
                work.remove()?; // the users have to be changed, so it would be of no use
                Err(err)
            }
            Err(err) => Err(err),
        }
    }

    /// Makes those that are missing of one share of the parts, beside processes that make others; returns
    /// which parts these are.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_share(&self, target: &Path, share: Share, decide: &Decide) -> Result<Range<usize>> {
        let work = Resumable::join(target, &self.text).context(CANNOT_WRITE)?;
        let parts = share.of(self.n_parts());
        self.complete(&work, decide, parts.clone())?;
        Ok(parts)
    }

    /// Number of parts.
    pub fn n_parts(&self) -> usize {
        self.users.n_users.div_ceil(self.part_users)
    }

    /// Some parts, those that are missing made.
    fn complete(
        &self,
        work: &Resumable,
        decide: &Decide,
        wanted: Range<usize>,
    ) -> Result<Vec<PathBuf>> {
        let found = wanted.clone().map(|part| work.finished(part));
        let found = found.collect::<Result<Vec<Option<PathBuf>>, _>>()?;
        if let Some(last) = found.iter().rposition(Option::is_some) {
            let (last, n_parts) = (wanted.start + last + 1, self.n_parts());
            warn_line!("score-stage: going on after part {last} of {n_parts}");
        }
        let mut parts = Vec::with_capacity(found.len());
        for run in found.chunk_by(|a, b| a.is_some() == b.is_some()) {
            let next = wanted.start + parts.len();
            match run[0] {
                Some(_) => parts.extend(run.iter().flatten().cloned()),
                None => parts.extend(self.make(work, decide, next..next + run.len())?),
            }
        }
        Ok(parts)
    }

    /// Makes some parts.
    fn make(&self, work: &Resumable, decide: &Decide, parts: Range<usize>) -> Result<Vec<PathBuf>> {
        let n_parts = self.n_parts();
        let rows =
            parts.start * self.part_users..(parts.end * self.part_users).min(self.users.n_users);
        let none = self.users.none_seen();
        let (mut waiting, mut seen) = (Vec::new(), none.clone());
        let no_counts = self.watch.as_ref().map(Watch::empty);
        let (mut counts, mut n_scored) = (no_counts.clone(), rows.start);
        let mut made = Vec::with_capacity(parts.len());
        let each = |event: Event| {
            match event {
                Event::Scored { ids, logits } => {
                    let decisions = decide(logits);
                    if let Some((watch, counts)) = self.watch.as_ref().zip(counts.as_mut()) {
                        watch.add_scored(logits, &decisions, n_scored, counts);
                    }
                    n_scored += logits.nrows();
                    waiting.push(table::predictions(ids, &decisions));
                }
                Event::GroupEnds { users, seen: more, is_last_of_part } => {
                    if let Some((watch, counts)) = self.watch.as_ref().zip(counts.as_mut()) {
                        watch.add_features(users, n_scored - users.n_rows(), counts);
                    }
                    NewUsers::add_seen(&mut seen, more);
                    if is_last_of_part {
                        let metadata = metadata(&seen, counts.as_ref());
                        let batches = std::mem::take(&mut waiting);
                        let part = parts.start + made.len();
                        made.push(self.keep(work, part, metadata, batches).context(CANNOT_WRITE)?);
                        seen.clone_from(&none);
                        counts.clone_from(&no_counts);
                        if n_parts > 1 {
                            warn_line!("score-stage: part {} of {n_parts} is done", part + 1);
                        }
                    }
                }
            }
            Ok(())
        };
        stream::for_each(self.loaded, self.users, self.part_users, rows, each)?;
        Ok(made)
    }

    fn keep(
        &self,
        work: &Resumable,
        part: usize,
        metadata: HashMap<String, String>,
        batches: Vec<Vec<ArrayRef>>,
    ) -> Result<PathBuf> {
        let fields = table::fields_with_ids(&PREDICTIONS, &self.users.id_type);
        let mut writer = Writer::create(&work.unfinished(part), &PREDICTIONS, fields, metadata)?;
        for batch in batches {
            writer.write(batch)?;
        }
        let finished = writer.finish()?;
        let hash = finished.blake3.clone();
        finished.commit()?;
        Ok(work.keep(part, &hash)?)
    }
}

/// Metadata of a part.
fn metadata(seen: &[BrandsSeen], counts: Option<&Counts>) -> HashMap<String, String> {
    let text = |value: Value| value.to_string();
    let counts = counts.map(|counts| (COUNTS_KEY.to_owned(), text(json!(counts))));
    [(SEEN_KEY.to_owned(), text(json!(seen)))].into_iter().chain(counts).collect()
}

/// The users of all parts, counted.
fn counted(watch: &Watch, parts: &[PathBuf]) -> Result<Counts> {
    let mut all = watch.empty();
    for path in parts {
        let part = ipc::read(path, &PREDICTIONS)?;
        let text = part.metadata(COUNTS_KEY).unwrap_or_default();
        all += &serde_json::from_str(text).expect("as it was written, which its name proves");
    }
    Ok(all)
}

/// [`NewUsers::notes`] on all parts.
fn notes(users: &NewUsers, parts: &[PathBuf]) -> Result<Vec<String>> {
    let mut all = users.none_seen();
    for path in parts {
        NewUsers::add_seen(&mut all, &brands_seen(&ipc::read(path, &PREDICTIONS)?));
    }
    Ok(users.notes(all)?)
}

fn brands_seen(part: &Table) -> Vec<BrandsSeen> {
    let text = part.metadata(SEEN_KEY).unwrap_or_default();
    serde_json::from_str(text).expect("as it was written, which its name proves")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_parts_once() {
        for (n_parts, of) in [(10, 3), (2, 5), (7, 7), (0, 2)] {
            let shares = (0..of).flat_map(|place| Share { place, of }.of(n_parts));
            assert_eq!(shares.collect::<Vec<_>>(), (0..n_parts).collect::<Vec<_>>());
        }
        assert_eq!("2/5".parse(), Ok(Share { place: 1, of: 5 }));
        for wrong in ["", "2", "0/3", "4/3", "1/x", "-1/3"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}

//! Decisions in parts: a killed program leaves the finished ones, and the next goes on after them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
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
        let work = Resumable::open(target, &self.text)?;
        match self.finish(&work, decide) {
            Ok((parts, notes)) => {
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

    fn finish(&self, work: &Resumable, decide: &Decide) -> Result<(Vec<PathBuf>, Vec<String>)> {
        let n_parts = self.users.n_users.div_ceil(self.part_users);
        let mut parts = Vec::new();
        while let Some(part) = work.finished(parts.len())? {
            parts.push(part);
        }
        if !parts.is_empty() {
            warn_line!("score-stage: going on after part {} of {n_parts}", parts.len());
        }
        if parts.len() < n_parts {
            self.make(work, decide, &mut parts)?;
        }
        let notes = notes(self.users, &parts)?;
        Ok((parts, notes))
    }

    /// Adds the parts that follow.
    fn make(&self, work: &Resumable, decide: &Decide, parts: &mut Vec<PathBuf>) -> Result<()> {
        let n_parts = self.users.n_users.div_ceil(self.part_users);
        let first = parts.len() * self.part_users;
        let none = vec![BrandsSeen::default(); self.users.columns.len()];
        let (mut waiting, mut seen) = (Vec::new(), none.clone());
        let no_counts = self.watch.as_ref().map(Watch::empty);
        let (mut counts, mut n_scored) = (no_counts.clone(), first);
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
                    seen.iter_mut().zip(more).for_each(|(all, &more)| *all += more);
                    if is_last_of_part {
                        let metadata = metadata(&seen, counts.as_ref());
                        let batches = std::mem::take(&mut waiting);
                        parts.push(self.keep(work, parts.len(), metadata, batches)?);
                        seen.clone_from(&none);
                        counts.clone_from(&no_counts);
                        if n_parts > 1 {
                            warn_line!("score-stage: part {} of {n_parts} is done", parts.len());
                        }
                    }
                }
            }
            Ok(())
        };
        stream::for_each(self.loaded, self.users, (self.part_users, first), each)
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

/// Checks lists of brands, now that all users are read; returns notes about ids that were left out.
fn notes(users: &NewUsers, parts: &[PathBuf]) -> Result<Vec<String>> {
    let mut all = vec![BrandsSeen::default(); users.columns.len()];
    for path in parts {
        let seen = brands_seen(&ipc::read(path, &PREDICTIONS)?);
        all.iter_mut().zip(seen).for_each(|(all, more)| *all += more);
    }
    let mut notes = Vec::new();
    for (column, seen) in users.columns.iter().zip(all) {
        notes.extend(column.check_known(seen)?);
    }
    Ok(notes)
}

fn brands_seen(part: &Table) -> Vec<BrandsSeen> {
    let text = part.metadata(SEEN_KEY).unwrap_or_default();
    serde_json::from_str(text).expect("as it was written, which its name proves")
}

//! Decisions in parts: a killed program leaves the finished ones, and the next goes on after them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Result, anyhow};
use arrow::array::ArrayRef;
use contract::exit::DataError;
use contract::ids;
use contract::ipc::{self, Table, Writer};
use contract::resumable::Resumable;
use contract::source_features::BrandsSeen;
use contract::tables::PREDICTIONS;
use contract::warn_line;
use serde_json::json;

use super::Decide;
use super::sources::Loaded;
use super::users::{Group, NewUsers};
use crate::neighbours::blend::Blend;
use crate::scorer::Scorer;
use crate::table;

/// Increased when the meaning of parts changes.
const VERSION: u32 = 1;

/// Metadata key of a part: ids of brands that were read, by feature.
const SEEN_KEY: &str = "brands_seen";

/// Groups that wait to be scored, so that memory stays bounded.
const GROUPS_WAITING: usize = 1;

/// Decisions for all users of a table.
pub struct Job {
    /// All that the parts depend on
    text: String,
    part_users: usize,
    top_k: usize,
}

/// The finished parts.
pub struct Decided {
    pub work: Resumable,
    /// In order; tables as [`PREDICTIONS`]
    pub parts: Vec<PathBuf>,
    /// What users should know
    pub notes: Vec<String>,
}

impl Job {
    /// * `top_k`: number of most probable brands to keep of each user.
    ///
    /// # Errors
    ///
    /// If a file of the users cannot be read.
    pub fn new(loaded: &Loaded, users: &NewUsers, decide: &Decide, top_k: usize) -> Result<Self> {
        let &Decide { best_for, part_users, .. } = decide;
        let job = json!({
            "version": VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "decides": loaded.hashes,
            "users": users.hashes()?,
            "for": best_for.map(|best_for| format!("{best_for:?}")),
            "top_k": top_k,
            "part_users": part_users,
        });
        Ok(Self { text: format!("{job:#}\n"), part_users, top_k })
    }

    /// Makes the parts that are missing.
    ///
    /// # Errors
    ///
    /// Users whose features training would refuse, with the first of them; then no part is kept.
    pub fn run(&self, target: &Path, loaded: &Loaded, users: &NewUsers) -> Result<Decided> {
        let work = Resumable::open(target, &self.text)?;
        match self.finish(&work, loaded, users) {
            Ok((parts, notes)) => Ok(Decided { work, parts, notes }),
            Err(err) if err.chain().any(|cause| cause.is::<DataError>()) => {
                work.remove()?; // the users have to be changed, so it would be of no use
                Err(err)
            }
            Err(err) => Err(err),
        }
    }

    fn finish(
        &self,
        work: &Resumable,
        loaded: &Loaded,
        users: &NewUsers,
    ) -> Result<(Vec<PathBuf>, Vec<String>)> {
        let n_parts = users.n_users.div_ceil(self.part_users);
        let mut parts = Vec::new();
        while let Some(part) = work.finished(parts.len())? {
            parts.push(part);
        }
        if !parts.is_empty() {
            warn_line!("score-stage: going on after part {} of {n_parts}", parts.len());
        }
        if parts.len() < n_parts {
            let first = parts.len() * self.part_users;
            let mut made = std::thread::scope(|scope| {
                let (sender, receiver) = sync_channel(GROUPS_WAITING);
                let reader = scope.spawn(move || self.read(users, first, &sender));
                let scored = self.score(work, loaded, users, first, receiver);
                // If the reader failed, scoring only saw that there were no more users.
                match reader.join() {
                    Ok(read) => read.and(scored),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })?;
            parts.append(&mut made);
        }
        let notes = notes(users, &parts)?;
        Ok((parts, notes))
    }

    fn read(&self, users: &NewUsers, first: usize, sender: &SyncSender<Group>) -> Result<()> {
        let mut is_stopped = false;
        let read = users.for_each_group(self.part_users, first, |group| {
            is_stopped = sender.send(group).is_err();
            if is_stopped { Err(anyhow!("scoring stopped")) } else { Ok(()) }
        });
        if is_stopped { Ok(()) } else { read }
    }

    /// Scores groups as they come, part by part.
    fn score(
        &self,
        work: &Resumable,
        loaded: &Loaded,
        users: &NewUsers,
        first: usize,
        groups: Receiver<Group>,
    ) -> Result<Vec<PathBuf>> {
        let Loaded { model, decider, weights, neighbours, .. } = loaded;
        let blend = neighbours.as_ref().map(|neighbours| Blend { neighbours, weights });
        let scorer = Scorer { model, blend };
        let n_parts = users.n_users.div_ceil(self.part_users);
        let mut part = first / self.part_users;
        let (mut made, mut waiting) = (Vec::new(), Vec::new());
        let mut seen = vec![BrandsSeen::default(); users.columns.len()];
        for group in groups {
            let ids = group.table.whole_column("user_id")?;
            let inputs = model.inputs(&group.table).map_err(DataError)?;
            let mut not_finite = None;
            scorer.for_each_batch(&inputs, 0..group.table.n_rows(), "users", |scored| {
                let is_not_finite = |(_, z): &(_, &f32)| !z.is_finite();
                if let Some(((user, _), _)) = scored.logits.indexed_iter().find(is_not_finite) {
                    not_finite = not_finite.or(Some(scored.first + user));
                    return Ok(());
                }
                let decisions = decider.decide(scored.logits, self.top_k);
                let ids = ids.slice(scored.first, decisions.len());
                waiting.push(table::predictions(ids, &decisions));
                Ok(())
            })?;
            if let Some(row) = not_finite {
                return Err(overflow(&ids, row).into());
            }
            seen.iter_mut().zip(&group.seen).for_each(|(all, &more)| *all += more);
            if group.is_last_of_part {
                made.push(self.keep(work, users, part, &seen, std::mem::take(&mut waiting))?);
                seen.fill(BrandsSeen::default());
                part += 1;
                if n_parts > 1 {
                    warn_line!("score-stage: part {part} of {n_parts} is done");
                }
            }
        }
        Ok(made)
    }

    fn keep(
        &self,
        work: &Resumable,
        users: &NewUsers,
        part: usize,
        seen: &[BrandsSeen],
        batches: Vec<Vec<ArrayRef>>,
    ) -> Result<PathBuf> {
        let fields = table::fields_with_ids(&PREDICTIONS, &users.id_type);
        let seen = serde_json::to_string(seen).expect("counts are plain data");
        let metadata = HashMap::from([(SEEN_KEY.to_owned(), seen)]);
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

/// A logit overflowed: the user's features, or the model's weights, are too large.
fn overflow(ids: &ArrayRef, row: usize) -> DataError {
    DataError(format!(
        "users: user {}: the model's output is not finite; the features may be far outside the \
         range that the model was trained on",
        ids::shown(ids, row)
    ))
}

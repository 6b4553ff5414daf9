//! Results kept by fingerprint, so that an earlier setting is restored instead of computed again
//! and experiments that share a stage share its results.
//!
//! A result is a folder of hard links: a file that is kept and also in an experiment's folder takes
//! its disk space once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use contract::hashes::Hashes;
use contract::plan::RECORD;
use contract::record::Record;

/// Where results are kept.
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store of a folder of results.
    pub fn of(run_dir: &Path) -> Self {
        Self { dir: run_dir.join(".kept") }
    }

    /// Its folder, with a folder for each fingerprint.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The results with this fingerprint, if they are kept and undamaged.
    pub fn find(&self, fingerprint: &str, hashes: &mut Hashes) -> Option<(PathBuf, Record)> {
        let dir = self.dir.join(fingerprint);
        let record = Record::load(&dir.join(RECORD))?;
        let is_whole = record.fingerprint == fingerprint && record.damage(&dir, hashes).is_none();
        is_whole.then_some((dir, record))
    }

    /// Keeps a stage's results. On a file system without hard links nothing is kept, because copies
    /// would take the disk space twice.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn keep(&self, from: &Path, record: &Record, hashes: &mut Hashes) -> Result<()> {
        // A user accepts results for one experiment and until its stage runs again.
        if !record.accepted.is_empty() || self.find(&record.fingerprint, hashes).is_some() {
            return Ok(());
        }
        let dir = self.dir.join(&record.fingerprint);
        let partial = self.dir.join(format!(".{}.partial", record.fingerprint));
        let _ = fs::remove_dir_all(&partial); // left by a run that was killed
        fs::create_dir_all(&partial)
            .with_context(|| format!("cannot create {}", partial.display()))?;
        for name in record.outputs.keys() {
            if fs::hard_link(from.join(name), partial.join(name)).is_err() {
                let _ = fs::remove_dir_all(&partial);
                return Ok(());
            }
        }
        record.save(&partial.join(RECORD))?;
        let _ = fs::remove_dir_all(&dir); // damaged, or it would have been found
        fs::rename(&partial, &dir).with_context(|| format!("cannot keep {}", dir.display()))
    }
}

/// Puts kept results into a stage's folder; the files are linked, not copied, where that is possible.
///
/// # Errors
///
/// If a file cannot be linked or copied.
pub fn take_over(from: &Path, record: &Record, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    // Without a record the stage runs again, should this be interrupted.
    let own = to.join(RECORD);
    if own.exists() {
        fs::remove_file(&own).with_context(|| format!("cannot replace {}", own.display()))?;
    }
    for name in record.outputs.keys() {
        let link = to.join(format!(".{name}.link"));
        let _ = fs::remove_file(&link); // left by a run that was killed
        fs::hard_link(from.join(name), &link)
            .or_else(|_| fs::copy(from.join(name), &link).map(|_| ()))
            .and_then(|()| fs::rename(&link, to.join(name)))
            .with_context(|| format!("cannot restore {}", from.join(name).display()))?;
    }
    record.save(&own)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use contract::record::Accepted;
    use tempfile::TempDir;

    use super::*;
    use crate::made_up::{self, record_of};

    /// A stage's folder with the results of fingerprint `f`, and a store that is still empty.
    fn results() -> (TempDir, PathBuf, Record, Store) {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("a/train");
        let record = record_of(
            &from,
            made_up::parts("f"),
            &[("model.arrow", "weights"), ("history.arrow", "losses")],
        );
        let store = Store::of(dir.path());
        (dir, from, record, store)
    }

    #[test]
    fn kept_results_are_found_by_their_fingerprint_and_are_links() {
        let (_dir, from, record, store) = results();
        let mut hashes = Hashes::default();
        assert!(store.find(&record.fingerprint, &mut hashes).is_none(), "nothing is kept yet");
        store.keep(&from, &record, &mut hashes).unwrap();
        let (kept, found) = store.find(&record.fingerprint, &mut hashes).unwrap();
        assert_eq!((&found.fingerprint, &found.outputs), (&record.fingerprint, &record.outputs));
        let inode = |dir: &Path| fs::metadata(dir.join("model.arrow")).unwrap().ino();
        assert_eq!(inode(&kept), inode(&from));
        assert!(store.find("another", &mut hashes).is_none());
    }

    #[test]
    fn damaged_kept_results_are_not_found_and_are_kept_anew() {
        let (_dir, from, record, store) = results();
        store.keep(&from, &record, &mut Hashes::default()).unwrap();
        let (kept, _) = store.find(&record.fingerprint, &mut Hashes::default()).unwrap();
        // Of the same size: only the hash shows it.
        fs::remove_file(kept.join("model.arrow")).unwrap();
        fs::write(kept.join("model.arrow"), "wejghts").unwrap();
        assert!(store.find(&record.fingerprint, &mut Hashes::default()).is_none());
        store.keep(&from, &record, &mut Hashes::default()).unwrap();
        let (kept, _) = store.find(&record.fingerprint, &mut Hashes::default()).unwrap();
        assert_eq!(fs::read_to_string(kept.join("model.arrow")).unwrap(), "weights");
    }

    #[test]
    fn accepted_results_are_not_kept_for_other_experiments() {
        let (_dir, from, mut record, store) = results();
        let (when, because) = ("now".to_owned(), "a reason".to_owned());
        record.accepted.push(Accepted { when, because, changes: Vec::new() });
        store.keep(&from, &record, &mut Hashes::default()).unwrap();
        assert!(store.find(&record.fingerprint, &mut Hashes::default()).is_none());
    }

    #[test]
    fn results_with_a_missing_file_are_not_kept() {
        let (_dir, from, record, store) = results();
        fs::remove_file(from.join("history.arrow")).unwrap();
        store.keep(&from, &record, &mut Hashes::default()).unwrap();
        assert_eq!(fs::read_dir(store.dir()).unwrap().count(), 0, "not even in part");
    }

    #[test]
    fn results_that_are_taken_over_replace_the_files_and_the_record() {
        let (dir, from, record, store) = results();
        store.keep(&from, &record, &mut Hashes::default()).unwrap();
        let to = dir.path().join("b/train");
        let earlier = record_of(&to, made_up::parts("g"), &[("model.arrow", "other weights")]);
        assert_ne!(earlier.fingerprint, record.fingerprint);
        fs::write(to.join(".model.arrow.link"), "of a run that was killed").unwrap();

        let (kept, found) = store.find(&record.fingerprint, &mut Hashes::default()).unwrap();
        take_over(&kept, &found, &to).unwrap();
        let now = Record::load(&to.join(RECORD)).unwrap();
        assert_eq!(now.fingerprint, record.fingerprint);
        assert!(now.damage(&to, &mut Hashes::default()).is_none());
        assert!(!to.join(".model.arrow.link").exists());
        // The kept ones are still there for others.
        assert!(store.find(&record.fingerprint, &mut Hashes::default()).is_some());
    }

    #[test]
    fn results_that_are_taken_over_in_part_have_no_record() {
        let (dir, from, record, _) = results();
        let to = dir.path().join("b/train");
        record_of(&to, made_up::parts("g"), &[("model.arrow", "other weights")]);
        fs::remove_file(from.join("model.arrow")).unwrap();
        let err = take_over(&from, &record, &to).unwrap_err().to_string();
        assert!(err.starts_with("cannot restore ") && err.ends_with("model.arrow"), "{err}");
        assert!(!to.join(RECORD).exists());
    }
}

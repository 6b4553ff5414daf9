//! How good trainings of a matrix with `halving` were at equal numbers of updates, beside their
//! checkpoints.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ipc::{self, Error};

/// File name of [`Rungs`].
pub const RUNGS: &str = "rungs.json";

/// The figures of a training that pauses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rungs {
    /// Of the results that the training would have
    pub fingerprint: String,
    /// Updates of the whole training
    pub planned: u64,
    /// MAP on the valid users, by number of updates; null where it is undefined
    pub map: BTreeMap<u64, Option<f64>>,
    /// Where it was ended, if it was
    pub ended: Option<Ended>,
}

/// Where a training was ended early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Updates done
    pub updates: u64,
    /// From 1, by MAP on the valid users
    pub rank: usize,
    /// Trainings that were compared
    pub among: usize,
}

impl Rungs {
    /// Those in a stage's folder, if they are of results with this fingerprint.
    pub fn load(dir: &Path, fingerprint: &str) -> Option<Self> {
        Self::of_any(dir).filter(|rungs| rungs.fingerprint == fingerprint)
    }

    /// Those in a stage's folder, whatever results they are of.
    pub fn of_any(dir: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(dir.join(RUNGS)).ok()?).ok()
    }

    /// Writes them into a stage's folder.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).expect("figures are plain data");
        ipc::finish_text(&dir.join(RUNGS), &text)?.commit()
    }

    /// Adds a figure to those in a stage's folder.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn add(
        dir: &Path,
        fingerprint: &str,
        planned: u64,
        updates: u64,
        map: Option<f64>,
    ) -> Result<(), Error> {
        let mut rungs = Self::load(dir, fingerprint).unwrap_or(Self {
            fingerprint: fingerprint.to_owned(),
            planned,
            map: BTreeMap::new(),
            ended: None,
        });
        rungs.map.insert(updates, map);
        rungs.save(dir)
    }

    /// Where the training was ended, as in `ended at 166 of 664 updates, valid MAP 0.1234, rank 3 of 4`.
    pub fn ended_in_words(&self) -> Option<String> {
        let ended = self.ended.as_ref()?;
        let map = self.map.get(&ended.updates).copied().flatten();
        Some(ended.in_words(self.planned, map))
    }
}

impl Ended {
    /// * `planned`: updates of the whole training.
    /// * `map`: on the valid users.
    pub fn in_words(&self, planned: u64, map: Option<f64>) -> String {
        let Self { updates, rank, among } = self;
        let map = map.map_or("undefined".to_owned(), |map| format!("{map:.4}"));
        format!("ended at {updates} of {planned} updates, valid MAP {map}, rank {rank} of {among}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_kept_for_one_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        Rungs::add(dir.path(), "f", 80, 10, Some(0.25)).unwrap();
        Rungs::add(dir.path(), "f", 80, 20, None).unwrap();
        let rungs = Rungs::load(dir.path(), "f").unwrap();
        assert_eq!((rungs.planned, rungs.map), (80, [(10, Some(0.25)), (20, None)].into()));
        assert_eq!(Rungs::load(dir.path(), "g"), None);
        Rungs::add(dir.path(), "g", 80, 10, Some(0.5)).unwrap();
        assert_eq!(Rungs::load(dir.path(), "f"), None, "those of other settings are gone");
    }

    #[test]
    fn an_early_end_is_in_words() {
        let mut rungs = Rungs {
            fingerprint: String::new(),
            planned: 664,
            map: [(166, Some(0.123_44))].into(),
            ended: None,
        };
        assert_eq!(rungs.ended_in_words(), None);
        rungs.ended = Some(Ended { updates: 166, rank: 3, among: 4 });
        assert_eq!(
            rungs.ended_in_words().unwrap(),
            "ended at 166 of 664 updates, valid MAP 0.1234, rank 3 of 4"
        );
    }
}

//! Checkpoints: a training that is killed resumes from its last one.
//!
//! A checkpoint is a `model.arrow` of the network so far, with Adam's moments and the best
//! network as extra arrays and the progress as metadata. So it can be used as a model
//! (`train.pretrained`) after a training that failed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use contract::ipc::{self, Table, Writer};
use contract::tables::MODEL;
use model::{Kind, Mlp, Model, array_columns};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::adam::Moments;
use crate::error::Error;
use crate::state::{Epoch, Progress, State};
use crate::validation::Figures;

const PROGRESS_KEY: &str = "progress";
const FINGERPRINT_KEY: &str = "fingerprint";
/// Hash of the rest of the file: without it a flipped bit would train another model unnoticed
const HASH_KEY: &str = "checkpoint_hash";

/// Why a training cannot resume from a checkpoint.
#[derive(Debug)]
pub enum Unusable {
    /// Its content is not what was written, or an earlier version wrote it
    Damaged,
    /// It belongs to other settings, data or programs
    OfAnother,
    /// The system cannot read it
    Unread(io::Error),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("it is damaged or from an earlier version"),
            Self::OfAnother => f.write_str("it was made with other settings, data or programs"),
            Self::Unread(err) => write!(f, "it cannot be read ({err})"),
        }
    }
}

/// The file in which a training keeps its checkpoint.
#[derive(Debug, Clone)]
pub struct CheckpointFile {
    /// Replaced by each new checkpoint
    pub path: PathBuf,
    /// Identifies settings, data and programs; a checkpoint with another fingerprint is not used
    pub fingerprint: String,
    /// Time between two checkpoints within an epoch
    pub every: Duration,
    /// Brands in order of the network's outputs
    pub brand_ids: Vec<String>,
}

impl CheckpointFile {
    /// Replaces the last checkpoint atomically.
    ///
    /// # Errors
    ///
    /// [`Error::Checkpoint`] if it cannot be written.
    pub fn save(&self, state: &State, moments: &[Moments]) -> Result<(), Error> {
        self.write(state, moments).map_err(Error::Checkpoint)
    }

    fn write(&self, state: &State, moments: &[Moments]) -> Result<(), ipc::Error> {
        let model = Model {
            kind: Kind::Mlp(state.mlp.clone()),
            brand_ids: self.brand_ids.clone(),
            training: Value::String(format!("checkpoint after update {}", state.progress.update)),
        };
        // By rows, the layout of a network that was read.
        let mut best = state.best.clone();
        if let Some(last) = best.as_mut().and_then(|best| best.layers.last_mut()) {
            last.lay_out(false);
        }
        let (rows, mut metadata) = model.to_columns();
        let progress = serde_json::to_string(&SavedProgress::of(&state.progress));
        metadata.insert(PROGRESS_KEY.to_owned(), progress.expect("plain data"));
        metadata.insert(FINGERPRINT_KEY.to_owned(), self.fingerprint.clone());
        let schema = Arc::new(Schema::new(MODEL.fields()));
        // Made twice, for the hash and for the file: all batches together may not fit in memory.
        let batches = || {
            let of_moments = moments.iter().enumerate().flat_map(|(i, moments)| {
                let parts = moments.parts().into_iter().enumerate();
                parts.map(move |(j, values)| array_columns(&format!("moments.{i}.{j}"), values))
            });
            let of_best = best.iter().flat_map(Mlp::parameters).enumerate();
            let of_best = of_best.map(|(i, values)| array_columns(&format!("best.{i}"), values));
            // One batch per array: all arrays together may be more than a batch can hold.
            std::iter::once(rows.clone()).chain(of_moments).chain(of_best)
        };
        let hashed = batches().map(|columns| {
            RecordBatch::try_new(schema.clone(), columns).expect("the columns of a model")
        });
        let hash = hash(&metadata, hashed).expect("batches with the same columns");
        metadata.insert(HASH_KEY.to_owned(), hash);
        let mut writer = Writer::create(&self.path, &MODEL, MODEL.fields(), metadata)?;
        for columns in batches() {
            writer.write(columns)?;
        }
        writer.finish()?.commit()
    }

    /// Reads the checkpoint; `None` if there is no file.
    ///
    /// # Errors
    ///
    /// Why this training cannot resume from the file.
    pub fn load(&self) -> Result<Option<State>, Unusable> {
        let table = match ipc::read(&self.path, &MODEL) {
            Err(ipc::Error::Missing { .. }) => return Ok(None),
            Err(ipc::Error::Io { reason, .. }) => return Err(Unusable::Unread(reason)),
            Err(_) => return Err(Unusable::Damaged),
            Ok(table) => table,
        };
        let metadata = table.schema.metadata();
        let found = hash(metadata, table.batches.iter().cloned());
        if found.ok().as_ref() != metadata.get(HASH_KEY) {
            return Err(Unusable::Damaged);
        }
        if metadata.get(FINGERPRINT_KEY) != Some(&self.fingerprint) {
            return Err(Unusable::OfAnother);
        }
        state(&table).map(Some).ok_or(Unusable::Damaged)
    }

    /// Removes the file if it exists.
    ///
    /// # Errors
    ///
    /// If it exists and cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }
}

/// Hash of all that a training resumes from.
fn hash(
    metadata: &HashMap<String, String>,
    batches: impl Iterator<Item = RecordBatch>,
) -> Result<String, ArrowError> {
    // The writer adds the contract's keys, and the reader checks them.
    let is_hashed = |key: &str| key != HASH_KEY && !ipc::CONTRACT_KEYS.contains(&key);
    let mut texts: Vec<_> = metadata.iter().filter(|(key, _)| is_hashed(key)).collect();
    texts.sort(); // the order of a map is not stable
    ipc::hash_rows(texts.into_iter().flat_map(|(key, value)| [key.as_str(), value]), batches)
}

/// The state in a checkpoint; `None` if a part is missing or has the wrong size.
fn state(table: &Table) -> Option<State> {
    let progress: SavedProgress = serde_json::from_str(table.metadata(PROGRESS_KEY)?).ok()?;
    let progress = progress.into_progress()?;
    let (model, mut extra) = Model::from_table_with(table).ok()?;
    let Kind::Mlp(mlp) = model.kind else { return None };
    let mut moments = Vec::new();
    while let Some(first) = extra.remove(&format!("moments.{}.0", moments.len())) {
        let second = extra.remove(&format!("moments.{}.1", moments.len()))?;
        moments.push(Moments::from_parts(first, second));
    }
    let best = if extra.contains_key("best.0") {
        let mut best = mlp.clone();
        for (i, parameter) in best.parameters_mut().enumerate() {
            let values = extra.remove(&format!("best.{i}"))?;
            if values.len() != parameter.values.len() {
                return None;
            }
            parameter.values.copy_from_slice(&values);
        }
        Some(best)
    } else {
        None
    };
    Some(State { mlp, moments, progress, best })
}

/// [`Progress`] with every `f64` as its bits, which text would round.
#[derive(Serialize, Deserialize)]
struct SavedProgress {
    update: u64,
    losses: Vec<u64>,
    epoch_examples: u64,
    history: Vec<SavedEpoch>,
    best_epoch: Option<u32>,
    is_over: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedEpoch {
    epoch: u32,
    updates: u64,
    figures: Vec<u64>,
    valid: Option<Vec<Option<u64>>>,
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn values<const N: usize>(bits: &[u64]) -> Option<[f64; N]> {
    let bits: [u64; N] = bits.try_into().ok()?;
    Some(bits.map(f64::from_bits))
}

impl SavedProgress {
    fn of(progress: &Progress) -> Self {
        let epoch = |epoch: &Epoch| SavedEpoch {
            epoch: epoch.epoch,
            updates: epoch.updates,
            figures: bits(&[epoch.train_loss, epoch.rows_per_s, epoch.secs]),
            valid: epoch
                .valid
                .map(|valid| valid.to_array().iter().map(|v| v.map(f64::to_bits)).collect()),
        };
        Self {
            update: progress.update,
            losses: bits(&[progress.largest_loss, progress.epoch_loss, progress.epoch_secs]),
            epoch_examples: progress.epoch_examples,
            history: progress.history.iter().map(epoch).collect(),
            best_epoch: progress.best_epoch,
            is_over: progress.is_over,
        }
    }

    fn into_progress(self) -> Option<Progress> {
        let epoch = |saved: SavedEpoch| {
            let [train_loss, rows_per_s, secs] = values(&saved.figures)?;
            let valid = match saved.valid {
                Some(bits) => {
                    let values: Vec<Option<f64>> =
                        bits.into_iter().map(|b| b.map(f64::from_bits)).collect();
                    Some(Figures::from_array(values.try_into().ok()?)?)
                }
                None => None,
            };
            let SavedEpoch { epoch, updates, .. } = saved;
            Some(Epoch { epoch, updates, train_loss, valid, rows_per_s, secs })
        };
        let [largest_loss, epoch_loss, epoch_secs] = values(&self.losses)?;
        Some(Progress {
            update: self.update,
            largest_loss,
            epoch_loss,
            epoch_examples: self.epoch_examples,
            epoch_secs,
            history: self.history.into_iter().map(epoch).collect::<Option<_>>()?,
            best_epoch: self.best_epoch,
            is_over: self.is_over,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::features::{Feature, FeatureKind};
    use model::mlp::Layer;
    use ndarray::{Array, array};

    fn state() -> State {
        let mlp = Mlp {
            features: vec![Feature::new("x", FeatureKind::Dense { dim: 2 })],
            offsets: Array::zeros(2),
            scales: Array::ones(2),
            ids: Vec::new(),
            log_bags: Vec::new(),
            bags: Vec::new(),
            layers: vec![Layer {
                weights: array![[1.0, 2.0], [3.0, 4.0]],
                bias: array![0.5, 0.25],
            }],
            own_history: Vec::new(),
        };
        let progress = Progress { update: 7, largest_loss: 0.5, ..Progress::default() };
        State { best: Some(mlp.clone()), mlp, moments: Vec::new(), progress }
    }

    fn saved(dir: &std::path::Path) -> CheckpointFile {
        let file = CheckpointFile {
            path: dir.join("checkpoint.arrow"),
            fingerprint: "of this training".to_owned(),
            every: Duration::ZERO,
            brand_ids: vec!["a".to_owned(), "b".to_owned()],
        };
        let moments = [2, 2, 4, 2].map(Moments::new);
        file.save(&state(), &moments[2..]).unwrap();
        file
    }

    #[test]
    fn a_checkpoint_reads_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let read = saved(dir.path()).load().unwrap().expect("it was written");
        assert_eq!(read.progress, state().progress);
        assert_eq!(read.moments.len(), 2);
        let values = |mlp: &Mlp| mlp.parameters().flatten().copied().collect::<Vec<f32>>();
        assert_eq!(values(&read.mlp), values(&state().mlp));
        assert_eq!(read.best.as_ref().map(values), Some(values(&state().mlp)));
    }

    #[test]
    fn a_missing_checkpoint_is_no_error_and_that_of_another_training_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = saved(dir.path());
        let other = CheckpointFile { fingerprint: "of another".to_owned(), ..file.clone() };
        assert!(matches!(other.load(), Err(Unusable::OfAnother)));
        file.remove().unwrap();
        assert!(matches!(file.load(), Ok(None)));
    }

    /// Flips a bit of every seventh byte. Reading fails or gives what was written: a bit may lie in
    /// padding.
    #[test]
    fn a_flipped_bit_is_found_wherever_it_matters() {
        let dir = tempfile::tempdir().unwrap();
        let file = saved(dir.path());
        let bytes = std::fs::read(&file.path).unwrap();
        let written = format!("{:?}", file.load().unwrap().expect("it was written"));
        let mut n_found = 0;
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&file.path, damaged).unwrap();
            match file.load() {
                Ok(Some(read)) => assert_eq!(format!("{read:?}"), written, "byte {at}"),
                Ok(None) => panic!("byte {at}: the file exists"),
                Err(_) => n_found += 1,
            }
        }
        assert!(n_found > bytes.len() / 28, "{n_found} of {}", bytes.len());
    }
}

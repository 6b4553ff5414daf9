//! Checkpoints: a training that is killed goes on from its last one.
//!
//! A checkpoint is a `model.arrow` of the network so far, with Adam's moments and the best
//! network as more arrays, and how far training is as metadata. So it can be used as a model
//! (`train.pretrained`) where training came to a bad end.

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
use crate::params::Error;
use crate::trainer::{Epoch, Progress, State};
use crate::validation::Figures;

const PROGRESS_KEY: &str = "progress";
const FINGERPRINT_KEY: &str = "fingerprint";
/// Of the rest of the file: a flipped bit would train another model in silence
const HASH_KEY: &str = "checkpoint_hash";

/// Why a training cannot go on from a checkpoint.
#[derive(Debug)]
pub enum Unusable {
    /// It is not what was written, or an earlier version wrote it
    Damaged,
    /// It is of other settings, data or programs
    OfAnother,
    /// It cannot be read
    Unread(io::Error),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("it is damaged or of an earlier version"),
            Self::OfAnother => f.write_str("it is of other settings, data or programs"),
            Self::Unread(err) => write!(f, "it cannot be read ({err})"),
        }
    }
}

/// Where a training keeps its checkpoint.
#[derive(Debug, Clone)]
pub struct CheckpointFile {
    /// The file
    pub path: PathBuf,
    /// What all results of this training follow from; a checkpoint of another is not used
    pub fingerprint: String,
    /// Time between two, within an epoch
    pub every: Duration,
    /// The brands, in order of the outputs
    pub brand_ids: Vec<String>,
}

impl CheckpointFile {
    /// Writes a checkpoint in place of the last one: as a whole or not at all.
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
        // By rows, as the network is when it is read.
        let mut best = state.best.clone();
        if let Some(last) = best.as_mut().and_then(|best| best.layers.last_mut()) {
            last.lay_out(false);
        }
        let (rows, mut metadata) = model.to_columns();
        let progress = serde_json::to_string(&SavedProgress::of(&state.progress));
        metadata.insert(PROGRESS_KEY.to_owned(), progress.expect("plain data"));
        metadata.insert(FINGERPRINT_KEY.to_owned(), self.fingerprint.clone());
        let schema = Arc::new(Schema::new(MODEL.fields()));
        // Made twice, for the hash and for the file: all together may be more than fits in memory.
        let batches = || {
            let of_moments = moments.iter().enumerate().flat_map(|(i, moments)| {
                let parts = moments.parts().into_iter().enumerate();
                parts.map(move |(j, values)| array_columns(&format!("moments.{i}.{j}"), values))
            });
            let of_best = best.iter().flat_map(Mlp::parameters).enumerate();
            let of_best = of_best.map(|(i, values)| array_columns(&format!("best.{i}"), values));
            // A batch each: all together may be more than a batch can hold.
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

    /// The checkpoint; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Why there is one that this training cannot go on from.
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

    /// Removes it, once the training's results are in their places.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }
}

/// Hash of all that a training goes on from.
fn hash(
    metadata: &HashMap<String, String>,
    batches: impl Iterator<Item = RecordBatch>,
) -> Result<String, ArrowError> {
    // The contract's keys are added by the writer, and checked by the reader.
    let is_hashed = |key: &str| key != HASH_KEY && !ipc::CONTRACT_KEYS.contains(&key);
    let mut texts: Vec<_> = metadata.iter().filter(|(key, _)| is_hashed(key)).collect();
    texts.sort(); // a map has no order of its own
    ipc::hash_rows(texts.into_iter().flat_map(|(key, value)| [key.as_str(), value]), batches)
}

/// Training as a checkpoint has it; `None` if something is missing.
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

/// [`Progress`] with every `f64` by its bits, as text would round some.
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
            features: vec![Feature { name: "x".into(), kind: FeatureKind::Dense { dim: 2 } }],
            offsets: Array::zeros(2),
            scales: Array::ones(2),
            ids: Vec::new(),
            bags: Vec::new(),
            layers: vec![Layer {
                weights: array![[1.0, 2.0], [3.0, 4.0]],
                bias: array![0.5, 0.25],
            }],
            own_history: None,
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
    fn no_checkpoint_is_no_complaint_and_that_of_another_training_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = saved(dir.path());
        let other = CheckpointFile { fingerprint: "of another".to_owned(), ..file.clone() };
        assert!(matches!(other.load(), Err(Unusable::OfAnother)));
        file.remove().unwrap();
        assert!(matches!(file.load(), Ok(None)));
    }

    /// A bit of every seventh byte. What is read is what was written, or nothing: a bit may lie
    /// where nothing is kept.
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
                Ok(None) => panic!("byte {at}: the file is there"),
                Err(_) => n_found += 1,
            }
        }
        assert!(n_found > bytes.len() / 28, "{n_found} of {}", bytes.len());
    }
}

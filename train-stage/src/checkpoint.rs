//! Checkpoints: a training that is killed goes on from its last one.
//!
//! A checkpoint is a `model.arrow` of the network so far, with Adam's moments and the best
//! network as more arrays, and how far training is as metadata. So it can be used as a model
//! (`train.pretrained`) where training came to a bad end.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use contract::ipc::{self, Writer};
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
        let mut writer = Writer::create(&self.path, &MODEL, Model::fields(), metadata)?;
        writer.write(rows)?;
        // A batch each: all together may be more than a batch can hold.
        for (i, moments) in moments.iter().enumerate() {
            for (j, values) in moments.parts().into_iter().enumerate() {
                writer.write(array_columns(&format!("moments.{i}.{j}"), values))?;
            }
        }
        for (i, values) in best.iter().flat_map(Mlp::parameters).enumerate() {
            writer.write(array_columns(&format!("best.{i}"), values))?;
        }
        writer.finish()?.commit()
    }

    /// The checkpoint, if there is one of this training.
    pub fn load(&self) -> Option<State> {
        let table = ipc::read(&self.path, &MODEL).ok()?;
        if table.metadata(FINGERPRINT_KEY)? != self.fingerprint {
            return None;
        }
        let progress: SavedProgress = serde_json::from_str(table.metadata(PROGRESS_KEY)?).ok()?;
        let progress = progress.into_progress()?;
        let (model, mut extra) = Model::from_table_with(&table).ok()?;
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

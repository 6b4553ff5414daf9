//! The state of a training between two updates, which is what a checkpoint holds.

use std::time::Duration;

use model::Mlp;

use crate::adam::Moments;
use crate::validation::Figures;

/// A training between two updates: all that the rest of it depends on.
#[derive(Debug, Clone)]
pub struct State {
    /// The network after the last update
    pub mlp: Mlp,
    /// Adam's moments of each array of [`Mlp::parameters`]; empty before the first update
    pub moments: Vec<Moments>,
    /// Counts, losses and epochs so far
    pub progress: Progress,
    /// The network of [`Progress::best_epoch`], where another than the last may be kept
    pub best: Option<Mlp>,
}

/// How far a training is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Updates done
    pub update: u64,
    /// The largest loss of a batch so far
    pub largest_loss: f64,
    /// Summed over the examples of the epoch so far
    pub epoch_loss: f64,
    /// Examples of the epoch so far
    pub epoch_examples: u64,
    /// Wall time of the epoch so far
    pub epoch_secs: f64,
    /// Every epoch that has ended
    pub history: Vec<Epoch>,
    /// The best epoch so far, from 1
    pub best_epoch: Option<u32>,
    /// Whether no update is left to do
    pub is_over: bool,
}

impl Progress {
    /// Counts an update.
    ///
    /// * `loss`: mean over the `n_examples` of its batch.
    pub(crate) fn count(&mut self, loss: f64, n_examples: usize, took: Duration) {
        self.update += 1;
        self.largest_loss = self.largest_loss.max(loss);
        self.epoch_loss += loss * n_examples as f64;
        self.epoch_examples += n_examples as u64;
        self.epoch_secs += took.as_secs_f64();
    }

    /// Adds the epoch to the history and starts the next one.
    pub(crate) fn end_epoch(&mut self, valid: Option<Figures>) {
        let n_examples = self.epoch_examples as f64;
        self.history.push(Epoch {
            epoch: self.history.len() as u32 + 1,
            updates: self.update,
            train_loss: self.epoch_loss / n_examples,
            valid,
            rows_per_s: n_examples / self.epoch_secs,
            secs: self.epoch_secs,
        });
        (self.epoch_loss, self.epoch_examples, self.epoch_secs) = (0.0, 0, 0.0);
    }

    /// Wall time of all updates so far.
    pub(crate) fn secs(&self) -> f64 {
        self.epoch_secs + self.history.iter().map(|epoch| epoch.secs).sum::<f64>()
    }
}

/// One pass over the examples, or the part of one that ends training.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// From 1
    pub epoch: u32,
    /// Updates done by the end of it, over all epochs
    pub updates: u64,
    /// Mean loss per example over the epoch
    pub train_loss: f64,
    /// On the valid users; `None` where there are none
    pub valid: Option<Figures>,
    /// Examples per second, without the time for validation
    pub rows_per_s: f64,
    /// Wall time, without that for validation
    pub secs: f64,
}

//! What training may be told, checked once.

use contract::manifest::{Decay, Loss, TrainParams};
use linfa::ParamGuard;

/// Why a model cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Parameters out of range: all of them
    #[error("{0}")]
    Params(String),
    /// Examples and parameters do not go together
    #[error("{0}")]
    Data(String),
    /// The loss is no number any more
    #[error(
        "the loss is {loss} in epoch {epoch}, update {update}\n\
         hint: a step was too large; lower `train.learning_rate`, lengthen `train.warmup`, \
         or standardise the features"
    )]
    NotFinite {
        /// The loss
        loss: f64,
        /// From 1
        epoch: u32,
        /// From 1, over all epochs
        update: u64,
    },
    /// linfa refused
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}

/// Parameters of a multi-layer perceptron as given. [`ParamGuard::check`] makes them usable.
#[derive(Debug, Clone)]
pub struct MlpParams(MlpValidParams);

/// Checked parameters: holding one proves the checks ran.
#[derive(Debug, Clone)]
pub struct MlpValidParams(TrainParams);

impl MlpParams {
    /// Parameters as the manifest has them.
    pub fn new(params: TrainParams) -> Self {
        Self(MlpValidParams(params))
    }
}

impl MlpValidParams {
    pub(crate) fn get(&self) -> &TrainParams {
        &self.0
    }

    /// Step size of an update: it grows in a line over the warm-up, then falls as `decay` says.
    ///
    /// * `update`: from 0, of `n_updates` in all.
    pub fn learning_rate(&self, update: u64, n_updates: u64) -> f32 {
        let params = &self.0;
        let warmup = (f64::from(params.warmup) * n_updates as f64).ceil();
        let step = update as f64;
        if step < warmup {
            return params.learning_rate * ((step + 1.0) / warmup) as f32;
        }
        let rest = (n_updates as f64 - warmup).max(1.0);
        let done = (step - warmup) / rest;
        let share = match params.decay {
            Decay::None => 1.0,
            Decay::Linear => 1.0 - done,
            Decay::Cosine => f64::midpoint(1.0, (std::f64::consts::PI * done).cos()),
        };
        params.learning_rate * share as f32
    }
}

impl ParamGuard for MlpParams {
    type Checked = MlpValidParams;
    type Error = Error;

    fn check_ref(&self) -> Result<&MlpValidParams, Error> {
        let p = self.0.get();
        let mut problems = Vec::new();
        let mut rule = |holds: bool, message: String| {
            if !holds {
                problems.push(message);
            }
        };
        rule(p.epochs > 0, "epochs: must be at least 1, got 0".into());
        rule(p.batch_size > 0, "batch_size: must be at least 1, got 0".into());
        let rate = p.learning_rate;
        rule(rate > 0.0 && rate <= 1.0, format!("learning_rate: must be in (0, 1], got {rate}"));
        rule((0.0..=1.0).contains(&p.warmup), format!("warmup: must be in [0, 1], got {}", p.warmup));
        rule((0.0..1.0).contains(&p.dropout), format!("dropout: must be in [0, 1), got {}", p.dropout));
        rule(p.weight_decay >= 0.0, format!("weight_decay: must be at least 0, got {}", p.weight_decay));
        rule(p.hidden.iter().all(|width| width.0 > 0), "hidden: every layer needs a unit".into());
        if let Loss::Bfce { gamma } = p.loss {
            rule((0.0..=10.0).contains(&gamma), format!("loss.gamma: must be in [0, 10], got {gamma}"));
        }
        if problems.is_empty() { Ok(&self.0) } else { Err(Error::Params(problems.join("; "))) }
    }

    fn check(self) -> Result<MlpValidParams, Error> {
        self.check_ref()?;
        Ok(self.0)
    }
}

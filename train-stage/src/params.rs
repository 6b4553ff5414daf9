//! What training may be told, checked once.

use contract::manifest::{BrandWeights, Decay, Loss, TrainParams};
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
    /// The loss is no number any more, or a thousand times what it was
    #[error(
        "the loss is {loss} in epoch {epoch}, batch {batch} (update {update})\n\
         likely cause: {cause}"
    )]
    NotFinite {
        /// The loss
        loss: f64,
        /// From 1
        epoch: u32,
        /// From 1, in its epoch
        batch: u64,
        /// From 1, over all epochs
        update: u64,
        /// Why, and what to do
        cause: String,
    },
    /// A checkpoint cannot be written
    #[error("cannot write a checkpoint: {0}")]
    Checkpoint(contract::ipc::Error),
    /// The system gives no threads
    #[error(transparent)]
    Threads(#[from] contract::threads::Error),
    /// Ctrl-C; a checkpoint is written
    #[error("interrupted after update {update}; run it again to go on from there")]
    Interrupted {
        /// Updates made
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

    /// Those of each network that is trained and then averaged: the same, with seeds that follow
    /// on each other.
    pub fn members(&self) -> impl Iterator<Item = Self> {
        (0..self.0.members as u64)
            .map(|i| Self(TrainParams { seed: self.0.seed.wrapping_add(i), ..self.0.clone() }))
    }

    /// Step size of an update: it grows in a line over the warm-up, then falls as `decay` says.
    ///
    /// * `update`: from 0, of `n_updates` in all.
    pub fn learning_rate(&self, update: u64, n_updates: u64) -> f32 {
        let params = &self.0;
        // 0.05 as `f32` is a little more than 0.05, by 6e-8 of it at most: of 100 updates 5, not 6.
        let warmup = (f64::from(params.warmup) * n_updates as f64 * (1.0 - 1e-7)).ceil();
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
        rule(p.members > 0, "members: must be at least 1, got 0".into());
        rule(p.batch_size > 0, "batch_size: must be at least 1, got 0".into());
        let rate = p.learning_rate;
        rule(rate > 0.0 && rate <= 1.0, format!("learning_rate: must be in (0, 1], got {rate}"));
        rule(
            (0.0..=1.0).contains(&p.warmup),
            format!("warmup: must be in [0, 1], got {}", p.warmup),
        );
        rule(
            (0.0..1.0).contains(&p.dropout),
            format!("dropout: must be in [0, 1), got {}", p.dropout),
        );
        rule(
            p.weight_decay >= 0.0 && p.weight_decay.is_finite(),
            format!("weight_decay: must be at least 0 and finite, got {}", p.weight_decay),
        );
        rule(
            (0.0..=1.0).contains(&p.sparse_gradient),
            format!("sparse_gradient: must be in [0, 1], got {}", p.sparse_gradient),
        );
        rule(
            p.soft_f1 >= 0.0 && p.soft_f1.is_finite(),
            format!("soft_f1: must be at least 0 and finite, got {}", p.soft_f1),
        );
        let sampling = p.negative_sampling;
        rule(
            sampling > 0.0 && sampling <= 1.0,
            format!("negative_sampling: must be in (0, 1], got {sampling}"),
        );
        rule(
            sampling == 1.0 || p.sparse_gradient > 0.0 && p.soft_f1 == 0.0,
            format!(
                "negative_sampling: {sampling} needs `sparse_gradient` above 0 and no `soft_f1`"
            ),
        );
        rule(p.patience != Some(0), "patience: must be at least 1, got 0".into());
        if let Some(BrandWeights { power, scale, .. }) = p.brand_weights {
            rule(
                (-2.0..=2.0).contains(&power),
                format!("brand_weights.power: must be in [-2, 2], got {power}"),
            );
            rule(
                scale > 0.0 && scale <= 1000.0,
                format!("brand_weights.scale: must be in (0, 1000], got {scale}"),
            );
        }
        rule(p.updates != Some(0), "updates: must be at least 1, got 0".into());
        rule(p.hidden.iter().all(|width| width.0 > 0), "hidden: every layer needs a unit".into());
        let mut in_range = |name: &str, value: f32| {
            rule(
                (0.0..=10.0).contains(&value),
                format!("loss.{name}: must be in [0, 10], got {value}"),
            );
        };
        match p.loss {
            Loss::Bce {} | Loss::Mse {} => {}
            Loss::Bfce { gamma, alpha } => {
                in_range("gamma", gamma);
                if let Some(alpha) = alpha {
                    rule(
                        alpha > 0.0 && alpha < 1.0,
                        format!("loss.alpha: must be in (0, 1), got {alpha}"),
                    );
                }
            }
            Loss::Asl { gamma_positive, gamma_negative, clip } => {
                in_range("gamma_positive", gamma_positive);
                in_range("gamma_negative", gamma_negative);
                rule(
                    (0.0..1.0).contains(&clip),
                    format!("loss.clip: must be in [0, 1), got {clip}"),
                );
            }
            Loss::LogitAdjusted { tau } => in_range("tau", tau),
        }
        if problems.is_empty() { Ok(&self.0) } else { Err(Error::Params(problems.join("; "))) }
    }

    fn check(self) -> Result<MlpValidParams, Error> {
        self.check_ref()?;
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::manifest::HiddenWidth;

    /// Checks learning rates after `warmup` of 10 updates, of a step size of 0.1.
    fn assert_rates(warmup: f32, decay: Decay, expected: &[(u64, f32)]) {
        let params = MlpParams::new(TrainParams {
            learning_rate: 0.1,
            warmup,
            decay,
            ..TrainParams::default()
        });
        let params = params.check().unwrap();
        for &(update, expected) in expected {
            let found = params.learning_rate(update, 10);
            assert!((found - expected).abs() < 1e-7, "{decay:?} {update}: {found} for {expected}");
        }
    }

    /// The first of two updates of warm-up has half the step, the second the whole.
    #[test]
    fn without_decay_the_step_grows_and_stays() {
        assert_rates(0.2, Decay::None, &[(0, 0.05), (1, 0.1), (2, 0.1), (9, 0.1)]);
    }

    /// Eight updates remain after two of warm-up: 1 - 0/8, 1 - 4/8, 1 - 7/8.
    #[test]
    fn linear_decay_falls_in_equal_steps() {
        assert_rates(0.2, Decay::Linear, &[(0, 0.05), (1, 0.1), (2, 0.1), (6, 0.05), (9, 0.0125)]);
    }

    /// (1 + cos πx)/2 at x = 0/8, 2/8, 4/8, 7/8: 1, 0.8535534, 0.5, 0.0380602.
    #[test]
    fn cosine_decay_falls_along_half_a_cosine() {
        let expected =
            [(0, 0.05), (1, 0.1), (2, 0.1), (4, 0.085_355_34), (6, 0.05), (9, 0.003_806_02)];
        assert_rates(0.2, Decay::Cosine, &expected);
    }

    #[test]
    fn without_warmup_the_first_step_is_whole() {
        assert_rates(0.0, Decay::Linear, &[(0, 0.1), (1, 0.09), (5, 0.05), (9, 0.01)]);
    }

    #[test]
    fn a_warmup_of_1_lasts_to_the_end() {
        assert_rates(1.0, Decay::Cosine, &[(0, 0.01), (4, 0.05), (9, 0.1)]);
    }

    /// 0.05 in `f32` is a little more than 0.05: a twentieth of 100 updates is 5, not 6.
    #[test]
    fn warmup_lasts_as_long_as_the_decimal_number_says() {
        for (warmup, n_updates, n_warmup) in
            [(0.05, 100, 5), (0.1, 3000, 300), (0.2, 10, 2), (0.05, 101, 6)]
        {
            let params = TrainParams {
                learning_rate: 1.0,
                warmup,
                decay: Decay::None,
                ..TrainParams::default()
            };
            let params = MlpParams::new(params).check().unwrap();
            let n_found = (0..n_updates)
                .filter(|&update| params.learning_rate(update, n_updates) < 1.0)
                .count();
            // The last update of warm-up is a whole step already.
            assert_eq!(n_found + 1, n_warmup, "{warmup} of {n_updates}");
        }
    }

    #[test]
    fn every_problem_is_in_one_message() {
        let params = TrainParams {
            epochs: 0,
            batch_size: 0,
            learning_rate: f32::NAN,
            warmup: 1.5,
            dropout: 1.0,
            weight_decay: -0.5,
            hidden: vec![HiddenWidth(8), HiddenWidth(0)],
            loss: Loss::Bfce { gamma: -1.0, alpha: Some(1.0) },
            ..TrainParams::default()
        };
        let err = MlpParams::new(params).check().unwrap_err();
        assert_eq!(
            err.to_string(),
            "epochs: must be at least 1, got 0; batch_size: must be at least 1, got 0; \
             learning_rate: must be in (0, 1], got NaN; warmup: must be in [0, 1], got 1.5; \
             dropout: must be in [0, 1), got 1; weight_decay: must be at least 0 and finite, got -0.5; \
             hidden: every layer needs a unit; loss.gamma: must be in [0, 10], got -1; \
             loss.alpha: must be in (0, 1), got 1"
        );
    }

    #[test]
    fn the_defaults_and_the_ends_of_each_range_pass() {
        assert!(MlpParams::new(TrainParams::default()).check().is_ok());
        let params = TrainParams {
            epochs: 1,
            batch_size: 1,
            learning_rate: 1.0,
            warmup: 1.0,
            dropout: 0.0,
            weight_decay: 0.0,
            hidden: Vec::new(),
            loss: Loss::Bfce { gamma: 10.0, alpha: None },
            ..TrainParams::default()
        };
        assert!(MlpParams::new(params).check().is_ok());
    }
}

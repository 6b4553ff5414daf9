//! Hyperparameters, checked once.

use contract::manifest::{Decay, Loss, TrainParams};
use contract::splitmix;
use linfa::ParamGuard;

use crate::error::Error;

/// Unchecked parameters of a multi-layer perceptron; [`ParamGuard::check`] checks them.
#[derive(Debug, Clone)]
pub struct MlpParams(MlpValidParams);

/// Checked parameters: holding one proves the checks ran.
#[derive(Debug, Clone)]
pub struct MlpValidParams(TrainParams);

impl MlpParams {
    /// Wraps parameters as they stand in a manifest.
    pub fn new(params: TrainParams) -> Self {
        Self(MlpValidParams(params))
    }
}

impl MlpValidParams {
    pub(crate) fn get(&self) -> &TrainParams {
        &self.0
    }

    /// The parameters of each network to be averaged. The first has the seed itself; those of the others
    /// are a hash of it, so that averages with other seeds share no network.
    pub fn members(&self) -> impl Iterator<Item = Self> {
        (0..self.0.members as u64)
            .map(|i| Self(TrainParams { seed: self.seed_of(i), ..self.0.clone() }))
    }

    fn seed_of(&self, member: u64) -> u64 {
        match member {
            0 => self.0.seed,
            _ => splitmix::hash(splitmix::hash(self.0.seed).wrapping_add(member)) >> 1,
        }
    }

    /// Step size of an update: grows linearly over the warm-up, then falls as `decay` says.
    ///
    /// * `update`: from 0, of `n_updates` in total.
    pub fn learning_rate(&self, update: u64, n_updates: u64) -> f32 {
        let params = &self.0;
        // 0.05 as `f32` is up to 6e-8 of it larger than 0.05: of 100 updates that is 5, not 6.
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

    /// Checks the ranges that the manifest's schema gives, and what a schema cannot say.
    fn check_ref(&self) -> Result<&MlpValidParams, Error> {
        let p = self.0.get();
        let written = serde_json::to_value(p).map_err(|err| Error::Params(err.to_string()))?;
        let found = contract::schema_problems(&written, &contract::schema::<TrainParams>());
        // JSON writes NaN and infinity as null.
        let found = found.into_iter().map(|problem| problem.replace("`null`", "NaN or infinity"));
        let mut problems: Vec<String> = found.collect();
        if let Loss::Bfce { alpha: Some(alpha), .. } = p.loss
            && !alpha.is_finite()
        {
            // Written as null, which the schema takes for no alpha.
            problems.push(format!("`loss.alpha`: expected a number, got {alpha}"));
        }
        problems.extend(p.output_problem().map(|problem| format!("`output`: {problem}")));
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

    #[test]
    fn averages_with_neighbouring_seeds_share_no_network() {
        let seeds = |seed: u64| -> Vec<u64> {
            let params = TrainParams { seed, members: 5, ..TrainParams::default() };
            MlpValidParams(params).members().map(|member| member.get().seed).collect()
        };
        let (seven, eight) = (seeds(7), seeds(8));
        assert_eq!((seven[0], eight[0], seven.len()), (7, 8, 5));
        assert!(seven.iter().all(|seed| !eight.contains(seed)), "{seven:?} {eight:?}");
    }
    use contract::manifest::{HiddenWidth, OutputLayer};

    /// Checks learning rates of 10 updates with a step size of 0.1.
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
            // The last update of warm-up already has the whole step.
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
        assert_eq!(
            problems(params),
            "`hidden.1`: must be at least 1 and at most 65536, got 0; \
             `loss.gamma`: must be at least 0 and at most 10, got -1; \
             `loss.alpha`: must be greater than 0 and less than 1, got 1; \
             `epochs`: must be at least 1 and at most 1000000, got 0; \
             `batch_size`: must be at least 1 and at most 1048576, got 0; \
             `learning_rate`: expected a number, got NaN or infinity; \
             `warmup`: must be at least 0 and at most 1, got 1.5; \
             `dropout`: must be at least 0 and less than 1, got 1; \
             `weight_decay`: must be at least 0 and at most 1000, got -0.5"
        );
    }

    #[test]
    fn what_the_manifest_forbids_is_rejected() {
        let default = TrainParams::default;
        for (params, expected) in [
            (
                TrainParams { weight_decay: 1001.0, ..default() },
                "`weight_decay`: must be at least 0 and at most 1000, got 1001",
            ),
            (
                TrainParams { soft_f1: 101.0, ..default() },
                "`soft_f1`: must be at least 0 and at most 100, got 101",
            ),
            (
                TrainParams { batch_size: 1 << 21, ..default() },
                "`batch_size`: must be at least 1 and at most 1048576, got 2097152",
            ),
            (
                TrainParams { members: 21, ..default() },
                "`members`: must be at least 1 and at most 20, got 21",
            ),
            (
                TrainParams { hidden: vec![HiddenWidth(65_537)], ..default() },
                "`hidden.0`: must be at least 1 and at most 65536, got 65537",
            ),
        ] {
            assert_eq!(problems(params), expected);
        }
    }

    #[test]
    fn what_no_schema_can_say_is_checked_too() {
        let bfce = |alpha| Loss::Bfce { gamma: 2.0, alpha: Some(alpha) };
        let expected = "`loss.alpha`: expected a number, got NaN";
        assert_eq!(
            problems(TrainParams { loss: bfce(f32::NAN), ..TrainParams::default() }),
            expected
        );
        let sketched = TrainParams { output: OutputLayer::Sketch, ..TrainParams::default() };
        assert!(MlpParams::new(sketched.clone()).check().is_ok());
        let expected = "`output`: `sketch` needs `sparse_gradient` above 0 and no `soft_f1`";
        assert_eq!(problems(TrainParams { sparse_gradient: 0.0, ..sketched.clone() }), expected);
        assert_eq!(problems(TrainParams { soft_f1: 0.5, ..sketched.clone() }), expected);
        let sparse = TrainParams { output: OutputLayer::Sparse, ..sketched };
        let expected = "`output`: `sparse` needs `sparse_gradient` above 0";
        assert_eq!(problems(TrainParams { sparse_gradient: 0.0, ..sparse }), expected);
    }

    fn problems(params: TrainParams) -> String {
        MlpParams::new(params).check().unwrap_err().to_string()
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

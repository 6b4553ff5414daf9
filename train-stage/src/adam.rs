//! Adam with decoupled weight decay.

use rayon::prelude::*;

/// Constants of Kingma and Ba 2015.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Parameters are updated in blocks of this many, so that threads share the work.
const BLOCK: usize = 16_384;

/// Running moments of one parameter array.
#[derive(Debug, Clone, Default)]
pub struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

/// Sizes of one update.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Step size
    pub learning_rate: f32,
    /// Decay per unit of step size
    pub weight_decay: f32,
    /// From 1: corrects the moments, which start at zero
    pub update: u64,
}

impl Moments {
    /// Updates `values` by their `gradient`.
    ///
    /// # Source
    ///
    /// Kingma and Ba 2015; the decay is that of Loshchilov and Hutter 2019: as PyTorch's
    /// `AdamW` with its default betas and epsilon.
    pub fn update(&mut self, values: &mut [f32], gradient: &[f32], step: Step) {
        self.first.resize(values.len(), 0.0);
        self.second.resize(values.len(), 0.0);
        let update = i32::try_from(step.update).unwrap_or(i32::MAX);
        let correct_1 = 1.0 - f64::from(BETA_1).powi(update) as f32;
        let correct_2 = (1.0 - f64::from(BETA_2).powi(update)).sqrt() as f32;
        let rate = step.learning_rate / correct_1;
        let keep = 1.0 - step.learning_rate * step.weight_decay;
        values
            .par_chunks_mut(BLOCK)
            .zip(gradient.par_chunks(BLOCK))
            .zip(self.first.par_chunks_mut(BLOCK))
            .zip(self.second.par_chunks_mut(BLOCK))
            .for_each(|(((values, gradient), first), second)| {
                for (((value, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                    *m = BETA_1 * *m + (1.0 - BETA_1) * g;
                    *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
                    *value = *value * keep - rate * *m / (v.sqrt() / correct_2 + EPSILON);
                }
            });
    }
}

//! Adam with decoupled weight decay.

use multiversion::multiversion;
use rayon::prelude::*;

/// Defaults of Kingma and Ba 2015.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Values that a thread updates at a time.
const BLOCK: usize = 16_384;

/// Running means of the gradient of one parameter array and of its square.
#[derive(Debug, Clone, Default)]
pub struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

/// Learning rate, decay and number of one update.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Step size; Adam's `α`
    pub learning_rate: f32,
    /// Share of a value that is removed, per unit of step size
    pub weight_decay: f32,
    /// From 1; corrects the bias of moments that start at zero
    pub update: u64,
}

impl Moments {
    /// Moments of zero, for an array before its first update.
    pub fn new(n_values: usize) -> Self {
        Self { first: vec![0.0; n_values], second: vec![0.0; n_values] }
    }

    /// Updates `values` by their `gradient`.
    ///
    /// # Source
    ///
    /// Kingma and Ba 2015, with the decoupled decay of Loshchilov and Hutter 2019. Computes what
    /// PyTorch's `AdamW` does with its default betas and epsilon.
    pub fn update(&mut self, values: &mut [f32], gradient: &[f32], step: Step) {
        let rates = step.rates();
        values
            .par_chunks_mut(BLOCK)
            .zip(gradient.par_chunks(BLOCK))
            .zip(self.first.par_chunks_mut(BLOCK))
            .zip(self.second.par_chunks_mut(BLOCK))
            .for_each(|(((values, gradient), first), second)| {
                update(values, gradient, first, second, rates);
            });
    }

    /// Updates rows whose gradients are computed one at a time, so that the gradient of the whole
    /// array is never held.
    ///
    /// * `values`: rows of `width`, one after another.
    /// * `scratch`: buffers for rows; grows as needed.
    /// * `gradient`: writes the gradient of a row, given the row's number.
    pub fn update_rows(
        &mut self,
        values: &mut [f32],
        width: usize,
        step: Step,
        scratch: &mut Vec<Vec<f32>>,
        gradient: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        /// Rows that a thread takes at a time.
        const ROWS: usize = 16;
        let rates = step.rates();
        scratch.resize_with(values.len().div_ceil(ROWS * width), Vec::new);
        values
            .par_chunks_mut(ROWS * width)
            .zip(self.first.par_chunks_mut(ROWS * width))
            .zip(self.second.par_chunks_mut(ROWS * width))
            .zip(scratch)
            .enumerate()
            .for_each(|(chunk, (((values, first), second), of_row))| {
                of_row.resize(width, 0.0);
                let rows = values.chunks_mut(width).zip(first.chunks_mut(width));
                for (i, ((values, first), second)) in rows.zip(second.chunks_mut(width)).enumerate()
                {
                    gradient(chunk * ROWS + i, of_row);
                    update(values, of_row, first, second, rates);
                }
            });
    }

    /// The means of the gradient and of its square, each as long as the array.
    pub fn parts(&self) -> [&[f32]; 2] {
        [&self.first, &self.second]
    }

    /// The inverse of [`Self::parts`].
    pub fn from_parts(first: Vec<f32>, second: Vec<f32>) -> Self {
        Self { first, second }
    }
}

/// A step with its bias corrections applied.
#[derive(Debug, Clone, Copy)]
struct Rates {
    rate: f32,
    correct_2: f32,
    keep: f32,
}

impl Step {
    fn rates(self) -> Rates {
        let update = i32::try_from(self.update).unwrap_or(i32::MAX);
        let correct_1 = 1.0 - f64::from(BETA_1).powi(update) as f32;
        Rates {
            rate: self.learning_rate / correct_1,
            correct_2: (1.0 - f64::from(BETA_2).powi(update)).sqrt() as f32,
            keep: 1.0 - self.learning_rate * self.weight_decay,
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn update(values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], at: Rates) {
    for (((value, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
        *m = BETA_1 * *m + (1.0 - BETA_1) * g;
        *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
        *value = *value * at.keep - at.rate * *m / (v.sqrt() / at.correct_2 + EPSILON);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gradients 0.5, then -0.5. First: decay to 1 - 0.1·0.01 = 0.999, and both corrected
    /// moments are those of the gradient, so the step is 0.1·0.5/0.5: 0.899. Second: decay to
    /// 0.899·0.999 = 0.898101; first moment (0.9·0.05 - 0.05)/(1 - 0.9²) = -0.0263158, the root of
    /// the second is 0.5 again, so the step is 0.1·0.0526316 upward: 0.9033642.
    #[test]
    fn two_updates_are_as_by_hand() {
        let mut moments = Moments::new(1);
        let mut values = [1.0];
        let step = Step { learning_rate: 0.1, weight_decay: 0.01, update: 1 };
        moments.update(&mut values, &[0.5], step);
        assert!((values[0] - 0.899).abs() < 1e-6, "{}", values[0]);
        moments.update(&mut values, &[-0.5], Step { update: 2, ..step });
        assert!((values[0] - 0.903_364_2).abs() < 1e-6, "{}", values[0]);
    }

    #[test]
    fn a_gradient_of_zero_leaves_only_the_decay() {
        let mut values = [2.0];
        let step = Step { learning_rate: 0.5, weight_decay: 0.25, update: 1 };
        Moments::new(1).update(&mut values, &[0.0], step);
        assert!((values[0] - 1.75).abs() < 1e-6, "{}", values[0]); // 2 - 0.5·0.25·2
    }

    /// Two full blocks and a part of one, against arrays of one value each.
    #[test]
    fn every_value_is_updated_as_if_alone() {
        let n_values = 2 * BLOCK + 5;
        let gradient = |i: usize| (i % 7) as f32 - 3.0;
        let mut together: Vec<f32> = (0..n_values).map(|i| i as f32 / 1024.0).collect();
        let mut alone: Vec<[f32; 1]> = together.iter().map(|&value| [value]).collect();
        let gradients: Vec<f32> = (0..n_values).map(gradient).collect();
        let mut moments = Moments::new(n_values);
        let mut moments_alone = vec![Moments::new(1); n_values];
        for update in 1..=2 {
            let step = Step { learning_rate: 0.01, weight_decay: 0.1, update };
            moments.update(&mut together, &gradients, step);
            for (i, (value, moments)) in alone.iter_mut().zip(&mut moments_alone).enumerate() {
                moments.update(value, &[gradient(i)], step);
            }
        }
        assert_eq!(together, alone.concat());
    }

    /// 37 rows of 3: two chunks of rows and a part of one.
    #[test]
    fn rows_are_updated_as_their_array_is() {
        let n_values = 37 * 3;
        let gradient: Vec<f32> = (0..n_values).map(|i| (i % 5) as f32 - 2.0).collect();
        let mut whole: Vec<f32> = (0..n_values).map(|i| i as f32 / 64.0).collect();
        let mut rows = whole.clone();
        let (mut of_whole, mut of_rows) = (Moments::new(n_values), Moments::new(n_values));
        for update in 1..=2 {
            let step = Step { learning_rate: 0.01, weight_decay: 0.1, update };
            of_whole.update(&mut whole, &gradient, step);
            of_rows.update_rows(&mut rows, 3, step, &mut Vec::new(), |row, into| {
                into.copy_from_slice(&gradient[row * 3..][..3]);
            });
        }
        assert_eq!(rows, whole);
        assert_eq!(of_rows.parts(), of_whole.parts());
    }
}

//! An auxiliary term of the loss that raises each brand's F1 over the batch.
//!
//! With `p = σ(z)`, labels `y` and example weights `w`, over the users of a batch for whom the
//! brand is not ignored, a brand's soft F1 is `F = 2·Σ w·y·p / Σ w·(y + p)`: F1 with
//! probabilities in place of decisions (as in Bénédict et al. 2022, without their extra sigmoid).
//! The term is `share · Σ_brands (1 - F)`, over brands that a user of the batch has; the others
//! could only be pushed to 0. It is a sum over brands, as the loss is.

use model::mlp::sigmoid_in_place;
use model::sigmoid::parts;
use multiversion::multiversion;
use ndarray::{ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::labels::Labels;

/// Columns that one thread sums, in order of the rows, so that threads do not change the result.
const COLUMNS: usize = 256;

/// Sums over a batch, from which the gradient of each row is computed.
#[derive(Debug, Default, Clone)]
pub(crate) struct SoftF1 {
    /// `dTerm/dp` of each brand where the user does not have it: `2·share·tp / sum²`
    absent: Vec<f32>,
    /// The same where the user has it, which is smaller by `2·share / sum`
    present: Vec<f32>,
    true_positives: Vec<f64>,
    sums: Vec<f64>,
    labels: Vec<f64>,
    is_active: bool,
}

impl SoftF1 {
    /// Whether the term is part of the loss.
    pub(crate) fn is_active(&self) -> bool {
        self.is_active
    }

    /// Sums over a batch; returns the term, 0 if `share` is.
    pub(crate) fn prepare<'a>(
        &mut self,
        share: f32,
        logits: ArrayView2<f32>,
        labels: &(dyn Fn(usize) -> Labels<'a> + Sync),
        n_users: usize,
    ) -> f64 {
        self.is_active = share > 0.0;
        if !self.is_active {
            return 0.0;
        }
        let n_brands = logits.ncols();
        for sums in [&mut self.true_positives, &mut self.sums, &mut self.labels] {
            sums.clear();
            sums.resize(n_brands, 0.0);
        }
        self.sums.par_chunks_mut(COLUMNS).enumerate().for_each(|(block, sums)| {
            let start = block * COLUMNS;
            let columns = logits.slice(s![.., start..start + sums.len()]);
            let mut probs = [0.0_f32; COLUMNS];
            let probs = &mut probs[..sums.len()];
            for (i, row) in columns.axis_iter(Axis(0)).enumerate() {
                probs.copy_from_slice(row.as_slice().expect("rows of the logits are contiguous"));
                sigmoid_in_place(probs);
                let weight = f64::from(labels(i).weight);
                for (sum, &p) in sums.iter_mut().zip(&*probs) {
                    *sum += weight * f64::from(p);
                }
            }
        });
        for i in 0..n_users {
            let labels = labels(i);
            let weight = f64::from(labels.weight);
            let prob = |brand: usize| f64::from(parts(logits[[i, brand]]).p);
            for &brand in labels.ignored {
                self.sums[brand as usize] -= weight * prob(brand as usize);
            }
            for brand in labels.counted() {
                self.true_positives[brand] += weight * prob(brand);
                self.sums[brand] += weight;
                self.labels[brand] += weight;
            }
        }
        let share = f64::from(share);
        self.absent.clear();
        self.present.clear();
        let mut term = 0.0;
        for ((&tp, &sum), &labels) in self.true_positives.iter().zip(&self.sums).zip(&self.labels) {
            let absent = if labels > 0.0 { 2.0 * share * tp / (sum * sum) } else { 0.0 };
            let present = if labels > 0.0 { absent - 2.0 * share / sum } else { 0.0 };
            self.absent.push(absent as f32);
            self.present.push(present as f32);
            if labels > 0.0 {
                term += share * (1.0 - 2.0 * tp / sum);
            }
        }
        term
    }

    /// Fills `gradient` with that of the term with respect to one user's logits.
    pub(crate) fn gradient(&self, logits: &[f32], labels: Labels, gradient: &mut Vec<f32>) {
        gradient.clear();
        gradient.extend_from_slice(logits);
        negatives(gradient, &self.absent, labels.weight);
        for brand in labels.counted() {
            let at = parts(logits[brand]);
            gradient[brand] = labels.weight * self.present[brand] * at.p * at.q;
        }
        for &brand in labels.ignored {
            gradient[brand as usize] = 0.0;
        }
    }
}

/// Replaces each logit by `weight · slope · p · (1 - p)`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn negatives(logits: &mut [f32], slopes: &[f32], weight: f32) {
    for (z, slope) in logits.iter_mut().zip(slopes) {
        let at = parts(*z);
        *z = weight * slope * at.p * at.q;
    }
}

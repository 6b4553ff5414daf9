//! The neighbours' labels, mixed into a model's probabilities.

use model::mlp::mix_probabilities;
use ndarray::parallel::prelude::*;
use ndarray::{ArrayViewMut2, Axis};

use crate::neighbours::Neighbours;
use crate::neighbours::space::Seen;

/// Neighbours, and their share in each brand's probability.
#[derive(Clone, Copy)]
pub struct Blend<'a> {
    /// The users among whom neighbours are looked for
    pub neighbours: &'a Neighbours,
    /// `(n_brands,)`, in `[0, 1]`; the model has the rest
    pub weights: &'a [f32],
}

impl Blend<'_> {
    /// Mixes the neighbours' labels into the users' logits `(n_users, n_brands)`.
    pub fn mix_in(&self, users: Seen, mut logits: ArrayViewMut2<f32>) {
        if self.weights.iter().all(|&weight| weight == 0.0) {
            return;
        }
        let means = self.neighbours.label_means(users);
        let rows = logits.axis_iter_mut(Axis(0)).into_par_iter();
        rows.zip(means.axis_iter(Axis(0)).into_par_iter()).for_each(|(mut logits, means)| {
            let logits = logits.as_slice_mut().expect("rows are contiguous");
            let means = means.to_slice().expect("rows are contiguous");
            mix_probabilities(logits, means, self.weights);
        });
    }
}

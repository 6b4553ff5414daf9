//! The output layer with all logits of a batch; its gradients whole or sparse.

use model::mlp::Layer;
use model::{Bags, Mlp, Workspace};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis};

use super::block::{BLOCK, Block};
use super::sparse::{select, weighted_sum};
use super::{resize, seed_of};
use crate::examples::ExampleBatch;
use crate::loss::{Objective, Scratch};
use crate::soft_f1::SoftF1;

/// Reused from update to update.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// Entries below this share of a row's largest are kept at random; 0 keeps all
    share: f32,
    /// `(n_users, n_brands)`: logits, then their gradients
    logits: Array2<f32>,
    soft_f1: SoftF1,
    /// One for each block
    scratches: Vec<Scratch>,
}

impl Whole {
    /// * `share`: entries of the gradient below this share of a row's largest are kept at random;
    ///   0 keeps all.
    pub(crate) fn new(share: f32) -> Self {
        Self { share, ..Self::default() }
    }

    pub(crate) fn is_sparse(&self) -> bool {
        self.share > 0.0
    }

    /// `(n_users, n_brands)`: the gradients of the logits after [`Self::losses`].
    pub(crate) fn logits(&self) -> ArrayView2<'_, f32> {
        self.logits.view()
    }

    /// Fills the blocks, and keeps the gradients of all logits; returns the loss that is no user's.
    ///
    /// * `seed`: differs between updates.
    pub(crate) fn losses(
        &mut self,
        mlp: &Mlp,
        objective: &Objective,
        batch: &ExampleBatch,
        workspace: &Workspace,
        seed: u64,
        blocks: &mut [Block],
    ) -> f64 {
        let n_users = batch.len();
        resize([(&mut self.logits, (n_users, mlp.n_brands()))]);
        mlp.logits(&batch.inputs, workspace, self.logits.view_mut());
        let labels = |i: usize| batch.labels(i);
        let term = self.soft_f1.prepare(objective.soft_f1, self.logits.view(), &labels, n_users);
        self.scratches.resize_with(blocks.len(), Scratch::default);
        let channels = &mlp.own_history;
        let histories: Vec<&Bags> = channels.iter().map(|c| &batch.inputs.bags[c.bag]).collect();
        let (soft_f1, share) = (&self.soft_f1, self.share);
        self.logits
            .axis_chunks_iter_mut(Axis(0), BLOCK)
            .into_par_iter()
            .zip(blocks)
            .zip(&mut self.scratches)
            .enumerate()
            .for_each(|(i, ((mut rows, block), scratch))| {
                for (j, row) in rows.rows_mut().into_iter().enumerate() {
                    let user = i * BLOCK + j;
                    let row = row.into_slice().expect("rows of the logits are contiguous");
                    let labels = batch.labels(user);
                    block.loss += objective.row(row, labels, n_users, soft_f1, scratch);
                    for (history, of_channel) in histories.iter().zip(&mut block.own_history) {
                        let gradient = |(brand, _)| row.get(brand as usize).copied();
                        of_channel.extend(history.of(user).map(|of| gradient(of).unwrap_or(0.0)));
                    }
                    if share > 0.0 {
                        select(row, share, seed_of(user, seed), &mut block.entries);
                        block.end_user();
                    }
                }
            });
        term
    }
}

/// Fills the gradient of the last hidden layer from the entries that were kept.
///
/// * `below`: `(n_users, width)`.
pub(super) fn hidden_gradient(layer: &Layer, blocks: &[Block], below: &mut Array2<f32>) {
    let weights = layer.weights.as_slice_memory_order().expect("contiguous");
    below.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().zip(blocks).for_each(
        |(mut below, block)| {
            for (row, entries) in below.rows_mut().into_iter().zip(block.users()) {
                let row = row.into_slice().expect("a fresh array is contiguous");
                weighted_sum(entries, weights, row);
            }
        },
    );
}

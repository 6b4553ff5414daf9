//! The output layer with all logits of a batch; its gradients whole or sparse.

use contract::splitmix::GOLDEN;
use model::{Bags, Mlp, Workspace};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis};

use super::block::{BLOCK, Block};
use super::sparse::{ByBrand, brand_sums, select, weighted_sum};
use crate::adam::{Moments, Step};
use crate::backward::Gradients;
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
    blocks: Vec<(Block, Scratch)>,
    by_brand: ByBrand,
    rows: Vec<Vec<f32>>,
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

    /// Gradients of the logits of the brands in the users' histories of a channel, user after user.
    pub(crate) fn own_history(&self, channel: usize) -> impl Iterator<Item = &f32> {
        self.blocks.iter().flat_map(move |(block, _)| &block.own_history[channel])
    }

    /// Loss of a batch; keeps the gradients of its logits.
    ///
    /// * `seed`: differs between updates.
    pub(crate) fn losses(
        &mut self,
        mlp: &Mlp,
        objective: &Objective,
        batch: &ExampleBatch,
        workspace: &Workspace,
        seed: u64,
    ) -> f64 {
        let n_users = batch.len();
        if self.logits.dim() != (n_users, mlp.n_brands()) {
            self.logits = Array2::zeros((n_users, mlp.n_brands()));
        }
        mlp.logits(&batch.inputs, workspace, self.logits.view_mut());
        let labels = |i: usize| batch.labels(i);
        let term = self.soft_f1.prepare(objective.soft_f1, self.logits.view(), &labels, n_users);
        self.blocks.resize_with(n_users.div_ceil(BLOCK), Default::default);
        let channels = &mlp.own_history;
        let histories: Vec<&Bags> = channels.iter().map(|c| &batch.inputs.bags[c.bag]).collect();
        let (soft_f1, share) = (&self.soft_f1, self.share);
        self.logits
            .axis_chunks_iter_mut(Axis(0), BLOCK)
            .into_par_iter()
            .zip(&mut self.blocks)
            .enumerate()
            .for_each(|(i, (mut rows, (block, scratch)))| {
                block.clear(histories.len());
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
                        let seed = seed.wrapping_add((user as u64).wrapping_mul(GOLDEN));
                        select(row, share, seed, &mut block.entries);
                        block.end_user();
                    }
                }
            });
        term + self.blocks.iter().map(|(block, _)| block.loss).sum::<f64>()
    }

    /// Fills the gradients of the layer's input and bias, and updates its weights.
    pub(crate) fn sparse_backward(
        &mut self,
        mlp: &mut Mlp,
        workspace: &Workspace,
        gradients: &mut Gradients,
        moments: &mut Moments,
        step: Step,
    ) {
        let hidden = workspace.hidden.last().expect("sparse gradients have a hidden layer");
        let below = gradients.hidden.last_mut().expect("as many as hidden layers");
        let layer = mlp.layers.last_mut().expect("a network has a layer");
        let n_brands = layer.bias.len();
        let width = hidden.ncols();
        let weights = layer.weights.as_slice_memory_order_mut().expect("contiguous");
        below.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().zip(&self.blocks).for_each(
            |(mut below, (block, _))| {
                for (row, entries) in below.rows_mut().into_iter().zip(block.users()) {
                    let row = row.into_slice().expect("a fresh array is contiguous");
                    weighted_sum(entries, weights, row);
                }
            },
        );
        self.by_brand.fill(n_brands, self.blocks.iter().flat_map(|(block, _)| block.users()));
        let bias = gradients.biases.last_mut().expect("one for each layer");
        brand_sums(&self.by_brand, bias.as_slice_mut().expect("contiguous"));
        let hidden = hidden.as_slice().expect("a fresh array is contiguous");
        let by_brand = &self.by_brand;
        moments.update_rows(weights, width, step, &mut self.rows, |brand, gradient| {
            weighted_sum(by_brand.of(brand), hidden, gradient);
        });
    }
}

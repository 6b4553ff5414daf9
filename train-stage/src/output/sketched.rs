//! The output layer, of which only cells that matter are computed.
//!
//! A cell is the logit of a brand for a user. Most have a gradient near 0, but which ones is known
//! only after the whole product of the output layer, most of the work of training. A [`Sketch`] of
//! the logits tells well enough:
//!
//! 1. Common brands, the head, get exact logits and gradients by dense products.
//! 2. Of the other brands, the tail, every cell gets a sketched logit, and from that the gradient
//!    that it would have.
//! 3. A cell of the tail is drawn with a probability in proportion to that gradient plus a floor.
//!    Labels and brands in the user's own history are always drawn.
//! 4. Drawn cells get their exact logit and gradient, which is divided by the probability. So the
//!    expected gradient is the exact one however wrong the sketch is; a better sketch only lowers
//!    its variance.

use model::matmul::matmul;
use model::mlp::Layer;
use model::{Mlp, Workspace};
use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, Axis, s};

use super::block::{BLOCK, Block};
use super::sketch::Sketch;
use super::sparse::{Entry, draw, largest, multiply_add, start, weighted_sum};
use super::{resize, seed_of};
use crate::backward::column_sums;
use crate::examples::ExampleBatch;
use crate::loss::{Objective, Scratch};
use crate::soft_f1::SoftF1;

/// What is added to a sketched gradient, as a share of the row's largest: the sketch may be wrong.
const FLOOR: f32 = 0.0003;

/// Cells of a row that are drawn because of [`FLOOR`] alone, at most.
const FLOOR_CELLS: f32 = 16.0;

/// Reused from update to update.
#[derive(Debug)]
pub(crate) struct Sketched {
    /// The brands before it are the head
    pub(super) n_head: usize,
    /// Cells of the tail whose gradient is at least this share of the row's largest are certain to be
    /// drawn
    share: f32,
    sketch: Sketch,
    /// `(n_users, n_head)`: logits, then their gradients
    head: Array2<f32>,
    /// `(n_users, width)`: gradient of the last hidden layer
    below: Array2<f32>,
    /// `(n_head, width)`: gradient of the head's weights
    head_weights: Array2<f32>,
    /// One for each block
    rooms: Vec<Room>,
}

/// Room to work on a block of users.
#[derive(Debug, Default)]
struct Room {
    /// Rows of logits: the head, the tail, and what fills up the sketch
    logits: Vec<f32>,
    cells: Cells,
}

/// Room for the cells of one user.
#[derive(Debug, Default)]
struct Cells {
    scratch: Scratch,
    /// Brands of the tail that have a label or are in the user's own history, ascending
    certain: Vec<u32>,
    /// Of `certain`, logits, then their gradients
    of_certain: Vec<f32>,
    /// `(n_tail,)`: gradients by sketched logits
    sketched: Vec<f32>,
    /// Cells of the tail that were drawn, and their probabilities
    chances: Vec<Entry>,
    /// Of these the brands that are neither certain nor ignored, ascending
    drawn: Vec<u32>,
    /// Of `drawn`, factors on the losses: one over the probabilities
    factors: Vec<f32>,
    /// Of `drawn`, exact logits, then their gradients
    of_drawn: Vec<f32>,
}

impl Sketched {
    /// * `n_head`: brands that are always computed; the largest should come first.
    /// * `share`: cells whose gradient is at least this share of the row's largest are certain to be
    ///   drawn, as far as the sketch tells.
    /// * `rank`: directions of the hidden layer that the sketch keeps.
    pub(crate) fn new(n_head: usize, share: f32, rank: usize) -> Self {
        Self {
            n_head,
            share,
            sketch: Sketch::new(rank),
            head: Array2::default((0, 0)),
            below: Array2::default((0, 0)),
            head_weights: Array2::default((0, 0)),
            rooms: Vec::new(),
        }
    }

    /// Fills the blocks, and keeps the gradients of the head and of the hidden layer.
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
    ) {
        let layer = mlp.layers.last().expect("a network has a layer");
        let hidden = workspace.hidden.last().expect("a sketch is of a hidden layer");
        let (n_users, n_head) = (batch.len(), self.n_head);
        resize([(&mut self.head, (n_users, n_head)), (&mut self.below, (n_users, hidden.ncols()))]);
        mlp.first_logits(hidden.view(), self.head.view_mut());
        let weights = layer.weights.as_slice_memory_order().expect("contiguous");
        let bias = layer.bias.as_slice().expect("contiguous");
        self.sketch.fit(hidden.view(), &weights[n_head * hidden.ncols()..], &bias[n_head..]);
        self.rooms.resize_with(blocks.len(), Room::default);
        let (sketch, share) = (&self.sketch, self.share);
        let rows = Rows { mlp, layer, objective, batch, hidden, sketch, n_head, share, seed };
        self.head
            .axis_chunks_iter_mut(Axis(0), BLOCK)
            .into_par_iter()
            .zip(self.below.axis_chunks_iter_mut(Axis(0), BLOCK))
            .zip(blocks)
            .zip(&mut self.rooms)
            .enumerate()
            .for_each(|(i, (((head, below), block), room))| {
                let head = head.into_slice().expect("whole rows");
                let below = below.into_slice().expect("whole rows");
                rows.block(i * BLOCK, head, below, block, room);
            });
        let head = layer.weights.slice(s![.., ..n_head]);
        matmul(self.head.view(), head.t(), true, self.below.view_mut());
    }

    /// Gradients of the head's weights, `(n_head, width)`, after [`Self::losses`]. Also fills those of
    /// the hidden layer, `below`, and of the head's part of the bias.
    pub(crate) fn head_gradients(
        &mut self,
        hidden: &Array2<f32>,
        below: &mut Array2<f32>,
        bias: &mut Array1<f32>,
    ) -> &Array2<f32> {
        std::mem::swap(below, &mut self.below);
        column_sums(self.head.view(), bias.slice_mut(s![..self.n_head]));
        resize([(&mut self.head_weights, (self.n_head, hidden.ncols()))]);
        matmul(self.head.t(), hidden.view(), false, self.head_weights.view_mut());
        &self.head_weights
    }
}

/// What the rows of a batch are computed from.
struct Rows<'a> {
    mlp: &'a Mlp,
    layer: &'a Layer,
    objective: &'a Objective,
    batch: &'a ExampleBatch,
    hidden: &'a Array2<f32>,
    sketch: &'a Sketch,
    n_head: usize,
    share: f32,
    seed: u64,
}

impl Rows<'_> {
    /// * `first`: the first of the block's users.
    /// * `head`: logits of the head, replaced by their gradients.
    /// * `below`: overwritten by the tail's part of the gradient of the hidden layer.
    fn block(
        &self,
        first: usize,
        head: &mut [f32],
        below: &mut [f32],
        block: &mut Block,
        Room { logits, cells }: &mut Room,
    ) {
        let (n_head, width) = (self.n_head, self.hidden.ncols());
        let stride = n_head + self.sketch.row_len();
        let weights = self.layer.weights.as_slice_memory_order().expect("contiguous");
        logits.resize(below.len() / width * stride, 0.0);
        self.sketch.logits(first, logits, stride);
        for (i, row) in logits.chunks_mut(stride).enumerate() {
            let row = &mut row[..self.layer.bias.len()];
            let head = &mut head[i * n_head..][..n_head];
            let start = block.entries.len();
            row[..n_head].copy_from_slice(head);
            self.user(first + i, row, cells, block);
            head.copy_from_slice(&row[..n_head]);
            weighted_sum(&block.entries[start..], weights, &mut below[i * width..][..width]);
            block.end_user();
        }
    }

    /// Adds a user's loss and the gradients of the tail to the block.
    ///
    /// * `row`: logits of the head, replaced by their gradients, and sketched ones of the tail.
    fn user(&self, user: usize, row: &mut [f32], cells: &mut Cells, block: &mut Block) {
        self.certain(user, row, cells);
        let (objective, labels, n_users) =
            (self.objective, self.batch.labels(user), self.batch.len());
        let (head, tail) = row.split_at_mut(self.n_head);
        let (of_head, no_soft_f1) = (labels.below(self.n_head), SoftF1::default());
        block.loss += objective.row(head, of_head, n_users, &no_soft_f1, &mut cells.scratch);
        let Cells { certain, of_certain, sketched, .. } = &mut *cells;
        objective.negative_gradients(self.n_head, tail, sketched, labels.weight, n_users);
        let has = |brand| labels.brands.binary_search(&brand).is_ok();
        block.loss += objective.cells(certain, of_certain, has, |_| 1.0, labels.weight, n_users);
        let gradient = |(brand, _): (u32, f32)| match head.get(brand as usize) {
            Some(&gradient) => gradient,
            None => certain.binary_search(&brand).map_or(0.0, |i| of_certain[i]),
        };
        for (channel, of_channel) in self.mlp.own_history.iter().zip(&mut block.own_history) {
            of_channel.extend(self.batch.inputs.bags[channel.bag].of(user).map(gradient));
        }
        block.loss += self.draw(user, head, cells, &mut block.entries);
    }

    /// Adds the own history, and finds exact logits of the cells that it touches and of labels.
    fn certain(&self, user: usize, row: &mut [f32], cells: &mut Cells) {
        let is_tail = |&brand: &u32| (self.n_head..row.len()).contains(&(brand as usize));
        let labels = self.batch.labels(user);
        let Cells { certain, of_certain, .. } = cells;
        certain.clear();
        certain.extend(labels.counted().map(|brand| brand as u32).filter(is_tail));
        for channel in &self.mlp.own_history {
            let history = self.batch.inputs.bags[channel.bag].of(user).map(|(brand, _)| brand);
            let counts = |brand: &u32| labels.ignored.binary_search(brand).is_err();
            certain.extend(history.filter(is_tail).filter(counts));
        }
        certain.sort_unstable();
        certain.dedup();
        self.logits(user, certain, of_certain);
        for (&brand, &z) in certain.iter().zip(&*of_certain) {
            row[brand as usize] = z;
        }
        for channel in &self.mlp.own_history {
            channel.add_to_row(self.batch.inputs.bags[channel.bag].of(user), row);
        }
        for (&brand, z) in certain.iter().zip(of_certain) {
            *z = row[brand as usize];
        }
    }

    /// Exact logits of brands of a user, without the own history.
    fn logits(&self, user: usize, brands: &[u32], logits: &mut Vec<f32>) {
        let hidden = self.hidden.row(user);
        let weights = self.layer.weights.as_slice_memory_order().expect("contiguous");
        logits.clear();
        logits.resize(brands.len(), 0.0);
        products(hidden.as_slice().expect("a row is contiguous"), weights, brands, logits);
        for (z, &brand) in logits.iter_mut().zip(brands) {
            *z += self.layer.bias[brand as usize];
        }
    }

    /// Draws cells of the tail and appends their gradients; returns their loss.
    ///
    /// * `head`: gradients.
    fn draw(&self, user: usize, head: &[f32], cells: &mut Cells, entries: &mut Vec<Entry>) -> f64 {
        let labels = self.batch.labels(user);
        let Cells { certain, of_certain, sketched, chances, drawn, factors, of_drawn, .. } = cells;
        for (&index, &value) in certain.iter().zip(&*of_certain) {
            entries.push(Entry { index, value });
            sketched[index as usize - self.n_head] = 0.0;
        }
        let largest = largest(head).max(largest(of_certain)).max(largest(sketched));
        if largest == 0.0 {
            return 0.0;
        }
        chances.clear();
        let scale = 1.0 / (self.share * largest);
        let floor = (FLOOR / self.share).min(FLOOR_CELLS / sketched.len() as f32);
        draw(sketched, scale, floor, start(seed_of(user, self.seed)), chances);
        drawn.clear();
        factors.clear();
        for &Entry { index: cell, value: chance } in &*chances {
            let brand = self.n_head as u32 + cell;
            let is_in = |brands: &[u32]| brands.binary_search(&brand).is_ok();
            if !is_in(certain) && !is_in(labels.ignored) {
                drawn.push(brand);
                factors.push(1.0 / chance);
            }
        }
        self.logits(user, drawn, of_drawn);
        let (weight, n_users) = (labels.weight, self.batch.len());
        let factor = |i: usize| factors[i];
        let loss = self.objective.cells(drawn, of_drawn, |_| false, factor, weight, n_users);
        let gradients = drawn.iter().zip(&*of_drawn);
        entries.extend(gradients.map(|(&index, &value)| Entry { index, value }));
        loss
    }
}

/// Scalar products of `hidden` with the rows of some brands.
///
/// * `rows`: rows as long as `hidden`, one after another.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn products(hidden: &[f32], rows: &[f32], brands: &[u32], products: &mut [f32]) {
    const TOGETHER: usize = 128;
    let width = hidden.len();
    let n_whole = width / TOGETHER * TOGETHER;
    for (product, &brand) in products.iter_mut().zip(brands) {
        let row = &rows[brand as usize * width..][..width];
        let mut sums = [0.0_f32; TOGETHER];
        for (x, y) in hidden.chunks_exact(TOGETHER).zip(row.chunks_exact(TOGETHER)) {
            for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
                *sum = multiply_add!(*x, *y, *sum);
            }
        }
        let mut total: f32 =
            hidden[n_whole..].iter().zip(&row[n_whole..]).map(|(x, y)| x * y).sum();
        let mut part = TOGETHER / 2;
        while part > 0 {
            for i in 0..part {
                sums[i] += sums[i + part];
            }
            part /= 2;
        }
        total += sums[0];
        *product = total;
    }
}

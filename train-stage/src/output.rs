//! The output layer in training: which logits and gradients of a batch are computed, and how.

mod block;
mod sketch;
mod sketched;
pub(crate) mod sparse;
mod whole;

use contract::manifest::{OutputLayer, TrainParams};
use contract::splitmix::GOLDEN;
use model::{Batch, Mlp, Workspace};
use ndarray::Array2;

use self::block::{BLOCK, Block};
use self::sketched::Sketched;
use self::sparse::{ByBrand, brand_sums, weighted_sum};
use self::whole::Whole;
use crate::adam::{Moments, Step};
use crate::backward::Gradients;
use crate::examples::ExampleBatch;
use crate::loss::Objective;

/// A cell of a common brand is cheaper by a dense product than drawn, if it would be drawn with at
/// least this probability.
const DENSE_FROM: f64 = 0.1;

/// A sketch pays from these sizes on, as it costs about the same for any width and any batch.
const TAIL: usize = 1000;
const WIDTH: usize = 256;
const BATCH: usize = 512;

/// Computes the output layer; reused from update to update.
#[derive(Debug)]
pub(crate) struct Output {
    cells: Cells,
    /// What was kept of each block of users
    blocks: Vec<Block>,
    by_brand: ByBrand,
    rows: Vec<Vec<f32>>,
}

/// The logits of a batch that are computed.
#[derive(Debug)]
enum Cells {
    /// All of them
    Whole(Whole),
    /// Those that matter, as a sketch tells
    Sketched(Sketched),
}

impl Output {
    /// * `volumes`: `(n_brands,)`, training users that have each brand, of `n_users`.
    pub(crate) fn new(params: &TrainParams, volumes: &[u64], n_users: u64) -> Self {
        // Without a hidden layer the bags need the whole gradient of the logits.
        let width = params.hidden.last().map_or(0, |width| width.0);
        let share = if width > 0 { params.sparse_gradient } else { 0.0 };
        let is_common =
            |volume: u64| volume as f64 >= DENSE_FROM * f64::from(share) * n_users as f64;
        let n_head = volumes.iter().filter(|&&volume| is_common(volume)).count();
        let n_tail = volumes.len() - n_head;
        let pays = n_tail >= TAIL && width >= WIDTH && params.batch_size >= BATCH;
        let is_possible = share > 0.0 && params.soft_f1 == 0.0;
        let sketches = match params.output {
            OutputLayer::Sketch => true,
            OutputLayer::Auto => pays,
            OutputLayer::Exact | OutputLayer::Sparse => false,
        };
        if sketches && is_possible {
            return Self::sketched(n_head, share, sketch::RANK);
        }
        let is_exact = params.output == OutputLayer::Exact;
        Self::of(Cells::Whole(Whole::new(if is_exact { 0.0 } else { share })))
    }

    /// As [`Sketched::new`].
    pub(crate) fn sketched(n_head: usize, share: f32, rank: usize) -> Self {
        Self::of(Cells::Sketched(Sketched::new(n_head, share, rank)))
    }

    fn of(cells: Cells) -> Self {
        Self { cells, blocks: Vec::new(), by_brand: ByBrand::default(), rows: Vec::new() }
    }

    /// Whether the weights of each brand are contiguous, and updated as soon as the brand's
    /// gradient is known.
    pub(crate) fn is_by_brand(&self) -> bool {
        match &self.cells {
            Cells::Whole(whole) => whole.is_sparse(),
            Cells::Sketched(_) => true,
        }
    }

    /// Loss of a batch after [`Mlp::forward_hidden`]; keeps the gradients of its logits.
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
        let blocks = &mut self.blocks;
        blocks.resize_with(batch.len().div_ceil(BLOCK), Block::default);
        for block in blocks.iter_mut() {
            block.clear(mlp.own_history.len());
        }
        let term = match &mut self.cells {
            Cells::Whole(whole) => whole.losses(mlp, objective, batch, workspace, seed, blocks),
            Cells::Sketched(sketched) => {
                sketched.losses(mlp, objective, batch, workspace, seed, blocks);
                0.0
            }
        };
        term + blocks.iter().map(|block| block.loss).sum::<f64>()
    }

    /// Fills the gradients of the output layer and of its input. With [`Self::is_by_brand`] its
    /// weights are updated instead.
    pub(crate) fn backward(
        &mut self,
        mlp: &mut Mlp,
        inputs: &Batch,
        workspace: &Workspace,
        gradients: &mut Gradients,
        moments: &mut Moments,
        step: Step,
    ) {
        if let Cells::Whole(whole) = &self.cells
            && !whole.is_sparse()
        {
            return gradients.compute_output(mlp, inputs, workspace, whole.logits());
        }
        let hidden = workspace.hidden.last().expect("left out only beside a hidden layer");
        let below = gradients.hidden.last_mut().expect("as many as hidden layers");
        let bias = gradients.biases.last_mut().expect("one for each layer");
        let layer = mlp.layers.last_mut().expect("a network has a layer");
        self.by_brand.fill(layer.bias.len(), self.blocks.iter().flat_map(Block::users));
        brand_sums(&self.by_brand, bias.as_slice_mut().expect("contiguous"));
        let head = match &mut self.cells {
            Cells::Whole(_) => {
                whole::hidden_gradient(layer, &self.blocks, below);
                None
            }
            Cells::Sketched(sketched) => Some(sketched.head_gradients(hidden, below, bias)),
        };
        let weights = layer.weights.as_slice_memory_order_mut().expect("contiguous");
        let width = hidden.ncols();
        let hidden = hidden.as_slice().expect("a fresh array is contiguous");
        let by_brand = &self.by_brand;
        let of_head = |brand| head.filter(|head| brand < head.nrows()).map(|head| head.row(brand));
        moments.update_rows(weights, width, step, &mut self.rows, |brand, gradient| match of_head(
            brand,
        ) {
            Some(row) => gradient.copy_from_slice(row.to_slice().expect("contiguous")),
            None => weighted_sum(by_brand.of(brand), hidden, gradient),
        });
    }

    /// Gradients of the logits of the brands in the users' histories of a channel, user after user.
    pub(crate) fn own_history(&self, channel: usize) -> impl Iterator<Item = &f32> {
        self.blocks.iter().flat_map(move |block| &block.own_history[channel])
    }
}

/// The seed of a user's draws in an update with this seed.
fn seed_of(user: usize, seed: u64) -> u64 {
    seed.wrapping_add((user as u64).wrapping_mul(GOLDEN))
}

/// Makes arrays of zeros where the shape differs.
fn resize<const N: usize>(arrays: [(&mut Array2<f32>, (usize, usize)); N]) {
    for (array, shape) in arrays {
        if array.dim() != shape {
            *array = Array2::zeros(shape);
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::manifest::HiddenWidth;

    use super::*;

    /// 10,000 users; 400 brands have 1 % of them each, the rest 0.1 %.
    fn choice(n_rare: usize, params: TrainParams) -> String {
        let volumes = [vec![100; 400], vec![10; n_rare]].concat();
        match Output::new(&params, &volumes, 10_000).cells {
            Cells::Sketched(sketched) => format!("sketch but for {}", sketched.n_head),
            Cells::Whole(whole) if whole.is_sparse() => "sparse".to_owned(),
            Cells::Whole(_) => "exact".to_owned(),
        }
    }

    #[test]
    fn a_sketch_is_the_default_where_it_pays() {
        let default = TrainParams::default;
        let narrow = TrainParams { hidden: vec![HiddenWidth(512), HiddenWidth(255)], ..default() };
        assert_eq!(choice(1000, default()), "sketch but for 400");
        assert_eq!(choice(999, default()), "sparse");
        assert_eq!(choice(1000, narrow), "sparse");
        assert_eq!(choice(1000, TrainParams { batch_size: 511, ..default() }), "sparse");
        assert_eq!(choice(1000, TrainParams { soft_f1: 0.5, ..default() }), "sparse");
        assert_eq!(choice(1000, TrainParams { sparse_gradient: 0.0, ..default() }), "exact");
        assert_eq!(choice(1000, TrainParams { hidden: vec![], ..default() }), "exact");
    }

    #[test]
    fn what_is_asked_for_is_done() {
        let with = |output| TrainParams { output, batch_size: 1, ..TrainParams::default() };
        assert_eq!(choice(1, with(OutputLayer::Sketch)), "sketch but for 400");
        assert_eq!(choice(1000, with(OutputLayer::Sparse)), "sparse");
        assert_eq!(choice(1000, with(OutputLayer::Exact)), "exact");
    }
}

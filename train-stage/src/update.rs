//! One gradient update: forward, loss, backward, Adam.

use contract::manifest::TrainParams;
use model::mlp::{Dropout, GOLDEN};
use model::{Bags, Mlp, OwnHistory, Workspace};
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, Axis};

use crate::adam::{Moments, Step};
use crate::backward::Gradients;
use crate::examples::ExampleBatch;
use crate::loss::{Objective, Scratch};
use crate::soft_f1::SoftF1;
use crate::sparse::{ByBrand, Entry, brand_sums, select, weighted_sum};

/// Users that a thread takes at a time.
const BLOCK: usize = 16;

/// Step size of the weights of a user's own history, as a multiple of that of the others: they
/// are few, sit on the logits themselves, and have further to go.
const OWN_HISTORY_RATE: f32 = 10.0;

/// Everything an update needs, allocated once.
#[derive(Debug)]
pub struct Updater {
    workspace: Workspace,
    logits: Array2<f32>,
    soft_f1: SoftF1,
    blocks: Vec<Block>,
    by_brand: ByBrand,
    gradients: Gradients,
    rows: Vec<Vec<f32>>,
    /// Of each array of [`Mlp::parameters`]
    pub moments: Vec<Moments>,
    /// Share of a row's largest gradient below which entries are kept at random; 0 for none
    sparse: f32,
}

/// What a block of users leaves for the backward pass.
#[derive(Debug, Default)]
struct Block {
    scratch: Scratch,
    loss: f64,
    /// User `i` of the block has the entries up to `ends[i]`
    entries: Vec<Entry>,
    ends: Vec<usize>,
    /// Gradients at the brands of the users' histories, one after another
    own_history: Vec<f32>,
}

impl Block {
    fn users(&self) -> impl Iterator<Item = &[Entry]> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.entries[start..end])
    }
}

/// What one update is to do.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// Sizes of the step
    pub step: Step,
    /// Units left out
    pub dropout: Dropout,
}

impl Updater {
    /// An updater for a network, whose output weights it lays out as it needs them.
    pub fn new(mlp: &mut Mlp, params: &TrainParams) -> Self {
        // Without a hidden layer the output's gradient is all there is, and bags need it whole.
        let sparse = if mlp.layers.len() > 1 { params.sparse_gradient } else { 0.0 };
        mlp.layers.last_mut().expect("a network has a layer").lay_out(sparse > 0.0);
        Self {
            workspace: Workspace::default(),
            logits: Array2::zeros((0, 0)),
            soft_f1: SoftF1::default(),
            blocks: Vec::new(),
            by_brand: ByBrand::default(),
            gradients: Gradients::of(mlp),
            rows: Vec::new(),
            moments: mlp.parameters().map(|values| Moments::new(values.len())).collect(),
            sparse,
        }
    }

    /// Updates the network by the gradient on a batch; returns the batch's loss before it.
    pub fn update(
        &mut self,
        mlp: &mut Mlp,
        objective: &Objective,
        batch: &ExampleBatch,
        Update { step, dropout }: Update,
    ) -> f64 {
        let shape = (batch.len(), mlp.n_brands());
        if self.logits.dim() != shape {
            self.logits = Array2::zeros(shape);
        }
        let logits = self.logits.view_mut();
        mlp.forward(&batch.inputs, &mut self.workspace, logits, Some(dropout));
        let loss = self.losses(mlp, objective, batch, dropout.seed);
        if self.sparse > 0.0 {
            self.output_layer(mlp, step);
            self.gradients.compute_below(mlp, &batch.inputs, &self.workspace, dropout.rate);
        } else {
            let logits = self.logits.view();
            self.gradients.compute(mlp, &batch.inputs, &self.workspace, logits, dropout.rate);
        }
        if let (Some(own), Some(gradient)) = (&mlp.own_history, &mut self.gradients.own_history) {
            let cells = self.blocks.iter().flat_map(|block| &block.own_history);
            own_history_gradient(own, &batch.inputs.bags[own.bag], cells, gradient);
        }

        let output_weights = mlp.bags.len() + 2 * (mlp.layers.len() - 1);
        let n_network = output_weights + 2;
        let arrays = mlp.parameters_mut().zip(self.gradients.flat()).zip(&mut self.moments);
        for (i, ((parameter, gradient), moments)) in arrays.enumerate() {
            if i == output_weights && self.sparse > 0.0 {
                continue; // updated with its gradient
            }
            let rate = if i < n_network { 1.0 } else { OWN_HISTORY_RATE };
            let learning_rate = step.learning_rate * rate;
            // Decay is per unit of step size: as much of it as elsewhere.
            let weight_decay = if parameter.decays { step.weight_decay / rate } else { 0.0 };
            let step = Step { learning_rate, weight_decay, ..step };
            moments.update(parameter.values, gradient, step);
        }
        loss
    }

    /// Replaces logits by their gradients, block by block; keeps what the backward pass needs.
    fn losses(&mut self, mlp: &Mlp, objective: &Objective, batch: &ExampleBatch, seed: u64) -> f64 {
        let n_users = batch.len();
        let labels = |i: usize| batch.labels(i);
        let term = self.soft_f1.prepare(objective.soft_f1, self.logits.view(), &labels, n_users);
        self.blocks.resize_with(n_users.div_ceil(BLOCK), Block::default);
        let history = mlp.own_history.as_ref().map(|own| &batch.inputs.bags[own.bag]);
        let (soft_f1, sparse, n_brands) = (&self.soft_f1, self.sparse, mlp.n_brands());
        self.logits
            .axis_chunks_iter_mut(Axis(0), BLOCK)
            .into_par_iter()
            .zip(&mut self.blocks)
            .enumerate()
            .for_each(|(i, (mut rows, block))| {
                block.loss = 0.0;
                block.entries.clear();
                block.ends.clear();
                block.own_history.clear();
                for (j, row) in rows.rows_mut().into_iter().enumerate() {
                    let user = i * BLOCK + j;
                    let row = row.into_slice().expect("rows of the logits are contiguous");
                    let labels = batch.labels(user);
                    block.loss += objective.row(row, labels, n_users, soft_f1, &mut block.scratch);
                    if let Some(history) = history {
                        let brands = history.of(user).map(|(brand, _)| brand as usize);
                        let cells = brands.map(|b| if b < n_brands { row[b] } else { 0.0 });
                        block.own_history.extend(cells);
                    }
                    if sparse > 0.0 {
                        let seed = seed.wrapping_add((user as u64).wrapping_mul(GOLDEN));
                        select(row, sparse, seed, &mut block.entries);
                        block.ends.push(block.entries.len());
                    }
                }
            });
        term + self.blocks.iter().map(|block| block.loss).sum::<f64>()
    }

    /// The output layer by its sparse gradient: what it hands down, then its own update.
    fn output_layer(&mut self, mlp: &mut Mlp, step: Step) {
        self.gradients.resize(&self.workspace);
        let last = mlp.layers.len() - 1;
        let hidden = &self.workspace.hidden[last - 1];
        let below = &mut self.gradients.hidden[last - 1];
        let layer = &mut mlp.layers[last];
        let n_brands = layer.bias.len();
        let width = hidden.ncols();
        let weights = layer.weights.as_slice_memory_order_mut().expect("contiguous");
        below.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().zip(&self.blocks).for_each(
            |(mut below, block)| {
                for (row, entries) in below.rows_mut().into_iter().zip(block.users()) {
                    let row = row.into_slice().expect("a fresh array is contiguous");
                    weighted_sum(entries, weights, row);
                }
            },
        );
        self.by_brand.fill(n_brands, self.blocks.iter().flat_map(Block::users));
        let bias = self.gradients.biases[last].as_slice_mut().expect("contiguous");
        brand_sums(&self.by_brand, bias);
        let hidden = hidden.as_slice().expect("a fresh array is contiguous");
        let by_brand = &self.by_brand;
        let moments = &mut self.moments[mlp.bags.len() + 2 * last];
        moments.update_rows(weights, width, step, &mut self.rows, |brand, gradient| {
            weighted_sum(by_brand.of(brand), hidden, gradient);
        });
    }
}

/// * `cells`: gradient of the loss at each logit of the users' histories, in order of `bags`.
/// * `gradient`: as the weights; overwritten.
fn own_history_gradient<'a>(
    own: &OwnHistory,
    bags: &Bags,
    cells: impl Iterator<Item = &'a f32>,
    (own_gradient, common): &mut (Array2<f32>, Array1<f32>),
) {
    own_gradient.fill(0.0);
    common.fill(0.0);
    for ((&brand, &weight), &cell) in bags.ids.iter().zip(&bags.weights).zip(cells) {
        if (brand as usize) < own.n_brands() && cell != 0.0 {
            let terms = own.terms(weight);
            let of_brand = own_gradient.row_mut(brand as usize);
            of_brand.into_iter().zip(&terms).for_each(|(g, term)| *g += cell * term);
            common.iter_mut().zip(&terms).for_each(|(g, term)| *g += cell * term);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::features::{Feature, FeatureKind};
    use contract::manifest::{IdSpace, Loss};
    use model::Batch;
    use model::mlp::Layer;
    use ndarray::array;

    use crate::backward::tests::spread;
    use crate::loss::Labels;

    const N_BRANDS: usize = 20;

    fn network() -> Mlp {
        let layer = |n_in: usize, n_out: usize, from: usize| Layer {
            weights: spread(n_in, n_out, from),
            bias: spread(1, n_out, from + 1000).row(0).to_owned(),
        };
        let kind = FeatureKind::Sparse { is_weighted: true, ids: IdSpace::Brands };
        Mlp {
            features: vec![
                Feature { name: "dense".into(), kind: FeatureKind::Dense { dim: 3 } },
                Feature { name: "past".into(), kind },
            ],
            offsets: array![0.0, 0.0, 0.0],
            scales: array![1.0, 1.0, 1.0],
            bags: vec![spread(N_BRANDS, 5, 100)],
            layers: vec![layer(3, 5, 200), layer(5, N_BRANDS, 400)],
            own_history: Some(OwnHistory {
                bag: 0,
                knots: [0.5, 1.0],
                own: spread(N_BRANDS, 2, 600),
                common: array![0.5, -0.25, 0.75, 0.5],
            }),
        }
    }

    /// 18 users, more than a block; one brand of a history is unknown.
    fn batch() -> ExampleBatch {
        let mut batch = ExampleBatch::default();
        let mut bags = Bags { offsets: vec![0], ids: Vec::new(), weights: Vec::new() };
        for user in 0..18_u32 {
            bags.ids.extend([user % 20, (7 * user + 3) % 20, 99]);
            bags.weights.extend([1.0, (user + 1) as f32, 2.0]);
            bags.offsets.push(bags.ids.len());
            let labels = [user % 20, 19];
            batch.push_labels(Labels { brands: &labels, ignored: &[], weight: 1.0 });
        }
        batch.inputs = Batch { dense: spread(18, 3, 500), bags: vec![bags] };
        batch
    }

    /// One update of the network at a step size; returns the loss before it.
    fn update(mlp: &mut Mlp, learning_rate: f32, sparse_gradient: f32) -> (f64, Updater) {
        let params = TrainParams { loss: Loss::Bce {}, sparse_gradient, ..TrainParams::default() };
        let objective = Objective::new(&params, &[9; N_BRANDS], 18);
        let mut updater = Updater::new(mlp, &params);
        let step = Step { learning_rate, weight_decay: 0.1, update: 1 };
        let dropout = Dropout { rate: 0.0, seed: 3 };
        let loss = updater.update(mlp, &objective, &batch(), Update { step, dropout });
        (loss, updater)
    }

    /// The values of every array, by rows.
    fn values(mlp: &Mlp) -> Vec<f32> {
        let mut mlp = mlp.clone();
        mlp.layers.iter_mut().for_each(|layer| layer.lay_out(false));
        mlp.parameters().flatten().copied().collect()
    }

    /// With a limit of a billionth of the largest entry all are kept, as they are.
    #[test]
    fn an_update_with_every_entry_is_that_of_the_dense_gradient() {
        let (mut dense, mut sparse) = (network(), network());
        let (dense_loss, _) = update(&mut dense, 0.05, 0.0);
        let (sparse_loss, updater) = update(&mut sparse, 0.05, 1e-9);
        let n_entries: usize = (0..N_BRANDS).map(|brand| updater.by_brand.of(brand).len()).sum();
        assert_eq!(n_entries, 18 * N_BRANDS);
        assert_eq!(dense_loss, sparse_loss);
        assert_ne!(values(&dense), values(&network()));
        for (a, b) in values(&dense).into_iter().zip(values(&sparse)) {
            assert!((a - b).abs() < 1e-5, "{a} and {b}");
        }
    }

    /// Central differences of the loss, of the own weights of three brands and the common ones.
    #[test]
    fn gradients_of_the_own_history_are_slopes_of_the_loss() {
        const H: f32 = 1.0 / 64.0;
        for sparse in [0.0, 0.2] {
            let (_, updater) = update(&mut network(), 0.0, sparse);
            let (own, common) = updater.gradients.own_history.unwrap();
            let slope = |place: &dyn Fn(&mut OwnHistory) -> &mut f32| {
                let at = |shift: f32| {
                    let mut mlp = network();
                    *place(mlp.own_history.as_mut().unwrap()) += shift;
                    update(&mut mlp, 0.0, sparse).0
                };
                (at(H) - at(-H)) / f64::from(2.0 * H)
            };
            let check = |found: f32, expected: f64| {
                assert!((f64::from(found) - expected).abs() < 1e-3, "{found} for {expected}");
            };
            for (brand, t) in [(0, 0), (3, 1), (19, 0)] {
                check(own[[brand, t]], slope(&|own| &mut own.own[[brand, t]]));
            }
            for t in 0..4 {
                check(common[t], slope(&|own| &mut own.common[t]));
            }
        }
    }
}

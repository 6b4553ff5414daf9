//! One gradient update: forward, loss, backward, Adam.

use contract::manifest::TrainParams;
use contract::splitmix::GOLDEN;
use model::mlp::Dropout;
use model::{Bags, Channel, Mlp, Workspace};
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, Axis, Zip, s};

use crate::adam::{Moments, Step};
use crate::backward::Gradients;
use crate::examples::ExampleBatch;
use crate::loss::{Objective, Scratch};
use crate::negative_sampling::NegativeSampling;
use crate::soft_f1::SoftF1;
use crate::sparse::{ByBrand, Entry, brand_sums, select, weighted_sum};

/// Users that a thread takes at a time.
const BLOCK: usize = 16;

/// Step size of the weights of a user's own history, as a multiple of the others'. They are few,
/// act on the logits directly, and have further to go.
const OWN_HISTORY_RATE: f32 = 10.0;

/// The buffers and moments of an update, allocated once.
#[derive(Debug)]
pub struct Updater {
    workspace: Workspace,
    logits: Array2<f32>,
    soft_f1: SoftF1,
    blocks: Vec<Block>,
    by_brand: ByBrand,
    gradients: Gradients,
    rows: Vec<Vec<f32>>,
    /// One for each array of [`Mlp::parameters`]
    pub moments: Vec<Moments>,
    /// Entries below this share of a row's largest gradient are kept at random; 0 keeps all
    sparse: f32,
}

/// Results of a block of users, for the backward pass.
#[derive(Debug, Default)]
struct Block {
    scratch: Scratch,
    loss: f64,
    /// Gradients of the logits that were kept, user after user
    entries: Vec<Entry>,
    /// End of each user's entries
    ends: Vec<usize>,
    /// For each channel, gradients of the logits of the brands in the users' histories, user after
    /// user
    own_history: Vec<Vec<f32>>,
}

impl Block {
    fn users(&self) -> impl Iterator<Item = &[Entry]> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.entries[start..end])
    }
}

/// Settings of one update.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// Learning rate, decay and number of the update
    pub step: Step,
    /// Rate, and a seed that differs between updates
    pub dropout: Dropout,
}

/// The logits of a batch that are computed: all of the first `n_whole` users; of the others those of
/// the brands below `first_rare`, and of labels.
#[derive(Debug, Clone, Copy)]
struct Part {
    n_whole: usize,
    first_rare: usize,
}

impl Updater {
    /// Also changes the memory layout of the network's output weights to the one it needs.
    pub fn new(mlp: &mut Mlp, params: &TrainParams) -> Self {
        // Without a hidden layer the bags need the whole gradient of the logits.
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

    /// Updates the network by the gradient on a batch; returns the loss before the update.
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
        let sampling = objective.sampling.as_ref();
        let n_whole = |sampling: &NegativeSampling| sampling.n_whole(batch.len(), dropout.seed);
        let part = Part {
            n_whole: sampling.map_or(batch.len(), n_whole),
            first_rare: sampling.map_or(mlp.n_brands(), |sampling| sampling.first_rare),
        };
        self.forward(mlp, batch, part, dropout);
        let loss = self.losses(mlp, objective, batch, part, dropout.seed);
        if self.sparse > 0.0 {
            self.output_layer(mlp, step);
            self.gradients.compute_below(mlp, &batch.inputs, &self.workspace, dropout.rate);
        } else {
            let logits = self.logits.view();
            self.gradients.compute(mlp, &batch.inputs, &self.workspace, logits, dropout.rate);
        }
        let channels = mlp.own_history.iter().zip(&mut self.gradients.own_history).enumerate();
        channels.for_each(|(i, (channel, gradient))| {
            let cells = self.blocks.iter().flat_map(|block| &block.own_history[i]);
            channel_gradient(channel, &batch.inputs.bags[channel.bag], cells, gradient);
        });

        let output_weights = mlp.bags.len() + 2 * (mlp.layers.len() - 1);
        let n_network = output_weights + 2;
        let arrays = mlp.parameters_mut().zip(self.gradients.flat()).zip(&mut self.moments);
        for (i, ((parameter, gradient), moments)) in arrays.enumerate() {
            if i == output_weights && self.sparse > 0.0 {
                continue; // already updated by `output_layer`
            }
            let rate = if i < n_network { 1.0 } else { OWN_HISTORY_RATE };
            let learning_rate = step.learning_rate * rate;
            // Decay is per unit of step size: this makes it as much as elsewhere.
            let weight_decay = if parameter.decays { step.weight_decay / rate } else { 0.0 };
            let step = Step { learning_rate, weight_decay, ..step };
            moments.update(parameter.values, gradient, step);
        }
        loss
    }

    /// Computes the logits of a part. The other cells keep stale values, which nothing reads.
    fn forward(
        &mut self,
        mlp: &Mlp,
        batch: &ExampleBatch,
        Part { n_whole, first_rare }: Part,
        dropout: Dropout,
    ) {
        if n_whole == batch.len() {
            let logits = self.logits.view_mut();
            return mlp.forward(&batch.inputs, &mut self.workspace, logits, Some(dropout));
        }
        mlp.forward_hidden(&batch.inputs, &mut self.workspace, Some(dropout));
        let hidden = self.workspace.hidden.last().expect("sparse gradients have a hidden layer");
        let (whole, mut part) = self.logits.view_mut().split_at(Axis(0), n_whole);
        let (hidden_of_whole, hidden) = hidden.view().split_at(Axis(0), n_whole);
        mlp.first_logits(hidden_of_whole, whole);
        mlp.first_logits(hidden, part.slice_mut(s![.., ..first_rare]));
        let output = mlp.layers.last().expect("a network has a layer");
        Zip::indexed(part.rows_mut()).and(hidden.rows()).par_for_each(|i, mut row, hidden| {
            for &brand in batch.labels(n_whole + i).split_at(first_rare).1.brands {
                let brand = brand as usize;
                row[brand] = output.bias[brand] + hidden.dot(&output.weights.column(brand));
            }
        });
        mlp.add_own_history(&batch.inputs, self.logits.view_mut());
    }

    /// Replaces logits by their gradients and fills the blocks; returns the loss.
    fn losses(
        &mut self,
        mlp: &Mlp,
        objective: &Objective,
        batch: &ExampleBatch,
        Part { n_whole, first_rare }: Part,
        seed: u64,
    ) -> f64 {
        let n_users = batch.len();
        let labels = |i: usize| batch.labels(i);
        let term = self.soft_f1.prepare(objective.soft_f1, self.logits.view(), &labels, n_users);
        self.blocks.resize_with(n_users.div_ceil(BLOCK), Block::default);
        let channels = &mlp.own_history;
        let histories: Vec<&Bags> = channels.iter().map(|c| &batch.inputs.bags[c.bag]).collect();
        let (soft_f1, sparse, n_brands) = (&self.soft_f1, self.sparse, mlp.n_brands());
        let [of_whole, of_part] = objective.negatives();
        self.logits
            .axis_chunks_iter_mut(Axis(0), BLOCK)
            .into_par_iter()
            .zip(&mut self.blocks)
            .enumerate()
            .for_each(|(i, (mut rows, block))| {
                block.loss = 0.0;
                block.entries.clear();
                block.ends.clear();
                block.own_history.resize_with(histories.len(), Vec::new);
                block.own_history.iter_mut().for_each(Vec::clear);
                for (j, row) in rows.rows_mut().into_iter().enumerate() {
                    let user = i * BLOCK + j;
                    let row = row.into_slice().expect("rows of the logits are contiguous");
                    let labels = batch.labels(user);
                    let n_known = if user < n_whole { n_brands } else { first_rare };
                    let (known, rare) = labels.split_at(n_known);
                    let (cells, scratch) = (&mut row[..n_known], &mut block.scratch);
                    let negatives = if user < n_whole { of_whole } else { of_part };
                    block.loss += objective.row(negatives, cells, known, n_users, soft_f1, scratch);
                    block.loss += objective.positives(row, rare, n_users);
                    for (history, of_channel) in histories.iter().zip(&mut block.own_history) {
                        let is_known =
                            |brand| brand < n_known || rare.counted().any(|label| label == brand);
                        let brands = history.of(user).map(|(brand, _)| brand as usize);
                        let cells =
                            brands.map(|b| if b < n_brands && is_known(b) { row[b] } else { 0.0 });
                        of_channel.extend(cells);
                    }
                    if sparse > 0.0 {
                        let seed = seed.wrapping_add((user as u64).wrapping_mul(GOLDEN));
                        let of_label = |b| Entry { index: b as u32, value: row[b] };
                        block.entries.extend(rare.counted().map(of_label));
                        select(&row[..n_known], sparse, seed, &mut block.entries);
                        block.ends.push(block.entries.len());
                    }
                }
            });
        term + self.blocks.iter().map(|block| block.loss).sum::<f64>()
    }

    /// The sparse backward pass of the output layer: first the gradient of its input, then the
    /// update of its weights.
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
fn channel_gradient<'a>(
    channel: &Channel,
    bags: &Bags,
    cells: impl Iterator<Item = &'a f32>,
    (own_gradient, common): &mut (Array2<f32>, Array1<f32>),
) {
    own_gradient.fill(0.0);
    common.fill(0.0);
    for ((&brand, &weight), &cell) in bags.ids.iter().zip(&bags.weights).zip(cells) {
        if (brand as usize) < channel.n_brands() && cell != 0.0 {
            let of_brand = own_gradient.row_mut(brand as usize);
            of_brand.into_iter().zip(channel.terms(weight)).for_each(|(g, term)| *g += cell * term);
            common.iter_mut().zip(channel.terms(weight)).for_each(|(g, term)| *g += cell * term);
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
    use crate::batches::Batches;
    use crate::examples::{ArrayExamples, Chained, Examples as _};
    use crate::labels::Labels;

    const N_BRANDS: usize = 20;

    fn network() -> Mlp {
        let layer = |n_in: usize, n_out: usize, from: usize| Layer {
            weights: spread(n_in, n_out, from),
            bias: spread(1, n_out, from + 1000).row(0).to_owned(),
        };
        let kind = FeatureKind::Sparse { is_weighted: true, ids: IdSpace::Brands };
        Mlp {
            features: vec![
                Feature::new("dense", FeatureKind::Dense { dim: 3 }),
                Feature::new("past", kind),
                Feature::new("since", kind),
            ],
            offsets: array![0.0, 0.0, 0.0],
            scales: array![1.0, 1.0, 1.0],
            ids: Vec::new(),
            log_bags: Vec::new(),
            bags: vec![spread(N_BRANDS, 5, 100), spread(N_BRANDS, 5, 150)],
            layers: vec![layer(3, 5, 200), layer(5, N_BRANDS, 400)],
            own_history: vec![
                Channel {
                    bag: 0,
                    knots: vec![0.5, 1.0],
                    own: spread(N_BRANDS, 2, 600),
                    common: array![0.5, -0.25, 0.75, 0.5],
                },
                Channel {
                    bag: 1,
                    knots: vec![0.25, 0.75],
                    own: spread(N_BRANDS, 1, 700),
                    common: array![0.25, 0.5, -0.5],
                },
            ],
        }
    }

    /// 18 users, which is more than a block; each history has a brand that the network does not know.
    fn batch() -> ExampleBatch {
        batch_from(0)
    }

    /// The same users in a cycle, starting with user `first`.
    fn batch_from(first: u32) -> ExampleBatch {
        let mut batch = ExampleBatch::default();
        let mut bags = Bags { offsets: vec![0], ids: Vec::new(), weights: Vec::new() };
        let mut since = bags.clone();
        let users = (0..18).map(|i| (first + i) % 18);
        for user in users.clone() {
            bags.ids.extend([user % 20, (7 * user + 3) % 20, 99]);
            bags.weights.extend([1.0, (user + 1) as f32, 2.0]);
            bags.offsets.push(bags.ids.len());
            since.ids.extend([(7 * user + 3) % 20]);
            since.weights.push((user % 5) as f32);
            since.offsets.push(since.ids.len());
            let labels = [user % 20, 19];
            batch.push_labels(Labels { brands: &labels, ignored: &[], weight: 1.0 });
        }
        let users: Vec<usize> = users.map(|user| user as usize).collect();
        let dense = spread(18, 3, 500).select(Axis(0), &users);
        batch.inputs = Batch { dense, bags: vec![bags, since] };
        batch
    }

    /// One update of the network; returns the loss before it.
    fn update(mlp: &mut Mlp, learning_rate: f32, sparse_gradient: f32) -> (f64, Updater) {
        let params = TrainParams { loss: Loss::Bce {}, sparse_gradient, ..TrainParams::default() };
        update_on(&batch(), mlp, learning_rate, &params)
    }

    /// The last ten brands are rare.
    fn update_on(
        batch: &ExampleBatch,
        mlp: &mut Mlp,
        learning_rate: f32,
        params: &TrainParams,
    ) -> (f64, Updater) {
        let volumes: Vec<u64> = (0..N_BRANDS).map(|brand| if brand < 10 { 9 } else { 0 }).collect();
        let objective = Objective::new(params, &volumes, 18);
        let mut updater = Updater::new(mlp, params);
        let step = Step { learning_rate, weight_decay: 0.1, update: 1 };
        let dropout = Dropout { rate: 0.0, seed: 3 };
        let loss = updater.update(mlp, &objective, batch, Update { step, dropout });
        (loss, updater)
    }

    /// The values of every array, by rows.
    fn values(mlp: &Mlp) -> Vec<f32> {
        let mut mlp = mlp.clone();
        mlp.layers.iter_mut().for_each(|layer| layer.lay_out(false));
        mlp.parameters().flatten().copied().collect()
    }

    /// With a limit of a billionth of the largest entry all entries are kept unchanged.
    #[test]
    fn a_sparse_update_with_every_entry_is_the_dense_update() {
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

    /// A third of 18 users see all negatives, so each does in 6 of the 18 cycles of the batch. The mean
    /// over all cycles is the whole gradient and the whole loss.
    #[test]
    fn sampled_negatives_are_right_on_average() {
        let gradients = |first: u32, negative_sampling: f32| {
            let loss = Loss::Bce {};
            let params = TrainParams {
                loss,
                sparse_gradient: 1e-9,
                negative_sampling,
                ..TrainParams::default()
            };
            let batch = batch_from(first);
            let (loss, updater) = update_on(&batch, &mut network(), 0.0, &params);
            let below = updater.gradients.hidden[0].sum();
            let own = updater.gradients.own_history.iter().flat_map(|(own, _)| own);
            let n_entries: usize =
                (0..N_BRANDS).map(|brand| updater.by_brand.of(brand).len()).sum();
            let biases = updater.gradients.biases[1].iter().chain(own).copied();
            (std::iter::once(loss as f32).chain([below]).chain(biases).collect(), n_entries)
        };
        let (whole, n_entries): (Vec<f32>, usize) = gradients(0, 1.0);
        assert_eq!(n_entries, 18 * 20);
        let mut mean = vec![0.0; whole.len()];
        for first in 0..18 {
            let (sampled, n_entries) = gradients(first, 1.0 / 3.0);
            // 6 users have all brands; 12 have the first ten, the last, and some one more rare label.
            assert!((6 * 20 + 12 * 11..=6 * 20 + 12 * 12).contains(&n_entries), "{n_entries}");
            mean.iter_mut().zip(&sampled).for_each(|(mean, value)| *mean += value / 18.0);
        }
        for (i, (a, b)) in mean.into_iter().zip(whole).enumerate() {
            assert!((a - b).abs() < 1e-4, "{i}: {a} for {b}");
        }
    }

    /// Two kinds of users, as in a refit: those of the second have other features and all the rare
    /// labels. All are in one batch, so the whole gradient is the same for every seed. A user's share
    /// in the sampled gradient has a relative deviation of about 1.4, which over 2,000 seeds is 0.03,
    /// and less over the users of a brand.
    #[test]
    fn sampled_negatives_are_right_on_average_for_two_kinds_of_users() {
        let users = |n: usize, x: f32, label: usize| {
            let records = Array2::from_shape_fn((n, 3), |(i, j)| x + (i * j) as f32 / 50.0);
            let targets =
                Array2::from_shape_fn((n, N_BRANDS), |(i, j)| f32::from(j == label + i % 10));
            (records, targets)
        };
        let (train, valid) = (users(12, 1.0, 0), users(6, -1.0, 10));
        let train = ArrayExamples::new(train.0.view(), train.1.view()).unwrap();
        let valid = ArrayExamples::new(valid.0.view(), valid.1.view()).unwrap();
        let both = Chained { first: &train, second: &valid };
        let rare_biases = |negative_sampling: f32, seed: u64| {
            let params = TrainParams {
                loss: Loss::Bce {},
                sparse_gradient: 1e-9,
                negative_sampling,
                ..TrainParams::default()
            };
            let batch = std::thread::scope(|scope| {
                Batches::start(scope, &both, both.len(), seed, 0).unwrap().next()
            });
            let mut mlp = Mlp { bags: Vec::new(), own_history: Vec::new(), ..network() };
            mlp.features.truncate(1);
            let (_, updater) = update_on(&batch, &mut mlp, 0.0, &params);
            updater.gradients.biases[1].slice(s![10..]).to_owned()
        };
        let whole = rare_biases(1.0, 0);
        let mut mean = Array1::<f32>::zeros(10);
        for seed in 0..2000 {
            mean += &rare_biases(1.0 / 3.0, seed);
        }
        mean /= 2000.0;
        let gap = (&mean - &whole).mapv(f32::abs).sum() / whole.mapv(f32::abs).sum();
        assert!(gap < 0.02, "{mean} for {whole}");
    }

    /// The gradient is dense then, and reads every cell.
    #[test]
    fn without_a_hidden_layer_all_negatives_are_computed() {
        let after = |negative_sampling: f32| {
            let mut mlp = network();
            mlp.layers.remove(0);
            mlp.layers[0].weights = spread(3, N_BRANDS, 400);
            mlp.bags = vec![spread(N_BRANDS, N_BRANDS, 100), spread(N_BRANDS, N_BRANDS, 150)];
            let params = TrainParams {
                loss: Loss::Bce {},
                hidden: vec![],
                negative_sampling,
                ..TrainParams::default()
            };
            let (loss, _) = update_on(&batch(), &mut mlp, 0.05, &params);
            (loss, values(&mlp))
        };
        assert_eq!(after(0.25), after(1.0));
    }

    /// Compares the gradients of three brands' own weights and of the common weights with central
    /// differences.
    #[test]
    fn gradients_of_the_own_history_are_slopes_of_the_loss() {
        const H: f32 = 1.0 / 64.0;
        for (sparse_gradient, negative_sampling) in [(0.0, 1.0), (0.2, 1.0), (0.2, 0.5)] {
            let params = TrainParams {
                loss: Loss::Bce {},
                sparse_gradient,
                negative_sampling,
                ..TrainParams::default()
            };
            let run = |mlp: &mut Mlp| update_on(&batch(), mlp, 0.0, &params);
            let (_, updater) = run(&mut network());
            let slope = |i: usize, place: &dyn Fn(&mut Channel) -> &mut f32| {
                let at = |shift: f32| {
                    let mut mlp = network();
                    *place(&mut mlp.own_history[i]) += shift;
                    run(&mut mlp).0
                };
                (at(H) - at(-H)) / f64::from(2.0 * H)
            };
            let check = |found: f32, expected: f64| {
                assert!((f64::from(found) - expected).abs() < 1e-3, "{found} for {expected}");
            };
            for (i, (own, common)) in updater.gradients.own_history.iter().enumerate() {
                for (brand, t) in [(0, 0), (3, own.ncols() - 1), (19, 0)] {
                    check(own[[brand, t]], slope(i, &|channel| &mut channel.own[[brand, t]]));
                }
                for t in 0..common.len() {
                    check(common[t], slope(i, &|channel| &mut channel.common[t]));
                }
            }
        }
    }
}

//! One gradient update: forward, loss, backward, Adam.

use contract::manifest::TrainParams;
use model::mlp::Dropout;
use model::{Bags, Channel, Mlp, Workspace};
use ndarray::{Array1, Array2};

use crate::adam::{Moments, Step};
use crate::backward::Gradients;
use crate::examples::ExampleBatch;
use crate::loss::Objective;
use crate::output::Output;

/// Step size of the weights of a user's own history, as a multiple of the others'. They are few,
/// act on the logits directly, and have further to go.
const OWN_HISTORY_RATE: f32 = 10.0;

/// The buffers and moments of an update, allocated once.
#[derive(Debug)]
pub struct Updater {
    workspace: Workspace,
    output: Output,
    gradients: Gradients,
    /// One for each array of [`Mlp::parameters`]
    pub moments: Vec<Moments>,
}

/// Settings of one update.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// Learning rate, decay and number of the update
    pub step: Step,
    /// Rate, and a seed that differs between updates
    pub dropout: Dropout,
}

impl Updater {
    /// Also changes the memory layout of the network's output weights to the one it needs.
    ///
    /// * `volumes`: `(n_brands,)`, training users that have each brand, of `n_users`.
    pub fn new(mlp: &mut Mlp, params: &TrainParams, volumes: &[u64], n_users: u64) -> Self {
        let output = Output::new(params, volumes, n_users);
        mlp.layers.last_mut().expect("a network has a layer").lay_out(output.is_by_brand());
        Self {
            workspace: Workspace::default(),
            output,
            gradients: Gradients::of(mlp),
            moments: mlp.parameters().map(|values| Moments::new(values.len())).collect(),
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
        let Self { workspace, output, gradients, moments } = self;
        mlp.forward_hidden(&batch.inputs, workspace, Some(dropout));
        let loss = output.losses(mlp, objective, batch, workspace, dropout.seed);
        let output_weights = mlp.bags.len() + 2 * (mlp.layers.len() - 1);
        let of_output = &mut moments[output_weights];
        gradients.resize(workspace);
        output.backward(mlp, &batch.inputs, workspace, gradients, of_output, step);
        gradients.compute_below(mlp, &batch.inputs, workspace, dropout.rate);
        let channels = mlp.own_history.iter().zip(&mut gradients.own_history).enumerate();
        channels.for_each(|(i, (channel, gradient))| {
            let cells = output.own_history(i);
            channel_gradient(channel, &batch.inputs.bags[channel.bag], cells, gradient);
        });

        let n_network = output_weights + 2;
        let arrays = mlp.parameters_mut().zip(gradients.flat()).zip(moments);
        for (i, ((parameter, gradient), moments)) in arrays.enumerate() {
            if i == output_weights && output.is_by_brand() {
                continue; // already updated, brand by brand
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
    use contract::manifest::{BrandWeights, IdSpace, Loss, OutputLayer, WeightedCells};
    use model::Batch;
    use model::mlp::Layer;
    use ndarray::array;

    use crate::backward::tests::spread;
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

    /// Training users that have each brand: the last ten are rare.
    const VOLUMES: [u64; N_BRANDS] = [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// The network in the memory layout that an updater needs.
    fn network_for(updater: &Updater) -> Mlp {
        let mut mlp = network();
        mlp.layers[1].lay_out(updater.output.is_by_brand());
        mlp
    }

    /// 18 users, which is more than a block. Each history has a brand that the network does not know,
    /// and one user ignores a brand of its history and a label.
    fn batch() -> ExampleBatch {
        let mut batch = ExampleBatch::default();
        let mut bags = Bags { offsets: vec![0], ids: Vec::new(), weights: Vec::new() };
        let mut since = bags.clone();
        for user in 0..18 {
            bags.ids.extend([user % 20, (7 * user + 3) % 20, 99]);
            bags.weights.extend([1.0, (user + 1) as f32, 2.0]);
            bags.offsets.push(bags.ids.len());
            since.ids.extend([(7 * user + 3) % 20]);
            since.weights.push((user % 5) as f32);
            since.offsets.push(since.ids.len());
            let ignored: &[u32] = if user == 12 { &[1, 7, 11, 12] } else { &[] };
            let weight = 1.0 + (user % 3) as f32 / 4.0;
            batch.push_labels(Labels { brands: &[user % 20, 19], ignored, weight });
        }
        batch.inputs = Batch { dense: spread(18, 3, 500), bags: vec![bags, since] };
        batch
    }

    /// One update of the network; returns the loss before it.
    fn update(mlp: &mut Mlp, params: &TrainParams) -> (f64, Updater) {
        let mut updater = Updater::new(mlp, params, &VOLUMES, 18);
        let loss = update_with(&mut updater, mlp, params, 0.05, 3);
        (loss, updater)
    }

    fn update_with(
        updater: &mut Updater,
        mlp: &mut Mlp,
        params: &TrainParams,
        learning_rate: f32,
        seed: u64,
    ) -> f64 {
        let objective = Objective::new(params, &VOLUMES, 18);
        let step = Step { learning_rate, weight_decay: 0.1, update: 1 };
        let dropout = Dropout { rate: 0.0, seed };
        updater.update(mlp, &objective, &batch(), Update { step, dropout })
    }

    /// The values of every array, by rows.
    fn values(mlp: &Mlp) -> Vec<f32> {
        let mut mlp = mlp.clone();
        mlp.layers.iter_mut().for_each(|layer| layer.lay_out(false));
        mlp.parameters().flatten().copied().collect()
    }

    fn bce(output: OutputLayer, sparse_gradient: f32) -> TrainParams {
        TrainParams { loss: Loss::Bce {}, output, sparse_gradient, ..TrainParams::default() }
    }

    /// With a limit of a billionth of the largest gradient all cells are drawn for sure.
    #[test]
    fn an_update_that_leaves_nothing_out_is_the_exact_update() {
        let weights = |on| BrandWeights { power: 0.5, scale: 2.0, on };
        let focal = Loss::Bfce { gamma: 2.0, alpha: Some(0.7) };
        let asl = Loss::Asl { gamma_positive: 1.0, gamma_negative: 3.0, clip: 0.05 };
        let cases = [
            (Loss::Bce {}, None),
            (focal, None),
            (Loss::Bfce { gamma: 1.5, alpha: None }, Some(weights(WeightedCells::Both))),
            (Loss::Mse {}, Some(weights(WeightedCells::Positives))),
            (asl, None),
            (Loss::LogitAdjusted { tau: 1.0 }, Some(weights(WeightedCells::Both))),
        ];
        for (loss, brand_weights) in cases {
            let params = |output| TrainParams { loss, brand_weights, ..bce(output, 1e-9) };
            let mut exact = network();
            let (exact_loss, _) = update(&mut exact, &params(OutputLayer::Exact));
            assert_ne!(values(&exact), values(&network()));
            for output in [OutputLayer::Sparse, OutputLayer::Sketch] {
                let mut mlp = network();
                let (loss_before, _) = update(&mut mlp, &params(output));
                let gap = (loss_before - exact_loss).abs();
                assert!(gap < 1e-5 * exact_loss, "{loss:?} {output:?} {loss_before} {exact_loss}");
                for (a, b) in values(&exact).into_iter().zip(values(&mlp)) {
                    assert!((a - b).abs() < 1e-5, "{loss:?} {output:?}: {a} and {b}");
                }
            }
        }
    }

    /// A sketch of one direction of five is far off. Over 4,000 draws the means have a standard
    /// deviation of a sixtieth of that of one draw.
    #[test]
    fn gradients_by_a_bad_sketch_are_right_on_average() {
        let loss_and_gradients = |updater: &mut Updater, params: &TrainParams, seed: u64| {
            let loss = update_with(updater, &mut network_for(updater), params, 0.0, seed);
            let gradients = &updater.gradients;
            let own = gradients.own_history.iter().flat_map(|(own, _)| own);
            let of_batch = gradients.biases[1].iter().chain(&gradients.hidden[0]).chain(own);
            [loss as f32].into_iter().chain(of_batch.copied()).collect::<Array1<f32>>()
        };
        let params = bce(OutputLayer::Exact, 0.2);
        let mut updater = Updater::new(&mut network(), &params, &VOLUMES, 18);
        let exact = loss_and_gradients(&mut updater, &params, 0);

        let params = bce(OutputLayer::Sketch, 0.2);
        let mut updater = Updater::new(&mut network(), &params, &VOLUMES, 18);
        updater.output = Output::sketched(10, 0.2, 1);
        let mut mean = Array1::<f32>::zeros(exact.len());
        let mut spread = 0.0;
        for seed in 0..4000 {
            let found = loss_and_gradients(&mut updater, &params, seed);
            spread += (&found - &exact).mapv(f32::abs).sum() / 4000.0;
            mean += &(found / 4000.0);
        }
        let scale = exact.mapv(f32::abs).sum();
        assert!(spread > 0.01 * scale, "draws differ: {spread} of {scale}");
        let gap = (&mean - &exact).mapv(f32::abs).sum();
        assert!(gap < 0.05 * spread, "{gap} of {spread}");
    }

    #[test]
    fn a_sketched_update_gives_the_same_bytes_for_any_number_of_threads() {
        let after = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut mlp = network();
            let (loss, _) = pool.install(|| update(&mut mlp, &bce(OutputLayer::Sketch, 0.2)));
            (loss, values(&mlp))
        };
        assert_eq!(after(1), after(3));
    }

    /// The gradient of the logits is dense then.
    #[test]
    fn without_a_hidden_layer_nothing_is_left_out() {
        let after = |output: OutputLayer| {
            let mut mlp = network();
            mlp.layers.remove(0);
            mlp.layers[0].weights = spread(3, N_BRANDS, 400);
            mlp.bags = vec![spread(N_BRANDS, N_BRANDS, 100), spread(N_BRANDS, N_BRANDS, 150)];
            let (loss, _) = update(&mut mlp, &TrainParams { hidden: vec![], ..bce(output, 0.2) });
            (loss, values(&mlp))
        };
        assert_eq!(after(OutputLayer::Sketch), after(OutputLayer::Exact));
        assert_eq!(after(OutputLayer::Sparse), after(OutputLayer::Exact));
    }

    /// Compares the gradients of three brands' own weights and of the common weights with central
    /// differences.
    #[test]
    fn gradients_of_the_own_history_are_slopes_of_the_loss() {
        const H: f32 = 1.0 / 64.0;
        for output in [OutputLayer::Exact, OutputLayer::Sparse] {
            let run = |mlp: &mut Mlp| {
                let params = bce(output, 0.2);
                let mut updater = Updater::new(mlp, &params, &VOLUMES, 18);
                (update_with(&mut updater, mlp, &params, 0.0, 3), updater)
            };
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

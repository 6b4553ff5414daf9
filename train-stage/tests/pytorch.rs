//! Losses, gradients and updates against `reference/reference.json`, which
//! `reference/make_reference.py` makes with PyTorch in float64.

use std::collections::BTreeMap;

use contract::features::{Feature, FeatureKind};
use contract::manifest::{IdSpace, Loss, OutputLayer, TrainParams};
use model::mlp::{Dropout, Layer};
use model::{Bags, Batch, Channel, Mlp};
use ndarray::{Array1, Array2, array, s};
use serde::Deserialize;
use train_stage::adam::Step;
use train_stage::examples::ExampleBatch;
use train_stage::labels::Labels;
use train_stage::loss::Objective;
use train_stage::update::{Update, Updater};

#[derive(Deserialize)]
struct Reference {
    losses: Losses,
    training: Training,
    history: History,
}

#[derive(Deserialize)]
struct History {
    dense: Vec<Vec<f32>>,
    past: Vec<Vec<u32>>,
    /// Of each channel
    weights: Vec<Vec<Vec<f32>>>,
    knots: Vec<Vec<f32>>,
    labels: ListedLabels,
    volumes: Vec<u64>,
    n_users: u64,
    initial: HistoryParameters,
    learning_rate: f32,
    weight_decay: f32,
    losses: Vec<f64>,
    after: BTreeMap<u64, HistoryParameters>,
}

#[derive(Deserialize)]
struct HistoryParameters {
    #[serde(flatten)]
    network: Parameters,
    own_0: Vec<Vec<f64>>,
    common_0: Vec<f64>,
    own_1: Vec<Vec<f64>>,
    common_1: Vec<f64>,
}

#[derive(Deserialize)]
struct Losses {
    logits: Vec<Vec<f32>>,
    labels: ListedLabels,
    volumes: Vec<u64>,
    n_users: u64,
    cases: Vec<LossCase>,
}

#[derive(Deserialize)]
struct LossCase {
    params: TrainParams,
    value: f64,
    gradient: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct ListedLabels {
    brands: Vec<Vec<u32>>,
    ignored: Vec<Vec<u32>>,
    weights: Vec<f32>,
}

#[derive(Deserialize)]
struct Training {
    dense: Vec<Vec<f32>>,
    ids: Vec<Vec<u32>>,
    id_weights: Vec<Vec<f32>>,
    labels: ListedLabels,
    volumes: Vec<u64>,
    n_users: u64,
    initial: Parameters,
    learning_rate: f32,
    weight_decay: f32,
    cases: Vec<TrainingCase>,
}

#[derive(Deserialize)]
struct TrainingCase {
    params: TrainParams,
    /// Before each update
    losses: Vec<f64>,
    /// By number of updates
    after: BTreeMap<u64, Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    bag: Vec<Vec<f64>>,
    weights_1: Vec<Vec<f64>>,
    bias_1: Vec<f64>,
    weights_2: Vec<Vec<f64>>,
    bias_2: Vec<f64>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../reference/reference.json")).unwrap()
}

impl ListedLabels {
    fn views(&self) -> Vec<Labels<'_>> {
        let lists = self.brands.iter().zip(&self.ignored).zip(&self.weights);
        lists.map(|((brands, ignored), &weight)| Labels { brands, ignored, weight }).collect()
    }
}

impl Parameters {
    /// As a network that leaves its inputs as they are.
    fn network(&self) -> Mlp {
        let n_dense = self.weights_1.len();
        let ids = FeatureKind::Sparse { is_weighted: true, ids: IdSpace::Own };
        let weights = |rows: &[Vec<f64>]| matrix(rows).mapv(|value| value as f32);
        let vector =
            |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Array1<_>>();
        Mlp {
            features: vec![
                Feature::new("dense", FeatureKind::Dense { dim: n_dense }),
                Feature::new("ids", ids),
            ],
            offsets: Array1::zeros(n_dense),
            scales: Array1::ones(n_dense),
            ids: Vec::new(),
            log_bags: Vec::new(),
            bags: vec![weights(&self.bag)],
            layers: vec![
                Layer { weights: weights(&self.weights_1), bias: vector(&self.bias_1) },
                Layer { weights: weights(&self.weights_2), bias: vector(&self.bias_2) },
            ],
            own_history: Vec::new(),
        }
    }
}

impl HistoryParameters {
    /// As a network whose layer reads the first of two channels.
    fn network(&self, knots: &[Vec<f32>]) -> Mlp {
        let mut mlp = self.network.network();
        let kind = FeatureKind::Sparse { is_weighted: true, ids: IdSpace::Brands };
        mlp.features.truncate(1);
        let lists = ["past", "since"].map(|name| Feature::new(name, kind));
        mlp.features.extend(lists);
        mlp.bags.push(Array2::zeros((0, mlp.bags[0].ncols())));
        let channel = |bag: usize, own: &[Vec<f64>], common: &[f64]| Channel {
            bag,
            knots: knots[bag].clone(),
            own: matrix(own).mapv(|value| value as f32),
            common: common.iter().map(|&value| value as f32).collect(),
        };
        mlp.own_history =
            vec![channel(0, &self.own_0, &self.common_0), channel(1, &self.own_1, &self.common_1)];
        mlp
    }
}

fn matrix<T: Copy>(rows: &[Vec<T>]) -> Array2<T> {
    Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap()
}

/// `f32` has seven digits; two of them go to sums over brands.
fn is_close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-5 * expected.abs() + 1e-7
}

/// What the parameters say about the loss, for messages.
fn name(params: &TrainParams) -> String {
    format!("{:?} {:?} {}", params.loss, params.brand_weights, params.soft_f1)
}

const N_LOSSES: usize = 13;

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let reference = reference().losses;
    let labels = reference.labels.views();
    assert_eq!(reference.cases.len(), N_LOSSES);
    for LossCase { params, value: expected, gradient } in &reference.cases {
        let name = name(params);
        let objective = Objective::new(params, &reference.volumes, reference.n_users);
        let mut cells = matrix(&reference.logits);
        let value = objective.loss_and_gradient(cells.view_mut(), &labels);
        assert!(is_close(value, *expected), "{name}: {value} for {expected}");
        for ((cell, &found), &expected) in cells.indexed_iter().zip(&matrix(gradient)) {
            let found = f64::from(found);
            assert!(is_close(found, expected), "{name} {cell:?}: {found} for {expected}");
        }
    }
}

/// Ignored cells of the reference: user 1 has brand 9 but it is ignored, brand 10 is ignored only.
#[test]
fn ignored_brands_have_no_gradient_even_if_the_user_has_them() {
    let reference = reference().losses;
    for LossCase { params, .. } in &reference.cases {
        let objective = Objective::new(params, &reference.volumes, reference.n_users);
        let mut cells = matrix(&reference.logits);
        objective.loss_and_gradient(cells.view_mut(), &reference.labels.views());
        assert_eq!(cells.slice(s![1, 9..11]), array![0.0, 0.0], "{}", name(params));
    }
}

#[test]
fn focal_loss_with_gamma_0_is_cross_entropy() {
    let reference = reference().losses;
    let labels = reference.labels.views();
    let gradient = |loss: Loss| {
        let params = TrainParams { loss, ..TrainParams::default() };
        let objective = Objective::new(&params, &reference.volumes, reference.n_users);
        let mut cells = matrix(&reference.logits);
        (objective.loss_and_gradient(cells.view_mut(), &labels), cells)
    };
    let (bce_value, bce) = gradient(Loss::Bce {});
    let (bfce_value, bfce) = gradient(Loss::Bfce { gamma: 0.0, alpha: None });
    assert!((bce_value - bfce_value).abs() <= 1e-6 * bce_value, "{bfce_value} for {bce_value}");
    for (cell, &expected) in bce.indexed_iter() {
        let found = bfce[cell];
        assert!(
            (found - expected).abs() <= 1e-6 * expected.abs(),
            "{cell:?}: {found} for {expected}"
        );
    }
}

/// Ten updates of 0.05 each: a parameter moves by up to 0.5. Adam divides each gradient by
/// its size, so the error of small gradients counts in full.
#[test]
fn ten_updates_are_those_of_pytorch_adamw() {
    let training = reference().training;
    let mut offsets = vec![0];
    offsets.extend(training.ids.iter().scan(0, |end, ids| {
        *end += ids.len();
        Some(*end)
    }));
    let bags = Bags { offsets, ids: training.ids.concat(), weights: training.id_weights.concat() };
    let mut batch = ExampleBatch::default();
    batch.inputs = Batch { dense: matrix(&training.dense), bags: vec![bags] };
    for labels in training.labels.views() {
        batch.push_labels(labels);
    }

    assert_eq!(training.cases.len(), N_LOSSES);
    // By dense products, and by cells of which all are kept.
    let ways = training.cases.iter().flat_map(|case| OUTPUTS.map(|output| (case, output)));
    for (TrainingCase { params, losses, after }, output) in ways {
        let name = format!("{} {output:?}", name(params));
        if output == OutputLayer::Sketch && params.soft_f1 > 0.0 {
            continue; // refused
        }
        let params = TrainParams { output, sparse_gradient: 1e-9, ..params.clone() };
        let objective = Objective::new(&params, &training.volumes, training.n_users);
        let mut mlp = training.initial.network();
        let mut updater = Updater::new(&mut mlp, &params, &[RARE; 4], training.n_users);
        let mut n_compared = 0;
        for (update, &expected) in (1..).zip(losses) {
            let Training { learning_rate, weight_decay, .. } = training;
            let step = Step { learning_rate, weight_decay, update };
            let dropout = Dropout { rate: 0.0, seed: update };
            let loss = updater.update(&mut mlp, &objective, &batch, Update { step, dropout });
            assert!(
                (loss - expected).abs() <= 1e-5 * expected,
                "{name} {update}: {loss} for {expected}"
            );
            let Some(expected) = after.get(&update) else { continue };
            for (array, found, expected) in pairs(&mlp, &expected.network()) {
                let difference = (found - expected).abs();
                assert!(difference <= 1e-5, "{name} {update} {array}: {found} for {expected}");
                n_compared += 1;
            }
        }
        // After 1, 3 and 10 updates: 4·5 + (3·5 + 5) + (5·4 + 4) parameters.
        assert_eq!(n_compared, 3 * 64, "{name}");
    }
}

/// All ways to compute the output layer.
const OUTPUTS: [OutputLayer; 3] = [OutputLayer::Exact, OutputLayer::Sparse, OutputLayer::Sketch];

/// A sketch computes brands of this volume only where they matter.
const RARE: u64 = 0;

/// As above, with two channels of an own history; their steps are ten times as long.
#[test]
fn ten_updates_with_an_own_history_are_those_of_pytorch_adamw() {
    let history = reference().history;
    let bags = history.weights.iter().map(|weights| {
        let mut bags =
            Bags { offsets: vec![0], ids: history.past.concat(), weights: weights.concat() };
        for brands in &history.past {
            bags.offsets.push(bags.offsets[bags.offsets.len() - 1] + brands.len());
        }
        bags
    });
    let mut batch = ExampleBatch::default();
    batch.inputs = Batch { dense: matrix(&history.dense), bags: bags.collect() };
    history.labels.views().into_iter().for_each(|labels| batch.push_labels(labels));

    for output in OUTPUTS {
        let loss = Loss::Bce {};
        let params = TrainParams { loss, output, sparse_gradient: 1e-9, ..TrainParams::default() };
        let objective = Objective::new(&params, &history.volumes, history.n_users);
        let mut mlp = history.initial.network(&history.knots);
        let mut updater = Updater::new(&mut mlp, &params, &[RARE; 4], history.n_users);
        let mut n_compared = 0;
        for (update, &expected) in (1..).zip(&history.losses) {
            let History { learning_rate, weight_decay, .. } = history;
            let step = Step { learning_rate, weight_decay, update };
            let dropout = Dropout { rate: 0.0, seed: update };
            let loss = updater.update(&mut mlp, &objective, &batch, Update { step, dropout });
            assert!((loss - expected).abs() <= 1e-5 * expected, "{update}: {loss} for {expected}");
            let Some(expected) = history.after.get(&update) else { continue };
            for (array, found, expected) in pairs(&mlp, &expected.network(&history.knots)) {
                let difference = (found - expected).abs();
                assert!(difference <= 1e-4, "{update} {array}: {found} for {expected}");
                n_compared += 1;
            }
        }
        // 4·5 + (3·5 + 5) + (5·4 + 4) of the network, 4·2 + 4 and 4·1 + 3 of the channels.
        assert_eq!(n_compared, 3 * (64 + 12 + 7));
    }
}

/// The parameters of two networks of the same shape, side by side.
fn pairs(found: &Mlp, expected: &Mlp) -> Vec<(String, f32, f32)> {
    let parameters = |mlp: &Mlp| {
        let bags = mlp.bags.iter().flatten().map(|&value| ("bag".to_owned(), value));
        let layers = mlp.layers.iter().enumerate().flat_map(|(i, layer)| {
            let values = layer.weights.iter().chain(&layer.bias);
            values.map(move |&value| (format!("layer {i}"), value))
        });
        let channels = mlp.own_history.iter().enumerate().flat_map(|(i, channel)| {
            let values = channel.own.iter().chain(&channel.common);
            values.map(move |&value| (format!("channel {i}"), value))
        });
        bags.chain(layers).chain(channels).collect::<Vec<_>>()
    };
    let expected = parameters(expected);
    parameters(found).into_iter().zip(expected).map(|((name, a), (_, b))| (name, a, b)).collect()
}

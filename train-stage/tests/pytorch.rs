//! Losses, gradients and updates against `reference/reference.json`, which
//! `reference/make_reference.py` makes with PyTorch in float64.

use std::collections::BTreeMap;

use contract::features::{Feature, FeatureKind};
use contract::manifest::{IdSpace, Loss};
use model::mlp::Layer;
use model::{Bags, Batch, Mlp, Workspace};
use ndarray::{Array1, Array2, array, s};
use serde::Deserialize;
use train_stage::adam::{Moments, Step};
use train_stage::backward::Gradients;
use train_stage::loss::{Labels, loss_and_gradient};

#[derive(Deserialize)]
struct Reference {
    losses: Losses,
    training: Training,
}

#[derive(Deserialize)]
struct Losses {
    logits: Vec<Vec<f32>>,
    labels: ListedLabels,
    cases: Vec<LossCase>,
}

#[derive(Deserialize)]
struct LossCase {
    loss: Loss,
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
    initial: Parameters,
    learning_rate: f32,
    weight_decay: f32,
    cases: Vec<TrainingCase>,
}

#[derive(Deserialize)]
struct TrainingCase {
    loss: Loss,
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
                Feature { name: "dense".into(), kind: FeatureKind::Dense { dim: n_dense } },
                Feature { name: "ids".into(), kind: ids },
            ],
            offsets: Array1::zeros(n_dense),
            scales: Array1::ones(n_dense),
            bags: vec![weights(&self.bag)],
            layers: vec![
                Layer { weights: weights(&self.weights_1), bias: vector(&self.bias_1) },
                Layer { weights: weights(&self.weights_2), bias: vector(&self.bias_2) },
            ],
        }
    }
}

fn matrix<T: Copy>(rows: &[Vec<T>]) -> Array2<T> {
    Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap()
}

/// `f32` has seven digits; two of them go to sums over brands.
fn is_close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-5 * expected.abs() + 1e-7
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let reference = reference().losses;
    let labels = reference.labels.views();
    assert_eq!(reference.cases.len(), 4, "BCE, BFCE with two gammas, MSE");
    for case in &reference.cases {
        let mut cells = matrix(&reference.logits);
        let value = loss_and_gradient(case.loss, cells.view_mut(), &labels);
        assert!(is_close(value, case.value), "{:?}: {value} for {}", case.loss, case.value);
        for ((cell, &found), &expected) in cells.indexed_iter().zip(&matrix(&case.gradient)) {
            assert!(
                is_close(f64::from(found), expected),
                "{:?} {cell:?}: {found} for {expected}",
                case.loss
            );
        }
    }
}

/// Ignored cells of the reference: user 1 has brand 9 but it is ignored, brand 10 is ignored only.
#[test]
fn ignored_brands_have_no_gradient_even_if_the_user_has_them() {
    let reference = reference().losses;
    for case in &reference.cases {
        let mut cells = matrix(&reference.logits);
        loss_and_gradient(case.loss, cells.view_mut(), &reference.labels.views());
        assert_eq!(cells.slice(s![1, 9..11]), array![0.0, 0.0], "{:?}", case.loss);
    }
}

#[test]
fn focal_loss_with_gamma_0_is_cross_entropy() {
    let reference = reference().losses;
    let labels = reference.labels.views();
    let (mut bce, mut bfce) = (matrix(&reference.logits), matrix(&reference.logits));
    let bce_value = loss_and_gradient(Loss::Bce {}, bce.view_mut(), &labels);
    let bfce_value = loss_and_gradient(Loss::Bfce { gamma: 0.0 }, bfce.view_mut(), &labels);
    assert!((bce_value - bfce_value).abs() <= 1e-6 * bce_value, "{bfce_value} for {bce_value}");
    for (cell, &expected) in bce.indexed_iter() {
        let found = bfce[cell];
        assert!(
            (found - expected).abs() <= 1e-6 * expected.abs(),
            "{cell:?}: {found} for {expected}"
        );
    }
}

/// The moments of each parameter array, and an update as `trainer::train` does it.
struct Optimizer {
    gradients: Gradients,
    bags: Vec<Moments>,
    weights: Vec<Moments>,
    biases: Vec<Moments>,
}

impl Optimizer {
    fn new(mlp: &Mlp) -> Self {
        Self {
            gradients: Gradients::of(mlp),
            bags: vec![Moments::default(); mlp.bags.len()],
            weights: vec![Moments::default(); mlp.layers.len()],
            biases: vec![Moments::default(); mlp.layers.len()],
        }
    }

    /// Returns the loss before the update. Weights and id rows decay, biases do not.
    fn update(
        &mut self,
        mlp: &mut Mlp,
        loss: Loss,
        batch: &Batch,
        labels: &[Labels],
        step: Step,
    ) -> f64 {
        let mut workspace = Workspace::default();
        let mut logits = Array2::zeros((labels.len(), mlp.n_brands()));
        mlp.forward(batch, &mut workspace, logits.view_mut(), None);
        let loss = loss_and_gradient(loss, logits.view_mut(), labels);
        self.gradients.compute(mlp, batch, &workspace, logits.view(), 0.0);
        for ((values, gradient), moments) in
            mlp.bags.iter_mut().zip(&self.gradients.bags).zip(&mut self.bags)
        {
            moments.update(values.as_slice_mut().unwrap(), gradient.as_slice().unwrap(), step);
        }
        let no_decay = Step { weight_decay: 0.0, ..step };
        for (i, layer) in mlp.layers.iter_mut().enumerate() {
            let (weights, bias) = (&self.gradients.weights[i], &self.gradients.biases[i]);
            self.weights[i].update(
                layer.weights.as_slice_mut().unwrap(),
                weights.as_slice().unwrap(),
                step,
            );
            self.biases[i].update(
                layer.bias.as_slice_mut().unwrap(),
                bias.as_slice().unwrap(),
                no_decay,
            );
        }
        loss
    }
}

/// Ten updates of 0.05 each: a parameter moves by up to 0.5. Adam divides each gradient by
/// its size, so the error of small gradients counts in full: 2e-6 is the most seen.
#[test]
fn ten_updates_are_those_of_pytorch_adamw() {
    let training = reference().training;
    let mut offsets = vec![0];
    offsets.extend(training.ids.iter().scan(0, |end, ids| {
        *end += ids.len();
        Some(*end)
    }));
    let bags = Bags { offsets, ids: training.ids.concat(), weights: training.id_weights.concat() };
    let batch = Batch { dense: matrix(&training.dense), bags: vec![bags] };
    let labels = training.labels.views();

    for case in &training.cases {
        let mut mlp = training.initial.network();
        let mut optimizer = Optimizer::new(&mlp);
        let mut n_compared = 0;
        for (update, &expected) in (1..).zip(&case.losses) {
            let Training { learning_rate, weight_decay, .. } = training;
            let step = Step { learning_rate, weight_decay, update };
            let loss = optimizer.update(&mut mlp, case.loss, &batch, &labels, step);
            assert!(
                (loss - expected).abs() <= 1e-5 * expected,
                "{:?} {update}: {loss} for {expected}",
                case.loss
            );
            let Some(expected) = case.after.get(&update) else { continue };
            for (name, found, expected) in pairs(&mlp, &expected.network()) {
                let difference = (found - expected).abs();
                assert!(
                    difference <= 1e-5,
                    "{:?} {update} {name}: {found} for {expected}",
                    case.loss
                );
                n_compared += 1;
            }
        }
        // After 1, 3 and 10 updates: 4·5 + (3·5 + 5) + (5·4 + 4) parameters.
        assert_eq!(n_compared, 3 * 64, "{:?}", case.loss);
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
        bags.chain(layers).collect::<Vec<_>>()
    };
    let expected = parameters(expected);
    parameters(found).into_iter().zip(expected).map(|((name, a), (_, b))| (name, a, b)).collect()
}

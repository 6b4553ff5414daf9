//! The network before its first update.

use contract::features::{Feature, FeatureKind};
use contract::manifest::{Histories, Loss};
use model::mlp::Layer;
use model::own_history::{self, Channel};
use model::sigmoid::{logit, parts};
use model::{Mlp, prior_logits};
use ndarray::{Array1, Array2, Axis};
use rand::SeedableRng as _;
use rand_distr::{Distribution as _, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::error::Error;
use crate::examples::{ExampleBatch, Examples};
use crate::state::{Progress, State};
use crate::task::{Architecture, Ids, Task};

/// The start is computed from at most this many examples, spread evenly over all: that gives a
/// mean to within 0.4 % of a standard deviation.
const START_EXAMPLES: usize = 65_536;

/// The state before the first update.
///
/// The output biases start at the prevalence of the brands and the output weights near zero, so
/// that training starts from the prior.
///
/// # Errors
///
/// [`Error::Data`] if `own_history` names no sparse feature.
pub(crate) fn start(task: &Task) -> Result<State, Error> {
    let p = task.params.get();
    let Architecture { features, ids, volumes, n_users } = task.architecture;
    let batch = start_examples(task.examples);
    let n_dense: usize = features.iter().map(Feature::n_dense).sum();
    let (offsets, scales) = if p.standardise && n_dense > 0 {
        standardisation(&batch.inputs.dense)
    } else {
        (Array1::zeros(n_dense), Array1::ones(n_dense))
    };
    let prior = prior_logits(volumes, *n_users);
    let channels = p.own_history.iter().flat_map(Histories::names).enumerate();
    let mut own_history = channels
        .map(|(i, name)| {
            channel_start(name, if i == 0 { 2 } else { 1 }, features, &batch, prior.len())
        })
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(first) = own_history.first_mut() {
        first.common[0] = repeat_level(first, &batch, &prior);
    }
    // A logit-adjusted loss adds the rest of the prior to the logits.
    let bias_share = if let Loss::LogitAdjusted { tau } = p.loss { 1.0 - tau } else { 1.0 };
    let widths: Vec<usize> = p.hidden.iter().map(|width| width.0).chain([prior.len()]).collect();
    let mut mlp = Mlp {
        features: features.clone(),
        offsets,
        scales,
        ids: ids.iter().map(Ids::listed).collect(),
        log_bags: log_bags(features, &own_history),
        bags: Vec::new(),
        layers: Vec::new(),
        own_history,
    };
    let n_in = n_inputs(&mlp, ids, &batch);
    (mlp.bags, mlp.layers) = first_weights(p.seed, n_dense, ids, &widths, n_in);
    mlp.layers.last_mut().expect("there is an output layer").bias = &prior * bias_share;
    Ok(State { mlp, moments: Vec::new(), progress: Progress::default(), best: None })
}

fn start_examples(examples: &dyn Examples) -> ExampleBatch {
    let step = examples.len().div_ceil(START_EXAMPLES).max(1);
    let rows: Vec<u32> = (0..examples.len() as u32).step_by(step).collect();
    let mut batch = ExampleBatch::default();
    examples.gather(&rows, &mut batch);
    batch
}

/// Inputs of the first layer: a list of ids counts as the sum of the squares of its weights.
///
/// * `mlp`: needs no layers yet.
fn n_inputs(mlp: &Mlp, ids: &[Ids], batch: &ExampleBatch) -> f64 {
    let read = batch.inputs.bags.iter().enumerate().filter(|(i, _)| ids[*i].n_rows() > 0);
    let mass = |(i, bags)| mlp.bag_weights(i, bags).iter().map(|w| f64::from(w * w)).sum::<f64>();
    mlp.offsets.len() as f64 + read.map(mass).sum::<f64>() / batch.len() as f64
}

/// The weighted lists of the own history, whose weights are amounts. Where a network has nothing but
/// its layers to learn from a history, these do better with the amounts themselves.
fn log_bags(features: &[Feature], own_history: &[Channel]) -> Vec<usize> {
    let is_weighted =
        |feature: &Feature| matches!(feature.kind, FeatureKind::Sparse { is_weighted: true, .. });
    let sparse: Vec<&Feature> = features.iter().filter(|feature| feature.is_sparse()).collect();
    let bags = own_history.iter().map(|channel| channel.bag);
    bags.filter(|&bag| is_weighted(sparse[bag])).collect()
}

/// Bags and layers of a network with biases of zero.
///
/// Weights are normal with the deviation of He et al. 2015 for rectifiers, those of the output
/// layer a tenth of it.
///
/// * `ids`: of each sparse feature.
/// * `widths`: of every layer, the last being the output.
/// * `n_in`: inputs of the first layer.
fn first_weights(
    seed: u64,
    n_dense: usize,
    ids: &[Ids],
    widths: &[usize],
    mut n_in: f64,
) -> (Vec<Array2<f32>>, Vec<Layer>) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut gaussian = |rows: usize, columns: usize, deviation: f64| {
        let normal =
            Normal::new(0.0_f32, deviation as f32).expect("a deviation is finite and positive");
        Array2::from_shape_simple_fn((rows, columns), || normal.sample(&mut rng))
    };
    let mut bags = Vec::new();
    let mut layers = Vec::new();
    let mut n_rows = n_dense;
    for (i, &width) in widths.iter().enumerate() {
        let he = (2.0 / n_in.max(1.0)).sqrt();
        let deviation = if i + 1 == widths.len() { 0.1 * he } else { he };
        if i == 0 {
            bags = ids.iter().map(|ids| gaussian(ids.n_rows(), width, deviation)).collect();
        }
        let weights = gaussian(n_rows, width, deviation);
        layers.push(Layer { weights, bias: Array1::zeros(width) });
        (n_rows, n_in) = (width, width as f64);
    }
    (bags, layers)
}

/// A channel of a user's own history whose weights are all zero.
///
/// The common function bends where half and nine tenths of the weights lie below.
///
/// * `n_own`: terms for which each brand has its own weights.
fn channel_start(
    name: &str,
    n_own: usize,
    features: &[Feature],
    batch: &ExampleBatch,
    n_brands: usize,
) -> Result<Channel, Error> {
    let bag = own_history::position(features, name).ok_or_else(|| {
        Error::Data(format!("`own_history`: no list of ids `{name}` among the features"))
    })?;
    let mut weights: Vec<f32> = batch.inputs.bags[bag].weights.iter().map(|w| w.max(0.0)).collect();
    weights.sort_by(f32::total_cmp);
    let quantile = |at: usize| weights.get(weights.len() * at / 100).map_or(0.0, |w| w.ln_1p());
    let knots = vec![quantile(50), quantile(90)];
    let common = Array1::zeros(n_own + knots.len());
    Ok(Channel { bag, knots, own: Array2::zeros((n_brands, n_own)), common })
}

/// How much more often, in logits, users have a brand of their history than its prevalence says.
fn repeat_level(channel: &Channel, batch: &ExampleBatch, prior: &Array1<f32>) -> f32 {
    let n_brands = prior.len();
    // Half a cell more, so that both shares lie between 0 and 1.
    let (mut n_cells, mut n_labels, mut n_expected) = (0.5, 0.25, 0.25);
    for i in 0..batch.len() {
        let labels = batch.labels(i);
        let is_counted = |brand: &u32| {
            (*brand as usize) < n_brands && labels.ignored.binary_search(brand).is_err()
        };
        let history = batch.inputs.bags[channel.bag].of(i);
        for (brand, _) in history.filter(|(brand, _)| is_counted(brand)) {
            n_cells += 1.0;
            n_expected += f64::from(parts(prior[brand as usize]).p);
            n_labels += f64::from(u8::from(labels.brands.binary_search(&brand).is_ok()));
        }
    }
    (logit(n_labels / n_cells) - logit(n_expected / n_cells)) as f32
}

/// Mean and inverse standard deviation of each column; a column that hardly varies is only
/// centred.
///
/// * `dense`: `(n_examples, n_dense)`, at least one example.
fn standardisation(dense: &Array2<f32>) -> (Array1<f32>, Array1<f32>) {
    /// Beyond this the deviation is rounding noise.
    const LARGEST_SCALE: f64 = 1e6;

    // In f64: a sum over many rows would lose digits in f32.
    let dense = dense.mapv(f64::from);
    let means = dense.mean_axis(Axis(0)).expect("training has examples");
    let scale = |deviation: f64| {
        let scale = 1.0 / deviation;
        // False for NaN too, which the first loss reports.
        if scale > 0.0 && scale < LARGEST_SCALE { scale as f32 } else { 1.0 }
    };
    (means.mapv(|mean| mean as f32), dense.std_axis(Axis(0), 0.0).mapv(scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::manifest::IdSpace;
    use ndarray::array;

    #[test]
    fn the_layers_read_logarithms_of_the_own_historys_weights() {
        let list = |is_weighted, ids| FeatureKind::Sparse { is_weighted, ids };
        let features = [
            ("age", FeatureKind::Dense { dim: 1 }),
            ("words", list(true, IdSpace::Own)),
            ("seen", list(false, IdSpace::Brands)),
            ("past", list(true, IdSpace::Brands)),
            ("rated", list(true, IdSpace::Brands)),
        ];
        let features = features.map(|(name, kind)| Feature::new(name, kind));
        let channel = |bag| Channel {
            bag,
            knots: Vec::new(),
            own: Array2::zeros((0, 2)),
            common: Array1::zeros(2),
        };
        assert_eq!(log_bags(&features, &[channel(2), channel(1)]), [2]);
        assert!(log_bags(&features, &[]).is_empty());
    }

    /// 1, 2, 3 and 6 have mean 3 and variance (4 + 1 + 0 + 9) / 4 = 3.5. The last column
    /// deviates by 5e-8, which is rounding.
    #[test]
    fn columns_are_centred_and_scaled_unless_they_hardly_vary() {
        let dense = array![
            [1.0, 5.0, 1.0],
            [2.0, 5.0, 1.0],
            [3.0, 5.0, 1.0 + f32::EPSILON],
            [6.0, 5.0, 1.0]
        ];
        let (means, scales) = standardisation(&dense);
        assert_eq!(means, array![3.0, 5.0, 1.0]);
        assert!((scales[0] - 1.0 / 3.5_f32.sqrt()).abs() < 1e-7, "{scales}");
        assert_eq!(scales.as_slice().unwrap()[1..], [1.0, 1.0]);
    }

    #[test]
    fn a_column_with_nan_is_left_as_it_is_for_the_loss_to_report() {
        let (means, scales) = standardisation(&array![[1.0], [f32::NAN]]);
        assert!(means[0].is_nan());
        assert_eq!(scales, array![1.0]);
    }
}

//! The training loop.

use std::time::Instant;

use contract::features::{Feature, FeatureKind};
use contract::manifest::Loss;
use linfa::prelude::Fit;
use linfa_preprocessing::linear_scaling::LinearScaler;
use model::mlp::{Dropout, Layer};
use model::{Batch, Mlp, Workspace};
use ndarray::{Array1, Array2};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_distr::{Distribution as _, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::adam::{Moments, Step};
use crate::backward::Gradients;
use crate::examples::Examples;
use crate::loss::{Labels, loss_and_gradient};
use crate::params::{Error, MlpValidParams};

/// Dense features are standardised by the mean and variance of this many examples at most,
/// spread over all of them: a tenth of a percent of a standard deviation is near enough.
const SCALER_EXAMPLES: usize = 65_536;

/// What happened in an epoch.
#[derive(Debug, Clone)]
pub struct Epoch {
    /// From 1
    pub epoch: u32,
    /// Mean loss per example over the epoch
    pub train_loss: f64,
    /// Examples a second, validation apart
    pub rows_per_s: f64,
    /// Wall time, validation apart
    pub secs: f64,
}

/// Is told how training goes.
pub trait Observer: Send {
    /// After every update: examples seen in this epoch, and all of it.
    fn batch_done(&mut self, _epoch: u32, _n_done: usize, _n_examples: usize) {}

    /// After every epoch, with the network as it is.
    fn epoch_done(&mut self, _epoch: Epoch, _mlp: &Mlp) {}
}

/// Watches nothing.
impl Observer for () {}

/// What a network is made for.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// What it reads, in order
    pub features: Vec<Feature>,
    /// Number of ids of each sparse feature
    pub n_ids: Vec<usize>,
    /// `(n_brands,)`: logit of each brand's prevalence, where the output biases start
    pub prior: Array1<f32>,
}

/// Trains a network; returns it with the number of updates.
///
/// # Errors
///
/// [`Error::NotFinite`] if the loss explodes.
pub fn train(
    params: &MlpValidParams,
    architecture: &Architecture,
    examples: &dyn Examples,
    observer: &mut dyn Observer,
) -> Result<(Mlp, u64), Error> {
    let p = params.get();
    if examples.is_empty() {
        return Err(Error::Data("there is no example to train on".to_owned()));
    }
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = p.threads {
        pool = pool.num_threads(threads);
    }
    let pool = pool.build().map_err(|err| Error::Data(format!("cannot start threads: {err}")))?;
    pool.install(|| train_here(params, architecture, examples, observer))
}

/// [`train`] on the threads of the current pool.
fn train_here(
    params: &MlpValidParams,
    architecture: &Architecture,
    examples: &dyn Examples,
    observer: &mut dyn Observer,
) -> Result<(Mlp, u64), Error> {
    let p = params.get();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(p.seed);
    let mut mlp = new_network(params, architecture, examples, &mut rng)?;
    let mut work = Work::new(&mlp);
    let mut order: Vec<u32> = (0..examples.len() as u32).collect();
    let n_updates = examples.len().div_ceil(p.batch_size) as u64 * u64::from(p.epochs);
    let mut update = 0;

    for epoch in 1..=p.epochs {
        let started = Instant::now();
        order.shuffle(&mut rng);
        let mut total = 0.0;
        let mut n_done = 0;
        for rows in order.chunks(p.batch_size) {
            let step = Step {
                learning_rate: params.learning_rate(update, n_updates),
                weight_decay: p.weight_decay,
                update: update + 1,
            };
            let seed = p.seed.wrapping_add(update.wrapping_mul(0x2545_f491_4f6c_dd1d));
            let dropout = Dropout { rate: p.dropout, seed };
            let loss = work.update(&mut mlp, p.loss, examples, rows, dropout, step);
            update += 1;
            if !loss.is_finite() {
                return Err(Error::NotFinite { loss, epoch, update });
            }
            total += loss * rows.len() as f64;
            n_done += rows.len();
            observer.batch_done(epoch, n_done, examples.len());
        }
        let secs = started.elapsed().as_secs_f64();
        let n_examples = examples.len() as f64;
        let record =
            Epoch { epoch, train_loss: total / n_examples, rows_per_s: n_examples / secs, secs };
        observer.epoch_done(record, &mlp);
    }
    Ok((mlp, update))
}

/// Everything an update needs, allocated once.
struct Work {
    batch: Batch,
    workspace: Workspace,
    logits: Array2<f32>,
    gradients: Gradients,
    bags: Vec<Moments>,
    weights: Vec<Moments>,
    biases: Vec<Moments>,
}

impl Work {
    fn new(mlp: &Mlp) -> Self {
        Self {
            batch: Batch::default(),
            workspace: Workspace::default(),
            logits: Array2::zeros((0, 0)),
            gradients: Gradients::of(mlp),
            bags: vec![Moments::default(); mlp.bags.len()],
            weights: vec![Moments::default(); mlp.layers.len()],
            biases: vec![Moments::default(); mlp.layers.len()],
        }
    }

    /// One gradient update on the examples of `rows`; returns their mean loss before it.
    fn update(
        &mut self,
        mlp: &mut Mlp,
        loss: Loss,
        examples: &dyn Examples,
        rows: &[u32],
        dropout: Dropout,
        step: Step,
    ) -> f64 {
        examples.gather(rows, &mut self.batch);
        let labels: Vec<Labels> = rows.iter().map(|&row| examples.labels(row)).collect();
        if self.logits.dim() != (rows.len(), mlp.n_brands()) {
            self.logits = Array2::zeros((rows.len(), mlp.n_brands()));
        }
        mlp.forward(&self.batch, &mut self.workspace, self.logits.view_mut(), Some(dropout));
        let loss = loss_and_gradient(loss, self.logits.view_mut(), &labels);
        self.gradients.compute(mlp, &self.batch, &self.workspace, self.logits.view(), dropout.rate);

        let no_decay = Step { weight_decay: 0.0, ..step };
        let bags = mlp.bags.iter_mut().zip(&self.gradients.bags).zip(&mut self.bags);
        for ((values, gradient), moments) in bags {
            moments.update(flat(values), flat_ref(gradient), step);
        }
        for (i, layer) in mlp.layers.iter_mut().enumerate() {
            self.weights[i].update(
                flat(&mut layer.weights),
                flat_ref(&self.gradients.weights[i]),
                step,
            );
            let bias = layer.bias.as_slice_mut().expect("a fresh vector is contiguous");
            let gradient =
                self.gradients.biases[i].as_slice().expect("a fresh vector is contiguous");
            self.biases[i].update(bias, gradient, no_decay);
        }
        loss
    }
}

fn flat(values: &mut Array2<f32>) -> &mut [f32] {
    values.as_slice_mut().expect("parameters are contiguous")
}

fn flat_ref(values: &Array2<f32>) -> &[f32] {
    values.as_slice().expect("gradients are contiguous")
}

/// Weights drawn as He et al. 2015 say for rectifiers; the output layer near zero, so that
/// training starts from the prior.
fn new_network(
    params: &MlpValidParams,
    architecture: &Architecture,
    examples: &dyn Examples,
    rng: &mut Xoshiro256PlusPlus,
) -> Result<Mlp, Error> {
    let p = params.get();
    let n_dense: usize = architecture
        .features
        .iter()
        .map(|feature| match feature.kind {
            FeatureKind::Dense { dim } => dim,
            FeatureKind::Sparse { .. } => 0,
        })
        .sum();
    let step = examples.len().div_ceil(SCALER_EXAMPLES).max(1);
    let rows: Vec<u32> = (0..examples.len() as u32).step_by(step).collect();
    let mut batch = Batch::default();
    examples.gather(&rows, &mut batch);
    let (offsets, scales) = if p.standardise && n_dense > 0 {
        standardisation(batch.dense.clone())?
    } else {
        (Array1::zeros(n_dense), Array1::ones(n_dense))
    };
    // An id list counts as as many inputs as the squares of its weights sum to.
    let bag_mass: f64 =
        batch.bags.iter().flat_map(|bags| &bags.weights).map(|w| f64::from(w * w)).sum();
    let mut n_in = n_dense as f64 + bag_mass / rows.len() as f64;

    let n_brands = architecture.prior.len();
    let widths: Vec<usize> = p.hidden.iter().map(|width| width.0).chain([n_brands]).collect();
    let mut gaussian = |rows: usize, columns: usize, deviation: f64| {
        let normal =
            Normal::new(0.0_f32, deviation as f32).expect("a deviation is finite and positive");
        Array2::from_shape_simple_fn((rows, columns), || normal.sample(rng))
    };
    let mut bags = Vec::new();
    let mut layers = Vec::new();
    for (i, &width) in widths.iter().enumerate() {
        let is_last = i + 1 == widths.len();
        let he = (2.0 / n_in.max(1.0)).sqrt();
        let deviation = if is_last { 0.1 * he } else { he };
        if i == 0 {
            bags =
                architecture.n_ids.iter().map(|&n_ids| gaussian(n_ids, width, deviation)).collect();
        }
        let n_rows = if i == 0 { n_dense } else { widths[i - 1] };
        let bias = if is_last { architecture.prior.clone() } else { Array1::zeros(width) };
        layers.push(Layer { weights: gaussian(n_rows, width, deviation), bias });
        n_in = width as f64;
    }
    Ok(Mlp { features: architecture.features.clone(), offsets, scales, bags, layers })
}

/// Mean and inverse deviation of each column; a column that does not vary is only centred.
fn standardisation(dense: Array2<f32>) -> Result<(Array1<f32>, Array1<f32>), Error> {
    // In f64, as a sum over many rows would lose digits in f32.
    let dataset = linfa::DatasetBase::from(dense.mapv(f64::from));
    let scaler = LinearScaler::standard()
        .fit(&dataset)
        .map_err(|err| Error::Data(format!("cannot standardise the features: {err}")))?;
    let spread = |scale: f64| {
        if scale.is_finite() && scale > 0.0 && scale < 1e6 { scale as f32 } else { 1.0 }
    };
    Ok((scaler.offsets().mapv(|offset| offset as f32), scaler.scales().mapv(spread)))
}

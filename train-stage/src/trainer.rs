//! The training loop.

use std::path::Path;
use std::time::{Duration, Instant};

use contract::features::Feature;
use contract::manifest::{Loss, SelectEpoch};
use contract::{interrupt, threads};
use linfa::prelude::Fit;
use linfa_preprocessing::linear_scaling::LinearScaler;
use model::mlp::{Dropout, Layer};
use model::own_history::{self, N_OWN_TERMS, N_TERMS, OwnHistory};
use model::sigmoid::logit;
use model::{Mlp, prior_logits};
use ndarray::{Array1, Array2};
use rand::SeedableRng as _;
use rand_distr::{Distribution as _, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::adam::{Moments, Step};
use crate::batches::{Batches, updates_per_epoch};
use crate::checkpoint::{CheckpointFile, Unusable};
use crate::examples::{ExampleBatch, Examples};
use crate::loss::Objective;
use crate::params::{Error, MlpValidParams};
use crate::update::{Update, Updater};
use crate::validation::{Figures, evaluate};

/// Where training starts is worked out from this many examples at most, spread over all of
/// them: a tenth of a percent of a standard deviation is near enough.
const START_EXAMPLES: usize = 65_536;

/// Epochs shorter than this do not each end with a checkpoint.
const EPOCH_SPACING: Duration = Duration::from_secs(10);

/// A loss this many times that of the first batch is on its way to infinity.
const EXPLODED: f64 = 1000.0;

/// What happened in an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// From 1
    pub epoch: u32,
    /// Gradient updates until its end
    pub updates: u64,
    /// Mean loss per example over the epoch
    pub train_loss: f64,
    /// On the valid users; `None` where there are none
    pub valid: Option<Figures>,
    /// Examples a second, validation apart
    pub rows_per_s: f64,
    /// Wall time, validation apart
    pub secs: f64,
}

/// Is told how training goes.
pub trait Observer {
    /// After every update, of the number planned.
    fn update_done(&mut self, _update: u64, _n_updates: u64) {}

    /// After every epoch.
    fn epoch_done(&mut self, _epoch: &Epoch) {}

    /// Training goes on from a checkpoint made after this update.
    fn resumed(&mut self, _update: u64, _n_updates: u64) {}

    /// Training starts anew, though there is a checkpoint.
    fn checkpoint_unusable(&mut self, _file: &Path, _why: &Unusable) {}
}

/// Watches nothing.
impl Observer for () {}

/// What the ids of a sparse feature are.
#[derive(Debug, Clone)]
pub enum Ids {
    /// Each is the number of its own row of weights, below this
    Numbers(usize),
    /// Those listed, ascending: far fewer than the largest of them
    Listed(Vec<u32>),
}

impl Ids {
    /// Rows of weights.
    pub fn n_rows(&self) -> usize {
        match self {
            Self::Numbers(n) => *n,
            Self::Listed(ids) => ids.len(),
        }
    }

    /// As [`Mlp::ids`].
    pub fn listed(&self) -> Vec<u32> {
        match self {
            Self::Numbers(_) => Vec::new(),
            Self::Listed(ids) => ids.clone(),
        }
    }
}

/// What a network is made for.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// What it reads, in order
    pub features: Vec<Feature>,
    /// What the ids of each sparse feature are
    pub ids: Vec<Ids>,
    /// `(n_brands,)`: training users that have each brand
    pub volumes: Vec<u64>,
    /// Training users in all
    pub n_users: u64,
}

/// What to train, on what.
pub struct Task<'a> {
    /// How
    pub params: &'a MlpValidParams,
    /// What
    pub architecture: &'a Architecture,
    /// On what
    pub examples: &'a dyn Examples,
    /// Users that each epoch is judged on
    pub valid: Option<&'a dyn Examples>,
    /// How long; by default as the parameters say
    pub budget: Option<Budget>,
    /// Where it goes on if it is interrupted
    pub checkpoints: Option<&'a CheckpointFile>,
}

/// How long a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Updates that step sizes are planned for
    pub planned: u64,
    /// It ends after this many of them
    pub stop_after: u64,
}

impl Budget {
    /// As the parameters say.
    pub fn of(params: &MlpValidParams, n_examples: usize) -> Self {
        let p = params.get();
        let per_epoch = updates_per_epoch(n_examples, p.batch_size);
        let planned = p.updates.unwrap_or(per_epoch * u64::from(p.epochs));
        Self { planned, stop_after: planned }
    }
}

/// A trained network.
#[derive(Debug, Clone)]
pub struct Trained {
    /// That of the epoch selected
    pub mlp: Mlp,
    /// Gradient updates it took
    pub updates: u64,
    /// The epoch selected, from 1
    pub epoch: u32,
    /// Every epoch, also those after the one selected
    pub history: Vec<Epoch>,
    /// Wall time of the updates before the checkpoint that it went on from, if it did
    pub earlier_secs: f64,
}

/// Training in between two updates: all that the rest depends on.
#[derive(Debug, Clone)]
pub struct State {
    /// The network
    pub mlp: Mlp,
    /// Adam's moments of each array of [`Mlp::parameters`]
    pub moments: Vec<Moments>,
    /// What else there is to know
    pub progress: Progress,
    /// The best network so far, where another than the last may be kept
    pub best: Option<Mlp>,
}

/// How far training is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Updates made
    pub update: u64,
    /// The largest loss of a batch so far
    pub largest_loss: f64,
    /// Summed over the examples of the epoch so far
    pub epoch_loss: f64,
    /// Examples of the epoch so far
    pub epoch_examples: u64,
    /// Wall time of the epoch so far
    pub epoch_secs: f64,
    /// Every epoch that is over
    pub history: Vec<Epoch>,
    /// The best epoch so far, from 1
    pub best_epoch: Option<u32>,
    /// Whether all is done
    pub is_over: bool,
}

impl Progress {
    /// Wall time of all updates so far.
    fn secs(&self) -> f64 {
        self.epoch_secs + self.history.iter().map(|epoch| epoch.secs).sum::<f64>()
    }
}

/// Trains a network.
///
/// The result depends on the parameters, the examples, the valid users and the seed alone: not
/// on the number of threads, nor on being interrupted.
///
/// # Errors
///
/// [`Error::NotFinite`] if the loss explodes, [`Error::Interrupted`] on Ctrl-C once a
/// checkpoint is written.
pub fn train(task: &Task, observer: &mut (dyn Observer + Send)) -> Result<Trained, Error> {
    let p = task.params.get();
    if task.examples.is_empty() {
        return Err(Error::Data("there is no example to train on".to_owned()));
    }
    let pool = threads::pool("train.threads", p.threads)?;
    let mut earlier_secs = 0.0;
    let state = pool.install(|| {
        let state = if let Some(state) = last_checkpoint(task, observer) {
            observer.resumed(state.progress.update, task.budget().stop_after);
            earlier_secs = state.progress.secs();
            state
        } else {
            start(task)?
        };
        // From here on Ctrl-C waits for a checkpoint; before, there is nothing to keep.
        let _watch = task.checkpoints.map(|_| interrupt::watch());
        run(task, state, observer)
    })?;
    let Progress { history, best_epoch, .. } = state.progress;
    let epoch = best_epoch.unwrap_or(history.len() as u32);
    let updates = history[epoch as usize - 1].updates;
    Ok(Trained { mlp: state.best.unwrap_or(state.mlp), updates, epoch, history, earlier_secs })
}

/// Where an earlier process got to.
fn last_checkpoint(task: &Task, observer: &mut (dyn Observer + Send)) -> Option<State> {
    let file = task.checkpoints?;
    match file.load() {
        Ok(state) => state,
        Err(why) => {
            observer.checkpoint_unusable(&file.path, &why);
            None
        }
    }
}

impl Task<'_> {
    fn budget(&self) -> Budget {
        self.budget.unwrap_or_else(|| Budget::of(self.params, self.examples.len()))
    }
}

/// From a state to the end.
fn run(
    task: &Task,
    mut state: State,
    observer: &mut (dyn Observer + Send),
) -> Result<State, Error> {
    let p = task.params.get();
    let Budget { planned, stop_after: last_update } = task.budget();
    let per_epoch = updates_per_epoch(task.examples.len(), p.batch_size);
    let objective = Objective::new(p, &task.architecture.volumes, task.architecture.n_users);
    let mut updater = Updater::new(&mut state.mlp, p);
    if state.progress.update > 0 {
        updater.moments = std::mem::take(&mut state.moments);
    }
    std::thread::scope(|scope| {
        let first = state.progress.update;
        let batches = Batches::start(scope, task.examples, p.batch_size, p.seed, first)
            .map_err(|err| threads::Error::of_one("train.threads", err))?;
        let mut saved = Instant::now();
        while state.progress.update < last_update && !state.progress.is_over {
            let started = Instant::now();
            let batch = batches.next();
            let progress = &mut state.progress;
            let update = Update {
                step: Step {
                    learning_rate: task.params.learning_rate(progress.update, planned),
                    weight_decay: p.weight_decay,
                    update: progress.update + 1,
                },
                dropout: Dropout {
                    rate: p.dropout,
                    seed: p.seed.wrapping_add(progress.update.wrapping_mul(0x2545_f491_4f6c_dd1d)),
                },
            };
            let loss = updater.update(&mut state.mlp, &objective, &batch, update);
            let is_exploded =
                progress.largest_loss > 0.0 && loss > EXPLODED * progress.largest_loss;
            if !loss.is_finite() || is_exploded {
                let cause = likely_cause(&batch, &state.mlp);
                return Err(broken(loss, &state.progress, per_epoch, cause));
            }
            progress.largest_loss = progress.largest_loss.max(loss);
            progress.update += 1;
            progress.epoch_loss += loss * batch.len() as f64;
            progress.epoch_examples += batch.len() as u64;
            progress.epoch_secs += started.elapsed().as_secs_f64();
            batches.reuse(batch);
            observer.update_done(progress.update, last_update);

            let is_last = progress.update == last_update;
            let epoch_ends = progress.update.is_multiple_of(per_epoch) || is_last;
            if epoch_ends {
                check(&state, per_epoch)?;
                end_epoch(task, &mut state, &objective);
                observer.epoch_done(state.progress.history.last().expect("just ended"));
                state.progress.is_over |= is_last;
            }
            if let Some(file) = task.checkpoints {
                let interrupted = interrupt::requested();
                let spacing = if epoch_ends { file.every.min(EPOCH_SPACING) } else { file.every };
                if state.progress.is_over || interrupted || saved.elapsed() >= spacing {
                    if !epoch_ends {
                        check(&state, per_epoch)?;
                    }
                    file.save(&state, &updater.moments)?;
                    saved = Instant::now();
                }
                if interrupted {
                    return Err(Error::Interrupted { update: state.progress.update });
                }
            }
        }
        Ok(())
    })?;
    Ok(state)
}

/// The network itself may be broken by the last step, whose loss is not known yet.
fn check(state: &State, per_epoch: u64) -> Result<(), Error> {
    if state.mlp.parameters().flatten().all(|value| value.is_finite()) {
        return Ok(());
    }
    let before = Progress { update: state.progress.update - 1, ..Progress::default() };
    Err(broken(f64::NAN, &before, per_epoch, TOO_LARGE.to_owned()))
}

/// After an update that is not counted yet.
fn broken(loss: f64, progress: &Progress, per_epoch: u64, cause: String) -> Error {
    Error::NotFinite {
        loss,
        epoch: (progress.update / per_epoch) as u32 + 1,
        batch: progress.update % per_epoch + 1,
        update: progress.update + 1,
        cause,
    }
}

const TOO_LARGE: &str = "a step was too large; lower `train.learning_rate`, lengthen \
                         `train.warmup`, or standardise the features";

/// Judges the network, keeps it if it is the best, and starts the next epoch.
fn end_epoch(task: &Task, state: &mut State, objective: &Objective) {
    let p = task.params.get();
    let progress = &mut state.progress;
    let n_examples = progress.epoch_examples as f64;
    progress.history.push(Epoch {
        epoch: progress.history.len() as u32 + 1,
        updates: progress.update,
        train_loss: progress.epoch_loss / n_examples,
        valid: task.valid.map(|valid| evaluate(&state.mlp, objective, valid)),
        rows_per_s: n_examples / progress.epoch_secs,
        secs: progress.epoch_secs,
    });
    (progress.epoch_loss, progress.epoch_examples, progress.epoch_secs) = (0.0, 0, 0.0);
    if p.select_epoch == SelectEpoch::Last || task.valid.is_none() {
        return;
    }
    let value = |epoch: &Epoch| epoch.valid.as_ref().and_then(|valid| valid.merit(p.select_epoch));
    let this = progress.history.len() as u32;
    let best = progress.best_epoch.and_then(|best| value(&progress.history[best as usize - 1]));
    let is_better = match (value(&progress.history[this as usize - 1]), best) {
        (Some(value), Some(best)) => value > best,
        (None, Some(_)) => false,
        // As long as no epoch has a figure, the last one.
        (_, None) => true,
    };
    if is_better {
        progress.best_epoch = Some(this);
        state.best = Some(state.mlp.clone());
    }
    let since_best = this - progress.best_epoch.unwrap_or(this);
    let patience = p.patience.filter(|_| p.updates.is_none());
    progress.is_over = patience.is_some_and(|patience| since_best >= patience);
}

/// Why the loss is no number any more, as far as a batch and the network tell.
fn likely_cause(batch: &ExampleBatch, mlp: &Mlp) -> String {
    /// Standard deviations beyond which a value is no value but a mistake.
    const FAR: f32 = 1e4;
    let mut column = 0;
    for feature in mlp.features.iter().filter(|feature| !feature.is_sparse()) {
        for i in column..column + feature.n_dense() {
            let spread = |x: &f32| ((x - mlp.offsets[i]) * mlp.scales[i]).abs();
            let values = batch.inputs.dense.column(i);
            let worst = values.iter().copied().find(|x| !x.is_finite() || spread(x) > FAR);
            if let Some(worst) = worst {
                return format!(
                    "feature `{}` holds {worst} in this batch; clean it or cut it off",
                    feature.name
                );
            }
        }
        column += feature.n_dense();
    }
    let weights = batch.inputs.bags.iter().flat_map(|bags| &bags.weights);
    if let Some(worst) = weights.copied().find(|w| !w.is_finite() || w.abs() > FAR) {
        return format!("a list of ids has weight {worst} in this batch; take its logarithm");
    }
    let heaviest = (0..batch.len()).map(|i| batch.labels(i).weight).fold(0.0, f32::max);
    if heaviest > 1000.0 {
        return format!("an example of this batch has weight {heaviest}; see the sampling query");
    }
    TOO_LARGE.to_owned()
}

/// Weights drawn as He et al. 2015 say for rectifiers; the output layer near zero, so that
/// training starts from the prior.
fn start(task: &Task) -> Result<State, Error> {
    let p = task.params.get();
    let Architecture { features, ids, volumes, n_users } = task.architecture;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(p.seed);
    let n_dense: usize = features.iter().map(Feature::n_dense).sum();
    let step = task.examples.len().div_ceil(START_EXAMPLES).max(1);
    let rows: Vec<u32> = (0..task.examples.len() as u32).step_by(step).collect();
    let mut batch = ExampleBatch::default();
    task.examples.gather(&rows, &mut batch);
    let (offsets, scales) = if p.standardise && n_dense > 0 {
        standardisation(&batch.inputs.dense)?
    } else {
        (Array1::zeros(n_dense), Array1::ones(n_dense))
    };
    // An id list counts as as many inputs as the squares of its weights sum to.
    let bag_mass: f64 =
        batch.inputs.bags.iter().flat_map(|bags| &bags.weights).map(|w| f64::from(w * w)).sum();
    let mut n_in = n_dense as f64 + bag_mass / rows.len() as f64;

    let prior = prior_logits(volumes, *n_users);
    // The loss adds the rest.
    let bias_share = if let Loss::LogitAdjusted { tau } = p.loss { 1.0 - tau } else { 1.0 };
    let n_brands = prior.len();
    let own_history =
        p.own_history.as_ref().map(|name| own_history_start(name, features, &batch, &prior));
    let own_history = own_history.transpose()?;
    let widths: Vec<usize> = p.hidden.iter().map(|width| width.0).chain([n_brands]).collect();
    let mut gaussian = |rows: usize, columns: usize, deviation: f64| {
        let normal =
            Normal::new(0.0_f32, deviation as f32).expect("a deviation is finite and positive");
        Array2::from_shape_simple_fn((rows, columns), || normal.sample(&mut rng))
    };
    let mut bags = Vec::new();
    let mut layers = Vec::new();
    for (i, &width) in widths.iter().enumerate() {
        let is_last = i + 1 == widths.len();
        let he = (2.0 / n_in.max(1.0)).sqrt();
        let deviation = if is_last { 0.1 * he } else { he };
        if i == 0 {
            bags = ids.iter().map(|ids| gaussian(ids.n_rows(), width, deviation)).collect();
        }
        let n_rows = if i == 0 { n_dense } else { widths[i - 1] };
        let bias = if is_last { &prior * bias_share } else { Array1::zeros(width) };
        layers.push(Layer { weights: gaussian(n_rows, width, deviation), bias });
        n_in = width as f64;
    }
    let ids = ids.iter().map(Ids::listed).collect();
    let mlp = Mlp { features: features.clone(), offsets, scales, bags, ids, layers, own_history };
    Ok(State { mlp, moments: Vec::new(), progress: Progress::default(), best: None })
}

/// The common weight of having had a brand starts at how much more often, in logits, users have
/// a brand of their history than its prevalence says; all other weights at zero. The common
/// function bends where half and nine tenths of the weights lie below.
fn own_history_start(
    name: &str,
    features: &[Feature],
    batch: &ExampleBatch,
    prior: &Array1<f32>,
) -> Result<OwnHistory, Error> {
    let bag = own_history::position(features, name).ok_or_else(|| {
        Error::Data(format!("`own_history`: no list of ids `{name}` among the features"))
    })?;
    let n_brands = prior.len();
    let mut weights: Vec<f32> = batch.inputs.bags[bag].weights.iter().map(|w| w.max(0.0)).collect();
    weights.sort_by(f32::total_cmp);
    let quantile = |at: usize| weights.get(weights.len() * at / 100).map_or(0.0, |w| w.ln_1p());
    let (mut n_cells, mut n_labels, mut n_expected) = (0.5, 0.25, 0.25);
    for i in 0..batch.len() {
        let labels = batch.labels(i);
        let is_counted = |brand: &u32| {
            (*brand as usize) < n_brands && labels.ignored.binary_search(brand).is_err()
        };
        for (brand, _) in batch.inputs.bags[bag].of(i).filter(|(brand, _)| is_counted(brand)) {
            n_cells += 1.0;
            n_expected += f64::from(model::sigmoid::parts(prior[brand as usize]).p);
            n_labels += f64::from(u8::from(labels.brands.binary_search(&brand).is_ok()));
        }
    }
    let mut common = Array1::zeros(N_TERMS);
    common[0] = (logit(n_labels / n_cells) - logit(n_expected / n_cells)) as f32;
    let knots = [quantile(50), quantile(90)];
    Ok(OwnHistory { bag, knots, own: Array2::zeros((n_brands, N_OWN_TERMS)), common })
}

/// Mean and inverse deviation of each column; a column that does not vary is only centred.
fn standardisation(dense: &Array2<f32>) -> Result<(Array1<f32>, Array1<f32>), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use contract::features::FeatureKind;
    use contract::manifest::{HiddenWidth, TrainParams};
    use contract::splitmix::{GOLDEN, mix};
    use linfa::ParamGuard as _;

    use crate::MlpParams;
    use crate::examples::{ArrayExamples, Chained};

    /// 30 users with two features; labels that the features say nothing of, so that a network
    /// can only learn them by heart.
    fn users(from: usize) -> (Array2<f32>, Array2<f32>) {
        let noise =
            |i: usize| mix(((from + i) as u64).wrapping_mul(GOLDEN)) as f64 / u64::MAX as f64;
        let records = Array2::from_shape_fn((30, 2), |(i, j)| noise(2 * i + j) as f32);
        let targets =
            Array2::from_shape_fn((30, 3), |(i, j)| f32::from(noise(500 + 3 * i + j) < 0.3));
        (records, targets)
    }

    fn trained(params: TrainParams, stop_after: Option<u64>) -> Trained {
        let (records, targets) = users(0);
        let examples = ArrayExamples::new(records.view(), targets.view()).unwrap();
        let (records, targets) = users(1000);
        let valid = ArrayExamples::new(records.view(), targets.view()).unwrap();
        let architecture = Architecture {
            features: vec![Feature { name: "x".into(), kind: FeatureKind::Dense { dim: 2 } }],
            ids: Vec::new(),
            volumes: vec![9; 3],
            n_users: 30,
        };
        let task = Task {
            params: &MlpParams::new(params).check().unwrap(),
            architecture: &architecture,
            examples: &examples,
            valid: Some(&valid),
            budget: stop_after.map(|stop_after| Budget { planned: 160, stop_after }),
            checkpoints: None,
        };
        train(&task, &mut ()).unwrap()
    }

    /// Four updates an epoch.
    fn params() -> TrainParams {
        TrainParams {
            hidden: vec![HiddenWidth(32)],
            loss: Loss::Bce {},
            batch_size: 8,
            epochs: 40,
            patience: None,
            learning_rate: 0.03,
            dropout: 0.0,
            ..TrainParams::default()
        }
    }

    #[test]
    fn the_epoch_kept_is_the_best_by_its_figure() {
        let last = trained(TrainParams { select_epoch: SelectEpoch::Last, ..params() }, None);
        assert_eq!((last.epoch, last.updates, last.history.len()), (40, 160, 40));
        for by in [
            SelectEpoch::Loss,
            SelectEpoch::MacroF1,
            SelectEpoch::UserF1,
            SelectEpoch::MeanAveragePrecision,
        ] {
            let best = trained(TrainParams { select_epoch: by, ..params() }, None);
            let merit = |epoch: &Epoch| epoch.valid.unwrap().merit(by).unwrap();
            let most = best.history.iter().map(merit).fold(f64::MIN, f64::max);
            assert_eq!(merit(&best.history[best.epoch as usize - 1]), most, "{by:?}");
            assert_eq!(best.updates, 4 * u64::from(best.epoch), "{by:?}");
        }
        // What is learned by heart is wrong for others: the loss is best early.
        let best = trained(TrainParams { select_epoch: SelectEpoch::Loss, ..params() }, None);
        assert!(best.epoch < 10, "{}", best.epoch);
        // The network kept is that of its epoch: training that ends there gives the same.
        let again = TrainParams { select_epoch: SelectEpoch::Last, ..params() };
        let again = trained(again, Some(best.updates));
        assert!(best.mlp.parameters().eq(again.mlp.parameters()));
    }

    /// Both start from the prior: the first batch costs the same, up to the small first weights.
    #[test]
    fn a_logit_adjusted_training_starts_from_the_prior_too() {
        let first_loss = |loss: Loss| {
            let params = TrainParams { loss, updates: Some(1), hidden: Vec::new(), ..params() };
            trained(params, Some(1)).history[0].train_loss
        };
        let (bce, adjusted) =
            (first_loss(Loss::Bce {}), first_loss(Loss::LogitAdjusted { tau: 0.75 }));
        assert!((bce - adjusted).abs() < 1e-5, "{adjusted} for {bce}");
    }

    #[test]
    fn patience_ends_training_after_as_many_epochs_without_a_better_one() {
        let params = TrainParams { select_epoch: SelectEpoch::Loss, patience: Some(3), ..params() };
        let trained = trained(params, None);
        assert_eq!(trained.history.len(), trained.epoch as usize + 3);
    }

    /// Ten updates are two epochs of four and half of a third.
    #[test]
    fn updates_take_the_place_of_epochs() {
        let params = TrainParams { updates: Some(10), select_epoch: SelectEpoch::Last, ..params() };
        let trained = trained(params, None);
        let updates: Vec<u64> = trained.history.iter().map(|epoch| epoch.updates).collect();
        assert_eq!(updates, [4, 8, 10]);
        assert_eq!(trained.updates, 10);
    }

    #[test]
    fn chained_examples_are_those_of_both() {
        let ((first, first_targets), (second, second_targets)) = (users(0), users(1000));
        let first_examples = ArrayExamples::new(first.view(), first_targets.view()).unwrap();
        let second_examples = ArrayExamples::new(second.view(), second_targets.view()).unwrap();
        let chained = Chained { first: &first_examples, second: &second_examples };
        assert_eq!(chained.len(), 60);
        let mut batch = ExampleBatch::default();
        chained.gather(&[31, 2, 59], &mut batch);
        assert_eq!(batch.inputs.dense.row(0), second.row(1));
        assert_eq!(batch.inputs.dense.row(1), first.row(2));
        assert_eq!(batch.inputs.dense.row(2), second.row(29));
        let n_labels = second_targets.row(29).sum() as usize;
        assert_eq!(batch.labels(2).brands.len(), n_labels);
    }

    #[test]
    fn the_cause_of_a_broken_loss_is_looked_for_in_the_batch() {
        let state_of = |dense: f32, weight: f32| {
            let (records, targets) = users(0);
            let examples = ArrayExamples::new(records.view(), targets.view()).unwrap();
            let mut batch = ExampleBatch::default();
            examples.gather(&[0, 1], &mut batch);
            batch.inputs.dense[[1, 0]] = dense;
            batch.push_labels(crate::loss::Labels { brands: &[], ignored: &[], weight });
            let mlp = trained(TrainParams { epochs: 1, ..params() }, None).mlp;
            likely_cause(&batch, &mlp)
        };
        assert!(state_of(f32::NAN, 1.0).contains("feature `x` holds NaN"));
        assert!(state_of(1e9, 1.0).contains("feature `x` holds 1000000000"));
        assert!(state_of(0.5, 5000.0).contains("an example of this batch has weight 5000"));
        assert!(state_of(0.5, 1.0).contains("a step was too large"));
    }
}

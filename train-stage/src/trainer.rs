//! The training loop.

use std::path::Path;
use std::thread::Scope;
use std::time::{Duration, Instant};

use contract::manifest::SelectEpoch;
use contract::{interrupt, threads};
use model::Mlp;
use model::mlp::Dropout;

use crate::adam::Step;
use crate::batches::{Batches, updates_per_epoch};
use crate::checkpoint::Unusable;
use crate::diagnosis::{check_loss, check_network};
use crate::error::Error;
use crate::loss::Objective;
use crate::params::MlpValidParams;
use crate::start::start;
use crate::state::{Epoch, Progress, State};
use crate::task::{Budget, Task};
use crate::update::{Update, Updater};
use crate::validation::evaluate;

/// An epoch that ends sooner than this after the last checkpoint does not write another.
const EPOCH_SPACING: Duration = Duration::from_secs(10);

/// Receives training progress.
pub trait Observer {
    /// After every update, of the number planned.
    fn update_done(&mut self, _update: u64, _n_updates: u64) {}

    /// After every epoch.
    fn epoch_done(&mut self, _epoch: &Epoch) {}

    /// Training resumes from a checkpoint made after this update.
    fn resumed(&mut self, _update: u64, _n_updates: u64) {}

    /// Training starts over, though there is a checkpoint.
    fn checkpoint_unusable(&mut self, _file: &Path, _why: &Unusable) {}
}

/// Ignores all progress.
impl Observer for () {}

/// A trained network.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The network of the selected epoch
    pub mlp: Mlp,
    /// Gradient updates that `mlp` took
    pub updates: u64,
    /// The selected epoch, from 1
    pub epoch: u32,
    /// Every epoch, also those after the selected one
    pub history: Vec<Epoch>,
    /// Wall time of the updates before the checkpoint that training resumed from; 0 if it did not
    pub earlier_secs: f64,
}

/// Trains a network.
///
/// The result depends on the parameters, the examples, the valid users and the seed alone: not
/// on the number of threads, nor on interruptions.
///
/// # Errors
///
/// [`Error::Data`] if there is no example, [`Error::NotFinite`] if the loss explodes,
/// [`Error::Interrupted`] on Ctrl-C once a checkpoint is written, [`Error::Paused`] after
/// [`Task::pause_after`] updates.
pub fn train(task: &Task, observer: &mut (dyn Observer + Send)) -> Result<Trained, Error> {
    if task.examples.is_empty() {
        return Err(Error::Data("there is no example to train on".to_owned()));
    }
    let pool = threads::pool("train.threads", task.params.get().threads)?;
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

/// The state that an earlier process got to.
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

/// From a state to the end.
fn run(
    task: &Task,
    mut state: State,
    observer: &mut (dyn Observer + Send),
) -> Result<State, Error> {
    let p = task.params.get();
    let (volumes, n_users) = (&task.architecture.volumes, task.architecture.n_users);
    let objective = Objective::new(p, volumes, n_users);
    let mut updater = Updater::new(&mut state.mlp, p, volumes, n_users);
    if state.progress.update > 0 {
        updater.moments = std::mem::take(&mut state.moments);
    }
    std::thread::scope(|scope| {
        let batches = start_batches(scope, task, state.progress.update)?;
        let Budget { planned, stop_after } = task.budget();
        let per_epoch = updates_per_epoch(task.examples.len(), p.batch_size);
        let mut saved = Instant::now();
        while state.progress.update < stop_after && !state.progress.is_over {
            if task.pause_after.is_some_and(|pause| state.progress.update >= pause) {
                return Err(paused(task, &state, &updater, &objective)?);
            }
            let started = Instant::now();
            let batch = batches.next();
            let update = next_update(task.params, state.progress.update, planned);
            let loss = updater.update(&mut state.mlp, &objective, &batch, update);
            check_loss(loss, &batch, &state, per_epoch)?;
            state.progress.count(loss, batch.len(), started.elapsed());
            batches.reuse(batch);
            observer.update_done(state.progress.update, stop_after);

            let is_last = state.progress.update == stop_after;
            let epoch_ends = state.progress.update.is_multiple_of(per_epoch) || is_last;
            if epoch_ends {
                check_network(&state, per_epoch)?;
                end_epoch(task, &mut state, &objective);
                observer.epoch_done(state.progress.history.last().expect("just ended"));
                state.progress.is_over |= is_last;
            }
            let Some(file) = task.checkpoints else { continue };
            let interrupted = interrupt::requested();
            let spacing = if epoch_ends { file.every.min(EPOCH_SPACING) } else { file.every };
            if state.progress.is_over || interrupted || saved.elapsed() >= spacing {
                if !epoch_ends {
                    check_network(&state, per_epoch)?;
                }
                file.save(&state, &updater.moments)?;
                saved = Instant::now();
            }
            if interrupted {
                return Err(Error::Interrupted { update: state.progress.update });
            }
        }
        Ok(())
    })?;
    Ok(state)
}

fn start_batches<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    task: &Task<'env>,
    first_update: u64,
) -> Result<Batches, Error> {
    let p = task.params.get();
    Batches::start(scope, task.examples, p.batch_size, p.seed, first_update)
        .map_err(|err| threads::Error::of_one("train.threads", err).into())
}

/// * `update`: from 0, of `planned` in all.
fn next_update(params: &MlpValidParams, update: u64, planned: u64) -> Update {
    let p = params.get();
    let step = Step {
        learning_rate: params.learning_rate(update, planned),
        weight_decay: p.weight_decay,
        update: update + 1,
    };
    let seed = p.seed.wrapping_add(update.wrapping_mul(0x2545_f491_4f6c_dd1d));
    Update { step, dropout: Dropout { rate: p.dropout, seed } }
}

/// Leaves a checkpoint and judges the network as it is.
fn paused(
    task: &Task,
    state: &State,
    updater: &Updater,
    objective: &Objective,
) -> Result<Error, Error> {
    if let Some(file) = task.checkpoints {
        file.save(state, &updater.moments)?;
    }
    let valid = task.valid.map(|valid| evaluate(&state.mlp, objective, valid));
    Ok(Error::Paused {
        update: state.progress.update,
        planned: task.budget().planned,
        map: valid.and_then(|valid| valid.mean_average_precision),
    })
}

/// Judges the network, keeps it if it is the best, and starts the next epoch.
fn end_epoch(task: &Task, state: &mut State, objective: &Objective) {
    let p = task.params.get();
    let valid = task.valid.map(|valid| evaluate(&state.mlp, objective, valid));
    let progress = &mut state.progress;
    progress.end_epoch(valid);
    if p.select_epoch == SelectEpoch::Last || task.valid.is_none() {
        return;
    }
    let merit = |epoch: &Epoch| epoch.valid.as_ref().and_then(|valid| valid.merit(p.select_epoch));
    let this = progress.history.len() as u32;
    let best = progress.best_epoch.and_then(|best| merit(&progress.history[best as usize - 1]));
    let is_better = match (merit(&progress.history[this as usize - 1]), best) {
        (Some(merit), Some(best)) => merit > best,
        (None, Some(_)) => false,
        // The last epoch, as long as none has a figure.
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

#[cfg(test)]
mod tests {
    use super::*;
    use contract::features::{Feature, FeatureKind};
    use contract::manifest::{HiddenWidth, Loss, TrainParams};
    use contract::splitmix::{GOLDEN, mix};
    use linfa::ParamGuard as _;
    use ndarray::Array2;

    use crate::MlpParams;
    use crate::examples::ArrayExamples;
    use crate::task::Architecture;

    /// 30 users with two features, which say nothing about the labels: a network can only learn
    /// the labels by heart.
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
            features: vec![Feature::new("x", FeatureKind::Dense { dim: 2 })],
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
            pause_after: None,
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
    fn the_epoch_that_is_kept_is_the_best_by_its_figure() {
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
        // What is learned by heart is wrong for other users, so the loss is best early.
        let best = trained(TrainParams { select_epoch: SelectEpoch::Loss, ..params() }, None);
        assert!(best.epoch < 10, "{}", best.epoch);
        // The network kept is that of its epoch: a training that ends there gives the same.
        let again = TrainParams { select_epoch: SelectEpoch::Last, ..params() };
        let again = trained(again, Some(best.updates));
        assert!(best.mlp.parameters().eq(again.mlp.parameters()));
    }

    /// Both start from the prior, so the first batch has the same loss up to the small first weights.
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
    fn training_ends_after_patience_epochs_without_a_better_one() {
        let params = TrainParams { select_epoch: SelectEpoch::Loss, patience: Some(3), ..params() };
        let trained = trained(params, None);
        assert_eq!(trained.history.len(), trained.epoch as usize + 3);
    }

    /// Ten updates are two epochs of four and half of a third.
    #[test]
    fn a_number_of_updates_overrides_epochs() {
        let params = TrainParams { updates: Some(10), select_epoch: SelectEpoch::Last, ..params() };
        let trained = trained(params, None);
        let updates: Vec<u64> = trained.history.iter().map(|epoch| epoch.updates).collect();
        assert_eq!(updates, [4, 8, 10]);
        assert_eq!(trained.updates, 10);
    }
}

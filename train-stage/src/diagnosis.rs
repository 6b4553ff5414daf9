//! Finds a loss or a network that is not finite, and its likely cause.

use model::Mlp;

use crate::error::Error;
use crate::examples::ExampleBatch;
use crate::state::State;

/// A loss this many times the largest one before is on its way to infinity.
const EXPLODED: f64 = 1000.0;

/// A dense value this many standard deviations from its mean, or a weight of an id beyond this, is
/// taken for a mistake in the data.
const FAR: f32 = 1e4;

/// An example of more weight than this can break the loss by itself.
const HEAVY: f32 = 1000.0;

const STEP_TOO_LARGE: &str = "a step was too large; lower `train.learning_rate`, lengthen \
                              `train.warmup`, or standardise the features";

/// Checks the loss of an update that `state` does not count yet.
///
/// # Errors
///
/// [`Error::NotFinite`] if it is not finite or has exploded.
pub(crate) fn check_loss(
    loss: f64,
    batch: &ExampleBatch,
    state: &State,
    updates_per_epoch: u64,
) -> Result<(), Error> {
    let largest = state.progress.largest_loss;
    let is_exploded = largest > 0.0 && loss > EXPLODED * largest;
    if loss.is_finite() && !is_exploded {
        return Ok(());
    }
    let cause = likely_cause(batch, &state.mlp);
    Err(not_finite(loss, state.progress.update + 1, updates_per_epoch, cause))
}

/// Checks the network: the last update may have broken it, which only the next loss would show.
///
/// # Errors
///
/// [`Error::NotFinite`] if one of its parameters is not finite.
pub(crate) fn check_network(state: &State, updates_per_epoch: u64) -> Result<(), Error> {
    if state.mlp.parameters().flatten().all(|value| value.is_finite()) {
        return Ok(());
    }
    let update = state.progress.update;
    Err(not_finite(f64::NAN, update, updates_per_epoch, STEP_TOO_LARGE.to_owned()))
}

/// * `update`: from 1.
fn not_finite(loss: f64, update: u64, updates_per_epoch: u64, cause: String) -> Error {
    Error::NotFinite {
        loss,
        epoch: ((update - 1) / updates_per_epoch) as u32 + 1,
        batch: (update - 1) % updates_per_epoch + 1,
        update,
        cause,
    }
}

/// Why the loss is not finite, as far as a batch and the network tell.
fn likely_cause(batch: &ExampleBatch, mlp: &Mlp) -> String {
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
    if heaviest > HEAVY {
        return format!("an example of this batch has weight {heaviest}; see the sampling query");
    }
    STEP_TOO_LARGE.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use contract::features::{Feature, FeatureKind};
    use ndarray::{Array, array};

    /// Reads one feature of two values as they are; has no layer, which a diagnosis does not read.
    fn network() -> Mlp {
        Mlp {
            features: vec![Feature::new("x", FeatureKind::Dense { dim: 2 })],
            offsets: Array::zeros(2),
            scales: Array::ones(2),
            ids: Vec::new(),
            log_bags: Vec::new(),
            bags: Vec::new(),
            layers: Vec::new(),
            own_history: Vec::new(),
        }
    }

    #[test]
    fn the_likely_cause_of_a_broken_loss_is_found_in_the_batch() {
        let cause_of = |dense: f32, weight: f32| {
            let mut batch = ExampleBatch::default();
            batch.inputs.dense = array![[0.25, 0.75], [dense, 0.5]];
            for weight in [1.0, weight] {
                batch.push_labels(Labels { brands: &[], ignored: &[], weight });
            }
            likely_cause(&batch, &network())
        };
        assert!(cause_of(f32::NAN, 1.0).contains("feature `x` holds NaN"));
        assert!(cause_of(1e9, 1.0).contains("feature `x` holds 1000000000"));
        assert!(cause_of(0.5, 5000.0).contains("an example of this batch has weight 5000"));
        assert!(cause_of(0.5, 1.0).contains("a step was too large"));
    }
}

//! The network as a linfa estimator: `Fit` on a `linfa::Dataset`, `Predict` to probabilities.

use contract::features::{Feature, FeatureKind};
use linfa::DatasetBase;
use linfa::dataset::AsTargets;
use linfa::prelude::Fit;
use linfa::traits::PredictInplace;
use model::mlp::sigmoid_in_place;
use model::{Batch, Mlp, Workspace};
use ndarray::{Array2, ArrayBase, Axis, Data, Ix2};

use crate::error::Error;
use crate::examples::ArrayExamples;
use crate::params::MlpValidParams;
use crate::task::{Architecture, Task};
use crate::trainer::{Trained, train};

/// Users whose features and hidden layers are held at a time.
const BATCH: usize = 1024;

/// A network trained on a `linfa::Dataset`.
#[derive(Debug, Clone)]
pub struct FittedMlp {
    /// The network, or the average of all members
    pub mlp: Mlp,
    /// Gradient updates of all members together
    pub n_updates: u64,
}

impl<D, T> Fit<ArrayBase<D, Ix2>, T, Error> for MlpValidParams
where
    D: Data<Elem = f32>,
    T: AsTargets<Elem = f32, Ix = Ix2>,
{
    type Object = FittedMlp;

    /// Trains on `(n_users, n_features)` records and `(n_users, n_brands)` targets of 0 and 1.
    ///
    /// For many brands use the program or [`crate::trainer::train`], which read lists of brands
    /// instead of dense targets.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<FittedMlp, Error> {
        let targets = dataset.as_targets();
        let records = dataset.records().view();
        let examples = ArrayExamples::new(records, targets.view()).map_err(Error::Data)?;
        let volumes: Vec<u64> =
            targets.columns().into_iter().map(|column| column.sum() as u64).collect();
        let n_features = dataset.records().ncols();
        let architecture = Architecture {
            features: vec![Feature::new("records", FeatureKind::Dense { dim: n_features })],
            ids: Vec::new(),
            volumes,
            n_users: targets.nrows() as u64,
        };
        let trained: Vec<Trained> = self
            .members()
            .map(|params| {
                let task = Task {
                    pause_after: None,
                    params: &params,
                    architecture: &architecture,
                    examples: &examples,
                    valid: None,
                    budget: None,
                    checkpoints: None,
                };
                train(&task, &mut ())
            })
            .collect::<Result<_, _>>()?;
        let n_updates = trained.iter().map(|member| member.updates).sum();
        let mlp = Mlp::average(trained.into_iter().map(|member| member.mlp).collect());
        Ok(FittedMlp { mlp, n_updates })
    }
}

impl<D: Data<Elem = f32>> PredictInplace<ArrayBase<D, Ix2>, Array2<f32>> for FittedMlp {
    /// Probabilities `(n_users, n_brands)`.
    fn predict_inplace(&self, records: &ArrayBase<D, Ix2>, probs: &mut Array2<f32>) {
        let (mut batch, mut workspace) = (Batch::default(), Workspace::default());
        let batches = records.axis_chunks_iter(Axis(0), BATCH);
        for (records, logits) in batches.zip(probs.axis_chunks_iter_mut(Axis(0), BATCH)) {
            batch.dense = records.to_owned();
            self.mlp.forward(&batch, &mut workspace, logits, None);
        }
        sigmoid_in_place(probs.as_slice_mut().expect("made by `default_target`"));
    }

    fn default_target(&self, records: &ArrayBase<D, Ix2>) -> Array2<f32> {
        Array2::zeros((records.nrows(), self.mlp.n_brands()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::manifest::{Decay, HiddenWidth, Loss, TrainParams};
    use linfa::Dataset;
    use linfa::prelude::Predict;
    use ndarray::array;

    use crate::params::MlpParams;

    /// 150 users around a circle; a brand goes to those in its half of the plane. Users lie at
    /// every 2.4 degrees from 1.2 and edges at multiples of 60, so a line parts the users with a
    /// brand from the others by 1.2 degrees.
    fn half_planes() -> Dataset<f32, f32, Ix2> {
        let n_users = 150;
        let angle = |i: usize| std::f32::consts::TAU * (i as f32 + 0.5) / n_users as f32;
        let records = Array2::from_shape_fn((n_users, 2), |(i, j)| {
            if j == 0 { angle(i).cos() } else { angle(i).sin() }
        });
        let normals = array![[0.866_f32, 0.5], [-0.866, 0.5], [0.0, -1.0]];
        let targets = records.dot(&normals.t()).mapv(|side| if side > 0.0 { 1.0 } else { 0.0 });
        Dataset::new(records, targets)
    }

    /// 150 examples are two batches of 64 and one of 22. The second layer is wider than the block of
    /// columns that one thread sums.
    fn quick() -> TrainParams {
        TrainParams {
            hidden: vec![HiddenWidth(16), HiddenWidth(70)],
            epochs: 3,
            batch_size: 64,
            learning_rate: 0.01,
            dropout: 0.25,
            ..TrainParams::default()
        }
    }

    fn fit(params: TrainParams) -> Result<FittedMlp, Error> {
        MlpParams::new(params).fit(&half_planes())
    }

    /// The bits of every trained number.
    fn bits(fitted: &FittedMlp) -> Vec<u32> {
        let Mlp { offsets, scales, .. } = &fitted.mlp;
        let values = offsets.iter().chain(scales).chain(fitted.mlp.parameters().flatten());
        values.map(|value| value.to_bits()).collect()
    }

    #[test]
    fn probabilities_rank_labels_above_the_rest() {
        for loss in [Loss::Bce {}, Loss::Bfce { gamma: 2.0, alpha: None }, Loss::Mse {}] {
            let dataset = half_planes();
            let hidden = vec![HiddenWidth(16)];
            let params = TrainParams {
                loss,
                hidden,
                epochs: 60,
                learning_rate: 0.03,
                dropout: 0.0,
                ..quick()
            };
            let fitted: FittedMlp = MlpParams::new(params).fit(&dataset).unwrap();
            assert_eq!(fitted.n_updates, 3 * 60, "{loss:?}"); // 64 + 64 + 22 users, 60 times
            let probs = fitted.predict(dataset.records());
            assert!(probs.iter().all(|p| (0.0..=1.0).contains(p)), "{loss:?}");
            for brand in 0..3 {
                let of = |is_label: bool| {
                    let cells =
                        probs.column(brand).into_iter().zip(dataset.targets().column(brand));
                    cells.filter(move |&(_, &y)| (y > 0.5) == is_label).map(|(&p, _)| p)
                };
                let (lowest, highest) =
                    (of(true).fold(1.0, f32::min), of(false).fold(0.0, f32::max));
                assert!(
                    lowest > highest,
                    "{loss:?} brand {brand}: {lowest} of a label, {highest} without"
                );
            }
        }
    }

    #[test]
    fn any_number_of_threads_trains_the_same_bytes() {
        let one = fit(TrainParams { threads: Some(1), ..quick() }).unwrap();
        for threads in [2, 3] {
            let other = fit(TrainParams { threads: Some(threads), ..quick() }).unwrap();
            assert_eq!(bits(&one), bits(&other), "{threads} threads");
        }
    }

    #[test]
    fn another_seed_trains_another_network() {
        let other = TrainParams { seed: quick().seed + 1, ..quick() };
        assert_ne!(bits(&fit(quick()).unwrap()), bits(&fit(other).unwrap()));
    }

    /// With dropout there are other gradients, and with the same seed the same first weights.
    #[test]
    fn dropout_changes_the_trained_weights() {
        let without = TrainParams { dropout: 0.0, ..quick() };
        assert_ne!(bits(&fit(quick()).unwrap()), bits(&fit(without).unwrap()));
    }

    /// A rectifier must not turn NaN into 0, whatever the loss, the depth and the scaling.
    #[test]
    fn a_feature_that_is_nan_stops_training() {
        for loss in [Loss::Bce {}, Loss::Bfce { gamma: 2.0, alpha: None }, Loss::Mse {}] {
            for hidden in [vec![], vec![HiddenWidth(4)], vec![HiddenWidth(4), HiddenWidth(4)]] {
                for (standardise, dropout) in [(true, 0.0), (false, 0.0), (false, 0.5)] {
                    let mut dataset = half_planes();
                    dataset.records[[149, 1]] = f32::NAN;
                    let hidden = hidden.clone();
                    let params = TrainParams { loss, hidden, standardise, dropout, ..quick() };
                    let result: Result<FittedMlp, Error> = MlpParams::new(params).fit(&dataset);
                    let err = result.expect_err("NaN is not a valid feature");
                    assert!(matches!(err, Error::NotFinite { epoch: 1, .. }), "{loss:?}: {err}");
                }
            }
        }
    }

    /// The first update of Adam moves every weight by 1, those of a layer in step, so that a layer
    /// of 128 units grows its input some tenfold; 30 such layers leave the range of `f32`.
    #[test]
    fn an_exploding_loss_says_where_and_what_to_do() {
        let params = TrainParams {
            hidden: vec![HiddenWidth(128); 30],
            loss: Loss::Bce {},
            batch_size: 150,
            learning_rate: 1.0,
            warmup: 0.0,
            decay: Decay::None,
            dropout: 0.0,
            ..quick()
        };
        let err = fit(params).unwrap_err();
        // All 150 examples in one batch: the second update is that of the second epoch.
        let Error::NotFinite { loss, epoch: 2, batch: 1, update: 2, .. } = err else {
            panic!("{err}")
        };
        // Infinity or NaN, whichever sum overflowed first.
        let expected = format!(
            "the loss is {loss} in epoch 2, batch 1 (update 2)\n\
             likely cause: a step was too large; lower `train.learning_rate`, lengthen \
             `train.warmup`, or standardise the features"
        );
        assert_eq!(err.to_string(), expected);
    }

    #[test]
    fn a_target_is_0_or_1() {
        let mut dataset = half_planes();
        dataset.targets[[3, 1]] = 2.0;
        let result: Result<FittedMlp, Error> = MlpParams::new(quick()).fit(&dataset);
        assert_eq!(result.unwrap_err().to_string(), "a target is 2, expected 0 or 1");
    }

    #[test]
    fn unchecked_params_are_checked_by_fit() {
        let err = fit(TrainParams { epochs: 0, ..quick() }).unwrap_err();
        let expected = "`epochs`: must be at least 1 and at most 1000000, got 0";
        assert_eq!(err.to_string(), expected);
    }
}

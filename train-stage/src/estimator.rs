//! The network as a linfa estimator: `Fit` on a `linfa::Dataset`, `Predict` to probabilities.

use contract::features::{Feature, FeatureKind};
use linfa::dataset::AsTargets;
use linfa::prelude::Fit;
use linfa::traits::PredictInplace;
use linfa::{DatasetBase, Float};
use model::mlp::sigmoid_in_place;
use model::{Batch, Mlp, Workspace, prior_logits};
use ndarray::{Array2, ArrayBase, Data, Ix2};

use crate::examples::ArrayExamples;
use crate::params::{Error, MlpValidParams};
use crate::trainer::{Architecture, train};

/// A network trained on a `linfa::Dataset`.
#[derive(Debug, Clone)]
pub struct FittedMlp {
    /// The network
    pub mlp: Mlp,
    /// Gradient updates it took
    pub n_updates: u64,
}

impl<D, T> Fit<ArrayBase<D, Ix2>, T, Error> for MlpValidParams
where
    D: Data<Elem = f32>,
    T: AsTargets<Elem = f32, Ix = Ix2>,
    f32: Float,
{
    type Object = FittedMlp;

    /// Trains on `(n_users, n_features)` records and `(n_users, n_brands)` targets of 0 and 1.
    ///
    /// Targets are dense here, as linfa has them; for many brands use `train-stage` or
    /// [`crate::trainer::train`], which read lists.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<FittedMlp, Error> {
        let targets = dataset.as_targets();
        let examples = ArrayExamples::new(dataset.records().view(), targets).map_err(Error::Data)?;
        let targets = dataset.as_targets();
        let volumes: Vec<u64> = targets.columns().into_iter().map(|column| column.sum() as u64).collect();
        let n_features = dataset.records().ncols();
        let architecture = Architecture {
            features: vec![Feature { name: "records".into(), kind: FeatureKind::Dense { dim: n_features } }],
            n_ids: Vec::new(),
            prior: prior_logits(&volumes, targets.nrows() as u64),
        };
        let (mlp, n_updates) = train(self, &architecture, &examples, &mut ())?;
        Ok(FittedMlp { mlp, n_updates })
    }
}

impl<D: Data<Elem = f32>> PredictInplace<ArrayBase<D, Ix2>, Array2<f32>> for FittedMlp {
    /// Probabilities `(n_users, n_brands)`.
    fn predict_inplace(&self, records: &ArrayBase<D, Ix2>, probs: &mut Array2<f32>) {
        let batch = Batch { dense: records.to_owned(), bags: Vec::new() };
        self.mlp.forward(&batch, &mut Workspace::default(), probs.view_mut(), None);
        sigmoid_in_place(probs.as_slice_mut().expect("made by `default_target`"));
    }

    fn default_target(&self, records: &ArrayBase<D, Ix2>) -> Array2<f32> {
        Array2::zeros((records.nrows(), self.mlp.n_brands()))
    }
}

//! Figures of a network on the valid users.

use contract::manifest::SelectEpoch;
use metrics::calibration::{self, DEFAULT_STRENGTH};
use metrics::{
    Counts, Curve, HistogramBuilder, average_precision, counts_at, expected, f1, macro_f1,
    mean_defined,
};
use model::{Mlp, Workspace};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::iter::ParallelExtend as _;

use crate::examples::{ExampleBatch, Examples};
use crate::labels::Labels;
use crate::loss::Objective;

/// Users whose logits are held in memory at a time.
const BATCH: usize = 1024;

/// Figures on the valid users, at each brand's expected-F1 threshold after calibration.
///
/// Both are fitted on the same users, so the figures can be compared between epochs but are a little
/// too good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// The training loss without the soft F1 term
    pub loss: f64,
    /// Mean of the brands' F1
    pub macro_f1: Option<f64>,
    /// Mean of the users' F1, over users with a label
    pub user_f1: Option<f64>,
    /// Mean of the brands' average precision, over brands with a user
    pub mean_average_precision: Option<f64>,
}

impl Figures {
    /// The figure that epochs are compared by; more is better. `None` if it is undefined.
    pub fn merit(&self, by: SelectEpoch) -> Option<f64> {
        let merit = match by {
            SelectEpoch::Last => None,
            SelectEpoch::Loss => Some(-self.loss),
            SelectEpoch::MacroF1 => self.macro_f1,
            SelectEpoch::UserF1 => self.user_f1,
            SelectEpoch::MeanAveragePrecision => self.mean_average_precision,
        };
        merit.filter(|merit| merit.is_finite())
    }

    /// All figures, in the order of the fields.
    pub(crate) fn to_array(self) -> [Option<f64>; 4] {
        [Some(self.loss), self.macro_f1, self.user_f1, self.mean_average_precision]
    }

    /// The inverse of [`Self::to_array`]; `None` without a loss.
    pub(crate) fn from_array(values: [Option<f64>; 4]) -> Option<Self> {
        let [loss, macro_f1, user_f1, mean_average_precision] = values;
        Some(Self { loss: loss?, macro_f1, user_f1, mean_average_precision })
    }
}

/// Evaluates a network in two passes over `users`: one to find thresholds, one to use them.
pub fn evaluate(mlp: &Mlp, objective: &Objective, users: &dyn Examples) -> Figures {
    let mut counted = HistogramBuilder::new(mlp.n_brands());
    let mut total_loss = 0.0;
    for_each_batch(mlp, users, |logits, batch| {
        let flat = logits.as_slice().expect("fresh logits are contiguous");
        counted.add_rows(flat, batch.brands());
        let labels: Vec<Labels> = (0..batch.len()).map(|i| batch.labels(i)).collect();
        total_loss += objective.loss(logits, &labels) * labels.len() as f64;
    });

    let histogram = counted.build();
    let brands: Vec<(Curve, f64)> = calibration::fit(&histogram, DEFAULT_STRENGTH)
        .into_iter()
        .enumerate()
        .map(|(brand, platt)| {
            let curve = Curve::from(platt);
            let threshold = expected(histogram.brand(brand), &curve).map_or(1.0, |e| e.threshold());
            (curve, threshold)
        })
        .collect();
    let counts: Vec<Counts> = brands
        .iter()
        .enumerate()
        .map(|(brand, (curve, threshold))| counts_at(histogram.brand(brand), curve, *threshold))
        .collect();
    // A brand is predicted from this logit on.
    let cuts: Vec<f32> =
        brands.iter().map(|(curve, threshold)| curve.logit_of(*threshold) as f32).collect();
    let mut user_f1 = Vec::with_capacity(users.len());
    for_each_batch(mlp, users, |logits, batch| {
        let rows = logits.axis_iter(Axis(0)).into_par_iter();
        let of_batch = rows.enumerate().map(|(i, row)| {
            let brands = batch.brands().get(i);
            let n_predicted = row.iter().zip(&cuts).filter(|(z, cut)| z >= cut).count() as u64;
            let is_hit = |brand: &&u32| row[**brand as usize] >= cuts[**brand as usize];
            let tp = brands.iter().filter(is_hit).count() as u64;
            let n_labels = brands.len() as u64;
            let of_user = Counts { tp, fp: n_predicted - tp, fn_: n_labels - tp };
            if n_labels == 0 { None } else { f1(of_user) }
        });
        user_f1.par_extend(of_batch);
    });
    let precisions = (0..mlp.n_brands()).map(|brand| average_precision(histogram.brand(brand)));
    Figures {
        loss: total_loss / users.len() as f64,
        macro_f1: macro_f1(&counts),
        user_f1: mean_defined(user_f1.into_iter()),
        mean_average_precision: mean_defined(precisions),
    }
}

fn for_each_batch(
    mlp: &Mlp,
    users: &dyn Examples,
    mut each: impl FnMut(ArrayView2<f32>, &ExampleBatch),
) {
    let mut batch = ExampleBatch::default();
    let mut workspace = Workspace::default();
    let rows: Vec<u32> = (0..users.len() as u32).collect();
    let mut logits = Array2::zeros((BATCH.min(rows.len()), mlp.n_brands()));
    for rows in rows.chunks(BATCH) {
        users.gather(rows, &mut batch);
        let mut view = logits.slice_mut(ndarray::s![..rows.len(), ..]);
        mlp.forward(&batch.inputs, &mut workspace, view.view_mut(), None);
        each(view.view(), &batch);
    }
}

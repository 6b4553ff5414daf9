//! Models without training, to compare trained ones with.

use contract::features::Feature;
use ndarray::{Array1, ArrayViewMut2};

use crate::inputs::Batch;
use crate::sigmoid::logit;

/// Predicts each brand's prevalence among training users, for every user.
#[derive(Debug, Clone)]
pub struct Popularity {
    /// `(n_brands,)`: logit of the prevalence
    pub prior: Array1<f32>,
}

/// Predicts a high probability for the brands that the user had before, a low one for all others.
#[derive(Debug, Clone)]
pub struct Persistence {
    /// The feature with the brands that a user had
    pub history: Feature,
    /// `(n_brands,)`: logit of the prevalence; orders brands within both groups
    pub prior: Array1<f32>,
}

/// Logits of `persistence` lie this far on either side of 0, so that a threshold of 0.5 separates
/// the two groups.
const PERSISTENCE_LOGIT: f32 = 7.0;

/// Share of the prior in the logits of `persistence`. Priors lie between -14 and 14, so a quarter
/// cannot move a brand across 0.
const PRIOR_SHARE: f32 = 0.25;

/// Logit of each brand's prevalence among `n_users` training users, with half a user added
/// to either side so that it is finite; between -14 and 14.
pub fn prior_logits(volumes: &[u64], n_users: u64) -> Array1<f32> {
    let prior = |&volume: &u64| logit((volume as f64 + 0.5) / (n_users as f64 + 1.0));
    volumes.iter().map(|volume| prior(volume).clamp(-14.0, 14.0) as f32).collect()
}

impl Popularity {
    pub(crate) fn logits(&self, mut logits: ArrayViewMut2<f32>) {
        for mut row in logits.rows_mut() {
            row.assign(&self.prior);
        }
    }
}

impl Persistence {
    /// The logits of the brands that a user had and of others, `(n_brands,)` each.
    pub fn logits_of_had_and_new(&self) -> [Array1<f32>; 2] {
        let shares = self.prior.mapv(|prior| prior * PRIOR_SHARE);
        [&shares + PERSISTENCE_LOGIT, &shares - PERSISTENCE_LOGIT]
    }

    pub(crate) fn logits(&self, batch: &Batch, mut logits: ArrayViewMut2<f32>) {
        let [high, low] = self.logits_of_had_and_new();
        for (i, mut row) in logits.rows_mut().into_iter().enumerate() {
            row.assign(&low);
            for (brand, _) in
                batch.bags[0].of(i).filter(|&(brand, _)| (brand as usize) < high.len())
            {
                row[brand as usize] = high[brand as usize];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Bags;
    use contract::features::FeatureKind;
    use contract::manifest::IdSpace;
    use ndarray::Array2;

    #[test]
    fn persistence_puts_only_past_brands_above_one_half() {
        let history =
            Feature::new("past", FeatureKind::Sparse { is_weighted: false, ids: IdSpace::Brands });
        // Had by 999, 1 and none of 1,000 users: the extremes of a prior.
        let model = Persistence { history, prior: prior_logits(&[999, 1, 0], 1000) };
        let batch = Batch {
            dense: Array2::zeros((1, 0)),
            bags: vec![Bags { offsets: vec![0, 1], ids: vec![1], weights: vec![1.0] }],
        };
        let mut logits = Array2::zeros((1, 3));
        model.logits(&batch, logits.view_mut());
        assert!(logits[[0, 0]] < 0.0 && logits[[0, 1]] > 0.0 && logits[[0, 2]] < logits[[0, 0]]);
    }
}

//! A direct path from a user's own history of a brand to that brand's logit.

use contract::features::Feature;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayViewMut2, Axis};

use crate::inputs::Bags;

/// Terms of a user's history of a brand; see [`terms`].
pub const N_TERMS: usize = 3;

/// What a brand in a user's history adds to its logit: `Σ_t (weights[brand, t] + common[t])·term_t`.
///
/// The common weights carry what all brands share; a brand's own, which start at zero, how it
/// differs.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnHistory {
    /// Position of the feature among the sparse ones
    pub bag: usize,
    /// `(n_brands + 1, N_TERMS)`: a row for each brand, and at the end the common one
    pub weights: Array2<f32>,
}

/// Terms of a weight `w` in the history, such as a number of events: `1`, `ln(1 + w)`, and
/// `ln(1 + w)` as far as it is more than `ln 4`. Together with their weights they are a broken
/// line in `ln(1 + w)`: a brand bought once is another case than a brand bought weekly.
pub fn terms(weight: f32) -> [f32; N_TERMS] {
    let log = weight.max(0.0).ln_1p();
    [1.0, log, (log - 2.0 * std::f32::consts::LN_2).max(0.0)]
}

impl OwnHistory {
    /// Number of brands.
    pub fn n_brands(&self) -> usize {
        self.weights.nrows() - 1
    }

    /// Adds to each user's logits what the brands in their history add.
    ///
    /// * `bags`: the history of the batch's users; ids are `brand_idx`.
    /// * `logits`: `(n_users, n_brands)`.
    pub(crate) fn add(&self, bags: &Bags, mut logits: ArrayViewMut2<f32>) {
        let n_brands = self.n_brands();
        let common = self.weights.row(n_brands);
        logits.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i, mut row)| {
            for (brand, weight) in bags.of(i).filter(|&(brand, _)| (brand as usize) < n_brands) {
                let own = self.weights.row(brand as usize);
                let terms = terms(weight);
                row[brand as usize] +=
                    (0..N_TERMS).map(|t| (own[t] + common[t]) * terms[t]).sum::<f32>();
            }
        });
    }
}

/// Position of a feature among the sparse ones of `features`.
pub fn position(features: &[Feature], name: &str) -> Option<usize> {
    features.iter().filter(|feature| feature.is_sparse()).position(|feature| feature.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Weight 1 has terms 1, ln 2, 0; weight 7 has 1, ln 8, ln 8 - ln 4 = ln 2. Brand 1 has
    /// (1 + 10) + (2 + 20)·ln 2 = 26.249, brand 0 (10) + (20)·ln 8 + 30·ln 2 = 72.383.
    #[test]
    fn a_brand_in_the_history_adds_its_own_and_the_common_weights() {
        let own = OwnHistory {
            bag: 0,
            weights: array![[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [10.0, 20.0, 30.0]],
        };
        let bags =
            Bags { offsets: vec![0, 2, 2], ids: vec![1, 0], weights: vec![1.0, 7.0] };
        let mut logits = array![[1.0, 1.0], [0.5, 0.5]];
        own.add(&bags, logits.view_mut());
        assert!((logits[[0, 1]] - 27.249).abs() < 1e-3, "{logits}");
        assert!((logits[[0, 0]] - 73.383).abs() < 1e-3, "{logits}");
        assert_eq!(logits.row(1), array![0.5, 0.5]);
    }
}

//! What a user's own history of a brand adds to the brand's logit.

use contract::features::Feature;
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayViewMut2, Axis};

use crate::inputs::Bags;

/// One channel of a user's history, such as how often, how lately or how long ago the user had each
/// brand, and what it adds to a brand's logit: `Σ_t (common[t] + own[brand, t])·term_t`.
///
/// The common weights are a learned function of the weight in the history, shared by all brands. A
/// brand's own weights say how it differs. Channels add up, so only the first has a level.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// Position of the channel's list among the sparse features
    pub bag: usize,
    /// Values of `ln(1 + weight)` at which the common function bends
    pub knots: Vec<f32>,
    /// `(n_brands, n_own)`: the first terms, 2 with a level and 1 without
    pub own: Array2<f32>,
    /// `(n_terms,)`
    pub common: Array1<f32>,
}

impl Channel {
    /// The terms of a weight `w` in the history, such as a number of events: `1` if the channel has a
    /// level, `x = ln(1 + w)`, and how far `x` is beyond each knot.
    ///
    /// Their weighted sum is piecewise linear in `x`, as a brand bought once differs from a brand
    /// bought weekly.
    pub fn terms(&self, weight: f32) -> impl Iterator<Item = f32> {
        let x = weight.max(0.0).ln_1p();
        let level = self.has_level().then_some(1.0);
        level.into_iter().chain([x]).chain(self.knots.iter().map(move |knot| (x - knot).max(0.0)))
    }

    /// Whether being in the list adds something whatever the weight.
    pub fn has_level(&self) -> bool {
        self.own.ncols() > 1
    }

    /// Number of terms.
    pub fn n_terms(&self) -> usize {
        usize::from(self.has_level()) + 1 + self.knots.len()
    }

    /// Number of brands.
    pub fn n_brands(&self) -> usize {
        self.own.nrows()
    }

    /// Adds to each user's logits what the brands in their history add.
    ///
    /// * `bags`: the channel's lists of the batch's users; ids are `brand_idx`.
    /// * `logits`: `(n_users, n_brands)`.
    pub fn add(&self, bags: &Bags, mut logits: ArrayViewMut2<f32>) {
        logits.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i, mut row)| {
            self.add_to_row(bags.of(i), row.as_slice_mut().expect("rows are contiguous"));
        });
    }

    /// As [`Self::add`], of one user.
    ///
    /// * `history`: brands and weights.
    pub fn add_to_row(&self, history: impl Iterator<Item = (u32, f32)>, logits: &mut [f32]) {
        for (brand, weight) in history {
            let Some(z) = logits.get_mut(brand as usize) else { continue };
            let own = self.own.row(brand as usize);
            *z += self.common.iter().zip(self.terms(weight)).map(|(w, t)| w * t).sum::<f32>();
            *z += own.iter().zip(self.terms(weight)).map(|(w, t)| w * t).sum::<f32>();
        }
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

    /// With knots at ln 2 and ln 4, weight 1 has terms 1, ln 2, 0, 0 and weight 7 has 1, 3·ln 2,
    /// 2·ln 2, ln 2. Brand 1 gets 10 + 20·ln 2 + 1 + 2·ln 2 = 26.249, brand 0, which has nothing
    /// of its own, 10 + (60 + 60 + 40)·ln 2 = 120.904.
    #[test]
    fn a_brand_in_the_history_adds_its_own_and_the_common_weights() {
        let ln_2 = std::f32::consts::LN_2;
        let channel = Channel {
            bag: 0,
            knots: vec![ln_2, 2.0 * ln_2],
            own: array![[0.0, 0.0], [1.0, 2.0]],
            common: array![10.0, 20.0, 30.0, 40.0],
        };
        let bags =
            Bags { offsets: vec![0, 3, 3], ids: vec![1, 0, 9], weights: vec![1.0, 7.0, 1.0] };
        let mut logits = array![[1.0, 1.0], [0.5, 0.5]];
        channel.add(&bags, logits.view_mut());
        assert!((logits[[0, 1]] - 27.249).abs() < 1e-3, "{logits}");
        assert!((logits[[0, 0]] - 121.904).abs() < 1e-3, "{logits}");
        assert_eq!(logits.row(1), array![0.5, 0.5]);
    }
}

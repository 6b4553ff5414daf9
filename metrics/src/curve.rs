//! A brand's curve from logits to probabilities, of either kind.

use crate::calibration::{self, Platt};
use crate::histogram::Histogram;
use crate::isotonic::{self, Isotonic};
use rayon::prelude::*;

/// Fewest positives of a brand for an isotonic curve: each pool of ten of them then knows its
/// probability to about a third.
pub const MIN_POSITIVES: u64 = 100;

/// A curve from logits to probabilities that never falls.
#[derive(Clone, Debug, PartialEq)]
pub enum Curve {
    /// A slope and an intercept.
    Platt(Platt),
    /// Straight lines between knots.
    Isotonic(Isotonic),
}

impl Curve {
    /// The curve of log-odds equal to the logits.
    pub const IDENTITY: Curve = Curve::Platt(Platt::IDENTITY);

    /// A curve as it is stored: the knots if there are any, else slope and intercept.
    ///
    /// Returns `None` if the knots are not a curve; see [`Isotonic::from_knots`].
    pub fn from_parts(platt: Platt, knot_logits: Vec<f32>, knot_probs: Vec<f32>) -> Option<Curve> {
        if knot_logits.is_empty() && knot_probs.is_empty() {
            return Some(Curve::Platt(platt));
        }
        Isotonic::from_knots(knot_logits, knot_probs).map(Curve::Isotonic)
    }

    /// Probability of a logit, in `[0, 1]`.
    pub fn prob(&self, logit: f64) -> f64 {
        match self {
            Curve::Platt(platt) => platt.prob(logit),
            Curve::Isotonic(isotonic) => isotonic.prob(logit),
        }
    }

    /// The smallest logit whose probability reaches `prob`: minus infinity where all do,
    /// infinity where none does.
    pub fn logit_of(&self, prob: f64) -> f64 {
        match self {
            Curve::Platt(platt) => platt.logit_of(prob),
            Curve::Isotonic(isotonic) => isotonic.logit_of(prob),
        }
    }
}

impl From<Platt> for Curve {
    fn from(platt: Platt) -> Curve {
        Curve::Platt(platt)
    }
}

/// One curve per brand: isotonic where it has [`MIN_POSITIVES`], else Platt's.
///
/// * `histogram`: logits of users who were not trained on.
/// * `strength`: of the pull of Platt's curves, see [`calibration::fit`].
///
/// Returns `(n_brands,)`.
pub fn fit_isotonic(histogram: &Histogram, strength: f64) -> Vec<Curve> {
    let platts = calibration::fit(histogram, strength);
    platts
        .into_par_iter()
        .enumerate()
        .map(|(brand_idx, platt)| {
            let brand = histogram.brand(brand_idx);
            if brand.support() < MIN_POSITIVES {
                return Curve::Platt(platt);
            }
            Curve::Isotonic(isotonic::fit(brand))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::one_brand;

    #[test]
    fn a_brand_with_few_positives_has_platts_curve() {
        let cells =
            |positives| vec![(-1.0, positives / 2, 50), (1.0, positives - positives / 2, 10)];
        for (positives, is_isotonic) in [(MIN_POSITIVES - 1, false), (MIN_POSITIVES, true)] {
            let curves = fit_isotonic(&one_brand(&cells(positives)), calibration::DEFAULT_STRENGTH);
            assert_eq!(matches!(curves[0], Curve::Isotonic(_)), is_isotonic, "{positives}");
        }
    }
}

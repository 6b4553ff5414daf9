//! A brand's way from logits to probabilities, whatever fitted it.

use crate::calibration::Platt;
use crate::isotonic::Isotonic;

/// A curve from logits to probabilities that never falls.
#[derive(Clone, Debug, PartialEq)]
pub enum Curve {
    /// A slope and an intercept.
    Platt(Platt),
    /// Straight lines between knots.
    Isotonic(Isotonic),
}

impl Curve {
    /// The curve that takes the model's logits at their word.
    pub const IDENTITY: Curve = Curve::Platt(Platt::IDENTITY);

    /// A curve as it is stored: the knots if there are any, else slope and intercept.
    ///
    /// Returns `None` if the knots are no curve; see [`Isotonic::from_knots`].
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

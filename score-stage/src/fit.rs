//! Thresholds from the valid users.

use contract::manifest::{Decision, GlobalMetric, ScoreParams, TopBy};
use metrics::{
    Curve, Histogram, ListOrder, Objective, UserSweep, expected, expected_volume_threshold,
    threshold_candidates, tune_global, tuned_threshold,
};
use rayon::prelude::*;

use crate::decide::{BrandRule, Decider, NEVER, Rule};

/// Fits thresholds on the valid users.
///
/// * `over`: the users over whom F1 is expected; only their number in each bin is used, not their
///   labels.
/// * `curves`: `(n_brands,)`, from the users' logits to probabilities.
///
/// What depends on the valid users one by one is left to [`choose`]; see [`sweep`].
pub fn fit(
    valid: &Histogram,
    over: &Histogram,
    curves: Vec<Curve>,
    params: &ScoreParams,
) -> Decider {
    let single = match params.decision {
        Decision::Fixed { threshold } => threshold,
        Decision::Global { metric: GlobalMetric::Micro } => {
            tune_global(valid, &curves, Objective::MicroF1).unwrap_or(NEVER)
        }
        Decision::Global { metric: GlobalMetric::Macro } => {
            tune_global(valid, &curves, Objective::MacroF1).unwrap_or(NEVER)
        }
        _ => NEVER,
    };
    let of_brand = |(brand, curve): (usize, Curve)| {
        let (valid, over) = (valid.brand(brand), over.brand(brand));
        let expected = expected(over, &curve);
        let plug_in = expected.map_or(NEVER, |expected| expected.threshold());
        let threshold = match params.decision {
            Decision::Fixed { .. } | Decision::Global { .. } => single,
            Decision::ExpectedF1 { .. } | Decision::Gain { .. } | Decision::TopK { .. } => plug_in,
            Decision::ExpectedVolume { .. } => {
                expected_volume_threshold(over, &curve).unwrap_or(NEVER)
            }
            Decision::PerBrand { strength, .. } => {
                tuned_threshold(valid, &curve, plug_in, strength).unwrap_or(NEVER)
            }
        };
        BrandRule { curve, threshold, expected }
    };
    let brands = curves.into_par_iter().enumerate().map(of_brand).collect();
    let rule = match params.decision {
        Decision::TopK { k, by } => Rule::TopK { k: k.unwrap_or(1), by },
        Decision::Gain { brand_share, .. } => {
            Rule::Gain { brand_share: brand_share.unwrap_or_default() }
        }
        _ => Rule::Brand,
    };
    Decider::new(brands, rule)
}

/// The sweep over valid that a decision is chosen by; `None` if the histograms were enough for it.
///
/// * `valid`, `decider`: what [`fit`] read and returned; they say which thresholds to try.
pub fn sweep(valid: &Histogram, decider: &Decider, decision: Decision) -> Option<UserSweep> {
    match decision {
        Decision::Gain { brand_share: None, .. } => Some(UserSweep::over_brand_shares()),
        Decision::Global { metric: GlobalMetric::User } => {
            let curves: Vec<Curve> = decider.brands().iter().map(|b| b.curve.clone()).collect();
            Some(UserSweep::over_thresholds(threshold_candidates(valid, &curves)))
        }
        Decision::TopK { k: None, by } => {
            let order = match by {
                TopBy::Probability => ListOrder::Probability,
                TopBy::Gain => ListOrder::Gain,
            };
            Some(UserSweep::over_lengths(decider.n_brands(), order))
        }
        _ => None,
    }
}

/// Chooses what [`fit`] could not.
///
/// * `swept`: all valid users, with the probabilities of `decider`.
pub fn choose(decider: Decider, swept: &UserSweep, decision: Decision) -> Decider {
    match decision {
        Decision::Gain { brand_share: None, user_loss, .. } => {
            let brand_share = swept.first_within(user_loss).unwrap_or(1.0);
            decider.with_rule(Rule::Gain { brand_share })
        }
        Decision::Global { metric: GlobalMetric::User } => {
            let threshold = swept.best().unwrap_or(NEVER);
            decider.with_thresholds(|_| threshold)
        }
        Decision::TopK { k: None, by } => {
            let k = swept.best().map_or(1, |length| length as usize);
            decider.with_rule(Rule::TopK { k, by })
        }
        _ => decider,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::manifest::ExpectedOver;

    /// Ten users of probability .5, half of them with the brand, and ninety of .1, nine of them.
    fn histogram() -> Histogram {
        let mut histogram = Histogram::new(1);
        let z = |p: f32| (p / (1.0 - p)).ln();
        for i in 0..100 {
            let (p, has) = if i < 10 { (0.5, i < 5) } else { (0.1, i % 10 == 0) };
            histogram.add(0, z(p) + 0.005, has);
        }
        histogram
    }

    fn threshold(decision: Decision) -> f64 {
        let params = ScoreParams { decision, ..ScoreParams::default() };
        let curves = vec![Curve::IDENTITY];
        fit(&histogram(), &histogram(), curves, &params).brands()[0].threshold
    }

    /// 14 positives expected: F(10) = 10 / 24 = .417, F(100) = 28 / 114. Ten are nearer to 14
    /// than a hundred, so `PCut` ends at p = .5 as well.
    #[test]
    fn each_policy_has_its_threshold() {
        let over = ExpectedOver::Valid;
        let close = |decision, expected: f64| {
            let found = threshold(decision);
            assert!((found - expected).abs() < 0.01, "{decision:?}: {found}");
        };
        close(Decision::Fixed { threshold: 0.3 }, 0.3);
        close(Decision::ExpectedF1 { over }, 0.208);
        close(Decision::ExpectedVolume { over }, 0.5);
        close(Decision::PerBrand { strength: 0.0, over }, 0.5);
        // 14 positives: weight 14 / 34 on log-odds 0, the rest on those of .208, -1.337.
        close(Decision::PerBrand { strength: 20.0, over }, 0.313);
    }
}

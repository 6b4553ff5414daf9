//! Thresholds from the valid users, and decisions from logits.

use contract::columns;
use contract::ipc::Table;
use contract::manifest::{Calibration, Decision, GlobalMetric, ScoreParams};
use metrics::calibration::{self, DEFAULT_STRENGTH};
use metrics::{Histogram, Objective, Platt, plug_in_threshold, tune_global};
use model::sigmoid::parts;
use ndarray::parallel::prelude::*;
use ndarray::{ArrayView2, Axis};

/// Where no threshold is defined, as without any valid user, a brand is never predicted.
const NEVER: f64 = 1.0;

/// A calibration and a threshold for each brand.
pub struct Decider {
    brands: Vec<(Platt, f64)>,
    /// The logit, before calibration, from which a brand is predicted
    cuts: Vec<f32>,
}

/// What is decided for a user.
pub struct UserDecision {
    /// Brands whose probability reaches their threshold, in order of `brand_idx`
    pub predicted: Vec<u32>,
    /// The brands of the highest probabilities, best first, ties in order of `brand_idx`
    pub top_brands: Vec<u32>,
    /// Their probabilities
    pub top_probs: Vec<f32>,
}

impl Decider {
    /// Fits calibration and thresholds on the valid users.
    ///
    /// * `expected`: the users over whom F1 is expected; only their number in each bin is used.
    pub fn fit(valid: &Histogram, expected: &Histogram, params: &ScoreParams) -> Self {
        let n_brands = valid.n_brands();
        let platts = match params.calibration {
            Calibration::None => vec![Platt::IDENTITY; n_brands],
            Calibration::Platt => calibration::fit(valid, DEFAULT_STRENGTH),
        };
        let thresholds = match params.decision {
            Decision::Fixed { threshold } => vec![threshold; n_brands],
            Decision::Global { metric } => {
                let objective = match metric {
                    GlobalMetric::Micro => Objective::MicroF1,
                    GlobalMetric::Macro => Objective::MacroF1,
                };
                vec![tune_global(valid, &platts, objective).unwrap_or(NEVER); n_brands]
            }
            Decision::ExpectedF1 { .. } => (0..n_brands)
                .map(|brand| {
                    plug_in_threshold(expected.brand(brand), platts[brand]).unwrap_or(NEVER)
                })
                .collect(),
        };
        Self::new(platts.into_iter().zip(thresholds).collect())
    }

    /// As stored in `thresholds.arrow`.
    pub fn from_table(table: &Table) -> Self {
        let mut brands = Vec::new();
        for batch in &table.batches {
            let (slopes, intercepts) =
                (columns::f64s(batch, "slope"), columns::f64s(batch, "intercept"));
            let thresholds = columns::f64s(batch, "threshold");
            for i in 0..batch.num_rows() {
                brands.push((Platt { slope: slopes[i], intercept: intercepts[i] }, thresholds[i]));
            }
        }
        Self::new(brands)
    }

    fn new(brands: Vec<(Platt, f64)>) -> Self {
        let cuts =
            brands.iter().map(|(platt, threshold)| platt.logit_of(*threshold) as f32).collect();
        Self { brands, cuts }
    }

    /// Number of brands.
    pub fn n_brands(&self) -> usize {
        self.brands.len()
    }

    /// Calibration and threshold of each brand.
    pub fn brands(&self) -> &[(Platt, f64)] {
        &self.brands
    }

    /// Decides for a batch of users.
    ///
    /// * `logits`: `(n_users, n_brands)`, before calibration.
    pub fn decide(&self, logits: ArrayView2<f32>, top_k: usize) -> Vec<UserDecision> {
        logits
            .axis_iter(Axis(0))
            .into_par_iter()
            .map_init(Vec::new, |ranked: &mut Vec<(f32, u32)>, row| {
                let is_predicted =
                    |(brand, z): (usize, &f32)| (*z >= self.cuts[brand]).then_some(brand as u32);
                let predicted = row.iter().enumerate().filter_map(is_predicted).collect();
                ranked.clear();
                ranked.extend(row.iter().zip(&self.brands).enumerate().map(
                    |(brand, (&z, (platt, _)))| {
                        let calibrated = platt.slope * f64::from(z) + platt.intercept;
                        (calibrated as f32, brand as u32)
                    },
                ));
                let best_first =
                    |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
                if top_k < ranked.len() {
                    ranked.select_nth_unstable_by(top_k, best_first);
                    ranked.truncate(top_k);
                }
                ranked.sort_unstable_by(best_first);
                UserDecision {
                    predicted,
                    top_brands: ranked.iter().map(|&(_, brand)| brand).collect(),
                    top_probs: ranked.iter().map(|&(z, _)| parts(z).p).collect(),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Platt;
    use ndarray::array;

    /// Brand 0 predicts from 0.5 (logit 0); brand 1 is shifted by -2, so that its logit must
    /// reach 2; brand 2 has a threshold of 0 and is always predicted.
    #[test]
    fn a_brand_is_predicted_from_its_calibrated_threshold_on() {
        let shifted = Platt { slope: 1.0, intercept: -2.0 };
        let decider =
            Decider::new(vec![(Platt::IDENTITY, 0.5), (shifted, 0.5), (Platt::IDENTITY, 0.0)]);
        let decisions = decider.decide(array![[0.0, 1.9, -9.0], [-0.1, 2.1, -9.0]].view(), 2);
        assert_eq!(decisions[0].predicted, [0, 2]);
        assert_eq!(decisions[1].predicted, [1, 2]);
        // Ranked by calibrated probability: 0 before 1.9 - 2 = -0.1; then 2.1 - 2 before -0.1.
        assert_eq!(decisions[0].top_brands, [0, 1]);
        assert_eq!(decisions[1].top_brands, [1, 0]);
        assert!((decisions[0].top_probs[0] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn equal_probabilities_rank_in_order_of_brand() {
        let decider = Decider::new(vec![(Platt::IDENTITY, 0.5); 4]);
        let decisions = decider.decide(array![[0.0, 1.0, 0.0, 1.0]].view(), 3);
        assert_eq!(decisions[0].top_brands, [1, 3, 0]);
    }
}

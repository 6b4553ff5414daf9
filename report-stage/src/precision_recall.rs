//! Precision against recall of the brands of each tier, and the range of their thresholds.

use contract::brands::ByTier;
use metrics::{Counts, Curve, Histogram, RankedBin, precision, ranked_bins, recall, sum};
use schemars::JsonSchema;
use serde::Serialize;

use crate::load::{Brand, Threshold};

/// Precision and recall of the brands of one tier on the test users.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TierCurve {
    /// Recall and precision if the pairs of a user and a brand of the tier were predicted from the
    /// most probable one down; recall ascends
    pub curve: Vec<[f64; 2]>,
    /// Recall and precision of the decisions taken; `None` without a prediction or a label
    pub taken: Option<[f64; 2]>,
    /// Quartiles of the brands' thresholds
    pub thresholds: Option<Quartiles>,
}

/// Quartiles of thresholds; each is the threshold of a brand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Quartiles {
    /// Lowest threshold
    pub min: f64,
    /// First quartile
    pub lower: f64,
    /// Second quartile
    pub median: f64,
    /// Third quartile
    pub upper: f64,
    /// Highest threshold
    pub max: f64,
}

/// Steps of recall between two points of a curve.
const RECALL_STEP: f64 = 0.01;

/// Measures the tiers of an experiment.
///
/// * `thresholds`, `counts`: by `brand_idx`.
pub fn by_tier(
    brands: &[Brand],
    test: &Histogram,
    thresholds: &[Threshold],
    counts: &[Counts],
) -> ByTier<TierCurve> {
    ByTier::of(|tier| {
        let members = || (0..brands.len()).filter(|&brand| brands[brand].tier == tier);
        let total = sum(&members().map(|brand| counts[brand]).collect::<Vec<_>>());
        let taken =
            recall(total).zip(precision(total)).map(|(recall, precision)| [recall, precision]);
        TierCurve {
            curve: curve(test, members().map(|brand| (brand, &thresholds[brand].curve))),
            taken,
            thresholds: quartiles(members().map(|brand| thresholds[brand].prob).collect()),
        }
    })
}

fn curve<'a>(test: &Histogram, brands: impl Iterator<Item = (usize, &'a Curve)>) -> Vec<[f64; 2]> {
    let ranked = ranked_bins(test, brands);
    let all: u64 = ranked.iter().map(|bin| bin.positives).sum();
    if all == 0 {
        return Vec::new();
    }
    let (mut tp, mut predicted) = (0, 0);
    let mut points: Vec<[f64; 2]> = Vec::new();
    for tied in ranked.chunk_by(RankedBin::is_tied_with) {
        tp += tied.iter().map(|bin| bin.positives).sum::<u64>();
        predicted += tied.iter().map(|bin| bin.positives + bin.negatives).sum::<u64>();
        let point = [tp as f64 / all as f64, tp as f64 / predicted as f64];
        let is_far = points.last().is_none_or(|last| point[0] - last[0] >= RECALL_STEP);
        if is_far || (tp == all && points.last().is_some_and(|last| last[0] < 1.0)) {
            points.push(point);
        }
    }
    points
}

fn quartiles(mut values: Vec<f64>) -> Option<Quartiles> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f64| values[(share * last as f64).round() as usize];
    Some(Quartiles {
        min: at(0.0),
        lower: at(0.25),
        median: at(0.5),
        upper: at(0.75),
        max: at(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::brands::Tier;
    use metrics::Platt;
    use serde_json::Value;

    fn brand(tier: Tier) -> Brand {
        Brand { id: Value::Null, name: String::new(), volume: 1, tier }
    }

    /// Brand 0: a hit at 2, two others at 0. Brand 1, calibrated 3 down: a hit at 4 (so 1) and
    /// another at 2 (-1). Ranked: hit, hit, two others, another: recall 1/2, 1, precision 1, 1.
    #[test]
    fn a_tiers_pairs_are_ranked_by_calibrated_probability() {
        let mut test = Histogram::new(3);
        for (brand, logit, has) in
            [(0, 2.0, true), (0, 0.0, false), (0, 0.0, false), (1, 4.0, true), (1, 2.0, false)]
        {
            test.add(brand, logit, has);
        }
        let threshold =
            |intercept, prob| Threshold { curve: Platt { slope: 1.0, intercept }.into(), prob };
        let thresholds = [threshold(0.0, 0.3), threshold(-3.0, 0.1), threshold(0.0, 0.9)];
        let brands = [brand(Tier::Tail), brand(Tier::Tail), brand(Tier::Head)];
        let counts = [(1, 1, 0), (0, 0, 1), (0, 0, 0)].map(|(tp, fp, fn_)| Counts { tp, fp, fn_ });
        let tiers = by_tier(&brands, &test, &thresholds, &counts);
        assert_eq!(tiers.tail.curve, [[0.5, 1.0], [1.0, 1.0]]);
        assert_eq!(tiers.tail.taken, Some([0.5, 0.5]));
        let found = tiers.tail.thresholds.unwrap();
        assert_eq!((found.min, found.max), (0.1, 0.3));
        assert!(tiers.head.curve.is_empty() && tiers.head.taken.is_none());
        assert!(tiers.torso.thresholds.is_none());
    }

    #[test]
    fn quartiles_are_values_of_the_list() {
        let found = quartiles(vec![5.0, 1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(found, Quartiles { min: 1.0, lower: 2.0, median: 3.0, upper: 4.0, max: 5.0 });
    }
}

//! The bins of many brands in one order, by descending probability.

use crate::curve::Curve;
use crate::histogram::Histogram;
use rayon::prelude::*;

/// A bin of one of several brands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedBin {
    /// Calibrated probability of its logit.
    pub prob: f64,
    /// The brand.
    pub brand_idx: u32,
    /// Users with the label.
    pub positives: u64,
    /// Users without the label.
    pub negatives: u64,
}

impl RankedBin {
    /// Whether the next bin in the order has the same probability.
    pub fn is_tied_with(&self, next: &Self) -> bool {
        self.prob <= next.prob
    }
}

/// Bins by descending probability; bins of the same probability are tied.
///
/// * `brands`: positions of the brands, each with its curve.
pub fn ranked_bins<'a>(
    histogram: &Histogram,
    brands: impl Iterator<Item = (usize, &'a Curve)>,
) -> Vec<RankedBin> {
    let mut ranked = Vec::new();
    for (brand_idx, curve) in brands {
        ranked.extend(histogram.brand(brand_idx).bins.iter().map(|bin| RankedBin {
            prob: curve.prob(bin.logit()),
            brand_idx: brand_idx as u32,
            positives: bin.positives,
            negatives: bin.negatives,
        }));
    }
    // All of a bin is compared, so that the order is the same for any number of threads.
    let rest = |bin: &RankedBin| (bin.brand_idx, bin.positives, bin.negatives);
    ranked
        .par_sort_unstable_by(|a, b| b.prob.total_cmp(&a.prob).then_with(|| rest(a).cmp(&rest(b))));
    ranked
}

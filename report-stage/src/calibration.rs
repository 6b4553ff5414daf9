//! Whether probabilities mean what they say, and whether audiences have the right size.

use metrics::{Counts, Curve, Histogram};
use schemars::JsonSchema;
use serde::Serialize;

use crate::evaluate::median;
use crate::load::Threshold;

/// Lower ends of the bands of probability; rare brands are in the first of them.
const BANDS: [f64; 10] = [0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8];

/// Calibration of one experiment on the test users.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Calibration {
    /// Probabilities before calibration, neighbours included
    pub before: Reliability,
    /// Probabilities after calibration
    pub after: Reliability,
    /// Users predicted against users who have the brand
    pub audience: Audience,
}

/// Probabilities against labels.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reliability {
    /// Labels that the probabilities expect, divided by the labels found
    pub expected_ratio: Option<f64>,
    /// Absolute difference between expected and found labels, summed over brands, divided by the
    /// labels found
    pub brand_error: Option<f64>,
    /// The same, summed over bands of probability
    pub band_error: Option<f64>,
    /// Of all brands together, by probability
    pub bands: Vec<Band>,
}

/// Pairs of a user and a brand whose probability lies in a band.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Band {
    /// Lower end of the band
    pub from: f64,
    /// Number of pairs
    pub cells: u64,
    /// Mean probability of the pairs
    pub expected: Option<f64>,
    /// Share of the pairs that are labels
    pub found: Option<f64>,
}

/// Sizes of the predicted audiences, for brands that a test user has.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Audience {
    /// Brands that a test user has
    pub n_brands: u64,
    /// Those predicted for half to twice as many users as have them
    pub n_within_double: u64,
    /// Users predicted divided by users who have the brand: median over brands
    pub median_ratio: Option<f64>,
    /// Users predicted divided by users who have the brand, both summed over brands
    pub total_ratio: Option<f64>,
}

/// Users expected to have each brand before and after calibration, by `brand_idx`.
pub fn expected(test: &Histogram, thresholds: &[Threshold]) -> Vec<[f64; 2]> {
    let of_brand = |(brand, threshold): (usize, &Threshold)| {
        [&Curve::IDENTITY, &threshold.curve].map(|curve| expected_users(test, brand, curve))
    };
    thresholds.iter().enumerate().map(of_brand).collect()
}

/// Sum of the probabilities of a brand over the users.
fn expected_users(histogram: &Histogram, brand: usize, curve: &Curve) -> f64 {
    let bins = histogram.brand(brand).bins.iter();
    bins.map(|bin| bin.users() as f64 * curve.prob(bin.logit())).sum()
}

/// Measures an experiment.
///
/// * `thresholds`: `(n_brands,)`, with the curves from logits to calibrated probabilities.
/// * `counts`: `(n_brands,)`, decisions against labels.
pub fn measure(test: &Histogram, thresholds: &[Threshold], counts: &[Counts]) -> Calibration {
    Calibration {
        before: reliability(test, thresholds.iter().map(|_| &Curve::IDENTITY)),
        after: reliability(test, thresholds.iter().map(|threshold| &threshold.curve)),
        audience: audience(counts),
    }
}

fn reliability<'a>(test: &Histogram, curves: impl Iterator<Item = &'a Curve>) -> Reliability {
    let mut cells = [(0_u64, 0_u64, 0.0_f64); BANDS.len()];
    let mut brand_miss = 0.0;
    for (brand_idx, curve) in curves.enumerate() {
        let brand = test.brand(brand_idx);
        let mut expected = 0.0;
        for bin in brand.bins {
            let users = bin.users();
            let p = curve.prob(bin.logit());
            let band = BANDS.partition_point(|&from| from <= p).saturating_sub(1);
            let (n_cells, found, sum) = &mut cells[band];
            *n_cells += users;
            *found += bin.positives;
            *sum += users as f64 * p;
            expected += users as f64 * p;
        }
        brand_miss += (expected - brand.support() as f64).abs();
    }
    let n_labels: u64 = cells.iter().map(|&(_, found, _)| found).sum();
    let per_label = |value: f64| (n_labels > 0).then(|| value / n_labels as f64);
    let band_miss = cells.iter().map(|&(_, found, sum)| (sum - found as f64).abs()).sum();
    let band = |(&from, &(n_cells, found, sum)): (&f64, &(u64, u64, f64))| {
        let per_cell = |value: f64| (n_cells > 0).then(|| value / n_cells as f64);
        Band { from, cells: n_cells, expected: per_cell(sum), found: per_cell(found as f64) }
    };
    Reliability {
        expected_ratio: per_label(cells.iter().map(|&(_, _, sum)| sum).sum()),
        brand_error: per_label(brand_miss),
        band_error: per_label(band_miss),
        bands: BANDS.iter().zip(&cells).map(band).collect(),
    }
}

fn audience(counts: &[Counts]) -> Audience {
    let with_support: Vec<&Counts> = counts.iter().filter(|c| c.support() > 0).collect();
    let ratio = |c: &Counts| c.predicted() as f64 / c.support() as f64;
    let mut ratios: Vec<f64> = with_support.iter().map(|c| ratio(c)).collect();
    ratios.sort_by(f64::total_cmp);
    let total: Counts = with_support.iter().map(|&&c| c).sum();
    Audience {
        n_brands: with_support.len() as u64,
        n_within_double: ratios.iter().filter(|r| (0.5..=2.0).contains(*r)).count() as u64,
        median_ratio: median(&ratios),
        total_ratio: (total.support() > 0).then(|| ratio(&total)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Platt;

    /// Ten users with probability .5, two of them with the brand: 5 expected, 2 found. Shifting the
    /// log-odds by ln(.25) gives .2, which is right.
    #[test]
    fn calibration_moves_the_labels_expected_to_those_found() {
        let mut test = Histogram::new(1);
        for i in 0..10 {
            test.add(0, 0.0, i < 2);
        }
        let curve = Curve::from(Platt { slope: 1.0, intercept: 0.25_f64.ln() });
        let threshold = Threshold { curve, prob: 0.5 };
        let counts = [Counts { tp: 1, fp: 3, fn_: 1 }];
        let found = measure(&test, &[threshold], &counts);
        let close = |value: Option<f64>, expected: f64| {
            assert!((value.unwrap() - expected).abs() < 0.02, "{value:?}, expected {expected}");
        };
        close(found.before.expected_ratio, 2.5);
        close(found.before.brand_error, 1.5);
        close(found.before.band_error, 1.5);
        close(found.after.expected_ratio, 1.0);
        close(found.after.brand_error, 0.0);
        let band = &found.before.bands[7]; // from .4
        assert_eq!((band.from, band.cells), (0.4, 10));
        close(band.expected, 0.5);
        close(band.found, 0.2);
        assert_eq!(found.audience.n_within_double, 1); // four predicted, two found
        close(found.audience.median_ratio, 2.0);
    }

    /// Predicted over found: 0/1, 3/2, 9/3, and a brand that nobody has.
    #[test]
    fn audience_ratios_leave_out_brands_that_nobody_has() {
        let counts = [(0, 0, 1), (2, 1, 0), (3, 6, 0), (0, 5, 0)];
        let audience = audience(&counts.map(|(tp, fp, fn_)| Counts { tp, fp, fn_ }));
        assert_eq!((audience.n_brands, audience.n_within_double), (3, 1));
        assert_eq!(audience.median_ratio, Some(1.5));
        assert_eq!(audience.total_ratio, Some(2.0));
    }

    #[test]
    fn without_a_label_ratios_are_undefined() {
        let threshold = Threshold { curve: Curve::IDENTITY, prob: 0.5 };
        let found = measure(&Histogram::new(1), &[threshold], &[Counts::default()]);
        assert_eq!(found.before.expected_ratio, None);
        assert_eq!(found.audience.median_ratio, None);
        assert_eq!(expected_users(&Histogram::new(1), 0, &Curve::IDENTITY), 0.0);
    }
}

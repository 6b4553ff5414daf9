//! How far probabilities can be taken at their word, and whether audiences have the right size.

use metrics::{Counts, Curve, Histogram};
use schemars::JsonSchema;
use serde::Serialize;

use crate::evaluate::median;

/// Lower ends of the bands of probability; rare brands live in the first of them.
const BANDS: [f64; 10] = [0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8];

/// Of one experiment, on the test users.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Calibration {
    /// The probabilities before calibration, neighbours included
    pub before: Reliability,
    /// After calibration
    pub after: Reliability,
    /// What is predicted against what is there
    pub audience: Audience,
}

/// Probabilities against labels.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reliability {
    /// Labels that the probabilities expect, over those there are
    pub expected_ratio: Option<f64>,
    /// Sum over brands of how far the labels expected are from those there are, over the labels
    pub brand_error: Option<f64>,
    /// The same over bands of probability
    pub band_error: Option<f64>,
    /// All brands together
    pub bands: Vec<Band>,
}

/// Users and brands whose probability lies in a band.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Band {
    /// Lower end of the band
    pub from: f64,
    /// Pairs of a user and a brand
    pub cells: u64,
    /// Their mean probability
    pub expected: Option<f64>,
    /// Share of them that are labels
    pub found: Option<f64>,
}

/// Sizes of the audiences predicted, over brands that a test user has.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Audience {
    /// Such brands
    pub n_brands: u64,
    /// Those predicted for half to double as many users as have them
    pub n_within_double: u64,
    /// Median of users predicted over users who have the brand
    pub median_ratio: Option<f64>,
    /// Users predicted over users who have the brand, summed over brands
    pub total_ratio: Option<f64>,
}

/// Users expected to have a brand, by the probabilities.
pub fn expected_users(histogram: &Histogram, brand: usize, curve: &Curve) -> f64 {
    let bins = histogram.brand(brand).bins.iter();
    bins.map(|bin| bin.users() as f64 * curve.prob(bin.logit())).sum()
}

/// Measures an experiment.
///
/// * `curves`: `(n_brands,)`, what calibration made of the logits.
/// * `counts`: `(n_brands,)`, decisions against labels.
pub fn measure(test: &Histogram, curves: &[Curve], counts: &[Counts]) -> Calibration {
    let identity = vec![Curve::IDENTITY; curves.len()];
    Calibration {
        before: reliability(test, &identity),
        after: reliability(test, curves),
        audience: audience(counts),
    }
}

fn reliability(test: &Histogram, curves: &[Curve]) -> Reliability {
    let mut cells = [(0_u64, 0_u64, 0.0_f64); BANDS.len()];
    let mut brand_miss = 0.0;
    for (brand_idx, curve) in curves.iter().enumerate() {
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
    let there: Vec<&Counts> = counts.iter().filter(|c| c.support() > 0).collect();
    let ratio = |c: &Counts| c.predicted() as f64 / c.support() as f64;
    let mut ratios: Vec<f64> = there.iter().map(|c| ratio(c)).collect();
    ratios.sort_by(f64::total_cmp);
    let total: Counts = there.iter().map(|&&c| c).sum();
    Audience {
        n_brands: there.len() as u64,
        n_within_double: ratios.iter().filter(|r| (0.5..=2.0).contains(*r)).count() as u64,
        median_ratio: median(&ratios),
        total_ratio: (total.support() > 0).then(|| ratio(&total)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Platt;

    /// Ten users of probability .5, two with the brand: 5 expected, 2 found. A shift of the
    /// log-odds by ln(.25) makes it .2, which is right.
    #[test]
    fn calibration_moves_the_labels_expected_to_those_found() {
        let mut test = Histogram::new(1);
        for i in 0..10 {
            test.add(0, 0.0, i < 2);
        }
        let curve = Curve::from(Platt { slope: 1.0, intercept: 0.25_f64.ln() });
        let counts = [Counts { tp: 1, fp: 3, fn_: 1 }];
        let found = measure(&test, &[curve], &counts);
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
        assert_eq!(found.audience.n_within_double, 1); // four predicted, two there
        close(found.audience.median_ratio, 2.0);
    }

    /// Predicted over there: 0/1, 3/2, 9/3, and a brand that nobody has.
    #[test]
    fn audiences_are_of_brands_that_someone_has() {
        let counts = [(0, 0, 1), (2, 1, 0), (3, 6, 0), (0, 5, 0)];
        let audience = audience(&counts.map(|(tp, fp, fn_)| Counts { tp, fp, fn_ }));
        assert_eq!((audience.n_brands, audience.n_within_double), (3, 1));
        assert_eq!(audience.median_ratio, Some(1.5));
        assert_eq!(audience.total_ratio, Some(2.0));
    }

    #[test]
    fn without_a_label_ratios_are_undefined() {
        let found = measure(&Histogram::new(1), &[Curve::IDENTITY], &[Counts::default()]);
        assert_eq!(found.before.expected_ratio, None);
        assert_eq!(found.audience.median_ratio, None);
        assert_eq!(expected_users(&Histogram::new(1), 0, &Curve::IDENTITY), 0.0);
    }
}

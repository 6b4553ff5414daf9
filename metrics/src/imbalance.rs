//! How unevenly labels are spread, and how much common and rare ones share examples.
//!
//! # Source
//!
//! Charte, Rivera, del Jesus and Herrera: "Addressing imbalance in multilabel
//! classification", Neurocomputing 163 (2015), for `IRLbl` and `MeanIR`; "Dealing with
//! difficult minority labels in imbalanced multilabel data sets", Neurocomputing 326 (2019),
//! for SCUMBLE.

/// Imbalance ratio of each brand (`IRLbl`): examples of the most common brand over its own.
///
/// * `positives`: `(n_brands,)`, examples that have the brand.
///
/// 1 for the most common brand, larger for the others; `None` for a brand without examples.
pub fn imbalance_ratios(positives: &[u64]) -> Vec<Option<f64>> {
    let most = positives.iter().copied().max().unwrap_or(0);
    positives.iter().map(|&own| (own > 0).then(|| most as f64 / own as f64)).collect()
}

/// Mean imbalance ratio (`MeanIR`) over the brands that have examples; `None` if none has.
pub fn mean_imbalance_ratio(positives: &[u64]) -> Option<f64> {
    let ratios: Vec<f64> = imbalance_ratios(positives).into_iter().flatten().collect();
    (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64)
}

/// SCUMBLE of a set of examples: the mean over those that have a label of
/// `1 - geometric mean / arithmetic mean` of their brands' imbalance ratios.
///
/// 0 if no example mixes brands of different frequency. The closer to 1, the more often rare and
/// common brands share examples, so that none can be added for one without the other.
#[derive(Debug, Clone)]
pub struct Scumble {
    ratios: Vec<f64>,
    logs: Vec<f64>,
    sum: f64,
    n_examples: u64,
}

impl Scumble {
    /// Starts with the whole set's counts.
    ///
    /// * `positives`: `(n_brands,)`, examples that have the brand.
    pub fn new(positives: &[u64]) -> Self {
        let ratios: Vec<f64> =
            imbalance_ratios(positives).into_iter().map(|ratio| ratio.unwrap_or(1.0)).collect();
        let logs = ratios.iter().map(|ratio| ratio.ln()).collect();
        Self { ratios, logs, sum: 0.0, n_examples: 0 }
    }

    /// Adds an example with these brands (each a position in `positives`); one without is ignored.
    pub fn add(&mut self, brands: &[u32]) {
        if brands.is_empty() {
            return;
        }
        let n = brands.len() as f64;
        let arithmetic = brands.iter().map(|&b| self.ratios[b as usize]).sum::<f64>() / n;
        let geometric = (brands.iter().map(|&b| self.logs[b as usize]).sum::<f64>() / n).exp();
        self.sum += 1.0 - geometric / arithmetic;
        self.n_examples += 1;
    }

    /// The sum of two parts of one set.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        self.sum += other.sum;
        self.n_examples += other.n_examples;
        self
    }

    /// The mean; `None` if no example has a label.
    pub fn mean(&self) -> Option<f64> {
        (self.n_examples > 0).then(|| self.sum / self.n_examples as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 8, 4, 1 and 0 examples: ratios 1, 2 and 8, mean 11/3; the last has none.
    #[test]
    fn the_mean_ratio_leaves_out_brands_without_examples() {
        assert_eq!(imbalance_ratios(&[8, 4, 1, 0]), [Some(1.0), Some(2.0), Some(8.0), None]);
        assert!((mean_imbalance_ratio(&[8, 4, 1, 0]).unwrap() - 11.0 / 3.0).abs() < 1e-12);
        assert_eq!(mean_imbalance_ratio(&[0, 0]), None);
    }

    /// Ratios 1, 2 and 8. Brands {0, 2}: 1 - sqrt(8) / 4.5; {1}: 0; {}: passed over.
    #[test]
    fn scumble_is_the_mean_gap_between_geometric_and_arithmetic_mean() {
        let mut scumble = Scumble::new(&[8, 4, 1]);
        assert_eq!(scumble.mean(), None);
        for brands in [&[0, 2][..], &[1], &[]] {
            scumble.add(brands);
        }
        let expected = f64::midpoint(1.0 - 8_f64.sqrt() / 4.5, 0.0);
        assert!((scumble.mean().unwrap() - expected).abs() < 1e-12);
    }
}

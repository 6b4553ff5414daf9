//! Logits counted in bins, per brand: enough for threshold sweeps, average precision and
//! calibration, and small enough to keep. Histograms of parts of the users add up.

use crate::bins::{Bin, merge, tidy};
use rayon::prelude::*;

/// Users by brand, bin of the logit ([`crate::bins`]), and whether they have the brand.
///
/// It depends on the users alone, not on their order or on how they were split into parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// By brand, each ascending
    brands: Vec<Vec<Bin>>,
}

/// One brand's part of a [`Histogram`].
#[derive(Clone, Copy, Debug)]
pub struct BrandHistogram<'a> {
    /// By ascending logit; none is empty.
    pub bins: &'a [Bin],
}

impl Histogram {
    /// A histogram with no users.
    pub fn new(n_brands: usize) -> Histogram {
        Histogram { brands: vec![Vec::new(); n_brands] }
    }

    /// A histogram from bins made before, e.g. read from a file.
    ///
    /// * `brands`: bins of each brand, in any order; those of parts of the users add up.
    pub fn from_bins(brands: Vec<Vec<Bin>>) -> Histogram {
        Histogram { brands: brands.into_par_iter().map(tidy).collect() }
    }

    /// * `brands`: bins of each brand as they are kept.
    pub(crate) fn of_brands(brands: Vec<Vec<Bin>>) -> Histogram {
        Histogram { brands }
    }

    /// Counts one user for one brand. For many users
    /// [`HistogramBuilder`](crate::HistogramBuilder) is faster by far.
    ///
    /// # Panics
    ///
    /// If `brand_idx >= n_brands`, as all methods that take one.
    pub fn add(&mut self, brand_idx: usize, logit: f32, is_positive: bool) {
        let user = Bin::at(logit, u64::from(is_positive), u64::from(!is_positive));
        let bins = &mut self.brands[brand_idx];
        *bins = merge(bins, &[user]);
    }

    /// Adds the counts of another part of the users.
    ///
    /// # Panics
    ///
    /// If the numbers of brands differ.
    pub fn merge(&mut self, other: &Histogram) {
        assert_eq!(
            self.n_brands(),
            other.n_brands(),
            "merged histograms must have the same brands"
        );
        self.brands.par_iter_mut().zip(&other.brands).for_each(|(mine, theirs)| {
            if !theirs.is_empty() {
                *mine = merge(mine, theirs);
            }
        });
    }

    /// All pairs of a user and one of some brands, as users of one brand.
    pub(crate) fn pooled_over(&self, brands: &[usize]) -> Vec<Bin> {
        pooled(brands.par_iter().map(|&brand_idx| self.brands[brand_idx].as_slice()))
    }

    /// Number of brands.
    pub fn n_brands(&self) -> usize {
        self.brands.len()
    }

    /// One brand's bins.
    pub fn brand(&self, brand_idx: usize) -> BrandHistogram<'_> {
        BrandHistogram { bins: &self.brands[brand_idx] }
    }

    /// Users counted that have the brand.
    pub fn support(&self, brand_idx: usize) -> u64 {
        self.brand(brand_idx).support()
    }

    /// Users counted for the brand, with the label or without.
    pub fn n_users(&self, brand_idx: usize) -> u64 {
        self.brand(brand_idx).n_users()
    }
}

/// The users of several brands, or parts, as those of one.
pub(crate) fn pooled<'a>(bins: impl ParallelIterator<Item = &'a [Bin]>) -> Vec<Bin> {
    let merged = |pooled: Vec<Bin>, bins: &[Bin]| {
        if pooled.is_empty() { bins.to_vec() } else { merge(&pooled, bins) }
    };
    bins.fold(Vec::new, merged).reduce(Vec::new, |pooled, part| merged(pooled, &part))
}

impl BrandHistogram<'_> {
    /// Users counted that have the brand.
    pub fn support(self) -> u64 {
        self.bins.iter().map(|bin| bin.positives).sum()
    }

    /// Users counted, with the label or without.
    pub fn n_users(self) -> u64 {
        self.bins.iter().map(Bin::users).sum()
    }
}

/// Users of one brand, for tests.
///
/// * `cells`: logits, users with the label there, users without.
#[cfg(test)]
pub(crate) fn one_brand(cells: &[(f32, u64, u64)]) -> Histogram {
    let bin =
        |&(logit, positives, negatives): &(f32, u64, u64)| Bin::at(logit, positives, negatives);
    Histogram::from_bins(vec![cells.iter().map(bin).collect()])
}

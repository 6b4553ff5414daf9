//! Logits counted in bins, per brand: enough for threshold sweeps, average precision and
//! calibration, and small enough to keep. Histograms of parts of the users add up.

use crate::Lists;
use rayon::prelude::*;

/// Bins a brand, equal steps of the logit from [`LOGIT_MIN`] to [`LOGIT_MAX`].
pub const N_BINS: usize = 1024;

/// Lower edge of the first bin: a probability of 8e-7, below any brand worth predicting.
pub const LOGIT_MIN: f32 = -14.0;

/// Upper edge of the last bin: a probability of 1 - 8e-7.
pub const LOGIT_MAX: f32 = 14.0;

/// Width of a bin in logits, 28 / 1024: exact in `f32`, as are all edges.
const BIN_WIDTH: f32 = (LOGIT_MAX - LOGIT_MIN) / N_BINS as f32;

/// Brands counted together by [`Histogram::add_rows`]: their bins (512 KiB) stay in cache.
const BRANDS_PER_TASK: usize = 64;

/// Bin of a logit, in `0..N_BINS`.
///
/// Bin `b` holds `[LOGIT_MIN + b·width, LOGIT_MIN + (b + 1)·width)`. Logits outside the range
/// are counted in the first or last bin, NaN in the first.
pub fn bin_of(logit: f32) -> usize {
    // The cast saturates: negative and NaN become 0.
    (((logit - LOGIT_MIN) / BIN_WIDTH) as usize).min(N_BINS - 1)
}

/// Logit in the middle of a bin, which stands for all logits in it.
pub fn bin_centre(bin: usize) -> f64 {
    bin_edge(bin) + 0.5 * f64::from(BIN_WIDTH)
}

/// Smallest logit of a bin, not counting those clamped into the first.
pub(crate) fn bin_edge(bin: usize) -> f64 {
    f64::from(LOGIT_MIN) + bin as f64 * f64::from(BIN_WIDTH)
}

/// Counts of users by brand, bin of the logit, and whether they have the brand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    n_brands: usize,
    /// `(n_brands, N_BINS)`, row-major, users with the label.
    positives: Vec<u64>,
    /// `(n_brands, N_BINS)`, row-major, users without.
    negatives: Vec<u64>,
}

/// One brand's row of a [`Histogram`]: `(N_BINS,)` each, by ascending logit.
#[derive(Clone, Copy, Debug)]
pub struct BrandHistogram<'a> {
    /// Users with the label, by bin.
    pub positives: &'a [u64],
    /// Users without the label, by bin.
    pub negatives: &'a [u64],
}

impl Histogram {
    /// A histogram without a user.
    pub fn new(n_brands: usize) -> Histogram {
        let cells = n_brands * N_BINS;
        Histogram { n_brands, positives: vec![0; cells], negatives: vec![0; cells] }
    }

    /// A histogram from counts made before, e.g. read from a file.
    ///
    /// * `positives`, `negatives`: `(n_brands, N_BINS)`, row-major, users by bin.
    ///
    /// Returns `None` if a length is not `n_brands * N_BINS`.
    pub fn from_counts(
        n_brands: usize,
        positives: Vec<u64>,
        negatives: Vec<u64>,
    ) -> Option<Histogram> {
        let cells = n_brands.checked_mul(N_BINS)?;
        (positives.len() == cells && negatives.len() == cells).then_some(Histogram {
            n_brands,
            positives,
            negatives,
        })
    }

    /// Counts one user for one brand.
    ///
    /// # Panics
    ///
    /// If `brand_idx >= n_brands`, as all methods that take one.
    pub fn add(&mut self, brand_idx: usize, logit: f32, is_positive: bool) {
        let cell = self.cell(brand_idx, logit);
        let side = if is_positive { &mut self.positives } else { &mut self.negatives };
        side[cell] += 1;
    }

    /// Turns a user counted as a negative, at the same logit, into a positive.
    ///
    /// For callers who first count every user as a negative, then visit the few labels.
    ///
    /// # Panics
    ///
    /// If no negative was counted in the logit's bin.
    pub fn move_to_positive(&mut self, brand_idx: usize, logit: f32) {
        let cell = self.cell(brand_idx, logit);
        assert!(self.negatives[cell] > 0, "a user must be counted before it becomes a positive");
        self.negatives[cell] -= 1;
        self.positives[cell] += 1;
    }

    /// Counts a batch of users for every brand, in parallel over brands.
    ///
    /// * `logits`: `(n_users, n_brands)`, row-major.
    /// * `labels`: `n_users` lists of brand positions, each brand once.
    ///
    /// # Panics
    ///
    /// If the shapes disagree, or a label is not below `n_brands` or stands twice.
    pub fn add_rows(&mut self, logits: &[f32], labels: Lists) {
        let n_brands = self.n_brands;
        assert_eq!(logits.len(), labels.len() * n_brands, "one logit a user and brand");
        if n_brands == 0 {
            return;
        }
        self.negatives.par_chunks_mut(BRANDS_PER_TASK * N_BINS).enumerate().for_each(
            |(task, bins)| {
                let first = task * BRANDS_PER_TASK;
                for row in logits.chunks_exact(n_brands) {
                    let row = &row[first..first + bins.len() / N_BINS];
                    for (brand, &logit) in bins.chunks_exact_mut(N_BINS).zip(row) {
                        brand[bin_of(logit)] += 1;
                    }
                }
            },
        );
        for (row, labels) in logits.chunks_exact(n_brands).zip(labels.iter()) {
            for &brand_idx in labels {
                self.move_to_positive(brand_idx as usize, row[brand_idx as usize]);
            }
        }
    }

    /// Adds the counts of another part of the users.
    ///
    /// # Panics
    ///
    /// If the numbers of brands differ.
    pub fn merge(&mut self, other: &Histogram) {
        assert_eq!(self.n_brands, other.n_brands, "merged histograms must have the same brands");
        for (mine, theirs) in self.positives.iter_mut().zip(&other.positives) {
            *mine += theirs;
        }
        for (mine, theirs) in self.negatives.iter_mut().zip(&other.negatives) {
            *mine += theirs;
        }
    }

    /// Number of brands.
    pub fn n_brands(&self) -> usize {
        self.n_brands
    }

    /// One brand's row.
    pub fn brand(&self, brand_idx: usize) -> BrandHistogram<'_> {
        let cells = brand_idx * N_BINS..(brand_idx + 1) * N_BINS;
        BrandHistogram {
            positives: &self.positives[cells.clone()],
            negatives: &self.negatives[cells],
        }
    }

    /// Users counted that have the brand.
    pub fn support(&self, brand_idx: usize) -> u64 {
        self.brand(brand_idx).support()
    }

    /// Users counted for the brand, with the label or without.
    pub fn n_users(&self, brand_idx: usize) -> u64 {
        self.brand(brand_idx).n_users()
    }

    fn cell(&self, brand_idx: usize, logit: f32) -> usize {
        assert!(brand_idx < self.n_brands, "brand {brand_idx} of {}", self.n_brands);
        brand_idx * N_BINS + bin_of(logit)
    }
}

impl BrandHistogram<'_> {
    /// Users counted that have the brand.
    pub fn support(self) -> u64 {
        self.positives.iter().sum()
    }

    /// Users counted, with the label or without.
    pub fn n_users(self) -> u64 {
        self.support() + self.negatives.iter().sum::<u64>()
    }
}

/// Users of one brand, for tests.
///
/// * `cells`: logits, users with the label there, users without.
#[cfg(test)]
pub(crate) fn one_brand(cells: &[(f32, u64, u64)]) -> Histogram {
    let (mut positives, mut negatives) = (vec![0; N_BINS], vec![0; N_BINS]);
    for &(logit, n_positives, n_negatives) in cells {
        positives[bin_of(logit)] += n_positives;
        negatives[bin_of(logit)] += n_negatives;
    }
    Histogram::from_counts(1, positives, negatives).expect("sized above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bins_are_equal_steps_of_the_logit() {
        // Width 28 / 1024 = 0.02734375: logit 0 is the lower edge of bin 512.
        assert_eq!(bin_of(0.0), 512);
        assert_eq!(bin_of(-0.001), 511);
        assert_eq!(bin_of(0.02735), 513);
        assert!((bin_centre(512) - 0.013_671_875).abs() < 1e-15); // 28 / 1024 / 2
    }

    #[test]
    fn logits_outside_the_range_are_clamped_and_nan_is_the_first_bin() {
        assert_eq!(bin_of(f32::INFINITY), 1023);
        assert_eq!(bin_of(14.0), 1023);
        assert_eq!([bin_of(-99.0), bin_of(f32::NEG_INFINITY), bin_of(f32::NAN)], [0, 0, 0]);
    }

    #[test]
    fn every_centre_and_edge_lies_in_its_bin() {
        for bin in 0..N_BINS {
            assert_eq!(bin_of(bin_centre(bin) as f32), bin);
            assert_eq!(bin_of(bin_edge(bin) as f32), bin);
        }
    }

    #[test]
    fn moving_a_negative_equals_adding_a_positive() {
        let (mut moved, mut added) = (Histogram::new(2), Histogram::new(2));
        moved.add(1, 0.5, false);
        moved.move_to_positive(1, 0.5);
        added.add(1, 0.5, true);
        assert_eq!(moved, added);
        assert_eq!((moved.support(1), moved.n_users(1), moved.n_users(0)), (1, 1, 0));
    }

    #[test]
    #[should_panic(expected = "a user must be counted before it becomes a positive")]
    fn a_user_that_was_not_counted_cannot_be_moved() {
        Histogram::new(1).move_to_positive(0, 0.0);
    }

    #[test]
    fn counts_of_the_wrong_length_are_refused() {
        assert!(Histogram::from_counts(1, vec![0; N_BINS], vec![0; N_BINS - 1]).is_none());
        assert!(Histogram::from_counts(1, vec![0; N_BINS], vec![0; N_BINS]).is_some());
    }

    /// 70 brands are two tasks of `add_rows`.
    #[test]
    fn a_batch_counts_as_its_cells_do() {
        let (n_users, n_brands) = (5, 70);
        let logits: Vec<f32> = (0..n_users * n_brands).map(|i| (i % 37) as f32 - 18.0).collect();
        let labels = Lists { offsets: &[0, 2, 2, 3, 3, 4], values: &[0, 69, 64, 1] };
        let mut batch = Histogram::new(n_brands);
        batch.add_rows(&logits, labels);

        let mut cells = Histogram::new(n_brands);
        for (i, &logit) in logits.iter().enumerate() {
            let is_positive = labels.get(i / n_brands).contains(&((i % n_brands) as u32));
            cells.add(i % n_brands, logit, is_positive);
        }
        assert_eq!(batch, cells);
        assert_eq!(batch.support(69), 1);
    }

    proptest! {
        #[test]
        fn merged_histograms_of_parts_equal_the_whole(
            users in prop::collection::vec((0..3_usize, -20_f32..20.0, any::<bool>()), 1..60),
            cut in 0..60_usize,
        ) {
            let count = |users: &[(usize, f32, bool)]| {
                let mut histogram = Histogram::new(3);
                for &(brand_idx, logit, is_positive) in users {
                    histogram.add(brand_idx, logit, is_positive);
                }
                histogram
            };
            let (left, right) = users.split_at(cut.min(users.len()));
            let mut merged = count(left);
            merged.merge(&count(right));
            let n_users: u64 = (0..3).map(|brand_idx| merged.n_users(brand_idx)).sum();
            prop_assert_eq!(n_users, users.len() as u64);
            prop_assert_eq!(merged, count(&users));
        }
    }
}

//! Counts of right and wrong decisions, and the one formula each metric applies to them.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// Decisions counted against the truth, for a brand, a user, or a sum of either.
///
/// True negatives are not kept: no metric of this project uses them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Predicted, and the label holds.
    pub tp: u64,
    /// Predicted, and the label does not hold.
    pub fp: u64,
    /// Not predicted, and the label holds.
    pub fn_: u64,
}

impl Counts {
    /// How often the label holds, `tp + fn`.
    pub fn support(self) -> u64 {
        self.tp + self.fn_
    }

    /// How often the brand was predicted, `tp + fp`.
    pub fn predicted(self) -> u64 {
        self.tp + self.fp
    }
}

/// Share of the predictions that are right.
///
/// Returns `tp / (tp + fp)` in `[0, 1]`; `None` where nothing was predicted.
pub fn precision(counts: Counts) -> Option<f64> {
    ratio(counts.tp, counts.predicted())
}

/// Share of the labels that were predicted.
///
/// Returns `tp / (tp + fn)` in `[0, 1]`; `None` where there is no label.
pub fn recall(counts: Counts) -> Option<f64> {
    ratio(counts.tp, counts.support())
}

/// Harmonic mean of precision and recall, from the counts.
///
/// Returns `2·tp / (2·tp + fp + fn)` in `[0, 1]`; `None` if `tp + fp + fn` is 0. With labels
/// but no prediction it is 0, although precision is undefined.
pub fn f1(counts: Counts) -> Option<f64> {
    ratio(2 * counts.tp, counts.predicted() + counts.support())
}

/// Unweighted mean of the brands' F1.
///
/// * `brands`: `(n_brands,)`, the counts of each brand.
///
/// Returns a value in `[0, 1]`, over the brands where F1 is defined; `None` if there is none.
/// It is not the F1 of mean precision and mean recall.
pub fn macro_f1(brands: &[Counts]) -> Option<f64> {
    mean_defined(brands.iter().map(|&counts| f1(counts)))
}

/// Mean of the values that are defined.
///
/// Returns `None` if no value is; the sum runs in the order of the iterator.
pub fn mean_defined(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (mut total, mut n_defined) = (0.0, 0_u64);
    for value in values.flatten() {
        total += value;
        n_defined += 1;
    }
    (n_defined > 0).then(|| total / n_defined as f64)
}

/// Counts summed over brands: `f1(sum(brands))` is micro F1.
pub fn sum(brands: &[Counts]) -> Counts {
    brands.iter().copied().sum()
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts { tp: self.tp + other.tp, fp: self.fp + other.fp, fn_: self.fn_ + other.fn_ }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        *self = *self + other;
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(iter: I) -> Counts {
        iter.fold(Counts::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(tp: u64, fp: u64, fn_: u64) -> Counts {
        Counts { tp, fp, fn_ }
    }

    #[test]
    fn precision_recall_and_f1_are_ratios_of_the_counts() {
        let brand = counts(3, 1, 2);
        assert_eq!(precision(brand), Some(0.75)); // 3 / (3 + 1)
        assert_eq!(recall(brand), Some(0.6)); // 3 / (3 + 2)
        assert_eq!(f1(brand), Some(6.0 / 9.0)); // 2·3 / (2·3 + 1 + 2)
    }

    #[test]
    fn a_ratio_without_a_denominator_is_undefined() {
        assert_eq!(precision(counts(0, 0, 5)), None);
        assert_eq!(recall(counts(0, 5, 0)), None);
        assert_eq!(f1(Counts::default()), None);
        assert_eq!(macro_f1(&[Counts::default()]), None);
    }

    /// Never predicted despite support is a failure and counts as one: F1 is 0, not undefined.
    #[test]
    fn macro_f1_includes_never_predicted_brands_and_leaves_out_undefined_ones() {
        let brands = [counts(1, 0, 0), counts(0, 0, 4), Counts::default()];
        assert_eq!(macro_f1(&brands), Some(0.5)); // (1 + 0) / 2
    }

    /// A head brand (F1 = 0.9) and a tail brand (F1 = 2/11). The F1 of mean precision
    /// and mean recall, the other thing called "macro F1", would be 0.655.
    #[test]
    fn macro_f1_is_the_mean_of_brand_f1() {
        let brands = [counts(90, 10, 10), counts(1, 0, 9)];
        let expected = f64::midpoint(0.9, 2.0 / 11.0); // 0.541
        assert!((macro_f1(&brands).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn micro_f1_is_the_f1_of_the_summed_counts() {
        let total = sum(&[counts(90, 10, 10), counts(1, 0, 9)]);
        assert_eq!(total, counts(91, 10, 19));
        assert_eq!(f1(total), Some(182.0 / 211.0)); // 2·91 / (2·91 + 10 + 19)
    }

    proptest! {
        #[test]
        fn permuting_brands_permutes_their_f1(
            (original, shuffled) in prop::collection::vec((0..9_u64, 0..9_u64, 0..9_u64), 1..30)
                .prop_flat_map(|brands| {
                    let order: Vec<usize> = (0..brands.len()).collect();
                    (Just(brands), Just(order).prop_shuffle())
                })
                .prop_map(|(brands, order)| {
                    let brands: Vec<_> =
                        brands.into_iter().map(|(tp, fp, fn_)| counts(tp, fp, fn_)).collect();
                    let shuffled: Vec<_> = order.iter().map(|&i| (i, brands[i])).collect();
                    (brands, shuffled)
                })
        ) {
            for &(brand_idx, brand) in &shuffled {
                prop_assert_eq!(f1(brand), f1(original[brand_idx]));
            }
            let brands: Vec<_> = shuffled.iter().map(|&(_, brand)| brand).collect();
            prop_assert_eq!(sum(&brands), sum(&original));
            let difference = macro_f1(&brands).unwrap_or(-1.0) - macro_f1(&original).unwrap_or(-1.0);
            prop_assert!(difference.abs() < 1e-12);
        }
    }
}

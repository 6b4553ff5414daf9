//! Losses from logits, each fused with its gradient.
#![expect(clippy::inline_always, reason = "a cell must be part of its row's vector loop")]

use contract::manifest::Loss;
use model::sigmoid::{Parts, exp, parts};
use multiversion::multiversion;
use ndarray::parallel::prelude::*;
use ndarray::{ArrayViewMut2, Axis};

/// The labels of one example: sorted positions of brands.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// The brands the user has
    pub brands: &'a [u32],
    /// Brands that count neither as had nor as not had, even if they are among `brands`
    pub ignored: &'a [u32],
    /// Factor on the example's loss
    pub weight: f32,
}

/// Loss of a batch and its gradient with respect to the logits.
///
/// * `logits`: `(n_users, n_brands)`; replaced by the gradient of the result.
/// * `labels`: one per user.
///
/// Returns the mean over users of `weight · Σ_brands loss`, in nats (for MSE in squared
/// probability) per user, summed in `f64`. Finite for every finite logit: the sigmoid's
/// logarithms are formed from `e^-|z|`, so no logarithm of zero can occur.
///
/// # Source
///
/// With `p = σ(z)` and `y` the label, per cell:
///
/// * BCE: `-(y·ln p + (1 - y)·ln(1 - p))`; gradient `p - y`.
/// * BFCE (Lin et al. 2017, without α): `-(1 - p)^γ·ln p` for `y = 1`, `-p^γ·ln(1 - p)` for
///   `y = 0`; gradients `(1 - p)^γ·(γ·p·ln p - (1 - p))` and its mirror.
/// * MSE: `(p - y)²`; gradient `2·(p - y)·p·(1 - p)`.
pub fn loss_and_gradient(loss: Loss, mut logits: ArrayViewMut2<f32>, labels: &[Labels]) -> f64 {
    let n_users = labels.len();
    assert_eq!(logits.nrows(), n_users, "one set of labels per row");
    let scale = 1.0 / n_users as f32;
    let losses: Vec<f64> = logits
        .axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(labels.par_iter())
        .map(|(mut row, labels)| {
            let row = row.as_slice_mut().expect("rows of the logits are contiguous");
            let factor = labels.weight * scale;
            match loss {
                Loss::Bce {} => example(Bce, row, labels, factor),
                Loss::Bfce { gamma: 2.0 } => example(Bfce2, row, labels, factor),
                Loss::Bfce { gamma } => example(Bfce { gamma }, row, labels, factor),
                Loss::Mse {} => example(Mse, row, labels, factor),
            }
        })
        .collect();
    losses.iter().sum()
}

/// Value and gradient of a cell; `z` mirrored turns a positive into a negative.
trait Cell: Copy + Send + Sync {
    /// For a label that is not there.
    fn negative(self, parts: Parts) -> (f32, f32);
    /// For a label that is there.
    fn positive(self, parts: Parts) -> (f32, f32);
    /// Replaces logits by gradients as if no label were there; returns the loss.
    fn negative_row(self, row: &mut [f32], factor: f32) -> f64;
}

/// The row as if no label were there, then the few cells where one is.
fn example<C: Cell>(cell: C, row: &mut [f32], labels: &Labels, factor: f32) -> f64 {
    let special: Vec<(usize, f32, bool)> = labels
        .brands
        .iter()
        .filter(|brand| labels.ignored.binary_search(brand).is_err())
        .map(|&brand| (brand as usize, row[brand as usize], true))
        .chain(labels.ignored.iter().map(|&brand| (brand as usize, row[brand as usize], false)))
        .collect();
    let mut loss = cell.negative_row(row, factor);
    for (brand, z, is_positive) in special {
        let parts = parts(z);
        loss -= f64::from(cell.negative(parts).0 * factor);
        row[brand] = 0.0;
        if is_positive {
            let (value, gradient) = cell.positive(parts);
            loss += f64::from(value * factor);
            row[brand] = gradient * factor;
        }
    }
    loss
}

/// The vector loop of each loss: eight running sums, so that it can be vectorised.
macro_rules! negative_row {
    ($name:ident, $cell:ty) => {
        #[multiversion(targets("x86_64+avx2+fma"))]
        fn $name(cell: $cell, row: &mut [f32], factor: f32) -> f64 {
            const BLOCK: usize = 512;
            let mut total = 0.0;
            for block in row.chunks_mut(BLOCK) {
                let mut sums = [0.0_f32; 8];
                let mut chunks = block.chunks_exact_mut(8);
                for chunk in &mut chunks {
                    for (z, sum) in chunk.iter_mut().zip(&mut sums) {
                        let (value, gradient) = cell.negative(parts(*z));
                        *sum += value * factor;
                        *z = gradient * factor;
                    }
                }
                for z in chunks.into_remainder() {
                    let (value, gradient) = cell.negative(parts(*z));
                    sums[0] += value * factor;
                    *z = gradient * factor;
                }
                total += sums.iter().map(|&sum| f64::from(sum)).sum::<f64>();
            }
            total
        }
    };
}

#[derive(Clone, Copy)]
struct Bce;
#[derive(Clone, Copy)]
struct Bfce2;
#[derive(Clone, Copy)]
struct Bfce {
    gamma: f32,
}
#[derive(Clone, Copy)]
struct Mse;

negative_row!(bce_row, Bce);
negative_row!(bfce2_row, Bfce2);
negative_row!(bfce_row, Bfce);
negative_row!(mse_row, Mse);

impl Cell for Bce {
    #[inline(always)]
    fn negative(self, at: Parts) -> (f32, f32) {
        (at.nll_negative, at.p)
    }

    #[inline(always)]
    fn positive(self, at: Parts) -> (f32, f32) {
        (at.nll_positive, -at.q)
    }

    fn negative_row(self, row: &mut [f32], factor: f32) -> f64 {
        bce_row(self, row, factor)
    }
}

/// Focal loss of a cell whose wrong side has probability `wrong`, with `nll = -ln(1 - wrong)`
/// and `weight = wrong^γ`: `wrong^γ·nll`, and its slope toward the wrong side.
#[inline(always)]
fn focal(wrong: f32, right: f32, nll: f32, gamma: f32, weight: f32) -> (f32, f32) {
    (weight * nll, weight * (wrong + gamma * right * nll))
}

impl Cell for Bfce2 {
    #[inline(always)]
    fn negative(self, at: Parts) -> (f32, f32) {
        focal(at.p, at.q, at.nll_negative, 2.0, at.p * at.p)
    }

    #[inline(always)]
    fn positive(self, at: Parts) -> (f32, f32) {
        let (value, slope) = focal(at.q, at.p, at.nll_positive, 2.0, at.q * at.q);
        (value, -slope)
    }

    fn negative_row(self, row: &mut [f32], factor: f32) -> f64 {
        bfce2_row(self, row, factor)
    }
}

impl Cell for Bfce {
    #[inline(always)]
    fn negative(self, at: Parts) -> (f32, f32) {
        // p^γ = e^(γ·ln p), and ln p is at hand.
        focal(at.p, at.q, at.nll_negative, self.gamma, exp(-self.gamma * at.nll_positive))
    }

    #[inline(always)]
    fn positive(self, at: Parts) -> (f32, f32) {
        let weight = exp(-self.gamma * at.nll_negative);
        let (value, slope) = focal(at.q, at.p, at.nll_positive, self.gamma, weight);
        (value, -slope)
    }

    fn negative_row(self, row: &mut [f32], factor: f32) -> f64 {
        bfce_row(self, row, factor)
    }
}

impl Cell for Mse {
    #[inline(always)]
    fn negative(self, at: Parts) -> (f32, f32) {
        (at.p * at.p, 2.0 * at.p * at.p * at.q)
    }

    #[inline(always)]
    fn positive(self, at: Parts) -> (f32, f32) {
        (at.q * at.q, -2.0 * at.q * at.p * at.q)
    }

    fn negative_row(self, row: &mut [f32], factor: f32) -> f64 {
        mse_row(self, row, factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    const EVERY_LOSS: [Loss; 4] =
        [Loss::Bce {}, Loss::Bfce { gamma: 2.0 }, Loss::Bfce { gamma: 1.5 }, Loss::Mse {}];

    fn labels<'a>(brands: &'a [u32], ignored: &'a [u32], weight: f32) -> Labels<'a> {
        Labels { brands, ignored, weight }
    }

    /// A probability of 1/2 costs ln 2 in a cell, (1/2)^γ·ln 2 with focus, 1/4 squared;
    /// 17 cells a user, and the mean over users changes nothing.
    #[test]
    fn zero_logits_cost_the_same_in_every_cell() {
        let ln_2 = std::f64::consts::LN_2;
        let expected = [17.0 * ln_2, 17.0 * ln_2 / 4.0, 17.0 * ln_2 / 8.0_f64.sqrt(), 17.0 / 4.0];
        for (loss, expected) in EVERY_LOSS.into_iter().zip(expected) {
            let users = [labels(&[3, 16], &[], 1.0), labels(&[], &[], 1.0)];
            let value = loss_and_gradient(loss, Array2::zeros((2, 17)).view_mut(), &users);
            assert!((value - expected).abs() < 1e-5, "{loss:?}: {value} for {expected}");
        }
    }

    /// Two brands far on the wrong side: BCE and BFCE cost -ln e^-120 = 120 each, MSE 1 each.
    /// The gradient is 1 toward the wrong side, for BFCE too, as `γ·right·nll` is 0; for MSE
    /// it is 0, as the sigmoid is flat there.
    #[test]
    fn logits_of_120_on_the_wrong_side_are_finite() {
        for (loss, value, slope) in [
            (Loss::Bce {}, 240.0, 1.0),
            (Loss::Bfce { gamma: 2.0 }, 240.0, 1.0),
            (Loss::Bfce { gamma: 1.5 }, 240.0, 1.0),
            (Loss::Mse {}, 2.0, 0.0),
        ] {
            let mut cells = array![[120.0, -120.0]];
            let found = loss_and_gradient(loss, cells.view_mut(), &[labels(&[1], &[], 1.0)]);
            assert!((found - value).abs() < 1e-9, "{loss:?}: {found} for {value}");
            assert_eq!(cells, array![[slope, -slope]], "{loss:?}");
        }
    }

    /// On the right side the loss is e^-120 at most, which `f32` rounds to 0.
    #[test]
    fn logits_of_120_on_the_right_side_cost_nothing() {
        for loss in EVERY_LOSS {
            let mut cells = array![[120.0, -120.0]];
            let found = loss_and_gradient(loss, cells.view_mut(), &[labels(&[0], &[], 1.0)]);
            assert!(found.abs() < 1e-9, "{loss:?}: {found}");
            assert_eq!(cells, array![[0.0, 0.0]], "{loss:?}");
        }
    }

    /// Central differences with h = 1/64: an error of h²/6 of the third derivative, 4e-5 of it,
    /// and of about 1e-7/h = 6e-6 for rounding.
    #[test]
    fn gradients_are_slopes_of_the_loss() {
        const H: f32 = 1.0 / 64.0;
        let logits = array![
            [0.0, 0.5, -0.5, 1.5, -1.5, 3.0, -3.0, 4.0, -4.0],
            [1.0, -1.0, 2.0, -2.0, 0.25, -0.25, 2.5, -2.5, 0.75]
        ];
        let users = [labels(&[1, 2, 5, 6], &[0, 5], 1.5), labels(&[0, 3, 8], &[], 0.5)];
        for loss in EVERY_LOSS.into_iter().chain([Loss::Bfce { gamma: 0.5 }]) {
            let mut gradient = logits.clone();
            loss_and_gradient(loss, gradient.view_mut(), &users);
            for (cell, &slope) in gradient.indexed_iter() {
                let at = |shift: f32| {
                    let mut moved = logits.clone();
                    moved[cell] += shift;
                    loss_and_gradient(loss, moved.view_mut(), &users)
                };
                let difference = (at(H) - at(-H)) / f64::from(2.0 * H);
                assert!(
                    (f64::from(slope) - difference).abs() < 5e-5,
                    "{loss:?} {cell:?}: {slope} for {difference}"
                );
            }
        }
    }

    /// A NaN that passed for 0 would let a broken network train on unnoticed.
    #[test]
    fn a_logit_that_is_no_number_makes_the_loss_none() {
        for loss in EVERY_LOSS {
            for brands in [&[][..], &[0]] {
                let mut cells = array![[f32::NAN, 0.0]];
                let value = loss_and_gradient(loss, cells.view_mut(), &[labels(brands, &[], 1.0)]);
                assert!(value.is_nan(), "{loss:?}: {value}");
            }
        }
    }
}

//! Losses and their gradients, both computed from logits in one pass.
#![expect(clippy::inline_always, reason = "a cell must be part of its row's vector loop")]

use contract::manifest::{BrandWeights, Loss, TrainParams, WeightedCells};
use model::prior_logits;
use model::sigmoid::{exp, ln, parts};
use multiversion::multiversion;
use ndarray::parallel::prelude::*;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use crate::labels::Labels;
use crate::soft_f1::SoftF1;

/// Runs `$body` with `$cell` as the [`Cell`] of a loss.
macro_rules! for_cell {
    ($loss:expr, $cell:ident => $body:expr) => {
        match $loss {
            Loss::Bce {} | Loss::LogitAdjusted { .. } => {
                let $cell = Bce;
                $body
            }
            Loss::Bfce { gamma: 2.0, .. } => {
                let $cell = Bfce2;
                $body
            }
            Loss::Bfce { gamma, .. } => {
                let $cell = Bfce { gamma };
                $body
            }
            Loss::Mse {} => {
                let $cell = Mse;
                $body
            }
            Loss::Asl { gamma_positive, gamma_negative, clip } => {
                let $cell = Asl { gamma_positive, gamma_negative, clip };
                $body
            }
        }
    };
}

/// What training minimises: the mean over users of `weight · Σ_brands w_brand · loss`.
///
/// Per user, not per cell: in nats (for MSE in squared probability).
///
/// # Source
///
/// With `p = σ(z)` and `y` the label, per cell:
///
/// * BCE: `-(y·ln p + (1 - y)·ln(1 - p))`; gradient `p - y`.
/// * BFCE (Lin et al. 2017, equation 5): `-α·(1 - p)^γ·ln p` for `y = 1`,
///   `-(1 - α)·p^γ·ln(1 - p)` for `y = 0`; gradients `α·(1 - p)^γ·(γ·p·ln p - (1 - p))` and its
///   mirror. Without α both count once.
/// * MSE: `(p - y)²`; gradient `2·(p - y)·p·(1 - p)`.
/// * ASL (Ridnik et al. 2021, equation 7): BFCE's with `γ+` for `y = 1`; for `y = 0`
///   `-p_m^γ-·ln(1 - p_m)` with `p_m = max(p - m, 0)`; its gradient is
///   `p·(1 - p)·(γ-·p_m^(γ- - 1)·-ln(1 - p_m) + p_m^γ- / (1 - p_m))` where `p > m`, else 0.
///   (The authors' program stops the gradient through `p_m^γ-`; this one does not.)
/// * Logit-adjusted BCE (Menon et al. 2021, equation 10, brand by brand): BCE of
///   `z + τ·ln(π / (1 - π))` with `π` the brand's prevalence among training users. What is
///   learned is `z`, from which the prevalence is taken out.
/// * Brand weights `w_b = scale · n_b^-power / mean(n^-power)` of volumes `n` (at least 1), on the
///   cells with `y = 1` or on all: one vector over brands. With MSE and power 1 that is
///   approach 4.
/// * The auxiliary soft F1 term: see the module `soft_f1`.
///
/// Finite for every finite logit: the sigmoid's logarithms are formed from `e^-|z|`, so no
/// logarithm of zero can occur.
#[derive(Debug, Clone)]
pub struct Objective {
    loss: Loss,
    /// `(n_brands,)`: added to the logits
    adjustment: Option<Vec<f32>>,
    /// `(n_brands,)`: factor on the cells of users who have the brand
    positives: Option<Vec<f32>>,
    /// `(n_brands,)`: factor on the other cells
    negatives: Option<Vec<f32>>,
    /// Share of the soft F1 term
    pub(crate) soft_f1: f32,
}

impl Objective {
    /// * `volumes`: `(n_brands,)`, training users that have each brand, of `n_users`.
    pub fn new(params: &TrainParams, volumes: &[u64], n_users: u64) -> Self {
        let adjustment = match params.loss {
            Loss::LogitAdjusted { tau } => Some((prior_logits(volumes, n_users) * tau).to_vec()),
            _ => None,
        };
        let (mut positives, mut negatives) = (None, None);
        if let Loss::Bfce { alpha: Some(alpha), .. } = params.loss {
            positives = Some(vec![alpha; volumes.len()]);
            negatives = Some(vec![1.0 - alpha; volumes.len()]);
        }
        if let Some(weights) = params.brand_weights {
            let factors = brand_weights(weights, volumes);
            let times = |cells: Option<Vec<f32>>| match cells {
                Some(cells) => cells.iter().zip(&factors).map(|(a, b)| a * b).collect(),
                None => factors.clone(),
            };
            if weights.on == WeightedCells::Both {
                negatives = Some(times(negatives));
            }
            positives = Some(times(positives));
        }
        Self { loss: params.loss, adjustment, positives, negatives, soft_f1: params.soft_f1 }
    }

    /// Loss of a batch and its gradient with respect to the logits.
    ///
    /// * `logits`: `(n_users, n_brands)`; replaced by the gradient of the result.
    /// * `labels`: one per user.
    pub fn loss_and_gradient(&self, mut logits: ArrayViewMut2<f32>, labels: &[Labels]) -> f64 {
        let n_users = labels.len();
        assert_eq!(logits.nrows(), n_users, "one set of labels per row");
        let mut soft_f1 = SoftF1::default();
        let mut loss = soft_f1.prepare(self.soft_f1, logits.view(), &|i| labels[i], n_users);
        let mut scratch = Scratch::default();
        for (row, &labels) in logits.rows_mut().into_iter().zip(labels) {
            let row = row.into_slice().expect("rows of the logits are contiguous");
            loss += self.row(row, labels, n_users, &soft_f1, &mut scratch);
        }
        loss
    }

    /// Loss of a batch without the soft F1 term, as a mean over its users.
    pub fn loss(&self, logits: ArrayView2<f32>, labels: &[Labels]) -> f64 {
        let n_users = labels.len();
        let room = || (Vec::new(), Scratch::default());
        let users = logits.axis_iter(Axis(0)).into_par_iter().zip(labels);
        let losses: Vec<f64> = users
            .map_init(room, |(row, scratch), (logits, &labels)| {
                row.clear();
                row.extend(logits);
                self.row(row, labels, n_users, &SoftF1::default(), scratch)
            })
            .collect();
        losses.iter().sum()
    }

    /// One user's share of the batch's loss; the gradient replaces the row's logits.
    ///
    /// * `row`: logits of all brands, or of the first.
    /// * `labels`: of these brands alone.
    pub(crate) fn row(
        &self,
        row: &mut [f32],
        labels: Labels,
        n_users: usize,
        soft_f1: &SoftF1,
        scratch: &mut Scratch,
    ) -> f64 {
        let factor = labels.weight / n_users as f32;
        let extra = soft_f1.is_active();
        if extra {
            soft_f1.gradient(row, labels, &mut scratch.extra);
        }
        if let Some(adjustment) = &self.adjustment {
            for (z, adjustment) in row.iter_mut().zip(adjustment) {
                *z += adjustment;
            }
        }
        let special = &mut scratch.special;
        let loss = for_cell!(self.loss, cell => {
            self.example(cell, row, labels, factor, special)
        });
        if extra {
            for (gradient, extra) in row.iter_mut().zip(&scratch.extra) {
                *gradient += extra;
            }
        }
        loss
    }

    /// Gradients of cells without a label, of one user.
    ///
    /// * `first`: brand of the first cell.
    /// * `gradients`: as long as `logits`; overwritten.
    /// * `weight`: of the user.
    pub(crate) fn negative_gradients(
        &self,
        first: usize,
        logits: &[f32],
        gradients: &mut Vec<f32>,
        weight: f32,
        n_users: usize,
    ) {
        let of_row = first..first + logits.len();
        gradients.clear();
        match &self.adjustment {
            Some(shifts) => {
                gradients.extend(logits.iter().zip(&shifts[of_row.clone()]).map(|(z, s)| z + s));
            }
            None => gradients.extend_from_slice(logits),
        }
        for_cell!(self.loss, cell => cell.negative_gradients(gradients, weight / n_users as f32));
        if let Some(weights) = &self.negatives {
            gradients.iter_mut().zip(&weights[of_row]).for_each(|(g, weight)| *g *= weight);
        }
    }

    /// Losses of cells of one user, summed; their gradients replace the logits.
    ///
    /// * `brands`: of the cells.
    /// * `has`: whether the user has a brand.
    /// * `factor`: of cell `i`, on its loss.
    pub(crate) fn cells(
        &self,
        brands: &[u32],
        logits: &mut [f32],
        has: impl Fn(u32) -> bool,
        factor: impl Fn(usize) -> f32,
        weight: f32,
        n_users: usize,
    ) -> f64 {
        let mut loss = 0.0;
        for_cell!(self.loss, cell => for (i, (&brand, logit)) in brands.iter().zip(logits).enumerate() {
            let z = *logit + self.adjustment.as_ref().map_or(0.0, |shifts| shifts[brand as usize]);
            let factor = factor(i) * weight / n_users as f32;
            let (value, gradient) = if has(brand) {
                self.positive(cell, z, brand as usize, factor)
            } else {
                self.negative(cell, z, brand as usize, factor)
            };
            loss += f64::from(value);
            *logit = gradient;
        });
        loss
    }

    /// Loss and gradient of a cell without a label.
    fn negative<C: Cell>(&self, cell: C, z: f32, brand: usize, factor: f32) -> (f32, f32) {
        let (value, gradient) = cell.negative(z);
        let weight = factor * weight_of(self.negatives.as_deref(), brand);
        (value * weight, gradient * weight)
    }

    /// Loss and gradient of a cell with a label.
    fn positive<C: Cell>(&self, cell: C, z: f32, brand: usize, factor: f32) -> (f32, f32) {
        let (value, gradient) = cell.positive(z);
        let weight = factor * weight_of(self.positives.as_deref(), brand);
        (value * weight, gradient * weight)
    }

    /// Treats the whole row as negatives, then corrects the few cells that are labels or ignored.
    fn example<C: Cell>(
        &self,
        cell: C,
        row: &mut [f32],
        labels: Labels,
        factor: f32,
        special: &mut Vec<(usize, f32, bool)>,
    ) -> f64 {
        let negatives = self.negatives.as_deref();
        special.clear();
        special.extend(labels.counted().map(|brand| (brand, row[brand], true)));
        let ignored = labels.ignored.iter().map(|&brand| brand as usize);
        special.extend(ignored.map(|brand| (brand, row[brand], false)));
        let mut loss = cell.negative_row(row, factor, negatives);
        for &(brand, z, is_positive) in &*special {
            let weight = factor * weight_of(negatives, brand);
            loss -= f64::from(cell.negative(z).0 * weight);
            row[brand] = 0.0;
            if is_positive {
                let (value, gradient) = self.positive(cell, z, brand, factor);
                loss += f64::from(value);
                row[brand] = gradient;
            }
        }
        loss
    }
}

fn weight_of(weights: Option<&[f32]>, brand: usize) -> f32 {
    weights.map_or(1.0, |weights| weights[brand])
}

fn brand_weights(weights: BrandWeights, volumes: &[u64]) -> Vec<f32> {
    let power = |&volume: &u64| (volume.max(1) as f64).powf(-f64::from(weights.power));
    let mean = volumes.iter().map(power).sum::<f64>() / volumes.len() as f64;
    volumes.iter().map(|volume| (f64::from(weights.scale) * power(volume) / mean) as f32).collect()
}

/// Buffers for one row, reused from row to row.
#[derive(Debug, Default, Clone)]
pub(crate) struct Scratch {
    /// Cells that are not plain negatives: brand, logit, whether the user has the brand
    special: Vec<(usize, f32, bool)>,
    /// Gradient of the soft F1 term
    extra: Vec<f32>,
}

/// Value and gradient of a cell from its logit.
trait Cell: Copy {
    /// Of a brand that the user does not have.
    fn negative(self, z: f32) -> (f32, f32);
    /// Of a brand that the user has.
    fn positive(self, z: f32) -> (f32, f32);
    /// Replaces the logits of negatives by their gradients.
    fn negative_gradients(self, row: &mut [f32], factor: f32);
    /// As [`Self::negative_gradients`], with weights; returns the loss.
    fn negative_row(self, row: &mut [f32], factor: f32, weights: Option<&[f32]>) -> f64;
}

/// Defines the vector loop of a loss.
///
/// Values go to an array of their own and are summed in sixteen lanes: a running sum would prevent
/// vectorisation, or make the result depend on the width of the vectors.
macro_rules! negative_row {
    ($name:ident, $gradients:ident, $cell:ty) => {
        #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
        fn $gradients(cell: $cell, row: &mut [f32], factor: f32) {
            for z in row {
                *z = cell.negative(*z).1 * factor;
            }
        }

        #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
        fn $name(cell: $cell, row: &mut [f32], factor: f32, weights: Option<&[f32]>) -> f64 {
            const BLOCK: usize = 256;
            const LANES: usize = 16;
            let mut total = 0.0;
            let mut start = 0;
            for block in row.chunks_mut(BLOCK) {
                let mut values = [0.0_f32; BLOCK];
                for (z, value) in block.iter_mut().zip(&mut values) {
                    let (loss, gradient) = cell.negative(*z);
                    *value = loss;
                    *z = gradient * factor;
                }
                if let Some(weights) = weights {
                    let weights = &weights[start..start + block.len()];
                    for ((gradient, value), weight) in
                        block.iter_mut().zip(&mut values).zip(weights)
                    {
                        *gradient *= weight;
                        *value *= weight;
                    }
                }
                let mut sums = [0.0_f32; LANES];
                for chunk in values.chunks_exact(LANES) {
                    for (sum, value) in sums.iter_mut().zip(chunk) {
                        *sum += value;
                    }
                }
                total += f64::from(sums.iter().sum::<f32>());
                start += block.len();
            }
            total * f64::from(factor)
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
#[derive(Clone, Copy)]
struct Asl {
    gamma_positive: f32,
    gamma_negative: f32,
    clip: f32,
}

negative_row!(bce_row, bce_gradients, Bce);
negative_row!(bfce2_row, bfce2_gradients, Bfce2);
negative_row!(bfce_row, bfce_gradients, Bfce);
negative_row!(mse_row, mse_gradients, Mse);
negative_row!(asl_row, asl_gradients, Asl);

impl Cell for Bce {
    #[inline(always)]
    fn negative(self, z: f32) -> (f32, f32) {
        let at = parts(z);
        (at.nll_negative, at.p)
    }

    #[inline(always)]
    fn positive(self, z: f32) -> (f32, f32) {
        let at = parts(z);
        (at.nll_positive, -at.q)
    }

    fn negative_gradients(self, row: &mut [f32], factor: f32) {
        bce_gradients(self, row, factor);
    }

    fn negative_row(self, row: &mut [f32], factor: f32, weights: Option<&[f32]>) -> f64 {
        bce_row(self, row, factor, weights)
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
    fn negative(self, z: f32) -> (f32, f32) {
        let at = parts(z);
        focal(at.p, at.q, at.nll_negative, 2.0, at.p * at.p)
    }

    #[inline(always)]
    fn positive(self, z: f32) -> (f32, f32) {
        let at = parts(z);
        let (value, slope) = focal(at.q, at.p, at.nll_positive, 2.0, at.q * at.q);
        (value, -slope)
    }

    fn negative_gradients(self, row: &mut [f32], factor: f32) {
        bfce2_gradients(self, row, factor);
    }

    fn negative_row(self, row: &mut [f32], factor: f32, weights: Option<&[f32]>) -> f64 {
        bfce2_row(self, row, factor, weights)
    }
}

impl Cell for Bfce {
    #[inline(always)]
    fn negative(self, z: f32) -> (f32, f32) {
        let at = parts(z);
        // p^γ = e^(γ·ln p), and ln p is known.
        focal(at.p, at.q, at.nll_negative, self.gamma, exp(-self.gamma * at.nll_positive))
    }

    #[inline(always)]
    fn positive(self, z: f32) -> (f32, f32) {
        let at = parts(z);
        let weight = exp(-self.gamma * at.nll_negative);
        let (value, slope) = focal(at.q, at.p, at.nll_positive, self.gamma, weight);
        (value, -slope)
    }

    fn negative_gradients(self, row: &mut [f32], factor: f32) {
        bfce_gradients(self, row, factor);
    }

    fn negative_row(self, row: &mut [f32], factor: f32, weights: Option<&[f32]>) -> f64 {
        bfce_row(self, row, factor, weights)
    }
}

impl Cell for Mse {
    #[inline(always)]
    fn negative(self, z: f32) -> (f32, f32) {
        let at = parts(z);
        (at.p * at.p, 2.0 * at.p * at.p * at.q)
    }

    #[inline(always)]
    fn positive(self, z: f32) -> (f32, f32) {
        let at = parts(z);
        (at.q * at.q, -2.0 * at.q * at.p * at.q)
    }

    fn negative_gradients(self, row: &mut [f32], factor: f32) {
        mse_gradients(self, row, factor);
    }

    fn negative_row(self, row: &mut [f32], factor: f32, weights: Option<&[f32]>) -> f64 {
        mse_row(self, row, factor, weights)
    }
}

impl Cell for Asl {
    #[inline(always)]
    fn negative(self, z: f32) -> (f32, f32) {
        let at = parts(z);
        let above = at.p - self.clip;
        // Not `max`, which would replace NaN by a number. A value that is cut off is not used below.
        let wrong = if above < 1e-30 { 1e-30 } else { above };
        let right = if above < 0.0 { 1.0 } else { at.q + self.clip };
        // Without a clip `right` is `1 - p`, which may be too small for its logarithm.
        let (nll, share) =
            if self.clip == 0.0 { (at.nll_negative, 1.0) } else { (-ln(right), at.q / right) };
        let weight = exp(self.gamma_negative * ln(wrong));
        let slope = at.p * weight * (self.gamma_negative * at.q * nll / wrong + share);
        if above <= 0.0 { (0.0, 0.0) } else { (weight * nll, slope) }
    }

    #[inline(always)]
    fn positive(self, z: f32) -> (f32, f32) {
        Bfce { gamma: self.gamma_positive }.positive(z)
    }

    fn negative_gradients(self, row: &mut [f32], factor: f32) {
        asl_gradients(self, row, factor);
    }

    fn negative_row(self, row: &mut [f32], factor: f32, weights: Option<&[f32]>) -> f64 {
        asl_row(self, row, factor, weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    const VOLUMES: [u64; 17] = [50, 40, 30, 25, 20, 16, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1, 1];
    const N_USERS: u64 = 100;

    fn params(loss: Loss) -> TrainParams {
        TrainParams { loss, ..TrainParams::default() }
    }

    /// Losses whose cells can be computed by hand.
    const PLAIN: [Loss; 4] = [
        Loss::Bce {},
        Loss::Bfce { gamma: 2.0, alpha: None },
        Loss::Bfce { gamma: 1.5, alpha: None },
        Loss::Mse {},
    ];

    /// Each kind of loss, and each term or weight that can be added to it.
    fn every_objective() -> Vec<(String, TrainParams)> {
        let weights = |on| Some(BrandWeights { power: 0.5, scale: 2.0, on });
        let asl = Loss::Asl { gamma_positive: 1.0, gamma_negative: 4.0, clip: 0.05 };
        let unclipped = Loss::Asl { gamma_positive: 0.0, gamma_negative: 1.5, clip: 0.0 };
        let others = [
            params(Loss::Bfce { gamma: 0.5, alpha: None }),
            params(Loss::Bfce { gamma: 2.0, alpha: Some(0.25) }),
            params(asl),
            params(unclipped),
            params(Loss::LogitAdjusted { tau: 1.0 }),
            TrainParams {
                brand_weights: weights(WeightedCells::Positives),
                ..params(Loss::Mse {})
            },
            TrainParams { brand_weights: weights(WeightedCells::Both), ..params(Loss::Bce {}) },
            TrainParams {
                brand_weights: weights(WeightedCells::Both),
                ..params(Loss::Bfce { gamma: 2.0, alpha: Some(0.75) })
            },
            TrainParams { soft_f1: 0.5, ..params(Loss::Bce {}) },
        ];
        let all = PLAIN.into_iter().map(params).chain(others);
        all.map(|p| (format!("{:?} {:?} {}", p.loss, p.brand_weights, p.soft_f1), p)).collect()
    }

    /// The first brands as a row, the others cell by cell.
    #[test]
    fn parts_of_a_row_have_its_loss_and_its_gradients() {
        let logits: Vec<f32> = (0..12).map(|i| 0.7 * i as f32 - 4.0).collect();
        let all = labels(&[1, 6, 9, 11], &[2, 9], 0.5);
        for (name, params) in every_objective() {
            let objective = objective(&TrainParams { soft_f1: 0.0, ..params }, logits.len());
            let run = |row: &mut [f32], labels| {
                objective.row(row, labels, 3, &SoftF1::default(), &mut Scratch::default())
            };
            let mut whole = logits.clone();
            let whole_loss = run(&mut whole, all);
            for first in [0, 5, 12] {
                let mut head = logits[..first].to_vec();
                let head_loss = run(&mut head, all.below(first));
                assert_eq!(head, whole[..first], "{name} {first}");

                let counted = (first..12).filter(|brand| ![2, 9].contains(brand));
                let brands: Vec<u32> = counted.map(|brand| brand as u32).collect();
                let mut cells: Vec<f32> = brands.iter().map(|&b| logits[b as usize]).collect();
                let has = |brand: u32| [1, 6, 11].contains(&brand);
                let loss = head_loss + objective.cells(&brands, &mut cells, has, |_| 1.0, 0.5, 3);
                assert!((loss - whole_loss).abs() < 1e-5, "{name} {first}: {loss} {whole_loss}");

                let mut negatives = Vec::new();
                objective.negative_gradients(first, &logits[first..], &mut negatives, 0.5, 3);
                for (&brand, cell) in brands.iter().zip(cells) {
                    let expected = whole[brand as usize];
                    assert!((cell - expected).abs() < 1e-7, "{name} {first} {brand}");
                    let negative = negatives[brand as usize - first];
                    let is_same = (negative - expected).abs() < 1e-7;
                    assert_eq!(is_same, !has(brand), "{name} {first} {brand}");
                }
            }
        }
    }

    fn objective(params: &TrainParams, n_brands: usize) -> Objective {
        Objective::new(params, &VOLUMES[..n_brands], N_USERS)
    }

    fn labels<'a>(brands: &'a [u32], ignored: &'a [u32], weight: f32) -> Labels<'a> {
        Labels { brands, ignored, weight }
    }

    /// A probability of 1/2 costs ln 2 in a cell, (1/2)^γ·ln 2 with focus, 1/4 squared;
    /// 17 cells a user, and the mean over users changes nothing.
    #[test]
    fn zero_logits_cost_the_same_in_every_cell() {
        let ln_2 = std::f64::consts::LN_2;
        let expected = [17.0 * ln_2, 17.0 * ln_2 / 4.0, 17.0 * ln_2 / 8.0_f64.sqrt(), 17.0 / 4.0];
        for (loss, expected) in PLAIN.into_iter().zip(expected) {
            let users = [labels(&[3, 16], &[], 1.0), labels(&[], &[], 1.0)];
            let mut cells = Array2::zeros((2, 17));
            let value = objective(&params(loss), 17).loss_and_gradient(cells.view_mut(), &users);
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
            (Loss::Bfce { gamma: 2.0, alpha: None }, 240.0, 1.0),
            (Loss::Bfce { gamma: 1.5, alpha: None }, 240.0, 1.0),
            (Loss::Mse {}, 2.0, 0.0),
        ] {
            let mut cells = array![[120.0, -120.0]];
            let found = objective(&params(loss), 2)
                .loss_and_gradient(cells.view_mut(), &[labels(&[1], &[], 1.0)]);
            assert!((found - value).abs() < 1e-9, "{loss:?}: {found} for {value}");
            assert_eq!(cells, array![[slope, -slope]], "{loss:?}");
        }
    }

    /// On the right side the loss is e^-120 at most, which `f32` rounds to 0.
    #[test]
    fn logits_of_120_on_the_right_side_cost_nothing() {
        for (name, params) in every_objective() {
            let mut cells = array![[120.0, -120.0]];
            let found = objective(&params, 2)
                .loss_and_gradient(cells.view_mut(), &[labels(&[0], &[], 1.0)]);
            assert!(found.abs() < 1e-9, "{name}: {found}");
            assert!(cells.iter().all(|gradient| gradient.abs() < 1e-30), "{name}: {cells}");
        }
    }

    /// Volumes 4 and 1 to the power -1/2 are 1/2 and 1, of mean 3/4; twice that are 4/3 and 8/3.
    /// A logit of 0 costs ln 2 in each cell.
    #[test]
    fn brand_weights_are_powers_of_volumes_of_a_given_mean() {
        let ln_2 = std::f64::consts::LN_2;
        for (on, expected) in [
            (WeightedCells::Both, (4.0 / 3.0 + 8.0 / 3.0) * ln_2),
            (WeightedCells::Positives, (1.0 + 8.0 / 3.0) * ln_2),
        ] {
            let weights = BrandWeights { power: 0.5, scale: 2.0, on };
            let params = TrainParams { brand_weights: Some(weights), ..params(Loss::Bce {}) };
            let objective = Objective::new(&params, &[4, 1], 10);
            let mut cells = Array2::zeros((1, 2));
            let value = objective.loss_and_gradient(cells.view_mut(), &[labels(&[1], &[], 1.0)]);
            assert!((value - expected).abs() < 1e-6, "{on:?}: {value} for {expected}");
        }
    }

    #[test]
    fn the_loss_without_a_gradient_is_the_one_with_it() {
        let logits = Array2::from_shape_fn((3, 17), |(i, j)| (i + 2 * j) as f32 / 8.0 - 2.0);
        let users =
            [labels(&[1, 16], &[0, 5], 1.5), labels(&[], &[], 0.5), labels(&[2], &[2, 3], 1.0)];
        for (name, params) in every_objective() {
            let objective = objective(&TrainParams { soft_f1: 0.0, ..params }, 17);
            let expected = objective.loss_and_gradient(logits.clone().view_mut(), &users);
            assert_eq!(objective.loss(logits.view(), &users), expected, "{name}");
        }
    }

    /// Central differences with h = 1/64: an error of h²/6 of the third derivative, 4e-5 of it,
    /// and of about 1e-7/h = 6e-6 for rounding. Weights of up to 4 multiply both.
    #[test]
    fn gradients_are_slopes_of_the_loss() {
        const H: f32 = 1.0 / 64.0;
        let logits = array![
            [0.0, 0.5, -0.5, 1.5, -1.5, 3.0, -2.75, 4.0, -4.0],
            [1.0, -1.0, 2.0, -2.0, 0.25, -0.25, 2.5, -2.5, 0.75]
        ];
        let users = [labels(&[1, 2, 5, 6], &[0, 5], 1.5), labels(&[0, 3, 8], &[], 0.5)];
        for (name, params) in every_objective() {
            let objective = objective(&params, 9);
            let mut gradient = logits.clone();
            objective.loss_and_gradient(gradient.view_mut(), &users);
            for (cell, &slope) in gradient.indexed_iter() {
                let at = |shift: f32| {
                    let mut moved = logits.clone();
                    moved[cell] += shift;
                    objective.loss_and_gradient(moved.view_mut(), &users)
                };
                let difference = (at(H) - at(-H)) / f64::from(2.0 * H);
                assert!(
                    (f64::from(slope) - difference).abs() < 2e-4,
                    "{name} {cell:?}: {slope} for {difference}"
                );
            }
        }
    }

    /// A NaN taken for 0 would let a broken network train on unnoticed.
    #[test]
    fn a_logit_that_is_nan_makes_the_loss_nan() {
        for (name, params) in every_objective() {
            for brands in [&[][..], &[0]] {
                let mut cells = array![[f32::NAN, 0.0]];
                let value = objective(&params, 2)
                    .loss_and_gradient(cells.view_mut(), &[labels(brands, &[], 1.0)]);
                assert!(value.is_nan(), "{name}: {value}");
            }
        }
    }
}

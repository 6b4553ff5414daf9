//! A sketch of the logits: cheap, wrong by a little, and good enough to tell which matter.
//!
//! The last hidden layer of a batch hardly leaves a few dozen directions. With `V` an orthonormal
//! basis of them, `(h·V)·(Vᵀ·W) + b` is close to the logits `h·W + b`, at a small part of the work.

use contract::splitmix::{GOLDEN, mix};
use model::matmul::matmul;
use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;

use super::resize;
use super::sparse::multiply_add;

/// Directions of the hidden layer that can be kept.
pub(super) const RANK: usize = 32;

/// Factors of a logit: the directions, and one for the bias.
const FACTORS: usize = RANK + 1;

/// Users of a batch that the directions are found from.
const SAMPLE: usize = 256;

/// Power iterations from random directions.
const ITERATIONS: usize = 2;

/// Users or brands, and columns, whose sums fit in registers.
const ROWS: usize = 4;
const COLUMNS: usize = 64;

/// The factors of a batch's sketch; reused from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    /// Directions that are kept, at most [`RANK`]
    rank: usize,
    n_brands: usize,
    /// `(RANK, width)`: orthonormal rows, the rest 0
    basis: Array2<f32>,
    /// `(n_users, FACTORS)`: `h·V`, and 1 for the bias
    users: Array2<f32>,
    /// `Vᵀ·W` and the bias in tiles of `(FACTORS, COLUMNS)`, as what is read together should lie
    /// together. The last tile is filled up
    tiles: Vec<f32>,
}

impl Sketch {
    pub(super) fn new(rank: usize) -> Self {
        Self { rank, ..Self::default() }
    }

    /// * `hidden`: `(n_users, width)`, a batch's last hidden layer.
    /// * `weights`: rows of `width`, one for each brand.
    /// * `bias`: `(n_brands,)`.
    pub(super) fn fit(&mut self, hidden: ArrayView2<f32>, weights: &[f32], bias: &[f32]) {
        let (n_users, width) = hidden.dim();
        resize([(&mut self.basis, (RANK, width)), (&mut self.users, (n_users, FACTORS))]);
        self.basis.fill(0.0);
        let mut basis = self.basis.slice_mut(s![..self.rank.min(width), ..]);
        basis.indexed_iter_mut().for_each(|((i, j), x)| *x = random(i * width + j));
        let sample = hidden.slice(s![..n_users.min(SAMPLE), ..]);
        let mut images = Array2::zeros((basis.nrows(), sample.nrows()));
        for _ in 0..ITERATIONS {
            matmul(basis.view(), sample.t(), false, images.view_mut());
            matmul(images.view(), sample, false, basis.view_mut());
            orthonormalise(basis.view_mut());
        }
        let (users, mut one) = self.users.view_mut().split_at(Axis(1), RANK);
        matmul(hidden, self.basis.t(), false, users);
        one.fill(1.0);

        self.n_brands = bias.len();
        let columns = self.basis.t();
        let basis: Vec<[f32; RANK]> =
            columns.rows().into_iter().map(|row| std::array::from_fn(|i| row[i])).collect();
        self.tiles.resize(self.n_brands.div_ceil(COLUMNS) * FACTORS * COLUMNS, 0.0);
        self.tiles
            .par_chunks_mut(FACTORS * COLUMNS)
            .zip(weights.par_chunks(COLUMNS * width))
            .zip(bias.par_chunks(COLUMNS))
            .for_each(|((tile, weights), bias)| {
                project(weights, &basis, tile);
                tile[RANK * COLUMNS..][..bias.len()].copy_from_slice(bias);
            });
    }

    /// Values of a row of logits, with those that only fill up.
    pub(super) fn row_len(&self) -> usize {
        self.n_brands.next_multiple_of(COLUMNS)
    }

    /// Sketched logits of users from `first` on.
    ///
    /// * `rows`: as many rows as users, each of them of `stride`, of which the last
    ///   [`Self::row_len`] are overwritten.
    pub(super) fn logits(&self, first: usize, rows: &mut [f32], stride: usize) {
        let n_users = rows.len() / stride;
        let users = self.users.slice(s![first..first + n_users, ..]);
        let users = users.to_slice().expect("a fresh array is contiguous");
        products(users, &self.tiles, rows, stride);
    }
}

/// Four rows in turn of `rows`; those beyond the last are the last again.
fn four(rows: &[f32], width: usize, first: usize) -> [&[f32]; ROWS] {
    let last = rows.len() / width - 1;
    std::array::from_fn(|i| &rows[(first + i).min(last) * width..][..width])
}

/// Products of up to [`COLUMNS`] brands' weights with a basis.
///
/// * `weights`: rows as long as `basis`.
/// * `tile`: `(FACTORS, COLUMNS)`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn project(weights: &[f32], basis: &[[f32; RANK]], tile: &mut [f32]) {
    let width = basis.len();
    for first in (0..weights.len() / width).step_by(ROWS) {
        let rows = four(weights, width, first);
        let mut sums = [[0.0_f32; RANK]; ROWS];
        // Written out, so that all sums stay in registers.
        let [a, b, c, d] = &mut sums;
        for (k, factors) in basis.iter().enumerate() {
            let at = rows.map(|row| row[k]);
            for i in 0..RANK {
                a[i] = multiply_add!(at[0], factors[i], a[i]);
                b[i] = multiply_add!(at[1], factors[i], b[i]);
                c[i] = multiply_add!(at[2], factors[i], c[i]);
                d[i] = multiply_add!(at[3], factors[i], d[i]);
            }
        }
        for (column, sums) in (first..COLUMNS).zip(&sums) {
            for (row, sum) in tile.chunks_exact_mut(COLUMNS).zip(sums) {
                row[column] = *sum;
            }
        }
    }
}

/// Logits of a few users: the products of their factors with those of the brands.
///
/// * `users`: rows of [`FACTORS`].
/// * `tiles`: of all brands.
/// * `rows`: of `stride`; the tiles' columns are written to their ends.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn products(users: &[f32], tiles: &[f32], rows: &mut [f32], stride: usize) {
    let tiles = tiles.chunks_exact(FACTORS * COLUMNS);
    let skipped = stride - tiles.len() * COLUMNS;
    for (i, tile) in tiles.enumerate() {
        for (group, rows) in rows.chunks_mut(ROWS * stride).enumerate() {
            let [first, second, third, fourth] = four(users, FACTORS, group * ROWS);
            let mut sums = [[0.0_f32; COLUMNS]; ROWS];
            let [a, b, c, d] = &mut sums;
            for (k, values) in tile.chunks_exact(COLUMNS).enumerate() {
                let values: &[f32; COLUMNS] = values.try_into().expect("as long as a chunk");
                let at = [first[k], second[k], third[k], fourth[k]];
                for i in 0..COLUMNS {
                    a[i] = multiply_add!(at[0], values[i], a[i]);
                    b[i] = multiply_add!(at[1], values[i], b[i]);
                    c[i] = multiply_add!(at[2], values[i], c[i]);
                    d[i] = multiply_add!(at[3], values[i], d[i]);
                }
            }
            for (row, sums) in rows.chunks_mut(stride).zip(&sums) {
                row[skipped + i * COLUMNS..][..COLUMNS].copy_from_slice(sums);
            }
        }
    }
}

/// A number in [-1, 1), the same for the same `i`.
fn random(i: usize) -> f32 {
    (mix((i as u64 + 1).wrapping_mul(GOLDEN)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}

/// Makes rows orthonormal, by Gram and Schmidt. A row that depends on those before becomes 0.
fn orthonormalise(mut rows: ArrayViewMut2<f32>) {
    for i in 0..rows.nrows() {
        let (before, mut rest) = rows.view_mut().split_at(Axis(0), i);
        let mut row = rest.row_mut(0);
        let length = row.dot(&row).sqrt();
        for other in before.rows() {
            let along = row.dot(&other);
            row.scaled_add(-along, &other);
        }
        let left = row.dot(&row).sqrt();
        let scale = if left > 1e-4 * length { 1.0 / left } else { 0.0 };
        row.mapv_inplace(|x| x * scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backward::tests::spread;

    fn logits(rank: usize, hidden: &Array2<f32>, weights: &Array2<f32>, bias: &[f32]) -> Vec<f32> {
        let mut sketch = Sketch::new(rank);
        sketch.fit(hidden.view(), weights.as_slice().unwrap(), bias);
        let stride = 3 + sketch.row_len();
        let mut rows = vec![7.0; hidden.nrows() * stride];
        sketch.logits(0, &mut rows, stride);
        let of_brands = |row: &[f32]| row[3..3 + bias.len()].to_vec();
        rows.chunks(stride).flat_map(of_brands).collect()
    }

    /// Hidden layers of 40 that are mixtures of three directions. 70 brands are a tile and a part of
    /// one, six users a group and a half.
    #[test]
    fn as_many_directions_as_there_are_give_the_logits() {
        let hidden = spread(6, 3, 1).dot(&spread(3, 40, 50));
        let (weights, bias) = (spread(70, 40, 300), spread(1, 70, 900).into_raw_vec_and_offset().0);
        let exact = hidden.dot(&weights.t()) + ndarray::aview1(&bias);
        for (rank, is_exact) in [(3, true), (RANK, true), (2, false)] {
            let sketched = logits(rank, &hidden, &weights, &bias);
            let gap = sketched.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert_eq!(gap < 1e-4, is_exact, "{rank}: {gap}");
            assert!(gap < 2.0, "{rank}: {gap}");
        }
    }

    #[test]
    fn a_hidden_layer_of_zeros_leaves_the_bias() {
        let hidden = Array2::zeros((5, 8));
        assert_eq!(
            logits(4, &hidden, &spread(3, 8, 1), &[0.5, 1.5, -2.0]),
            [0.5, 1.5, -2.0].repeat(5)
        );
    }

    #[test]
    fn no_brand_has_no_logit() {
        assert!(logits(4, &spread(5, 8, 1), &spread(0, 8, 1), &[]).is_empty());
    }
}

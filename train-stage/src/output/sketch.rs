//! A sketch of the logits: cheap, wrong by a little, and good enough to tell which matter.
//!
//! The last hidden layer of a batch hardly leaves a few dozen directions. With `V` an orthonormal
//! basis of them, `(h·V)·(Vᵀ·W) + b` is close to the logits `h·W + b`, at a small part of the work.

use contract::splitmix::{GOLDEN, mix};
use model::matmul::matmul;
use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, s};

use super::sparse::multiply_add;

/// Users of a batch that the directions are found from.
const SAMPLE: usize = 256;

/// Power iterations from random directions.
const ITERATIONS: usize = 2;

/// Users and columns whose sums fit in registers.
const USERS: usize = 4;
const COLUMNS: usize = 64;

/// The factors of a batch's sketch; reused from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Sketch {
    /// Directions of the hidden layer that are kept
    rank: usize,
    /// `(n_directions, width)`: orthonormal rows
    basis: Array2<f32>,
    /// `(n_users, n_directions + 1)`: `h·V`, and 1 for the bias
    users: Array2<f32>,
    /// `(n_directions + 1, n_brands)`: `Vᵀ·W`, and the bias
    brands: Array2<f32>,
    /// The same, [`COLUMNS`] brands after another, the last filled up: what is read together lies
    /// together
    tiles: Vec<f32>,
}

impl Sketch {
    pub(crate) fn new(rank: usize) -> Self {
        Self { rank, ..Self::default() }
    }

    /// * `hidden`: `(n_users, width)`, a batch's last hidden layer.
    /// * `weights`: `(width, n_brands)`.
    /// * `bias`: `(n_brands,)`.
    pub(crate) fn fit(
        &mut self,
        hidden: ArrayView2<f32>,
        weights: ArrayView2<f32>,
        bias: ArrayView1<f32>,
    ) {
        let (n_users, width) = hidden.dim();
        let n_directions = self.rank.min(width);
        let n_brands = weights.ncols();
        let shapes = [
            (&mut self.basis, (n_directions, width)),
            (&mut self.users, (n_users, n_directions + 1)),
            (&mut self.brands, (n_directions + 1, n_brands)),
        ];
        resize(shapes);
        self.basis.indexed_iter_mut().for_each(|((i, j), x)| *x = random(i * width + j));
        let sample = hidden.slice(s![..n_users.min(SAMPLE), ..]);
        let mut images = Array2::zeros((n_directions, sample.nrows()));
        for _ in 0..ITERATIONS {
            matmul(self.basis.view(), sample.t(), false, images.view_mut());
            matmul(images.view(), sample, false, self.basis.view_mut());
            orthonormalise(&mut self.basis);
        }
        let (mut users, mut one) = self.users.view_mut().split_at(Axis(1), n_directions);
        matmul(hidden, self.basis.t(), false, users.view_mut());
        one.fill(1.0);
        let (brands, mut biases) = self.brands.view_mut().split_at(Axis(0), n_directions);
        matmul(self.basis.view(), weights, false, brands);
        biases.row_mut(0).assign(&bias);
        self.tiles.resize(n_brands.div_ceil(COLUMNS) * self.brands.nrows() * COLUMNS, 0.0);
        let tiles = self.tiles.chunks_mut(self.brands.nrows() * COLUMNS);
        for (tile, brands) in tiles.zip(self.brands.axis_chunks_iter(Axis(1), COLUMNS)) {
            for (tile, brands) in tile.chunks_mut(COLUMNS).zip(brands.rows()) {
                let brands = brands.to_slice().expect("a row is contiguous");
                tile[..brands.len()].copy_from_slice(brands);
            }
        }
    }

    /// Values of a row of logits, with those that only fill up.
    pub(crate) fn row_len(&self) -> usize {
        self.brands.ncols().next_multiple_of(COLUMNS)
    }

    /// Sketched logits of users from `first` on.
    ///
    /// * `rows`: as many rows as users, each of them of `stride`, of which the last
    ///   [`Self::row_len`] are overwritten.
    pub(crate) fn logits(&self, first: usize, rows: &mut [f32], stride: usize) {
        let skipped = stride - self.row_len();
        let users = self.users.as_slice().expect("a fresh array is contiguous");
        let n_factors = self.users.ncols();
        for (i, rows) in rows.chunks_mut(USERS * stride).enumerate() {
            let users = &users[(first + i * USERS) * n_factors..];
            products(users, &self.tiles, n_factors, rows, stride, skipped);
        }
    }
}

/// Makes arrays of zeros where the shape differs.
pub(super) fn resize<const N: usize>(arrays: [(&mut Array2<f32>, (usize, usize)); N]) {
    for (array, shape) in arrays {
        if array.dim() != shape {
            *array = Array2::zeros(shape);
        }
    }
}

/// Sums over factors, of up to [`USERS`] users.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn products(
    users: &[f32],
    tiles: &[f32],
    n_factors: usize,
    rows: &mut [f32],
    stride: usize,
    skipped: usize,
) {
    let n_users = rows.len() / stride;
    // Users beyond the last are computed as the last again.
    let of = |user: usize| &users[user.min(n_users - 1) * n_factors..][..n_factors];
    let [first, second, third, fourth] = std::array::from_fn(of);
    for (i_tile, tile) in tiles.chunks_exact(n_factors * COLUMNS).enumerate() {
        let mut sums = [[0.0_f32; COLUMNS]; USERS];
        let [a, b, c, d] = &mut sums;
        for (factor, values) in tile.chunks_exact(COLUMNS).enumerate() {
            let values: &[f32; COLUMNS] = values.try_into().expect("as long as a chunk");
            // Written out, so that all sums stay in registers.
            let at = [first[factor], second[factor], third[factor], fourth[factor]];
            for i in 0..COLUMNS {
                a[i] = multiply_add!(at[0], values[i], a[i]);
                b[i] = multiply_add!(at[1], values[i], b[i]);
                c[i] = multiply_add!(at[2], values[i], c[i]);
                d[i] = multiply_add!(at[3], values[i], d[i]);
            }
        }
        for (row, sums) in rows.chunks_mut(stride).zip(&sums) {
            row[skipped + i_tile * COLUMNS..][..COLUMNS].copy_from_slice(sums);
        }
    }
}

/// A number in [-1, 1), the same for the same `i`.
fn random(i: usize) -> f32 {
    (mix((i as u64 + 1).wrapping_mul(GOLDEN)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}

/// Makes rows orthonormal, by Gram and Schmidt. A row that depends on those before becomes 0.
fn orthonormalise(rows: &mut Array2<f32>) {
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

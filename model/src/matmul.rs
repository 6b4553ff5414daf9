//! Matrix products over several threads, with the same bytes for any number of them.

use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};

/// Blocks of rows start at multiples of this: whole tiles of the kernel below.
const ROW_TILE: usize = 64;

/// `c = a · b + beta · c`, in parallel over blocks of rows of `c`.
///
/// * `a`: `(n, k)`, `b`: `(k, m)`, `c`: `(n, m)`; any strides.
///
/// Each cell of `c` is one sum over `k` in one order, whatever block it is in, so the
/// number of threads does not change a bit of it.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn matmul(a: ArrayView2<f32>, b: ArrayView2<f32>, beta: f32, mut c: ArrayViewMut2<f32>) {
    assert_eq!(
        (a.nrows(), a.ncols(), b.ncols()),
        (c.nrows(), b.nrows(), c.ncols()),
        "shapes must fit"
    );
    let n_tiles = c.nrows().div_ceil(ROW_TILE);
    let tiles_per_block = n_tiles.div_ceil(rayon::current_num_threads()).max(1);
    let rows = tiles_per_block * ROW_TILE;
    if c.nrows() <= rows {
        general_mat_mul(1.0, &a, &b, beta, &mut c);
        return;
    }
    c.axis_chunks_iter_mut(Axis(0), rows)
        .into_par_iter()
        .zip(a.axis_chunks_iter(Axis(0), rows).into_par_iter())
        .for_each(|(mut c, a)| general_mat_mul(1.0, &a, &b, beta, &mut c));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn matrix(n: usize, m: usize, seed: usize) -> Array2<f32> {
        Array2::from_shape_fn((n, m), |(i, j)| {
            (((i * 31 + j * 17 + seed) % 101) as f32 - 50.0) / 37.0
        })
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        for (n, k, m) in [(1000, 300, 70), (129, 40, 5), (70, 3, 700), (65, 1, 1)] {
            let (a, b) = (matrix(n, k, 1), matrix(k, m, 2));
            let product = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut c = matrix(n, m, 3);
                pool.install(|| matmul(a.view(), b.view(), 1.0, c.view_mut()));
                c
            };
            let one = product(1);
            for threads in [2, 3, 5] {
                assert_eq!(one, product(threads), "{n}x{k}x{m} on {threads} threads");
            }
        }
    }

    #[test]
    fn a_product_of_transposed_views_is_the_product() {
        let (a, b) = (matrix(40, 9, 1), matrix(40, 11, 2));
        let mut c = Array2::zeros((9, 11));
        matmul(a.t(), b.view(), 0.0, c.view_mut());
        let expected: f32 = (0..40).map(|i| a[[i, 3]] * b[[i, 5]]).sum();
        assert!((c[[3, 5]] - expected).abs() < 1e-4);
    }
}

//! Matrix products over several threads, with the same bytes for any number of them.

use gemm::{Parallelism, gemm};
use ndarray::{ArrayView2, ArrayViewMut2};

/// Below this many multiplications a second thread does not pay off.
const SMALL: usize = 1 << 18;

/// `c = a · b`, or `c += a · b`.
///
/// * `a`: `(n, k)`, `b`: `(k, m)`, `c`: `(n, m)`; any strides.
///
/// Each cell of `c` is summed over `k` in an order that depends on shapes, strides and the
/// machine's caches, so the number of threads changes no bit of the result.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn matmul(a: ArrayView2<f32>, b: ArrayView2<f32>, adds: bool, mut c: ArrayViewMut2<f32>) {
    let (n_rows, n_inner, n_columns) = (a.nrows(), a.ncols(), b.ncols());
    assert_eq!((n_rows, n_inner, n_columns), (c.nrows(), b.nrows(), c.ncols()), "shapes must fit");
    let threads =
        if n_rows * n_inner * n_columns < SMALL { 1 } else { rayon::current_num_threads() };
    let parallelism = if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) };
    let strides = |strides: &[isize]| (strides[1], strides[0]);
    let (a_columns, a_rows) = strides(a.strides());
    let (b_columns, b_rows) = strides(b.strides());
    let (c_columns, c_rows) = strides(c.strides());
    // SAFETY: the pointers and strides are those of views of the asserted shapes, which keep
    // every cell in bounds; `c` is borrowed mutably, so it overlaps neither factor.
    unsafe {
        gemm(
            n_rows,
            n_columns,
            n_inner,
            c.as_mut_ptr(),
            c_columns,
            c_rows,
            adds,
            a.as_ptr(),
            a_columns,
            a_rows,
            b.as_ptr(),
            b_columns,
            b_rows,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
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
        for (n, k, m) in [
            (1000, 300, 70),
            (129, 40, 500),
            (70, 700, 70),
            (300, 1300, 90),
            (65, 1, 1),
            (1, 700, 400),
        ] {
            let (a, b) = (matrix(n, k, 1), matrix(k, m, 2));
            let product = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut c = matrix(n, m, 3);
                pool.install(|| matmul(a.view(), b.view(), true, c.view_mut()));
                c
            };
            let one = product(1);
            for threads in [2, 3, 5] {
                assert_eq!(one, product(threads), "{n}x{k}x{m} on {threads} threads");
            }
        }
    }

    #[test]
    fn a_product_of_transposed_views_replaces_or_adds() {
        let (a, b) = (matrix(40, 9, 1), matrix(40, 11, 2));
        let product = a.t().dot(&b);
        for (adds, before) in [(false, 0.0), (true, 2.5)] {
            let mut c = Array2::from_elem((9, 11), 2.5);
            matmul(a.t(), b.view(), adds, c.view_mut());
            let expected = &product + before;
            assert!((&c - &expected).iter().all(|difference| difference.abs() < 1e-4), "{adds}");
        }
    }
}

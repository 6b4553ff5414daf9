//! How near two users are to each other, by the last hidden layer of the model.

use model::matmul::matmul;
use ndarray::{Array2, ArrayView2, aview1};
use rand::SeedableRng as _;
use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// Wider hidden layers are projected at random to this many dimensions, which keeps cosines
/// to about 1/16: a gigabyte for a million users.
const MAX_DIMS: usize = 256;

/// Seed of that projection.
const PROJECTION_SEED: u64 = 7;

/// From a hidden layer to vectors of length 1 whose product says how near two users are.
#[derive(Serialize, Deserialize)]
pub struct Space {
    /// Hash of the model: another's hidden layer means something else
    pub model: String,
    /// `(n_hidden,)`, mean of the hidden layer over the known users
    pub centre: Vec<f32>,
    /// `(n_hidden, MAX_DIMS)`; `None` for a layer that is not wider
    #[serde(skip)]
    projection: Option<Array2<f32>>,
}

impl Space {
    /// * `model`: its hash.
    /// * `centre`: `(n_hidden,)`.
    pub fn new(model: String, centre: Vec<f32>) -> Self {
        let n_hidden = centre.len();
        let projection = (n_hidden > MAX_DIMS).then(|| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(PROJECTION_SEED);
            Array2::from_shape_simple_fn((n_hidden, MAX_DIMS), || StandardNormal.sample(&mut rng))
        });
        Self { model, centre, projection }
    }

    /// Length of a vector.
    pub fn n_dims(&self) -> usize {
        self.centre.len().min(MAX_DIMS)
    }

    /// The vectors `(n_users, n_dims)` of a hidden layer `(n_users, n_hidden)`: of length 1, or 0
    /// for a user who is the mean.
    pub fn vectors(&self, hidden: ArrayView2<f32>) -> Array2<f32> {
        let mut vectors = &hidden - &aview1(&self.centre);
        if let Some(projection) = &self.projection {
            let mut projected = Array2::zeros((hidden.nrows(), projection.ncols()));
            matmul(vectors.view(), projection.view(), false, projected.view_mut());
            vectors = projected;
        }
        for mut row in vectors.rows_mut() {
            let length = row.dot(&row).sqrt();
            if length > 0.0 {
                row /= length;
            }
        }
        vectors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wider than 256: a projection at random, after which near is still near.
    #[test]
    fn a_wide_layer_is_projected() {
        let number = |i: usize, j: usize| {
            (contract::splitmix::mix((i * 1000 + j) as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let hidden = Array2::from_shape_fn((3, 600), |(i, j)| {
            // The second user is the first plus a fifth of noise, the third is unlike both.
            if i == 1 { number(0, j) + 0.2 * number(1, j) } else { number(i, j) }
        });
        let space = Space::new(String::new(), vec![0.0; 600]);
        let vectors = space.vectors(hidden.view());
        assert_eq!((vectors.ncols(), space.n_dims()), (MAX_DIMS, MAX_DIMS));
        let cosine = |a: usize, b: usize| vectors.row(a).dot(&vectors.row(b));
        assert!((cosine(0, 1) - 0.98).abs() < 0.03, "{}", cosine(0, 1));
        assert!(cosine(0, 2).abs() < 0.25, "{}", cosine(0, 2));
    }
}

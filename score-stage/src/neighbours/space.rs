//! How near two users are to each other: by the last hidden layer of the model, or by their histories.

use model::matmul::matmul;
use model::{Bags, Batch};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis, aview1};
use rand::SeedableRng as _;
use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// More dimensions are projected at random to this many, which keeps cosines to about 1/16: a
/// gigabyte for a million users.
const MAX_DIMS: usize = 256;

/// Seed of that projection.
const PROJECTION_SEED: u64 = 7;

/// Users as the model sees them.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Their features
    pub batch: &'a Batch,
    /// `(n_users, n_hidden)`: the last hidden layer, where there is one
    pub hidden: Option<ArrayView2<'a, f32>>,
}

/// From users to vectors of length 1 whose product says how near two users are.
#[derive(Serialize, Deserialize)]
pub struct Space {
    /// Hash of the model: another's hidden layer means something else
    pub model: String,
    /// What is compared
    #[serde(flatten)]
    pub by: By,
    /// `(n_in, MAX_DIMS)`; `None` if there are not more
    #[serde(skip)]
    projection: Option<Array2<f32>>,
}

/// What users are compared by.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum By {
    /// The last hidden layer
    Hidden {
        /// `(n_hidden,)`, its mean over the known users
        centre: Vec<f32>,
    },
    /// The brands that a user had
    History {
        /// Position of the history among the sparse features
        bag: usize,
        /// `(n_brands,)`, of [`By::rarity`]
        factors: Vec<f32>,
    },
}

impl By {
    /// How much each brand of a history counts: the square root of its inverse document frequency,
    /// `ln((1 + n_users) / (1 + users who had it))`, so that a brand which two users share counts by
    /// that frequency itself (Spärck Jones 1972).
    ///
    /// * `n_had`: `(n_brands,)`, known users who had each brand.
    pub fn rarity(n_had: &[u64], n_users: usize) -> Vec<f32> {
        let idf = |n: &u64| ((1 + n_users) as f64 / (1 + n) as f64).ln();
        n_had.iter().map(|n| idf(n).max(0.0).sqrt() as f32).collect()
    }

    /// Numbers that a user has before projection.
    pub fn n_in(&self) -> usize {
        match self {
            Self::Hidden { centre } => centre.len(),
            Self::History { factors, .. } => factors.len(),
        }
    }
}

impl Space {
    /// * `model`: its hash.
    pub fn new(model: String, by: By) -> Self {
        let n_in = by.n_in();
        let projection = (n_in > MAX_DIMS).then(|| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(PROJECTION_SEED);
            Array2::from_shape_simple_fn((n_in, MAX_DIMS), || StandardNormal.sample(&mut rng))
        });
        Self { model, by, projection }
    }

    /// Length of a vector.
    pub fn n_dims(&self) -> usize {
        self.by.n_in().min(MAX_DIMS)
    }

    /// The vectors `(n_users, n_dims)` of users: of length 1, or 0 for a user of whom nothing is known
    /// that tells them from others.
    ///
    /// # Panics
    ///
    /// Without a hidden layer, if users are compared by it.
    pub fn vectors(&self, users: Seen) -> Array2<f32> {
        let mut vectors = match &self.by {
            By::Hidden { centre } => {
                let hidden = users.hidden.expect("checked when the neighbours were made");
                self.of_hidden(hidden, centre)
            }
            By::History { bag, factors } => {
                self.of_histories(&users.batch.bags[*bag], users.batch.n_users(), factors)
            }
        };
        for mut row in vectors.rows_mut() {
            let length = row.dot(&row).sqrt();
            if length > 0.0 {
                row /= length;
            }
        }
        vectors
    }

    fn of_hidden(&self, hidden: ArrayView2<f32>, centre: &[f32]) -> Array2<f32> {
        let vectors = &hidden - &aview1(centre);
        let Some(projection) = &self.projection else { return vectors };
        let mut projected = Array2::zeros((hidden.nrows(), projection.ncols()));
        matmul(vectors.view(), projection.view(), false, projected.view_mut());
        projected
    }

    /// Each brand of a history counts `ln(1 + weight)` times its factor.
    fn of_histories(&self, histories: &Bags, n_users: usize, factors: &[f32]) -> Array2<f32> {
        let mut vectors = Array2::zeros((n_users, self.n_dims()));
        vectors.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(user, mut row)| {
            for (brand, weight) in histories.of(user) {
                let Some(factor) = factors.get(brand as usize) else { continue };
                let value = factor * weight.max(0.0).ln_1p();
                match &self.projection {
                    Some(projection) => row.scaled_add(value, &projection.row(brand as usize)),
                    None => row[brand as usize] += value,
                }
            }
        });
        vectors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::splitmix::mix;
    use ndarray::array;

    fn number(i: usize, j: usize) -> f32 {
        (mix((i * 1000 + j) as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Wider than 256: a projection at random, after which near is still near.
    #[test]
    fn a_wide_layer_is_projected() {
        let hidden = Array2::from_shape_fn((3, 600), |(i, j)| {
            // The second user is the first plus a fifth of noise, the third is unlike both.
            if i == 1 { number(0, j) + 0.2 * number(1, j) } else { number(i, j) }
        });
        let space = Space::new(String::new(), By::Hidden { centre: vec![0.0; 600] });
        let seen = Seen { batch: &Batch::default(), hidden: Some(hidden.view()) };
        let vectors = space.vectors(seen);
        assert_eq!((vectors.ncols(), space.n_dims()), (MAX_DIMS, MAX_DIMS));
        let cosine = |a: usize, b: usize| vectors.row(a).dot(&vectors.row(b));
        assert!((cosine(0, 1) - 0.98).abs() < 0.03, "{}", cosine(0, 1));
        assert!(cosine(0, 2).abs() < 0.25, "{}", cosine(0, 2));
    }

    /// Of three users, one had brand 0 and all had brand 1: factors are √ln(4/2) and √ln(4/4) = 0,
    /// so only brand 0 counts; a user without it is not near anyone.
    #[test]
    fn histories_are_compared_by_their_rarer_brands() {
        let factors = By::rarity(&[1, 3], 3);
        assert!((factors[0] - 2.0_f32.ln().sqrt()).abs() < 1e-6 && factors[1] == 0.0);
        let bags = Bags {
            offsets: vec![0, 2, 3, 4],
            ids: vec![0, 1, 1, 9],
            weights: vec![2.0, 5.0, 1.0, 1.0],
        };
        let batch = Batch { dense: Array2::zeros((3, 0)), bags: vec![bags] };
        let space = Space::new(String::new(), By::History { bag: 0, factors });
        let vectors = space.vectors(Seen { batch: &batch, hidden: None });
        assert_eq!(vectors, array![[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]);
    }

    /// 400 brands are more than 256. Users 0 and 1 share 18 of 20 brands, cosine .9; user 2 shares none.
    #[test]
    fn histories_of_many_brands_are_projected() {
        let histories = [(0..20), (2..22), (100..120)];
        let ids: Vec<u32> = histories.into_iter().flatten().collect();
        let bags = Bags { offsets: vec![0, 20, 40, 60], weights: vec![1.0; 60], ids };
        let batch = Batch { dense: Array2::zeros((3, 0)), bags: vec![bags] };
        let by = By::History { bag: 0, factors: vec![1.0; 400] };
        let vectors = Space::new(String::new(), by).vectors(Seen { batch: &batch, hidden: None });
        let cosine = |a: usize, b: usize| vectors.row(a).dot(&vectors.row(b));
        assert!((cosine(0, 1) - 0.9).abs() < 0.05, "{}", cosine(0, 1));
        assert!(cosine(0, 2).abs() < 0.25, "{}", cosine(0, 2));
    }
}

//! Negatives of rare brands, computed for only some users of a batch.
//!
//! Most brands are rare. Their negatives add next to nothing to the gradient, yet their logits are
//! most of a network's work. So they are computed for the first users of each batch only, and their
//! negatives count more in proportion. The expected gradient is the whole one, as long as every user
//! of a batch is equally likely to be among its first. That holds because batches are shuffled and
//! [`crate::examples::Examples::gather`] keeps their order. Labels are computed for every user.

/// A brand is rare if a smaller share of the training users has it.
const RARE_BELOW: f64 = 0.01;

/// The rare brands, the share of users that see their negatives, and the weights of these.
#[derive(Debug, Clone)]
pub(crate) struct NegativeSampling {
    /// The brands from here on are all rare
    pub(crate) first_rare: usize,
    /// Of the users, whose negatives of rare brands are computed
    share: f32,
    /// `(n_brands,)`: factor on the negatives of those users
    weights: Vec<f32>,
}

impl NegativeSampling {
    /// `None` if all negatives are computed, or no brand is rare.
    ///
    /// * `volumes`: `(n_brands,)`, training users that have each brand, of `n_users`. Only rare
    ///   brands behind the last common one are sampled, so the largest should come first.
    /// * `negatives`: `(n_brands,)`, factor on the negatives of all users.
    pub(crate) fn new(
        share: f32,
        volumes: &[u64],
        n_users: u64,
        negatives: Option<&[f32]>,
    ) -> Option<Self> {
        let limit = RARE_BELOW * n_users as f64;
        let last_common = volumes.iter().rposition(|&volume| volume as f64 >= limit);
        let first_rare = last_common.map_or(0, |last| last + 1);
        if share >= 1.0 || first_rare == volumes.len() {
            return None;
        }
        let mut weights = negatives.map_or_else(|| vec![1.0; volumes.len()], <[f32]>::to_vec);
        weights[first_rare..].iter_mut().for_each(|weight| *weight /= share);
        Some(Self { first_rare, share, weights })
    }

    /// `(n_brands,)`: factor on the negatives of users for whom all are computed.
    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Users of a batch for whom all negatives are computed: their share, rounded up or down at
    /// random so that it is right on average.
    ///
    /// * `seed`: differs between updates.
    pub(crate) fn n_whole(&self, n_users: usize, seed: u64) -> usize {
        let uniform = contract::splitmix::mix(seed) as f64 / 2.0_f64.powi(64);
        (n_users as f64 * f64::from(self.share) + uniform) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A brand is rare if fewer than 10 of 1,000 users have it.
    fn sampling(share: f32, negatives: Option<&[f32]>) -> Option<NegativeSampling> {
        NegativeSampling::new(share, &[500, 10, 9, 0], 1000, negatives)
    }

    #[test]
    fn negatives_of_rare_brands_count_more_in_proportion() {
        assert_eq!(sampling(0.25, None).unwrap().first_rare, 2);
        assert_eq!(sampling(0.25, None).unwrap().weights(), [1.0, 1.0, 4.0, 4.0]);
        let weighted = sampling(0.5, Some(&[0.5, 2.0, 3.0, 4.0])).unwrap();
        assert_eq!(weighted.weights(), [0.5, 2.0, 6.0, 8.0]);
    }

    #[test]
    fn nothing_is_sampled_if_the_share_is_1_or_no_brand_is_rare() {
        assert!(sampling(1.0, None).is_none());
        assert!(NegativeSampling::new(0.5, &[500, 10], 1000, None).is_none());
    }

    /// A quarter of 10 users is 2.5: 2 or 3. Over 10,000 draws the mean has a standard deviation of
    /// 0.5 / 100.
    #[test]
    fn the_share_is_right_on_average() {
        let sampling = sampling(0.25, None).unwrap();
        let draws: Vec<usize> = (0..10_000).map(|seed| sampling.n_whole(10, seed)).collect();
        assert!(draws.iter().all(|n| (2..=3).contains(n)));
        let mean = draws.iter().sum::<usize>() as f64 / 10_000.0;
        assert!((mean - 2.5).abs() < 0.02, "{mean}");
        assert!((0..100).all(|seed| sampling.n_whole(1024, seed) == 256));
    }
}

//! Negatives of rare brands, looked at for some users of a batch only.
//!
//! Of most brands hardly any user has the label, and a negative adds next to nothing to their
//! gradient; yet their logits are most of a network's work. So they are worked out for the first
//! users of each batch only, and their negatives count more in proportion: the expected gradient is
//! the whole one, as long as any user of a batch is as likely to be among its first as any other.
//! That holds because batches are shuffled and [`crate::examples::Examples::gather`] keeps their
//! order. Labels are looked at for every user.

/// A brand that a smaller share of the training users has is rare.
const RARE_BELOW: f64 = 0.01;

/// For whom the negatives of rare brands are looked at, and what they count.
#[derive(Debug, Clone)]
pub(crate) struct NegativeSampling {
    /// All brands from here on are rare
    pub(crate) first_rare: usize,
    /// Share of the users
    share: f32,
    /// `(n_brands,)`: factor on the negatives of these users
    weights: Vec<f32>,
}

impl NegativeSampling {
    /// `None` where all are looked at, or no brand is rare.
    ///
    /// * `volumes`: `(n_brands,)`, training users that have each brand, of `n_users`; what is best
    ///   sorted, the largest first.
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

    /// `(n_brands,)`: factor on the negatives of a user for whom all are looked at.
    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// For so many users of a batch all are looked at: their share, rounded up or down at random so
    /// that it is right on average.
    ///
    /// * `seed`: another for each update.
    pub(crate) fn n_whole(&self, n_users: usize, seed: u64) -> usize {
        let uniform = contract::splitmix::mix(seed) as f64 / 2.0_f64.powi(64);
        (n_users as f64 * f64::from(self.share) + uniform) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rare is what fewer than 10 of 1,000 users have.
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
    fn nothing_is_sampled_where_all_are_looked_at_or_none_is_rare() {
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

//! The share of the neighbours in a brand's probability, by least loss.

use metrics::Lists;
use model::sigmoid::{ln, parts};
use ndarray::parallel::prelude::*;
use ndarray::{ArrayView1, ArrayView2};

/// Shares to choose from, ascending.
const WEIGHTS: [f32; 10] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// Cross-entropy of each share, summed over users, by group of brands.
pub struct WeightSearch {
    /// `(n_brands,)`, the group of each brand
    groups: Vec<usize>,
    /// `(n_groups, WEIGHTS)`, nats
    losses: Vec<[f64; WEIGHTS.len()]>,
}

impl WeightSearch {
    /// * `groups`: `(n_brands,)`, numbers from 0; brands of the same number get the same weight.
    pub fn new(groups: Vec<usize>) -> Self {
        let n_groups = groups.iter().max().map_or(0, |&last| last + 1);
        Self { groups, losses: vec![[0.0; WEIGHTS.len()]; n_groups] }
    }

    /// Adds users.
    ///
    /// * `logits`: `(n_users, n_brands)`, those of the model alone.
    /// * `means`: `(n_users, n_brands)`, means of the neighbours' labels.
    /// * `labels`: `n_users` lists of brands.
    pub fn add(&mut self, logits: ArrayView2<f32>, means: ArrayView2<f32>, labels: Lists) {
        let of_user = |user| self.of_user(logits.row(user), means.row(user), labels.get(user));
        let of_users: Vec<_> = (0..labels.len()).into_par_iter().map(of_user).collect();
        // In order of users, so that the sums do not depend on threads.
        for of_user in of_users {
            for (sum, loss) in self.losses.iter_mut().flatten().zip(of_user.iter().flatten()) {
                *sum += loss;
            }
        }
    }

    fn of_user(
        &self,
        logits: ArrayView1<f32>,
        means: ArrayView1<f32>,
        labels: &[u32],
    ) -> Vec<[f64; WEIGHTS.len()]> {
        /// Bounds the loss of a cell: else one label that no neighbour has would decide.
        const SMALLEST: f32 = 1e-7;

        let mut losses = vec![[0.0; WEIGHTS.len()]; self.losses.len()];
        for (brand, (&z, &mean)) in logits.iter().zip(means).enumerate() {
            let of_model = parts(z);
            for (loss, weight) in losses[self.groups[brand]].iter_mut().zip(WEIGHTS) {
                let (_, q) = of_model.mixed(mean, weight);
                *loss -= f64::from(ln(q.max(SMALLEST)));
            }
        }
        for &brand in labels {
            let of_model = parts(logits[brand as usize]);
            let mean = means[brand as usize];
            let group = &mut losses[self.groups[brand as usize]];
            for (loss, weight) in group.iter_mut().zip(WEIGHTS) {
                let (p, q) = of_model.mixed(mean, weight);
                *loss += f64::from(ln(q.max(SMALLEST))) - f64::from(ln(p.max(SMALLEST)));
            }
        }
        losses
    }

    /// The weight of least loss of each brand, `(n_brands,)`; of equals the smallest.
    pub fn weights(&self) -> Vec<f32> {
        let best_of = |losses: &[f64; WEIGHTS.len()]| {
            let best = (0..WEIGHTS.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b]));
            WEIGHTS[best.expect("there are weights")]
        };
        let of_groups: Vec<f32> = self.losses.iter().map(best_of).collect();
        self.groups.iter().map(|&group| of_groups[group]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::OwnedLists;
    use ndarray::array;

    /// The neighbours know the brands of group 0 and the model does not; for group 1 the reverse.
    #[test]
    fn each_group_gets_the_weight_of_least_loss() {
        let mut search = WeightSearch::new(vec![0, 1, 0]);
        let logits = array![[-1.0, 5.0, -1.0], [-1.0, -5.0, -1.0]];
        let means = array![[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]];
        let labels: OwnedLists = [&[0, 1][..], &[2]].into_iter().collect();
        search.add(logits.view(), means.view(), labels.as_lists());
        assert_eq!(search.weights(), [0.9, 0.0, 0.9]);
    }
}

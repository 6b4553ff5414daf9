//! What the nearest training users have: the manifest's `score.memory`.

pub mod blend; // their labels, mixed into probabilities
pub mod choose; // how much they weigh
mod file; // `memory.arrow`
mod index; // the nearest of many vectors
pub mod known_users; // who they are
mod space; // how near two users are
mod weight_search; // the weight of least loss

use std::collections::HashSet;

use contract::exit::DataError;
use contract::manifest::Memory as Params;
use metrics::OwnedLists;
use model::Model;
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

use crate::neighbours::index::{Index, Neighbour};
use crate::neighbours::known_users::{KnownUsers, for_each_hidden, network};
use crate::neighbours::space::Space;

/// Known users by what the last hidden layer makes of them, among whom each user's neighbours are
/// looked for.
pub struct Neighbours {
    params: Params,
    space: Space,
    /// The vector of each known user
    index: Index,
    /// The brands of each known user
    labels: OwnedLists,
}

impl Neighbours {
    /// Sends known users through the model.
    ///
    /// # Errors
    ///
    /// If the model has no hidden layer, or there is no user.
    pub fn build(model: &Model, users: &[KnownUsers], params: Params) -> Result<Self, DataError> {
        let (mlp, n_hidden) = network(model)?;
        let n_users: usize = users.iter().map(|part| part.rows.len()).sum();
        if n_users == 0 {
            let what = "`score.memory`: the sample has no user, expected at least one";
            return Err(DataError(what.to_owned()));
        }
        // One pass for the mean, one for the vectors: the hidden layer of all users may be
        // many times what is kept of it.
        let mut sum = Array1::<f64>::zeros(n_hidden);
        for_each_hidden(mlp, users, |hidden| {
            for row in hidden.rows() {
                sum.zip_mut_with(&row, |sum, &h| *sum += f64::from(h));
            }
        });
        let centre = sum.iter().map(|sum| (sum / n_users as f64) as f32).collect();
        let space = Space::new(model.hash(), centre);
        let mut vectors = Array2::zeros((n_users, space.n_dims()));
        let mut done = 0;
        for_each_hidden(mlp, users, |hidden| {
            let of_batch = space.vectors(hidden);
            vectors.slice_mut(s![done..done + hidden.nrows(), ..]).assign(&of_batch);
            done += hidden.nrows();
        });
        let labels =
            users.iter().flat_map(|part| part.rows.iter().map(|&(_, brands)| brands)).collect();
        Ok(Self { params, space, index: Index::new(vectors), labels })
    }

    /// Share of the true nearest neighbours that the search finds.
    ///
    /// * `hidden`: `(n_users, n_hidden)`, of users who ask.
    pub fn recall(&self, hidden: ArrayView2<f32>) -> f64 {
        let Params { neighbours, search, .. } = self.params;
        let asked = self.space.vectors(hidden);
        let found = self.index.nearest(asked.view(), neighbours, search);
        let exact = self.index.nearest(asked.view(), neighbours, 1.0);
        let (mut n_found, mut n_exact) = (0, 0);
        for (found, exact) in found.iter().zip(&exact) {
            let found: HashSet<u32> = found.iter().map(|&(_, row)| row).collect();
            n_found += exact.iter().filter(|(_, row)| found.contains(row)).count();
            n_exact += exact.len();
        }
        n_found as f64 / n_exact as f64
    }

    /// Mean of the neighbours' labels, by how near they are.
    ///
    /// * `hidden`: `(n_users, n_hidden)`, of the users who ask.
    ///
    /// Returns `(n_users, n_brands)`, values in `[0, 1]`.
    pub fn label_means(&self, hidden: ArrayView2<f32>, n_brands: usize) -> Array2<f32> {
        let Params { neighbours, search, temperature, .. } = self.params;
        let lists = self.index.nearest(self.space.vectors(hidden).view(), neighbours, search);
        let mut means = Array2::zeros((hidden.nrows(), n_brands));
        means.axis_iter_mut(Axis(0)).into_par_iter().zip(&lists).for_each(|(mut row, list)| {
            let nearest = list.first().map_or(0.0, |&(similarity, _)| similarity);
            let weight = |&(similarity, _): &Neighbour| {
                temperature.map_or(1.0, |t| ((similarity - nearest) / t).exp())
            };
            let total: f32 = list.iter().map(weight).sum();
            for neighbour in list {
                let share = weight(neighbour) / total;
                for &brand in self.labels.get(neighbour.1 as usize) {
                    row[brand as usize] += share;
                }
            }
            // Shares may add up to a little more than 1.
            row.mapv_inplace(|mean: f32| mean.min(1.0));
        });
        means
    }
}

#[cfg(test)]
mod tests;

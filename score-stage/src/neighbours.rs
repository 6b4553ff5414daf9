//! What the nearest training users have: the manifest's `score.memory`.

pub mod blend; // their labels, mixed into probabilities
pub mod choose; // how much they weigh
mod file; // `memory.arrow`
mod index; // the nearest of many vectors
pub mod known_users; // who they are
pub mod space; // how near two users are
mod weight_search; // the weight of least loss

use std::collections::HashSet;

use contract::exit::DataError;
use contract::manifest::Memory as Params;
use metrics::OwnedLists;
use model::{Mlp, Model};
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, Axis, s};

use crate::history::had_brands;
use crate::neighbours::index::{Index, Neighbour};
use crate::neighbours::known_users::{Compared, KnownUsers, compared, for_each_seen};
use crate::neighbours::space::{By, Seen, Space};

/// Known users as vectors, among whom each user's neighbours are looked for.
pub struct Neighbours {
    params: Params,
    space: Space,
    /// The vector of each known user
    index: Index,
    /// The brands of each known user
    labels: OwnedLists,
    /// `(n_brands,)`, share of the known users with each brand
    prevalence: Array1<f32>,
}

impl Neighbours {
    /// Sends known users through the model.
    ///
    /// # Errors
    ///
    /// If the model does not have what users are compared by, or there is no user.
    pub fn build(model: &Model, users: &[KnownUsers], params: Params) -> Result<Self, DataError> {
        let (mlp, compared) = compared(model, &params)?;
        let n_users: usize = users.iter().map(|part| part.rows.len()).sum();
        if n_users == 0 {
            let what = "`score.memory`: the sample has no user, expected at least one";
            return Err(DataError(what.to_owned()));
        }
        // One pass for what is common to all, one for the vectors: the hidden layer of all users may
        // be many times what is kept of it.
        let by = match compared {
            Compared::Hidden(n_hidden) => By::Hidden { centre: mean_hidden(mlp, users, n_hidden) },
            Compared::History(bag) => {
                let n_had = n_had(mlp, users, bag, model.brand_ids.len());
                By::History { bag, factors: By::rarity(&n_had, n_users) }
            }
        };
        let space = Space::new(model.hash(), by);
        let mut vectors = Array2::zeros((n_users, space.n_dims()));
        let mut done = 0;
        for_each_seen(mlp, users, compared, |seen| {
            let of_batch = space.vectors(seen);
            vectors.slice_mut(s![done..done + of_batch.nrows(), ..]).assign(&of_batch);
            done += of_batch.nrows();
        });
        let labels =
            users.iter().flat_map(|part| part.rows.iter().map(|&(_, brands)| brands)).collect();
        Ok(Self::new(params, space, vectors, labels, model.brand_ids.len()))
    }

    fn new(
        params: Params,
        space: Space,
        vectors: Array2<f32>,
        labels: OwnedLists,
        n_brands: usize,
    ) -> Self {
        let mut prevalence = Array1::zeros(n_brands);
        for &brand in labels.as_lists().iter().flatten() {
            prevalence[brand as usize] += 1.0;
        }
        prevalence /= labels.len() as f32;
        Self { params, space, index: Index::new(vectors), labels, prevalence }
    }

    /// Share of the true nearest neighbours that the search finds.
    ///
    /// * `users`: who ask.
    pub fn recall(&self, users: Seen) -> f64 {
        let Params { neighbours, search, .. } = self.params;
        let asked = self.space.vectors(users);
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

    /// Mean of the neighbours' labels, by how near they are; of all known users' labels for a user
    /// without a vector, to whom none is nearer than another.
    ///
    /// * `users`: who ask.
    ///
    /// Returns `(n_users, n_brands)`, values in `[0, 1]`.
    pub fn label_means(&self, users: Seen) -> Array2<f32> {
        let Params { neighbours, search, temperature, .. } = self.params;
        let vectors = self.space.vectors(users);
        let lists = self.index.nearest(vectors.view(), neighbours, search);
        let mut means = Array2::zeros((vectors.nrows(), self.prevalence.len()));
        let rows = means.axis_iter_mut(Axis(0)).into_par_iter();
        rows.zip(vectors.axis_iter(Axis(0)).into_par_iter()).zip(&lists).for_each(
            |((mut row, vector), list)| {
                if vector.iter().all(|&x| x == 0.0) {
                    row.assign(&self.prevalence);
                    return;
                }
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
            },
        );
        means
    }
}

/// `(n_hidden,)`: mean of the last hidden layer.
fn mean_hidden(mlp: &Mlp, users: &[KnownUsers], n_hidden: usize) -> Vec<f32> {
    let mut sum = Array1::<f64>::zeros(n_hidden);
    let mut n_users = 0;
    for_each_seen(mlp, users, Compared::Hidden(n_hidden), |seen| {
        for row in seen.hidden.iter().flat_map(|hidden| hidden.rows()) {
            sum.zip_mut_with(&row, |sum, &h| *sum += f64::from(h));
            n_users += 1;
        }
    });
    sum.iter().map(|sum| (sum / f64::from(n_users)) as f32).collect()
}

/// `(n_brands,)`: users who had each brand.
fn n_had(mlp: &Mlp, users: &[KnownUsers], bag: usize, n_brands: usize) -> Vec<u64> {
    let mut n_had = vec![0; n_brands];
    for_each_seen(mlp, users, Compared::History(bag), |seen| {
        let had = had_brands(&[&seen.batch.bags[bag]], seen.batch.n_users(), n_brands);
        had.as_lists().iter().flatten().for_each(|&brand| n_had[brand as usize] += 1);
    });
    n_had
}

#[cfg(test)]
mod tests;

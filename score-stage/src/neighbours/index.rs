//! The nearest of many vectors: among all of them if they are few, else among the likeliest groups.
//!
//! Vectors are sorted into about as many groups as the square root of their number, by k-means;
//! a query looks into the groups whose centres are nearest (an inverted file, Sivic and
//! Zisserman 2003; Jégou et al. 2011). All queries that look into a group are compared with it
//! by one matrix product. k-means is our own because assigning a million vectors to groups is nine
//! tenths of the work, and must be a matrix product too.

use model::matmul::matmul;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis, s};

use crate::top_k::{Numbered, keep_largest, largest_first};

/// Up to this many vectors are one group: the search is exact.
const EXACT: usize = 16_384;

/// Vectors per group that its centre is learned from.
const LEARN_PER_GROUP: usize = 48;

/// Rounds of k-means: few, as groups need not be the best, only good enough to search in.
const ROUNDS: usize = 8;

/// Vectors that are compared with all centres at once.
const ROWS: usize = 4096;

/// Vectors in groups.
pub struct Index {
    /// `(n_vectors, n_dims)`, group after group
    vectors: Array2<f32>,
    /// `(n_vectors,)`, the row that each vector had before grouping
    rows: Vec<u32>,
    /// `(n_groups + 1,)`, the first vector of each group, and their number at the end
    starts: Vec<usize>,
    /// `(n_groups, n_dims)`
    centres: Array2<f32>,
}

/// The similarity of a vector, and the row that it had before grouping.
pub type Neighbour = Numbered;

impl Index {
    /// * `vectors`: `(n_vectors, n_dims)`, of length 1: the larger the product, the nearer.
    pub fn new(vectors: Array2<f32>) -> Self {
        let n = vectors.nrows();
        let n_groups = if n <= EXACT { 1 } else { (n as f64).sqrt() as usize };
        let centres = learn_centres(&vectors, n_groups);
        let groups = nearest_centres(vectors.view(), &centres);
        let mut rows: Vec<u32> = (0..n as u32).collect();
        rows.sort_by_key(|&row| groups[row as usize]); // stable: by row within a group
        let mut starts = vec![0; n_groups + 1];
        for &group in &groups {
            starts[group as usize + 1] += 1;
        }
        for i in 0..n_groups {
            starts[i + 1] += starts[i];
        }
        Self { vectors: reorder(vectors, &rows), rows, starts, centres }
    }

    /// The vectors, in order of their rows before grouping.
    pub fn vectors(&self) -> impl Iterator<Item = &[f32]> {
        let mut places = vec![0; self.rows.len()];
        for (place, &row) in self.rows.iter().enumerate() {
            places[row as usize] = place;
        }
        places.into_iter().map(|place| {
            let row = self.vectors.slice(s![place, ..]);
            row.to_slice().expect("rows are contiguous")
        })
    }

    /// The `k` nearest of each query, nearest first; fewer if the groups searched hold fewer.
    ///
    /// * `queries`: `(n_queries, n_dims)`.
    /// * `search`: share of the groups to look into; at least one is.
    pub fn nearest(&self, queries: ArrayView2<f32>, k: usize, search: f32) -> Vec<Vec<Neighbour>> {
        let n_groups = self.centres.nrows();
        let n_probes = ((n_groups as f32 * search).ceil() as usize).clamp(1, n_groups);
        let mut visitors: Vec<Vec<usize>> = vec![Vec::new(); n_groups];
        for (query, groups) in probes(queries, &self.centres, n_probes).into_iter().enumerate() {
            for group in groups {
                visitors[group as usize].push(query);
            }
        }
        let mut found: Vec<Vec<Neighbour>> = vec![Vec::new(); queries.nrows()];
        for (group, visitors) in visitors.iter().enumerate() {
            let members = self.starts[group]..self.starts[group + 1];
            if visitors.is_empty() || members.is_empty() {
                continue;
            }
            let asking = queries.select(Axis(0), visitors);
            let vectors = self.vectors.slice(s![members.clone(), ..]);
            let mut similarities = Array2::zeros((visitors.len(), members.len()));
            matmul(asking.view(), vectors.t(), false, similarities.view_mut());
            let rows = &self.rows[members];
            // Each query's list is taken out, so that threads can work on several.
            let mut lent: Vec<Vec<Neighbour>> =
                visitors.iter().map(|&query| std::mem::take(&mut found[query])).collect();
            lent.par_iter_mut().zip(similarities.axis_iter(Axis(0)).into_par_iter()).for_each(
                |(list, similarities)| {
                    let similarities = similarities.to_slice().expect("rows are contiguous");
                    keep_largest(list, similarities, |i| rows[i], k);
                },
            );
            for (&query, list) in visitors.iter().zip(lent) {
                found[query] = list;
            }
        }
        found.par_iter_mut().for_each(|list| list.sort_unstable_by(largest_first));
        found
    }
}

/// Centres of `n` groups, by k-means from vectors spread over all of them.
fn learn_centres(vectors: &Array2<f32>, n: usize) -> Array2<f32> {
    let spread = |wanted: usize| -> Vec<usize> {
        let wanted = wanted.min(vectors.nrows());
        (0..wanted).map(|i| i * vectors.nrows() / wanted).collect()
    };
    let mut centres = vectors.select(Axis(0), &spread(n));
    if n == 1 {
        return centres;
    }
    let learned_from = vectors.select(Axis(0), &spread(n * LEARN_PER_GROUP));
    for _ in 0..ROUNDS {
        let groups = nearest_centres(learned_from.view(), &centres);
        let mut sums = Array2::<f32>::zeros(centres.dim());
        for (vector, &group) in learned_from.rows().into_iter().zip(&groups) {
            sums.row_mut(group as usize).scaled_add(1.0, &vector);
        }
        for (mut centre, sum) in centres.rows_mut().into_iter().zip(sums.rows()) {
            let length = sum.dot(&sum).sqrt();
            // A centre without vectors stays where it is.
            if length > 0.0 {
                centre.assign(&sum);
                centre /= length;
            }
        }
    }
    centres
}

/// The group of each vector.
fn nearest_centres(vectors: ArrayView2<f32>, centres: &Array2<f32>) -> Vec<u32> {
    if centres.nrows() == 1 {
        return vec![0; vectors.nrows()];
    }
    let mut groups = Vec::with_capacity(vectors.nrows());
    for vectors in vectors.axis_chunks_iter(Axis(0), ROWS) {
        groups.extend(probes(vectors, centres, 1).into_iter().map(|groups| groups[0]));
    }
    groups
}

/// The `n` nearest centres of each vector.
fn probes(vectors: ArrayView2<f32>, centres: &Array2<f32>, n: usize) -> Vec<Vec<u32>> {
    let mut similarities = Array2::zeros((vectors.nrows(), centres.nrows()));
    matmul(vectors, centres.t(), false, similarities.view_mut());
    let of_row = |similarities: ndarray::ArrayView1<f32>| {
        let mut list = Vec::new();
        let similarities = similarities.to_slice().expect("rows are contiguous");
        keep_largest(&mut list, similarities, |i| i as u32, n);
        list.into_iter().map(|(_, group)| group).collect()
    };
    similarities.axis_iter(Axis(0)).into_par_iter().map(of_row).collect()
}

/// Puts row `order[i]` at place `i`, without a second copy of all rows.
fn reorder(mut vectors: Array2<f32>, order: &[u32]) -> Array2<f32> {
    let mut is_done = vec![false; order.len()];
    for first in 0..order.len() {
        if is_done[first] {
            continue;
        }
        let held = vectors.row(first).to_owned();
        let mut place = first;
        loop {
            is_done[place] = true;
            let from = order[place] as usize;
            if from == first {
                vectors.row_mut(place).assign(&held);
                break;
            }
            let (mut to, from_row) = vectors.multi_slice_mut((s![place, ..], s![from, ..]));
            to.assign(&from_row);
            place = from;
        }
    }
    vectors
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::splitmix::mix;

    /// Points around 40 directions, of length 1.
    fn vectors(n: usize, n_dims: usize) -> Array2<f32> {
        let number = |seed: u64| (mix(seed) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        let mut vectors = Array2::from_shape_fn((n, n_dims), |(i, j)| {
            let direction = mix(i as u64) % 40;
            number(direction * 1000 + j as u64)
                + 0.6 * number(((i + 77) * n_dims + j) as u64 + 1_000_000)
        });
        for mut row in vectors.rows_mut() {
            let length = row.dot(&row).sqrt();
            row /= length;
        }
        vectors
    }

    fn by_hand(vectors: &Array2<f32>, query: usize, k: usize) -> Vec<u32> {
        let query = vectors.row(query);
        let mut all: Vec<Neighbour> =
            vectors.rows().into_iter().zip(0..).map(|(row, i)| (row.dot(&query), i)).collect();
        all.sort_by(largest_first);
        all[..k].iter().map(|&(_, row)| row).collect()
    }

    #[test]
    fn the_search_among_few_vectors_is_exact() {
        let vectors = vectors(500, 16);
        let index = Index::new(vectors.clone());
        let found = index.nearest(vectors.slice(s![..20, ..]), 7, 0.05);
        for (query, list) in found.iter().enumerate() {
            let rows: Vec<u32> = list.iter().map(|&(_, row)| row).collect();
            assert_eq!(rows, by_hand(&vectors, query, 7));
            assert!((list[0].0 - 1.0).abs() < 1e-5); // itself
        }
    }

    /// 20,000 vectors are 141 groups; a tenth of them holds most of the 20 nearest.
    #[test]
    fn the_search_among_many_vectors_finds_most() {
        let vectors = vectors(20_000, 16);
        let index = Index::new(vectors.clone());
        assert_eq!(index.centres.nrows(), 141);
        let queries = vectors.slice(s![..50, ..]);
        let n_found = |search: f32| {
            let found = index.nearest(queries, 20, search);
            let n_true = |(query, list): (usize, &Vec<Neighbour>)| {
                let truth = by_hand(&vectors, query, 20);
                list.iter().filter(|(_, row)| truth.contains(row)).count()
            };
            found.iter().enumerate().map(n_true).sum::<usize>()
        };
        assert_eq!(n_found(1.0), 1000);
        assert!(n_found(0.1) > 900, "{}", n_found(0.1));
    }

    #[test]
    fn any_number_of_threads_finds_the_same() {
        let vectors = vectors(17_000, 8);
        let search = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let index = Index::new(vectors.clone());
                index.nearest(vectors.slice(s![..300, ..]), 10, 0.05)
            })
        };
        assert_eq!(search(1), search(3));
    }

    #[test]
    fn rows_are_put_in_order_in_place() {
        let rows = Array2::from_shape_fn((5, 2), |(i, _)| i as f32);
        let order = [3, 0, 2, 4, 1];
        let moved = reorder(rows, &order);
        assert_eq!(moved.column(1).to_vec(), [3.0, 0.0, 2.0, 4.0, 1.0]);
    }
}

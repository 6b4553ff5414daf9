//! Brands in a user's own history are calibrated apart: a user who had a rare brand and one who is
//! new to it may have the same logit, but not the same chance, and a brand has one threshold for both.
//!
//! So logits of brands that the user had are moved to where the brand's curve gives them the
//! probability of their own curve. Everything after sees one logit, as with neighbours.

use metrics::{Bin, Histogram, Lists, OwnedLists, Platt};
use model::inputs::Bags;
use ndarray::parallel::prelude::*;
use ndarray::{ArrayView1, ArrayViewMut1, ArrayViewMut2, Axis};

/// For each brand the line that moves the logits of users who had it, by `brand_idx`.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryLines(Vec<Platt>);

impl HistoryLines {
    /// * `lines`: `(n_brands,)`, from logits to logits.
    pub fn new(lines: Vec<Platt>) -> Self {
        Self(lines)
    }

    /// The lines from the curves of both groups.
    ///
    /// * `had`, `new`: `(n_brands,)`, from logits to log-odds.
    pub fn between(had: &[Platt], new: &[Platt]) -> Self {
        let line = |(had, new): (&Platt, &Platt)| Platt {
            slope: had.slope / new.slope,
            intercept: (had.intercept - new.intercept) / new.slope,
        };
        Self(had.iter().zip(new).map(line).collect())
    }

    /// The lines, by `brand_idx`.
    pub fn lines(&self) -> &[Platt] {
        &self.0
    }

    /// A logit of a user who had the brand, moved.
    fn moved(&self, brand: u32, logit: f32) -> f32 {
        let Platt { slope, intercept } = self.0[brand as usize];
        (slope * f64::from(logit) + intercept) as f32
    }

    /// Moves the logits of one user.
    ///
    /// * `had`: brands in the user's history.
    fn move_row(&self, had: &[u32], mut logits: ArrayViewMut1<f32>) {
        for &brand in had {
            let logit = &mut logits[brand as usize];
            *logit = self.moved(brand, *logit);
        }
    }

    /// Moves the logits of a batch of users, each by lines of its own.
    ///
    /// * `had`: the brands in each user's history.
    /// * `lines`: of the user at a place in the batch; `None` moves nothing.
    /// * `logits`: `(n_users, n_brands)`.
    pub fn move_each<'a>(
        had: Lists,
        lines: impl Fn(usize) -> Option<&'a Self> + Sync,
        mut logits: ArrayViewMut2<f32>,
    ) {
        let rows = logits.axis_iter_mut(Axis(0)).into_par_iter().enumerate();
        rows.for_each(|(user, row)| {
            if let Some(lines) = lines(user) {
                lines.move_row(had.get(user), row);
            }
        });
    }
}

/// The brands in each user's history, ascending, each once.
///
/// * `bags`: the history's channels; a brand in any of them counts.
pub fn had_brands(bags: &[&Bags], n_users: usize, n_brands: usize) -> OwnedLists {
    let mut lists = OwnedLists::default();
    let mut brands = Vec::new();
    for user in 0..n_users {
        brands.clear();
        let ids = bags.iter().flat_map(|bags| bags.of(user)).map(|(id, _)| id);
        brands.extend(ids.filter(|&id| (id as usize) < n_brands));
        brands.sort_unstable();
        brands.dedup();
        lists.push(&brands);
    }
    lists
}

/// Logits of users for brands that they had.
#[derive(Debug, Clone, Default)]
pub struct HadCells(Vec<HadCell>);

#[derive(Debug, Clone, Copy)]
struct HadCell {
    brand: u32,
    logit: f32,
    is_positive: bool,
}

impl HadCells {
    /// Adds those of one user.
    ///
    /// * `had`: brands in the user's history.
    /// * `labels`: the user's brands, ascending.
    pub fn add(&mut self, logits: ArrayView1<f32>, had: &[u32], labels: &[u32]) {
        self.0.extend(had.iter().map(|&brand| HadCell {
            brand,
            logit: logits[brand as usize],
            is_positive: labels.binary_search(&brand).is_ok(),
        }));
    }

    /// Adds those of other users.
    pub fn merge(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Whether some of them have the brand again and some do not: without both there is no curve.
    pub fn are_mixed(&self) -> bool {
        let is = |positive| self.0.iter().any(|cell| cell.is_positive == positive);
        is(true) && is(false)
    }

    /// Counts them.
    ///
    /// * `lines`: moves their logits first; `None` leaves them as they are.
    pub fn histogram(&self, n_brands: usize, lines: Option<&HistoryLines>) -> Histogram {
        let mut bins = vec![Vec::new(); n_brands];
        for &HadCell { brand, logit, is_positive } in &self.0 {
            let logit = lines.map_or(logit, |lines| lines.moved(brand, logit));
            bins[brand as usize].push(Bin::at(logit, is_positive.into(), (!is_positive).into()));
        }
        Histogram::from_bins(bins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn platt(slope: f64, intercept: f64) -> Platt {
        Platt { slope, intercept }
    }

    /// Had: log-odds 2z + 1; new: 0.5z - 1. At z = 3 the one has 7, which the other has at 16.
    #[test]
    fn a_moved_logit_has_its_own_curves_probability_on_the_brands_curve() {
        let (had, new) = ([platt(2.0, 1.0)], [platt(0.5, -1.0)]);
        let lines = HistoryLines::between(&had, &new);
        assert_eq!(lines.moved(0, 3.0), 16.0);
        assert!((new[0].prob(16.0) - had[0].prob(3.0)).abs() < 1e-12);
    }

    #[test]
    fn only_brands_of_the_users_history_move() {
        let lines = HistoryLines::new(vec![platt(1.0, 10.0), platt(1.0, 20.0)]);
        let had: OwnedLists = [&[1][..], &[], &[0, 1]].into_iter().collect();
        let mut logits = array![[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]];
        HistoryLines::move_each(had.as_lists(), |_| Some(&lines), logits.view_mut());
        assert_eq!(logits, array![[1.0, 22.0], [1.0, 2.0], [11.0, 22.0]]);
    }

    #[test]
    fn a_brand_that_stands_in_a_history_twice_is_one_cell() {
        let bags = Bags { offsets: vec![0, 3, 3], ids: vec![2, 0, 2], weights: vec![1.0; 3] };
        let lists = had_brands(&[&bags], 2, 2);
        assert_eq!(lists.as_lists().iter().collect::<Vec<_>>(), [&[0][..], &[]]);
        let mut cells = HadCells::default();
        cells.add(array![0.5, 1.5].view(), &[0, 1], &[1]);
        let counted = cells.histogram(2, None);
        assert_eq!([0, 1].map(|brand| counted.support(brand)), [0, 1]);
        assert_eq!(counted.brand(0).bins[0].logit(), 0.5);
    }
}

//! What an experiment predicts for its users, beside the truth.

use crate::counts::{Counts, mean_defined};
use crate::lists::Lists;

/// What an experiment predicts for its users, and the truth.
///
/// Both hold `n_users` lists of brand positions, in any order; a brand that appears twice in a
/// list counts once.
#[derive(Clone, Copy, Debug)]
pub struct Decisions<'a> {
    /// The brands that each user has.
    pub labels: Lists<'a>,
    /// The brands that were predicted for each user.
    pub predicted: Lists<'a>,
}

/// What the decisions come to over all users.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// `(n_brands,)`, decisions counted over all users.
    pub brands: Vec<Counts>,
    /// Mean over users with at least one label of `2·tp / (n_predicted + n_labels)`; `None` if
    /// no user has a label.
    pub user_f1: Option<f64>,
}

/// Counts per brand and mean user F1, every user once.
///
/// * `n_brands`: all brand positions are below it.
///
/// # Panics
///
/// If the two lists differ in length, or a brand position is not below `n_brands`.
pub fn point(decisions: &Decisions, n_brands: usize) -> Point {
    let users = Classified::of(decisions, n_brands);
    Point { brands: users.counts(), user_f1: mean_defined(users.f1.iter().copied()) }
}

pub(crate) const TP: u32 = 0;
pub(crate) const FP: u32 = 1;
pub(crate) const FN: u32 = 2;

/// The decisions, sorted once into hits and the two kinds of error.
#[derive(Clone, Debug, Default)]
pub struct Classified {
    /// `(n_users + 1,)`, positions in `cells`.
    pub(crate) offsets: Vec<usize>,
    /// `3 · brand_idx + kind`: the counters that a user adds to.
    pub(crate) cells: Vec<u32>,
    /// `(n_users,)`, `None` for users without a label.
    pub(crate) f1: Vec<Option<f64>>,
    pub(crate) n_brands: usize,
}

impl Classified {
    /// * `n_brands`: all brand positions are below it.
    ///
    /// # Panics
    ///
    /// If the two lists differ in length, or a brand position is not below `n_brands`.
    pub fn of(decisions: &Decisions, n_brands: usize) -> Self {
        let n_users = decisions.labels.len();
        assert_eq!(n_users, decisions.predicted.len(), "labels and predictions of the same users");
        assert!(n_brands <= (u32::MAX / 3) as usize, "brand positions are u32");
        let n_cells = decisions.labels.values.len() + decisions.predicted.values.len();
        let mut users = Self {
            offsets: Vec::with_capacity(n_users + 1),
            cells: Vec::with_capacity(n_cells),
            f1: Vec::with_capacity(n_users),
            n_brands,
        };
        users.offsets.push(0);
        let (mut labels, mut predicted) = (Vec::new(), Vec::new());
        for (user_labels, user_predicted) in decisions.labels.iter().zip(decisions.predicted.iter())
        {
            fill_sorted(&mut labels, user_labels, n_brands);
            fill_sorted(&mut predicted, user_predicted, n_brands);
            let mut tp = 0;
            for brand_idx in &predicted {
                let is_label = labels.binary_search(brand_idx).is_ok();
                tp += u32::from(is_label);
                users.cells.push(3 * brand_idx + if is_label { TP } else { FP });
            }
            for brand_idx in &labels {
                if predicted.binary_search(brand_idx).is_err() {
                    users.cells.push(3 * brand_idx + FN);
                }
            }
            let n_both = (predicted.len() + labels.len()) as f64;
            users.f1.push((!labels.is_empty()).then(|| f64::from(2 * tp) / n_both));
            users.offsets.push(users.cells.len());
        }
        users
    }

    /// `(n_brands,)`, counted over all users.
    pub fn counts(&self) -> Vec<Counts> {
        let mut brands = vec![Counts::default(); self.n_brands];
        for &cell in &self.cells {
            let counts = &mut brands[cell as usize / 3];
            match cell % 3 {
                TP => counts.tp += 1,
                FP => counts.fp += 1,
                _ => counts.fn_ += 1,
            }
        }
        brands
    }
}

/// Ascending, each brand once.
fn fill_sorted(brands: &mut Vec<u32>, list: &[u32], n_brands: usize) {
    brands.clear();
    brands.extend_from_slice(list);
    brands.sort_unstable();
    brands.dedup();
    if let Some(&last) = brands.last() {
        assert!((last as usize) < n_brands, "brand {last} of {n_brands}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OwnedLists, f1, macro_f1, precision, recall, reference, sum};

    fn owned(lists: impl IntoIterator<Item = Vec<u32>>) -> OwnedLists {
        let lists: Vec<Vec<u32>> = lists.into_iter().collect();
        lists.iter().map(Vec::as_slice).collect()
    }

    fn of<'a>(labels: &'a OwnedLists, predicted: &'a OwnedLists) -> Decisions<'a> {
        Decisions { labels: labels.as_lists(), predicted: predicted.as_lists() }
    }

    #[test]
    fn a_point_counts_hits_and_both_errors() {
        let labels = owned([vec![2, 0], vec![1], vec![]]);
        let predicted = owned([vec![0, 1, 0], vec![], vec![2]]);
        let point = point(&of(&labels, &predicted), 4);
        let counts = |tp, fp, fn_| Counts { tp, fp, fn_ };
        assert_eq!(
            point.brands,
            [counts(1, 0, 0), counts(0, 1, 1), counts(0, 1, 1), Counts::default()]
        );
        // User 0: 2·1 / (2 + 2), user 1: 0, user 2 has no label.
        assert_eq!(point.user_f1, Some(0.25));
        let empty = owned([]);
        assert_eq!(super::point(&of(&empty, &empty), 3).user_f1, None);
    }

    /// `f1_score`, `precision_score`, `recall_score` of scikit-learn.
    #[test]
    fn the_point_metrics_agree_with_scikit_learn() {
        let users = reference::users();
        let labels = owned(users.iter().map(|user| user.labels.clone()));
        let predicted = owned(users.iter().map(|user| user.predicted.clone()));
        let point = point(&of(&labels, &predicted), 6);
        for (value, name) in [
            (macro_f1(&point.brands), "macro_f1"),
            (f1(sum(&point.brands)), "micro_f1"),
            (point.user_f1, "user_f1"),
            (precision(point.brands[0]), "precision_0"),
            (recall(point.brands[0]), "recall_0"),
        ] {
            assert!((value.unwrap() - reference::value(name)).abs() < 1e-12, "{name}");
        }
    }

    #[test]
    #[should_panic(expected = "brand 3 of 3")]
    fn a_brand_out_of_range_is_refused() {
        let lists = owned([vec![3]]);
        point(&of(&lists, &lists), 3);
    }
}

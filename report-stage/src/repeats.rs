//! Decisions about brands that users had before, and about those that they had not, apart.

use metrics::{Counts, OwnedLists, f1, macro_f1, mean_defined, precision, recall, sum};

use crate::figures::{Micro, Part, PartItem, PartUser, buckets};
use crate::load::Scores;

/// Decisions of a part against labels.
#[derive(Clone, Debug)]
pub struct PartCounts {
    /// By `brand_idx`
    pub brands: Vec<Counts>,
    /// Of users with a label of the part
    users: Vec<Counts>,
}

/// Counts the decisions about brands that users had before, then those about brands that they had not.
///
/// * `had`: the brands that each user had, ascending.
pub fn counts(scores: &Scores, had: &OwnedLists, n_brands: usize) -> [PartCounts; 2] {
    let empty = || PartCounts { brands: vec![Counts::default(); n_brands], users: Vec::new() };
    let mut parts = [empty(), empty()];
    let users = scores.labels.as_lists().iter().zip(scores.predicted.as_lists().iter());
    for ((labels, predicted), had) in users.zip(had.as_lists().iter()) {
        let mut of_user = [Counts::default(); 2];
        let part = |brand: &u32| usize::from(had.binary_search(brand).is_err());
        for brand in labels {
            let is_found = predicted.binary_search(brand).is_ok();
            let count = if is_found { hit } else { miss };
            count(&mut parts[part(brand)].brands[*brand as usize]);
            count(&mut of_user[part(brand)]);
        }
        for brand in predicted.iter().filter(|brand| labels.binary_search(brand).is_err()) {
            parts[part(brand)].brands[*brand as usize].fp += 1;
            of_user[part(brand)].fp += 1;
        }
        for (part, of_user) in parts.iter_mut().zip(of_user) {
            if of_user.support() > 0 {
                part.users.push(of_user);
            }
        }
    }
    parts
}

fn hit(counts: &mut Counts) {
    counts.tp += 1;
}

fn miss(counts: &mut Counts) {
    counts.fn_ += 1;
}

impl PartCounts {
    /// The figures.
    pub fn figures(&self, f1_buckets: &[f64]) -> Part {
        let Self { brands, users } = self;
        let mean = |counts: &[Counts], of: fn(Counts) -> Option<f64>| {
            mean_defined(counts.iter().map(|&counts| of(counts)))
        };
        let total = sum(brands);
        Part {
            buckets: buckets(f1_buckets, brands.iter().map(|&counts| f1(counts))),
            item: PartItem {
                macro_f1: macro_f1(brands),
                macro_precision: mean(brands, precision),
                macro_recall: mean(brands, recall),
                n_defined: Some(brands.iter().filter(|&&c| f1(c).is_some()).count() as u64),
            },
            user: PartUser {
                f1: mean(users, f1),
                precision: mean(users, precision),
                recall: mean(users, recall),
                n_users: Some(users.len() as u64),
            },
            micro: Micro { f1: f1(total), precision: precision(total), recall: recall(total) },
            n_labels: Some(total.support()),
            n_predicted: Some(total.predicted()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use std::sync::Arc;

    fn lists(rows: [&[u32]; 2]) -> OwnedLists {
        rows.into_iter().collect()
    }

    /// User 1 had 0 and 1, has 0 and 2, is predicted 0, 1 and 2; user 2 had nothing, has 2, is
    /// predicted 1. Repeat: 0 tp, 1 fp. New: 2 tp and fn, 1 fp.
    #[test]
    fn each_decision_counts_in_one_part() {
        let scores = Scores {
            user_ids: Arc::new(Int64Array::from(vec![1, 2])),
            labels: lists([&[0, 2], &[2]]),
            predicted: lists([&[0, 1, 2], &[1]]),
            top_brands: lists([&[], &[]]),
        };
        let [repeat, new] = counts(&scores, &lists([&[0, 1], &[]]), 3);
        let of = |tp, fp, fn_| Counts { tp, fp, fn_ };
        assert_eq!(repeat.brands, [of(1, 0, 0), of(0, 1, 0), of(0, 0, 0)]);
        assert_eq!(new.brands, [of(0, 0, 0), of(0, 1, 0), of(1, 0, 1)]);
        let [repeat, new] = [repeat, new].map(|part| part.figures(&[0.5]));
        assert_eq!((repeat.item.macro_f1, repeat.item.n_defined), (Some(0.5), Some(2)));
        assert_eq!((repeat.user.n_users, new.user.n_users), (Some(1), Some(2)));
        assert_eq!(repeat.user.f1, Some(2.0 / 3.0));
        assert_eq!(new.user.f1, Some(0.5)); // 1 and 0
        assert_eq!((new.micro.precision, new.micro.recall), (Some(0.5), Some(0.5)));
        assert_eq!(new.buckets["0.5"], Some(1)); // 2·1/(2·1 + 1) of brand 2
        assert_eq!((repeat.n_labels, new.n_labels, new.n_predicted), (Some(1), Some(2), Some(2)));
    }
}

//! Passes over the valid users: how much the neighbours should weigh, and how many are found.

use std::ops::Range;

use anyhow::Result;
use model::Model;

use crate::neighbours::Neighbours;
use crate::neighbours::weight_search::WeightSearch;
use crate::scorer::{History, Scorer};
use crate::split::Split;

/// Valid users that the weights are chosen on, at most.
const CHOOSING_USERS: usize = 20_000;

/// Blocks of users that stand for all.
const BLOCKS: usize = 16;

/// Valid users that the search is checked on, at most.
const RECALL_USERS: usize = 256;

/// The share of the neighbours in each brand's probability, `(n_brands,)`, of least loss on valid.
///
/// * `groups`: as [`WeightSearch::new`] has them.
pub fn weights(
    neighbours: &Neighbours,
    model: &Model,
    valid: &Split,
    groups: Vec<usize>,
) -> Result<Vec<f32>> {
    let mut search = WeightSearch::new(groups);
    let alone = Scorer { model, blend: None, history: History::Ignored };
    for users in spread(valid.rows().len(), CHOOSING_USERS) {
        alone.for_each_labelled(valid, users, "weighing the neighbours", |scored, labels| {
            let means = neighbours.label_means(scored.seen);
            search.add(scored.logits, means.view(), labels);
            Ok(())
        })?;
    }
    Ok(search.weights())
}

/// Share of the first valid users' nearest neighbours that the search finds.
pub fn recall(neighbours: &Neighbours, model: &Model, valid: &Split) -> Result<f64> {
    let mut recall = 1.0;
    let alone = Scorer { model, blend: None, history: History::Ignored };
    let users = 0..valid.rows().len().min(RECALL_USERS);
    alone.for_each_batch(&valid.inputs, users, "checking the search", |scored| {
        recall = neighbours.recall(scored.seen);
        Ok(())
    })?;
    Ok(recall)
}

/// `n` users as blocks spread over all: users are in order of their ids, so the first may be the
/// oldest customers.
fn spread(n_users: usize, n: usize) -> Vec<Range<usize>> {
    if n >= n_users {
        return std::iter::once(0..n_users).collect();
    }
    let block = n / BLOCKS;
    let start = |i: usize| (n_users - block) * i / (BLOCKS - 1);
    (0..BLOCKS).map(|i| start(i)..start(i) + block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_spread_over_all_users_and_do_not_overlap() {
        assert_eq!(spread(100, 160).first(), Some(&(0..100)));
        let blocks = spread(1000, 160);
        assert_eq!((blocks[0].clone(), blocks[15].clone()), (0..10, 990..1000));
        assert!(blocks.windows(2).all(|pair| pair[0].end <= pair[1].start), "{blocks:?}");
        assert_eq!(blocks.iter().map(ExactSizeIterator::len).sum::<usize>(), 160);
    }
}

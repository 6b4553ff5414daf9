//! Sums over a batch of users by several threads, the same for any number of them.

use crate::lists::Lists;
use rayon::prelude::*;

/// Sums a batch of users in parts of fixed size; merged in order, they do not depend on threads.
///
/// * `labels`: one list per user.
/// * `users_per_part`: the last part may have fewer.
/// * `empty`: a sum over no users.
/// * `probs`: fills its argument with the probabilities of a user of the batch.
/// * `add`: adds a user's probabilities and labels to a sum.
pub(crate) fn parts<T: Send>(
    labels: Lists,
    users_per_part: usize,
    empty: impl Fn() -> T + Sync,
    probs: impl Fn(usize, &mut Vec<f32>) + Sync,
    add: impl Fn(&mut T, &[f32], &[u32]) + Sync,
) -> Vec<T> {
    let firsts: Vec<usize> = (0..labels.len()).step_by(users_per_part).collect();
    let part = |first: usize| {
        let mut part = empty();
        let mut buffer = Vec::new();
        for user in first..(first + users_per_part).min(labels.len()) {
            probs(user, &mut buffer);
            add(&mut part, &buffer, labels.get(user));
        }
        part
    };
    firsts.into_par_iter().map(part).collect()
}

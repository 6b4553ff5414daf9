//! The largest of many values: the best brands of a user, or the nearest of many vectors.

use std::cmp::Ordering;

/// A value, and the number of the brand or vector that has it.
pub type Numbered = (f32, u32);

/// Order by value, largest first; equal values by number, lowest first.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "sorting passes references")]
pub fn largest_first(a: &Numbered, b: &Numbered) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Adds values to a list and keeps the `k` largest, in any order; `k` is at least 1.
///
/// * `number`: the number of the value at each place of `values`.
pub fn keep_largest(
    list: &mut Vec<Numbered>,
    values: &[f32],
    number: impl Fn(usize) -> u32,
    k: usize,
) {
    /// Values that are skipped together if none is large enough, as nearly all are.
    const TOGETHER: usize = 32;

    let cut = |list: &mut Vec<Numbered>| {
        list.select_nth_unstable_by(k - 1, largest_first);
        list.truncate(k);
        list[k - 1].0
    };
    let mut bound = if list.len() >= k { cut(list) } else { f32::NEG_INFINITY };
    for (chunk, values) in values.chunks(TOGETHER).enumerate() {
        // At the bound itself the number decides.
        let largest = values.iter().fold(f32::NEG_INFINITY, |largest, &value| value.max(largest));
        if largest < bound {
            continue;
        }
        for (i, &value) in values.iter().enumerate() {
            if value >= bound {
                list.push((value, number(chunk * TOGETHER + i)));
                if list.len() >= k.saturating_mul(2) {
                    bound = cut(list);
                }
            }
        }
    }
    if list.len() > k {
        cut(list);
    }
}

//! Bins of neighbouring logits: which users of a brand are counted together.
//!
//! The [`EXACT`] highest logits of a brand each have a bin of their own. Below them a bin is at
//! most 1/`FINENESS` as wide as its distance from the lowest of these. So the bins follow the
//! logits: dividing them all by 50, or moving them, makes bins as good. Which users share a bin
//! follows from the users alone, not from their order or from how they were split into parts.

use crate::cells::{Cell, has_slot, kept, position, slots_of};

/// Highest logits of a brand that are kept exactly, each with all of its users.
///
/// So the figures of a data set with no more users are exact, and so are the decisions about a
/// rare brand, whose threshold lies among these.
pub const EXACT: usize = 512;

/// Users of one brand whose logits are the same or, in no known order, close to each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Lowest logit
    pub low: f32,
    /// Highest logit; if it is also the lowest, all users have it and are tied
    pub high: f32,
    /// Users with the label
    pub positives: u64,
    /// Users without
    pub negatives: u64,
}

impl Bin {
    /// Users of one logit.
    pub fn at(logit: f32, positives: u64, negatives: u64) -> Self {
        let logit = kept(logit);
        Self { low: logit, high: logit, positives, negatives }
    }

    /// Users, with the label or without.
    pub fn users(&self) -> u64 {
        self.positives + self.negatives
    }

    /// The logit that represents all of them: the middle.
    pub fn logit(&self) -> f64 {
        f64::midpoint(f64::from(self.low), f64::from(self.high))
    }

    /// Whether all have the same logit.
    pub fn is_tie(&self) -> bool {
        self.low >= self.high
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        self.positives += other.positives;
        self.negatives += other.negatives;
    }
}

/// Merges the bins below the exact ones that share a cell.
///
/// * `bins`: ascending, no two of the same lowest logit.
pub(crate) fn coarsen(bins: &mut Vec<Bin>) {
    let Some(n_coarse) = bins.len().checked_sub(EXACT) else { return };
    let floor = bins[n_coarse].low;
    let floor_at = position(floor);
    let lows: Vec<f32> = bins[..n_coarse].iter().map(|bin| bin.low).collect();
    let mut slots = vec![0; n_coarse];
    slots_of(&lows, floor_at, &mut slots);
    let share_cell = |a: usize, b: usize| {
        if has_slot(lows[a], floor) && has_slot(lows[b], floor) {
            return slots[a] == slots[b];
        }
        Cell::of(position(lows[a]), floor_at) == Cell::of(position(lows[b]), floor_at)
    };
    let mut n_kept = 0;
    for i in 0..bins.len() {
        let bin = bins[i];
        if (1..n_coarse).contains(&i) && share_cell(i - 1, i) {
            bins[n_kept - 1].add(&bin);
        } else {
            bins[n_kept] = bin;
            n_kept += 1;
        }
    }
    bins.truncate(n_kept);
}

/// Bins in any order, e.g. those of several parts of the users, as those of all users.
pub(crate) fn tidy(mut bins: Vec<Bin>) -> Vec<Bin> {
    for bin in &mut bins {
        (bin.low, bin.high) = (kept(bin.low), kept(bin.high));
    }
    ascending(&mut bins);
    coarsen(&mut bins);
    bins
}

/// Sorts bins; of the same lowest logit there is one.
fn ascending(bins: &mut Vec<Bin>) {
    bins.sort_unstable_by(|a, b| a.low.total_cmp(&b.low));
    bins.dedup_by(|next, bin| {
        let is_same = next.low == bin.low;
        if is_same {
            bin.add(next);
        }
        is_same
    });
}

/// The bins of all users from those of two parts.
pub(crate) fn merge(mine: &[Bin], theirs: &[Bin]) -> Vec<Bin> {
    let mut bins = interleave(mine, theirs);
    coarsen(&mut bins);
    bins
}

/// The bins of two parts in one order, each ascending; of the same lowest logit there is one.
pub(crate) fn interleave(mine: &[Bin], theirs: &[Bin]) -> Vec<Bin> {
    let mut bins = Vec::with_capacity(mine.len() + theirs.len());
    let (mut i, mut j) = (0, 0);
    // Which part is next is as good as random, so it is not branched on.
    while let (Some(a), Some(b)) = (mine.get(i), theirs.get(j)) {
        let (is_mine, is_theirs) = (a.low <= b.low, b.low <= a.low);
        let mut bin = if is_mine { *a } else { *b };
        if is_mine && is_theirs {
            bin.add(b);
        }
        bins.push(bin);
        i += usize::from(is_mine);
        j += usize::from(is_theirs);
    }
    bins.extend_from_slice(&mine[i..]);
    bins.extend_from_slice(&theirs[j..]);
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::{FINENESS, step_of};

    /// 1,000 users, ten of them of one logit each.
    fn users(logit: impl Fn(f32) -> f32) -> Vec<Bin> {
        tidy((0..1000).map(|i| Bin::at(logit((i / 10) as f32), 0, 1)).collect())
    }

    #[test]
    fn users_of_the_highest_logits_are_told_apart_and_those_of_one_are_tied() {
        let bins = users(|i| i);
        assert_eq!(bins.len(), 100);
        assert!(bins.iter().all(|bin| bin.is_tie() && bin.users() == 10));
    }

    /// Steps of the logit stay apart, as `histogram.arrow` counts by them.
    #[test]
    fn no_bin_crosses_a_step() {
        let spread = (0..60_000).map(|i| Bin::at(i as f32 / 1500.0 - 20.0, 0, 1)).collect();
        let bins = tidy(spread);
        assert!(bins.iter().all(|bin| step_of(bin.low) == step_of(bin.high)));
        assert!(bins.iter().filter(|bin| step_of(bin.low) == 700).count() < 3);
    }

    #[test]
    fn a_bin_is_narrow_next_to_its_distance_from_the_exact_logits() {
        for scale in [1.0, 1e-3, 1e-6, 100.0] {
            let logit = |i: u32| scale * ((f64::from(i) / 1e5).ln() - 3.0) as f32;
            let bins = tidy((1..100_000).map(|i| Bin::at(logit(i), 0, 1)).collect());
            let floor = bins[bins.len() - EXACT].low;
            assert!(bins[bins.len() - EXACT..].iter().all(Bin::is_tie));
            for bin in &bins[..bins.len() - EXACT] {
                // A width counts from end to end of the bin's cell; 1e-9 is what positions leave.
                let width = bin.high - bin.low;
                assert!(width <= (floor - bin.high) / FINENESS as f32 + 1e-9, "{scale}: {bin:?}");
            }
            assert!(bins.len() < 2000, "{scale}: {}", bins.len());
        }
    }
}

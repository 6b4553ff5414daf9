//! How much the F1 of brands would change with other users: the paired bootstrap.
//!
//! Each draw resamples the evaluated users, n of n with replacement. Which users a draw takes
//! depends on the seed, the draw and n alone, so two experiments on the same users see the
//! same draws and their difference can be judged draw by draw. Means over many brands or users are
//! judged by [`crate::jackknife`].

use crate::counts::{Counts, f1};
use crate::decisions::{Classified, FN, FP, TP};
use rand::{Rng, RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

/// F1 of every brand in each draw.
#[derive(Clone, Debug, Default)]
pub struct BrandDraws {
    n_draws: usize,
    /// `(n_brands, n_draws)`, NaN where undefined.
    f1: Vec<f32>,
}

/// There are no more draws than this: 12 MB for 3,000 brands.
pub const MAX_DRAWS: usize = 1000;

impl BrandDraws {
    /// The change of one brand's F1 from `baseline` to this in each draw. A draw without any of its
    /// users shows no change, so the central interval of a brand with two or three users always
    /// includes 0.
    pub fn changes_of(&self, brand: usize, baseline: &Self) -> Vec<f64> {
        let f1 = |draws: &Self, draw: usize| {
            let f1 = draws.f1[brand * draws.n_draws + draw];
            if f1.is_nan() { 0.0 } else { f64::from(f1) }
        };
        (0..self.n_draws).map(|draw| f1(self, draw) - f1(baseline, draw)).collect()
    }

    /// Number of brands that reach an F1 in each draw.
    pub fn n_reaching(&self, low: f64) -> Vec<f64> {
        let low = low as f32; // an F1 that is just this is rounded to the same number
        let mut counts = vec![0_u32; self.n_draws];
        for of_brand in self.f1.chunks_exact(self.n_draws.max(1)) {
            for (count, &f1) in counts.iter_mut().zip(of_brand) {
                *count += u32::from(f1 >= low);
            }
        }
        counts.into_iter().map(f64::from).collect()
    }

    /// Joins the blocks of draws, brand by brand.
    fn of_blocks(blocks: &[Block], n_brands: usize, n_draws: usize) -> Self {
        let mut f1 = Vec::with_capacity(n_brands * n_draws);
        for brand in 0..n_brands {
            f1.extend(blocks.iter().flat_map(|block| block[brand]).take(n_draws));
        }
        Self { n_draws, f1 }
    }
}

/// Draws computed together: a user-brand cell is looked up once for all of them, and a
/// counter's lanes fill one cache line.
const LANES: usize = 16;

/// One number for each draw of a block.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Lanes([u32; LANES]);

/// F1 of every brand over users drawn with replacement, many times.
///
/// * `users`: the evaluated ones.
/// * `n_draws`: 1,000 for a 95 % interval, and at most [`MAX_DRAWS`].
/// * `seed`: draws of equal seed, draw number and number of users take the same users.
pub fn bootstrap(users: &Classified, n_draws: usize, seed: u64) -> BrandDraws {
    let n_draws = n_draws.min(MAX_DRAWS);
    let blocks: Vec<Block> = (0..n_draws.div_ceil(LANES))
        .into_par_iter()
        .map(|block| draw_block(users, block * LANES, seed))
        .collect();
    BrandDraws::of_blocks(&blocks, users.n_brands, n_draws)
}

/// The central interval of the draws.
///
/// * `values`: one per draw; NaN is left out.
/// * `level`: share of the draws inside, in (0, 1); 0.95 leaves 2.5 % out on each side.
///
/// Returns the two percentiles, interpolated linearly as by default in numpy. `None` if no
/// value is left, or if `level` is not in (0, 1).
pub fn percentile_interval(values: &[f64], level: f64) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    if sorted.is_empty() || !(level > 0.0 && level < 1.0) {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let percentile = |share: f64| {
        let position = share * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
        low + (high - low) * position.fract()
    };
    Some((percentile((1.0 - level) / 2.0), percentile(f64::midpoint(1.0, level))))
}

/// F1 of the brands in `LANES` draws, `(n_brands,)`; NaN where undefined.
type Block = Vec<[f32; LANES]>;

/// The draws from `first_draw` on.
fn draw_block(users: &Classified, first_draw: usize, seed: u64) -> Block {
    let weights = draw_weights(users.f1.len(), first_draw, seed);
    let mut counters = vec![Lanes([0; LANES]); 3 * users.n_brands];
    for (weights, range) in weights.iter().zip(users.offsets.windows(2)) {
        let weights = Lanes(weights.map(u32::from));
        for &cell in &users.cells[range[0]..range[1]] {
            // A counter holds at most the weights of a draw, n_users, so it cannot overflow; a
            // checked addition would not be vectorised.
            for (count, &weight) in counters[cell as usize].0.iter_mut().zip(&weights.0) {
                *count = count.wrapping_add(weight);
            }
        }
    }
    let f1_in = |brand: &[Lanes], lane: usize| {
        let [tp, fp, fn_] = [TP, FP, FN].map(|kind| u64::from(brand[kind as usize].0[lane]));
        f1(Counts { tp, fp, fn_ }).map_or(f32::NAN, |f1| f1 as f32)
    };
    let brands = counters.chunks_exact(3);
    brands.map(|brand| std::array::from_fn(|lane| f1_in(brand, lane))).collect()
}

/// How often each user is drawn, `(n_users, LANES)`, for the draws from `first_draw` on.
///
/// A weight is one of a multinomial with mean 1: the chance that one reaches 256 in any draw
/// is below 1e-490, so a byte holds it and a saturated one would be harmless.
fn draw_weights(n_users: usize, first_draw: usize, seed: u64) -> Vec<[u8; LANES]> {
    let mut weights = vec![[0_u8; LANES]; n_users];
    let n_users = u32::try_from(n_users).expect("user rows are u32");
    for (lane, draw) in (first_draw as u64..).take(LANES).enumerate() {
        // One generator per draw: it must not matter which draws a thread makes before. The
        // first step spreads the seed, so that seeds 1 and 2 do not share their draws.
        let base = Xoshiro256PlusPlus::seed_from_u64(seed).next_u64();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(base.wrapping_add(draw));
        for _ in 0..n_users {
            let user_row = rng.random_range(0..n_users) as usize;
            weights[user_row][lane] = weights[user_row][lane].saturating_add(1);
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decisions, Lists, OwnedLists, point, reference};

    fn bootstrap(decisions: &Decisions, n_brands: usize, n_draws: usize, seed: u64) -> BrandDraws {
        super::bootstrap(&Classified::of(decisions, n_brands), n_draws, seed)
    }

    fn owned(lists: impl IntoIterator<Item = Vec<u32>>) -> OwnedLists {
        let mut owned = OwnedLists::default();
        lists.into_iter().for_each(|list| owned.push(&list));
        owned
    }

    fn of<'a>(labels: &'a OwnedLists, predicted: &'a OwnedLists) -> Decisions<'a> {
        Decisions { labels: labels.as_lists(), predicted: predicted.as_lists() }
    }

    /// Users with labels of `n_brands` brands, and predictions that hit about half of them.
    fn random_users(n_users: usize, n_brands: u32, seed: u64) -> (OwnedLists, OwnedLists) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut predicted = Vec::new();
        let labels = owned((0..n_users).map(|_| {
            let n_labels = rng.random_range(0..6_u32);
            let labels: Vec<u32> = (0..n_labels).map(|_| rng.random_range(0..n_brands)).collect();
            predicted.push(
                labels
                    .iter()
                    .map(|&b| if rng.random() { b } else { rng.random_range(0..n_brands) })
                    .collect(),
            );
            labels
        }));
        (labels, owned(predicted))
    }

    /// One brand that every user has; it is predicted for the first `n_hits` of them.
    fn one_brand(n_users: usize, n_hits: usize) -> (OwnedLists, OwnedLists) {
        (
            owned(vec![vec![0]; n_users]),
            owned((0..n_users).map(|user| if user < n_hits { vec![0] } else { vec![] })),
        )
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn standard_deviation(values: &[f64]) -> f64 {
        let centre = mean(values);
        mean(&values.iter().map(|value| (value - centre).powi(2)).collect::<Vec<_>>()).sqrt()
    }

    #[test]
    fn every_draw_takes_as_many_users_as_there_are() {
        let weights = draw_weights(1000, 32, 5);
        for lane in 0..LANES {
            assert_eq!(weights.iter().map(|user| u32::from(user[lane])).sum::<u32>(), 1000);
            // About 1/e of the users, 368 ± 15, are not drawn.
            let n_absent = weights.iter().filter(|user| user[lane] == 0).count();
            assert!((300..440).contains(&n_absent), "{n_absent}");
        }
    }

    fn of_brand(draws: &BrandDraws, brand: usize) -> &[f32] {
        &draws.f1[brand * draws.n_draws..(brand + 1) * draws.n_draws]
    }

    /// A draw computed the slow way: each user as often as the weights say.
    #[test]
    fn a_draw_is_the_point_of_the_resampled_users() {
        let (labels, predicted) = random_users(50, 8, 1);
        let decisions = of(&labels, &predicted);
        let draws = bootstrap(&decisions, 8, 20, 9);
        for draw in [0, 15, 16, 19] {
            let weights = draw_weights(50, draw / LANES * LANES, 9);
            let drawn = |lists: Lists| {
                let mut copies = Vec::new();
                for (user, list) in lists.iter().enumerate() {
                    let weight = usize::from(weights[user][draw % LANES]);
                    copies.extend(std::iter::repeat_n(list.to_vec(), weight));
                }
                owned(copies)
            };
            let (labels, predicted) = (drawn(decisions.labels), drawn(decisions.predicted));
            let slow = point(&of(&labels, &predicted), 8);
            for (brand, &counts) in slow.brands.iter().enumerate() {
                let expected = f1(counts).map_or(f32::NAN, |f1| f1 as f32);
                assert_eq!(of_brand(&draws, brand)[draw].to_bits(), expected.to_bits());
            }
        }
    }

    /// 400 users, 120 hits. The brand's F1 is 2r / (1 + r) of the recall r = 0.3, whose standard error
    /// is sqrt(0.3 · 0.7 / 400) = 0.0229, so by the delta method its error is 2 / 1.3² times that,
    /// 0.0271.
    #[test]
    fn the_spread_of_the_draws_is_the_standard_error() {
        let (labels, predicted) = one_brand(400, 120);
        let draws = bootstrap(&of(&labels, &predicted), 1, 1000, 3);
        let f1s: Vec<f64> = of_brand(&draws, 0).iter().map(|&f1| f64::from(f1)).collect();
        let expected = (0.3_f64 * 0.7 / 400.0).sqrt() * 2.0 / 1.3_f64.powi(2);
        // 1,000 draws know a standard deviation to 1 / sqrt(2000) = 2.2 %.
        assert!((standard_deviation(&f1s) / expected - 1.0).abs() < 0.08);
        let (low, high) = percentile_interval(&f1s, 0.95).unwrap();
        let f1 = 0.6 / 1.3;
        assert!((low - (f1 - 1.96 * expected)).abs() < 0.006, "{low}");
        assert!((high - (f1 + 1.96 * expected)).abs() < 0.006, "{high}");
    }

    #[test]
    fn the_difference_of_identical_decisions_is_exactly_zero() {
        let (labels, predicted) = random_users(80, 10, 2);
        let decisions = of(&labels, &predicted);
        let (a, b) = (bootstrap(&decisions, 10, 100, 4), bootstrap(&decisions, 10, 100, 4));
        let other_seed = bootstrap(&decisions, 10, 100, 5);
        for brand in 0..10 {
            assert!(a.changes_of(brand, &b).iter().all(|&change| change == 0.0));
            assert!(standard_deviation(&a.changes_of(brand, &other_seed)) > 0.01);
        }
    }

    #[test]
    fn the_draws_are_the_same_for_any_number_of_threads() {
        let (labels, predicted) = random_users(120, 12, 7);
        let decisions = of(&labels, &predicted);
        let draw = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            let draws = pool.install(|| bootstrap(&decisions, 12, 100, 8));
            draws.f1.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(2));
    }

    #[test]
    fn brands_that_reach_an_f1_are_counted_draw_by_draw() {
        let (labels, predicted) = random_users(50, 8, 1);
        let draws = bootstrap(&of(&labels, &predicted), 8, 20, 9);
        for low in [0.3, 0.7] {
            let counted = draws.n_reaching(low);
            let reaches = |brand: &usize, draw: usize| of_brand(&draws, *brand)[draw] >= low as f32;
            for (draw, &n) in counted.iter().enumerate() {
                assert_eq!(n, (0..8).filter(|brand| reaches(brand, draw)).count() as f64);
            }
            assert!(counted.iter().any(|&n| n != counted[0]));
        }
    }

    /// Of 200 users, one has brand 0 and fifty have brand 1; the second experiment finds them
    /// all, the first none. One user is in 63 % of the draws, fifty in all.
    #[test]
    fn a_brand_of_one_user_shows_no_clear_change() {
        let has = |user: usize| match user {
            0 => vec![0],
            1..=50 => vec![1],
            _ => vec![],
        };
        let labels = owned((0..200).map(has));
        let nothing = owned(vec![vec![]; 200]);
        let draw = |predicted: &OwnedLists| bootstrap(&of(&labels, predicted), 3, 400, 2);
        let (found, missed) = (draw(&labels), draw(&nothing));
        assert_eq!(percentile_interval(&found.changes_of(0, &missed), 0.95), Some((0.0, 1.0)));
        assert_eq!(percentile_interval(&found.changes_of(1, &missed), 0.95), Some((1.0, 1.0)));
        assert_eq!(
            percentile_interval(&found.changes_of(2, &missed), 0.95),
            Some((0.0, 0.0)),
            "nobody has brand 2"
        );
        assert_eq!(percentile_interval(&missed.changes_of(1, &found), 0.95), Some((-1.0, -1.0)));
    }

    #[test]
    fn a_longer_bootstrap_begins_with_the_same_draws() {
        let (labels, predicted) = random_users(60, 5, 3);
        let decisions = of(&labels, &predicted);
        let (short, long) = (bootstrap(&decisions, 5, 21, 1), bootstrap(&decisions, 5, 50, 1));
        assert_eq!(of_brand(&short, 2), &of_brand(&long, 2)[..21]);
        assert_ne!(of_brand(&long, 2)[0].to_bits(), of_brand(&long, 2)[1].to_bits());
    }

    #[test]
    fn without_users_nothing_is_defined() {
        let empty = owned([]);
        let draws = bootstrap(&of(&empty, &empty), 3, 10, 1);
        assert!(draws.f1.len() == 30 && draws.f1.iter().all(|f1| f1.is_nan()));
        assert_eq!(percentile_interval(&[f64::NAN, 2.0], 0.95), Some((2.0, 2.0)));
        assert_eq!(percentile_interval(&[1.0], 1.0), None);
        assert_eq!(percentile_interval(&[f64::NAN], 0.95), None);
    }

    /// `numpy.percentile` of the square roots of 0 to 49.
    #[test]
    fn percentiles_agree_with_numpy() {
        let values: Vec<f64> = (0..50).rev().map(|i| f64::from(i).sqrt()).collect();
        let (low, high) = percentile_interval(&values, 0.95).unwrap();
        assert!((low - reference::value("percentile_2.5")).abs() < 1e-12);
        assert!((high - reference::value("percentile_97.5")).abs() < 1e-12);
    }
}

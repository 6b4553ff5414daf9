//! How much a metric would change with other users: the paired bootstrap.
//!
//! Each draw resamples the evaluated users, n of n with replacement. Which users a draw takes
//! depends on the seed, the draw and n alone, so two experiments on the same users see the
//! same draws and their difference can be judged draw by draw.

use crate::counts::{Counts, f1, mean_defined};
use crate::lists::Lists;
use rand::{Rng, RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use std::array;

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

/// A metric in each draw, `(n_draws,)`; NaN where it is undefined in a draw.
#[derive(Clone, Debug, Default)]
pub struct Draws {
    /// Mean of brand F1, over the brands where it is defined in the draw.
    pub macro_f1: Vec<f64>,
    /// Mean of user F1, over the drawn users with at least one label.
    pub user_f1: Vec<f64>,
    /// F1 of the counts summed over brands.
    pub micro_f1: Vec<f64>,
    /// F1 of every brand in the first draws.
    pub brands: BrandDraws,
}

/// F1 of every brand in each of the first [`MAX_BRAND_DRAWS`] draws.
#[derive(Clone, Debug, Default)]
pub struct BrandDraws {
    n_draws: usize,
    /// `(n_brands, n_draws)`, NaN where undefined.
    f1: Vec<f32>,
}

/// The F1 of every brand is kept for this many draws at most: 12 MB for 3,000 brands.
pub const MAX_BRAND_DRAWS: usize = 1000;

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

    /// Mean F1 of some brands in each draw, over those where it is defined; NaN if none is.
    pub fn mean(&self, brands: impl Iterator<Item = usize>) -> Vec<f64> {
        let mut sums = vec![(0.0, 0_u32); self.n_draws];
        for brand in brands {
            let of_brand = &self.f1[brand * self.n_draws..(brand + 1) * self.n_draws];
            for ((sum, n), &f1) in sums.iter_mut().zip(of_brand) {
                if !f1.is_nan() {
                    *sum += f64::from(f1);
                    *n += 1;
                }
            }
        }
        sums.into_iter().map(|(sum, n)| sum / f64::from(n)).collect() // 0 / 0 is NaN
    }

    /// Joins the blocks of draws, brand by brand.
    fn of_blocks(blocks: &[Block], n_brands: usize, n_draws: usize) -> Self {
        let n_draws = n_draws.min(MAX_BRAND_DRAWS);
        let mut f1 = Vec::with_capacity(n_brands * n_draws);
        for brand in 0..n_brands {
            f1.extend(blocks.iter().filter_map(|b| b.brand_f1.get(brand)).flatten().take(n_draws));
        }
        Self { n_draws, f1 }
    }
}

/// The counts and the mean that the draws vary.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// `(n_brands,)`, decisions counted over all users.
    pub brands: Vec<Counts>,
    /// Mean over users with at least one label of `2·tp / (n_predicted + n_labels)`; `None` if
    /// no user has a label.
    pub user_f1: Option<f64>,
}

/// Draws computed together: a user-brand cell is looked up once for all of them, and a
/// counter's lanes fill one cache line.
const LANES: usize = 16;

/// One number for each draw of a block.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Lanes([u32; LANES]);

/// Metrics of users drawn with replacement, many times.
///
/// * `decisions`: truth and predictions of the evaluated users.
/// * `n_brands`: all brand positions are below it.
/// * `n_draws`: 1,000 for a 95 % interval.
/// * `seed`: draws of equal seed, draw number and number of users take the same users.
///
/// Returns one value per draw; all NaN without users.
///
/// # Panics
///
/// If the two lists differ in length, or a brand position is not below `n_brands`.
pub fn bootstrap(decisions: &Decisions, n_brands: usize, n_draws: usize, seed: u64) -> Draws {
    let users = Users::classify(decisions, n_brands);
    let blocks: Vec<Block> = (0..n_draws.div_ceil(LANES))
        .into_par_iter()
        .map(|block| draw_block(&users, n_brands, block * LANES, seed))
        .collect();
    let column = |metric: fn(&Block) -> &[f64; LANES]| -> Vec<f64> {
        blocks.iter().flat_map(|block| *metric(block)).take(n_draws).collect()
    };
    Draws {
        macro_f1: column(|block| &block.macro_f1),
        user_f1: column(|block| &block.user_f1),
        micro_f1: column(|block| &block.micro_f1),
        brands: BrandDraws::of_blocks(&blocks, n_brands, n_draws),
    }
}

/// Counts per brand and mean user F1, every user once.
///
/// Arguments and panics as in [`bootstrap()`].
pub fn point(decisions: &Decisions, n_brands: usize) -> Point {
    let users = Users::classify(decisions, n_brands);
    let mut brands = vec![Counts::default(); n_brands];
    for &cell in &users.cells {
        let counts = &mut brands[cell as usize / 3];
        match cell % 3 {
            TP => counts.tp += 1,
            FP => counts.fp += 1,
            _ => counts.fn_ += 1,
        }
    }
    Point { brands, user_f1: mean_defined(users.f1.iter().copied()) }
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

const TP: u32 = 0;
const FP: u32 = 1;
const FN: u32 = 2;

/// The decisions, sorted once into hits and the two kinds of error, for all draws.
struct Users {
    /// `(n_users + 1,)`, positions in `cells`.
    offsets: Vec<usize>,
    /// `3 · brand_idx + kind`: the counters that a user adds to.
    cells: Vec<u32>,
    /// `(n_users,)`, `None` for users without a label.
    f1: Vec<Option<f64>>,
}

impl Users {
    fn classify(decisions: &Decisions, n_brands: usize) -> Users {
        let n_users = decisions.labels.len();
        assert_eq!(n_users, decisions.predicted.len(), "labels and predictions of the same users");
        assert!(n_brands <= (u32::MAX / 3) as usize, "brand positions are u32");
        let n_cells = decisions.labels.values.len() + decisions.predicted.values.len();
        let mut users = Users {
            offsets: Vec::with_capacity(n_users + 1),
            cells: Vec::with_capacity(n_cells),
            f1: Vec::with_capacity(n_users),
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

/// The metrics of `LANES` draws.
#[expect(clippy::struct_field_names, reason = "the names of the metrics")]
struct Block {
    macro_f1: [f64; LANES],
    user_f1: [f64; LANES],
    micro_f1: [f64; LANES],
    /// `(n_brands,)`, or empty after the first [`MAX_BRAND_DRAWS`] draws.
    brand_f1: Vec<[f32; LANES]>,
}

/// Metrics of the draws from `first_draw` on.
fn draw_block(users: &Users, n_brands: usize, first_draw: usize, seed: u64) -> Block {
    let weights = draw_weights(users.f1.len(), first_draw, seed);
    let mut counters = vec![Lanes([0; LANES]); 3 * n_brands];
    let (mut f1_sum, mut n_labelled) = ([0.0; LANES], [0_u32; LANES]);
    for ((weights, &user_f1), range) in weights.iter().zip(&users.f1).zip(users.offsets.windows(2))
    {
        let weights = Lanes(weights.map(u32::from));
        for &cell in &users.cells[range[0]..range[1]] {
            // A counter holds at most the weights of a draw, n_users, so it cannot overflow; a
            // checked addition would not be vectorised.
            add(&mut counters[cell as usize].0, &weights.0);
        }
        if let Some(user_f1) = user_f1 {
            add(&mut n_labelled, &weights.0);
            for (sum, &weight) in f1_sum.iter_mut().zip(&weights.0) {
                *sum += f64::from(weight as i32) * user_f1; // from i32: one instruction
            }
        }
    }
    summarise(&counters, f1_sum, n_labelled, first_draw < MAX_BRAND_DRAWS)
}

fn add(lanes: &mut [u32; LANES], weights: &[u32; LANES]) {
    for (lane, &weight) in lanes.iter_mut().zip(weights) {
        *lane = lane.wrapping_add(weight);
    }
}

/// Counters of a block to metrics, brand by brand.
fn summarise(
    counters: &[Lanes],
    f1_sum: [f64; LANES],
    n_labelled: [u32; LANES],
    keeps_brands: bool,
) -> Block {
    let mut brand_f1 = Vec::with_capacity(if keeps_brands { counters.len() / 3 } else { 0 });
    let mut total = [Counts::default(); LANES];
    let (mut brand_f1_sum, mut n_defined) = ([0.0; LANES], [0_u32; LANES]);
    for brand in counters.chunks_exact(3) {
        let mut of_brand = [f32::NAN; LANES];
        for lane in 0..LANES {
            let [tp, fp, fn_] = [TP, FP, FN].map(|kind| u64::from(brand[kind as usize].0[lane]));
            let counts = Counts { tp, fp, fn_ };
            total[lane] += counts;
            if let Some(f1) = f1(counts) {
                brand_f1_sum[lane] += f1;
                n_defined[lane] += 1;
                of_brand[lane] = f1 as f32;
            }
        }
        if keeps_brands {
            brand_f1.push(of_brand);
        }
    }
    // 0 / 0 is NaN: undefined in this draw.
    Block {
        macro_f1: array::from_fn(|lane| brand_f1_sum[lane] / f64::from(n_defined[lane])),
        user_f1: array::from_fn(|lane| f1_sum[lane] / f64::from(n_labelled[lane])),
        micro_f1: total.map(|counts| f1(counts).unwrap_or(f64::NAN)),
        brand_f1,
    }
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
    use crate::{OwnedLists, macro_f1, precision, recall, reference, sum};

    /// The central interval of `a - b`, draw by draw.
    fn paired_interval(a: &[f64], b: &[f64], level: f64) -> Option<(f64, f64)> {
        assert_eq!(a.len(), b.len(), "paired draws have equal numbers");
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        percentile_interval(&differences, level)
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
    fn every_draw_takes_as_many_users_as_there_are() {
        let weights = draw_weights(1000, 32, 5);
        for lane in 0..LANES {
            assert_eq!(weights.iter().map(|user| u32::from(user[lane])).sum::<u32>(), 1000);
            // About 1/e of the users, 368 ± 15, are not drawn.
            let n_absent = weights.iter().filter(|user| user[lane] == 0).count();
            assert!((300..440).contains(&n_absent), "{n_absent}");
        }
    }

    /// A draw computed the slow way: each user as often as the weights say.
    #[test]
    fn a_draw_is_the_point_of_the_resampled_users() {
        let (labels, predicted) = random_users(50, 8, 1);
        let decisions = of(&labels, &predicted);
        let draws = bootstrap(&decisions, 8, 20, 9);
        assert_eq!(draws.macro_f1.len(), 20);
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
            for (fast, slow) in [
                (draws.macro_f1[draw], macro_f1(&slow.brands)),
                (draws.micro_f1[draw], f1(sum(&slow.brands))),
                (draws.user_f1[draw], slow.user_f1),
            ] {
                assert!((fast - slow.unwrap()).abs() < 1e-12);
            }
        }
    }

    /// 400 users, 120 hits. User F1 is the mean of 0 and 1 with standard error
    /// sqrt(0.3 · 0.7 / 400) = 0.0229. The brand's F1 is 2r / (1 + r) of the recall r = 0.3, so
    /// by the delta method its error is 2 / 1.3² times that, 0.0271.
    #[test]
    fn the_spread_of_the_draws_is_the_standard_error() {
        let (labels, predicted) = one_brand(400, 120);
        let decisions = of(&labels, &predicted);
        let draws = bootstrap(&decisions, 1, 4000, 3);
        let error = (0.3_f64 * 0.7 / 400.0).sqrt();
        // 4,000 draws know a standard deviation to 1 / sqrt(8000) = 1.1 %, the mean to 0.0004.
        assert!((mean(&draws.user_f1) - 0.3).abs() < 0.002);
        assert!((standard_deviation(&draws.user_f1) / error - 1.0).abs() < 0.05);
        let expected = error * 2.0 / 1.3_f64.powi(2);
        assert!((standard_deviation(&draws.macro_f1) / expected - 1.0).abs() < 0.06);

        let (low, high) = percentile_interval(&draws.user_f1, 0.95).unwrap();
        assert!((low - (0.3 - 1.96 * error)).abs() < 0.004, "{low}");
        assert!((high - (0.3 + 1.96 * error)).abs() < 0.004, "{high}");
    }

    /// 300 worlds of 200 users with a true hit rate of 0.4: the 95 % interval misses in about
    /// 15 of them, with a standard deviation of 3.8 and a little more for the bootstrap's bias.
    #[test]
    fn the_interval_covers_the_truth_as_often_as_it_says() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        let n_covered = (0..300)
            .filter(|&world| {
                let n_hits = (0..200).filter(|_| rng.random_bool(0.4)).count();
                let (labels, predicted) = one_brand(200, n_hits);
                let decisions = of(&labels, &predicted);
                let draws = bootstrap(&decisions, 1, 400, world);
                let (low, high) = percentile_interval(&draws.user_f1, 0.95).unwrap();
                low <= 0.4 && 0.4 <= high
            })
            .count();
        assert!((268..=296).contains(&n_covered), "{n_covered} of 300");
    }

    #[test]
    fn the_difference_of_identical_decisions_is_exactly_zero() {
        let (labels, predicted) = random_users(80, 10, 2);
        let decisions = of(&labels, &predicted);
        let (a, b) = (bootstrap(&decisions, 10, 100, 4), bootstrap(&decisions, 10, 100, 4));
        assert!(standard_deviation(&a.macro_f1) > 0.01);
        assert_eq!(paired_interval(&a.macro_f1, &b.macro_f1, 0.95), Some((0.0, 0.0)));
        assert_eq!(paired_interval(&a.user_f1, &b.user_f1, 0.95), Some((0.0, 0.0)));
        let other_seed = bootstrap(&decisions, 10, 100, 5);
        let (low, high) = paired_interval(&a.macro_f1, &other_seed.macro_f1, 0.95).unwrap();
        assert!(low < -0.01 && high > 0.01);
    }

    /// The second experiment misses 4 of 120 hits: its mean is 0.01 lower. Unpaired, the error
    /// of the difference would be sqrt(2) · 0.0229 = 0.032; paired it is sqrt(0.01 / 400), 0.005.
    #[test]
    fn pairing_makes_a_small_change_visible() {
        let draws = [120, 116].map(|n_hits| {
            let (labels, predicted) = one_brand(400, n_hits);
            let decisions = of(&labels, &predicted);
            bootstrap(&decisions, 1, 2000, 6).user_f1
        });
        let (low, high) = paired_interval(&draws[0], &draws[1], 0.95).unwrap();
        assert!(low > 0.0 && low < 0.01, "{low}");
        assert!(high > 0.01 && high < 0.03, "{high}");
    }

    #[test]
    fn the_draws_are_the_same_for_any_number_of_threads() {
        let (labels, predicted) = random_users(120, 12, 7);
        let decisions = of(&labels, &predicted);
        let draw = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            let draws = pool.install(|| bootstrap(&decisions, 12, 100, 8));
            [draws.macro_f1, draws.user_f1, draws.micro_f1]
                .map(|values| values.into_iter().map(f64::to_bits).collect::<Vec<_>>())
        };
        assert_eq!(draw(1), draw(2));
    }

    #[test]
    fn the_mean_of_all_brands_is_the_macro_f1_of_the_draw() {
        let (labels, predicted) = random_users(50, 8, 1);
        let decisions = of(&labels, &predicted);
        let draws = bootstrap(&decisions, 8, 20, 9);
        let means = draws.brands.mean(0..8);
        assert_eq!(means.len(), 20);
        for (mean, macro_f1) in means.iter().zip(&draws.macro_f1) {
            assert!((mean - macro_f1).abs() < 1e-6, "{mean} {macro_f1}");
        }
        assert!(draws.brands.mean(0..0).iter().all(|mean| mean.is_nan()));
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
        let draw = |predicted: &OwnedLists| bootstrap(&of(&labels, predicted), 3, 400, 2).brands;
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
        assert_eq!(short.macro_f1, long.macro_f1[..21]);
        assert_ne!(long.macro_f1[0].to_bits(), long.macro_f1[1].to_bits());
    }

    #[test]
    fn an_undefined_metric_of_a_draw_is_nan_and_left_out() {
        let empty = owned([]);
        let decisions = of(&empty, &empty);
        let draws = bootstrap(&decisions, 3, 10, 1);
        assert_eq!(draws.macro_f1.len(), 10);
        assert!(draws.macro_f1.iter().chain(&draws.user_f1).all(|value| value.is_nan()));
        assert_eq!(percentile_interval(&draws.micro_f1, 0.95), None);
        assert_eq!(point(&decisions, 3).user_f1, None);
        assert_eq!(percentile_interval(&[f64::NAN, 2.0], 0.95), Some((2.0, 2.0)));
        assert_eq!(percentile_interval(&[1.0], 1.0), None);
    }

    /// `numpy.percentile` of the square roots of 0 to 49.
    #[test]
    fn percentiles_agree_with_numpy() {
        let values: Vec<f64> = (0..50).rev().map(|i| f64::from(i).sqrt()).collect();
        let (low, high) = percentile_interval(&values, 0.95).unwrap();
        assert!((low - reference::value("percentile_2.5")).abs() < 1e-12);
        assert!((high - reference::value("percentile_97.5")).abs() < 1e-12);
    }

    #[test]
    #[should_panic(expected = "brand 3 of 3")]
    fn a_brand_out_of_range_is_refused() {
        let lists = owned([vec![3]]);
        point(&of(&lists, &lists), 3);
    }
}

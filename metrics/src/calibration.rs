//! Logits to probabilities: Platt scaling, one slope and intercept per brand.
//!
//! A rare brand has too few positives for a curve of its own, so each brand's curve is
//! pulled towards the one fitted on all brands together ([`fit_pooled`]), the more so the
//! fewer positives it has ([`fit_ridge`]).

use crate::bins::Bin;
use crate::histogram::{BrandHistogram, Histogram, pooled};
use crate::logistic::{LogLikelihood, information, log_likelihood};
use rayon::prelude::*;

/// Default `strength` of [`fit`], in expected positives of the brand.
///
/// A brand with this many expected positives lies half-way between its own maximum-likelihood
/// curve and the pooled one; with 2 it has moved about a tenth of the way.
///
/// Chosen by log-likelihood on held-out validation rows of Delicious (983 brands, one seed),
/// where the optimum is flat: 15 to 20 for a network trained too long, 40 to 100 for one
/// stopped early, whether fitted on 300 users or 1,250. Macro F1 at the plug-in thresholds
/// does not tell strengths above 4 apart.
pub const DEFAULT_STRENGTH: f64 = 20.0;

/// Smallest slope a fit returns: a higher logit must always mean a higher probability, even
/// for a brand whose few positives happen to have low logits.
pub const SLOPE_MIN: f64 = 0.05;

/// Largest slope a fit returns. Where positives and negatives are separated there is no
/// finite best slope; at 20 the probability rises from 0.01 to 0.99 within half a logit.
pub const SLOPE_MAX: f64 = 20.0;

/// The strongest pull that is learned; no brand has enough users to leave the common curve then.
const MAX_PULL: f64 = 1e9;

/// A curve from logits to probabilities, `sigmoid(slope · logit + intercept)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Platt {
    /// Factor on the logit, positive: the curve never falls.
    pub slope: f64,
    /// Added after the factor, in logits.
    pub intercept: f64,
}

impl Platt {
    /// The curve of log-odds equal to the logits.
    pub const IDENTITY: Platt = Platt { slope: 1.0, intercept: 0.0 };

    /// Calibrated probability of a logit, in `[0, 1]`.
    pub fn prob(self, logit: f64) -> f64 {
        sigmoid(self.slope * logit + self.intercept)
    }

    /// The logit that has this probability: the inverse of [`Platt::prob`].
    ///
    /// Returns minus infinity for 0, infinity for 1, and NaN outside `[0, 1]`.
    pub fn logit_of(self, prob: f64) -> f64 {
        // ln p - ln(1 - p), exact to the last digits for the small p of rare brands.
        (prob.ln() - (-prob).ln_1p() - self.intercept) / self.slope
    }
}

/// One curve per brand, each pulled towards the pooled curve, in parallel over brands.
///
/// * `histogram`: logits of users who were not trained on.
/// * `strength`: see [`fit_ridge`]; usually [`DEFAULT_STRENGTH`].
///
/// Returns `(n_brands,)`. A brand without users has the pooled curve.
pub fn fit(histogram: &Histogram, strength: f64) -> Vec<Platt> {
    let pooled = fit_pooled(histogram);
    (0..histogram.n_brands())
        .into_par_iter()
        .map(|brand_idx| fit_ridge(histogram.brand(brand_idx), pooled, strength))
        .collect()
}

/// One curve per brand, pulled towards that of its band, which is pulled towards that of all brands:
/// rare brands are calibrated like rare brands.
///
/// * `histogram`: logits of users who were not trained on.
/// * `bands`: `(n_brands,)`, the band of each brand, from 0; brands that are alike share one.
///
/// Returns `(n_brands,)`. A brand without users has the curve of its band. How strongly a band pulls
/// is learned from how much its brands differ.
///
/// # Panics
///
/// If `bands` has another length than the histogram has brands.
pub fn fit_in_bands(histogram: &Histogram, bands: &[usize]) -> Vec<Platt> {
    assert_eq!(bands.len(), histogram.n_brands(), "one band per brand");
    let n_bands = bands.iter().max().map_or(0, |band| band + 1);
    let members = |band| {
        let is_member = |&brand_idx: &usize| bands[brand_idx] == band;
        (0..bands.len()).filter(is_member).collect::<Vec<_>>()
    };
    let members: Vec<Vec<usize>> = (0..n_bands).map(members).collect();
    let bins: Vec<Vec<Bin>> =
        members.iter().map(|members| histogram.pooled_over(members)).collect();
    let pooled = fit_alone(&pooled(bins.par_iter().map(Vec::as_slice)));
    let of_band = |(bins, members): (&Vec<Bin>, Vec<usize>)| {
        let curve = fit_ridge(BrandHistogram { bins }, pooled, DEFAULT_STRENGTH);
        let brands = members.into_par_iter().map(|brand_idx| histogram.brand(brand_idx));
        (curve, Pull::learned(brands, curve))
    };
    let of_bands: Vec<(Platt, Pull)> = bins.iter().zip(members).map(of_band).collect();
    let of_brand = |(brand_idx, &band): (usize, &usize)| {
        let (curve, pull) = of_bands[band];
        fit_pulled(histogram.brand(brand_idx), curve, |_| pull)
    };
    bands.par_iter().enumerate().map(of_brand).collect()
}

/// Weights of the squared distances from a curve, halved: the inverse variances of a normal prior.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pull {
    on_slope: f64,
    on_level: f64,
}

impl Pull {
    /// A prior whose variances are learned from how much brands differ (empirical Bayes).
    ///
    /// * `brands`: alike, and independent of each other.
    /// * `curve`: their common curve, from which their own differ.
    ///
    /// At the common curve, a brand whose level differs from it by a deviation of variance `v` has a
    /// score (gradient of the log-likelihood) of variance `I + I²·v`, `I` being its information. So
    /// `v` is estimated by the sum of `score² - I` over that of `I²`; likewise for slopes. Where
    /// chance alone explains the differences, the pull is [`MAX_PULL`].
    fn learned<'a>(brands: impl ParallelIterator<Item = BrandHistogram<'a>>, curve: Platt) -> Self {
        let moments = |brand: BrandHistogram| {
            let Some((cells, centre, _)) = Cells::about(brand, curve) else { return [0.0; 4] };
            let prior = curve.about(centre);
            let at = cells.evaluate(prior, Ridge { prior, on_slope: 0.0, on_level: 0.0 });
            let [slope, level] = [at.slope_slope, at.level_level];
            [at.by_slope.powi(2) - slope, slope.powi(2), at.by_level.powi(2) - level, level.powi(2)]
        };
        // Summed in order, so that the sums are the same for any number of threads.
        let moments: Vec<[f64; 4]> = brands.map(moments).collect();
        let sum = |i: usize| moments.iter().map(|of_brand| of_brand[i]).sum::<f64>();
        let pull = |excess: f64, information: f64| {
            let inverse = information / excess.max(0.0);
            if inverse.is_nan() { MAX_PULL } else { inverse.min(MAX_PULL) }
        };
        Self { on_slope: pull(sum(0), sum(1)), on_level: pull(sum(2), sum(3)) }
    }
}

/// The curve of highest likelihood for all (user, brand) cells together.
///
/// Every cell counts alike, at the logit of its bin, so brands with many labels decide. The
/// slope lies in [[`SLOPE_MIN`], [`SLOPE_MAX`]]. Returns [`Platt::IDENTITY`] if there is no
/// positive or no negative, where no finite intercept is best.
///
/// # Source
///
/// Platt 1999 without his smoothed targets: an unpenalised logistic regression on the logit.
pub fn fit_pooled(histogram: &Histogram) -> Platt {
    let all: Vec<usize> = (0..histogram.n_brands()).collect();
    fit_alone(&histogram.pooled_over(&all))
}

/// As [`fit_pooled`].
///
/// * `bins`: of all cells.
fn fit_alone(bins: &[Bin]) -> Platt {
    let brand = BrandHistogram { bins };
    if brand.support() == 0 || brand.support() == brand.n_users() {
        return Platt::IDENTITY;
    }
    let cells = Cells::new(brand);
    let centre = cells.mean_logit();
    let prior = Line { slope: 1.0, level: centre };
    cells.centred(centre).maximise(Ridge { prior, on_slope: 0.0, on_level: 0.0 }).platt(centre)
}

/// A brand's curve, pulled towards the pooled one.
///
/// * `brand`: the brand's logits by bin, of users who were not trained on.
/// * `pooled`: the curve to pull towards.
/// * `strength`: weight of the pull, in expected positives of the brand; 0 is none.
///
/// Returns the curve that maximises log-likelihood (nats, users at the logits of their bins) minus
/// `strength / 2 · ((level - level₀)² + spread² · (slope - slope₀)²)`, with the slope kept in
/// [[`SLOPE_MIN`], [`SLOPE_MAX`]]. Returns `pooled` for a brand without users.
///
/// Slope and intercept cannot be pulled apart from each other: at the logits near -7 where a
/// rare brand lives, a slope 0.1 higher is an intercept 0.7 lower. So the curve is written
/// about a centre, `slope · (logit - centre) + level`, and the pull is on slope and level:
///
/// * `centre` is the mean logit with weights `p·(1 - p)`, `p` by the pooled curve: for a rare
///   brand, where its positives are expected. There slope and level are uncorrelated (the
///   Fisher information is diagonal).
/// * `spread²` is the variance of the logit under the same weights, at least 1, so that one
///   `strength` means the same for both: a brand with `n = Σ p·(1 - p)` expected positives
///   moves about `n / (n + strength)` of the way to its own best curve, in slope (less where
///   the spread is below 1) and in level.
///
/// Centre and spread depend on the logits alone, never on the labels.
pub fn fit_ridge(brand: BrandHistogram, pooled: Platt, strength: f64) -> Platt {
    fit_pulled(brand, pooled, |variance| Pull {
        on_slope: strength * variance.max(1.0),
        on_level: strength,
    })
}

/// As [`fit_ridge`], with a pull of its own on slope and level.
///
/// * `pull`: from the variance of the logit about the centre.
fn fit_pulled(brand: BrandHistogram, common: Platt, pull: impl Fn(f64) -> Pull) -> Platt {
    let Some((cells, centre, variance)) = Cells::about(brand, common) else { return common };
    let line = common.about(centre);
    let prior = Line { slope: common.slope.clamp(SLOPE_MIN, SLOPE_MAX), ..line };
    let Pull { on_slope, on_level } = pull(variance);
    cells.maximise(Ridge { prior, on_slope, on_level }).platt(centre)
}

/// The bins of a brand.
struct Cells {
    logits: Vec<f64>,
    positives: Vec<f64>,
    users: Vec<f64>,
}

/// Log-odds `slope · offset + level`, the offset being the logit minus a centre.
#[derive(Clone, Copy)]
struct Line {
    slope: f64,
    level: f64,
}

/// A line to stay close to, and the weights of the squared distances, halved.
#[derive(Clone, Copy)]
struct Ridge {
    prior: Line,
    on_slope: f64,
    on_level: f64,
}

impl Line {
    fn platt(self, centre: f64) -> Platt {
        Platt { slope: self.slope, intercept: self.level - self.slope * centre }
    }
}

impl Platt {
    /// The same line, its level that at a logit.
    fn about(self, centre: f64) -> Line {
        Line { slope: self.slope, level: self.slope * centre + self.intercept }
    }
}

impl Cells {
    /// A brand's bins about the centre of [`fit_ridge`], with that centre and the variance of the
    /// logit about it; `None` without users.
    fn about(brand: BrandHistogram, common: Platt) -> Option<(Cells, f64, f64)> {
        let cells = Cells::new(brand);
        if cells.logits.is_empty() {
            return None;
        }
        let weights = information(&cells.logits, &cells.users, [common.slope, common.intercept]);
        let total: f64 = weights.iter().sum();
        let mean = |value: &dyn Fn(f64) -> f64| {
            let of_cell = |(&logit, weight): (&f64, &f64)| weight * value(logit);
            cells.logits.iter().zip(&weights).map(of_cell).sum::<f64>() / total
        };
        let centre = mean(&|logit| logit);
        let variance = mean(&|logit| (logit - centre).powi(2));
        Some((cells.centred(centre), centre, variance))
    }

    fn new(brand: BrandHistogram) -> Cells {
        Cells {
            logits: brand.bins.iter().map(Bin::logit).collect(),
            positives: brand.bins.iter().map(|bin| bin.positives as f64).collect(),
            users: brand.bins.iter().map(|bin| bin.users() as f64).collect(),
        }
    }

    fn mean_logit(&self) -> f64 {
        let sum: f64 =
            self.logits.iter().zip(&self.users).map(|(logit, users)| logit * users).sum();
        sum / self.users.iter().sum::<f64>()
    }

    fn centred(mut self, centre: f64) -> Cells {
        for logit in &mut self.logits {
            *logit -= centre;
        }
        self
    }

    /// Newton's method from the ridge's prior, with steps halved until they gain.
    ///
    /// The objective is concave. Its slope is kept in the box: a slope at a bound that wants
    /// to leave is held there while the level moves alone.
    fn maximise(&self, ridge: Ridge) -> Line {
        /// Newton doubles the digits a step; a separated brand walks to the bound in about 20.
        const MAX_STEPS: usize = 100;
        const MAX_HALVINGS: usize = 40;
        /// In logits; far below the distance between users.
        const TOLERANCE: f64 = 1e-10;

        let mut line = ridge.prior;
        let mut here = self.evaluate(line, ridge);
        for _ in 0..MAX_STEPS {
            let is_held = (line.slope <= SLOPE_MIN && here.by_slope <= 0.0)
                || (line.slope >= SLOPE_MAX && here.by_slope >= 0.0);
            let (slope_step, level_step) = newton_step(&here, is_held);
            let mut size = 1.0;
            let next = (0..MAX_HALVINGS).find_map(|_| {
                let line = Line {
                    slope: (line.slope + size * slope_step).clamp(SLOPE_MIN, SLOPE_MAX),
                    level: line.level + size * level_step,
                };
                size *= 0.5;
                let there = self.evaluate(line, ridge);
                (there.value >= here.value).then_some((line, there))
            });
            // No gain at any step: the value is flat to the last digit.
            let Some((next_line, next_here)) = next else { break };
            let moved = (next_line.slope - line.slope).abs() + (next_line.level - line.level).abs();
            (line, here) = (next_line, next_here);
            if moved < TOLERANCE {
                break;
            }
        }
        line
    }

    /// The objective at a line, and its derivatives.
    fn evaluate(&self, line: Line, ridge: Ridge) -> LogLikelihood {
        let slope_off = line.slope - ridge.prior.slope;
        let level_off = line.level - ridge.prior.level;
        let distance = ridge.on_slope * slope_off.powi(2) + ridge.on_level * level_off.powi(2);
        let at = [line.slope, line.level];
        let data = log_likelihood(&self.logits, &self.positives, &self.users, at);
        LogLikelihood {
            value: data.value - 0.5 * distance,
            by_slope: data.by_slope - ridge.on_slope * slope_off,
            by_level: data.by_level - ridge.on_level * level_off,
            slope_slope: data.slope_slope + ridge.on_slope,
            slope_level: data.slope_level,
            level_level: data.level_level + ridge.on_level,
        }
    }
}

/// Solves the Newton equations for the (slope, level) step.
fn newton_step(at: &LogLikelihood, is_slope_held: bool) -> (f64, f64) {
    /// Keeps the equations solvable where the logits do not vary or all p are 0 or 1.
    const DAMPING: f64 = 1e-9;

    let slope_slope = at.slope_slope + DAMPING;
    let level_level = at.level_level + DAMPING;
    if is_slope_held {
        return (0.0, at.by_level / level_level);
    }
    let determinant = slope_slope * level_level - at.slope_level * at.slope_level;
    (
        (level_level * at.by_slope - at.slope_level * at.by_level) / determinant,
        (slope_slope * at.by_level - at.slope_level * at.by_slope) / determinant,
    )
}

/// Logistic function, from log-odds to a probability; the exponential may overflow to infinity, which
/// gives the right 0.
pub fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::one_brand;
    use crate::reference;

    /// Logits of a rare brand: 10,000 users, few of them near 0, most near -7.
    fn rare(positives: &[f32]) -> Histogram {
        let users = [(-8.0, 5000), (-7.0, 3000), (-6.0, 1500), (-4.0, 400), (-2.0, 90), (0.0, 10)];
        let cells = users.map(|(logit, n)| {
            let n_positives =
                positives.iter().filter(|&&positive| positive == logit).count() as u64;
            (logit, n_positives, n - n_positives)
        });
        one_brand(&cells)
    }

    #[test]
    fn prob_and_logit_of_are_inverse() {
        let platt = Platt { slope: 0.5, intercept: 1.0 };
        assert!((platt.prob(-2.0) - 0.5).abs() < 1e-15); // 0.5 · -2 + 1 = 0
        assert!((platt.prob(0.0) - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-15); // 0.731
        for logit in [-40.0, -7.0, 0.0, 3.0] {
            assert!((platt.logit_of(platt.prob(logit)) - logit).abs() < 1e-9);
        }
        assert_eq!(Some(platt.logit_of(0.0)), Some(f64::NEG_INFINITY));
        assert_eq!(Some(platt.logit_of(1.0)), Some(f64::INFINITY));
    }

    /// Brands of 1,000 users at each of five logits; `levels` are added to the logits' log-odds.
    fn brands(levels: &[f64]) -> Histogram {
        let bins = levels.iter().map(|level| {
            let bin = |&logit: &f32| {
                let positives = (1000.0 * sigmoid(f64::from(logit) + level)).round() as u64;
                Bin::at(logit, positives, 1000 - positives)
            };
            [-4.0, -3.0, -2.0, -1.0, 0.0].iter().map(bin).collect()
        });
        Histogram::from_bins(bins.collect())
    }

    /// Ten brands of the same truth have one curve; of ten that differ by a deviation of .82, each
    /// has its own, within a hundredth of the way to the common one.
    #[test]
    fn how_strongly_a_band_pulls_is_learned_from_how_much_its_brands_differ() {
        let alike = fit_in_bands(&brands(&[0.5; 10]), &[0; 10]);
        let spread = alike.iter().map(|platt| (platt.intercept - 0.5).abs()).fold(0.0, f64::max);
        assert!(spread < 0.02, "{alike:?}");
        let levels: Vec<f64> = (0..10).map(|i| f64::from(i) / 3.5 - 1.29).collect();
        for (platt, level) in fit_in_bands(&brands(&levels), &[0; 10]).iter().zip(&levels) {
            let at_mean = platt.slope * -1.5 + platt.intercept;
            assert!((at_mean - (level - 1.5)).abs() < 0.05, "{platt:?}, expected {level}");
        }
    }

    /// Two positives by chance move a brand of a band whose others agree by almost nothing; a brand
    /// without users has its own band's curve, not the other's.
    #[test]
    fn a_rare_brand_follows_its_band() {
        let mut histogram = brands(&[[0.0; 5], [1.5; 5]].concat());
        let mut bins: Vec<Vec<Bin>> =
            (0..10).map(|brand| histogram.brand(brand).bins.to_vec()).collect();
        bins.extend([vec![Bin::at(-4.0, 2, 20)], Vec::new()]);
        histogram = Histogram::from_bins(bins);
        let bands = [[0; 5], [1; 5]].concat().into_iter().chain([0, 1]).collect::<Vec<_>>();
        let fitted = fit_in_bands(&histogram, &bands);
        let at = |brand: usize| fitted[brand].slope * -2.0 + fitted[brand].intercept;
        assert!((at(10) + 2.0).abs() < 0.05, "{:?}", fitted[10]);
        assert!((at(11) + 0.5).abs() < 0.05, "{:?}", fitted[11]);
    }

    /// `LogisticRegression(C=inf)` of scikit-learn on the same logits.
    #[test]
    fn the_pooled_fit_agrees_with_scikit_learn() {
        let platt = fit_pooled(&reference::histogram());
        assert!((platt.slope - reference::value("platt_slope")).abs() < 1e-6);
        assert!((platt.intercept - reference::value("platt_intercept")).abs() < 1e-6);
    }

    #[test]
    fn without_a_pull_a_brand_has_the_fit_of_its_own() {
        let histogram = reference::histogram();
        let own = fit_ridge(histogram.brand(0), Platt::IDENTITY, 0.0);
        let pooled = fit_pooled(&histogram);
        assert!((own.slope - pooled.slope).abs() < 1e-6);
        assert!((own.intercept - pooled.intercept).abs() < 1e-6);
    }

    /// The fit is where the penalised likelihood is highest: every neighbour is lower.
    #[test]
    fn the_ridge_fit_maximises_the_stated_objective() {
        let histogram = reference::histogram();
        let (pooled, strength) = (Platt { slope: 1.2, intercept: -0.4 }, 50.0);
        let users = || {
            let brand = histogram.brand(0);
            let of_bin = |bin: &Bin| (bin.logit(), bin.positives as f64, bin.negatives as f64);
            brand.bins.iter().map(of_bin)
        };
        let (mut sum_w, mut sum_wz, mut sum_wzz) = (0.0, 0.0, 0.0);
        for (z, positives, negatives) in users() {
            let w = (positives + negatives) * pooled.prob(z) * (1.0 - pooled.prob(z));
            (sum_w, sum_wz, sum_wzz) = (sum_w + w, sum_wz + w * z, sum_wzz + w * z * z);
        }
        let centre = sum_wz / sum_w;
        let variance = (sum_wzz / sum_w - centre * centre).max(1.0);
        let objective = |platt: Platt| {
            let level = |p: Platt| p.slope * centre + p.intercept;
            let likelihood: f64 = users()
                .map(|(z, positives, negatives)| {
                    let p = platt.prob(z);
                    positives * p.ln() + negatives * (-p).ln_1p()
                })
                .sum();
            let level_off = level(platt) - level(pooled);
            let slope_off = platt.slope - pooled.slope;
            likelihood - strength / 2.0 * (level_off.powi(2) + variance * slope_off.powi(2))
        };
        let best = fit_ridge(histogram.brand(0), pooled, strength);
        for (slope, intercept) in [(1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3)] {
            let neighbour =
                Platt { slope: best.slope + slope, intercept: best.intercept + intercept };
            assert!(objective(neighbour) < objective(best));
        }
        assert!(objective(pooled) < objective(best) - 1.0);
    }

    #[test]
    fn a_stronger_pull_ends_closer_to_the_pooled_curve() {
        let histogram = reference::histogram();
        let distances: Vec<f64> = [0.0, 10.0, 100.0, 1e3, 1e6]
            .map(|strength| {
                let platt = fit_ridge(histogram.brand(0), Platt::IDENTITY, strength);
                (platt.slope - 1.0).abs()
            })
            .to_vec();
        assert!(distances.is_sorted_by(|nearer, further| nearer > further), "{distances:?}");
        assert!(distances[0] > 0.28 && distances[4] < 1e-3); // its own slope is 0.71
    }

    /// About 32 positives expected: 5000 / 2981 + 3000 / 1097 + 1500 / 404 + 400 / 55.6
    /// + 90 · 0.119 + 10 · 0.5.
    #[test]
    fn few_positives_move_the_level_moderately_and_the_slope_little() {
        let none = rare(&[]);
        let fitted = fit_ridge(none.brand(0), Platt::IDENTITY, DEFAULT_STRENGTH);
        let bins = none.brand(0).bins.iter();
        let expected: f64 = bins.map(|bin| bin.users() as f64 * fitted.prob(bin.logit())).sum();
        // Fewer than the 32 promised, but not none, although none was seen.
        assert!(expected > 3.0 && expected < 20.0, "{expected}");

        for positives in [vec![-8.0], vec![0.0], vec![-7.0, -7.0], vec![0.0; 8]] {
            let fitted = fit_ridge(rare(&positives).brand(0), Platt::IDENTITY, DEFAULT_STRENGTH);
            assert!((fitted.slope - 1.0).abs() < 0.35, "{positives:?}: {fitted:?}");
        }
    }

    /// All positives at the lowest logits: the best slope is negative, the fitted one is not.
    #[test]
    fn a_slope_never_falls_below_its_bound() {
        let upside_down = one_brand(&[(-3.0, 90, 10), (3.0, 10, 90)]);
        let own = fit_ridge(upside_down.brand(0), Platt::IDENTITY, 0.0);
        assert_eq!(Some(own.slope), Some(SLOPE_MIN));
        // 100 of 200 are positive and the logits symmetric: the level at 0 is 0.
        assert!(own.intercept.abs() < 0.01, "{own:?}");
        assert_eq!(Some(fit_pooled(&upside_down).slope), Some(SLOPE_MIN));
    }

    #[test]
    fn separated_positives_and_negatives_have_a_finite_curve() {
        let separated = one_brand(&[(-1.0, 0, 50), (1.0, 50, 0)]);
        let platt = fit_pooled(&separated);
        assert!(platt.slope > 3.0 && platt.slope <= SLOPE_MAX, "{platt:?}");
        assert!(platt.prob(-1.0) < 0.05 && platt.prob(1.0) > 0.95, "{platt:?}");
    }

    #[test]
    fn without_both_kinds_of_labels_the_fit_falls_back() {
        assert_eq!(fit_pooled(&one_brand(&[(1.0, 0, 5)])), Platt::IDENTITY);
        assert_eq!(fit_pooled(&one_brand(&[(1.0, 5, 0)])), Platt::IDENTITY);
        let pooled = Platt { slope: 0.8, intercept: 0.3 };
        assert_eq!(fit_ridge(Histogram::new(1).brand(0), pooled, 4.0), pooled);
    }

    /// Logits all in one bin: the slope cannot be known, the level can: ln(10 / 30).
    #[test]
    fn a_single_bin_determines_the_level_alone() {
        let platt = fit_pooled(&one_brand(&[(2.0, 10, 30)]));
        assert!((platt.prob(2.0) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn brands_are_fitted_in_order_for_any_number_of_threads() {
        let mut histogram = Histogram::new(40);
        for brand_idx in 0..40 {
            for user in 0..50_usize {
                let logit = (user * (brand_idx + 3) % 17) as f32 - 9.0;
                histogram.add(brand_idx, logit, user % 7 == 0);
            }
        }
        let fit_with = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| fit(&histogram, DEFAULT_STRENGTH))
        };
        let fitted = fit_with(1);
        assert_eq!(fitted, fit_with(2));
        let pooled = fit_pooled(&histogram);
        assert_eq!(fitted[7], fit_ridge(histogram.brand(7), pooled, DEFAULT_STRENGTH));
        assert_ne!(fitted[7], fitted[8]);
    }
}

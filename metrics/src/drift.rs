//! Whether two samples of users may come from one population.
//!
//! A difference counts if it is both large and beyond chance. Large, as with a million users every
//! difference is beyond chance; beyond chance, as with a hundred users many are large.

use distrs::Normal;

/// How far apart two distributions over the same bins are: the population stability index,
/// `Σ (p - q)·ln(p / q)`.
///
/// * `reference`, `new`: users in each bin. Half a user is added to each, so that an empty bin does
///   not make the sum infinite.
///
/// 0 or more. By convention 0.1 is a moderate and 0.25 a large shift; a normal distribution that
/// moves by `d` standard deviations has about `d²`.
pub fn psi(reference: &[u64], new: &[u64]) -> f64 {
    let share = |counts: &[u64], bin: usize| {
        let total: u64 = counts.iter().sum();
        (counts[bin] as f64 + 0.5) / (total as f64 + 0.5 * counts.len() as f64)
    };
    let term = |bin| {
        let (p, q) = (share(reference, bin), share(new, bin));
        (p - q) * (p / q).ln()
    };
    (0..reference.len()).map(term).sum()
}

/// Whether chance explains a difference between two samples in bins, by Pearson's chi-squared test of
/// homogeneity.
///
/// * `alpha`: chance to say that it does not, where it does.
///
/// The quantile is Wilson and Hilferty's (1931).
pub fn is_by_chance(reference: &[u64], new: &[u64], alpha: f64) -> bool {
    let total = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
    let (n_reference, n_new) = (total(reference), total(new));
    if n_reference == 0.0 || n_new == 0.0 {
        return true;
    }
    let (mut chi_squared, mut n_bins) = (0.0, 0.0_f64);
    for (&a, &b) in reference.iter().zip(new) {
        let both = (a + b) as f64;
        if both > 0.0 {
            // The terms of both samples, whose deviations are the same.
            let deviation = b as f64 - both * n_new / (n_reference + n_new);
            chi_squared +=
                deviation.powi(2) * (n_reference + n_new).powi(2) / (both * n_reference * n_new);
            n_bins += 1.0;
        }
    }
    let freedom = n_bins - 1.0;
    if freedom < 1.0 {
        return true;
    }
    let z = Normal::ppf(1.0 - alpha, 0.0, 1.0);
    let spread = 2.0 / (9.0 * freedom);
    chi_squared <= freedom * (1.0 - spread + z * spread.sqrt()).powi(3)
}

/// How many users have something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Users who have it; need not be whole
    pub hits: f64,
    /// All users
    pub users: f64,
}

impl Rate {
    /// From sums of probabilities. They vary less than counts of users: by their squares, so that a sum
    /// counts like `Σp / w` users, where `w = Σp² / Σp` is the same for both samples (as
    /// over-dispersion in quasi-Poisson models, with a dispersion below 1).
    ///
    /// * `sums`: of each sample the number of users, `Σp` and `Σp²`.
    pub fn of_probs(sums: [(f64, f64, f64); 2]) -> [Self; 2] {
        let [a, b] = sums;
        let size = (a.2 + b.2) / (a.1 + b.1);
        let rate = |(users, sum, _): (f64, f64, f64)| {
            let hits = if size > 0.0 { sum / size } else { 0.0 };
            Self { hits, users }
        };
        [rate(a), rate(b)]
    }

    /// Share of the users.
    pub fn share(self) -> f64 {
        self.hits / self.users
    }

    /// How likely a difference as large as that to `other`, or a larger one, is by chance; from 0 to 1.
    ///
    /// Exact for rare things, as of brands that a few users have: given all hits together, those of one
    /// sample are binomial (Przyborowski and Wilenski 1940). Two-sided, as twice the smaller tail.
    pub fn p_value(self, other: Self) -> f64 {
        let n = self.hits + other.hits;
        if n == 0.0 {
            return 1.0;
        }
        let share = self.users / (self.users + other.users);
        let k = self.hits;
        // Of a binomial number: k or more, and k or fewer.
        let above = if k > 0.0 { beta(share, k, n - k + 1.0) } else { 1.0 };
        let below = if k < n { beta(1.0 - share, n - k, k + 1.0) } else { 1.0 };
        (2.0 * above.min(below)).min(1.0)
    }
}

/// The regularised incomplete beta function `I_x(a, b)`.
///
/// By its continued fraction (Abramowitz and Stegun 26.5.8), evaluated as Lentz does; where it
/// converges slowly, `1 - I_{1-x}(b, a)`.
#[expect(clippy::many_single_char_names, reason = "as in the source")]
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(1.0 - x, b, a);
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    let not_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut d = 1.0 / not_zero(1.0 - (a + b) * x / (a + 1.0));
    let (mut c, mut fraction) = (1.0, d);
    for m in (1..1_000_000).map(f64::from) {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for step in [even, odd] {
            d = 1.0 / not_zero(1.0 + step * d);
            c = not_zero(1.0 + step / c);
            fraction *= c * d;
        }
        if (fraction - before).abs() <= 1e-14 * fraction.abs() {
            break;
        }
    }
    front.exp() * fraction / a
}

/// `ln Γ(x)` for `x > 0`, by Stirling's series where `x` is at least 10.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let series =
        1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / (1680.0 * x * x)) / (x * x)) / (x * x);
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series / x - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_distr::{Binomial, Distribution as _, StandardNormal};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// (.5 - .25)·ln 2 + (.5 - .75)·ln(2/3) = .25·ln 3 = .27465; a million users hide the half ones.
    #[test]
    fn psi_is_the_sum_over_bins() {
        let found = psi(&[500_000, 500_000], &[250_000, 750_000]);
        assert!((found - 0.25 * 3_f64.ln()).abs() < 1e-5, "{found}");
        assert_eq!(psi(&[10, 20, 30], &[10, 20, 30]), 0.0);
        assert!(psi(&[100, 0], &[100, 1]).is_finite());
    }

    #[test]
    fn the_p_value_of_two_rates_is_the_binomial_one() {
        let p = |hits: f64, users: f64, other: f64, others: f64| {
            Rate { hits, users }.p_value(Rate { hits: other, users: others })
        };
        // 10 of 10 in one of two equal samples: 2 · 2^-10.
        assert!((p(10.0, 50.0, 0.0, 50.0) - 2.0 / 1024.0).abs() < 1e-12);
        assert!((p(0.0, 50.0, 10.0, 50.0) - 2.0 / 1024.0).abs() < 1e-12);
        // 2 or fewer of 10 at 1/2: 2 · (1 + 10 + 45) / 1024.
        assert!((p(2.0, 1.0, 8.0, 1.0) - 112.0 / 1024.0).abs() < 1e-12);
        // 1 or more of 3 at 1/4: 1 - (3/4)^3 = .578; 1 or fewer: .84375. Twice the smaller is above 1.
        assert_eq!(p(1.0, 1.0, 2.0, 3.0), 1.0);
        // Far out: 40 of 40 at 1/4 is 4^-40.
        let far = p(40.0, 1.0, 0.0, 3.0) / (2.0 * 0.25_f64.powi(40));
        assert!((far - 1.0).abs() < 1e-9, "{far}");
        assert_eq!(p(0.0, 10.0, 0.0, 10.0), 1.0);
        // Many: z = 4 standard deviations, .5e6 ± 500·4 of a million; 2·(1 - Φ(4)) = 6.334e-5.
        let many = p(502_000.0, 1.0, 498_000.0, 1.0);
        assert!((many / 6.334e-5 - 1.0).abs() < 0.01, "{many}");
    }

    #[test]
    fn the_log_of_gamma_is_that_of_factorials() {
        let mut factorial = 1.0_f64;
        for n in 1..20 {
            assert!((ln_gamma(f64::from(n)) - factorial.ln()).abs() < 1e-10, "{n}");
            factorial *= f64::from(n);
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-10);
    }

    /// 3,000 brands of which the users' probabilities are very unequal, 200 pairs of fresh samples: at a
    /// chance of .01 for all brands together, two pairs are expected to trip, and at most ten may.
    #[test]
    fn fresh_samples_of_one_population_hardly_ever_trip() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let alpha = 0.01 / 3000.0;
        let (mut n_counts, mut n_sums) = (0, 0);
        for _ in 0..200 {
            let (mut counts, mut sums) = (false, false);
            for brand in 0..300 {
                let rate = 0.3 / f64::from(brand + 1).powf(1.2);
                let [a, b] = [2_000_u64, 9_000].map(|users| {
                    let hits = Binomial::new(users, rate).unwrap().sample(&mut rng);
                    Rate { hits: hits as f64, users: users as f64 }
                });
                counts |= a.p_value(b) < 10.0 * alpha; // ten brands of each rate
                // Each hit is a user of some probability; all others have nearly none.
                let [a, b] = [a, b].map(|Rate { hits, users }| {
                    let probs = (0..hits as u64).map(|_| rng.random::<f64>().powi(2));
                    let (sum, squares) = probs.fold((0.0, 0.0), |(s, q), p| (s + p, q + p * p));
                    (users, sum, squares)
                });
                if a.1 + b.1 > 0.0 {
                    let [a, b] = Rate::of_probs([a, b]);
                    sums |= a.p_value(b) < 10.0 * alpha;
                }
            }
            n_counts += u32::from(counts);
            n_sums += u32::from(sums);
        }
        assert!(n_counts <= 10 && n_sums <= 10, "{n_counts} {n_sums}");
    }

    /// Deciles of normal numbers: of 2,000 pairs of samples of 300 and 5,000, at a chance of .01 some
    /// 20 trip; a shift of half a standard deviation, whose index is .25, is always found.
    #[test]
    fn a_shift_is_told_from_chance() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut sample = |n: usize, shift: f64| {
            let mut bins = [0_u64; 10];
            for _ in 0..n {
                let z: f64 = StandardNormal.sample(&mut rng);
                let decile = (10.0 * Normal::cdf(z + shift, 0.0, 1.0)) as usize;
                bins[decile.min(9)] += 1;
            }
            bins
        };
        let mut n_tripped = 0;
        for _ in 0..2000 {
            let (reference, new) = (sample(5_000, 0.0), sample(300, 0.0));
            n_tripped += u32::from(!is_by_chance(&reference, &new, 0.01));
        }
        assert!((8..=40).contains(&n_tripped), "{n_tripped}");
        let (reference, moved) = (sample(5_000, 0.0), sample(300, 0.5));
        assert!(!is_by_chance(&reference, &moved, 1e-6));
        assert!((0.15..0.4).contains(&psi(&reference, &moved)));
        assert!(is_by_chance(&[7, 0], &[3, 0], 0.01), "one bin tells nothing");
    }
}

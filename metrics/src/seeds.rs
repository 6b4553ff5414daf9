//! A change that was measured once for each seed of training, and its interval.

use distrs::{Normal, StudentsT};

/// How other users are imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resampling {
    /// Users drawn with replacement, many times: [`crate::bootstrap()`]
    Bootstrap,
    /// All users but one, for each of them: [`crate::Jackknife`]
    Jackknife,
}

impl Resampling {
    /// Variance of a metric over other users.
    ///
    /// * `values`: the metric in each resample, two or more.
    fn variance(self, values: &[f64]) -> f64 {
        let n = values.len() as f64;
        match self {
            Self::Bootstrap => variance(values),
            // A user left out moves a mean by a part of n - 1 of what a draw of n users does.
            Self::Jackknife => variance(values) * (n - 1.0) * (n - 1.0) / n,
        }
    }
}

/// A metric's change from one experiment to another, at each seed that both were trained with, on
/// the same users.
#[derive(Clone, Debug)]
pub struct SeedChanges {
    resampling: Resampling,
    /// `(n_seeds,)`: over all users
    points: Vec<f64>,
    /// `(n_seeds, n_resamples)`, NaN where undefined
    resamples: Vec<Vec<f64>>,
}

impl SeedChanges {
    /// Without any seed.
    pub fn by(resampling: Resampling) -> Self {
        Self { resampling, points: Vec::new(), resamples: Vec::new() }
    }

    /// Adds the change at one more seed.
    ///
    /// * `point`: over all users.
    /// * `resamples`: `(n_resamples,)`, over the users of each resample, which are those of the other
    ///   seeds' resamples; NaN where undefined.
    ///
    /// # Panics
    ///
    /// If the other seeds have another number of resamples.
    pub fn push(&mut self, point: f64, resamples: Vec<f64>) {
        let has_as_many = |other: &Vec<f64>| other.len() == resamples.len();
        assert!(self.resamples.iter().all(has_as_many), "all seeds see the same resamples");
        self.points.push(point);
        self.resamples.push(resamples);
    }

    /// The change at each seed, in the order they were added.
    pub fn points(&self) -> &[f64] {
        &self.points
    }

    /// Mean over the seeds; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        (!self.points.is_empty()).then(|| mean(&self.points))
    }

    /// An interval of the mean change that other users and other seeds would give.
    ///
    /// Two independent sources vary the mean over `n` seeds. The seeds: with `s²` the variance of
    /// the changes over the seeds, they add `s² / n`, known from `n - 1` degrees of freedom only.
    /// The users: they add the variance of the mean over the resamples, less what `s² / n`
    /// holds already, as which users gain differs from seed to seed. Half of the width is
    ///
    /// `sqrt(z² · (V_users - V_both) + t² · s² / n)`,
    ///
    /// where `V_both` is the variance over resamples of the seeds' deviations from their mean. The
    /// centre is the measured change.
    ///
    /// With one seed there is nothing to tell how seeds differ: the interval then holds for this
    /// seed's models, with other users.
    ///
    /// * `level`: chance that the interval holds the mean change, in (0, 1).
    ///
    /// Returns `None` without seeds, or without two resamples in which all seeds are defined.
    ///
    /// # Source
    ///
    /// Adding squared half-widths of independent sources, each with its own quantile: Banerjee
    /// (1960), "On confidence interval for two-means problem based on separate estimates of
    /// variances and tabulated values of t-table", Sankhyā 22. `tests/coverage.rs` simulates how
    /// often the interval holds the truth.
    pub fn interval(&self, level: f64) -> Option<(f64, f64)> {
        let centre = self.mean()?;
        if !(level > 0.0 && level < 1.0) {
            return None;
        }
        let n_resamples = self.resamples[0].len();
        let at = |i: usize| self.resamples.iter().map(move |of_seed| of_seed[i]);
        let defined: Vec<usize> =
            (0..n_resamples).filter(|&i| at(i).all(|change| !change.is_nan())).collect();
        if defined.len() < 2 {
            return None;
        }
        let n = self.points.len() as f64;
        let means: Vec<f64> = defined.iter().map(|&i| at(i).sum::<f64>() / n).collect();
        let upper = f64::midpoint(1.0, level);
        let z = Normal::ppf(upper, 0.0, 1.0);
        let of_users = self.resampling.variance(&means);
        if self.points.len() == 1 {
            let half = z * of_users.sqrt();
            return Some((centre - half, centre + half));
        }
        let of_seed = |of_seed: &Vec<f64>| {
            let deviations: Vec<f64> =
                defined.iter().zip(&means).map(|(&i, mean)| of_seed[i] - mean).collect();
            self.resampling.variance(&deviations)
        };
        let of_both = self.resamples.iter().map(of_seed).sum::<f64>() / (n * (n - 1.0));
        let of_seeds = variance(&self.points) / n;
        let t = StudentsT::ppf(upper, n - 1.0);
        let half = (z * z * (of_users - of_both).max(0.0) + t * t * of_seeds).sqrt();
        Some((centre - half, centre + half))
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Unbiased; of two values or more.
fn variance(values: &[f64]) -> f64 {
    let centre = mean(values);
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    squares / (values.len() - 1) as f64
}

/// The standard deviation of a change over seeds; `None` with fewer than two.
pub fn spread(changes: &[f64]) -> Option<f64> {
    (changes.len() > 1).then(|| variance(changes).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(seeds: &[(f64, &[f64])]) -> SeedChanges {
        let mut changes = SeedChanges::by(Resampling::Bootstrap);
        for &(point, draws) in seeds {
            changes.push(point, draws.to_vec());
        }
        changes
    }

    /// Draws .1 and .3: variance .02. Half of the width: 1.960 · √.02 = .2772.
    #[test]
    fn one_seed_varies_with_its_users_alone() {
        let (low, high) = changes(&[(0.5, &[0.1, 0.3])]).interval(0.95).unwrap();
        assert!((low - 0.222_82).abs() < 1e-4 && (high - 0.777_18).abs() < 1e-4, "{low} {high}");
    }

    /// The draws of both seeds move together, so users and seeds are apart. Users: means .1 and .3,
    /// variance .02. Seeds: changes .4 and .6, variance .02, of which a half. With one degree of
    /// freedom t is 12.706: √(1.960² · .02 + 12.706² · .01) = √(.0768 + 1.6144) = 1.3005.
    #[test]
    fn two_seeds_add_their_own_variance() {
        let two = changes(&[(0.4, &[0.0, 0.2]), (0.6, &[0.2, 0.4])]);
        let (low, high) = two.interval(0.95).unwrap();
        assert!((low + 0.800_5).abs() < 1e-3 && (high - 1.800_5).abs() < 1e-3, "{low} {high}");
        assert_eq!(two.mean(), Some(0.5));
    }

    /// The seeds' draws move against each other: their mean does not vary with the users, and what
    /// the users do to each seed is in the variance over seeds. t · √.01 = 1.2706.
    #[test]
    fn what_differs_from_seed_to_seed_counts_once() {
        let (low, high) =
            changes(&[(0.4, &[0.0, 0.2]), (0.6, &[0.4, 0.2])]).interval(0.95).unwrap();
        assert!((low + 0.770_6).abs() < 1e-3 && (high - 1.770_6).abs() < 1e-3, "{low} {high}");
    }

    /// The mean of n values without each of them: its jackknife variance is that of a mean, s² / n.
    #[test]
    fn the_jackknife_of_a_mean_has_its_standard_error() {
        let values: [f64; 5] = [0.1, 0.5, 0.2, 0.9, 0.3];
        let sum: f64 = values.iter().sum();
        let mut changes = SeedChanges::by(Resampling::Jackknife);
        changes.push(sum / 5.0, values.iter().map(|value| (sum - value) / 4.0).collect());
        let (low, high) = changes.interval(0.95).unwrap();
        let error = (variance(&values) / 5.0).sqrt();
        assert!(((high - low) / 2.0 - 1.959_964 * error).abs() < 1e-6, "{low} {high}");
    }

    #[test]
    fn the_centre_is_what_was_measured() {
        let (low, high) = changes(&[(0.5, &[0.0, 0.1, 0.2, 0.3])]).interval(0.9).unwrap();
        assert!((f64::midpoint(low, high) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn draws_where_a_seed_is_undefined_are_left_out() {
        let with = changes(&[(0.5, &[0.1, f64::NAN, 0.3])]).interval(0.95);
        assert_eq!(with, changes(&[(0.5, &[0.1, 0.3])]).interval(0.95));
        assert_eq!(changes(&[(0.5, &[0.1, f64::NAN])]).interval(0.95), None);
        assert_eq!(SeedChanges::by(Resampling::Jackknife).interval(0.95), None);
    }
}

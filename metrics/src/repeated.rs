//! A change that was measured at several dates, each with an interval of its own, and what holds over
//! them.

use distrs::StudentsT;

/// A change at several dates.
#[derive(Clone, Debug, Default)]
pub struct Repeated {
    /// `(n_dates,)`: the change at each
    pub points: Vec<f64>,
    /// `(n_dates,)`: half of the width of each change's interval, which covers other users
    pub halves: Vec<f64>,
}

impl Repeated {
    /// Mean over the dates; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        let n = self.points.len() as f64;
        (n > 0.0).then(|| self.points.iter().sum::<f64>() / n)
    }

    /// An interval of the mean change that other users and other dates would give.
    ///
    /// Half of its width is `sqrt(h² + t² · s² / n)`: `s²` is the variance of the changes over the `n`
    /// dates, known from `n - 1` degrees of freedom, and `h` the mean of the dates' own half-widths. The
    /// dates have mostly the same users, so what users add is not averaged away over dates; as `s²`
    /// holds a part of it already, the interval is rather too wide than too narrow. With one date it is
    /// that date's own.
    ///
    /// * `level`: chance that the interval holds the mean change, in (0, 1); that of the dates' own.
    ///
    /// Returns `None` without dates.
    ///
    /// # Source
    ///
    /// Sum of squared half-widths, each with its own quantile, as in [`crate::SeedChanges`].
    pub fn interval(&self, level: f64) -> Option<(f64, f64)> {
        let centre = self.mean()?;
        let n = self.points.len() as f64;
        let of_users = self.halves.iter().sum::<f64>() / n;
        let of_dates = if self.points.len() > 1 {
            let squares: f64 = self.points.iter().map(|point| (point - centre).powi(2)).sum();
            let t = StudentsT::ppf(f64::midpoint(1.0, level), n - 1.0);
            t * t * squares / (n - 1.0) / n
        } else {
            0.0
        };
        let half = (of_users * of_users + of_dates).sqrt();
        Some((centre - half, centre + half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes 1, 2 and 3: s² = 1, and t of 2 degrees of freedom is 4.302653, so that dates alone give
    /// a half-width of 4.302653 / √3 = 2.484138.
    #[test]
    fn the_interval_covers_users_and_dates() {
        let points = vec![1.0, 2.0, 3.0];
        let of_dates = Repeated { points: points.clone(), halves: vec![0.0; 3] };
        let (low, high) = of_dates.interval(0.95).unwrap();
        assert!((low + 0.484_138).abs() < 1e-5 && (high - 4.484_138).abs() < 1e-5, "{low} {high}");
        let both = Repeated { points, halves: vec![1.0, 2.0, 3.0] };
        let (low, high) = both.interval(0.95).unwrap();
        let half = (4.0_f64 + 2.484_138 * 2.484_138).sqrt();
        assert!((high - low - 2.0 * half).abs() < 1e-5, "{low} {high}");
        let one = Repeated { points: vec![0.5], halves: vec![0.1] };
        assert_eq!(one.interval(0.95), Some((0.4, 0.6)));
        assert_eq!(Repeated::default().interval(0.95), None);
    }
}

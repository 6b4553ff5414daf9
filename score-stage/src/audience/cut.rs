//! Where a brand's audience ends, and what to expect of it: from a histogram of the users to a cut.

use metrics::calibration::sigmoid;
use metrics::{Bin, BrandHistogram};

/// How large an audience is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// Everyone from these log-odds on
    From(f32),
    /// So many
    Users(u64),
    /// As many as keep the expected precision
    Precision(f64),
}

/// An audience before its users are known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Users whose log-odds are lower are not in it; of those at the very cut the first
    pub from: f32,
    /// Most users, if that is known
    pub at_most: Option<u64>,
    /// Users, estimated for [`Size::From`]
    pub n_users: u64,
    /// Expected users with the brand in it
    pub hits: f64,
    /// Expected users with the brand among all
    pub positives: f64,
}

impl Cut {
    /// * `users`: log-odds of the brand's calibrated probabilities, without labels.
    pub fn of(users: BrandHistogram, size: Size) -> Self {
        let expected = |bin: &Bin| bin.users() as f64 * sigmoid(bin.logit());
        let positives = users.bins.iter().map(expected).sum();
        let mut cut = Self { from: f32::INFINITY, at_most: None, n_users: 0, hits: 0.0, positives };
        for bin in users.bins.iter().rev() {
            let n = taken(bin, size, &cut).min(bin.users());
            if n == 0 {
                break;
            }
            cut.n_users += n;
            cut.hits += n as f64 * sigmoid(bin.logit());
            cut.from = bin.low;
            if n < bin.users() {
                break;
            }
        }
        match size {
            Size::From(from) => cut.from = from,
            Size::Users(_) | Size::Precision(_) => cut.at_most = Some(cut.n_users),
        }
        cut
    }

    /// Share of the audience that is expected to have the brand.
    pub fn precision(&self) -> Option<f64> {
        (self.n_users > 0).then(|| self.hits / self.n_users as f64)
    }

    /// Share of the users with the brand that are expected to be in the audience.
    pub fn recall(&self) -> Option<f64> {
        (self.positives > 0.0).then(|| self.hits / self.positives)
    }
}

/// Users of the next bin, in descending order, that belong to the audience; may be more than there are.
fn taken(bin: &Bin, size: Size, before: &Cut) -> u64 {
    match size {
        Size::From(from) if bin.low >= from => bin.users(),
        Size::From(from) if bin.high < from => 0,
        // As if they were spread evenly.
        Size::From(from) => {
            let share = f64::from(bin.high - from) / f64::from(bin.high - bin.low);
            (share * bin.users() as f64).round() as u64
        }
        Size::Users(n) => n - before.n_users,
        Size::Precision(precision) => {
            let p = sigmoid(bin.logit());
            if p >= precision {
                return bin.users();
            }
            // (hits + k·p) / (n + k) = precision
            let spare = before.hits - precision * before.n_users as f64;
            (spare / (precision - p)).max(0.0).floor() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Histogram;

    /// Probabilities .9, .5, .5, .1: two users are tied.
    fn users() -> Histogram {
        let z = |p: f64| (p / (1.0 - p)).ln() as f32;
        let bins = [(0.9, 1), (0.5, 2), (0.1, 1)].map(|(p, n)| Bin::at(z(p), 0, n));
        Histogram::from_bins(vec![bins.to_vec()])
    }

    fn cut(size: Size) -> (u64, f64, f64) {
        let cut = Cut::of(users().brand(0), size);
        (cut.n_users, cut.precision().unwrap_or(-1.0), cut.recall().unwrap())
    }

    fn is_near((n, precision, recall): (u64, f64, f64), expected: (u64, f64, f64)) -> bool {
        n == expected.0
            && (precision - expected.1).abs() < 1e-6
            && (recall - expected.2).abs() < 1e-6
    }

    /// Two users are expected to have the brand: .9 + .5 + .5 + .1.
    #[test]
    fn an_audience_of_a_size_has_the_best_users() {
        assert!(is_near(cut(Size::Users(1)), (1, 0.9, 0.45)));
        assert!(is_near(cut(Size::Users(2)), (2, 0.7, 0.7)));
        assert!(is_near(cut(Size::Users(9)), (4, 0.5, 1.0)));
        assert_eq!(Cut::of(users().brand(0), Size::Users(2)).at_most, Some(2));
    }

    #[test]
    fn a_threshold_takes_everyone_from_it_on() {
        assert!(is_near(cut(Size::From(0.0)), (3, 1.9 / 3.0, 0.95)));
        assert!(is_near(cut(Size::From(0.1)), (1, 0.9, 0.45)));
        assert!(is_near(cut(Size::From(9.0)), (0, -1.0, 0.0)));
    }

    /// .9, then (.9 + .5) / 2 = .7, then 1.9 / 3 = .63, then 2 / 4 = .5, a little less in `f32`.
    #[test]
    fn an_audience_is_as_large_as_its_precision_allows() {
        assert!(is_near(cut(Size::Precision(0.95)), (0, -1.0, 0.0)));
        assert!(is_near(cut(Size::Precision(0.7)), (2, 0.7, 0.7)));
        assert!(is_near(cut(Size::Precision(0.6)), (3, 1.9 / 3.0, 0.95)));
        assert!(is_near(cut(Size::Precision(0.4999)), (4, 0.5, 1.0)));
    }
}

//! Calibration from the valid users, those who had a brand before apart.

use contract::manifest::Calibration;
use contract::statistics::Prevalence;
use metrics::calibration::{self, DEFAULT_STRENGTH};
use metrics::{Curve, Histogram, HistogramBuilder, Lists, Platt, curve};
use model::sigmoid::logit;

use crate::folds::Folds;
use crate::history::{HadCells, HistoryLines};
use crate::scorer::Scored;

/// What logits become probabilities by.
pub struct Calibrated {
    /// Moves logits of brands that a user had; `None` where no history is known
    pub lines: Option<HistoryLines>,
    /// From moved logits to probabilities, `(n_brands,)`
    pub curves: Vec<Curve>,
    /// The users that it was fitted on, moved
    pub users: Histogram,
}

/// How curves are found.
pub struct Method<'a> {
    pub kind: Calibration,
    /// `(n_brands,)`: brands that are calibrated alike; see [`calibration::fit_in_bands`]
    pub bands: &'a [usize],
    /// For [`Calibration::Prior`]: of each brand before and after sampling
    pub prevalence: Option<Prevalence>,
}

/// The valid users' logits counted, in folds.
pub struct Counted(pub Folds<Users>);

/// Curves that were fitted on all valid users, and for each fold on the others.
pub struct CalibratedFolds {
    pub all: Calibrated,
    pub folds: Folds<Calibrated>,
    /// All valid users as they were counted
    pub users: Users,
}

impl Counted {
    /// Fits curves.
    pub fn calibrate(&self, method: &Method) -> CalibratedFolds {
        let (folds, users) = self.0.without_each(Users::merge, |others| others.calibrate(method));
        CalibratedFolds { all: users.calibrate(method), folds, users }
    }

    /// The logits of all valid users, each fold's moved by lines of its own.
    ///
    /// * `all`: all folds together.
    pub fn moved_by_fold(&self, all: &Users, calibrated: &Folds<Calibrated>) -> Histogram {
        let mut logits = all.new.clone();
        for fold in Folds::<()>::all() {
            let lines = calibrated[fold].lines.as_ref();
            logits.merge(&self.0[fold].had.histogram(all.new.n_brands(), lines));
        }
        logits
    }
}

/// Some of the valid users, counted.
#[derive(Clone)]
pub struct Users {
    /// Brands that a user did not have before
    new: Histogram,
    /// Brands that a user had
    had: HadCells,
}

/// Users that are being counted.
pub struct UsersBuilder {
    new: HistogramBuilder,
    had: HadCells,
}

impl UsersBuilder {
    /// Without users.
    pub fn new(n_brands: usize) -> Self {
        Self { new: HistogramBuilder::new(n_brands), had: HadCells::default() }
    }

    /// Counts a batch of users.
    pub fn add(&mut self, scored: &Scored, labels: Lists) {
        let had = scored.had.as_lists();
        for (user, row) in scored.logits.rows().into_iter().enumerate() {
            self.had.add(row, had.get(user), labels.get(user));
        }
        self.new.add_rows_but(scored.cells(), labels, Some(had));
    }

    /// What was counted.
    pub fn build(self) -> Users {
        Users { new: self.new.build(), had: self.had }
    }
}

impl Users {
    /// Adds other users.
    pub fn merge(&mut self, other: &Self) {
        self.new.merge(&other.new);
        self.had.merge(&other.had);
    }

    /// Their logits, moved.
    pub fn moved(&self, lines: Option<&HistoryLines>) -> Histogram {
        let mut logits = self.new.clone();
        logits.merge(&self.had.histogram(self.new.n_brands(), lines));
        logits
    }

    /// Fits curves on them.
    pub fn calibrate(&self, method: &Method) -> Calibrated {
        let n_brands = self.new.n_brands();
        let identity = || vec![Curve::IDENTITY; n_brands];
        let platts = |users: &Histogram| calibration::fit_in_bands(users, method.bands);
        let by_history = || {
            let new = platts(&self.new);
            let lines = self
                .had
                .are_mixed()
                .then(|| HistoryLines::between(&platts(&self.had.histogram(n_brands, None)), &new));
            (lines, new)
        };
        let (lines, curves) = match method.kind {
            Calibration::None => (None, identity()),
            Calibration::Prior => {
                (None, method.prevalence.as_ref().map_or_else(identity, from_prior))
            }
            Calibration::Platt => {
                let (lines, new) = by_history();
                (lines, new.into_iter().map(Curve::from).collect())
            }
            Calibration::Isotonic => {
                let (lines, _) = by_history();
                let users = self.moved(lines.as_ref());
                return Calibrated {
                    lines,
                    curves: curve::fit_isotonic(&users, DEFAULT_STRENGTH),
                    users,
                };
            }
        };
        let users = self.moved(lines.as_ref());
        Calibrated { lines, curves, users }
    }
}

/// The change of the log-odds that undoes what sampling did to a brand's prevalence.
///
/// # Source
///
/// Elkan 2001, theorem 2, per brand. It is exact where sampling depends on the brand alone.
fn from_prior(prevalence: &Prevalence) -> Vec<Curve> {
    let curve = |(&before, after): (&f64, &Option<f64>)| {
        let inside = |p: f64| (p > 0.0 && p < 1.0).then(|| logit(p));
        let shift = match (inside(before), after.and_then(inside)) {
            (Some(before), Some(after)) => before - after,
            // Where all or none of the examples have the brand, the model learned nothing of it.
            _ => 0.0,
        };
        Curve::from(Platt { slope: 1.0, intercept: shift })
    };
    prevalence.before.iter().zip(&prevalence.after).map(curve).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of 100 users before, a fifth of the examples after: the odds of a logit of 0, 1,
    /// become (1/99) / (1/4) = .0404, a probability of .0388.
    #[test]
    fn the_prior_correction_undoes_a_sample() {
        let prevalence = Prevalence { before: vec![0.01, 0.0], after: vec![Some(0.2), None] };
        let curves = from_prior(&prevalence);
        assert!((curves[0].prob(0.0) - 0.0388).abs() < 1e-4, "{}", curves[0].prob(0.0));
        assert_eq!(curves[1], Curve::IDENTITY);
    }
}

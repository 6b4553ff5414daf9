//! Calibration from the valid users, those who had a brand before apart.

use contract::manifest::Calibration;
use contract::statistics::Prevalence;
use metrics::calibration::{self, DEFAULT_STRENGTH};
use metrics::{Curve, Histogram, Lists, Platt, curve};
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
pub struct Counted {
    /// Brands that a user did not have before
    new: Folds<Histogram>,
    /// Brands that a user had
    had: Folds<HadCells>,
    n_brands: usize,
}

impl Counted {
    /// Without users.
    pub fn new(n_brands: usize) -> Self {
        let new = Folds::of(|_| Histogram::new(n_brands));
        Self { new, had: Folds::of(|_| HadCells::default()), n_brands }
    }

    /// Counts a batch of valid users.
    ///
    /// * `fold`: of all of them. A brand's bins are merged once a call, so that larger parts of a
    ///   fold are faster.
    pub fn add(&mut self, fold: usize, scored: &Scored, labels: Lists) {
        let had = scored.had.as_lists();
        for (user, row) in scored.logits.rows().into_iter().enumerate() {
            self.had[fold].add(row, had.get(user), labels.get(user));
        }
        self.new[fold].add_rows_but(scored.cells(), labels, Some(had));
    }

    /// All valid users, or all but a fold.
    pub fn users(&self, left_out: Option<usize>) -> Users {
        Users {
            new: self.new.without(left_out, Histogram::merge),
            had: self.had.without(left_out, HadCells::merge),
        }
    }

    /// The logits of all valid users, each fold's moved by lines of its own.
    ///
    /// * `all`: [`Self::users`] of all folds.
    pub fn moved_by_fold(&self, all: &Users, calibrated: &Folds<Calibrated>) -> Histogram {
        let mut logits = all.new.clone();
        for fold in Folds::<()>::all() {
            let lines = calibrated[fold].lines.as_ref();
            logits.merge(&self.had[fold].histogram(self.n_brands, lines));
        }
        logits
    }
}

/// Some of the valid users, counted.
pub struct Users {
    new: Histogram,
    had: HadCells,
}

impl Users {
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

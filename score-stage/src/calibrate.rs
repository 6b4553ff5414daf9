//! Calibration from the valid users, those who had a brand before apart.

use contract::manifest::Calibration;
use contract::statistics::Prevalence;
use metrics::calibration::{self, DEFAULT_STRENGTH};
use metrics::{Curve, Histogram, Lists, OwnedLists, Platt, curve};
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
    pub fn add(&mut self, scored: &Scored, labels: Lists) {
        let rows = scored.rows();
        let folds = self.new.with_users(rows.clone()).zip(self.had.with_users(rows));
        for ((new, users), (cells, _)) in folds {
            let of_users = |lists: Lists| -> OwnedLists {
                users.iter().map(|&user| lists.get(user)).collect()
            };
            let (labels, had) = (of_users(labels), of_users(scored.had.as_lists()));
            let mut logits = Vec::with_capacity(users.len() * self.n_brands);
            for (i, &user) in users.iter().enumerate() {
                let row = scored.logits.row(user);
                cells.add(row, had.get(i), labels.get(i));
                logits.extend(row);
            }
            new.add_rows_but(&logits, labels.as_lists(), Some(had.as_lists()));
        }
    }

    /// All valid users, or all but a fold, moved.
    pub fn users(&self, left_out: Option<usize>, lines: Option<&HistoryLines>) -> Histogram {
        let mut users = self.new.without(left_out, Histogram::merge);
        let had = self.had.without(left_out, HadCells::merge);
        users.merge(&had.histogram(self.n_brands, lines));
        users
    }

    /// All valid users, each fold moved by lines of its own.
    pub fn users_by_fold(&self, calibrated: &Folds<Calibrated>) -> Histogram {
        let mut users = self.new.without(None, Histogram::merge);
        for fold in Folds::<()>::all() {
            let had = &self.had[fold];
            users.merge(&had.histogram(self.n_brands, calibrated[fold].lines.as_ref()));
        }
        users
    }

    /// Fits all valid users, or all but a fold.
    pub fn calibrate(&self, left_out: Option<usize>, method: &Method) -> Calibrated {
        let platts = |users: &Histogram| calibration::fit_in_bands(users, method.bands);
        let by_history = || {
            let new = platts(&self.new.without(left_out, Histogram::merge));
            let had = self.had.without(left_out, HadCells::merge);
            let lines = had.are_mixed().then(|| {
                let had = platts(&had.histogram(self.n_brands, None));
                HistoryLines::between(&had, &new)
            });
            (lines, new)
        };
        match method.kind {
            Calibration::None => self.without_lines(left_out, vec![Curve::IDENTITY; self.n_brands]),
            Calibration::Prior => {
                let identity = || vec![Curve::IDENTITY; self.n_brands];
                let curves = method.prevalence.as_ref().map_or_else(identity, from_prior);
                self.without_lines(left_out, curves)
            }
            Calibration::Platt => {
                let (lines, new) = by_history();
                let users = self.users(left_out, lines.as_ref());
                Calibrated { lines, curves: new.into_iter().map(Curve::from).collect(), users }
            }
            Calibration::Isotonic => {
                let (lines, _) = by_history();
                let users = self.users(left_out, lines.as_ref());
                let curves = curve::fit_isotonic(&users, DEFAULT_STRENGTH);
                Calibrated { lines, curves, users }
            }
        }
    }

    fn without_lines(&self, left_out: Option<usize>, curves: Vec<Curve>) -> Calibrated {
        Calibrated { lines: None, curves, users: self.users(left_out, None) }
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

//! A matrix with `halving`: its trainings pause at equal numbers of updates, and the better half goes on
//! (successive halving, Jamieson and Talwalkar 2016).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use anyhow::Result;
use contract::hashes::Hashes;
use contract::manifest::Matrix;
use contract::outcome::{Outcome, StageResult};
use contract::record::Output;
use contract::rungs::{Ended, Rungs};
use contract::runs::StageEnd;
use contract::why::Why;
use contract::{Manifest, Stage};

use crate::freshness::State;
use crate::graph::Node;
use crate::store::Store;

/// What runs stages and records what became of them.
pub trait Run {
    /// Runs stages.
    ///
    /// # Errors
    ///
    /// If a program cannot be waited for.
    fn run(&mut self, nodes: &[Node]) -> Result<Outcome>;

    /// Records the end of a stage that no process ran.
    ///
    /// # Errors
    ///
    /// If the record cannot be written.
    fn record(&mut self, node: &Node, end: StageEnd) -> Result<()>;

    fn hashes(&mut self) -> &mut Hashes;

    /// Says something that `--quiet` leaves out.
    fn say(&self, text: &str);
}

/// Ends the hopeless trainings of every matrix with `halving`. The result is the outcome so far, and the
/// stages that are left to run.
///
/// # Errors
///
/// Those of [`Run`].
pub fn halve(
    manifest: &Manifest,
    mut nodes: Vec<Node>,
    keep_going: bool,
    run: &mut dyn Run,
) -> Result<(Outcome, Vec<Node>)> {
    let mut has_failed = false;
    for matrix in manifest.matrices().filter(|matrix| matrix.halving) {
        let mut halving = Halving { manifest, nodes, run };
        let outcome = halving.halve(matrix, keep_going)?;
        nodes = halving.nodes;
        has_failed |= outcome == Outcome::Failed;
        if outcome == Outcome::Interrupted || has_failed && !keep_going {
            return Ok((outcome, nodes));
        }
    }
    Ok((if has_failed { Outcome::Failed } else { Outcome::Done }, nodes))
}

struct Halving<'a> {
    manifest: &'a Manifest,
    /// Stages that are left to run
    nodes: Vec<Node>,
    run: &'a mut dyn Run,
}

impl Halving<'_> {
    fn halve(&mut self, matrix: &Matrix, keep_going: bool) -> Result<Outcome> {
        let mut going: Vec<String> = matrix
            .cells
            .iter()
            .filter(|cell| self.trainings(cell).next().is_some())
            .cloned()
            .collect();
        if going.len() < 2 {
            return Ok(Outcome::Done);
        }
        let is_before = |node: &Node| match node.plan.id.stage {
            Stage::Holdout => true,
            Stage::Sample => node.plan.id.experiment.as_ref().is_some_and(|e| going.contains(e)),
            _ => false,
        };
        let before = self.nodes.extract_if(.., |node| is_before(node)).collect::<Vec<_>>();
        let mut outcome = self.run.run(&before)?;
        let Some(planned) = self.planned(&going).filter(|_| outcome == Outcome::Done) else {
            return Ok(outcome);
        };
        for updates in rungs(going.len(), planned) {
            let paused = self.before_rung(&going, updates);
            outcome = self.run.run(&paused)?;
            if outcome == Outcome::Interrupted || outcome == Outcome::Failed && !keep_going {
                return Ok(outcome);
            }
            going = self.decide(&going, updates)?;
        }
        Ok(outcome)
    }

    fn trainings(&self, cell: &str) -> impl Iterator<Item = &Node> {
        let is_meant = move |node: &&Node| {
            node.plan.id.stage == Stage::Train
                && node.plan.id.experiment.as_deref() == Some(cell)
                && node.plan.has_input("examples")
        };
        self.nodes.iter().filter(is_meant)
    }

    /// Updates of the longest training; `None` if a sample is missing.
    fn planned(&self, going: &[String]) -> Option<u64> {
        let planned = |cell: &String| {
            let examples = |node: &Node| {
                let input = node.plan.inputs.iter().find(|input| input.name == "examples")?;
                Some(Output::recorded(&input.path)?.n_rows)
            };
            let n_examples: Option<Vec<u64>> = self.trainings(cell).map(examples).collect();
            let train = &self.manifest.experiment(cell).ok()?.train;
            n_examples?.into_iter().map(|n| train.planned_updates(n)).max()
        };
        going.iter().map(planned).collect::<Option<Vec<u64>>>()?.into_iter().max()
    }

    /// Trainings that have not come to a rung.
    fn before_rung(&mut self, going: &[String], updates: u64) -> Vec<Node> {
        let trainings: Vec<Node> = going
            .iter()
            .flat_map(|cell| self.trainings(cell).cloned().collect::<Vec<_>>())
            .collect();
        let mut paused = Vec::new();
        for node in trainings {
            if let Figure::Missing = self.figure(&node, updates) {
                paused.push(Node { pause_after: Some(updates), ..node });
            }
        }
        paused
    }

    fn figure(&mut self, node: &Node, updates: u64) -> Figure {
        let store = Store::of(&self.manifest.run_dir);
        let state = State::of(node, &store, self.run.hashes());
        let rungs = state.fingerprint().and_then(|f| Rungs::load(&node.plan.dir, f));
        let map = rungs.map(|rungs| rungs.map).unwrap_or_default();
        match Figure::of(&map, updates) {
            // It has ended without a pause there, as where it was trained without `halving`.
            Figure::Missing if matches!(state, State::Fresh { .. } | State::Kept { .. }) => {
                Figure::Passed
            }
            figure => figure,
        }
    }

    /// Ends the worse half of those that have a figure here; the result is those that go on. Those that
    /// came further without one go on too, and push nothing out.
    fn decide(&mut self, going: &[String], updates: u64) -> Result<Vec<String>> {
        let mut figures = Vec::new();
        for cell in going {
            let trainings: Vec<Node> = self.trainings(cell).cloned().collect();
            let of_seeds: Vec<Figure> =
                trainings.iter().map(|node| self.figure(node, updates)).collect();
            figures.push(Figure::mean(&of_seeds));
        }
        let ranked = ranked(&figures);
        let n_kept = n_kept(&figures);
        let mut kept: Vec<usize> =
            (0..going.len()).filter(|&place| figures[place] == Figure::Passed).collect();
        for (i, &place) in ranked.iter().enumerate() {
            let ended = Ended { updates, rank: i + 1, among: ranked.len() };
            let is_out = i >= n_kept;
            self.end(&going[place], is_out.then_some(ended), figures[place] == Figure::Missing)?;
        }
        kept.extend(&ranked[..n_kept]);
        kept.sort_unstable();
        let words: Vec<&str> = kept.iter().map(|&place| &*going[place]).collect();
        let words = words.join(", ");
        self.run.say(&format!("after {updates} updates the best by valid MAP go on: {words}"));
        Ok(kept.into_iter().map(|place| going[place].clone()).collect())
    }

    /// Notes whether an experiment's trainings are ended. If they are, it has nothing left to run.
    ///
    /// * `has_failed`: whether they failed before.
    fn end(&mut self, cell: &str, ended: Option<Ended>, has_failed: bool) -> Result<()> {
        let trainings: Vec<Node> = self.trainings(cell).cloned().collect();
        for node in trainings.iter().filter(|_| !has_failed) {
            let store = Store::of(&self.manifest.run_dir);
            let state = State::of(node, &store, self.run.hashes());
            let rungs = state.fingerprint().and_then(|f| Rungs::load(&node.plan.dir, f));
            let Some(rungs) = rungs else { continue };
            let rungs = Rungs { ended: ended.clone(), ..rungs };
            rungs.save(&node.plan.dir)?;
            if let Some(words) = rungs.ended_in_words() {
                let end = StageEnd::without_running(StageResult::EndedEarly, Why::of(words));
                self.run.record(node, end)?;
            }
        }
        if ended.is_some() {
            self.nodes.retain(|node| node.plan.id.experiment.as_deref() != Some(cell));
        }
        Ok(())
    }
}

/// How good a training is at a rung.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    /// It has come further already.
    Passed,
    /// MAP on the valid users; `None` where it is undefined
    Map(Option<f64>),
    /// It has not come there.
    Missing,
}

impl Figure {
    /// * `map`: by number of updates.
    fn of(map: &BTreeMap<u64, Option<f64>>, updates: u64) -> Self {
        match map.get(&updates) {
            Some(map) => Self::Map(*map),
            None if map.range(updates..).next().is_some() => Self::Passed,
            None => Self::Missing,
        }
    }

    /// The mean over seeds.
    fn mean(of_seeds: &[Self]) -> Self {
        if of_seeds.contains(&Self::Missing) {
            return Self::Missing;
        }
        let map = |figure: &Self| match figure {
            Self::Map(map) => Some(*map),
            _ => None,
        };
        let found: Vec<Option<f64>> = of_seeds.iter().filter_map(map).collect();
        if found.len() < of_seeds.len() {
            return Self::Passed;
        }
        let sum: Option<f64> = found.iter().copied().sum();
        Self::Map(sum.map(|sum| sum / found.len() as f64))
    }

    /// By MAP, then what has none.
    fn compare(&self, other: &Self) -> Ordering {
        let key = |figure: &Self| match figure {
            Self::Map(Some(map)) => (2, *map),
            Self::Map(None) => (1, 0.0),
            Self::Missing | Self::Passed => (0, 0.0),
        };
        let ((a, x), (b, y)) = (key(self), key(other));
        b.cmp(&a).then(y.total_cmp(&x))
    }
}

/// Places by rank of those that did not pass, the best first; equal ones stay in order.
fn ranked(figures: &[Figure]) -> Vec<usize> {
    let is_compared = |&place: &usize| figures[place] != Figure::Passed;
    let mut places: Vec<usize> = (0..figures.len()).filter(is_compared).collect();
    places.sort_by(|&a, &b| figures[a].compare(&figures[b]));
    places
}

/// How many of the ranked go on: half, rounded up; none that failed.
fn n_kept(figures: &[Figure]) -> usize {
    let n = |is_meant: fn(&&Figure) -> bool| figures.iter().filter(is_meant).count();
    let n_ranked = n(|figure| **figure != Figure::Passed);
    let n_missing = n(|figure| **figure == Figure::Missing);
    n_ranked.div_ceil(2).min(n_ranked - n_missing)
}

/// Updates at which trainings pause: half of all, with four trainings a quarter too, with eight an
/// eighth too.
///
/// * `planned`: updates of the longest training.
fn rungs(n_cells: usize, planned: u64) -> Vec<u64> {
    let n_rungs = match n_cells {
        0 | 1 => 0,
        2 | 3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    (1..=n_rungs).rev().map(|halvings| (planned >> halvings).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: Figure = Figure::Passed;
    const MISSING: Figure = Figure::Missing;

    fn map(map: f64) -> Figure {
        Figure::Map(Some(map))
    }

    #[test]
    fn rungs_are_halves_of_the_longest_training() {
        assert_eq!(rungs(1, 664), [0; 0]);
        assert_eq!(rungs(3, 664), [332]);
        assert_eq!(rungs(4, 664), [166, 332]);
        assert_eq!(rungs(12, 664), [83, 166, 332]);
        assert_eq!(rungs(8, 3), [1, 1, 1], "at least one update");
    }

    #[test]
    fn the_better_half_goes_on_rounded_up() {
        let figures = [map(0.1), map(0.3), Figure::Map(None), map(0.2), map(0.3)];
        assert_eq!(ranked(&figures), [1, 4, 3, 0, 2]);
        assert_eq!(n_kept(&figures), 3);
        assert_eq!(n_kept(&[map(0.1), map(0.2)]), 1);
    }

    /// Finished trainings are as many as they are; the best of the others must still be trained.
    #[test]
    fn what_came_further_pushes_nothing_out_and_what_failed_does_not_go_on() {
        let figures = [map(0.8), PASSED, map(0.9), PASSED, PASSED, MISSING];
        assert_eq!(ranked(&figures), [2, 0, 5]);
        assert_eq!(n_kept(&figures), 2);
        assert_eq!(n_kept(&[PASSED, PASSED, PASSED, map(0.1)]), 1);
        assert_eq!(n_kept(&[PASSED, PASSED]), 0);
        assert_eq!(n_kept(&[map(0.9), MISSING, MISSING]), 1, "fewer than half");
    }

    #[test]
    fn a_figure_is_that_of_the_rung_or_says_that_it_was_passed() {
        let figures = [(166, Some(0.25)), (332, None)].into();
        assert_eq!(Figure::of(&figures, 166), map(0.25));
        assert_eq!(Figure::of(&figures, 332), Figure::Map(None));
        assert_eq!(Figure::of(&figures, 83), PASSED);
        assert_eq!(Figure::of(&figures, 400), MISSING);
    }

    /// (0.1 + 0.2 + 0.6) / 3 = 0.3
    #[test]
    fn seeds_are_averaged() {
        let Figure::Map(Some(mean)) = Figure::mean(&[map(0.1), map(0.2), map(0.6)]) else {
            panic!("all have a figure")
        };
        assert!((mean - 0.3).abs() < 1e-12, "{mean}");
        assert_eq!(Figure::mean(&[map(0.1), Figure::Map(None)]), Figure::Map(None));
        assert_eq!(Figure::mean(&[map(0.1), MISSING]), MISSING);
        assert_eq!(Figure::mean(&[PASSED, map(0.1)]), PASSED);
    }
}

//! Whether new users are like those that the experiment was judged on: what they have, and what is
//! predicted for them.
//!
//! The score stage keeps a small picture of the test users, `reference.arrow`; `predict` and `audience`
//! count new users in the same way and compare.

mod compare; // which differences are large and beyond chance
mod counts; // users, counted
mod measures; // what is counted of them
mod reference; // the test users, from and to `reference.arrow`

use contract::drift::Drift;
use contract::ipc::Table;
use contract::warn_line;
use ndarray::ArrayView2;

use crate::decide::{Decider, UserDecision};
use crate::predict::brands::Brands;
pub use counts::Counts;
use measures::Sample;
pub use reference::Reference;

/// Counts new users.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    pub reference: &'a Reference,
    decider: &'a Decider,
    sample: Sample,
    /// Whether decisions are made as the test users' were
    are_decisions_alike: bool,
}

impl<'a> Watch<'a> {
    /// * `n_users`: how many there will be.
    /// * `are_decisions_alike`: whether they are made as the test users' were.
    pub fn new(
        reference: &'a Reference,
        decider: &'a Decider,
        n_users: usize,
        are_decisions_alike: bool,
    ) -> Self {
        Self { reference, decider, sample: Sample::of(n_users), are_decisions_alike }
    }

    /// Counts of no users.
    pub fn empty(&self) -> Counts {
        Counts::empty(&self.reference.measures)
    }

    /// Adds what a batch of users has.
    ///
    /// * `first`: row of the first among all users.
    pub fn add_features(&self, users: &Table, first: usize, counts: &mut Counts) {
        counts.add_features(&self.reference.measures, users, first, self.sample);
    }

    /// Adds the probabilities of a batch of users, and what was decided.
    ///
    /// * `logits`: `(n_users, n_brands)`.
    /// * `first`: row of the first among all users.
    pub fn add_scored(
        &self,
        logits: ArrayView2<f32>,
        decisions: &[UserDecision],
        first: usize,
        counts: &mut Counts,
    ) {
        counts.add_probs(self.decider, logits, first, self.sample);
        if self.are_decisions_alike {
            counts.add_decisions(decisions);
        }
    }

    /// Compares the users with the reference.
    pub fn compare(&self, counts: &Counts, brands: &Brands) -> Drift {
        compare::compare(self.reference, counts, brands)
    }
}

/// Why drift cannot be told of what an earlier version scored.
pub const NO_REFERENCE: &str = "there is no `reference.arrow` of the users that the experiment was judged \
                                on; `pipeline run` writes it, and `pipeline bundle` copies it";

/// How users differ from the reference.
///
/// * `counts`: theirs, if they were counted.
pub fn of(watch: Option<Watch>, counts: Option<&Counts>, brands: &Brands) -> Drift {
    match watch.zip(counts) {
        Some((watch, counts)) => watch.compare(counts, brands),
        None => Drift::unchecked(NO_REFERENCE),
    }
}

/// Tells people what moved.
pub fn say(drift: &Drift) {
    match &drift.unchecked {
        Some(why) => warn_line!("note: drift is not checked: {why}"),
        None => compare::lines(drift).iter().for_each(|line| warn_line!("{line}")),
    }
}

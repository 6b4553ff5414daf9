//! What to train, on which examples, and for how long.

use contract::features::Feature;

use crate::checkpoint::CheckpointFile;
use crate::examples::Examples;
use crate::params::MlpValidParams;

/// One training of one network.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// Hyperparameters
    pub params: &'a MlpValidParams,
    /// Inputs and outputs of the network
    pub architecture: &'a Architecture,
    /// Examples to learn from
    pub examples: &'a dyn Examples,
    /// Users that each epoch is judged on; none after a refit, which learns from them
    pub valid: Option<&'a dyn Examples>,
    /// Length of the training; by default as `params` say
    pub budget: Option<Budget>,
    /// Where an interrupted training resumes from
    pub checkpoints: Option<&'a CheckpointFile>,
    /// Updates after which training pauses; another process continues it from its checkpoint
    pub pause_after: Option<u64>,
}

impl Task<'_> {
    pub(crate) fn budget(&self) -> Budget {
        self.budget.unwrap_or_else(|| Budget::of(self.params, self.examples.len()))
    }
}

/// How long a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Updates that step sizes are planned for
    pub planned: u64,
    /// Updates after which training ends, at most `planned`
    pub stop_after: u64,
}

impl Budget {
    /// As many updates as the parameters say.
    pub fn of(params: &MlpValidParams, n_examples: usize) -> Self {
        let planned = params.get().planned_updates(n_examples as u64);
        Self { planned, stop_after: planned }
    }
}

/// The inputs and outputs of a network.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// The features that it reads, in order
    pub features: Vec<Feature>,
    /// For each sparse feature, the ids that have a row of weights
    pub ids: Vec<Ids>,
    /// `(n_brands,)`: training users that have each brand
    pub volumes: Vec<u64>,
    /// Training users in all
    pub n_users: u64,
}

/// The ids of a sparse feature that have a row of weights.
#[derive(Debug, Clone)]
pub enum Ids {
    /// All below this; an id is the number of its row
    Numbers(usize),
    /// These, ascending; far fewer than the largest of them
    Listed(Vec<u32>),
}

impl Ids {
    /// Rows of weights.
    pub fn n_rows(&self) -> usize {
        match self {
            Self::Numbers(n) => *n,
            Self::Listed(ids) => ids.len(),
        }
    }

    /// As [`model::Mlp::ids`] has them.
    pub fn listed(&self) -> Vec<u32> {
        match self {
            Self::Numbers(_) => Vec::new(),
            Self::Listed(ids) => ids.clone(),
        }
    }
}

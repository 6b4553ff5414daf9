//! What training and scoring share: the network, its inputs, and its file.
//!
//! * [`Model`]: any kind of model, from a batch of users to logits, and its file `model.arrow`.
//! * [`mlp`]: the multi-layer perceptron and its forward pass.
//! * [`own_history`]: a brand's logit from the user's own history of it.
//! * [`inputs`]: batches of users from feature columns.
//! * [`matmul`] and [`sigmoid`]: the arithmetic of the forward and backward pass.

pub mod inputs;
pub mod matmul;
pub mod mlp;
pub mod own_history;
pub mod sigmoid;

mod average;
mod baselines;
mod file;
mod reordered;

pub use baselines::{Persistence, Popularity, prior_logits};
pub use file::{Error, array_columns};
pub use inputs::{Bags, Batch, Inputs};
pub use mlp::{Mlp, Workspace};
pub use own_history::Channel;

use contract::features::Feature;
use contract::ipc::Table;
use ndarray::ArrayViewMut2;

/// A model of any kind: users' features in, one logit per brand out.
#[derive(Debug, Clone)]
pub struct Model {
    /// The parameters
    pub kind: Kind,
    /// The brands that it predicts, as text, in order of its outputs
    pub brand_ids: Vec<String>,
    /// How it was made; does not change what it computes
    pub training: serde_json::Value,
}

/// A kind of model with its parameters.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a program holds one or two of them")]
pub enum Kind {
    /// A trained network
    Mlp(Mlp),
    /// The same logits for every user
    Popularity(Popularity),
    /// The brands that the user had before
    Persistence(Persistence),
}

impl Model {
    /// The features that it reads, in order.
    pub fn features(&self) -> &[Feature] {
        match &self.kind {
            Kind::Mlp(mlp) => &mlp.features,
            Kind::Popularity(_) => &[],
            Kind::Persistence(model) => std::slice::from_ref(&model.history),
        }
    }

    /// Finds the model's features among the columns of a table.
    ///
    /// # Errors
    ///
    /// As [`Inputs::new`].
    pub fn inputs<'a>(&self, table: &'a Table) -> Result<Inputs<'a>, String> {
        let inputs = Inputs::new(table, self.features())?;
        Ok(match &self.kind {
            Kind::Mlp(mlp) => inputs.with_ids(&mlp.ids),
            Kind::Popularity(_) | Kind::Persistence(_) => inputs,
        })
    }

    /// The brands in the users' own histories, a list for each channel that the model reads.
    ///
    /// * `batch`: as in [`Self::logits`].
    pub fn own_history<'a>(&self, batch: &'a Batch) -> Vec<&'a Bags> {
        match &self.kind {
            Kind::Mlp(mlp) => mlp.own_history.iter().map(|c| &batch.bags[c.bag]).collect(),
            Kind::Popularity(_) | Kind::Persistence(_) => Vec::new(),
        }
    }

    /// Logits of a batch of users.
    ///
    /// * `batch`: the users' features, those of [`Self::features`] in that order.
    /// * `logits`: `(n_users, n_brands)`, overwritten.
    pub fn logits(&self, batch: &Batch, workspace: &mut Workspace, logits: ArrayViewMut2<f32>) {
        match &self.kind {
            Kind::Mlp(mlp) => mlp.forward(batch, workspace, logits, None),
            Kind::Popularity(model) => model.logits(logits),
            Kind::Persistence(model) => model.logits(batch, logits),
        }
    }
}

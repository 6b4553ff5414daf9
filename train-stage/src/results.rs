//! What the stage writes.

use model::Model;
use train_stage::checkpoint::CheckpointFile;
use train_stage::state::Epoch;

pub struct Results {
    pub model: Model,
    /// After a refit, the model that never saw the valid users: thresholds are fitted with it
    pub judged: Option<Model>,
    /// For people, as in `18 examples, 6 updates, kept after epoch 2 of 3`
    pub summary: String,
    /// Epochs of each member
    pub history: Vec<Vec<Epoch>>,
    /// Wall time of earlier processes whose checkpoints were used
    pub earlier_secs: f64,
    /// To be removed once the results are in place
    pub checkpoints: Vec<CheckpointFile>,
}

impl Results {
    /// A model that took no training.
    pub fn untrained(model: Model, summary: &str) -> Self {
        Self {
            model,
            judged: None,
            summary: summary.to_owned(),
            history: Vec::new(),
            earlier_secs: 0.0,
            checkpoints: Vec::new(),
        }
    }
}

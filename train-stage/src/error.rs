//! Why a model cannot be trained.

/// Why a model cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Every parameter that is out of range
    #[error("{0}")]
    Params(String),
    /// The examples do not fit the parameters or each other
    #[error("{0}")]
    Data(String),
    /// The loss is not finite, or a thousand times the largest one before
    #[error(
        "the loss is {loss} in epoch {epoch}, batch {batch} (update {update})\n\
         likely cause: {cause}"
    )]
    NotFinite {
        /// Loss of the batch
        loss: f64,
        /// From 1
        epoch: u32,
        /// From 1, in its epoch
        batch: u64,
        /// From 1, over all epochs
        update: u64,
        /// What is wrong and what to do about it
        cause: String,
    },
    /// A checkpoint cannot be written
    #[error("cannot write a checkpoint: {0}")]
    Checkpoint(contract::ipc::Error),
    /// The system cannot start the threads
    #[error(transparent)]
    Threads(#[from] contract::threads::Error),
    /// Ctrl-C; a checkpoint is written
    #[error("interrupted after update {update}; run it again to resume from there")]
    Interrupted {
        /// Updates done
        update: u64,
    },
    /// The training is to be continued, or not; a checkpoint is written
    #[error("paused after {update} of {planned} updates")]
    Paused {
        /// Updates done
        update: u64,
        /// Updates of the whole training
        planned: u64,
        /// Mean average precision on the valid users
        map: Option<f64>,
    },
    /// An error of linfa itself
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}

//! What a block of users leaves for the backward pass.

use super::sparse::Entry;

/// Users that a thread takes at a time.
pub(super) const BLOCK: usize = 16;

/// Results of a block of users; reused from update to update.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Loss of the users
    pub(super) loss: f64,
    /// Gradients of the logits that were kept, user after user
    pub(super) entries: Vec<Entry>,
    /// End of each user's entries
    ends: Vec<usize>,
    /// For each channel, gradients of the logits of the brands in the users' histories, user after
    /// user
    pub(super) own_history: Vec<Vec<f32>>,
}

impl Block {
    pub(super) fn clear(&mut self, n_channels: usize) {
        self.loss = 0.0;
        self.entries.clear();
        self.ends.clear();
        self.own_history.resize_with(n_channels, Vec::new);
        self.own_history.iter_mut().for_each(Vec::clear);
    }

    /// The entries since the last call are those of a user.
    pub(super) fn end_user(&mut self) {
        self.ends.push(self.entries.len());
    }

    /// The entries of each user.
    pub(super) fn users(&self) -> impl Iterator<Item = &[Entry]> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.entries[start..end])
    }
}

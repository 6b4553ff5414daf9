//! Why a stage runs.

use super::changes::Change;

/// Why results are not those that running a stage would give.
#[derive(Debug, Default)]
pub struct Why {
    /// A reason other than a change of a part
    pub words: Option<String>,
    /// Changed parts of the fingerprint
    pub changes: Vec<Change>,
}

impl Why {
    /// A reason in words.
    pub fn of(words: impl Into<String>) -> Self {
        Self { words: Some(words.into()), changes: Vec::new() }
    }

    /// Every reason in words.
    pub fn reasons(&self) -> Vec<String> {
        self.words.iter().cloned().chain(self.changes.iter().map(Change::to_string)).collect()
    }

    /// The first reasons on one line.
    pub fn line(&self) -> String {
        const SHOWN: usize = 3;

        // A changed query takes several lines.
        let first = |reason: String| {
            reason.lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
        };
        let mut reasons: Vec<String> = self.reasons().into_iter().map(first).collect();
        let n_more = reasons.len().saturating_sub(SHOWN);
        reasons.truncate(SHOWN);
        if n_more > 0 {
            reasons.push(format!("and {n_more} more; see `pipeline explain`"));
        }
        reasons.join("; ")
    }
}

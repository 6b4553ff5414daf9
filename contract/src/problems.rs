//! Mistakes in a manifest, collected so that all are shown at once.

use std::fmt;

/// One mistake: where it is, what was found, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// `FILE:LINE:COLUMN`, or the `--set` that brought the value in.
    pub place: String,
    /// The rule, the value found and, where there is one, the nearest known name.
    pub message: String,
}

/// All mistakes of one manifest. Never empty when returned as an error.
#[derive(Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.len();
        write!(f, "the manifest has {n} problem{}", if n == 1 { "" } else { "s" })?;
        for problem in &self.0 {
            write!(f, "\n  {}: {}", problem.place, problem.message)?;
        }
        Ok(())
    }
}

/// The known name nearest to `name`, if it is near enough to be a slip of the keyboard.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `` did you mean `x`? `` or the known names, for the end of a message.
pub(crate) fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(name, known.clone()) {
        format!("did you mean `{near}`?")
    } else {
        let names: Vec<_> = known.into_iter().map(|n| format!("`{n}`")).collect();
        format!("known: {}", names.join(", "))
    }
}

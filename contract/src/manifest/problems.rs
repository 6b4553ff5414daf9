//! Mistakes in a manifest, collected so that all are shown at once.

use std::fmt;

/// One mistake: where it is, what was found, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// `FILE:LINE:COLUMN`, or the `--set` that wrote the value.
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

/// The known name nearest to `name`, if it is near enough to be a typo.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
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

/// Warnings about columns or parameters that are not read.
///
/// * `noun`: what they are, as `column`.
/// * `found`: all names that are there.
/// * `known`: all names that are read, whether there or not.
///
/// One warning for each name that is near a known one that is missing, and one for all others.
pub fn unused<'a>(
    noun: &str,
    found: impl IntoIterator<Item = &'a str>,
    known: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let (mut warnings, others) = slips(noun, found, known);
    match others.as_slice() {
        [] => {}
        [other] => warnings.push(format!("{noun} {other} is not used")),
        others => warnings.push(format!("{noun}s {} are not used", others.join(", "))),
    }
    warnings
}

/// As [`unused`], with the names that are near a known one separate from the others.
pub fn slips<'a>(
    noun: &str,
    found: impl IntoIterator<Item = &'a str>,
    known: impl IntoIterator<Item = &'a str>,
) -> (Vec<String>, Vec<String>) {
    let found: Vec<&str> = found.into_iter().collect();
    let known: Vec<&str> = known.into_iter().collect();
    let missing = known.iter().copied().filter(|name| !found.contains(name));
    let (mut warnings, mut others) = (Vec::new(), Vec::new());
    for &name in found.iter().filter(|name| !known.contains(name)) {
        match nearest(&name.to_lowercase(), missing.clone()) {
            Some(near) => {
                warnings.push(format!("{noun} `{name}` is not used; did you mean `{near}`?"));
            }
            None => others.push(format!("`{name}`")),
        }
    }
    (warnings, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unused_name_is_reported_with_the_nearest_missing_one() {
        let known = ["user_id", "brands", "weight", "is_clone", "ignored_brands"];
        let unused = |found: &[&'static str]| unused("column", found.iter().copied(), known);
        assert!(unused(&["user_id", "brands"]).is_empty());
        for (slip, near) in [
            ("wieght", "weight"),
            ("Weight", "weight"),
            ("isclone", "is_clone"),
            ("clone", "is_clone"),
            ("ignore_brands", "ignored_brands"),
        ] {
            let expected = format!("column `{slip}` is not used; did you mean `{near}`?");
            assert_eq!(unused(&["user_id", "brands", slip]), [expected]);
        }
        assert_eq!(unused(&["user_id", "age"]), ["column `age` is not used"]);
        let several = ["columns `age`, `weights` are not used"];
        assert_eq!(unused(&["age", "weight", "weights"]), several, "`weight` is there already");
    }
}

//! How runs and their stages end.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not ended, or was killed
    Running,
    /// All selected results are there
    Done,
    /// A stage failed
    Failed,
    /// Stopped with Ctrl-C
    Interrupted,
}

/// What became of a stage in a run. Messages and JSON have it as text, such as `ran` or
/// `shared with bau`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum StageResult {
    /// Its program ran and succeeded.
    Ran,
    /// Its results were up to date.
    Fresh,
    /// Kept results of an earlier setting took their place again.
    Restored,
    /// Kept results that this experiment made took their place.
    SharedWith(String),
    /// Its program failed.
    Failed,
    /// It could not start.
    Blocked,
    /// Its program was stopped with Ctrl-C.
    Interrupted,
    /// A training that waits for those it is compared with.
    Paused,
    /// A training that goes no further, as others of its matrix are better.
    EndedEarly,
}

impl StageResult {
    /// What becomes of a stage that takes over kept results.
    ///
    /// * `maker`: the experiment that made them.
    pub fn of_kept(maker: Option<&String>, experiment: Option<&String>) -> Self {
        match maker {
            Some(maker) if Some(maker) != experiment => Self::SharedWith(maker.clone()),
            _ => Self::Restored,
        }
    }

    /// Whether the results are there.
    pub fn is_success(&self) -> bool {
        match self {
            Self::Ran | Self::Fresh | Self::Restored | Self::SharedWith(_) => true,
            Self::Failed | Self::Blocked | Self::Interrupted | Self::Paused | Self::EndedEarly => {
                false
            }
        }
    }

    /// Whether something must be fixed before the stage can succeed.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed | Self::Blocked)
    }
}

const SHARED_WITH: &str = "shared with ";

impl fmt::Display for StageResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ran => "ran",
            Self::Fresh => "fresh",
            Self::Restored => "restored",
            Self::SharedWith(maker) => return write!(f, "{SHARED_WITH}{maker}"),
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Interrupted => "interrupted",
            Self::Paused => "paused",
            Self::EndedEarly => "ended early",
        })
    }
}

impl From<StageResult> for String {
    fn from(result: StageResult) -> Self {
        result.to_string()
    }
}

impl TryFrom<String> for StageResult {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(maker) = text.strip_prefix(SHARED_WITH) {
            return Ok(Self::SharedWith(maker.to_owned()));
        }
        let without_name = [
            Self::Ran,
            Self::Fresh,
            Self::Restored,
            Self::Failed,
            Self::Blocked,
            Self::Interrupted,
            Self::Paused,
            Self::EndedEarly,
        ];
        let found = without_name.into_iter().find(|result| result.to_string() == text);
        found.ok_or_else(|| format!("found `{text}`, expected the result of a stage"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Other programs read these words in `run.json` and `history --json`.
    #[test]
    fn the_json_of_a_stage_result_is_its_word() {
        let shared = StageResult::SharedWith("bau".to_owned());
        for (result, word) in [
            (StageResult::Ran, "ran"),
            (StageResult::Fresh, "fresh"),
            (StageResult::Restored, "restored"),
            (shared, "shared with bau"),
            (StageResult::Failed, "failed"),
            (StageResult::Blocked, "blocked"),
            (StageResult::Interrupted, "interrupted"),
        ] {
            assert_eq!(json!(result), json!(word));
            assert_eq!(serde_json::from_value::<StageResult>(json!(word)).unwrap(), result);
        }
        let unknown = serde_json::from_value::<StageResult>(json!("shared")).unwrap_err();
        assert!(unknown.to_string().contains("found `shared`"), "{unknown}");
    }

    #[test]
    fn an_interrupt_is_neither_a_success_nor_a_failure() {
        assert!(StageResult::SharedWith("bau".to_owned()).is_success());
        assert!(StageResult::Blocked.is_failure() && !StageResult::Blocked.is_success());
        assert!(!StageResult::Interrupted.is_failure() && !StageResult::Interrupted.is_success());
    }

    #[test]
    fn kept_results_are_shared_only_if_another_experiment_made_them() {
        let (a, b) = ("a".to_owned(), "b".to_owned());
        assert_eq!(StageResult::of_kept(Some(&a), Some(&a)), StageResult::Restored);
        assert_eq!(StageResult::of_kept(Some(&a), Some(&b)), StageResult::SharedWith(a));
        assert_eq!(StageResult::of_kept(None, None), StageResult::Restored);
    }
}

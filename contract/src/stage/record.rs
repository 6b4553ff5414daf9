//! `stage.json`: what a stage's results depend on, and what they are.
//!
//! It is written after the stage's outputs, so a record that matches them proves that the stage
//! succeeded.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{RECORD, StagePlan};
use crate::ipc::{self, Error};

pub use super::changes::Change;

/// Increased when the meaning of stages' files changes, so that all results become stale.
pub(super) const CONTRACT_VERSION: u32 = 1;

/// A stage's record.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The step
    pub stage: String,
    /// The experiment that made it first; other experiments may share it
    pub experiment: Option<String>,
    /// Hash of [`Self::parts`]
    pub fingerprint: String,
    /// Everything that the outputs depend on
    pub parts: Parts,
    /// The files made, by name
    pub outputs: BTreeMap<String, Output>,
    /// Wall time in seconds, including the earlier parts of a training that was resumed
    pub secs: f64,
    /// Largest resident memory of the process, if the system reports it
    pub peak_memory_bytes: Option<u64>,
    /// The stage's own figures
    pub summary: Value,
    /// Changes since it ran that were accepted by hand, the latest last
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Accepted>,
}

/// A change of a stage's parts that was accepted by hand, so that its results were kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// When, in UTC
    pub when: String,
    /// The reason given
    pub because: String,
    /// The changed parts
    pub changes: Vec<Change>,
}

/// Everything that a stage's outputs depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parts {
    /// Version of the contracts between stages
    pub contract: u32,
    /// Hash of the program
    pub binary: String,
    /// Parameters in canonical form
    pub params: Value,
    /// Hash of each input's content, by name; null if it is missing
    pub inputs: BTreeMap<String, Option<String>>,
}

/// A file that a stage made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Hash of its bytes
    pub blake3: String,
    /// Hash of its content, independent of who made it; empty in records of older versions
    #[serde(default)]
    pub content: String,
    /// Size of the file
    pub n_bytes: u64,
    /// Rows of the table; 0 for other files
    pub n_rows: u64,
}

impl Output {
    /// The record of a file, by the stage that made it; `None` if no stage made it.
    pub fn recorded(path: &Path) -> Option<Self> {
        let mut record = Record::load(&path.parent()?.join(RECORD))?;
        record.outputs.remove(&*path.file_name()?.to_string_lossy())
    }
}

impl Parts {
    /// Hash of all parts; the order of parameters does not matter.
    pub fn fingerprint(&self) -> String {
        let canonical = Self { params: sorted(&self.params), ..self.clone() };
        let text = serde_json::to_string(&canonical).expect("parts are plain data");
        blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
    }
}

/// The same value with the keys of all maps sorted, so that equal settings have equal text.
pub(super) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<_, _> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

impl Record {
    /// Reads a stage's record; `None` if it is missing or cannot be parsed.
    pub fn load(path: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }

    /// Writes the record, replacing an earlier one.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).expect("a record is plain data");
        ipc::finish_text(path, &text)?.commit()
    }

    /// Size of all files made.
    pub fn n_bytes(&self) -> u64 {
        self.outputs.values().map(|output| output.n_bytes).sum()
    }

    /// Rows of all tables made.
    pub fn n_rows(&self) -> u64 {
        self.outputs.values().map(|output| output.n_rows).sum()
    }

    /// Whether the stage ran with the parameters that the plan has now.
    pub fn has_params_of(&self, plan: &StagePlan) -> bool {
        // By fingerprint, as numbers read back from a record may differ in their last digit.
        let as_planned = Parts { params: plan.params.clone(), ..self.parts.clone() };
        as_planned.fingerprint() == self.fingerprint
    }

    /// The record of a stage of the plan's folder.
    pub fn of(plan: &StagePlan) -> Option<Self> {
        Self::load(&plan.record_path()).filter(|record| record.stage == plan.id.stage.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parts(params: Value) -> Parts {
        let inputs = [("features".to_owned(), Some("f0".to_owned())), ("sql".to_owned(), None)];
        Parts { contract: 1, binary: "b0".to_owned(), params, inputs: inputs.into() }
    }

    #[test]
    fn a_fingerprint_does_not_depend_on_the_order_of_keys() {
        let one = parts(json!({"a": 1, "b": {"c": [{"x": 1, "y": 2}], "d": null}}));
        let other = parts(json!({"b": {"d": null, "c": [{"y": 2, "x": 1}]}, "a": 1}));
        assert_eq!(one.fingerprint(), other.fingerprint());
    }

    #[test]
    fn every_part_changes_the_fingerprint() {
        let plain = parts(json!({"hidden": [8, 16]}));
        let mut input = plain.clone();
        input.inputs.insert("features".to_owned(), Some("f1".to_owned()));
        let mut missing = plain.clone();
        missing.inputs.insert("features".to_owned(), None);
        let others = [
            parts(json!({"hidden": [16, 8]})), // the order of a list counts
            parts(json!({"hidden": [8.0, 16]})),
            parts(json!({})),
            Parts { contract: 2, ..plain.clone() },
            Parts { binary: "b1".to_owned(), ..plain.clone() },
            input,
            missing,
        ];
        let mut seen: Vec<String> = others.iter().map(Parts::fingerprint).collect();
        seen.push(plain.fingerprint());
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn a_missing_or_damaged_record_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECORD);
        assert!(Record::load(&path).is_none());
        std::fs::write(&path, "{\"stage\": \"train\"").unwrap();
        assert!(Record::load(&path).is_none());
    }
}

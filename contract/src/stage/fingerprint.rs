//! The parts that a stage's results depend on, and whether its files are as it wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::changes::{Change, value_changes};
use super::hashes::Hashes;
use super::plan::StagePlan;
use super::record::{Accepted, CONTRACT_VERSION, Parts, Record, sorted};
use crate::ipc::Error;
use crate::words::{count, plural};

impl Parts {
    /// Collects the parts that a plan's outputs depend on; each input is read once.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if an input that the stage needs cannot be read.
    pub fn of(plan: &StagePlan, binary: &Path, hashes: &mut Hashes) -> Result<Self, Error> {
        let mut inputs = BTreeMap::new();
        for input in plan.inputs.iter().filter(|input| !input.is_in_params) {
            let is_absent = input.is_optional && !hashes.is_there(&input.path);
            let hash = match &input.object {
                Some(object) => Some(hashes.of_object(object)?),
                None if is_absent => None,
                None => Some(hashes.content_of(&input.path)?),
            };
            inputs.insert(input.name.clone(), hash);
        }
        let records = plan.records.iter().filter_map(|path| Record::load(path));
        let accepted: Vec<Accepted> = records.flat_map(|record| record.accepted).collect();
        if !accepted.is_empty() {
            let text = serde_json::to_string(&accepted).expect("a record is plain data");
            inputs.insert("accepted".to_owned(), Some(blake3::hash(text.as_bytes()).to_string()));
        }
        Ok(Self {
            contract: CONTRACT_VERSION,
            binary: hashes.of(binary)?,
            params: sorted(&plan.params),
            inputs,
        })
    }

    /// Every part that differs from `old`.
    pub fn changes_since(&self, old: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut add = |part: &str, old: Value, new: Value| {
            if old != new {
                changes.push(Change { part: part.to_owned(), old, new });
            }
        };
        add("contract", old.contract.into(), self.contract.into());
        add("program", old.binary.as_str().into(), self.binary.as_str().into());
        let names: BTreeSet<_> = self.inputs.keys().chain(old.inputs.keys()).collect();
        for name in names {
            let hash = |parts: &Self| parts.inputs.get(name).cloned().flatten().map(Value::from);
            let (old, new) = (hash(old).unwrap_or_default(), hash(self).unwrap_or_default());
            add(&format!("input.{name}"), old, new);
        }
        value_changes("", &old.params, &self.params, &mut changes);
        changes
    }
}

impl Record {
    /// The first output in `dir` that differs from the record, with what is wrong.
    pub fn damage(&self, dir: &Path, hashes: &mut Hashes) -> Option<String> {
        self.outputs.iter().find_map(|(name, output)| {
            let path = dir.join(name);
            let Ok(metadata) = std::fs::metadata(&path) else {
                return Some(format!("`{}` is gone", path.display()));
            };
            if metadata.len() != output.n_bytes {
                let found = plural(metadata.len(), "byte");
                let written = count(output.n_bytes);
                return Some(format!("`{}` has {found}, {written} were written", path.display()));
            }
            let is_same = hashes.of(&path).is_ok_and(|hash| hash == output.blake3);
            (!is_same).then(|| format!("`{}` was changed after it was written", path.display()))
        })
    }
}

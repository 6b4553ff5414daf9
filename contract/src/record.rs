//! `stage.json`: what a stage was made of and what it made.
//!
//! It is written after the stage's outputs, so a record that matches them is the proof
//! that the stage ended well.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::ipc::{self, Error};
use crate::plan::StagePlan;

/// Counted up when the meaning of stages' files changes, so that all results become stale.
const CONTRACT_VERSION: u32 = 1;

/// A stage's record.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The step
    pub stage: String,
    /// The experiment that made it first; others may share it
    pub experiment: Option<String>,
    /// Hash of [`Self::parts`]
    pub fingerprint: String,
    /// All that the outputs depend on
    pub parts: Parts,
    /// The files made, by name
    pub outputs: BTreeMap<String, Output>,
    /// Wall time; of a training that was stopped in between, with the updates of its earlier parts
    pub secs: f64,
    /// Largest resident memory of the process, where the system tells it
    pub peak_memory_bytes: Option<u64>,
    /// What the stage says of its result
    pub summary: Value,
    /// Changes since it ran that somebody vouched for, the last one last
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Accepted>,
}

/// A change of what a stage's results are made of, after which they were kept because somebody
/// vouched for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// When, in UTC
    pub when: String,
    /// The reason given
    pub because: String,
    /// What had changed
    pub changes: Vec<Change>,
}

/// All that a stage's outputs depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parts {
    /// Version of the contracts between stages
    pub contract: u32,
    /// Hash of the program
    pub binary: String,
    /// Parameters in canonical form
    pub params: Value,
    /// Hash of what each input holds, by name
    pub inputs: BTreeMap<String, Option<String>>,
}

/// A file that a stage made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Hash of its bytes
    pub blake3: String,
    /// Hash of what it holds, whoever made it; empty in the records of older versions
    #[serde(default)]
    pub content: String,
    /// Its size
    pub n_bytes: u64,
    /// Its rows, 0 if it is no table
    pub n_rows: u64,
}

impl Output {
    /// What the stage that made a file recorded of it; `None` for what no stage made.
    pub fn recorded(path: &Path) -> Option<Self> {
        let mut record = Record::load(&path.parent()?.join("stage.json"))?;
        record.outputs.remove(&*path.file_name()?.to_string_lossy())
    }
}

impl Parts {
    /// Collects what a plan's outputs depend on, reading every input once.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if an input that the stage needs cannot be read.
    pub fn of(plan: &StagePlan, binary: &Path, hashes: &mut Hashes) -> Result<Self, Error> {
        let mut inputs = BTreeMap::new();
        for input in plan.inputs.iter().filter(|input| !input.is_in_params) {
            let is_absent = input.is_optional && !hashes.is_there(&input.path);
            let hash = if is_absent { None } else { Some(hashes.content_of(&input.path)?) };
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

    /// Hash of all parts; the order of parameters does not matter.
    pub fn fingerprint(&self) -> String {
        let canonical = Self { params: sorted(&self.params), ..self.clone() };
        let text = serde_json::to_string(&canonical).expect("parts are plain data");
        blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
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
        let names: std::collections::BTreeSet<_> =
            self.inputs.keys().chain(old.inputs.keys()).collect();
        for name in names {
            let hash = |parts: &Self| parts.inputs.get(name).cloned().flatten().map(Value::from);
            let (old, new) = (hash(old).unwrap_or_default(), hash(self).unwrap_or_default());
            add(&format!("input.{name}"), old, new);
        }
        value_changes("", &old.params, &self.params, &mut changes);
        changes
    }
}

/// A part of a fingerprint that is not as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// `contract`, `program`, `input.NAME`, or the key of a parameter
    pub part: String,
    /// What it was; null where it was not there
    pub old: Value,
    /// What it is; null where it is not there any more
    pub new: Value,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { part, old, new } = self;
        match (part.as_str(), part.strip_prefix("input."), old, new) {
            ("program", ..) => f.write_str("the program was rebuilt"),
            ("contract", ..) => write!(f, "the contracts' version: {old} -> {new}"),
            ("input.accepted", ..) => f.write_str("other changes are accepted"),
            (_, Some(name), Value::Null, _) => write!(f, "input `{name}` is new"),
            (_, Some(name), _, Value::Null) => write!(f, "input `{name}` is gone"),
            (_, Some(name), ..) => write!(f, "input `{name}` has other content"),
            (_, None, Value::String(old), Value::String(new)) if old.contains('\n') => {
                write!(f, "`{part}` says something else:{}", changed_lines(old, new))
            }
            _ => write!(f, "`{part}`: {} -> {}", shown(old), shown(new)),
        }
    }
}

/// Hashes of files, each computed once as long as the file is not touched.
#[derive(Debug, Default)]
pub struct Hashes {
    known: HashMap<PathBuf, (Stamp, String)>,
    /// What files will hold when kept results are in their places
    assumed: HashMap<PathBuf, String>,
}

/// What the file system changes whenever a file's bytes change: its size, its inode and the time of
/// its last change, which no program can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    len: u64,
    inode: u64,
    changed: (i64, i64),
}

/// Two changes of a file within this may have the same time, in seconds.
const TICK: i64 = 2;

impl Stamp {
    fn of(path: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::MetadataExt as _;

        let metadata = std::fs::metadata(path).map_err(|err| Error::io(path, err))?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Ok(Self { len: metadata.len(), inode: metadata.ino(), changed })
    }
}

impl Hashes {
    /// Hashes that an earlier program left; none if the file cannot be understood.
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self { known: serde_json::from_str(&text).unwrap_or_default(), ..Self::default() }
    }

    /// Leaves the hashes for a later program, but for those of files that changed just now and of
    /// files that are gone.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_settled = |stamp: &Stamp| stamp.changed.0 + TICK < now.as_secs() as i64;
        let kept: BTreeMap<_, _> =
            self.known.iter().filter(|(path, (s, _))| is_settled(s) && path.exists()).collect();
        let text = serde_json::to_string(&kept).expect("paths and hashes are plain data");
        ipc::finish_text(path, &text)?.commit()
    }

    /// The hash of what a file holds: as its stage recorded it, if it still has the bytes that the
    /// stage wrote; else of its bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn content_of(&mut self, path: &Path) -> Result<String, Error> {
        if let Some(content) = self.assumed.get(path) {
            return Ok(content.clone());
        }
        let hash = self.of(path)?;
        let recorded = Output::recorded(path).filter(|output| output.blake3 == hash);
        Ok(recorded.map(|output| output.content).filter(|c| !c.is_empty()).unwrap_or(hash))
    }

    /// From now on the stage's folder `dir` counts as holding what a record says, so that what
    /// follows can be looked at before it does.
    pub fn assume(&mut self, dir: &Path, record: &Record) {
        let content = |output: &Output| match &*output.content {
            "" => output.blake3.clone(),
            content => content.to_owned(),
        };
        let files = record.outputs.iter().map(|(name, output)| (dir.join(name), content(output)));
        self.assumed.extend(files);
    }

    /// Nothing is assumed any more.
    pub fn assume_nothing(&mut self) {
        self.assumed.clear();
    }

    /// Whether a file is there, or assumed to be.
    pub fn is_there(&self, path: &Path) -> bool {
        self.assumed.contains_key(path) || path.exists()
    }

    /// The hash of a file's bytes, if it was asked for before.
    pub fn known(&self, path: &Path) -> Option<&str> {
        self.known.get(path).map(|(_, hash)| hash.as_str())
    }

    /// The hash of a file's bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn of(&mut self, path: &Path) -> Result<String, Error> {
        let stamp = Stamp::of(path)?;
        match self.known.get(path) {
            Some((known, hash)) if *known == stamp => Ok(hash.clone()),
            _ => {
                let hash = ipc::hash_file(path)?;
                self.known.insert(path.to_path_buf(), (stamp, hash.clone()));
                Ok(hash)
            }
        }
    }
}

/// The same value with every map's keys in order, so that equal settings give equal text.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<_, _> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

fn value_changes(path: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let side = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or(Value::Null)
                };
                value_changes(&inner, &side(a), &side(b), changes);
            }
        }
        // Lists of maps with names, as the report's of experiments, are compared name by name.
        (Value::Array(a), Value::Array(b))
            if a.iter().chain(b).all(|item| item["name"].is_string()) =>
        {
            let by_name = |items: &[Value]| -> Value {
                let named = |item: &Value| Some((item["name"].as_str()?.to_owned(), item.clone()));
                items.iter().filter_map(named).collect::<serde_json::Map<_, _>>().into()
            };
            value_changes(path, &by_name(a), &by_name(b), changes);
        }
        _ if !is_same(old, new) => {
            changes.push(Change { part: path.to_owned(), old: old.clone(), new: new.clone() });
        }
        _ => {}
    }
}

/// Whether two values are the same; a fraction read back from a record may differ in its last digit.
/// A whole number and a fraction are two things to a query, as 1 and 1.0.
fn is_same(old: &Value, new: &Value) -> bool {
    let fraction = |value: &Value| value.as_f64().filter(|_| value.is_f64());
    let is_close = |(a, b): (f64, f64)| (a - b).abs() <= 2.0 * f64::EPSILON * a.abs();
    old == new || fraction(old).zip(fraction(new)).is_some_and(is_close)
}

/// A value as its setting was written: a number of single precision with no more digits than it has.
fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() && f64::from(number as f32) == number => {
            format!("{:?}", number as f32)
        }
        _ => value.to_string(),
    }
}

/// Lines that were taken out and put in.
fn changed_lines(old: &str, new: &str) -> String {
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n") + "\n";
    let (old, new) = (trimmed(old), trimmed(new));
    let mut lines = String::new();
    for change in TextDiff::from_lines(&old, &new).iter_all_changes() {
        if change.tag() != ChangeTag::Equal {
            let _ = write!(lines, "\n    {} {}", change.tag(), change.value().trim_end());
        }
    }
    lines
}

impl Record {
    /// Reads a stage's record; `None` if there is none that can be understood.
    pub fn load(path: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }

    /// Writes the record, in place of one that may be there.
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
        // By fingerprint: numbers read back from a record may differ in their last digit.
        let as_planned = Parts { params: plan.params.clone(), ..self.parts.clone() };
        as_planned.fingerprint() == self.fingerprint
    }

    /// The record of a stage of the plan's folder.
    pub fn of(plan: &StagePlan) -> Option<Self> {
        Self::load(&plan.record_path()).filter(|record| record.stage == plan.stage.name())
    }

    /// The first output in `dir` that is not as recorded, with what is wrong.
    pub fn damage(&self, dir: &Path, hashes: &mut Hashes) -> Option<String> {
        self.outputs.iter().find_map(|(name, output)| {
            let path = dir.join(name);
            let Ok(metadata) = std::fs::metadata(&path) else {
                return Some(format!("`{}` is gone", path.display()));
            };
            if metadata.len() != output.n_bytes {
                return Some(format!(
                    "`{}` has {} bytes, {} were written",
                    path.display(),
                    metadata.len(),
                    output.n_bytes
                ));
            }
            let is_same = hashes.of(&path).is_ok_and(|hash| hash == output.blake3);
            (!is_same).then(|| format!("`{}` was changed after it was written", path.display()))
        })
    }
}

//! The record of each run, by the runner or of a stage alone: `run_dir/.runs/ID/run.json`, and an index
//! that is only ever appended to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::changes::Change;
use super::machine::Machine;
use super::outcome::{Outcome, StageResult};
use super::plan::{Input, StageId, StagePlan};
use super::record::{Output, Parts, Record};
use super::why::Why;
use crate::{Manifest, ipc};

const FOLDER: &str = ".runs";
const INDEX: &str = "index.jsonl";
const RUN: &str = "run.json";

/// One run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// When it started, and its process number
    pub id: String,
    /// When it started, in UTC
    pub started: String,
    /// Wall time so far
    pub secs: f64,
    /// The program: `pipeline`, or that of a stage which ran alone
    #[serde(default = "runner")]
    pub program: String,
    /// The command line, without the program
    pub arguments: Vec<String>,
    /// Version of the program
    pub version: String,
    /// State of the manifest's repository, where there is one
    pub git: Option<Git>,
    /// The computer
    pub machine: Machine,
    /// How it ended
    pub outcome: Outcome,
    /// What became of each stage, in the order they ended
    pub stages: Vec<StageOutcome>,
}

/// Name of the program that runs stages.
pub const RUNNER: &str = "pipeline";

fn runner() -> String {
    RUNNER.to_owned()
}

/// State of a repository.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Git {
    /// Hash of the commit
    pub commit: String,
    /// Whether tracked files differ from it
    pub is_dirty: bool,
}

/// What became of a stage.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StageOutcome {
    /// Which stage
    #[serde(flatten)]
    pub id: StageId,
    /// `fresh`, `restored`, `shared with NAME`, `ran`, `failed`, `interrupted`, `blocked`, or of a
    /// matrix with halving `paused` or `ended early`
    #[schemars(with = "String")]
    pub outcome: StageResult,
    /// Why it ran, if that is not a change of a part of its fingerprint
    pub reason: Option<String>,
    /// Parts of its fingerprint that had changed
    pub changes: Vec<Change>,
    /// Of its results, or of those that it would have made
    pub fingerprint: Option<String>,
    /// What its results are made of
    pub parts: Option<Parts>,
    /// Seeds in its settings, by key
    pub seeds: BTreeMap<String, u64>,
    /// Wall time, if it ran; of a training that was stopped in between, with the updates of its
    /// earlier parts
    pub secs: Option<f64>,
    /// Largest resident memory, if it ran
    pub peak_memory_bytes: Option<u64>,
    /// Rows of the tables of other stages that it reads
    pub rows_in: u64,
    /// Size of the files that it reads
    pub bytes_in: u64,
    /// Rows of its tables
    pub rows_out: Option<u64>,
    /// Size of its files
    pub bytes_out: Option<u64>,
}

/// How a stage ended, as far as its own record does not say it.
pub struct StageEnd {
    /// What became of it
    pub result: StageResult,
    /// Why it ran, or did not
    pub why: Why,
    /// Of the results that it would have made
    pub fingerprint: Option<String>,
    /// Wall time of the process, if there was one
    pub secs: Option<f64>,
}

impl StageEnd {
    /// The end of a stage that no process ran.
    pub fn without_running(result: StageResult, why: Why) -> Self {
        Self { result, why, fingerprint: None, secs: None }
    }
}

/// A run that is being recorded. The record is written anew after each stage, so that a killed run shows
/// how far it came.
pub struct Recorder {
    path: PathBuf,
    run: Run,
    began: Instant,
}

impl Recorder {
    /// Removes unfinished records that killed runs left.
    pub fn clear(manifest: &Manifest) {
        let dir = manifest.run_dir.join(FOLDER);
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path().join(".run.json.partial"));
        }
    }

    /// Begins the record and appends the run to the index.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn begin(manifest: &Manifest) -> Result<Self> {
        let dir = manifest.run_dir.join(FOLDER);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let run = Run::starting(manifest.path.parent().unwrap_or(Path::new(".")), &dir);
        let Run { id, started, program, arguments, .. } = &run;
        let line =
            json!({"id": id, "started": started, "program": program, "arguments": arguments});
        let index = dir.join(INDEX);
        let dir = dir.join(&run.id);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let recorder = Self { path: dir.join(RUN), run, began: Instant::now() };
        recorder.write()?;
        append_line(&index, &line.to_string())
            .with_context(|| format!("cannot write {}", index.display()))?;
        Ok(recorder)
    }

    /// Adds what became of a stage.
    ///
    /// * `record`: of its results, if they are there.
    ///
    /// # Errors
    ///
    /// If the record of the run cannot be written.
    pub fn add(&mut self, plan: &StagePlan, end: StageEnd, record: Option<&Record>) -> Result<()> {
        let StageEnd { result, why, fingerprint, secs } = end;
        let ran = record.filter(|_| result == StageResult::Ran);
        let inputs = || plan.inputs.iter().map(|input| &*input.path);
        let n_bytes = |input: &Input| match &input.object {
            Some(object) => object.size,
            None => fs::metadata(&input.path).map_or(0, |metadata| metadata.len()),
        };
        let n_rows = |path: &Path| Output::recorded(path).map_or(0, |output| output.n_rows);
        self.run.stages.push(StageOutcome {
            id: plan.id.clone(),
            outcome: result,
            reason: why.words,
            changes: why.changes,
            fingerprint: record.map(|record| record.fingerprint.clone()).or(fingerprint),
            parts: record.map(|record| record.parts.clone()),
            seeds: seeds(&plan.params),
            secs: ran.map(|record| record.secs).or(secs),
            peak_memory_bytes: ran.and_then(|record| record.peak_memory_bytes),
            rows_in: inputs().map(n_rows).sum(),
            bytes_in: plan.inputs.iter().map(n_bytes).sum(),
            rows_out: record.map(Record::n_rows),
            bytes_out: record.map(Record::n_bytes),
        });
        self.write()
    }

    /// Wall time so far.
    pub fn secs(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Ends the record, and returns it.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn end(mut self, outcome: Outcome) -> Result<Run> {
        self.run.outcome = outcome;
        self.run.secs = self.secs();
        self.write()?;
        Ok(self.run)
    }

    fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.run)?;
        ipc::finish_text(&self.path, &text)?.commit()?;
        Ok(())
    }
}

impl Run {
    /// A run by this process that starts now.
    ///
    /// * `folder`: the manifest's.
    /// * `runs`: with a folder for each run.
    fn starting(folder: &Path, runs: &Path) -> Self {
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let (time, process) = (started.replace([':', '-'], ""), std::process::id());
        // A stage that runs alone for several seeds is several runs of one process.
        let mut id = format!("{time}-{process}");
        let mut n = 1;
        while runs.join(&id).exists() {
            n += 1;
            id = format!("{time}.{n}-{process}");
        }
        Self {
            id,
            started,
            secs: 0.0,
            program: this_program(),
            arguments: std::env::args().skip(1).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git: git(folder),
            machine: Machine::here(),
            outcome: Outcome::Running,
            stages: Vec::new(),
        }
    }
}

impl Run {
    /// Whether the process that made the record is still at work.
    pub fn is_running(&self) -> bool {
        let process = self.id.rsplit('-').next().unwrap_or_default();
        let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        // The system keeps the first 15 characters.
        let is_it = !name.is_empty() && self.program.starts_with(name.trim_end());
        self.outcome == Outcome::Running && is_it
    }
}

/// Name of this program's file.
fn this_program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// All recorded runs, the last one last; without those whose record is gone.
pub fn runs(manifest: &Manifest) -> Vec<Run> {
    let dir = manifest.run_dir.join(FOLDER);
    let index = fs::read_to_string(dir.join(INDEX)).unwrap_or_default();
    let lines = index.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let run = |line: Value| {
        let path = dir.join(line["id"].as_str()?).join(RUN);
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    };
    lines.filter_map(run).collect()
}

/// Appends a line. A line before it that was cut off, by a kill or a full disk, stays a line of its own.
fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let is_cut = fs::read(path).is_ok_and(|text| text.last().is_some_and(|&last| last != b'\n'));
    let start = if is_cut { "\n" } else { "" };
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(format!("{start}{line}\n").as_bytes())
}

/// State of the repository that a folder is in; `None` without git or a repository.
fn git(folder: &Path) -> Option<Git> {
    let ask = |arguments: &[&str]| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = ask(&["rev-parse", "HEAD"])?;
    let is_dirty = !ask(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(Git { commit, is_dirty })
}

/// Every seed in a stage's settings, by its key, as `train.seed`.
fn seeds(params: &Value) -> BTreeMap<String, u64> {
    fn collect(path: &str, value: &Value, seeds: &mut BTreeMap<String, u64>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value.as_u64().filter(|_| key == "seed") {
                Some(seed) => {
                    seeds.insert(path, seed);
                }
                None => collect(&path, value, seeds),
            }
        }
    }
    let mut seeds = BTreeMap::new();
    collect("", params, &mut seeds);
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_found_at_any_depth() {
        let params = json!({
            "seed": 7, "data": {"seed": 8, "seeds": 9}, "list": [{"seed": 1}], "holdout": {"seed": "x"},
        });
        let expected = [("seed".to_owned(), 7), ("data.seed".to_owned(), 8)];
        assert_eq!(seeds(&params), BTreeMap::from(expected));
    }

    #[test]
    fn a_line_that_was_cut_off_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        append_line(&path, "first").unwrap();
        fs::write(&path, fs::read_to_string(&path).unwrap() + "cut o").unwrap();
        append_line(&path, "third").unwrap();
        append_line(&path, "fourth").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\ncut o\nthird\nfourth\n");
    }

    /// What `run.json` and `history --json` have had for each stage, in this order.
    #[test]
    fn a_stage_outcome_is_written_flat_and_read_back() {
        let json = json!({
            "experiment": "a", "stage": "train", "outcome": "shared with b", "reason": null,
            "changes": [], "fingerprint": "f", "parts": null, "seeds": {"seed": 7}, "secs": 0.5,
            "peak_memory_bytes": 1, "rows_in": 2, "bytes_in": 3, "rows_out": 4, "bytes_out": null,
        });
        let outcome: StageOutcome = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(outcome.id, StageId::of(crate::Stage::Train, "a"));
        assert_eq!(serde_json::to_string(&outcome).unwrap(), json.to_string());
    }
}

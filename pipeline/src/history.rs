//! What each run did: `run_dir/.runs/ID/run.json`, and an index that is only ever appended to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets};
use contract::record::{Change, Output, Parts, Record};
use contract::run::memory_bytes;
use contract::{Manifest, ipc, print_line};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::node::{Node, Why};
use crate::run;

const FOLDER: &str = ".runs";
const INDEX: &str = "index.jsonl";
const RECORD: &str = "run.json";

/// One run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its name: when it began, and the process
    pub id: String,
    /// When it began, in UTC
    pub started: String,
    /// Wall time so far
    pub secs: f64,
    /// The command line, without the program
    pub arguments: Vec<String>,
    /// Version of the runner
    pub version: String,
    /// State of the folder's repository, where there is one
    pub git: Option<Git>,
    /// What it ran on
    pub machine: Machine,
    /// How it ended
    pub outcome: Outcome,
    /// What became of each stage, in order
    pub stages: Vec<StageOutcome>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not ended, or was killed
    Running,
    /// All that was selected is there
    Done,
    /// A stage failed
    Failed,
    /// Stopped with Ctrl-C
    Interrupted,
}

/// State of a repository.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Git {
    /// Hash of the commit
    pub commit: String,
    /// Whether files differ from it
    pub is_dirty: bool,
}

/// What a run ran on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Threads that can run at once
    pub cores: usize,
    /// Name of the processor, where the system tells it
    #[serde(default)]
    pub processor: Option<String>,
    /// Operating system and architecture, as `linux x86_64`
    #[serde(default)]
    pub system: String,
    /// Memory, where the system tells it
    pub memory_bytes: Option<u64>,
}

/// What became of a stage.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StageOutcome {
    /// `None` for a stage that all share
    pub experiment: Option<String>,
    /// Its name
    pub stage: String,
    /// `fresh`, `restored`, `shared with NAME`, `ran`, `failed`, `interrupted` or `blocked`
    pub outcome: String,
    /// Why it ran, where no part of its fingerprint says it
    pub reason: Option<String>,
    /// Parts of its fingerprint that had changed
    pub changes: Vec<Change>,
    /// Of what it was made of, or would have been
    pub fingerprint: Option<String>,
    /// What it was made of
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

/// A run that is being recorded; every stage's end is written at once, so that a killed run tells
/// how far it came.
pub struct Recorder {
    path: PathBuf,
    run: Run,
    began: Instant,
}

impl Recorder {
    /// Begins the record and appends the run to the index.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn begin(manifest: &Manifest) -> Result<Self> {
        let dir = manifest.run_dir.join(FOLDER);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        // Records that a killed runner was writing; the lock says that none is at work now.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path().join(".run.json.partial"));
        }
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let id = format!("{}-{}", started.replace([':', '-'], ""), std::process::id());
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let line = json!({"id": id, "started": started, "arguments": arguments});
        let index = dir.join(INDEX);
        let folder = manifest.path.parent().unwrap_or(Path::new("."));
        let run = Run {
            id,
            started,
            secs: 0.0,
            arguments,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git: git(folder),
            machine: machine(),
            outcome: Outcome::Running,
            stages: Vec::new(),
        };
        let dir = dir.join(&run.id);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let recorder = Self { path: dir.join(RECORD), run, began: Instant::now() };
        recorder.write()?;
        append_line(&index, &line.to_string())
            .with_context(|| format!("cannot write {}", index.display()))?;
        Ok(recorder)
    }

    /// Adds what became of a stage.
    ///
    /// * `record`: of its results, if they are there.
    /// * `secs`: that it was at work, if it was.
    ///
    /// # Errors
    ///
    /// If the record cannot be written.
    pub fn add(
        &mut self,
        node: &Node,
        outcome: &str,
        why: Why,
        record: Option<&Record>,
        secs: Option<f64>,
    ) -> Result<()> {
        let ran = record.filter(|_| outcome == "ran");
        let expected = Some(why.fingerprint).filter(|fingerprint| !fingerprint.is_empty());
        let inputs = || node.plan.inputs.iter().map(|input| &*input.path);
        let n_bytes = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let n_rows = |path: &Path| Output::recorded(path).map_or(0, |output| output.n_rows);
        self.run.stages.push(StageOutcome {
            experiment: node.plan.experiment.clone(),
            stage: node.plan.stage.to_string(),
            secs: ran.map(|record| record.secs).or(secs),
            peak_memory_bytes: ran.and_then(|record| record.peak_memory_bytes),
            rows_in: inputs().map(n_rows).sum(),
            bytes_in: inputs().map(n_bytes).sum(),
            rows_out: record.map(Record::n_rows),
            bytes_out: record.map(Record::n_bytes),
            fingerprint: record.map(|record| record.fingerprint.clone()).or(expected),
            parts: record.map(|record| record.parts.clone()),
            seeds: seeds(&node.plan.params),
            reason: why.words,
            changes: why.changes,
            outcome: outcome.to_owned(),
        });
        self.write()
    }

    /// Ends the record, and returns it.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn end(mut self, outcome: Outcome) -> Result<Run> {
        self.run.outcome = outcome;
        self.run.secs = self.began.elapsed().as_secs_f64();
        self.write()?;
        Ok(self.run)
    }

    fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.run)?;
        ipc::finish_text(&self.path, &text)?.commit()?;
        Ok(())
    }
}

/// Appends a line; one before it that was cut off by a kill or a full disk stays a line of its own.
fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let is_cut = fs::read(path).is_ok_and(|text| text.last().is_some_and(|&last| last != b'\n'));
    let start = if is_cut { "\n" } else { "" };
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(format!("{start}{line}\n").as_bytes())
}

/// What git says of a folder; nothing where there is no git or no repository.
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

/// What this machine has.
pub fn machine() -> Machine {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = processors.lines().find_map(|line| line.strip_prefix("model name"));
    Machine {
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        processor: name.map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned()),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        memory_bytes: memory_bytes(),
    }
}

/// Every seed in a stage's settings, by its key.
fn seeds(params: &Value) -> BTreeMap<String, u64> {
    fn collect(path: &str, value: &Value, seeds: &mut BTreeMap<String, u64>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value.as_u64() {
                Some(seed) if key == "seed" => drop(seeds.insert(path, seed)),
                _ => collect(&path, value, seeds),
            }
        }
    }
    let mut seeds = BTreeMap::new();
    collect("", params, &mut seeds);
    seeds
}

/// The runs on record, the last one last.
pub fn runs(manifest: &Manifest) -> Vec<Run> {
    let dir = manifest.run_dir.join(FOLDER);
    let index = fs::read_to_string(dir.join(INDEX)).unwrap_or_default();
    let lines = index.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let run = |line: Value| {
        let path = dir.join(line["id"].as_str()?).join(RECORD);
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    };
    lines.filter_map(run).collect()
}

/// Whether a stage of an experiment failed, or could not begin, in the last run that came to it.
pub fn failed(manifest: &Manifest) -> impl Fn(&String) -> bool + use<> {
    let mut last = BTreeMap::new();
    for stage in runs(manifest).into_iter().flat_map(|run| run.stages) {
        last.insert((stage.experiment, stage.stage), stage.outcome);
    }
    last.retain(|_, outcome| ["failed", "blocked"].contains(&&**outcome));
    move |name| last.keys().any(|(bad, _)| bad.as_ref().is_none_or(|bad| bad == name))
}

/// Prints the runs; those whose record is gone are left out.
pub fn history(manifest: &Manifest, as_json: bool) {
    let runs = runs(manifest);
    if as_json {
        print_line!("{:#}", json!(runs));
        return;
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["run", "took", "outcome", "stages", "command"]);
    let is_at_work = run::is_at_work(&manifest.run_dir);
    for (i, run) in runs.iter().enumerate() {
        let n = |outcome: &str| run.stages.iter().filter(|stage| stage.outcome == outcome).count();
        let n_failed = n("failed") + n("blocked");
        let stages = format!("{} ran, {n_failed} failed, of {}", n("ran"), run.stages.len());
        let outcome = match run.outcome {
            Outcome::Running if is_at_work && i + 1 == runs.len() => "at work",
            Outcome::Running => "did not end",
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::Interrupted => "interrupted",
        };
        let took = format!("{:.1} s", run.secs);
        table.add_row([&run.id, &took, outcome, &stages, &run.arguments.join(" ")]);
    }
    print_line!("{table}");
}

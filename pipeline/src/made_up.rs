//! Made-up records and stages for tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use contract::Stage;
use contract::hashes::Hashes;
use contract::plan::{Input, StageId, StagePlan};
use contract::record::{Output, Parts, Record};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::freshness::State;
use crate::graph::Node;
use crate::store::Store;

/// What results could be made of; `f` makes the fingerprint another.
pub fn parts(f: &str) -> Parts {
    Parts {
        contract: 1,
        binary: "program".to_owned(),
        params: json!({"epochs": 30, "f": f}),
        inputs: BTreeMap::from([("features".to_owned(), Some("features".to_owned()))]),
    }
}

/// A record without a file.
pub fn record(parts: Parts) -> Record {
    Record {
        stage: "train".to_owned(),
        experiment: Some("a".to_owned()),
        fingerprint: parts.fingerprint(),
        parts,
        outputs: BTreeMap::new(),
        secs: 1.0,
        peak_memory_bytes: None,
        summary: Value::Null,
        accepted: Vec::new(),
    }
}

/// Writes files and their record, in place of those that may be there.
pub fn record_of(dir: &Path, parts: Parts, files: &[(&str, &str)]) -> Record {
    fs::create_dir_all(dir).unwrap();
    let output = |&(name, text): &(&str, &str)| {
        let path = dir.join(name);
        let _ = fs::remove_file(&path); // it may be linked
        fs::write(&path, text).unwrap();
        let blake3 = Hashes::default().of(&path).unwrap();
        let output =
            Output { blake3, content: String::new(), n_bytes: text.len() as u64, n_rows: 1 };
        (name.to_owned(), output)
    };
    let record = Record { outputs: files.iter().map(output).collect(), ..record(parts) };
    record.save(&dir.join("stage.json")).unwrap();
    record
}

/// Stages of real files in a temporary folder. Of each experiment `train` reads a raw file and `score`
/// what `train` wrote; the report reads what `score` wrote. Each writes one file, `out`.
pub struct Project {
    pub nodes: Vec<Node>,
    dir: TempDir,
}

impl Project {
    pub fn new(experiments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in ["raw", "program"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        let mut project = Self { nodes: Vec::new(), dir };
        for experiment in experiments {
            project.add(StageId::of(Stage::Train, *experiment), &[project.raw()]);
            let model = project.dir(Stage::Train, experiment).join("out");
            project.add(StageId::of(Stage::Score, *experiment), &[model]);
        }
        let scores = |name: &&str| project.dir(Stage::Score, name).join("out");
        let scores: Vec<PathBuf> = experiments.iter().map(scores).collect();
        project.add(StageId::shared(Stage::Report), &scores);
        project
    }

    fn add(&mut self, id: StageId, inputs: &[PathBuf]) {
        let dir = self.dir(id.stage, id.experiment.as_deref().unwrap_or_default());
        let input = |path: &PathBuf| Input {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            path: path.clone(),
            object: None,
            is_optional: false,
            is_in_params: false,
        };
        let inputs = inputs.iter().map(input).collect();
        let params = json!({"epochs": 30});
        let plan = StagePlan { id, dir, inputs, records: Vec::new(), params, problem: None };
        let binary = self.dir.path().join("program");
        self.nodes.push(Node { plan, binary, is_halved: false, pause_after: None });
    }

    /// The raw file that every `train` reads.
    pub fn raw(&self) -> PathBuf {
        self.dir.path().join("raw")
    }

    pub fn dir(&self, stage: Stage, experiment: &str) -> PathBuf {
        self.dir.path().join(experiment).join(stage.name())
    }

    pub fn store(&self) -> Store {
        Store::of(self.dir.path())
    }

    pub fn node_mut(&mut self, stage: Stage, experiment: &str) -> &mut Node {
        let id = StageId::of(stage, experiment);
        self.nodes.iter_mut().find(|node| node.plan.id == id).unwrap()
    }

    fn node(&self, stage: Stage, experiment: &str) -> &Node {
        let id = StageId::of(stage, experiment);
        self.nodes.iter().find(|node| node.plan.id == id).unwrap()
    }

    pub fn record(&self, stage: Stage, experiment: &str) -> Record {
        Record::of(&self.node(stage, experiment).plan).unwrap()
    }

    /// Changes a setting of a stage.
    pub fn set(&mut self, stage: Stage, experiment: &str, key: &str, value: u64) {
        self.node_mut(stage, experiment).plan.params[key] = value.into();
    }

    pub fn look(&self, stage: Stage, experiment: &str) -> State {
        State::of(self.node(stage, experiment), &self.store(), &mut Hashes::default())
    }

    /// Writes what a stage would.
    pub fn run(&self, stage: Stage, experiment: &str) {
        run(self.node(stage, experiment));
    }

    pub fn run_all(&self) {
        self.nodes.iter().for_each(run);
    }

    /// Puts the results that are there into the store.
    pub fn keep(&self, stage: Stage, experiment: &str) {
        let record = self.record(stage, experiment);
        let from = self.dir(stage, experiment);
        self.store().keep(&from, &record, &mut Hashes::default()).unwrap();
    }
}

fn run(node: &Node) {
    let parts = Parts::of(&node.plan, &node.binary, &mut Hashes::default()).unwrap();
    let text = parts.fingerprint();
    let record = record_of(&node.plan.dir, parts, &[("out", &text)]);
    let StageId { stage, experiment, .. } = node.plan.id.clone();
    let record = Record { stage: stage.to_string(), experiment, ..record };
    record.save(&node.plan.record_path()).unwrap();
}

//! The files that each stage of each experiment reads and writes, and its parameters.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stores::Object;

use super::rungs::RUNGS;
use crate::manifest::shipped;
use crate::manifest::{
    Calibration, Experiment, Manifest, ModelKind, Note, TableOptions, View, what_changes_results,
};
use crate::query::{self, canonical, effective_params};
use crate::raw_files;
use crate::unused;

/// A step of the pipeline; the order is that in which they run. The first lines of these comments are
/// help texts of the command line.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Split the users and write the tables that all experiments share
    Holdout,
    /// Draw training examples
    Sample,
    /// Train a model on the examples
    Train,
    /// Fit thresholds and predict brands for the test users
    Score,
    /// Compare all experiments in one report
    Report,
}

impl Stage {
    /// The stages of an experiment, in order.
    pub const OF_EXPERIMENT: [Self; 3] = [Self::Sample, Self::Train, Self::Score];

    /// As in commands and folder names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holdout => "holdout",
            Self::Sample => "sample",
            Self::Train => "train",
            Self::Score => "score",
            Self::Report => "report",
        }
    }

    /// The program that runs the stage.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Holdout | Self::Sample => "sample-stage",
            Self::Train => "train-stage",
            Self::Score => "score-stage",
            Self::Report => "report-stage",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which stage of which experiment. Displayed as in messages: `train of bau`.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct StageId {
    /// Name of the experiment; null for `holdout` and `report`, which all experiments share
    pub experiment: Option<String>,
    /// `holdout`, `sample`, `train`, `score` or `report`
    #[schemars(with = "String")]
    pub stage: Stage,
    /// Which of the manifest's seeds, for stages that run once for each
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl StageId {
    /// A stage that all experiments share.
    pub fn shared(stage: Stage) -> Self {
        Self { experiment: None, stage, seed: None }
    }

    /// A stage of an experiment.
    pub fn of(stage: Stage, experiment: impl Into<String>) -> Self {
        Self { experiment: Some(experiment.into()), stage, seed: None }
    }

    /// A stage of an experiment, which may be trained with one of several seeds.
    pub fn in_experiment(stage: Stage, experiment: &Experiment) -> Self {
        let is_of_seed = stage != Stage::Sample || experiment.has_sample_of_seed();
        Self { seed: experiment.seed.filter(|_| is_of_seed), ..Self::of(stage, &experiment.name) }
    }

    /// The experiment and the seed, as in tables: `bau`, `bau (seed 8)`.
    pub fn whose(&self) -> String {
        match (&self.experiment, self.seed) {
            (Some(experiment), Some(seed)) => format!("{experiment} (seed {seed})"),
            (experiment, _) => experiment.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.experiment {
            Some(_) => write!(f, "{} of {}", self.stage, self.whose()),
            None => write!(f, "{}", self.stage),
        }
    }
}

/// File name of a stage's record.
pub const RECORD: &str = "stage.json";

/// File name of what a stage wrote to stderr and stdout under the runner.
pub const LOG: &str = "log.txt";

/// What one stage of one experiment reads, how it is set, and where it writes.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// The stage that is planned
    pub id: StageId,
    /// Folder of its outputs and of its record, `stage.json`
    pub dir: PathBuf,
    /// Files it reads
    pub inputs: Vec<Input>,
    /// Records of other stages of which it shows what was accepted
    pub records: Vec<PathBuf>,
    /// Its parameters in canonical form: complete, without paths and without what changes no result
    pub params: Value,
    /// Why its inputs are not known, as of a table in a store that cannot be reached
    pub problem: Option<String>,
}

/// A file that a stage reads.
#[derive(Debug, Clone)]
pub struct Input {
    /// What it is to the stage, as `features` or `sql`
    pub name: String,
    /// Where it is; the URL of an object
    pub path: PathBuf,
    /// The object of a store, if it is one
    pub object: Option<Object>,
    /// Whether the stage can do without it, as the report without a failed experiment
    pub is_optional: bool,
    /// Whether the parameters say all that counts of it, as of a query: then its bytes do not
    pub is_in_params: bool,
}

impl StagePlan {
    /// Whether it reads an input of this name.
    pub fn has_input(&self, name: &str) -> bool {
        self.inputs.iter().any(|input| input.name == name)
    }

    /// Path of the stage's record.
    pub fn record_path(&self) -> PathBuf {
        self.dir.join(RECORD)
    }

    /// Path of the stage's log, which exists from the moment the runner starts the stage.
    pub fn log_path(&self) -> PathBuf {
        self.dir.join(LOG)
    }
}

/// After a refit: the model before it, which has not learned from the valid users, so that
/// thresholds can be fitted on them.
pub const JUDGED_MODEL: &str = "judged_model.arrow";

/// Folder of a seed's stages in that of its experiment.
pub fn seed_dir(seed: u64) -> String {
    format!("seed-{seed}")
}

fn input(name: impl Into<String>, path: impl Into<PathBuf>) -> Input {
    let (name, path) = (name.into(), path.into());
    Input { name, path, object: None, is_optional: false, is_in_params: false }
}

/// A query file and its text; a shipped query has no file. One that cannot be read counts by its bytes, so
/// that it is never taken for an empty query; the stage that needs it reports why.
fn query(name: impl Into<String>, path: &Path) -> (Option<Input>, String) {
    if let Some(text) = shipped::text(path) {
        return (None, text.to_owned());
    }
    let input = input(name, path);
    match query::read(path) {
        Ok(text) => (Some(Input { is_in_params: true, ..input }), text),
        Err(_) => (Some(input), String::new()),
    }
}

impl Manifest {
    /// Probable mistakes in a manifest that can be run: parameters of `stages.sample.params` that
    /// no experiment's query uses, seeds of samples whose query has no `$seed`.
    pub fn warnings(&self) -> Vec<String> {
        let sampled = self.experiments().filter(|experiment| experiment.needs_sample());
        let (mut shared, mut used) = (BTreeSet::new(), BTreeSet::new());
        let mut without_seed = Vec::new();
        for experiment in sampled {
            let is_shared = |name: &&String| !experiment.own_params.contains(name);
            shared.extend(experiment.sample.params.keys().filter(is_shared));
            let placeholders = query::placeholders(&query("sql", experiment.sql()).1);
            if !experiment.sample.seeds.is_empty() && !placeholders.iter().any(|p| p == "seed") {
                without_seed.push(experiment.name.clone());
            }
            used.extend(placeholders);
        }
        let shared = shared.into_iter().map(String::as_str);
        let warnings = unused("parameter", shared, used.iter().map(String::as_str));
        let place = format!("{}: `stages.sample.params`", self.path.display());
        let mut warnings: Vec<String> =
            warnings.into_iter().map(|warning| format!("{place}: {warning}")).collect();
        if !without_seed.is_empty() {
            let text = "`sample.seeds` has no effect: the query has no `$seed`".to_owned();
            let note = Note { text, experiments: without_seed };
            warnings.push(format!("{}: {note}", self.path.display()));
        }
        warnings
    }

    /// Folder of a stage's outputs: `holdout` or `bau/train`; of seeds after the first
    /// `bau/seed-8/train`, so that an experiment has a model in the same place with and without seeds.
    pub fn stage_dir(&self, id: &StageId) -> PathBuf {
        let folder = id.experiment.as_ref().map(|name| self.folder(name, id.seed));
        let mut dir = self.run_dir.clone();
        dir.extend(folder);
        dir.join(id.stage.name())
    }

    /// Folder of an experiment's stages, relative to that of all results: `bau` or `bau/seed-8`.
    fn folder(&self, experiment: &str, seed: Option<u64>) -> String {
        match seed {
            Some(seed) if self.seeds.first() != Some(&seed) => {
                format!("{experiment}/{}", seed_dir(seed))
            }
            _ => experiment.to_owned(),
        }
    }

    /// Name of an input of the report: `bau/scores`; of seeds after the first `bau/seed-8/scores`.
    pub fn report_input(&self, training: &Experiment, file: &str) -> String {
        format!("{}/{file}", self.folder(&training.name, training.seed))
    }

    fn dir_of(&self, stage: Stage, experiment: &Experiment) -> PathBuf {
        self.stage_dir(&StageId::in_experiment(stage, experiment))
    }

    /// The plan of a stage: `experiment` is given for the stages that belong to one.
    pub fn plan(&self, stage: Stage, experiment: Option<&Experiment>) -> StagePlan {
        let mut problem = None;
        let (inputs, params) = match (stage, experiment) {
            (Stage::Holdout, _) => self.holdout_plan(&mut problem),
            (Stage::Sample, Some(experiment)) => self.sample_plan(experiment),
            (Stage::Train, Some(experiment)) => self.train_plan(experiment),
            (Stage::Score, Some(experiment)) => self.score_plan(experiment),
            (Stage::Report, _) => self.report_plan(),
            (_, None) => unreachable!("{stage} belongs to an experiment"),
        };
        let id = match experiment {
            Some(experiment) if Stage::OF_EXPERIMENT.contains(&stage) => {
                StageId::in_experiment(stage, experiment)
            }
            _ => StageId::shared(stage),
        };
        let dir = self.stage_dir(&id);
        let records = if stage == Stage::Report { self.record_paths() } else { Vec::new() };
        StagePlan { id, dir, inputs, records, params, problem }
    }

    /// Records of all stages but the report.
    fn record_paths(&self) -> Vec<PathBuf> {
        let trainings = self.experiments().flat_map(|experiment| self.trainings(experiment));
        let of_experiments = trainings
            .flat_map(|training| Stage::OF_EXPERIMENT.map(|stage| self.dir_of(stage, &training)));
        let holdout = self.stage_dir(&StageId::shared(Stage::Holdout));
        let mut listed = BTreeSet::new(); // seeds may share a sample
        let dirs = std::iter::once(holdout).chain(of_experiments);
        let once = dirs.filter(|dir| listed.insert(dir.clone()));
        once.map(|dir| dir.join(RECORD)).collect()
    }

    fn holdout_file(&self, name: &str) -> Input {
        let dir = self.stage_dir(&StageId::shared(Stage::Holdout));
        input(name, dir.join(format!("{name}.arrow")))
    }

    /// * `problem`: set if the files of a table cannot be found.
    fn holdout_plan(&self, problem: &mut Option<String>) -> (Vec<Input>, Value) {
        let mut inputs = Vec::new();
        let mut tables = serde_json::Map::new();
        for (name, source) in &self.data.tables {
            let options = source.options();
            let found = raw_files::find(&options);
            let found = found.map_err(|err| format!("table `{name}`: {err}"));
            let found = found.map_err(|err| problem.get_or_insert(err)).ok();
            let format = found.as_ref().map(|found| found.format);
            let files = found.map(|found| found.files).unwrap_or_default();
            let keys: Vec<_> = files.iter().map(|file| &file.keys).collect();
            let TableOptions { delimiter, header, types, .. } = &options;
            let read = json!({
                "format": format, "delimiter": delimiter, "header": header, "types": types, "keys": keys,
            });
            tables.insert(name.clone(), read);
            // By position, as files in several folders may have the same name.
            for (i, file) in files.into_iter().enumerate() {
                let input = input(format!("{name}:{i}"), file.path);
                inputs.push(Input { object: file.object, ..input });
            }
        }
        let views = [
            ("users", &self.data.users),
            ("interactions", &self.data.interactions),
            ("brands", &self.data.brands),
        ];
        let mut data = what_changes_results(&self.data);
        for (name, view) in views {
            if let View::Sql(view) = view {
                let (input, text) = query(format!("{name}.sql"), &view.sql);
                inputs.extend(input);
                data[name]["sql"] = json!(canonical(&text));
            }
        }
        data["tables"] = tables.into();
        data["features"] =
            self.data.features.iter().map(|feature| json!(feature.options())).collect();
        let mut params = json!({"data": data, "holdout": self.holdout, "tiers": self.report.tiers});
        if let Some(labels) = &self.labels {
            params["labels"] = json!(labels);
        }
        if let Some(history) = &self.history {
            params["history"] = json!(history);
        }
        (inputs, params)
    }

    fn sample_plan(&self, experiment: &Experiment) -> (Vec<Input>, Value) {
        let (sql, text) = query("sql", experiment.sql());
        let tables = ["brands", "features", "train_users", "train_interactions"];
        let tables = tables.map(|name| self.holdout_file(name));
        let inputs = sql.into_iter().chain(tables).collect();
        let params = effective_params(&text, &experiment.sample.params);
        (inputs, json!({"params": params, "sql": canonical(&text)}))
    }

    fn train_plan(&self, experiment: &Experiment) -> (Vec<Input>, Value) {
        let mut inputs = vec![self.holdout_file("brands"), self.holdout_file("features")];
        if let Some(pretrained) = &experiment.train.pretrained {
            inputs.push(input("pretrained", pretrained));
            return (inputs, json!({"pretrained": true}));
        }
        let mut params = what_changes_results(&experiment.train);
        if experiment.train.model != ModelKind::Mlp {
            let map = params.as_object_mut().expect("settings are maps");
            map.retain(|key, _| key == "model" || key == "history");
            return (inputs, params);
        }
        let sample = self.dir_of(Stage::Sample, experiment);
        inputs.push(input("examples", sample.join("examples.arrow")));
        inputs.push(self.holdout_file("valid"));
        (inputs, params)
    }

    fn score_plan(&self, experiment: &Experiment) -> (Vec<Input>, Value) {
        let train = self.dir_of(Stage::Train, experiment);
        let mut inputs = vec![
            input("model", train.join("model.arrow")),
            self.holdout_file("brands"),
            self.holdout_file("valid"),
            self.holdout_file("test"),
        ];
        if experiment.needs_sample() && experiment.train.refit {
            inputs.push(input("judged_model", train.join(JUDGED_MODEL)));
        }
        let has_memory = experiment.score.memory.is_some();
        if has_memory {
            inputs.push(self.holdout_file("features"));
        }
        if has_memory || experiment.score.calibration == Calibration::Prior {
            let sample = self.dir_of(Stage::Sample, experiment);
            inputs.push(input("examples", sample.join("examples.arrow")));
        }
        (inputs, what_changes_results(&experiment.score))
    }

    fn report_plan(&self) -> (Vec<Input>, Value) {
        let mut inputs = vec![self.holdout_file("brands")];
        if self.past_feature().is_some() {
            inputs.push(Input { is_optional: true, ..self.holdout_file("test") });
        }
        for experiment in self.experiments() {
            let name = &experiment.name;
            for training in self.trainings(experiment) {
                let score = self.dir_of(Stage::Score, &training);
                let train = self.dir_of(Stage::Train, &training);
                for (file, dir) in [
                    ("scores", &score),
                    ("valid_scores", &score),
                    ("histogram", &score),
                    ("thresholds", &score),
                    ("trade_off", &score),
                    ("history", &train),
                ] {
                    let path = dir.join(format!("{file}.arrow"));
                    let input = input(self.report_input(&training, file), path);
                    inputs.push(Input { is_optional: true, ..input });
                }
            }
            for training in self.trainings(experiment).iter().filter(|_| self.is_halved(experiment))
            {
                let path = self.dir_of(Stage::Train, training).join(RUNGS);
                let input = input(self.report_input(training, "rungs"), path);
                inputs.push(Input { is_optional: true, ..input });
            }
            if experiment.needs_sample() {
                // Shown as it is, comments included.
                let input = query(format!("{name}/sql"), experiment.sql()).0;
                inputs.extend(input.map(|input| Input {
                    is_optional: true,
                    is_in_params: false,
                    ..input
                }));
            }
        }
        // The query of a sample is an input, above.
        let experiments: Vec<Value> = self
            .experiments()
            .map(|e| {
                let params = || effective_params(&query("sql", e.sql()).1, &e.sample.params);
                let sample = e.needs_sample().then(params);
                let (train, score) = (self.train_plan(e).1, self.score_plan(e).1);
                let mut params =
                    json!({"name": e.name, "sample": sample, "train": train, "score": score});
                if let Some(cell) = &e.matrix {
                    params["matrix"] = json!(cell);
                }
                params
            })
            .collect();
        let mut params =
            json!({"report": self.report, "baseline": self.baseline, "experiments": experiments});
        if !self.seeds.is_empty() {
            params["seeds"] = json!(self.seeds);
        }
        (inputs, params)
    }
}

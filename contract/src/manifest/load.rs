//! From text to a checked manifest: parse, apply `--set`, check, merge, resolve paths.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    Calibration, Experiment, FeatureSource, IdSpace, Manifest, ModelKind, RESERVED_NAMES,
    RawManifest, TableSource, View, expand_environment,
};
use crate::problems::{Problem, Problems, suggest};
use crate::raw_files;
use crate::schema_check;
use crate::yaml::{self, Document};

/// Keys that `--set` takes as an experiment's own, without naming the experiment.
const STAGE_KEYS: [&str; 3] = ["sample", "train", "score"];

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// `sets` are texts `key.path=value`, the value in YAML. A key that starts with
    /// `sample`, `train` or `score` is set in the experiments named in `selected`,
    /// or in all if none is named; any other key is set in the manifest itself.
    /// Paths in the file are relative to its folder, paths in `sets` to the working
    /// directory.
    ///
    /// # Errors
    ///
    /// [`Problems`]: every mistake found, each with its place.
    pub fn load(path: &Path, sets: &[String], selected: &[String]) -> Result<Self, Problems> {
        let fail = |place: String, message: String| Problems(vec![Problem { place, message }]);
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|err| fail(file.clone(), format!("cannot read the manifest: {err}")))?;
        let document = Document::parse(&text).map_err(|((line, column), message)| {
            fail(format!("{file}:{line}:{column}"), format!("not valid YAML: {message}"))
        })?;

        let mut loader = Loader {
            file,
            dir: path.parent().unwrap_or(Path::new("")).to_path_buf(),
            root: document.value.clone(),
            document,
            set: HashMap::new(),
            problems: Problems::default(),
        };
        loader.refuse_repeated();
        loader.empty_experiments();
        for set in sets {
            loader.apply_set(set, selected);
        }
        loader.check_schema();
        loader.done()?;
        let manifest = loader.build(path);
        loader.done()?;
        Ok(manifest.expect("without problems there is a manifest"))
    }
}

/// Whether a text of `--set` is about a stage of experiments, as `train.epochs=2`.
pub fn is_of_experiment(set: &str) -> bool {
    let rest = |key: &&str| set.strip_prefix(key);
    STAGE_KEYS.iter().filter_map(rest).any(|rest| rest.starts_with(['.', '=']))
}

/// A text of `--set` with the experiments named in which it is set, for programs that are told none:
/// one text for each of them, or the same if it is not an experiment's or none is named.
pub fn name_experiments(set: &str, selected: &[String]) -> Vec<String> {
    if !is_of_experiment(set) || selected.is_empty() {
        return vec![set.to_owned()];
    }
    selected.iter().map(|name| format!("experiments.{name}.{set}")).collect()
}

struct Loader {
    file: String,
    dir: PathBuf,
    document: Document,
    root: Value,
    /// Paths that a `--set` wrote, with its text.
    set: HashMap<yaml::Path, String>,
    problems: Problems,
}

fn path_of(keys: &[&str]) -> yaml::Path {
    keys.iter().map(|&key| key.to_owned()).collect()
}

impl Loader {
    fn done(&mut self) -> Result<(), Problems> {
        if self.problems.0.is_empty() {
            return Ok(());
        }
        Err(std::mem::take(&mut self.problems))
    }

    fn problem(&mut self, path: &[String], is_key: bool, message: String) {
        let place = if let Some(set) = self.set_of(path) {
            format!("--set {set}")
        } else {
            let (line, column) = if is_key {
                self.document.key_place(path)
            } else {
                self.document.value_place(path)
            };
            format!("{}:{line}:{column}", self.file)
        };
        let problem = Problem { place, message };
        // A mistake in `stages` is met again in every experiment.
        if !self.problems.0.contains(&problem) {
            self.problems.0.push(problem);
        }
    }

    /// The `--set` that wrote the node at `path` or one above it.
    fn set_of(&self, path: &[String]) -> Option<&String> {
        (1..=path.len()).rev().find_map(|n| self.set.get(&path[..n]))
    }

    fn refuse_repeated(&mut self) {
        for (path, first, second) in std::mem::take(&mut self.document.repeated) {
            let place = format!("{}:{}:{}", self.file, second.0, second.1);
            let what =
                if path.len() == 2 && path[0] == "experiments" { "experiment" } else { "key" };
            let message = format!(
                "{what} `{}` is written twice; first at line {}, column {}",
                path.last().map_or("", String::as_str),
                first.0,
                first.1
            );
            self.problems.0.push(Problem { place, message });
        }
    }

    /// `name:` with nothing behind it is an experiment without overrides.
    fn empty_experiments(&mut self) {
        if let Some(Value::Object(experiments)) = self.root.get_mut("experiments") {
            for overrides in experiments.values_mut().filter(|v| v.is_null()) {
                *overrides = Value::Object(Map::new());
            }
        }
    }

    fn apply_set(&mut self, set: &str, selected: &[String]) {
        let parsed = set.split_once('=').filter(|(key, _)| !key.is_empty());
        let Some((key, value)) = parsed else {
            let message = "expected `key.path=value`".to_owned();
            self.problems.0.push(Problem { place: format!("--set {set}"), message });
            return;
        };
        let value = match yaml::parse_value(value) {
            Ok(value) => value,
            Err((_, message)) => {
                self.problems.0.push(Problem { place: format!("--set {set}"), message });
                return;
            }
        };
        let keys: Vec<&str> = key.split('.').collect();
        let mut targets = Vec::new();
        if STAGE_KEYS.contains(&keys[0]) {
            let experiments = self.root.get("experiments").and_then(Value::as_object);
            for name in experiments.into_iter().flat_map(Map::keys) {
                if selected.is_empty() || selected.contains(name) {
                    targets.push([&["experiments", name], &keys[..]].concat());
                }
            }
        } else if keys[0] == "report" {
            targets.push([&["stages"], &keys[..]].concat());
        } else {
            targets.push(keys);
        }
        let targets: Vec<yaml::Path> = targets.iter().map(|keys| path_of(keys)).collect();
        for target in targets {
            write_at(&mut self.root, &target, value.clone());
            self.set.insert(target, set.to_owned());
        }
    }

    fn check_schema(&mut self) {
        for violation in schema_check::check(&self.root, &Manifest::schema()) {
            self.problem(&violation.path, violation.is_key, violation.message);
        }
    }

    /// Everything the schema cannot say. Called when the schema holds.
    fn build(&mut self, path: &Path) -> Option<Manifest> {
        let mut raw: RawManifest = self.typed(&[], self.root.clone())?;
        let experiments = raw.experiments.keys().cloned().collect::<Vec<_>>();
        if experiments.is_empty() {
            self.problem(
                &path_of(&["experiments"]),
                false,
                "`experiments`: must name at least one".into(),
            );
        }

        self.resolve_data(&mut raw);
        let baseline = raw.baseline.clone().or(experiments.first().cloned()).unwrap_or_default();
        if raw.baseline.is_some() && !experiments.contains(&baseline) {
            let hint = suggest(&baseline, experiments.iter().map(String::as_str));
            let message = format!("`baseline`: no experiment `{baseline}`; {hint}");
            self.problem(&path_of(&["baseline"]), false, message);
        }
        if raw.holdout.column.is_none() {
            self.check_fractions(&raw);
        }

        let complete: Vec<_> =
            experiments.iter().filter_map(|name| self.experiment(name, &raw)).collect();
        Some(Manifest {
            path: path.to_path_buf(),
            run_dir: self.resolve(&path_of(&["run_dir"]), &raw.run_dir),
            data: raw.data,
            holdout: raw.holdout,
            report: raw.stages.report,
            baseline,
            experiments: complete.into_iter().map(|e| (e.name.clone(), e)).collect(),
        })
    }

    fn check_fractions(&mut self, raw: &RawManifest) {
        let (valid, test) = (raw.holdout.valid, raw.holdout.test);
        for (key, amount) in [("valid", valid), ("test", test)] {
            if amount >= 1.0 && amount.fract() != 0.0 {
                let message = format!(
                    "`holdout.{key}`: must be a fraction below 1 or a whole number of users, got {amount}"
                );
                self.problem(&path_of(&["holdout", key]), false, message);
            }
        }
        if valid < 1.0 && test < 1.0 && valid + test >= 1.0 {
            let message = format!(
                "`holdout`: valid {valid} and test {test} leave no user to train on; their sum must be below 1"
            );
            self.problem(&path_of(&["holdout"]), false, message);
        }
    }

    /// Relative to the manifest's folder, or to the working directory if `--set` wrote it.
    fn resolve(&self, path: &[String], written: &Path) -> PathBuf {
        if self.set_of(path).is_some() { written.to_path_buf() } else { self.dir.join(written) }
    }

    fn file_at(&mut self, path: &yaml::Path, written: &Path) -> PathBuf {
        let resolved = self.resolve(path, written);
        if !resolved.is_file() {
            let message = format!("`{}`: no file `{}`", path.join("."), resolved.display());
            self.problem(path, false, message);
        }
        resolved
    }

    fn resolve_data(&mut self, raw: &mut RawManifest) {
        let data = &mut raw.data;
        for (name, source) in &mut data.tables {
            let mut path = path_of(&["data", "tables", name]);
            let written = match source {
                TableSource::Path(written) => written,
                TableSource::Options(options) => {
                    if options.delimiter.as_ref().is_some_and(|d| d.len() != 1) {
                        let message = "`delimiter`: must be one ASCII character".to_owned();
                        self.problem(&path, false, message);
                    }
                    path.push("path".into());
                    &mut options.path
                }
            };
            match self.table_path(&path, written) {
                Ok(resolved) => *written = resolved,
                Err(message) => {
                    self.problem(&path, false, format!("`{}`: {message}", path.join(".")));
                    continue;
                }
            }
            if let Err(message) = raw_files::find(&source.options()) {
                let hint = if message.contains("data/demo") {
                    "; run `make demo-data` to make it"
                } else {
                    ""
                };
                self.problem(&path, false, format!("`{}`: {message}{hint}", path.join(".")));
            }
        }
        let names: Vec<&str> = data.tables.keys().map(String::as_str).collect();
        let views = [
            ("users", &mut data.users),
            ("interactions", &mut data.interactions),
            ("brands", &mut data.brands),
        ];
        for (name, view) in views {
            match view {
                View::Table(view) if !names.contains(&view.table.as_str()) => {
                    let hint = suggest(&view.table, names.iter().copied());
                    let message = format!("`data.{name}.table`: no table `{}`; {hint}", view.table);
                    self.problem(&path_of(&["data", name, "table"]), false, message);
                }
                View::Table(_) => {}
                View::Sql(view) => {
                    view.sql = self.file_at(&path_of(&["data", name, "sql"]), &view.sql);
                }
            }
        }
        let mut seen: Vec<&str> = Vec::new();
        for (i, feature) in data.features.iter().enumerate() {
            let path = path_of(&["data", "features", &i.to_string()]);
            let column = feature.column();
            if column == "user_id" || column == "brands" {
                self.problem(
                    &path,
                    false,
                    format!("`data.features`: `{column}` cannot be a feature"),
                );
            }
            if seen.contains(&column) {
                self.problem(&path, false, format!("`data.features`: `{column}` is named twice"));
            }
            seen.push(column);
        }
    }

    /// Expands and resolves a table's path.
    fn table_path(&self, path: &yaml::Path, written: &str) -> Result<String, String> {
        let expanded = expand_environment(written)?;
        if let Some((scheme, _)) = expanded.split_once("://") {
            return Err(format!(
                "`{expanded}`: this build reads local files only, not `{scheme}://`; copy the table first"
            ));
        }
        Ok(self.resolve(path, Path::new(&expanded)).display().to_string())
    }

    fn experiment(&mut self, name: &str, raw: &RawManifest) -> Option<Experiment> {
        let at = |rest: &[&str]| path_of(&[&["experiments", name], rest].concat());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(is_plain) {
            let message =
                format!("experiment `{name}`: a name may hold letters, digits, `_` and `-` only");
            self.problem(&at(&[]), true, message);
        }
        if RESERVED_NAMES.contains(&name) {
            self.problem(
                &at(&[]),
                true,
                format!("experiment `{name}`: this name is taken by a folder of results"),
            );
        }

        let merged = |stage: &str| {
            let mut value =
                self.root.pointer(&format!("/stages/{stage}")).cloned().unwrap_or(Value::Null);
            if let Some(own) = self.root.pointer(&format!("/experiments/{name}/{stage}")) {
                merge(&mut value, own);
            }
            if value.is_null() { Value::Object(Map::new()) } else { value }
        };
        let (sample, train, score) = (merged("sample"), merged("train"), merged("score"));
        let mut experiment = Experiment {
            name: name.to_owned(),
            sample: self.typed(&at(&["sample"]), sample)?,
            own_params: self
                .root
                .pointer(&format!("/experiments/{name}/sample/params"))
                .and_then(Value::as_object)
                .map_or_else(Vec::new, |map| map.keys().cloned().collect()),
            train: self.typed(&at(&["train"]), train)?,
            score: self.typed(&at(&["score"]), score)?,
        };

        match experiment.sample.sql.take() {
            Some(written) => {
                let path = self.origin(name, &["sample", "sql"]);
                experiment.sample.sql = Some(self.file_at(&path, &written));
            }
            None if experiment.needs_sample() => {
                let message = format!(
                    "experiment `{name}` has no sampling query; give `sample.sql` here or in `stages`"
                );
                self.problem(&at(&[]), true, message);
            }
            None => {}
        }
        if let Some(written) = experiment.train.pretrained.take() {
            let path = self.origin(name, &["train", "pretrained"]);
            experiment.train.pretrained = Some(self.file_at(&path, &written));
        }
        self.check_features(name, &experiment, &raw.data.features);
        self.check_score(name, &experiment);
        Some(experiment)
    }

    /// Where the value of an experiment's key is written: its own, or in `stages`.
    fn origin(&self, experiment: &str, keys: &[&str]) -> yaml::Path {
        let own = [&["experiments", experiment], keys].concat();
        let is_own = self.root.pointer(&format!("/{}", own.join("/"))).is_some();
        if is_own { path_of(&own) } else { path_of(&[&["stages"], keys].concat()) }
    }

    fn check_features(&mut self, name: &str, experiment: &Experiment, known: &[FeatureSource]) {
        let names = || known.iter().map(FeatureSource::column);
        let train = &experiment.train;
        for feature in train.features.iter().flatten() {
            if !names().any(|column| column == feature) {
                let path = self.origin(name, &["train", "features"]);
                let hint = suggest(feature, names());
                let message =
                    format!("`train.features`: no feature `{feature}` in `data.features`; {hint}");
                self.problem(&path, false, message);
            }
        }
        match (&train.model, &train.history) {
            (ModelKind::Persistence, Some(history)) => {
                self.check_history(name, "history", history, known);
            }
            (ModelKind::Persistence, None) => {
                let path = self.origin(name, &["train", "history"]);
                let message = "a `persistence` model needs `train.history`: the feature with a user's past brands";
                self.problem(&path, true, message.to_owned());
            }
            _ => {}
        }
        if let Some(history) = &train.own_history {
            self.check_history(name, "own_history", history, known);
            if train.features.as_ref().is_some_and(|chosen| !chosen.contains(history)) {
                let path = self.origin(name, &["train", "own_history"]);
                let message = format!(
                    "`train.own_history`: feature `{history}` is not in `train.features`; add it there"
                );
                self.problem(&path, false, message);
            }
        }
    }

    /// Some of scoring needs a sample or a network to go by.
    fn check_score(&mut self, name: &str, experiment: &Experiment) {
        let needs_sample = experiment.needs_sample();
        if experiment.score.calibration == Calibration::Prior && !needs_sample {
            let path = self.origin(name, &["score", "calibration"]);
            let message = "`score.calibration`: `prior` undoes what a sample did, but this \
                           experiment's model does not learn from one; use `none` or `platt`";
            self.problem(&path, false, message.to_owned());
        }
        if experiment.score.calibration == Calibration::Prior && experiment.score.memory.is_some() {
            let path = self.origin(name, &["score", "calibration"]);
            let message = "`score.calibration`: `prior` is for the model's own probabilities, and \
                           `score.memory` mixes others in; use `platt`";
            self.problem(&path, false, message.to_owned());
        }
        let has_hidden = needs_sample && !experiment.train.hidden.is_empty();
        if experiment.score.memory.is_some() && !has_hidden {
            let path = self.origin(name, &["score", "memory"]);
            let message = "`score.memory` looks for neighbours on the last hidden layer of a \
                           network that learns from a sample; this experiment's model has none";
            self.problem(&path, true, message.to_owned());
        }
    }

    /// The feature that `train.KEY` names must hold a user's past brands.
    fn check_history(&mut self, name: &str, key: &str, history: &str, known: &[FeatureSource]) {
        let path = self.origin(name, &["train", key]);
        match known.iter().find(|feature| feature.column() == history) {
            Some(feature) if feature.options().ids == IdSpace::Brands => {}
            Some(_) => {
                let message = format!(
                    "`train.{key}`: feature `{history}` does not hold brands; \
                     write `{{column: {history}, ids: brands}}` in `data.features`"
                );
                self.problem(&path, false, message);
            }
            None => {
                let message = format!(
                    "`train.{key}`: no feature `{history}`; {}",
                    suggest(history, known.iter().map(FeatureSource::column))
                );
                self.problem(&path, false, message);
            }
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, path: &[String], value: Value) -> Option<T> {
        match serde_json::from_value(value) {
            Ok(typed) => Some(typed),
            Err(err) => {
                self.problem(path, false, err.to_string());
                None
            }
        }
    }
}

/// Writes `value` at `path`, making maps on the way.
fn write_at(root: &mut Value, path: &[String], value: Value) {
    let mut node = root;
    for key in path {
        // A list is addressed by position; anything else becomes a map.
        if let Value::Array(items) = node
            && let Ok(i) = key.parse::<usize>()
            && i < items.len()
        {
            let Value::Array(items) = node else { unreachable!("matched above") };
            node = &mut items[i];
            continue;
        }
        if !node.is_object() {
            *node = Value::Object(Map::new());
        }
        let Value::Object(map) = node else { unreachable!("made above") };
        node = map.entry(key.clone()).or_insert(Value::Null);
    }
    *node = value;
}

/// Lays `over` on `base`, map by map. A map whose tag (`kind`, `policy`) changes is replaced whole.
fn merge(base: &mut Value, over: &Value) {
    let (Value::Object(map), Value::Object(over_map)) = (&mut *base, over) else {
        *base = over.clone();
        return;
    };
    let changes_tag = ["kind", "policy"]
        .iter()
        .any(|tag| over_map.get(*tag).is_some_and(|new| map.get(*tag) != Some(new)));
    if changes_tag {
        *base = over.clone();
        return;
    }
    for (key, value) in over_map {
        merge(map.entry(key.clone()).or_insert(Value::Null), value);
    }
}

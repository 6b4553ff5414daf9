//! From text to a checked manifest: parse, apply `--set`, check, merge, resolve paths.
//!
//! Every mistake is shown at once: values that violate the schema are left out, and the rest is
//! checked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::environment::expand_environment;
use super::file;
use super::problems::{Problem, Problems, suggest};
use super::schema_check;
use super::yaml::{self, Document};
use super::{Data, Experiment, FeatureSource, Manifest, Note, TableSource, View};
use crate::raw_files;

/// Keys that `--set` takes as an experiment's own, without naming the experiment.
const STAGE_KEYS: [&str; 3] = ["sample", "train", "score"];

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// `sets` are of the form `key.path=value`, the value in YAML. A key that starts with `sample`,
    /// `train` or `score` is set in the experiments named in `selected`, or in all if none is
    /// named; any other key is set in the manifest itself. Paths in the file are relative to its
    /// folder, paths in `sets` to the working directory.
    ///
    /// # Errors
    ///
    /// [`Problems`]: every mistake found, each with its place.
    pub fn load(path: &Path, sets: &[String], selected: &[String]) -> Result<Self, Problems> {
        let fail = |place: String, message: String| Problems(vec![Problem { place, message }]);
        let file = path.display().to_string();
        let text = file::read(path).map_err(|file::Unusable { place, message }| {
            let place = place.map(|(line, column)| format!("{file}:{line}:{column}"));
            fail(place.unwrap_or_else(|| file.clone()), message)
        })?;
        let document = Document::parse(&text).map_err(|((line, column), message)| {
            fail(format!("{file}:{line}:{column}"), format!("not valid YAML: {message}"))
        })?;

        let mut loader = Loader {
            file,
            dir: path.parent().unwrap_or(Path::new("")).to_path_buf(),
            root: document.value.clone(),
            document,
            set: HashMap::new(),
            broken: Vec::new(),
            notes: Vec::new(),
            problems: Problems::default(),
        };
        loader.refuse_repeated();
        loader.refuse_unusable();
        loader.empty_experiments();
        for set in sets {
            loader.apply_set(set, selected);
        }
        loader.check_schema();
        let manifest = loader.build(path);
        loader.done()?;
        Ok(manifest.expect("without problems there is a manifest"))
    }
}

/// Whether an argument of `--set` is about a stage of experiments, such as `train.epochs=2`.
pub fn is_of_experiment(set: &str) -> bool {
    let rest = |key: &&str| set.strip_prefix(key);
    STAGE_KEYS.iter().filter_map(rest).any(|rest| rest.starts_with(['.', '=']))
}

/// Arguments of `--set` that name the experiments themselves, for programs that are not given the
/// selected experiments: one for each of them, or `set` as it is if it concerns no experiment or
/// none is selected.
pub fn name_experiments(set: &str, selected: &[String]) -> Vec<String> {
    if !is_of_experiment(set) || selected.is_empty() {
        return vec![set.to_owned()];
    }
    selected.iter().map(|name| format!("experiments.{name}.{set}")).collect()
}

pub(super) struct Loader {
    pub(super) file: String,
    dir: PathBuf,
    document: Document,
    pub(super) root: Value,
    /// Paths that a `--set` wrote, with its argument.
    set: HashMap<yaml::Path, String>,
    /// Paths that violate the schema.
    broken: Vec<yaml::Path>,
    pub(super) notes: Vec<Note>,
    problems: Problems,
}

pub(super) fn path_of(keys: &[&str]) -> yaml::Path {
    keys.iter().map(|&key| key.to_owned()).collect()
}

impl Loader {
    fn done(&mut self) -> Result<(), Problems> {
        if self.problems.0.is_empty() {
            return Ok(());
        }
        Err(std::mem::take(&mut self.problems))
    }

    pub(super) fn problem(&mut self, path: &[String], is_key: bool, message: String) {
        let place = self.place(path, is_key);
        let problem = Problem { place, message };
        // A mistake in `stages` is met again in every experiment.
        if !self.problems.0.contains(&problem) {
            self.problems.0.push(problem);
        }
    }

    /// Where the node at `path` is written, or its key.
    pub(super) fn place(&self, path: &[String], is_key: bool) -> String {
        if let Some(set) = self.set_of(path) {
            return format!("--set {set}");
        }
        let (line, column) =
            if is_key { self.document.key_place(path) } else { self.document.value_place(path) };
        format!("{}:{line}:{column}", self.file)
    }

    /// The `--set` that wrote the node at `path` or one above it.
    pub(super) fn set_of(&self, path: &[String]) -> Option<&String> {
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

    fn refuse_unusable(&mut self) {
        for (path, message) in std::mem::take(&mut self.document.unusable) {
            self.problem(&path, false, format!("`{}`: {message}", path.join(".")));
            self.broken.push(path);
        }
    }

    /// `name:` without a value is an experiment without overrides.
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
        let (value, unusable) = match yaml::parse_value(value) {
            Ok(parsed) => parsed,
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
            self.set.insert(target.clone(), set.to_owned());
            for (path, message) in &unusable {
                let path = [&target[..], path].concat();
                self.problem(&path, false, format!("`{key}`: {message}"));
                self.broken.push(path);
            }
        }
    }

    fn check_schema(&mut self) {
        if self.root.is_null() {
            let message = "the manifest is empty, expected a map with `version`, `data` and \
                           `experiments`";
            self.problem(&[], false, message.to_owned());
            return;
        }
        let unusable = self.broken.clone();
        for violation in schema_check::check(&mut self.root, &Manifest::schema()) {
            let schema_check::Violation { path, is_key, mut message } = violation;
            if unusable.contains(&path) {
                continue;
            }
            // A `--set` for all experiments is one mistake, not one in each of them.
            if let [_, name, ..] = path.as_slice()
                && self.set_of(&path).is_some_and(|set| is_of_experiment(set))
            {
                message = message.replacen(&format!("experiments.{name}."), "", 1);
            }
            self.problem(&path, is_key, message);
            self.broken.push(path);
        }
    }

    /// The value at `path`, as written.
    pub(super) fn at<K: AsRef<str>>(&self, path: &[K]) -> Option<&Value> {
        path.iter().try_fold(&self.root, |node, key| match node {
            Value::Array(items) => items.get(key.as_ref().parse::<usize>().ok()?),
            node => node.get(key.as_ref()),
        })
    }

    /// Whether the schema found a mistake at or below `path`.
    pub(super) fn is_broken(&self, path: &[String]) -> bool {
        self.broken.iter().any(|broken| broken.starts_with(path))
    }

    /// The value at `path`, if it is there and without a mistake.
    fn sound<T: DeserializeOwned>(&mut self, path: &[&str]) -> Option<T> {
        let path = path_of(path);
        if self.is_broken(&path) {
            return None;
        }
        let value = self.at(&path)?.clone();
        self.typed(&path, value)
    }

    /// As [`Self::sound`], with a default if the value is missing.
    pub(super) fn sound_or_default<T: DeserializeOwned + Default>(
        &mut self,
        path: &[&str],
    ) -> Option<T> {
        match self.at(path) {
            Some(_) => self.sound(path),
            None => Some(T::default()),
        }
    }

    /// Settings with their defaults; those with a mistake are left out.
    ///
    /// * `places`: where they are written.
    pub(super) fn settings<T: DeserializeOwned>(
        &mut self,
        places: &[yaml::Path],
        mut value: Value,
    ) -> Option<T> {
        if let Value::Object(map) = &mut value {
            map.retain(|key, _| {
                let is_broken = |place: &yaml::Path| {
                    self.is_broken(&[place, std::slice::from_ref(key)].concat())
                };
                !places.iter().any(is_broken)
            });
        }
        let is_map = value.is_object();
        self.typed(&places[0], if is_map { value } else { Value::Object(Map::new()) })
    }

    /// Checks what the schema cannot express, of all that it finds valid. Without any problem there
    /// is a manifest.
    fn build(&mut self, path: &Path) -> Option<Manifest> {
        let names: Vec<String> = match self.at(&["experiments"]) {
            Some(Value::Object(experiments)) => experiments.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let run_dir: Option<PathBuf> = match self.at(&["run_dir"]) {
            Some(_) => self.sound(&["run_dir"]),
            None => Some(super::default_run_dir()),
        };
        let run_dir = run_dir.map(|written| self.resolve(&path_of(&["run_dir"]), &written));
        self.check_run_dir(run_dir.as_deref());
        let data = self.data();
        let baseline = self.baseline(&names);
        let holdout = self.holdout();
        let report = self.report();
        let seeds = self.seeds();
        self.check_names(&names, run_dir.as_deref());
        let known = self.features();
        let experiments: Vec<_> =
            names.iter().filter_map(|name| self.experiment(name, known.as_deref())).collect();
        Some(Manifest {
            path: path.to_path_buf(),
            run_dir: run_dir?,
            data: Data { features: known?, ..data? },
            holdout: holdout?,
            report: report?,
            seeds: seeds?,
            baseline: baseline?,
            experiments: experiments.into_iter().map(|e| (e.name.clone(), e)).collect(),
            notes: std::mem::take(&mut self.notes),
        })
    }

    fn check_run_dir(&mut self, run_dir: Option<&Path>) {
        if let Some(run_dir) = run_dir.filter(|dir| dir.exists() && !dir.is_dir()) {
            let message =
                format!("`run_dir`: `{}` is a file, expected a folder", run_dir.display());
            self.problem(&path_of(&["run_dir"]), false, message);
        }
    }

    /// The experiment that all others are compared with: as written, or the first.
    fn baseline(&mut self, names: &[String]) -> Option<String> {
        let written = self.at(&["baseline"]).filter(|written| !written.is_null());
        if written.is_none() {
            return Some(names.first().cloned().unwrap_or_default());
        }
        let baseline: String = self.sound(&["baseline"])?;
        if !names.contains(&baseline) {
            let hint = suggest(&baseline, names.iter().map(String::as_str));
            let message = format!("`baseline`: no experiment `{baseline}`; {hint}");
            self.problem(&path_of(&["baseline"]), false, message);
        }
        Some(baseline)
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

    /// The raw tables and their views, without the features.
    fn data(&mut self) -> Option<Data> {
        let names: Vec<String> = match self.at(&["data", "tables"]) {
            Some(Value::Object(tables)) => tables.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let mut tables = IndexMap::new();
        for name in &names {
            if let Some(source) = self.sound(&["data", "tables", name]) {
                let source = self.table(name, source);
                tables.insert(name.clone(), source);
            }
        }
        let [users, interactions, brands] =
            ["users", "interactions", "brands"].map(|view| self.view(view, &names));
        let keep_brands = self.sound_or_default(&["data", "keep_brands"]);
        let unknown_ids = self.sound_or_default(&["data", "unknown_ids"]);
        let memory_limit = self.sound_or_default(&["data", "memory_limit"]);
        let scratch_limit = self.sound_or_default(&["data", "scratch_limit"]);
        Some(Data {
            tables,
            users: users?,
            interactions: interactions?,
            brands: brands?,
            features: Vec::new(),
            keep_brands: keep_brands?,
            unknown_ids: unknown_ids?,
            memory_limit: memory_limit?,
            scratch_limit: scratch_limit?,
        })
    }

    /// Resolves a table's path and checks that its files exist.
    fn table(&mut self, name: &str, mut source: TableSource) -> TableSource {
        let mut path = path_of(&["data", "tables", name]);
        let written = match &mut source {
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
                return source;
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
        source
    }

    fn view(&mut self, name: &str, tables: &[String]) -> Option<View> {
        let mut view = self.sound(&["data", name])?;
        match &mut view {
            View::Table(view) if !tables.contains(&view.table) => {
                let hint = suggest(&view.table, tables.iter().map(String::as_str));
                let message = format!("`data.{name}.table`: no table `{}`; {hint}", view.table);
                self.problem(&path_of(&["data", name, "table"]), false, message);
            }
            View::Table(_) => {}
            View::Sql(view) => {
                view.sql = self.file_at(&path_of(&["data", name, "sql"]), &view.sql);
            }
        }
        Some(view)
    }

    /// The features; `None` if one of them has a mistake, so that not all names are known.
    fn features(&mut self) -> Option<Vec<FeatureSource>> {
        let n_features = self.at(&["data", "features"])?.as_array()?.len();
        let mut features = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for i in 0..n_features {
            let place = i.to_string();
            let Some(feature) = self.sound::<FeatureSource>(&["data", "features", &place]) else {
                continue;
            };
            let path = path_of(&["data", "features", &place]);
            let column = feature.column().to_owned();
            if column == "user_id" || column == "brands" {
                let message = format!("`data.features`: `{column}` cannot be a feature");
                self.problem(&path, false, message);
            }
            if seen.contains(&column) {
                let message = format!("`data.features`: `{column}` appears twice");
                self.problem(&path, false, message);
            }
            seen.push(column);
            features.push(feature);
        }
        (features.len() == n_features).then_some(features)
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

    /// An experiment: the settings of `stages`, overridden by its own.
    fn experiment(&mut self, name: &str, known: Option<&[FeatureSource]>) -> Option<Experiment> {
        let at = |rest: &[&str]| path_of(&[&["experiments", name], rest].concat());
        let mut experiment = Experiment {
            name: name.to_owned(),
            sample: self.stage(name, "sample")?,
            own_params: self
                .at(&["experiments", name, "sample", "params"])
                .and_then(Value::as_object)
                .map_or_else(Vec::new, |map| map.keys().cloned().collect()),
            train: self.stage(name, "train")?,
            score: self.stage(name, "score")?,
            seed: None,
        };

        match experiment.sample.sql.take() {
            Some(written) => {
                let path = self.origin(name, &["sample", "sql"]);
                experiment.sample.sql = Some(self.file_at(&path, &written));
            }
            None if experiment.needs_sample()
                && !self.has_mistake(name, "sample")
                && !self.has_mistake(name, "train") =>
            {
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
        self.check_experiment(&experiment, known);
        Some(experiment)
    }

    /// Whether an experiment's settings of a stage violate the schema, so that a missing one may
    /// only have been left out.
    pub(super) fn has_mistake(&self, name: &str, stage: &str) -> bool {
        let own = path_of(&["experiments", name, stage]);
        self.is_broken(&own) || self.is_broken(&path_of(&["stages", stage]))
    }

    /// An experiment's settings of a stage.
    fn stage<T: DeserializeOwned>(&mut self, name: &str, stage: &str) -> Option<T> {
        let places = [path_of(&["experiments", name, stage]), path_of(&["stages", stage])];
        let [own, base] = [0, 1].map(|i| self.at(&places[i]).filter(|value| value.is_object()));
        let mut value = base.cloned().unwrap_or_else(|| Value::Object(Map::new()));
        if let Some(own) = own {
            merge(&mut value, own);
        }
        if stage == "train" {
            self.decide_length(name, &mut value);
        }
        self.settings(&places, value)
    }

    /// Where the value of an experiment's key is written: its own, or in `stages`.
    pub(super) fn origin(&self, experiment: &str, keys: &[&str]) -> yaml::Path {
        let own = [&["experiments", experiment], keys].concat();
        let is_own = self.at(&own).is_some();
        if is_own { path_of(&own) } else { path_of(&[&["stages"], keys].concat()) }
    }

    fn typed<T: DeserializeOwned>(&mut self, path: &[String], value: Value) -> Option<T> {
        match serde_json::from_value(value) {
            Ok(typed) => Some(typed),
            // Violations of the schema are reported already.
            Err(_) if !self.broken.is_empty() => None,
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

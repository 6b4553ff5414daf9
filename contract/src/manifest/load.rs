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
use super::matrix::{Origin, is_of_matrix};
use super::problems::{Problem, Problems, nearest, suggest};
use super::query;
use super::schema_check;
use super::shipped;
use super::time::History;
use super::yaml::{self, Document};
use super::{
    Data, Experiment, FeatureSource, Manifest, Matrix, Note, ReportParams, TableSource, View,
};
use crate::{commands, raw_files};

/// Columns of tables between stages, and of those that sampling queries read.
const NOT_FEATURES: [&str; 4] = ["user_id", "brands", "as_of", "user_row"];

/// Keys that `--set` takes as an experiment's own, without naming the experiment.
pub(super) const STAGE_KEYS: [&str; 3] = ["sample", "train", "score"];

/// Keys that say which other keys a map has.
pub(super) const TAGS: [&str; 2] = ["kind", "policy"];

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
            matrices: Vec::new(),
            origins: IndexMap::new(),
            unusable_matrices: Vec::new(),
            broken: Vec::new(),
            notes: Vec::new(),
            problems: Vec::new(),
        };
        loader.refuse_repeated();
        loader.refuse_unusable();
        loader.empty_experiments();
        loader.apply_sets(sets, selected);
        loader.check_schema();
        let manifest = loader.build(path);
        loader.done()?;
        Ok(manifest.expect("without problems there is a manifest"))
    }
}

/// Where a value of a manifest is written, or the nearest above it: `FILE:LINE:COLUMN`, or the `--set`
/// that wrote it.
///
/// * `keys`: from the root, positions in lists as numbers.
pub fn place_of(manifest: &Path, sets: &[String], keys: &[&str]) -> String {
    let is_above = |set: &&String| {
        let written = set.split_once('=').map_or(set.as_str(), |(key, _)| key);
        let own = keys.join(".");
        own == written || own.strip_prefix(written).is_some_and(|rest| rest.starts_with('.'))
    };
    if let Some(set) = sets.iter().rev().find(is_above) {
        return format!("--set {set}");
    }
    let file = manifest.display();
    let document = file::read(manifest).ok().and_then(|text| Document::parse(&text).ok());
    let path: yaml::Path = keys.iter().map(|&key| key.to_owned()).collect();
    match document.map(|document| document.value_place(&path)) {
        Some((line, column)) => format!("{file}:{line}:{column}"),
        None => file.to_string(),
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
    pub(super) document: Document,
    /// The manifest with what `--set` and matrices write.
    pub(super) root: Value,
    /// Paths that a `--set` wrote, with its argument.
    pub(super) set: HashMap<yaml::Path, String>,
    pub(super) matrices: Vec<Matrix>,
    /// Of the experiments that matrices make.
    pub(super) origins: IndexMap<String, Origin>,
    /// Experiments whose matrix has a mistake.
    pub(super) unusable_matrices: Vec<String>,
    /// Paths that violate the schema.
    broken: Vec<yaml::Path>,
    pub(super) notes: Vec<Note>,
    problems: Vec<Found>,
}

/// A mistake, and the experiments of a matrix in which it was found.
struct Found {
    problem: Problem,
    cells: Vec<String>,
}

pub(super) fn path_of(keys: &[&str]) -> yaml::Path {
    keys.iter().map(|&key| key.to_owned()).collect()
}

impl Loader {
    fn done(&mut self) -> Result<(), Problems> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let found = std::mem::take(&mut self.problems).into_iter();
        Err(Problems(found.map(|found| self.with_cells(found)).collect()))
    }

    /// The mistake with the experiments of a matrix that have it, unless all of them do.
    fn with_cells(&self, Found { mut problem, cells }: Found) -> Problem {
        let matrix = cells.first().and_then(|cell| self.origins.get(cell));
        if matrix.is_some_and(|origin| self.cells_of(&origin.matrix).len() > cells.len()) {
            let text = String::new();
            let which = Note { text, experiments: cells }.to_string();
            let end = problem.message.find('\n').unwrap_or(problem.message.len());
            problem.message.insert_str(end, &which);
        }
        problem
    }

    pub(super) fn n_problems(&self) -> usize {
        self.problems.len()
    }

    pub(super) fn problem(&mut self, path: &[String], is_key: bool, mut message: String) {
        let place = self.place(path, is_key);
        let cell = path.get(1).filter(|_| path[0] == "experiments");
        let origin = cell.and_then(|cell| self.origins.get_key_value(cell));
        if let Some((cell, Origin { matrix, .. })) = origin {
            message = message
                .replace(&format!("experiments.{cell}."), &format!("experiments.{matrix}."))
                .replace(&format!("`{cell}`"), &format!("`{matrix}`"));
        }
        let cell = origin.map(|(cell, _)| cell.clone());
        let problem = Problem { place, message };
        // A mistake in `stages` is met again in every experiment.
        match self.problems.iter_mut().find(|found| found.problem == problem) {
            Some(found) => found.cells.extend(cell),
            None => self.problems.push(Found { problem, cells: cell.into_iter().collect() }),
        }
    }

    /// A mistake outside the text.
    fn problem_at(&mut self, place: String, message: String) {
        self.problems.push(Found { problem: Problem { place, message }, cells: Vec::new() });
    }

    /// Where the node at `path` is written, or its key.
    pub(super) fn place(&self, path: &[String], is_key: bool) -> String {
        if let Some(set) = self.set_of(path) {
            return format!("--set {set}");
        }
        let path = self.written(path, is_key);
        let (line, column) =
            if is_key { self.document.key_place(&path) } else { self.document.value_place(&path) };
        format!("{}:{line}:{column}", self.file)
    }

    /// The `--set` that wrote the node at `path` or one above it.
    pub(super) fn set_of(&self, path: &[String]) -> Option<&String> {
        let set_at =
            |path: &[String]| (1..=path.len()).rev().find_map(|n| self.set.get(&path[..n]));
        // A matrix counts more than what is set in its experiments.
        let written = self.written(path, false);
        let is_swept = written.get(2).is_some_and(|key| key == "matrix");
        if is_swept { set_at(&written) } else { set_at(path).or_else(|| set_at(&written)) }
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
            self.problem_at(place, message);
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

    /// Applies all `--set`, and makes the experiments of matrices in between.
    fn apply_sets(&mut self, sets: &[String], selected: &[String]) {
        let (of_matrices, others): (Vec<_>, Vec<_>) =
            sets.iter().partition(|set| is_of_matrix(set));
        // A matrix may start from an experiment of another.
        let is_written = |set: &str| {
            let name = set.split(['.', '=']).nth(1).unwrap_or_default();
            self.at(&["experiments", name]).is_some()
        };
        let (first, second): (Vec<_>, Vec<_>) =
            of_matrices.into_iter().partition(|set| is_written(set));
        for sets in [first, second] {
            for set in sets {
                self.apply_set(set, selected);
            }
            self.expand_matrices();
        }
        for set in others {
            self.apply_set(set, selected);
        }
        let cells: Vec<String> = self.origins.keys().cloned().collect();
        for cell in cells {
            self.write_swept(&cell);
        }
    }

    fn apply_set(&mut self, set: &str, selected: &[String]) {
        let parsed = set.split_once('=').filter(|(key, _)| !key.is_empty());
        let Some((key, value)) = parsed else {
            let message = "expected `key.path=value`".to_owned();
            self.problem_at(format!("--set {set}"), message);
            return;
        };
        let (value, unusable) = match yaml::parse_value(value) {
            Ok(parsed) => parsed,
            Err((_, message)) => {
                self.problem_at(format!("--set {set}"), message);
                return;
            }
        };
        for target in self.targets_of(key, selected) {
            if self.is_swept(&target) {
                let note =
                    format!("`--set {set}` has no effect beside the matrix, which sweeps the key");
                self.note(note, Some(&target[1]));
                continue;
            }
            write_at(&mut self.root, &target, value.clone());
            self.set.insert(target.clone(), set.to_owned());
            for (path, message) in &unusable {
                let path = [&target[..], path].concat();
                self.problem(&path, false, format!("`{key}`: {message}"));
                self.broken.push(path);
            }
        }
    }

    /// Where a `--set` of a key writes.
    fn targets_of(&self, key: &str, selected: &[String]) -> Vec<yaml::Path> {
        let keys: Vec<&str> = key.split('.').collect();
        match keys.as_slice() {
            [stage, ..] if STAGE_KEYS.contains(stage) => {
                let experiments = self.root.get("experiments").and_then(Value::as_object);
                let names = experiments.into_iter().flat_map(Map::keys);
                let is_selected = |name: &&String| selected.is_empty() || selected.contains(name);
                names
                    .filter(is_selected)
                    .map(|name| path_of(&[&["experiments", name], &keys[..]].concat()))
                    .collect()
            }
            ["report", ..] => vec![path_of(&[&["stages"], &keys[..]].concat())],
            // Keys of a matrix have dots in their names.
            ["experiments", name, "matrix", rest @ ..] if !rest.is_empty() => {
                vec![path_of(&["experiments", name, "matrix", &rest.join(".")])]
            }
            // What is set in an experiment is set in those of its matrix.
            ["experiments", name, rest @ ..] if !rest.is_empty() => {
                let mut names = self.cells_of(name);
                if names.is_empty() || self.at(&["experiments", name]).is_some() {
                    names.push((*name).to_owned());
                }
                let target = |name: &String| path_of(&[&["experiments", name], rest].concat());
                names.iter().map(target).collect()
            }
            keys => vec![path_of(keys)],
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
        let labels = self.labels();
        let history = self.history();
        let report = self.report();
        self.also_against(&names, report.as_ref());
        let seeds = self.seeds();
        let engine = self.engine();
        self.check_names(&names, run_dir.as_deref());
        let features = self.features();
        let known = self.known_features(features.as_deref(), history.as_ref());
        if let (Some(data), Some(holdout), Some(labels), Some(history)) =
            (&data, &holdout, &labels, &history)
        {
            self.check_time(data, holdout, labels.as_ref(), history.as_ref());
        }
        let made = history.as_ref().and_then(Option::as_ref);
        let experiments: Vec<_> =
            names.iter().filter_map(|name| self.experiment(name, known.as_deref(), made)).collect();
        Some(Manifest {
            path: path.to_path_buf(),
            run_dir: run_dir?,
            data: Data { features: features?, ..data? },
            holdout: holdout?,
            labels: labels?,
            history: history?,
            report: report?,
            seeds: seeds?,
            engine: engine?,
            baseline: baseline?,
            experiments: experiments.into_iter().map(|e| (e.name.clone(), e)).collect(),
            matrices: std::mem::take(&mut self.matrices),
            notes: std::mem::take(&mut self.notes),
        })
    }

    fn check_run_dir(&mut self, run_dir: Option<&Path>) {
        if let Some(written) =
            self.at(&["run_dir"]).and_then(Value::as_str).filter(|w| stores::is_url(w))
        {
            let message = format!(
                "`run_dir`: `{written}` is a URL, expected a local folder; `pipeline publish` copies the \
                 report to a store"
            );
            self.problem(&path_of(&["run_dir"]), false, message);
        }
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
        self.known_experiment(&path_of(&["baseline"]), "baseline", &baseline, names);
        Some(baseline)
    }

    /// The names in `stages.report.also_against`.
    fn also_against(&mut self, names: &[String], report: Option<&ReportParams>) {
        let listed = report.and_then(|report| report.also_against.as_ref());
        for (i, name) in listed.into_iter().flatten().enumerate() {
            let path = path_of(&["stages", "report", "also_against", &i.to_string()]);
            self.known_experiment(&path, "stages.report.also_against", name, names);
        }
    }

    /// Checks that an experiment is there.
    ///
    /// * `path`, `key`: where it is named.
    fn known_experiment(&mut self, path: &[String], key: &str, name: &str, names: &[String]) {
        // Names of a matrix with a mistake are not known.
        let is_of_unusable = |matrix: &String| name.starts_with(&format!("{matrix}-"));
        if names.iter().any(|known| known == name)
            || self.unusable_matrices.iter().any(is_of_unusable)
        {
            return;
        }
        let hint = match self.matrices.iter().find(|matrix| matrix.name == name) {
            Some(matrix) => matrix.hint(),
            None => suggest(name, names.iter().map(String::as_str)),
        };
        self.problem(path, false, format!("`{key}`: no experiment `{name}`; {hint}"));
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

    /// A query's file, or its name if it is shipped and there is no such file.
    fn sampling_query(&mut self, path: &yaml::Path, written: PathBuf) -> PathBuf {
        let resolved = self.resolve(path, &written);
        if resolved.is_file() {
            return resolved;
        }
        if shipped::text(&written).is_some() {
            return written;
        }
        let name = written.to_string_lossy();
        let hint = match nearest(name.trim_end_matches(".sql"), shipped::names()) {
            Some(near) => format!("; write `{near}` for the query of this name that is shipped"),
            None => String::new(),
        };
        let message = format!("`{}`: no file `{}`{hint}", path.join("."), resolved.display());
        self.problem(path, false, message);
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
        // What is in a store is asked for by what needs it: a stage that only reads results runs without
        // credentials.
        let options = source.options();
        if stores::is_url(&options.path) {
            return source;
        }
        if let Err(message) = raw_files::find(&options) {
            let hint = if message.contains("data/demo") {
                let command =
                    if commands::is_in_repository() { "make demo-data" } else { "demo-data" };
                format!("; run `{command}` to make it")
            } else {
                String::new()
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
            if NOT_FEATURES.contains(&&*column) {
                let message = format!(
                    "`data.features`: `{column}` cannot be a feature, as tables have a column of this \
                     name that means something else; rename it, in a view"
                );
                self.problem(&path, false, message);
            }
            if seen.contains(&column) {
                let message = format!("`data.features`: `{column}` appears twice");
                self.problem(&path, false, message);
            }
            seen.push(column);
            features.push(feature);
        }
        if n_features == 0 && self.at(&["history"]).is_none() {
            let message = "`data.features`: must have at least 1 item, got 0".to_owned();
            self.problem(&path_of(&["data", "features"]), false, message);
        }
        (features.len() == n_features).then_some(features)
    }

    /// Expands and resolves a table's path.
    fn table_path(&self, path: &yaml::Path, written: &str) -> Result<String, String> {
        let expanded = expand_environment(written)?;
        if let Some(path) = stores::local_path(&expanded) {
            return path;
        }
        if stores::is_url(&expanded) {
            let url = stores::StoreUrl::parse(&expanded)?;
            return Ok(url.to_string());
        }
        Ok(self.resolve(path, Path::new(&expanded)).display().to_string())
    }

    /// An experiment: the settings of `stages`, overridden by its own.
    ///
    /// * `history`: the one that the stage makes.
    fn experiment(
        &mut self,
        name: &str,
        known: Option<&[FeatureSource]>,
        history: Option<&History>,
    ) -> Option<Experiment> {
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
            matrix: self.cell(name),
        };

        match experiment.sample.sql.take() {
            Some(written) => {
                let path = self.origin(name, &["sample", "sql"]);
                experiment.sample.sql = Some(self.sampling_query(&path, written));
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
        if let Some(history) = history {
            experiment.train.expand_history(history);
        }
        self.check_experiment(&experiment, known);
        self.check_own_params(&experiment);
        Some(experiment)
    }

    /// Parameters that an experiment sets itself must be used by its query. They are not in its
    /// fingerprint if they are not, so that a stage that is fresh would never see the mistake.
    fn check_own_params(&mut self, experiment: &Experiment) {
        if experiment.own_params.is_empty() {
            return;
        }
        // A query that cannot be read is reported by the stage that needs it.
        let text = experiment.sample.sql.as_deref().and_then(|path| query::read(path).ok());
        let Some(used) = text.as_deref().and_then(query::placeholders_of_sql) else { return };
        let words: Vec<String> = used.iter().map(|name| format!("`${name}`")).collect();
        let words = if words.is_empty() { "none".to_owned() } else { words.join(", ") };
        for name in experiment.own_params.iter().filter(|name| !used.contains(name)) {
            let near = nearest(name, used.iter().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let message = format!(
                "`sample.params.{name}` is given, but the query has no `${name}`; it has {words}{near}"
            );
            let path = path_of(&["experiments", &experiment.name, "sample", "params", name]);
            self.problem(&path, true, message);
        }
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
pub(super) fn write_at(root: &mut Value, path: &[String], value: Value) {
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
pub(super) fn merge(base: &mut Value, over: &Value) {
    let (Value::Object(map), Value::Object(over_map)) = (&mut *base, over) else {
        *base = over.clone();
        return;
    };
    let changes_tag =
        TAGS.iter().any(|tag| over_map.get(*tag).is_some_and(|new| map.get(*tag) != Some(new)));
    if changes_tag {
        *base = over.clone();
        return;
    }
    for (key, value) in over_map {
        merge(map.entry(key.clone()).or_insert(Value::Null), value);
    }
}

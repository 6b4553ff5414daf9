//! An experiment with a `matrix` becomes an experiment for each combination of its values.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::load::{Loader, STAGE_KEYS, TAGS, merge, path_of, write_at};
use super::matrix::{
    Axis, Exclusion, MATRIX_KEYS, MAX_CELLS, MAX_KEYS, Origin, Swept, combinations,
    idle_exclusions, is_same, repeated, shown,
};
use super::problems::suggest;
use super::{Cell, Matrix, yaml};
use crate::words::count;

/// The argument of `--set` that sweeps a key of an experiment: its matrix is made beside it, where a
/// matrix of the file takes its place.
///
/// * `sweep`: as in `train.hidden=[256],[512]`: values between top-level commas.
///
/// # Errors
///
/// If there is no key.
pub fn sweep_as_set(base: &str, sweep: &str) -> Result<String, String> {
    let parsed = sweep.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, values) = parsed.ok_or("expected `key.path=value,value`")?;
    Ok(format!("experiments.{base}.matrix.{key}=[{values}]"))
}

impl Loader {
    /// Puts the experiments of each matrix in the place of the one that has it. One that only a
    /// `--set` gave a matrix stays, before them.
    pub(super) fn expand_matrices(&mut self) {
        let Some(Value::Object(experiments)) = self.root.get("experiments") else { return };
        let has_key =
            |overrides: &Value| MATRIX_KEYS.iter().any(|key| overrides.get(key).is_some());
        let with_matrix = experiments.iter().filter(|(_, overrides)| has_key(overrides));
        let names: Vec<String> = with_matrix.map(|(name, _)| name.clone()).collect();
        for name in names {
            let overrides = &mut self.root["experiments"][&name];
            let overrides = overrides.as_object_mut().expect("it has a key");
            let [matrix, halving] = MATRIX_KEYS.map(|key| overrides.shift_remove(key));
            if self.expand(&name, matrix.as_ref(), halving.as_ref()).is_none() {
                self.unusable_matrices.push(name);
            }
        }
    }

    /// `None` if the matrix has a mistake; then the experiment stays, without it.
    fn expand(
        &mut self,
        name: &str,
        matrix: Option<&Value>,
        halving: Option<&Value>,
    ) -> Option<()> {
        let at = path_of(&["experiments", name, "matrix"]);
        if self.is_broken(&at) {
            return None;
        }
        let halving = self.halving(name, matrix.is_some(), halving)?;
        let matrix = matrix?;
        let n_problems = self.n_problems();
        let axes = self.axes(&at, matrix);
        let excluded = self.exclusions(&at, matrix, &axes);
        if self.n_problems() > n_problems {
            return None;
        }
        let lengths: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
        let mut combinations = combinations(&lengths, &excluded);
        combinations.sort();
        let cells: Vec<(String, Vec<Swept>)> = combinations
            .iter()
            .map(|(number, tuple)| (format!("{name}-{number}"), swept(&axes, tuple)))
            .collect();
        self.check_cells(&at, name, &cells)?;
        self.insert(name, axes, cells, halving);
        Some(())
    }

    /// Whether trainings of a matrix may be ended early.
    fn halving(&mut self, name: &str, has_matrix: bool, written: Option<&Value>) -> Option<bool> {
        let at = path_of(&["experiments", name, "halving"]);
        let what = match written {
            None => return Some(false),
            Some(_) if !has_matrix => "is for an experiment with a `matrix`".to_owned(),
            Some(Value::Bool(halving)) => return Some(*halving),
            Some(other) => format!("expected true or false, got `{}`", shown(other)),
        };
        self.problem(&at, false, format!("`{}`: {what}", at.join(".")));
        None
    }

    /// The keys of a matrix with their values.
    fn axes(&mut self, at: &yaml::Path, matrix: &Value) -> Vec<Axis> {
        let mut axes = Vec::new();
        match matrix {
            Value::Object(map) => self.collect_axes(at, "", map, &mut axes),
            other => {
                let found = shown(other);
                let message = format!(
                    "`{}`: expected a map of keys and lists of values, got `{found}`",
                    at.join(".")
                );
                self.problem(at, false, message);
                return axes;
            }
        }
        for (i, axis) in axes.iter().enumerate() {
            let overlaps = |other: &&Axis| {
                axis.path().starts_with(&other.path()) || other.path().starts_with(&axis.path())
            };
            if let Some(other) = axes[..i].iter().find(overlaps) {
                let message = format!(
                    "`{}`: `{}` and `{}` set the same key; expected one of them",
                    at.join("."),
                    other.key,
                    axis.key
                );
                self.problem(&axis.at, true, message);
            }
        }
        let n_cells =
            axes.iter().fold(1_u128, |n, axis| n.saturating_mul(axis.values.len() as u128));
        let limit = if axes.len() > MAX_KEYS {
            format!("{} keys, at most {MAX_KEYS} can be swept", axes.len())
        } else if n_cells > MAX_CELLS as u128 {
            let n_cells = u64::try_from(n_cells).unwrap_or(u64::MAX);
            format!("{} combinations, at most {}", count(n_cells), count(MAX_CELLS as u64))
        } else {
            return axes;
        };
        self.problem(at, true, format!("`{}`: found {limit}", at.join(".")));
        axes
    }

    /// * `prefix`: the key of `map`, empty for the matrix itself.
    fn collect_axes(
        &mut self,
        at: &yaml::Path,
        prefix: &str,
        map: &Map<String, Value>,
        axes: &mut Vec<Axis>,
    ) {
        let is_exclude = |key: &str| prefix.is_empty() && key == "exclude";
        if map.keys().all(|key| is_exclude(key)) {
            let message = format!("`{}`: expected at least one key with values", at.join("."));
            self.problem(at, false, message);
        }
        for (part, value) in map.iter().filter(|(part, _)| !is_exclude(part)) {
            let key = join(prefix, part);
            let at = [&at[..], std::slice::from_ref(part)].concat();
            let stage = key.split('.').next().unwrap_or_default();
            if !STAGE_KEYS.contains(&stage) || key.split('.').any(str::is_empty) {
                let hint = suggest(stage, STAGE_KEYS.into_iter().chain(["exclude"]));
                let message = format!(
                    "unknown key `{key}`; a matrix has keys such as `train.epochs`; {hint}"
                );
                self.problem(&at, true, message);
                continue;
            }
            match value {
                Value::Array(values) if values.is_empty() => {
                    let message = format!("`{}`: expected at least one value", at.join("."));
                    self.problem(&at, false, message);
                }
                Value::Array(values) => {
                    if let Some(i) = repeated(values) {
                        let value = shown(&values[i]);
                        let message = format!("`{}`: {value} appears twice", at.join("."));
                        self.problem(&[&at[..], &[i.to_string()]].concat(), false, message);
                    }
                    axes.push(Axis { key, values: values.clone(), at });
                }
                Value::Object(inner) => self.collect_axes(&at, &key, inner, axes),
                other => {
                    let found = shown(other);
                    let message =
                        format!("`{}`: expected a list of values, got `{found}`", at.join("."));
                    self.problem(&at, false, message);
                }
            }
        }
    }

    /// The combinations that are left out.
    fn exclusions(&mut self, at: &yaml::Path, matrix: &Value, axes: &[Axis]) -> Vec<Exclusion> {
        let Some(written) = matrix.get("exclude") else { return Vec::new() };
        let at = [&at[..], &path_of(&["exclude"])].concat();
        let is_map = |item: &Value| item.as_object().is_some_and(|map| !map.is_empty());
        let Some(items) = written.as_array().filter(|items| items.iter().all(is_map)) else {
            let message = format!(
                "`{}`: expected a list of maps such as `{{train.epochs: 5}}`, got `{}`",
                at.join("."),
                shown(written)
            );
            self.problem(&at, false, message);
            return Vec::new();
        };
        let n_problems = self.n_problems();
        let place = |i: usize| [&at[..], &[i.to_string()]].concat();
        let mut excluded = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let mut exclusion = Vec::new();
            self.collect_exclusion(&place(i), "", item, axes, &mut exclusion);
            excluded.push(exclusion);
        }
        if self.n_problems() > n_problems {
            return Vec::new();
        }
        let lengths: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
        if lengths.iter().product::<usize>() > MAX_CELLS {
            return excluded; // which is a mistake of its own
        }
        for i in idle_exclusions(&lengths, &excluded) {
            let message = format!(
                "`{}`: leaves out nothing that the ones before it do not; remove it",
                place(i).join(".")
            );
            self.problem(&place(i), false, message);
        }
        if !axes.is_empty() && combinations(&lengths, &excluded).is_empty() {
            let message = format!("`{}`: leaves out every combination", at.join("."));
            self.problem(&at, false, message);
        }
        excluded
    }

    fn collect_exclusion(
        &mut self,
        at: &yaml::Path,
        prefix: &str,
        item: &Value,
        axes: &[Axis],
        exclusion: &mut Exclusion,
    ) {
        for (part, value) in item.as_object().into_iter().flatten() {
            let key = join(prefix, part);
            let at = [&at[..], std::slice::from_ref(part)].concat();
            if let Some(axis) = axes.iter().position(|axis| axis.key == key) {
                let swept = &axes[axis].values;
                let Some(i) = swept.iter().position(|swept| is_same(swept, value)) else {
                    let message = format!(
                        "`{}`: leaves out nothing: {} is not among the values {}",
                        at.join("."),
                        shown(value),
                        swept.iter().map(shown).collect::<Vec<_>>().join(", ")
                    );
                    self.problem(&at, false, message);
                    continue;
                };
                exclusion.push((axis, i));
            } else if value.is_object() {
                self.collect_exclusion(&at, &key, value, axes, exclusion);
            } else {
                let hint = suggest(&key, axes.iter().map(|axis| &*axis.key));
                self.problem(&at, true, format!("the matrix has no key `{key}`; {hint}"));
            }
        }
    }

    /// A name of a combination must not be that of another experiment.
    fn check_cells(
        &mut self,
        at: &yaml::Path,
        name: &str,
        cells: &[(String, Vec<Swept>)],
    ) -> Option<()> {
        let taken = cells
            .iter()
            .map(|(cell, _)| cell)
            .find(|cell| self.at(&["experiments", cell]).is_some());
        let Some(cell) = taken.cloned() else { return Some(()) };
        let other = self.place(&path_of(&["experiments", &cell]), true);
        let message = format!(
            "`{}`: makes an experiment `{cell}`, but another has this name ({other}); rename it \
             or `{name}`",
            at.join(".")
        );
        self.problem(at, true, message);
        None
    }

    fn insert(
        &mut self,
        name: &str,
        axes: Vec<Axis>,
        cells: Vec<(String, Vec<Swept>)>,
        halving: bool,
    ) {
        let is_written = self.document.value["experiments"][name].get("matrix").is_some();
        let at = path_of(&["experiments", name, "matrix"]);
        let is_kept = !is_written && self.set.keys().any(|set| set.starts_with(&at));
        let experiments = self.root["experiments"].as_object_mut().expect("it has an experiment");
        let overrides = experiments[name].clone();
        let mut all = Map::new();
        for (other, settings) in std::mem::take(experiments) {
            if other != name || is_kept {
                all.insert(other.clone(), settings);
            }
            if other == name {
                let copies = cells.iter().map(|(cell, _)| (cell.clone(), overrides.clone()));
                all.extend(copies);
            }
        }
        *experiments = all;
        self.matrices.push(Matrix {
            name: name.to_owned(),
            has_base: is_kept,
            axes: axes.into_iter().map(|axis| (axis.key, axis.values)).collect(),
            cells: cells.iter().map(|(cell, _)| cell.clone()).collect(),
            halving,
        });
        for (cell, swept) in cells {
            let matrix = name.to_owned();
            self.origins.insert(cell.clone(), Origin { matrix, swept });
            self.write_swept(&cell);
        }
    }

    /// Lays an experiment's swept values over its settings, those of an outer matrix first.
    pub(super) fn write_swept(&mut self, name: &str) {
        let values = self.swept_of(name);
        for (path, value) in values {
            let target = [&path_of(&["experiments", name]), &path[..]].concat();
            // A map of which the value is a part keeps its tag if that is set in `stages`.
            for n in 1..path.len() {
                for tag in TAGS {
                    let tag_of = |at: &[String]| [at, &path_of(&[tag])].concat();
                    let own = tag_of(&target[..2 + n]);
                    let base = tag_of(&[&path_of(&["stages"]), &path[..n]].concat());
                    if let Some(base) = self.at(&base).cloned()
                        && self.at(&own).is_none()
                    {
                        write_at(&mut self.root, &own, base);
                    }
                }
            }
            let mut merged = self.at(&target).cloned().unwrap_or_default();
            merge(&mut merged, &value);
            write_at(&mut self.root, &target, merged);
        }
    }

    /// Swept values with their paths.
    fn swept_of(&self, name: &str) -> Vec<(yaml::Path, Value)> {
        let Some(origin) = self.origins.get(name) else { return Vec::new() };
        let mut values = self.swept_of(&origin.matrix);
        values.extend(origin.swept.iter().map(|swept| (swept.path.clone(), swept.value.clone())));
        values
    }

    /// Names of an experiment's matrix, and of theirs.
    pub(super) fn cells_of(&self, name: &str) -> Vec<String> {
        let mut cells = Vec::new();
        for (cell, origin) in &self.origins {
            if origin.matrix == name {
                cells.push(cell.clone());
                cells.extend(self.cells_of(cell));
            }
        }
        cells
    }

    /// Whether a matrix sweeps the value at `path`, as a whole.
    pub(super) fn is_swept(&self, path: &[String]) -> bool {
        self.swept_at(path).is_some_and(|(swept, _)| !swept.value.is_object())
    }

    /// The value of a matrix that is at `path` or above it, and the rest of the path.
    fn swept_at<'a>(&self, path: &'a [String]) -> Option<(&Swept, &'a [String])> {
        let [experiments, name, rest @ ..] = path else { return None };
        let origin = self.origins.get(name).filter(|_| experiments == "experiments")?;
        let swept = origin.swept.iter().find(|swept| rest.starts_with(&swept.path));
        match swept {
            Some(swept) => Some((swept, &rest[swept.path.len()..])),
            None => None,
        }
    }

    /// Where the node at `path` is written: experiments of a matrix are not.
    pub(super) fn written(&self, path: &[String], is_key: bool) -> yaml::Path {
        if let Some((swept, rest)) = self.swept_at(path) {
            let is_axis = is_key && rest.is_empty();
            return if is_axis { swept.axis_at.clone() } else { [&swept.at[..], rest].concat() };
        }
        match path {
            [experiments, name, rest @ ..] if experiments == "experiments" => {
                match self.origins.get(name) {
                    Some(origin) => {
                        let of_matrix = path_of(&["experiments", &origin.matrix]);
                        self.written(&[&of_matrix[..], rest].concat(), is_key)
                    }
                    None => path.to_vec(),
                }
            }
            _ => path.to_vec(),
        }
    }

    /// What an experiment's matrix sets in it.
    pub(super) fn cell(&self, name: &str) -> Option<Cell> {
        let origin = self.origins.get(name)?;
        let value = |swept: &Swept| (swept.path.join("."), swept.value.clone());
        let values: IndexMap<String, Value> = origin.swept.iter().map(value).collect();
        Some(Cell { name: origin.matrix.clone(), values })
    }
}

fn swept(axes: &[Axis], tuple: &[usize]) -> Vec<Swept> {
    let of_axis = |(axis, &i): (&Axis, &usize)| Swept {
        path: axis.path(),
        value: axis.values[i].clone(),
        axis_at: axis.at.clone(),
        at: [&axis.at[..], &[i.to_string()]].concat(),
    };
    axes.iter().zip(tuple).map(of_axis).collect()
}

fn join(prefix: &str, part: &str) -> String {
    if prefix.is_empty() { part.to_owned() } else { format!("{prefix}.{part}") }
}

//! `pipeline check`: checks the manifest.

use contract::manifest::{Matrix, in_words};
use contract::words::plural;
use contract::{Manifest, print_line, warn_line};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// A manifest without a mistake.
#[derive(Serialize, JsonSchema)]
pub struct Checked {
    /// Its file
    manifest: String,
    /// Names of its experiments
    experiments: Vec<String>,
    /// The experiments that matrices make
    matrices: Vec<CheckedMatrix>,
}

/// A matrix of the manifest.
#[derive(Serialize, JsonSchema)]
struct CheckedMatrix {
    /// Its name
    name: String,
    /// What it sets in each of its experiments, by their names
    experiments: IndexMap<String, IndexMap<String, Value>>,
}

impl CheckedMatrix {
    fn of(manifest: &Manifest, matrix: &Matrix) -> Self {
        let of_matrix = manifest.experiments().filter_map(|experiment| {
            let cell = experiment.matrix.as_ref().filter(|cell| cell.name == matrix.name)?;
            Some((experiment.name.clone(), cell.values.clone()))
        });
        Self { name: matrix.name.clone(), experiments: of_matrix.collect() }
    }
}

/// Prints what a manifest, which was checked when it was loaded, holds.
pub fn check(manifest: &Manifest, as_json: bool) {
    warn(manifest);
    let experiments: Vec<String> = manifest.experiments().map(|e| e.name.clone()).collect();
    let path = manifest.path.display().to_string();
    let matrices = manifest.matrices().map(|matrix| CheckedMatrix::of(manifest, matrix)).collect();
    let checked = Checked { manifest: path, experiments, matrices };
    if as_json {
        print_line!("{:#}", json!(checked));
    } else {
        let Checked { manifest: path, experiments, matrices } = checked;
        let n = plural(experiments.len() as u64, "experiment");
        print_line!("{path}: no mistakes; {n}: {}", experiments.join(", "));
        for (name, values) in matrices.iter().flat_map(|matrix| &matrix.experiments) {
            print_line!("  {name}: {}", in_words(values));
        }
    }
}

/// Warns of what is probably a mistake.
pub fn warn(manifest: &Manifest) {
    for warning in manifest.warnings() {
        warn_line!("warning: {warning}");
    }
}

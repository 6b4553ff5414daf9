//! `pipeline check`: checks the manifest and the columns of its tables.

use std::process::{Command, Stdio};

use anyhow::Result;
use contract::cli::{ManifestArgs, UNDER_RUNNER};
use contract::exit::EXIT_DONE;
use contract::manifest::{Matrix, in_words};
use contract::words::plural;
use contract::{Manifest, Stage, print_line, warn_line};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{foreground, program};

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

/// Checks a manifest and the columns of its tables, and prints what it holds; the result is the exit code.
///
/// # Errors
///
/// The manifest's mistakes, or a program that cannot be run.
pub fn check(args: &ManifestArgs, as_json: bool) -> Result<u8> {
    let manifest = args.load()?;
    warn(&manifest);
    let code = check_tables(args)?;
    if code == EXIT_DONE {
        show(&manifest, as_json);
    }
    Ok(code)
}

/// Checks the columns of raw tables and views, which the sample stage reads.
fn check_tables(args: &ManifestArgs) -> Result<u8> {
    foreground::pass_on_interrupts()?;
    let mut command = Command::new(program::path(Stage::Sample)?);
    command.arg("check");
    program::add_manifest(&mut command, args);
    command.env(UNDER_RUNNER, "1"); // the manifest's notes were shown
    command.stdout(Stdio::null());
    foreground::run(command)
}

/// Prints what a manifest holds.
fn show(manifest: &Manifest, as_json: bool) {
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

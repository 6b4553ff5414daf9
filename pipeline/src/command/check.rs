//! `pipeline check`: checks the manifest.

use contract::words::plural;
use contract::{Manifest, print_line, warn_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

/// A manifest without a mistake.
#[derive(Serialize, JsonSchema)]
pub struct Checked {
    /// Its file
    manifest: String,
    /// Names of its experiments
    experiments: Vec<String>,
}

/// Prints what a manifest, which was checked when it was loaded, holds.
pub fn check(manifest: &Manifest, as_json: bool) {
    warn(manifest);
    let experiments: Vec<String> = manifest.experiments().map(|e| e.name.clone()).collect();
    let path = manifest.path.display().to_string();
    if as_json {
        print_line!("{:#}", json!(Checked { manifest: path, experiments }));
    } else {
        let n = plural(experiments.len() as u64, "experiment");
        print_line!("{path}: no mistakes; {n}: {}", experiments.join(", "));
    }
}

/// Warns of what is probably a mistake.
pub fn warn(manifest: &Manifest) {
    for warning in manifest.warnings() {
        warn_line!("warning: {warning}");
    }
}

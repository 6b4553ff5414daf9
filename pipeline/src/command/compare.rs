//! `pipeline compare`: how two experiments differ. The report's program prints it, as it knows the
//! figures.

use std::process::Command;

use anyhow::{Context as _, Result};
use contract::Stage;
use contract::cli::ManifestArgs;
use contract::exit::EXIT_FAILED;

use crate::program;

/// Runs the report's program; the result is its exit code.
///
/// # Errors
///
/// If it cannot be run.
pub fn compare(manifest: &ManifestArgs, experiments: [&str; 2], as_json: bool) -> Result<u8> {
    let binary = program::path(Stage::Report)?;
    let mut command = Command::new(&binary);
    command.arg("compare").args(experiments);
    program::add_manifest(&mut command, manifest);
    if as_json {
        command.arg("--json");
    }
    let status = command.status().with_context(|| format!("cannot run {}", binary.display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILED))
}

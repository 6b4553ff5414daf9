//! The stages' programs: where they are and how they are called.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use contract::Stage;
use contract::cli::{ManifestArgs, UNDER_RUNNER};
use contract::machine;
use contract::plan::StageId;

/// A stage's program, in the folder of this one.
///
/// # Errors
///
/// If this program's folder is not known.
pub fn path(stage: Stage) -> Result<PathBuf> {
    let here = std::env::current_exe().context("cannot find this program's folder")?;
    Ok(here.parent().unwrap_or(Path::new(".")).join(stage.binary()))
}

/// The command that runs a stage.
///
/// * `pause_after`: updates after which a training pauses.
/// * `n_threads`: its share of the cores.
pub fn command(
    binary: &Path,
    id: &StageId,
    pause_after: Option<u64>,
    manifest: &ManifestArgs,
    n_threads: usize,
) -> Command {
    let mut command = Command::new(binary);
    if matches!(id.stage, Stage::Holdout | Stage::Sample) {
        command.arg(id.stage.name());
    }
    add_manifest(&mut command, manifest);
    if let Some(experiment) = &id.experiment {
        command.arg("--experiment").arg(experiment);
    }
    // A sample that seeds share is drawn once, whichever seed it is drawn for.
    if let Some(seed) = id.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    if let Some(updates) = pause_after {
        command.arg("--until-updates").arg(updates.to_string());
    }
    command.env(UNDER_RUNNER, "1");
    if n_threads < machine::cores() {
        command.env("RAYON_NUM_THREADS", n_threads.to_string());
    }
    command
}

/// Passes on the manifest and the values set in it.
pub fn add_manifest(command: &mut Command, ManifestArgs { manifest, set }: &ManifestArgs) {
    command.arg("--manifest").arg(manifest);
    for set in set {
        command.arg("--set").arg(set);
    }
}

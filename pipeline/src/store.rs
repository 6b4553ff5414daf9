//! Results kept by fingerprint, so that an earlier setting is restored instead of computed again
//! and experiments that share a stage share its results.
//!
//! A result is a folder of hard links beside the experiments' own: what is kept and stands in an
//! experiment's folder at once takes no disk twice.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use contract::record::{Hashes, Record};
use contract::{Manifest, Stage, cli, print_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::node::nodes;

/// Folder of what is kept, in the results' folder.
const FOLDER: &str = ".kept";

/// Where results are kept.
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// That of a folder of results.
    pub fn of(run_dir: &Path) -> Self {
        Self { dir: run_dir.join(FOLDER) }
    }

    /// What was made of just these parts, if it is kept and whole.
    pub fn find(&self, fingerprint: &str, hashes: &mut Hashes) -> Option<(PathBuf, Record)> {
        let dir = self.dir.join(fingerprint);
        let record = Record::load(&dir.join("stage.json"))?;
        let is_whole = record.fingerprint == fingerprint && record.damage(&dir, hashes).is_none();
        is_whole.then_some((dir, record))
    }

    /// Keeps a stage's results. On a file system without hard links nothing is kept: copies would
    /// take the disk twice.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn keep(&self, from: &Path, record: &Record, hashes: &mut Hashes) -> Result<()> {
        if self.find(&record.fingerprint, hashes).is_some() {
            return Ok(());
        }
        let dir = self.dir.join(&record.fingerprint);
        let partial = self.dir.join(format!(".{}.partial", record.fingerprint));
        let _ = fs::remove_dir_all(&partial); // left by a run that was killed
        fs::create_dir_all(&partial)
            .with_context(|| format!("cannot make {}", partial.display()))?;
        for name in record.outputs.keys() {
            if fs::hard_link(from.join(name), partial.join(name)).is_err() {
                let _ = fs::remove_dir_all(&partial);
                return Ok(());
            }
        }
        record.save(&partial.join("stage.json"))?;
        let _ = fs::remove_dir_all(&dir); // spoilt, or it would have been found
        fs::rename(&partial, &dir).with_context(|| format!("cannot keep {}", dir.display()))
    }
}

/// Puts results in a stage's folder; the files are shared, not copied.
///
/// # Errors
///
/// If a file cannot be linked.
pub fn take_over(from: &Path, record: &Record, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let own = to.join("stage.json");
    if own.exists() {
        fs::remove_file(&own).with_context(|| format!("cannot replace {}", own.display()))?;
    }
    for name in record.outputs.keys() {
        let link = to.join(format!(".{name}.link"));
        let _ = fs::remove_file(&link); // left by a run that was killed
        let linked = fs::hard_link(from.join(name), &link)
            .or_else(|_| fs::copy(from.join(name), &link).map(drop)); // some file systems have no links
        linked
            .and_then(|()| fs::rename(&link, to.join(name)))
            .with_context(|| format!("cannot share {}", from.join(name).display()))?;
    }
    record.save(&own)?;
    Ok(())
}

/// What was deleted, or would be.
#[derive(Serialize, JsonSchema)]
pub struct Cleaned {
    /// The folders
    folders: Vec<Unused>,
    /// Disk that it frees
    bytes: u64,
    /// Whether they are deleted
    is_deleted: bool,
}

/// A folder that nothing of the manifest refers to.
#[derive(Serialize, JsonSchema)]
struct Unused {
    path: PathBuf,
    /// What it holds
    what: String,
    /// Disk that deleting it frees
    bytes: u64,
}

/// Deletes kept results that no experiment of the manifest stands on, and folders of experiments
/// that the manifest has no more; shows them and asks first.
///
/// # Errors
///
/// If a folder cannot be read or deleted, or there is nobody to ask.
pub fn clean(manifest: &Manifest, dry_run: bool, yes: bool, as_json: bool) -> Result<ExitCode> {
    let folders = unused(manifest)?;
    let bytes: u64 = folders.iter().map(|folder| folder.bytes).sum();
    let total = format!("{} folders, {} MiB", folders.len(), cli::count(bytes >> 20));
    if !as_json {
        for Unused { path, what, bytes } in &folders {
            print_line!("{}: {what}, {} MiB", path.display(), cli::count(bytes >> 20));
        }
    }
    let is_asked = !dry_run && !folders.is_empty();
    let is_deleted = is_asked && (yes || is_agreed(&total, as_json)?);
    if is_deleted {
        for Unused { path, .. } in &folders {
            fs::remove_dir_all(path)
                .with_context(|| format!("cannot delete {}", path.display()))?;
        }
    }
    if as_json {
        print_line!("{:#}", json!(Cleaned { folders, bytes, is_deleted }));
    } else if folders.is_empty() {
        print_line!("nothing to delete in {}", manifest.run_dir.display());
    } else if is_deleted {
        print_line!("deleted {total}");
    } else if dry_run {
        print_line!("{total}");
    } else {
        print_line!("nothing was deleted");
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks whether to delete.
fn is_agreed(total: &str, as_json: bool) -> Result<bool> {
    if as_json || !io::stdin().is_terminal() {
        bail!("nothing was deleted: there is nobody to ask\nhint: add `--yes`, or `-n` to see");
    }
    eprint!("delete {total}? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn unused(manifest: &Manifest) -> Result<Vec<Unused>> {
    let referenced: BTreeSet<String> = nodes(manifest, &[])?
        .iter()
        .filter_map(|node| Some(Record::of(&node.plan)?.fingerprint))
        .collect();
    let mut unused = Vec::new();
    for path in folders(&manifest.run_dir.join(FOLDER)) {
        if !referenced.contains(&name_of(&path)) {
            let record = Record::load(&path.join("stage.json"));
            let what = record.map_or("not finished".to_owned(), |record| match record.experiment {
                Some(experiment) => format!("{} of {experiment}, an earlier setting", record.stage),
                None => format!("{}, an earlier setting", record.stage),
            });
            unused.push(Unused { bytes: freed_bytes(&path), path, what });
        }
    }
    let shared = [Stage::Holdout, Stage::Report].map(Stage::name);
    for path in folders(&manifest.run_dir) {
        let name = name_of(&path);
        // Only what a stage has written: a folder of another kind is somebody else's.
        let is_of_stages =
            Stage::OF_EXPERIMENT.iter().any(|s| path.join(s.name()).join("stage.json").exists());
        if is_of_stages && !shared.contains(&&*name) && manifest.experiment(&name).is_err() {
            let what = "an experiment that the manifest has no more".to_owned();
            unused.push(Unused { bytes: freed_bytes(&path), path, what });
        }
    }
    Ok(unused)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Folders in a folder, in order.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Bytes of the files in a folder and below that stand nowhere else.
fn freed_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;

    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let freed = |path: PathBuf| match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => freed_bytes(&path),
        Ok(metadata) if metadata.nlink() == 1 => metadata.len(),
        _ => 0,
    };
    entries.map(|entry| freed(entry.path())).sum()
}

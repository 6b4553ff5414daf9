//! Results kept by fingerprint, so that an earlier setting is restored instead of computed again
//! and experiments that share a stage share its results.
//!
//! A result is a folder of hard links beside the experiments' own: what is kept and stands in an
//! experiment's folder at once takes no disk twice.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io::{self, BufRead as _, IsTerminal as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use contract::cli::UsageError;
use contract::plan::label;
use contract::record::{Hashes, Record};
use contract::{Manifest, Stage, cli, print_line, warn_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::node::{State, forecast, nodes};
use crate::run::load_hashes;

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
        // Who vouched for results did so for one experiment, and not for ever.
        if !record.accepted.is_empty() || self.find(&record.fingerprint, hashes).is_some() {
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
pub fn clean(manifest: &Manifest, dry_run: bool, yes: bool, as_json: bool) -> Result<u8> {
    let mut hashes = load_hashes(manifest);
    let folders = unused(manifest, &mut hashes)?;
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
    Ok(cli::EXIT_DONE)
}

/// Asks whether to delete.
fn is_agreed(total: &str, as_json: bool) -> Result<bool> {
    if as_json || !io::stdin().is_terminal() {
        let message =
            "nothing was deleted: there is nobody to ask\nhint: add `--yes`, or `-n` to see";
        return Err(UsageError(message.to_owned()).into());
    }
    warn_line!("delete {total}? [y/N]");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn unused(manifest: &Manifest, hashes: &mut Hashes) -> Result<Vec<Unused>> {
    let nodes = nodes(manifest, &[])?;
    let store = Store::of(&manifest.run_dir);
    // What stands in the experiments' folders, and what the manifest's settings would restore.
    let there = nodes.iter().filter_map(|node| Some(Record::of(&node.plan)?.fingerprint));
    let mut referenced: BTreeSet<String> = there.collect();
    for state in forecast(&nodes, false, &store, hashes) {
        if let State::Kept { record, .. } = state {
            referenced.insert(record.fingerprint);
        }
    }
    let mut unused = Vec::new();
    for path in folders(&manifest.run_dir.join(FOLDER)) {
        if !referenced.contains(&name_of(&path)) {
            let record = Record::load(&path.join("stage.json"));
            let what = record.map_or("not finished".to_owned(), |record| match record.experiment {
                Some(experiment) if manifest.experiment(&experiment).is_err() => {
                    format!("{} of {experiment}, which the manifest has no more", record.stage)
                }
                experiment => {
                    let stage = label(&record.stage, experiment.as_deref());
                    format!("{stage}, an earlier setting")
                }
            });
            unused.push(Unused { bytes: 0, path, what });
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
            unused.push(Unused { bytes: 0, path, what });
        }
    }
    count_freed(&mut unused);
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

/// Counts what deleting the folders frees: a file with several names is freed with the last of them,
/// and counted with the first.
fn count_freed(folders: &mut [Unused]) {
    let files: Vec<Vec<Metadata>> =
        folders.iter().map(|folder| files_below(&folder.path)).collect();
    let mut n_names: HashMap<u64, u64> = HashMap::new();
    for file in files.iter().flatten() {
        *n_names.entry(file.ino()).or_default() += 1;
    }
    for (folder, files) in folders.iter_mut().zip(files) {
        for file in files {
            if n_names.remove(&file.ino()) == Some(file.nlink()) {
                folder.bytes += file.len();
            }
        }
    }
}

fn files_below(dir: &Path) -> Vec<Metadata> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let below = |path: PathBuf| match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => files_below(&path),
        Ok(metadata) => vec![metadata],
        Err(_) => Vec::new(),
    };
    entries.flat_map(|entry| below(entry.path())).collect()
}

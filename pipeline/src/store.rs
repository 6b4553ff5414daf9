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

use anyhow::{Context as _, Result, bail};
use contract::exit;
use contract::hashes::Hashes;
use contract::plan::{JUDGED_MODEL, RECORD, label};
use contract::record::Record;
use contract::words;
use contract::{Manifest, Stage, print_line, warn_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::child::LOG;
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
    /// Files in them that no stage wrote, which are left where they are
    left: Vec<PathBuf>,
}

/// A folder that nothing of the manifest refers to.
#[derive(Serialize, JsonSchema)]
struct Unused {
    path: PathBuf,
    /// What it holds
    what: String,
    /// Disk that deleting it frees
    bytes: u64,
    /// Files that stages wrote, which are deleted; the folder goes with the last file in it
    #[serde(skip)]
    files: Vec<PathBuf>,
}

/// Deletes kept results that no experiment of the manifest stands on, and folders of experiments
/// that the manifest has no more; shows them and asks first. What no stage wrote stays.
///
/// # Errors
///
/// If a folder cannot be read or deleted, or there is nobody to ask.
pub fn clean(manifest: &Manifest, dry_run: bool, yes: bool, as_json: bool) -> Result<u8> {
    let mut hashes = load_hashes(manifest);
    let folders = unused(manifest, &mut hashes)?;
    let bytes: u64 = folders.iter().map(|folder| folder.bytes).sum();
    let total = format!("{} folders, {} MiB", folders.len(), words::count(bytes >> 20));
    if !as_json {
        for Unused { path, what, bytes, .. } in &folders {
            print_line!("{}: {what}, {} MiB", path.display(), words::count(bytes >> 20));
        }
    }
    let is_asked = !dry_run && !folders.is_empty();
    let is_deleted = is_asked && (yes || is_agreed(&total, as_json)?);
    if is_deleted {
        folders.iter().try_for_each(Unused::delete)?;
    }
    let left: Vec<PathBuf> = folders.iter().flat_map(Unused::left).collect();
    for path in left.iter().filter(|_| !as_json) {
        print_line!("left: {}, which no stage wrote", path.display());
    }
    if as_json {
        print_line!("{:#}", json!(Cleaned { folders, bytes, is_deleted, left }));
    } else if folders.is_empty() {
        print_line!("nothing to delete in {}", manifest.run_dir.display());
    } else if is_deleted {
        print_line!("deleted {total}");
    } else if dry_run {
        print_line!("{total}");
    } else {
        print_line!("nothing was deleted");
    }
    Ok(exit::EXIT_DONE)
}

/// Asks whether to delete.
fn is_agreed(total: &str, as_json: bool) -> Result<bool> {
    if as_json || !io::stdin().is_terminal() {
        bail!("nothing was deleted: there is nobody to ask\nhint: add `--yes`, or `-n` to see");
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
        let files = kept_files(&path);
        let is_others = files.is_empty() && !files_below(&path).is_empty();
        if !referenced.contains(&name_of(&path)) && !is_others {
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
            unused.push(Unused { bytes: 0, path, what, files });
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
            let dirs = Stage::OF_EXPERIMENT.map(|stage| (stage, path.join(stage.name())));
            let files = dirs.iter().flat_map(|(stage, dir)| files_of_stage(*stage, dir)).collect();
            unused.push(Unused { bytes: 0, path, what, files });
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
        entries.map(|entry| entry.path()).filter(|path| is_folder(path)).collect();
    folders.sort();
    folders
}

impl Unused {
    /// Deletes what stages wrote, then each folder that is empty.
    fn delete(&self) -> Result<()> {
        for file in &self.files {
            fs::remove_file(file).with_context(|| format!("cannot delete {}", file.display()))?;
        }
        // From the inside out; one that holds something else stays.
        let stages = Stage::OF_EXPERIMENT.map(|stage| self.path.join(stage.name()));
        let stages = stages.into_iter().filter(|dir| is_folder(dir));
        for dir in stages.chain([self.path.clone()]) {
            match fs::remove_dir(&dir) {
                Err(err) if err.kind() != io::ErrorKind::DirectoryNotEmpty => {
                    return Err(err).with_context(|| format!("cannot delete {}", dir.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Files that stay, as no stage wrote them.
    fn left(&self) -> Vec<PathBuf> {
        let mut left = files_below(&self.path);
        left.retain(|file| !self.files.contains(file));
        left.sort();
        left
    }
}

/// Files of kept results: those that their record lists; where they were not finished, all, as
/// only the runner writes there.
fn kept_files(dir: &Path) -> Vec<PathBuf> {
    let is_partial = name_of(dir).ends_with(".partial");
    let files = files_in(dir).filter(|file| is_partial || is_recorded(dir, file));
    files.collect()
}

/// Files of a stage in its folder: results, record, log, checkpoints and what was not finished.
fn files_of_stage(stage: Stage, dir: &Path) -> Vec<PathBuf> {
    // Of a stage that failed there is no record.
    let results: &[&str] = match stage {
        Stage::Sample => &["examples.arrow"],
        Stage::Train => &["model.arrow", JUDGED_MODEL, "history.arrow"],
        Stage::Score => &[
            "scores.arrow",
            "thresholds.arrow",
            "histogram.arrow",
            "trade_off.arrow",
            "memory.arrow",
        ],
        Stage::Holdout | Stage::Report => &[],
    };
    let is_own = |file: &PathBuf| {
        let name = name_of(file);
        let is_checkpoint = stage == Stage::Train
            && name.starts_with("checkpoint")
            && file.extension().is_some_and(|extension| extension == "arrow");
        let is_unfinished = name.starts_with('.')
            && file.extension().is_some_and(|end| end == "partial" || end == "link");
        name == LOG
            || results.contains(&&*name)
            || is_checkpoint
            || is_unfinished
            || is_recorded(dir, file)
    };
    files_in(dir).filter(is_own).collect()
}

/// Whether a file is a record, or the record beside it lists it.
fn is_recorded(dir: &Path, file: &Path) -> bool {
    name_of(file) == RECORD
        || Record::load(&dir.join(RECORD)).is_some_and(|r| r.outputs.contains_key(&name_of(file)))
}

/// Files in a folder itself.
fn files_in(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| !is_folder(path))
}

/// Whether it is a folder itself; a link to one is somebody's file.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Counts what deleting the files frees: a file with several names is freed with the last of them,
/// and counted with the first.
fn count_freed(folders: &mut [Unused]) {
    let metadata = |file: &PathBuf| fs::symlink_metadata(file).ok();
    let files: Vec<Vec<Metadata>> =
        folders.iter().map(|folder| folder.files.iter().filter_map(metadata).collect()).collect();
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

/// All files in a folder and those below it; what a link leads to is not.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let below = |path: PathBuf| if is_folder(&path) { files_below(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.path())).collect()
}

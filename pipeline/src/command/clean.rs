//! `pipeline clean`: deletes results that nothing in the manifest refers to.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io::{self, BufRead as _, IsTerminal as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use contract::hashes::Hashes;
use contract::plan::{JUDGED_MODEL, LOG, RECORD};
use contract::record::Record;
use contract::rungs::RUNGS;
use contract::words::{count, plural};
use contract::{Manifest, Stage, print_line, warn_line};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::forecast::{Forecast, forecast};
use crate::freshness::State;
use crate::graph::{Node, nodes};
use crate::run_dir;
use crate::store::Store;

/// What was deleted, or would be.
#[derive(Serialize, JsonSchema)]
pub struct Cleaned {
    /// The unused folders
    folders: Vec<Unused>,
    /// Disk space that deleting them frees
    bytes: u64,
    /// Whether they were deleted
    is_deleted: bool,
    /// Files in them that no stage wrote, which stay
    left: Vec<PathBuf>,
}

/// A folder that nothing in the manifest refers to.
#[derive(Serialize, JsonSchema)]
struct Unused {
    path: PathBuf,
    /// What it holds
    what: String,
    /// Disk space that deleting it frees
    bytes: u64,
    /// Files that stages wrote, which are deleted; the folder too, if no other file is in it
    #[serde(skip)]
    files: Vec<PathBuf>,
}

/// Deletes kept results that no experiment of the manifest uses, and the results of experiments that
/// are no longer in the manifest; lists them and asks first. What no stage wrote stays.
///
/// # Errors
///
/// If a run is at work, a folder cannot be read or deleted, or there is no terminal to ask on.
pub fn clean(manifest: &Manifest, dry_run: bool, yes: bool, as_json: bool) -> Result<()> {
    let _lock = if dry_run { None } else { Some(run_dir::lock(&manifest.run_dir)?) };
    let mut hashes = run_dir::load_hashes(&manifest.run_dir);
    let folders = unused(manifest, &mut hashes)?;
    let bytes: u64 = folders.iter().map(|folder| folder.bytes).sum();
    let total = format!("{}, {} MiB", plural(folders.len() as u64, "folder"), count(bytes >> 20));
    if !as_json {
        for Unused { path, what, bytes, .. } in &folders {
            print_line!("{}: {what}, {} MiB", path.display(), count(bytes >> 20));
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
    Ok(())
}

/// Asks whether to delete.
fn is_agreed(total: &str, as_json: bool) -> Result<bool> {
    if as_json || !io::stdin().is_terminal() {
        bail!(
            "nothing was deleted: there is no terminal to ask on\n\
             hint: add `--yes` to delete without asking, or `-n` to list only"
        );
    }
    warn_line!("delete {total}? [y/N]");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Everything that can be deleted.
fn unused(manifest: &Manifest, hashes: &mut Hashes) -> Result<Vec<Unused>> {
    let nodes = nodes(manifest, &[])?;
    let mut unused = unused_results(manifest, &nodes, hashes);
    unused.extend(unused_experiments(manifest, &nodes));
    count_freed(&mut unused);
    Ok(unused)
}

/// Kept results that are not in an experiment's folder and that no setting of the manifest would
/// restore.
fn unused_results(manifest: &Manifest, nodes: &[Node], hashes: &mut Hashes) -> Vec<Unused> {
    let store = Store::of(&manifest.run_dir);
    let in_folders = nodes.iter().filter_map(|node| Some(Record::of(&node.plan)?.fingerprint));
    let mut used: BTreeSet<String> = in_folders.collect();
    for forecast in forecast(nodes, false, &store, hashes) {
        if let Forecast::Known(State::Kept { record, .. }) = forecast {
            used.insert(record.fingerprint);
        }
    }
    let mut unused = Vec::new();
    for path in folders(store.dir()) {
        let files = kept_files(&path);
        let is_others = files.is_empty() && !files_below(&path).is_empty();
        if !used.contains(&name_of(&path)) && !is_others {
            let record = Record::load(&path.join(RECORD));
            let what = record.map_or("not finished".to_owned(), |record| what(record, manifest));
            unused.push(Unused { bytes: 0, path, what, files });
        }
    }
    unused
}

/// Why kept results are unused.
fn what(Record { stage, experiment, .. }: Record, manifest: &Manifest) -> String {
    match experiment {
        None => format!("{stage}, an earlier setting"),
        Some(name) if manifest.experiment(&name).is_ok() => {
            format!("{stage} of {name}, an earlier setting")
        }
        Some(name) => format!("{stage} of {name}, which is no longer in the manifest"),
    }
}

/// Folders of experiments that are no longer in the manifest, and of trainings with seeds that it no
/// longer lists.
fn unused_experiments(manifest: &Manifest, nodes: &[Node]) -> Vec<Unused> {
    let shared = [Stage::Holdout, Stage::Report].map(Stage::name);
    let is_read = |dir: &Path| {
        let dir = fs::canonicalize(dir).unwrap_or_default();
        let mut inputs = nodes.iter().flat_map(|node| &node.plan.inputs);
        inputs.any(|input| fs::canonicalize(&input.path).is_ok_and(|path| path.starts_with(&dir)))
    };
    let is_planned = |dir: &PathBuf| nodes.iter().any(|node| node.plan.dir == *dir);
    let mut unused = Vec::new();
    for path in folders(&manifest.run_dir) {
        let name = name_of(&path);
        let dirs = stage_dirs(&path);
        // A folder without a stage's record is somebody else's.
        let is_of_stages = dirs.iter().any(|(_, dir)| dir.join(RECORD).exists());
        if !is_of_stages || shared.contains(&&*name) {
            continue;
        }
        if manifest.experiment(&name).is_err() {
            let what = "an experiment that is no longer in the manifest".to_owned();
            let files = dirs.iter().flat_map(|(stage, dir)| files_of_stage(*stage, dir)).collect();
            unused.push(Unused { bytes: 0, path, what, files });
            continue;
        }
        for (stage, dir) in dirs {
            let is_of_seed = dir.parent().is_some_and(is_of_seed);
            let is_stage = [RECORD, LOG].iter().any(|file| dir.join(file).exists());
            if is_of_seed && is_stage && !is_planned(&dir) && !is_read(&dir) {
                let what = format!("{stage} of {name}, with other seeds");
                let files = files_of_stage(stage, &dir);
                unused.push(Unused { bytes: 0, path: dir, what, files });
            }
        }
    }
    unused
}

/// Where an experiment's stages may have written: in its folder and in those of seeds.
fn stage_dirs(experiment: &Path) -> Vec<(Stage, PathBuf)> {
    let of_seeds = folders(experiment).into_iter().filter(|dir| is_of_seed(dir));
    let parents = std::iter::once(experiment.to_owned()).chain(of_seeds);
    let stages =
        |parent: PathBuf| Stage::OF_EXPERIMENT.map(|stage| (stage, parent.join(stage.name())));
    parents.flat_map(stages).filter(|(_, dir)| is_folder(dir)).collect()
}

/// Whether a folder of an experiment is that of a seed.
fn is_of_seed(dir: &Path) -> bool {
    name_of(dir).strip_prefix("seed-").is_some_and(|seed| seed.parse::<u64>().is_ok())
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
        // Inner folders first; one that holds something else stays.
        let inner = self.files.iter().flat_map(|file| file.ancestors().skip(1));
        let mut dirs: BTreeSet<&Path> = inner.filter(|dir| dir.starts_with(&self.path)).collect();
        dirs.insert(&self.path);
        dirs.extend(self.path.parent().filter(|dir| is_of_seed(dir)));
        for dir in dirs.into_iter().rev() {
            match fs::remove_dir(dir) {
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

/// Files of kept results: those that their record lists; all, if they are unfinished, as only the
/// runner writes there.
fn kept_files(dir: &Path) -> Vec<PathBuf> {
    let is_partial = name_of(dir).ends_with(".partial");
    let files = files_in(dir).filter(|file| is_partial || is_recorded(dir, file));
    files.collect()
}

/// Files of a stage in its folder: results, record, log, checkpoints and unfinished files.
fn files_of_stage(stage: Stage, dir: &Path) -> Vec<PathBuf> {
    // A stage that failed has no record that lists them.
    let results: &[&str] = match stage {
        Stage::Sample => &["examples.arrow"],
        Stage::Train => &["model.arrow", JUDGED_MODEL, "history.arrow", RUNGS],
        Stage::Score => &[
            "scores.arrow",
            "valid_scores.arrow",
            "thresholds.arrow",
            "histogram.arrow",
            "trade_off.arrow",
            "memory.arrow",
            "reference.arrow",
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

/// Whether a path is a folder; a link to one is somebody's file.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Counts the bytes that deleting frees. A file with several links is freed if all are deleted, and
/// counted in the folder of the first.
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

/// All files in a folder and its subfolders; links are not followed.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let below = |path: PathBuf| if is_folder(&path) { files_below(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.path())).collect()
}

//! What the runner itself keeps in the folder of results: a lock and the hashes of files.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use contract::hashes::Hashes;

const LOCK: &str = ".lock";
const HASHES: &str = ".hashes.json";

/// Locks the folder for a run. The kernel releases the lock when this program ends, however it ends.
///
/// # Errors
///
/// If another run holds it, or the folder cannot be written.
pub fn lock(run_dir: &Path) -> Result<File> {
    fs::create_dir_all(run_dir).with_context(|| format!("cannot create {}", run_dir.display()))?;
    let path = run_dir.join(LOCK);
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            bail!(
                "{}: another run is using this folder (process {holder}); wait for it to end",
                run_dir.display()
            );
        }
        Err(TryLockError::Error(err)) => {
            return Err(err).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    fs::write(&path, std::process::id().to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file)
}

/// Hashes that earlier commands left, so that unchanged files are not read again.
pub fn load_hashes(run_dir: &Path) -> Hashes {
    Hashes::load(&run_dir.join(HASHES))
}

/// Leaves the hashes for later commands. Without them these are only slower, so a failure is no error.
pub fn save_hashes(run_dir: &Path, hashes: &Hashes) {
    if run_dir.is_dir() {
        let _ = hashes.save(&run_dir.join(HASHES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_with_the_process_that_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("runs");
        let held = lock(&run_dir).unwrap();
        let err = lock(&run_dir).unwrap_err().to_string();
        let holder = format!("(process {})", std::process::id());
        assert!(err.contains("another run is using this folder") && err.contains(&holder), "{err}");
        drop(held);
        lock(&run_dir).unwrap();
    }
}

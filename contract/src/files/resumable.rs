//! Work beside its target that a killed program leaves and the next one goes on with.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::error::Error;
use super::lock::{held, open_alone, open_unless_held, stands_at};
use crate::ipc;

/// A folder of finished parts of one job, locked by one process, or by several that make parts of it.
///
/// Unlike [`crate::scratch::Scratch`] it stays when the program ends, until [`Resumable::remove`]. A
/// part's name has the hash of its bytes, so that a damaged part is made again.
#[derive(Debug)]
pub struct Resumable {
    dir: PathBuf,
    lock: File,
}

/// File that says what the parts are of.
const JOB: &str = "job.json";

impl Resumable {
    /// Makes or finds the folder of a target, `.NAME.parts` beside it. Parts of another job are removed.
    ///
    /// * `job`: all that the parts depend on, as text.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be made or another process holds it.
    pub fn open(target: &Path, job: &str) -> Result<Self, Error> {
        let dir = Self::dir_of(target);
        let lock = open_alone(&dir, target, || open(&dir))?;
        let work = Self { dir, lock };
        work.prepare(job)?;
        Ok(work)
    }

    /// As [`Self::open`], beside other processes that make parts of the same job.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be made, or others are at work on another job.
    pub fn join(target: &Path, job: &str) -> Result<Self, Error> {
        /// While another process prepares the folder, it is held by that one alone.
        const TRIES: u32 = 50;
        const WAIT: Duration = Duration::from_millis(100);

        let dir = Self::dir_of(target);
        for _ in 0..TRIES {
            // Whoever is first prepares the folder, and then lets others in.
            if let Some(lock) = open_unless_held(&dir, || open(&dir), File::try_lock)? {
                Self { dir: dir.clone(), lock }.prepare(job)?;
            }
            if let Some(lock) = open_unless_held(&dir, || open(&dir), File::try_lock_shared)? {
                let work = Self { dir, lock };
                if work.is_of(job) {
                    return Ok(work);
                }
                let what = "other processes are at work on another job; wait for them to end";
                return Err(Error::io(target, io::Error::other(what)));
            }
            thread::sleep(WAIT);
        }
        Err(held(target))
    }

    /// Removes parts of another job.
    fn prepare(&self, job: &str) -> Result<(), Error> {
        if !self.is_of(job) {
            self.remove_files()?;
            ipc::finish_text(&self.dir.join(JOB), job)?.commit()?;
        }
        Ok(())
    }

    fn dir_of(target: &Path) -> PathBuf {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        target.with_file_name(format!(".{name}.parts"))
    }

    fn is_of(&self, job: &str) -> bool {
        fs::read_to_string(self.dir.join(JOB)).ok().as_deref() == Some(job)
    }

    /// Path to write a part to; [`Self::keep`] makes it one of the finished parts.
    pub fn unfinished(&self, part: usize) -> PathBuf {
        self.dir.join(format!("part-{part:05}.arrow"))
    }

    /// Keeps a part that was written to [`Self::unfinished`].
    ///
    /// * `blake3`: hash of its bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn keep(&self, part: usize, blake3: &str) -> Result<PathBuf, Error> {
        let (from, to) = (self.unfinished(part), self.dir.join(kept_name(part, blake3)));
        fs::rename(&from, &to).map_err(|err| Error::io(&to, err))?;
        Ok(to)
    }

    /// A finished part whose bytes are those that were written; `None` if it has to be made.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn finished(&self, part: usize) -> Result<Option<PathBuf>, Error> {
        let start = format!("part-{part:05}-");
        let entries = fs::read_dir(&self.dir).map_err(|err| Error::io(&self.dir, err))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(&start) {
                if name == kept_name(part, &ipc::hash_file(&path)?) {
                    return Ok(Some(path));
                }
                fs::remove_file(&path).map_err(|err| Error::io(&path, err))?;
            }
        }
        Ok(None)
    }

    /// Removes the folder, once its parts are used or useless.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn remove(self) -> Result<(), Error> {
        if stands_at(&self.lock, &self.dir) {
            fs::remove_dir_all(&self.dir).map_err(|err| Error::io(&self.dir, err))?;
        }
        Ok(())
    }

    fn remove_files(&self) -> Result<(), Error> {
        let entries = fs::read_dir(&self.dir).map_err(|err| Error::io(&self.dir, err))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            fs::remove_file(&path).map_err(|err| Error::io(&path, err))?;
        }
        Ok(())
    }
}

/// Opens the folder, which is made if it is not there.
fn open(dir: &Path) -> io::Result<File> {
    fs::create_dir_all(dir)?;
    File::open(dir)
}

fn kept_name(part: usize, blake3: &str) -> String {
    format!("part-{part:05}-{}.arrow", &blake3[..32.min(blake3.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(work: &Resumable, part: usize, text: &str) -> PathBuf {
        let finished = ipc::finish_text(&work.unfinished(part), text).unwrap();
        let hash = finished.blake3.clone();
        finished.commit().unwrap();
        work.keep(part, &hash).unwrap()
    }

    #[test]
    fn the_next_process_finds_whole_parts_of_the_same_job_only() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.csv");
        let work = Resumable::open(&target, "a job").unwrap();
        assert_eq!(work.finished(0).unwrap(), None);
        let first = keep(&work, 0, "first");
        let second = keep(&work, 1, "second");
        fs::write(work.unfinished(2), "cut off").unwrap();
        let message = Resumable::open(&target, "a job").unwrap_err().to_string();
        assert!(message.contains("another run is writing here"), "{message}");
        drop(work);

        fs::write(&second, "damaged").unwrap();
        let work = Resumable::open(&target, "a job").unwrap();
        assert_eq!(work.finished(0).unwrap(), Some(first));
        assert_eq!(work.finished(1).unwrap(), None);
        assert_eq!(work.finished(2).unwrap(), None);
        drop(work);

        let work = Resumable::open(&target, "another job").unwrap();
        assert_eq!(work.finished(0).unwrap(), None);
        work.remove().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn processes_join_the_same_job_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.csv");
        let first = Resumable::join(&target, "a job").unwrap();
        let second = Resumable::join(&target, "a job").unwrap();
        let part = keep(&first, 3, "third");
        assert_eq!(second.finished(3).unwrap(), Some(part));
        let message = Resumable::join(&target, "another job").unwrap_err().to_string();
        assert!(message.contains("at work on another job"), "{message}");
        let message = Resumable::open(&target, "a job").unwrap_err().to_string();
        assert!(message.contains("another run is writing here"), "{message}");
        drop((first, second));
        Resumable::open(&target, "a job").unwrap().remove().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

//! A folder of files that takes its place as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::exit::UsageError;
use crate::{interrupt, ipc};

/// A folder being written beside its target; removed unless it is put in place.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    target: PathBuf,
}

impl Folder {
    /// Makes the folder, empty, `.NAME.partial` beside the target.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn create(target: &Path) -> Result<Self, Error> {
        let path = beside(target, "partial");
        removed(&path)?; // a killed program left it
        fs::create_dir_all(&path).map_err(|err| Error::io(&path, err))?;
        interrupt::remove_on_interrupt(&path);
        Ok(Self { path, target: target.to_path_buf() })
    }

    /// Where its files are written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the folder in its place. An earlier folder there is moved aside first, so that for an
    /// instant there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn commit(self) -> Result<(), Error> {
        let moved = |from: &Path, to: &Path| fs::rename(from, to).map_err(|err| Error::io(to, err));
        let old = beside(&self.target, "old");
        removed(&old)?;
        if self.target.exists() {
            moved(&self.target, &old)?;
        }
        moved(&self.path, &self.target)?;
        removed(&old)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // gone if it was put in place
        interrupt::keep(&self.path);
    }
}

/// Checks that a folder is new, or holds nothing but what may be replaced.
///
/// * `is_own`: whether a file of this name may be replaced.
///
/// # Errors
///
/// [`UsageError`] with the first other file, or [`Error::Target`] if there is no folder but something
/// else.
pub fn check(target: &Path, is_own: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    if target.exists() && !target.is_dir() {
        ipc::check_target(target)?;
        let what = "there is a file of this name; name a folder";
        return Err(UsageError(format!("{}: {what}", target.display())).into());
    }
    let Ok(entries) = fs::read_dir(target) else { return Ok(()) };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut others = names.filter(|name| !is_own(name));
    others.next().map_or(Ok(()), |other| {
        let what = "which would be removed; name another folder";
        Err(UsageError(format!("{}: the folder holds `{other}`, {what}", target.display())).into())
    })
}

fn removed(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(Error::io(path, err)),
        _ => Ok(()),
    }
}

fn beside(target: &Path, what: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_replaces_an_earlier_one_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let write = |name: &str| {
            let folder = Folder::create(&target).unwrap();
            fs::write(folder.path().join(name), "text").unwrap();
            folder
        };
        write("part-0").commit().unwrap();
        drop(write("part-1"));
        assert!(target.join("part-0").exists());
        write("part-2").commit().unwrap();
        assert!(!target.join("part-0").exists() && target.join("part-2").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_of_others_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let is_own = |name: &str| name.starts_with("part-");
        check(&dir.path().join("new"), is_own).unwrap();
        fs::write(dir.path().join("part-0"), "").unwrap();
        check(dir.path(), is_own).unwrap();
        fs::write(dir.path().join("notes.txt"), "").unwrap();
        assert!(check(dir.path(), is_own).unwrap_err().to_string().contains("holds `notes.txt`"));
        let message = check(&dir.path().join("part-0"), is_own).unwrap_err().to_string();
        assert!(message.contains("there is a file of this name"), "{message}");
        assert!(
            check(Path::new("/dev/null"), is_own).unwrap_err().to_string().contains("a device")
        );
    }
}

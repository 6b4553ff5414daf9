//! Files and folders that one process at a time may lock.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::error::Error;

/// Opens and locks the file at `path`. The lock ends with the process, however that ends.
///
/// * `target`: shown in the message.
///
/// # Errors
///
/// [`Error::Io`] if another process holds it, or it cannot be opened or locked.
pub(crate) fn open_alone(
    path: &Path,
    target: &Path,
    open: impl Fn() -> io::Result<File>,
) -> Result<File, Error> {
    open_unless_held(path, open, File::try_lock)?.ok_or_else(|| held(target))
}

/// As [`open_alone`], but `None` if another process holds the lock.
///
/// * `lock`: takes it, alone or with others.
///
/// # Errors
///
/// [`Error::Io`] if it cannot be opened or locked.
pub(crate) fn open_unless_held(
    path: &Path,
    open: impl Fn() -> io::Result<File>,
    lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<Option<File>, Error> {
    loop {
        let file = open().map_err(|err| Error::io(path, err))?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(err)) => return Err(Error::io(path, err)),
        }
        // Its last holder may have renamed or removed it since it was opened; then the path holds
        // another file, or none.
        if stands_at(&file, path) {
            return Ok(Some(file));
        }
    }
}

/// The error where another process holds the lock of a target.
pub(crate) fn held(target: &Path) -> Error {
    Error::io(target, io::Error::other("another run is writing here; wait for it to end"))
}

/// Whether the open file is the one at this path.
pub(crate) fn stands_at(file: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (opened.dev(), opened.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Between opening and locking, the holder renames the file to its place: writing to what was
    /// opened would damage a finished table.
    #[test]
    fn a_file_that_was_renamed_before_it_was_locked_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join(".table.partial"), dir.path().join("table"));
        let n_opened = Cell::new(0);
        let open = || {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            n_opened.set(n_opened.get() + 1);
            if n_opened.get() == 1 {
                fs::rename(&path, &target)?;
            }
            Ok(file)
        };
        let file = open_alone(&path, &target, open).unwrap();
        assert_eq!(n_opened.get(), 2);
        assert!(stands_at(&file, &path) && !stands_at(&file, &target));
    }

    #[test]
    fn only_a_held_lock_is_reported_as_another_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("held");
        let open = || File::options().create(true).truncate(false).write(true).open(&path);
        let first = open_alone(&path, &path, open).unwrap();
        let err = open_alone(&path, &path, open).unwrap_err().to_string();
        assert!(err.contains("another run is writing here"), "{err}");
        drop(first);
        let refused = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let err = open_alone(&path, &path, refused).unwrap_err().to_string();
        assert!(!err.contains("another run"), "{err}");
    }
}

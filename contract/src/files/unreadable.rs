//! Why a file that a user made cannot be read.

use std::io;

use arrow::error::ArrowError;

/// Why a file cannot be read; callers add which file, and what it is for.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// An error of the file system
    #[error("{0}")]
    Io(io::Error),
    /// The file's content is wrong
    #[error("{0}")]
    Content(String),
}

impl Unreadable {
    /// An error about the file's content, with how to fix it.
    pub fn content(what: impl Into<String>) -> Self {
        Self::Content(what.into())
    }
}

/// First bytes of a file that Git LFS left in place of the real one.
pub const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Refuses what Git LFS left in place of a file.
///
/// * `start`: first bytes of the file, at least as many as [`LFS_POINTER`] has.
///
/// # Errors
///
/// How to get the file itself.
pub fn refuse_lfs_pointer(start: &[u8]) -> Result<(), Unreadable> {
    if start.starts_with(LFS_POINTER) {
        return Err(Unreadable::content(
            "is a pointer of Git LFS, not the file itself; run `git lfs pull`",
        ));
    }
    Ok(())
}

impl From<io::Error> for Unreadable {
    fn from(err: io::Error) -> Self {
        if err.kind() == io::ErrorKind::UnexpectedEof {
            return Self::content("is truncated; write it again");
        }
        // Errors of decoders and parsers are about the file's content.
        let is_content = matches!(
            err.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other
        ) && err.raw_os_error().is_none();
        if is_content { Self::Content(err.to_string()) } else { Self::Io(err) }
    }
}

impl From<ArrowError> for Unreadable {
    fn from(err: ArrowError) -> Self {
        match err {
            ArrowError::IoError(_, err) => err.into(),
            ArrowError::ParseError(what)
            | ArrowError::CsvError(what)
            | ArrowError::JsonError(what)
            | ArrowError::CastError(what)
            | ArrowError::SchemaError(what)
            | ArrowError::IpcError(what)
            | ArrowError::InvalidArgumentError(what) => Self::Content(what),
            other => Self::Content(other.to_string()),
        }
    }
}

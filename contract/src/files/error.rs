//! Why a table of the pipeline could not be read or written.

use std::io;
use std::path::Path;

use crate::commands;
use crate::tables::Contract;

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system returned an error
    #[error("{path}: {reason}")]
    Io {
        /// The file
        path: String,
        /// Its error
        reason: io::Error,
    },
    /// The files of a table cannot be found: what, where and why
    #[error("{0}")]
    Unknown(String),
    /// The file does not exist
    #[error(
        "{path}: there is no such file\nhint: it is written as `{contract}`; run `{}` to build it",
        commands::run()
    )]
    Missing {
        /// The file
        path: String,
        /// The table it should hold
        contract: &'static str,
    },
    /// The target exists and is not a file
    #[error("{path}: {found}\nhint: expected a file, new or to be replaced")]
    Target {
        /// The target
        path: String,
        /// What is there instead
        found: &'static str,
    },
    /// The file is not the one that its record, `stage.json` or `bundle.json`, lists
    #[error(
        "{path}: its bytes are not those that were written: {record} lists {recorded}, the file has \
         {found}\nhint: {remedy}"
    )]
    Changed {
        /// The file
        path: String,
        /// File name of the record
        record: String,
        /// Hash that the record lists
        recorded: String,
        /// Hash of the bytes
        found: String,
        /// What makes the file again
        remedy: String,
    },
    /// A record, `stage.json` or `bundle.json`, cannot be used
    #[error("{path}: {found}")]
    Record {
        /// The record
        path: String,
        /// What is wrong, and how to repair it
        found: String,
    },
    /// The file violates its contract
    #[error(
        "{path}: {found}\nhint: expected a file written as `{contract}` v{version}; run `{}` to rebuild it",
        commands::run()
    )]
    Broken {
        /// The file
        path: String,
        /// What was found and what was expected
        found: String,
        /// The table it should hold
        contract: &'static str,
        /// The version it should have
        version: u32,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), reason: source }
    }

    pub(crate) fn broken(path: &Path, contract: &Contract, found: impl Into<String>) -> Self {
        Self::Broken {
            path: path.display().to_string(),
            found: found.into(),
            contract: contract.name,
            version: contract.version,
        }
    }
}

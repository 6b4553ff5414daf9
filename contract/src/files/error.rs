//! Why a table of the pipeline could not be read or written.

use std::io;
use std::path::Path;

use crate::tables::Contract;

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused
    #[error("{path}: {reason}")]
    Io {
        /// The file
        path: String,
        /// What the file system said
        reason: io::Error,
    },
    /// There is no such file
    #[error(
        "{path}: there is no such file\nhint: it is written as `{contract}`; run `make pipeline` to build it"
    )]
    Missing {
        /// The file
        path: String,
        /// The table it should hold
        contract: &'static str,
    },
    /// What is to be written is no file
    #[error("{path}: {found}\nhint: expected a file, new or to be replaced")]
    Target {
        /// Where it was to be written
        path: String,
        /// What is there
        found: &'static str,
    },
    /// The file is not what its contract says
    #[error(
        "{path}: {found}\nhint: expected a file written as `{contract}` v{version}; run `make pipeline` to rebuild it"
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

    pub(super) fn broken(path: &Path, contract: &Contract, found: impl Into<String>) -> Self {
        Self::Broken {
            path: path.display().to_string(),
            found: found.into(),
            contract: contract.name,
            version: contract.version,
        }
    }
}

//! How programs end: their exit codes, and the errors that choose one.

/// Exit code of a program that has done all it was asked to.
pub const EXIT_DONE: u8 = 0;
/// Exit code of a failed stage and of the machine's faults.
pub const EXIT_FAILED: u8 = 1;
/// Exit code of a wrong usage or manifest.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of a broken data contract.
pub const EXIT_DATA: u8 = 5;
/// Exit code of a program that was interrupted.
pub const EXIT_INTERRUPTED: u8 = 130;

/// The data is not what the stage needs. Says where, what was found, what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DataError(pub String);

/// The command line asks for what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The program ended by itself after it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Interrupted(pub String);

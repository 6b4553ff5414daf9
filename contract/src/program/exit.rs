//! Exit codes of the programs, and the errors that determine them.

/// Exit code of success.
pub const EXIT_DONE: u8 = 0;
/// Exit code of a failed stage and of errors of the system.
pub const EXIT_FAILED: u8 = 1;
/// Exit code of wrong usage or a wrong manifest.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of data that violates its contract.
pub const EXIT_DATA: u8 = 5;
/// Exit code of a program that was interrupted.
pub const EXIT_INTERRUPTED: u8 = 130;

/// The data is not what the stage needs: where, what was found, what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DataError(pub String);

/// The command line asks for something impossible.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The program stopped by itself after an interrupt.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Interrupted(pub String);

//! `pipeline worker`: serves parts of queries to the stages of other machines.

use std::process::Command;

use anyhow::Result;
use contract::Stage;
use contract::cli::WorkerArgs;

use crate::{foreground, program};

/// Runs a worker until it is stopped; the result is its exit code.
///
/// # Errors
///
/// If the program of the sample stage cannot be run.
pub fn worker(args: &WorkerArgs) -> Result<u8> {
    foreground::pass_on_interrupts()?;
    let mut command = Command::new(program::path(Stage::Sample)?);
    command.arg("worker").args(args.arguments());
    foreground::run(command)
}

//! What the stage programs' command lines have in common.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::manifest::{Experiment, Manifest, NoSuchExperiment};
use crate::{Problems, interrupt, ipc};

/// Exit code of a wrong usage or manifest.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of a broken data contract.
pub const EXIT_DATA: u8 = 5;

/// The manifest, and what to change in it.
#[derive(Args, Debug, Clone)]
pub struct ManifestArgs {
    /// Pipeline manifest to read
    #[arg(long, value_name = "FILE", default_value = "pipeline.yaml")]
    pub manifest: PathBuf,
    /// Change a value of the manifest, as in `train.epochs=2`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The manifest and one of its experiments.
#[derive(Args, Debug)]
pub struct ExperimentArgs {
    /// The manifest
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Experiment of the manifest
    #[arg(long, value_name = "NAME")]
    pub experiment: String,
}

impl ManifestArgs {
    /// Reads and checks the manifest.
    ///
    /// # Errors
    ///
    /// [`Problems`].
    pub fn load(&self) -> Result<Manifest, Problems> {
        Manifest::load(&self.manifest, &self.set, &[])
    }
}

impl ExperimentArgs {
    /// Reads and checks the manifest and finds the experiment.
    ///
    /// # Errors
    ///
    /// [`Problems`] or [`NoSuchExperiment`].
    pub fn load(&self) -> anyhow::Result<(Manifest, Experiment)> {
        let ManifestArgs { manifest, set } = &self.manifest;
        let manifest = Manifest::load(manifest, set, std::slice::from_ref(&self.experiment))?;
        let experiment = manifest.experiment(&self.experiment)?.clone();
        Ok((manifest, experiment))
    }
}

/// The data is not what the stage needs. Says where, what was found, what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DataError(pub String);

/// The command line asks for what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Prints a line of results; that nobody reads any more, as before `| head`, is no error.
#[macro_export]
macro_rules! print_line {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($argument)*);
    }};
}

/// Runs a stage's `main`: the result goes to stdout, an error to stderr, the exit code tells which.
pub fn main(program: &'static str, run: impl FnOnce() -> anyhow::Result<String>) -> ExitCode {
    interrupt::install(program);
    match run() {
        Ok(summary) => {
            print_line!("{summary}");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("{program}: {err:#}");
            ExitCode::from(exit_code(&err))
        }
    }
}

/// 2 for the manifest's mistakes, 5 for the data's, 130 if interrupted, 1 for all else.
pub fn exit_code(err: &anyhow::Error) -> u8 {
    for cause in err.chain() {
        if cause.is::<Problems>() || cause.is::<NoSuchExperiment>() || cause.is::<UsageError>() {
            return EXIT_USAGE;
        }
        if cause.is::<interrupt::Interrupted>() {
            return interrupt::EXIT_INTERRUPTED;
        }
        let is_data = match cause.downcast_ref::<ipc::Error>() {
            Some(ipc::Error::Target { .. }) => return EXIT_USAGE,
            Some(ipc::Error::Io { .. }) => false,
            Some(_) => true,
            None => cause.is::<DataError>(),
        };
        if is_data {
            return EXIT_DATA;
        }
    }
    1
}

/// A count with thousands separators: `2,311`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 label`, `2,311 labels`.
pub fn plural(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

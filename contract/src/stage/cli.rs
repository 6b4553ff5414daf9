//! The shared parts of the programs' command lines.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};

use crate::exit::{
    DataError, EXIT_DATA, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, Interrupted,
    UsageError,
};
use crate::manifest::{Experiment, Manifest, NoSuchExperiment};
use crate::plan::{Stage, StageId};
use crate::unreadable::Unreadable;
use crate::{Problems, interrupt, ipc, output, print_line, warn_line};

/// The manifest, and changes to it.
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
    /// With `seeds` in the manifest, run only this one's training [default: one after the other]
    #[arg(long, value_name = "NUM")]
    pub seed: Option<u64>,
}

/// How a worker runs: a process that serves parts of queries to the stages of other machines.
#[derive(Args, Debug)]
pub struct WorkerArgs {
    /// Address to listen on. Other machines reach it only if it is not a loopback address; then
    /// `PIPELINE_WORKER_TOKEN` must be set, to the same secret on all machines
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7070")]
    pub listen: String,
    /// Memory for all queries together; what does not fit is spilled to disk
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    pub memory: String,
    /// Disk space that all queries together may take while they run
    #[arg(long, value_name = "SIZE", default_value = "100GiB")]
    pub scratch_limit: String,
    /// Folder of this machine for what does not fit into memory
    #[arg(long, value_name = "DIR", default_value = "worker")]
    pub scratch: PathBuf,
}

impl WorkerArgs {
    /// The same as arguments of a program.
    pub fn arguments(&self) -> Vec<OsString> {
        let Self { listen, memory, scratch_limit, scratch } = self;
        let options: [(&str, &OsStr); 4] = [
            ("--listen", listen.as_ref()),
            ("--memory", memory.as_ref()),
            ("--scratch-limit", scratch_limit.as_ref()),
            ("--scratch", scratch.as_ref()),
        ];
        options.into_iter().flat_map(|(name, value)| [name.into(), value.to_owned()]).collect()
    }
}

impl ManifestArgs {
    /// Reads and checks the manifest.
    ///
    /// # Errors
    ///
    /// [`Problems`].
    pub fn load(&self) -> Result<Manifest, Problems> {
        let manifest = Manifest::load(&self.manifest, &self.set, &[])?;
        say_notes(&manifest, None);
        Ok(manifest)
    }
}

impl ExperimentArgs {
    /// Reads and checks the manifest, finds the experiment, and runs a stage of it: once for each seed
    /// that the stage runs with.
    ///
    /// * `run`: runs the stage for one training and returns what to print.
    ///
    /// # Errors
    ///
    /// [`Problems`], [`NoSuchExperiment`], [`UsageError`] if the manifest does not list the seed, or the
    /// first error of `run`.
    pub fn run_each(
        &self,
        stage: Stage,
        run: impl Fn(&Manifest, &Experiment) -> anyhow::Result<String>,
    ) -> anyhow::Result<String> {
        let ManifestArgs { manifest, set } = &self.manifest;
        let manifest = Manifest::load(manifest, set, std::slice::from_ref(&self.experiment))?;
        let experiment = manifest.experiment(&self.experiment)?;
        say_notes(&manifest, Some(&experiment.name));
        let mut trainings = manifest.trainings(experiment);
        if let Some(seed) = self.seed {
            trainings.retain(|training| training.seed == Some(seed));
            if trainings.is_empty() {
                return Err(UsageError(self.no_such_seed(seed, &manifest)).into());
            }
        }
        trainings.dedup_by_key(|training| StageId::in_experiment(stage, training));
        let printed: anyhow::Result<Vec<String>> =
            trainings.iter().map(|training| run(&manifest, training)).collect();
        Ok(printed?.join("\n"))
    }

    fn no_such_seed(&self, seed: u64, manifest: &Manifest) -> String {
        let is_trained = manifest.experiment(&self.experiment).is_ok_and(Experiment::needs_sample);
        if !is_trained {
            return format!(
                "`--seed {seed}`: experiment `{}` learns nothing, so it has no seeds\n\
                 hint: leave `--seed` out",
                self.experiment
            );
        }
        format!(
            "`--seed {seed}`: experiment `{}` is not trained with it, expected one of {:?}\n\
             hint: list it in the manifest's `seeds`, or leave `--seed` out",
            self.experiment, manifest.seeds
        )
    }
}

/// Environment variable that the runner sets for stages, as it has shown the manifest's notes
/// already.
pub const UNDER_RUNNER: &str = "PIPELINE_UNDER_RUNNER";

/// Shows the notes of a manifest.
///
/// * `experiment`: notes about other experiments only are left out.
pub fn say_notes(manifest: &Manifest, experiment: Option<&String>) {
    if std::env::var_os(UNDER_RUNNER).is_some() {
        return;
    }
    for note in &manifest.notes {
        let of_others = |name| !note.experiments.is_empty() && !note.experiments.contains(name);
        if !experiment.is_some_and(of_others) {
            warn_line!("note: {note}");
        }
    }
}

/// Parses the command line. After an error or the help the program ends: with 2 for an error, with
/// 1 if the help cannot be written.
pub fn parse<A: Parser>() -> A {
    A::try_parse().unwrap_or_else(|err| {
        let printed = err.print().and_then(|()| io::stdout().flush());
        if !err.use_stderr() {
            output::note_failure(printed);
        }
        let program = A::command().get_name().to_owned();
        std::process::exit(output::ended(&program, err.exit_code() as u8).into())
    })
}

/// Runs a stage's `main`: the result goes to stdout, an error to stderr with its exit code.
pub fn main(program: &'static str, run: impl FnOnce() -> anyhow::Result<String>) -> ExitCode {
    interrupt::install(program);
    match run() {
        Ok(summary) => {
            print_line!("{summary}");
            ExitCode::from(output::ended(program, EXIT_DONE))
        }
        Err(err) => failed(program, &err),
    }
}

/// Prints an error and returns its exit code.
pub fn failed(program: &str, err: &anyhow::Error) -> ExitCode {
    warn_line!("{program}: {err:#}");
    ExitCode::from(exit_code(err))
}

/// 2 for mistakes in the manifest, 5 for those in the data, 130 if interrupted, else 1.
pub fn exit_code(err: &anyhow::Error) -> u8 {
    for cause in err.chain() {
        if cause.is::<Problems>() || cause.is::<NoSuchExperiment>() || cause.is::<UsageError>() {
            return EXIT_USAGE;
        }
        if cause.is::<Interrupted>() {
            return EXIT_INTERRUPTED;
        }
        let is_data = match cause.downcast_ref::<ipc::Error>() {
            Some(ipc::Error::Target { .. }) => return EXIT_USAGE,
            Some(ipc::Error::Io { .. }) => false,
            Some(_) => true,
            None => {
                cause.is::<DataError>()
                    || matches!(cause.downcast_ref(), Some(Unreadable::Content(_)))
            }
        };
        if is_data {
            return EXIT_DATA;
        }
    }
    EXIT_FAILED
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    /// The programs' tests of their command lines check nothing without clap's debug assertions,
    /// which the build profile turns on for that crate.
    #[test]
    #[should_panic(expected = "Argument names must be unique")]
    fn clap_checks_command_lines_in_tests() {
        Command::new("program").arg(Arg::new("same")).arg(Arg::new("same")).debug_assert();
    }
}

//! `pipeline export`: a model, or the report, for other programs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};
use contract::Stage;
use contract::cli::ManifestArgs;
use contract::exit::UsageError;

use crate::{foreground, program};

/// Arguments of `pipeline export`.
#[derive(Args)]
pub struct ExportArgs {
    /// Experiment whose model to export; for `mlflow` those to log [default: all]
    #[arg(value_name = "EXPERIMENT")]
    experiments: Vec<String>,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Export the model of a folder that `pipeline bundle` wrote; needs no manifest
    #[arg(long, value_name = "DIR", conflicts_with = "experiments")]
    bundle: Option<PathBuf>,
    /// What to write
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// File to write
    #[arg(long, value_name = "FILE", required_unless_present = "to")]
    output: Option<PathBuf>,
    /// Address of an MLflow tracking server, such as `http://localhost:5000`
    #[arg(long, value_name = "URL", conflicts_with_all = ["output", "bundle"])]
    to: Option<String>,
    /// Name of the server's experiment [default: that of the manifest's folder]
    #[arg(long, value_name = "NAME", requires = "to")]
    name: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// A graph from features to calibrated probabilities
    Onnx,
    /// The model's arrays by name
    Safetensors,
    /// Parameters, figures and the report to an MLflow tracking server
    Mlflow,
}

/// Exports; the result is the exit code.
///
/// # Errors
///
/// Arguments that do not go together, or a program that cannot be run.
pub fn export(args: &ExportArgs) -> Result<u8> {
    foreground::pass_on_interrupts()?;
    let is_mlflow = args.format == Format::Mlflow;
    let mut command =
        Command::new(program::path(if is_mlflow { Stage::Report } else { Stage::Train })?);
    command.arg("export");
    if args.bundle.is_none() {
        program::add_manifest(&mut command, &args.manifest);
    }
    let format = args.format.to_possible_value().expect("no value is skipped");
    command.arg("--format").arg(format.get_name());
    match (&args.output, &args.to) {
        (None, Some(url)) if is_mlflow => {
            command.arg("--to").arg(url);
            command.args(args.name.iter().flat_map(|name| ["--name", name]));
            command.args(&args.experiments);
        }
        (Some(output), None) if !is_mlflow => {
            command.arg("--output").arg(output);
            match (&args.bundle, &args.experiments[..]) {
                (Some(bundle), _) => command.arg("--bundle").arg(bundle),
                (None, [experiment]) => command.arg("--experiment").arg(experiment),
                (None, _) => return Err(usage("name one experiment, or a `--bundle`")),
            };
        }
        _ => {
            return Err(usage("models go to a file, `--output`, and `mlflow` to a server, `--to`"));
        }
    }
    foreground::run(command)
}

fn usage(what: &str) -> anyhow::Error {
    UsageError(what.to_owned()).into()
}

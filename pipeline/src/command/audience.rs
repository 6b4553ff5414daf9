//! `pipeline audience`: the users of brands.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::new_users::{NewUsersArgs, Output, option};

/// Arguments of `pipeline audience`.
#[derive(Args)]
#[group(id = "how_many", multiple = false, args = ["size", "share", "min_precision"])]
pub struct AudienceArgs {
    /// Experiment whose model scores the users, with several seeds that of the first; with `--bundle`
    /// the first brand
    #[arg(required_unless_present = "bundle")]
    experiment: Option<String>,
    /// Brands, by id or name [default: all]
    #[arg(value_name = "BRAND")]
    brands: Vec<String>,
    #[command(flatten)]
    users: NewUsersArgs,
    /// So many users of each brand [default: those that reach its threshold]
    #[arg(long, value_name = "NUM")]
    size: Option<u64>,
    /// This share of the users, such as 0.02
    #[arg(long, value_name = "SHARE")]
    share: Option<f64>,
    /// As many users as keep the expected precision at this, such as 0.3
    #[arg(long, value_name = "SHARE")]
    min_precision: Option<f64>,
    /// File to write, by its ending .parquet, .csv or .arrow, also in a store, as `s3://bucket/a.csv`; a
    /// name without an ending is a folder with a file for each brand
    #[arg(long, value_name = "PATH", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Format of the files of a folder [default: parquet]
    #[arg(long, value_name = "FORMAT", value_parser = ["parquet", "csv", "arrow"])]
    format: Option<String>,
    /// Only print what to expect
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print JSON, of all brands
    #[arg(long)]
    json: bool,
}

/// Makes audiences; the result is the exit code.
///
/// # Errors
///
/// A mistake in the manifest, or a program that cannot be run.
pub fn audience(args: &AudienceArgs) -> Result<u8> {
    let is_bundle = args.users.bundle.is_some();
    let experiment = args.experiment.as_ref().filter(|_| !is_bundle);
    let first_brand = args.experiment.iter().filter(|_| is_bundle);
    let output = args.output.as_deref().map(|path| Output { path, machine: None });
    args.users.run("audience", experiment, output, |command| {
        option(command, "--size", args.size.as_ref());
        option(command, "--share", args.share.as_ref());
        option(command, "--min-precision", args.min_precision.as_ref());
        option(command, "--format", args.format.as_ref());
        command.args(args.dry_run.then_some("--dry-run"));
        command.args(args.json.then_some("--json"));
        command.arg("--").args(first_brand).args(&args.brands);
    })
}

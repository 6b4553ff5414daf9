//! `pipeline predict`: predictions for new users.

use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::new_users::{NewUsersArgs, Output, option};

/// Arguments of `pipeline predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// Experiment whose model predicts; with several seeds that of the first
    #[arg(required_unless_present = "bundle", conflicts_with = "bundle")]
    experiment: Option<String>,
    #[command(flatten)]
    users: NewUsersArgs,
    /// File to write, by its ending .parquet, .csv or .arrow, also in a store, as `s3://bucket/p.csv`; a
    /// name without an ending is a folder of such files, each with the users of a part
    #[arg(long, value_name = "PATH")]
    output: PathBuf,
    /// Format of the files of a folder [default: parquet]
    #[arg(long, value_name = "FORMAT", value_parser = ["parquet", "csv", "arrow"])]
    format: Option<String>,
    /// A row for each user, with lists of brands, instead of a row for each user and brand
    #[arg(long)]
    wide: bool,
    /// Write this many most probable brands of each user instead of those that are predicted
    #[arg(long, value_name = "NUM")]
    top_k: Option<NonZeroU32>,
    /// Decide for the best list of each user or the best audience of each brand, instead of following
    /// the experiment's policy
    #[arg(long = "for", value_name = "WHOM", value_parser = ["users", "brands"])]
    best_for: Option<String>,
    /// Write only brands of at least this probability
    #[arg(long, value_name = "PROB")]
    min_prob: Option<f64>,
    /// Only decide for this machine's share of the users, 2/5 being the second of five, in parts beside
    /// the output. Machines work at once; a run without this then gathers the parts
    #[arg(long, value_name = "PLACE/NUM")]
    machine: Option<String>,
    /// Print JSON, with what is compared of all features and brands
    #[arg(long)]
    json: bool,
}

/// Predicts; the result is the exit code.
///
/// # Errors
///
/// A mistake in the manifest, or a program that cannot be run.
pub fn predict(args: &PredictArgs) -> Result<u8> {
    let output = Output { path: &args.output, machine: args.machine.as_deref() };
    args.users.run("predict", args.experiment.as_ref(), Some(output), |command| {
        command.arg("--rows").arg(if args.wide { "wide" } else { "long" });
        option(command, "--format", args.format.as_ref());
        option(command, "--top-k", args.top_k.as_ref());
        option(command, "--for", args.best_for.as_ref());
        option(command, "--min-prob", args.min_prob.as_ref());
        option(command, "--machine", args.machine.as_ref());
        command.args(args.json.then_some("--json"));
    })
}

//! `pipeline predict`: predictions for new users. The sample stage runs the query that gives them, if
//! one does; the score stage does the rest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;
use contract::cli::ManifestArgs;
use contract::exit::{EXIT_DONE, UsageError};
use contract::manifest::View;
use contract::{Manifest, Stage};

use crate::{foreground, program};

/// Arguments of `pipeline predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// Experiment whose model predicts; with several seeds that of the first
    #[arg(required_unless_present = "bundle", conflicts_with = "bundle")]
    experiment: Option<String>,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Predict with a folder that `pipeline bundle` wrote; needs no manifest
    #[arg(long, value_name = "DIR", requires = "users")]
    bundle: Option<PathBuf>,
    /// Users: a file, folder or pattern of parquet, csv, json or Arrow files with the columns of
    /// `data.users`, a table of the manifest, or a query over its tables, which ends in `.sql`
    /// [default: the manifest's `data.users`]
    #[arg(long, value_name = "TABLE")]
    users: Option<String>,
    /// File to write, by its ending .parquet, .csv or .arrow; a name without an ending is a folder of
    /// such files, each with the users of a part
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
    top_k: Option<u32>,
    /// Decide for the best list of each user or the best audience of each brand, instead of following
    /// the experiment's policy
    #[arg(long = "for", value_name = "WHOM", value_parser = ["users", "brands"])]
    best_for: Option<String>,
    /// Write only brands of at least this probability
    #[arg(long, value_name = "PROB")]
    min_prob: Option<f64>,
    /// Users of a part: what is done again after a kill, and in a folder of files the users of each
    #[arg(long, value_name = "NUM")]
    part_users: Option<usize>,
}

/// Predicts; the result is the exit code.
///
/// # Errors
///
/// A mistake in the manifest, or a program that cannot be run.
pub fn predict(args: &PredictArgs) -> Result<u8> {
    foreground::pass_on_interrupts()?;
    let Some(query) = query(args)? else {
        return foreground::run(score_command(args, None)?);
    };
    let users = beside(&args.output);
    let code = foreground::run(query_command(args, &query, &users)?)?;
    let code = match code {
        EXIT_DONE => foreground::run(score_command(args, Some((&users, &query)))?)?,
        failed => failed,
    };
    let _ = std::fs::remove_file(&users); // it was not made if the query failed
    Ok(code)
}

/// The query that gives the users, if one does.
fn query(args: &PredictArgs) -> Result<Option<PathBuf>> {
    if let Some(users) = &args.users {
        let is_query = Path::new(users).extension().is_some_and(|extension| extension == "sql");
        if is_query && args.bundle.is_some() {
            let what = "`--users` is a query over a manifest's tables, and `--bundle` has no manifest; \
                        name a table";
            return Err(UsageError(what.to_owned()).into());
        }
        return Ok(is_query.then(|| users.into()));
    }
    let ManifestArgs { manifest, set } = &args.manifest;
    let manifest = Manifest::load(manifest, set, args.experiment.as_slice())?;
    Ok(match manifest.data.users {
        View::Table(_) => None,
        View::Sql(view) => Some(view.sql),
    })
}

/// Where the rows of the query wait for being scored.
fn beside(output: &Path) -> PathBuf {
    let path: PathBuf = output.components().collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.users.arrow"))
}

fn query_command(args: &PredictArgs, query: &Path, users: &Path) -> Result<Command> {
    let mut command = Command::new(program::path(Stage::Sample)?);
    command.arg("users");
    program::add_manifest(&mut command, &args.manifest);
    command.arg("--query").arg(query).arg("--output").arg(users);
    command.stdout(std::process::Stdio::null());
    Ok(command)
}

/// * `queried`: users that a query gave, and the query.
fn score_command(args: &PredictArgs, queried: Option<(&Path, &Path)>) -> Result<Command> {
    let mut command = Command::new(program::path(Stage::Score)?);
    command.arg("predict");
    match (&args.bundle, &args.experiment) {
        (Some(bundle), _) => {
            command.arg("--bundle").arg(bundle);
        }
        (None, experiment) => {
            program::add_manifest(&mut command, &args.manifest);
            command.arg("--experiment").arg(experiment.as_ref().context("clap requires one")?);
        }
    }
    match (queried, &args.users) {
        (Some((users, query)), _) => {
            command.arg("--users").arg(users).arg("--users-label").arg(query);
        }
        (None, Some(users)) => {
            command.arg("--users").arg(users);
        }
        (None, None) => {}
    }
    command.arg("--output").arg(&args.output);
    command.arg("--rows").arg(if args.wide { "wide" } else { "long" });
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    };
    option("--format", args.format.clone());
    option("--top-k", args.top_k.map(|n| n.to_string()));
    option("--for", args.best_for.clone());
    option("--min-prob", args.min_prob.map(|prob| prob.to_string()));
    option("--part-users", args.part_users.map(|n| n.to_string()));
    Ok(command)
}

//! Decisions for new users, with stored thresholds: from files of users to files of predictions.

pub mod brands; // ids and names of the brands
pub mod files; // parquet, csv or Arrow files
pub mod job; // decisions in parts, which a killed program leaves
mod output; // decisions in parts -> the predictions of a file or folder
mod rows; // rows of the output
pub mod sources; // model, thresholds and neighbours, verified
pub mod stream; // users through the model
pub mod users; // the users of a table, as the model reads them

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args as ClapArgs, ValueEnum};
use contract::cli::ManifestArgs;
use contract::warn_line;
use contract::words::{count, plural};
use ndarray::ArrayView2;
use raw_tables::RawTable;
use serde_json::json;

use job::Job;
use output::Output;
use sources::Sources;
use users::NewUsers;

#[derive(ClapArgs)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    model: WhichModel,
    #[command(flatten)]
    users: Users,
    #[command(flatten)]
    output: output::Args,
    #[command(flatten)]
    decide: Decide,
}

/// The users that are scored.
#[derive(ClapArgs)]
#[expect(clippy::struct_field_names, reason = "named after the flags")]
pub struct Users {
    /// Users to decide for: a file, folder or pattern of parquet, csv, json or Arrow files with
    /// `user_id` and the model's features; with `--experiment` also a table of the manifest
    #[arg(long, value_name = "TABLE", required_unless_present = "experiment")]
    pub users: Option<String>,
    /// What messages call the users [default: what `--users` says]
    #[arg(long, value_name = "TEXT", hide = true)]
    users_label: Option<String>,
    /// Users of a part: what is done again after the program was killed, and in a folder of files the
    /// users of each
    #[arg(long, value_name = "NUM", default_value_t = 262_144, value_parser = part_users)]
    pub part_users: usize,
}

impl Users {
    /// What messages call them.
    pub fn label(&self) -> String {
        let label = self.users_label.as_ref().or(self.users.as_ref());
        label.map_or("users", String::as_str).to_owned()
    }
}

fn part_users(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number of at least 1".to_owned()),
    }
}

/// Which model decides: one of three.
#[derive(ClapArgs)]
#[group(required = true, multiple = false, args = ["model", "experiment", "bundle"])]
pub struct WhichModel {
    /// Model to use, for example `runs/bau/train/model.arrow`
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Thresholds of `--model` [default: those of its experiment, `../score/thresholds.arrow`]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["experiment", "bundle"])]
    thresholds: Option<PathBuf>,
    /// Ids and names of the brands of `--model`, a `brands.arrow` [default: the ids that the model
    /// has]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["experiment", "bundle"])]
    brands: Option<PathBuf>,
    /// Experiment of the manifest whose model to use, that of the first seed
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Folder that `pipeline bundle` wrote
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
}

/// How decisions are made.
#[derive(ClapArgs)]
struct Decide {
    /// Choose the best brands for each user or the best users for each brand, instead of following
    /// the experiment's policy
    #[arg(long = "for", value_name = "WHOM")]
    best_for: Option<BestFor>,
    /// Number of most probable brands of each user [default: 20 in an Arrow file of brand positions;
    /// else the predicted brands are written instead]
    #[arg(long, value_name = "NUM")]
    top_k: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub enum BestFor {
    /// For each user the brands with the highest expected F1
    Users,
    /// For each brand the users with the highest expected F1
    Brands,
}

/// Decides for the users of a table; returns what to print.
pub fn run(args: &Args) -> Result<String> {
    let output = Output::of(&args.output, args.decide.top_k)?;
    let sources = Sources::find(&args.model)?;
    let options = sources.users(args.users.users.as_deref())?;
    output.place.check_inputs(&sources.files(), &options)?;
    let loaded = sources.load(args.decide.best_for)?;

    let in_users = || args.users.label();
    let table = RawTable::open("users", &options)?;
    let users = NewUsers::open(&table, &loaded.model, &sources).with_context(in_users)?;
    let (top_k, best_for) = (output.top_k(), args.decide.best_for);
    let how = json!({"top_k": top_k, "for": best_for.map(|best_for| format!("{best_for:?}"))});
    let job = Job::new(&loaded, &users, args.users.part_users, &how)?;
    let decide = |logits: ArrayView2<f32>| loaded.decider.decide(logits, top_k);
    let decided = job.run(&output.place.path, &decide).with_context(in_users)?;
    decided.notes.iter().for_each(|note| warn_line!("{note}"));
    let written = output.write(&decided.parts, &loaded.brands)?;
    decided.work.remove()?;

    let n_users = plural(users.n_users as u64, "user");
    let per_user = written.n_brands as f64 / users.n_users.max(1) as f64;
    let without = match written.n_without {
        0 => String::new(),
        n => format!(", none for {}", count(n)),
    };
    Ok(format!(
        "predicted for {n_users}, {per_user:.2} brands per user{without}\n{}",
        output.place.path.display()
    ))
}

//! Decisions for new users, with stored thresholds: from files of users to files of predictions.

pub mod brands; // ids and names of the brands
pub mod files; // parquet, csv or Arrow files
pub mod job; // decisions in parts, which a killed program leaves
mod output; // decisions in parts -> the predictions of a file or folder
mod rows; // rows of the output
pub mod sources; // model, thresholds and neighbours, verified
pub mod stream; // users through the model
pub mod users; // the users of a table, as the model reads them

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};
use contract::cli::ManifestArgs;
use contract::drift::{Drift, Predicted};
use contract::exit::DataError;
use contract::words::{count, plural};
use contract::{print_line, warn_line};
use ndarray::ArrayView2;
use raw_tables::RawTable;
use serde_json::json;

use crate::drift::{self, Watch};
use job::{Job, Share};
use output::Output;
use sources::{Loaded, Sources};
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
    /// Only decide for this machine's share of the users, 2/5 being the second of five, in parts beside
    /// the output. Machines work at once; a run without this then gathers the parts
    #[arg(long, value_name = "PLACE/NUM")]
    machine: Option<Share>,
    #[command(flatten)]
    drift: DriftArgs,
    /// Print JSON, with what is compared of all features and brands
    #[arg(long)]
    json: bool,
}

/// What is done if the users differ from those that the experiment was judged on.
#[derive(ClapArgs)]
pub struct DriftArgs {
    /// End with exit code 1 if they do; the output is written all the same
    #[arg(long)]
    pub fail_on_drift: bool,
}

/// The users that are scored.
#[derive(ClapArgs)]
#[expect(clippy::struct_field_names, reason = "named after the flags")]
pub struct Users {
    /// Users to decide for: a file, folder, pattern or URL of parquet, csv, json or Arrow files with
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

    /// A result; an error in the users' data also says which users they are. Others name their file.
    pub fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|err| if err.is::<DataError>() { err.context(self.label()) } else { err })
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
    top_k: Option<NonZeroUsize>,
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
    let sources = Sources::find(&args.model)?;
    let output =
        Output::of(&args.output, args.decide.top_k.map(NonZeroUsize::get), sources.scratch())?;
    let options = sources.users(args.users.users.as_deref())?;
    output.place.check_inputs(&sources.files(), &options)?;
    let loaded = sources.load(args.decide.best_for)?;

    let table = RawTable::open("users", &options)?;
    let users = args.users.named(NewUsers::open(&table, &loaded.model, &sources))?;
    let (top_k, best_for) = (output.top_k(), args.decide.best_for);
    let how = json!({"top_k": top_k, "for": best_for.map(|best_for| format!("{best_for:?}"))});
    let watch = args.drift.watch(&loaded, &users, loaded.is_own_policy)?;
    let job = Job::new(&loaded, &users, watch, args.users.part_users, &how)?;
    let decide = |logits: ArrayView2<f32>| loaded.decider.decide(logits, top_k);
    if let Some(share) = args.machine {
        let parts = args.users.named(job.run_share(&output.place.path, share, &decide))?;
        return Ok(share_summary(&parts, job.n_parts()));
    }
    let decided = args.users.named(job.run(&output.place.path, &decide))?;
    decided.notes.iter().for_each(|note| warn_line!("{note}"));
    let written = output.write(&decided.parts, &loaded.brands)?;
    output.place.send()?;
    decided.work.remove()?;

    let drift = drift::of(watch, decided.counts.as_ref(), &loaded.brands);
    let predicted = Predicted {
        n_users: users.n_users as u64,
        n_brands: written.n_brands,
        n_without: written.n_without,
        output: output.place.shown(),
        drift,
    };
    let text = if args.json { format!("{:#}", json!(predicted)) } else { summary(&predicted) };
    args.drift.end(&predicted.drift, text)
}

/// What a share was, in words.
fn share_summary(parts: &Range<usize>, n_parts: usize) -> String {
    match parts.len() {
        0 => format!("no part of {n_parts} is in this share"),
        1 => format!("part {} of {n_parts} is done", parts.end),
        _ => format!("parts {} to {} of {n_parts} are done", parts.start + 1, parts.end),
    }
}

/// In words.
fn summary(predicted: &Predicted) -> String {
    let n_users = plural(predicted.n_users, "user");
    let per_user = predicted.n_brands as f64 / predicted.n_users.max(1) as f64;
    let without = match predicted.n_without {
        0 => String::new(),
        n => format!(", none for {}", count(n)),
    };
    format!("predicted for {n_users}, {per_user:.2} brands per user{without}\n{}", predicted.output)
}

impl DriftArgs {
    /// What counts the users; `None` if there is nothing to compare them with.
    ///
    /// * `are_decisions_alike`: whether they are made as the test users' were.
    ///
    /// # Errors
    ///
    /// If drift is asked for and cannot be told.
    pub fn watch<'a>(
        &self,
        loaded: &'a Loaded,
        users: &NewUsers,
        are_decisions_alike: bool,
    ) -> Result<Option<Watch<'a>>> {
        let watch = loaded.reference.as_ref().map(|reference| {
            Watch::new(reference, &loaded.decider, users.n_users, are_decisions_alike)
        });
        if watch.is_none() && self.fail_on_drift {
            let what =
                format!("`--fail-on-drift`: drift cannot be checked: {}", drift::NO_REFERENCE);
            return Err(DataError(what).into());
        }
        Ok(watch)
    }

    /// Tells people what moved, and ends the program as they asked.
    ///
    /// * `text`: the result, which is printed before the program fails.
    ///
    /// # Errors
    ///
    /// If something moved and that is to fail.
    pub fn end(&self, drift: &Drift, text: String) -> Result<String> {
        drift::say(drift);
        if drift.n_moved == 0 || !self.fail_on_drift {
            return Ok(text);
        }
        print_line!("{text}");
        anyhow::bail!(
            "the users differ from those that the experiment was judged on, which `--fail-on-drift` \
             makes a failure; the output is complete"
        )
    }
}

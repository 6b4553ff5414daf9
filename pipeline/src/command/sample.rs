//! `pipeline sample`: draws an experiment's sample and shows rows of it.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use arrow::array::{Array as _, StringArray};
use clap::Args;
use contract::cli::ManifestArgs;
use contract::columns::{bools, f32s, u32_lists, u32s};
use contract::exit::{EXIT_DONE, UsageError};
use contract::ids::id_texts;
use contract::ipc::{self, Table};
use contract::tables::{BRANDS, EXAMPLES, FEATURES};
use contract::words::count;
use contract::{Manifest, Stage, print_line};

use crate::{foreground, listing, program};

/// Arguments of `pipeline sample`.
#[derive(Args)]
pub struct SampleArgs {
    /// Experiment whose sample to draw; with several seeds that of the first
    experiment: String,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Examples to show
    #[arg(long, value_name = "NUM", default_value_t = 10)]
    show: usize,
}

/// Brands of an example that are shown.
const SHOWN: usize = 8;

/// Draws the sample if it is stale and prints some of it; the result is the exit code.
///
/// # Errors
///
/// A mistake in the manifest, or a table that cannot be read.
pub fn sample(args: &SampleArgs) -> Result<u8> {
    let ManifestArgs { manifest: path, set } = &args.manifest;
    let manifest = Manifest::load(path, set, std::slice::from_ref(&args.experiment))?;
    let experiment = manifest.experiment(&args.experiment)?;
    if !experiment.needs_sample() {
        let what = format!("experiment `{}` is not trained, so it has no sample", experiment.name);
        return Err(UsageError(what).into());
    }
    foreground::pass_on_interrupts()?;
    let code = foreground::run(draw(args)?)?;
    if code != EXIT_DONE {
        return Ok(code);
    }
    let training = manifest.trainings(experiment).swap_remove(0);
    let plan = manifest.plan(Stage::Sample, Some(&training));
    let input = |name: &str| {
        let input = plan.inputs.iter().find(|input| input.name == name);
        input.map(|input| input.path.clone()).context("a sample has this input")
    };
    let examples = ipc::read(&plan.dir.join("examples.arrow"), &EXAMPLES)?;
    let features = ipc::read(&input("features")?, &FEATURES)?;
    let brands = ipc::read(&input("brands")?, &BRANDS)?;
    let n_shown = show(&examples, &features, &brands, args.show)?;
    print_line!(
        "{} of {} examples\n{}",
        count(n_shown as u64),
        count(examples.n_rows() as u64),
        plan.dir.join("examples.arrow").display()
    );
    Ok(EXIT_DONE)
}

/// Prints the first examples; returns how many.
fn show(examples: &Table, features: &Table, brands: &Table, at_most: usize) -> Result<usize> {
    let users = features.whole_column("user_id")?;
    let names = brands.whole_column("name")?;
    let names = names.as_any().downcast_ref::<StringArray>().context("names are text")?;
    let mut table = listing::table(&["user", "weight", "clone", "brands"]);
    let mut left = at_most;
    for batch in &examples.batches {
        let (rows, weights) = (u32s(batch, "user_row"), f32s(batch, "weight"));
        let are_clones = bools(batch, "is_clone");
        let (labels, ignored) = (u32_lists(batch, "brands"), u32_lists(batch, "ignored_brands"));
        for row in 0..batch.num_rows().min(left) {
            let user = id_texts(&users.slice(rows[row] as usize, 1)).swap_remove(0);
            let ignored = match ignored.get(row) {
                [] => String::new(),
                brands => format!("; left out of the loss: {}", listed(brands, names)),
            };
            let clone = if are_clones.value(row) { "yes" } else { "" };
            let labels = listed(labels.get(row), names) + &ignored;
            table.add_row([user, weights[row].to_string(), clone.to_owned(), labels]);
        }
        left = left.saturating_sub(batch.num_rows());
    }
    listing::print(&table);
    Ok(at_most - left)
}

/// The command that brings the sample up to date.
fn draw(args: &SampleArgs) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(["run", &args.experiment, "--to", "sample", "--quiet"]);
    program::add_manifest(&mut command, &args.manifest);
    command.stdout(Stdio::null());
    Ok(command)
}

/// Names of brands, the first of many.
fn listed(brands: &[u32], names: &StringArray) -> String {
    let shown = brands.iter().take(SHOWN).map(|&brand| names.value(brand as usize));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if brands.is_empty() {
        text += "none";
    }
    if brands.len() > SHOWN {
        let _ = write!(text, " and {} more", brands.len() - SHOWN);
    }
    text
}

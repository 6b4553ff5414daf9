//! Turns a model's probabilities into decisions.
//!
//! Thresholds are fitted on `valid`, then used on `test`; `predict` uses them for new users.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Args as ClapArgs, Parser, Subcommand};
use contract::cli::{self, DataError, ExperimentArgs, ManifestArgs};
use contract::ipc::{self, Table, Writer};
use contract::manifest::{Decision, ExpectedOver};
use contract::run::StageRun;
use contract::{Stage, columns, tables};
use decide::Decider;
use metrics::Histogram;
use model::{Inputs, Model};
use serde_json::json;
use users::Labels;

mod decide; // thresholds from the valid users; logits -> decisions
mod table; // Arrow columns of the tables written
mod users; // batches of users through the model

/// Turn a model's probabilities into decisions
///
/// Without a command, scores one experiment of the manifest: reads its model and the shared
/// brands, valid and test; writes thresholds, scores and histogram under
/// `run_dir/EXPERIMENT/score`. Running it twice gives the same bytes.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Experiment of the manifest
    #[arg(long, value_name = "NAME", required = true)]
    experiment: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Decide for new users with stored thresholds
    ///
    /// Reads users with the model's features in the form of `features.arrow`; writes an
    /// Arrow file with each user's predicted brands and their best ones.
    Predict(Predict),
}

#[derive(ClapArgs)]
struct Predict {
    /// Model to use, as `runs/bau/train/model.arrow`
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Users to decide for: `user_id` and the model's feature columns
    #[arg(long, value_name = "FILE")]
    users: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Thresholds to use; by default those of the model's experiment, `../score/thresholds.arrow`
    #[arg(long, value_name = "FILE")]
    thresholds: Option<PathBuf>,
    /// How many best brands to keep for each user
    #[arg(long, value_name = "NUM", default_value_t = 20)]
    top_k: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::main("score-stage", || match args.command {
        Some(Command::Predict(args)) => predict(&args),
        None => {
            let experiment = args.experiment.expect("required without a command");
            score(&ExperimentArgs { manifest: args.manifest, experiment })
        }
    })
}

fn score(args: &ExperimentArgs) -> Result<String> {
    let (manifest, experiment) = args.load()?;
    let mut stage = StageRun::start(&manifest, Stage::Score, Some(&experiment))?;
    let read = |name: &str| to_model(&stage.read(name, &tables::MODEL)?);
    let model = read("model")?;
    // The model itself has learned from the valid users if it was refit.
    let judged =
        if stage.plan.has_input("judged_model") { Some(read("judged_model")?) } else { None };
    let judged = judged.as_ref().unwrap_or(&model);
    let brands = stage.read("brands", &tables::BRANDS)?;
    check_brands(&model, &brands, stage.input("model"))?;
    let valid = stage.read("valid", &tables::HOLDOUT)?;
    let test = stage.read("test", &tables::HOLDOUT)?;
    let params = &experiment.score;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(params.threads.unwrap_or(0)).build()?;

    let n_brands = model.brand_ids.len();
    let mut valid_histogram = Histogram::new(n_brands);
    let valid_inputs = Inputs::new(&valid, model.features()).map_err(DataError)?;
    let valid_labels = Labels::of(&valid, "brands", n_brands)?;
    pool.install(|| {
        users::for_each_batch(judged, &valid_inputs, "valid users", |first, logits| {
            valid_labels.count(first, logits, &mut valid_histogram);
            Ok(())
        })
    })?;
    let test_inputs = Inputs::new(&test, model.features()).map_err(DataError)?;
    let mut expected = valid_histogram.clone();
    if params.decision == (Decision::ExpectedF1 { over: ExpectedOver::Scored }) {
        pool.install(|| {
            users::for_each_batch(&model, &test_inputs, "test users", |_, logits| {
                users::count_unlabelled(logits, &mut expected);
                Ok(())
            })
        })?;
    }
    let decider = pool.install(|| Decider::fit(&valid_histogram, &expected, params));

    let mut test_histogram = Histogram::new(n_brands);
    let test_labels = Labels::of(&test, "brands", n_brands)?;
    let ids = test.whole_column("user_id")?;
    let mut writer =
        stage.writer("scores.arrow", &tables::SCORES, table::score_fields(&ids, true))?;
    let mut n_predicted = 0;
    pool.install(|| {
        users::for_each_batch(&model, &test_inputs, "test users", |first, logits| {
            test_labels.count(first, logits, &mut test_histogram);
            let decisions = decider.decide(logits, params.top_k);
            n_predicted += decisions.iter().map(|d| d.predicted.len()).sum::<usize>();
            writer.write(table::scores(&ids, first, Some(&test_labels), &decisions))
        })
    })?;
    stage.add(writer.finish()?);

    let mut writer = stage.writer(
        "thresholds.arrow",
        &tables::THRESHOLDS,
        table::fields(&tables::THRESHOLDS),
    )?;
    writer.write(table::thresholds(&decider))?;
    stage.add(writer.finish()?);
    let mut writer =
        stage.writer("histogram.arrow", &tables::HISTOGRAM, table::fields(&tables::HISTOGRAM))?;
    for (split, histogram) in [("valid", &valid_histogram), ("test", &test_histogram)] {
        writer.write(table::histogram(split, histogram))?;
    }
    stage.add(writer.finish()?);

    let n_users = test.n_rows();
    let per_user = n_predicted as f64 / n_users as f64;
    let dir = stage.plan.dir.display().to_string();
    let record = stage.done(json!({"test_users": n_users, "predicted": n_predicted}))?;
    let name = &experiment.name;
    Ok(format!(
        "score of {name}: {n_users} test users, {per_user:.2} brands predicted a user in {:.1} s\n{dir}",
        record.secs
    ))
}

fn predict(args: &Predict) -> Result<String> {
    let model = to_model(&ipc::read(&args.model, &tables::MODEL)?)?;
    let thresholds_path = if let Some(path) = &args.thresholds {
        path.clone()
    } else {
        let run = args.model.parent().and_then(Path::parent).unwrap_or(Path::new(".."));
        run.join("score/thresholds.arrow")
    };
    let thresholds = ipc::read(&thresholds_path, &tables::THRESHOLDS)?;
    let decider = Decider::from_table(&thresholds);
    let n_brands = model.brand_ids.len();
    ensure!(
        decider.n_brands() == n_brands,
        DataError(format!(
            "{}: thresholds for {} brands, the model {} predicts {n_brands}; use those of the model's own experiment",
            thresholds_path.display(),
            decider.n_brands(),
            args.model.display(),
        ))
    );
    let users = ipc::read_any(&args.users, &tables::FEATURES)?;
    let inputs = Inputs::new(&users, model.features()).map_err(DataError)?;
    let ids = users.whole_column("user_id")?;
    let fields = table::score_fields(&ids, false);
    let mut writer = Writer::create(&args.output, &tables::PREDICTIONS, fields, HashMap::new())?;
    users::for_each_batch(&model, &inputs, "users", |first, logits| {
        writer.write(table::scores(&ids, first, None, &decider.decide(logits, args.top_k)))
    })?;
    writer.finish()?.commit()?;
    Ok(format!("predicted for {} users\n{}", users.n_rows(), args.output.display()))
}

fn to_model(table: &Table) -> Result<Model> {
    Model::from_table(table)
        .map_err(|err| DataError(err.to_string()))
        .context("cannot use the model")
}

fn check_brands(model: &Model, brands: &Table, path: &Path) -> Result<(), DataError> {
    let ids = brands.whole_column("brand_id").map_err(|err| DataError(err.to_string()))?;
    let ids = columns::id_texts(&*ids);
    if ids == model.brand_ids {
        return Ok(());
    }
    let found = if ids.len() == model.brand_ids.len() {
        "other brands, or the same in another order".to_owned()
    } else {
        format!("{} brands", model.brand_ids.len())
    };
    Err(DataError(format!(
        "{}: the model was made for {found}, {} has {}\nhint: train it again, with `make train`",
        path.display(),
        brands.path.display(),
        ids.len()
    )))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}

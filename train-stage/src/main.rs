//! Trains a model of brands.
//!
//! Reads an experiment's `examples`, the shared `features`, `brands` and `valid`; writes
//! `model` and `history`, which has one row per epoch.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use contract::cli::{self, ExperimentArgs, ManifestArgs};
use contract::manifest::{Experiment, ModelKind};
use contract::plan::JUDGED_MODEL;
use contract::run::StageRun;
use contract::{Manifest, Stage, tables};

use brands::Brands;
use results::Results;

mod architecture; // features, ids and size of the network
mod bar; // progress: a bar on a terminal, lines elsewhere
mod brands; // brands.arrow
mod export; // a model for other programs
mod history; // history.arrow
mod members; // trains one network or several, and refits them
mod network; // tables in, trained network out
mod results; // what the stage writes
mod untrained; // models that take no training

/// Train a model of brands
///
/// Reads the experiment's examples and the files that all experiments share; writes
/// model.arrow and history.arrow under `run_dir/EXPERIMENT/train`. Running it twice gives
/// the same model, byte by byte, with any number of threads.
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
    /// With `seeds` in the manifest, run only this one's training [default: one after the other]
    #[arg(long, value_name = "NUM")]
    seed: Option<u64>,
    /// Pause after as many updates and leave a checkpoint, for a matrix with `halving`
    #[arg(long, value_name = "NUM", hide = true)]
    until_updates: Option<u64>,
}

#[derive(Subcommand)]
enum Command {
    /// Write a model for other programs
    ///
    /// Safetensors holds its arrays and its calibration by name. ONNX is a graph from a batch of users'
    /// features to calibrated probabilities, and to decisions where a threshold for each brand makes them.
    Export(export::Args),
}

fn main() -> ExitCode {
    let args: Args = cli::parse();
    cli::main("train-stage", || {
        if let Some(Command::Export(args)) = &args.command {
            return export::run(args);
        }
        let experiment = args.experiment.expect("required without a command");
        let pause_after = args.until_updates;
        let args = ExperimentArgs { manifest: args.manifest, experiment, seed: args.seed };
        args.run_each(Stage::Train, |manifest, experiment| train(manifest, experiment, pause_after))
    })
}

fn train(manifest: &Manifest, experiment: &Experiment, pause_after: Option<u64>) -> Result<String> {
    let mut stage = StageRun::start(manifest, Stage::Train, Some(experiment))?;
    let brands = Brands::of(&stage.read("brands", &tables::BRANDS)?)?;
    let results = match make_model(&stage, experiment, &brands, pause_after) {
        Ok(results) => results,
        Err(err) => match err.downcast_ref() {
            Some(paused @ train_stage::Error::Paused { .. }) => {
                return Ok(format!("{}: {paused}", stage.plan.id));
            }
            _ => return Err(err),
        },
    };
    write(&results, &mut stage)?;

    let (stage_id, dir) = (stage.plan.id.clone(), stage.plan.dir.display().to_string());
    stage.add_secs(results.earlier_secs);
    let record = stage.done(results.model.training.clone())?;
    for file in &results.checkpoints {
        file.remove().with_context(|| format!("cannot remove {}", file.path.display()))?;
    }
    Ok(format!("{stage_id}: {} in {:.1} s\n{dir}", results.summary, record.secs))
}

fn make_model(
    stage: &StageRun,
    experiment: &Experiment,
    brands: &Brands,
    pause_after: Option<u64>,
) -> Result<Results> {
    if experiment.train.pretrained.is_some() {
        return untrained::pretrained(stage, brands);
    }
    match experiment.train.model {
        ModelKind::Popularity => Ok(untrained::popularity(brands)),
        ModelKind::Persistence => untrained::persistence(stage, experiment, brands),
        ModelKind::Mlp => network::train(stage, experiment, brands, pause_after),
    }
}

fn write(results: &Results, stage: &mut StageRun) -> Result<()> {
    let judged = results.judged.iter().map(|model| (JUDGED_MODEL, model));
    for (file, model) in std::iter::once(("model.arrow", &results.model)).chain(judged) {
        let (rows, metadata) = model.to_columns();
        let mut writer =
            stage.writer_with(file, &tables::MODEL, tables::MODEL.fields(), metadata)?;
        writer.write(rows)?;
        stage.add(writer.finish()?);
    }
    let mut writer =
        stage.writer("history.arrow", &tables::HISTORY, tables::HISTORY.all_fields())?;
    writer.write(history::columns(&results.history))?;
    stage.add(writer.finish()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}

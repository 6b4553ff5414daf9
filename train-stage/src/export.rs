//! A model for other programs: safetensors for its arrays, ONNX for what it computes.

mod graph; // a graph of operations, as ONNX has it
mod onnx; // a model as such a graph
mod protobuf; // the wire format of ONNX files
mod safetensors; // arrays by name

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Args as ClapArgs, ValueEnum};
use contract::cli::ManifestArgs;
use contract::exit::{DataError, UsageError};
use contract::ipc::{self, BytesWriter, Table};
use contract::plan::{Stage, StageId};
use contract::recorded::{self, Recorded};
use contract::tables::{MODEL, THRESHOLDS};
use contract::thresholds::{self, BrandThreshold};
use contract::{Manifest, warn_line};
use model::Model;

/// Arguments of `train-stage export`.
#[derive(ClapArgs)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Format of the file
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// File to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Which model: one of three.
#[derive(ClapArgs)]
#[group(required = true, multiple = false, args = ["model", "experiment", "bundle"])]
struct Which {
    /// Experiment of the manifest, with its thresholds; with several seeds that of the first
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Folder that `pipeline bundle` wrote
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// A model file; without `--thresholds` its probabilities are not calibrated
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Calibration and thresholds of `--model`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["experiment", "bundle"])]
    thresholds: Option<PathBuf>,
}

/// A file format of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The arrays by name
    Safetensors,
    /// A graph from features to calibrated probabilities
    Onnx,
}

/// A model with what deciding needs.
pub struct Exported {
    pub model: Model,
    /// By brand; `None` without thresholds
    pub brands: Option<Vec<BrandThreshold>>,
    /// How decisions look at more than a threshold a brand, as JSON
    pub policy: Option<String>,
}

impl Exported {
    /// Whether neighbours have a part in the probabilities.
    fn has_neighbours(&self) -> bool {
        let weights = |brand: &BrandThreshold| brand.more.as_ref().map_or(0.0, |m| m.memory_weight);
        self.brands.iter().flatten().any(|brand| weights(brand) > 0.0)
    }
}

/// Exports a model; returns what to print.
pub fn run(args: &Args) -> Result<String> {
    ipc::check_target(&args.output)?;
    let (model, thresholds) = args.which.files()?;
    let exported = read(&model, thresholds.as_deref())?;
    let bytes = match args.format {
        Format::Safetensors => {
            if exported.has_neighbours() {
                warn_line!(
                    "note: neighbours have a part in this experiment's probabilities, and are not in the \
                     file; their vectors are `memory.arrow`"
                );
            }
            safetensors::encode(&exported)
        }
        Format::Onnx => onnx(&exported)?,
    };
    let mut file = BytesWriter::create(&args.output)?;
    file.write_all(&bytes).with_context(|| format!("cannot write {}", args.output.display()))?;
    file.finish()?.commit()?;
    Ok(args.output.display().to_string())
}

/// A protobuf message is smaller than 2 GiB.
const MAX_ONNX: usize = i32::MAX as usize;

fn onnx(exported: &Exported) -> Result<Vec<u8>> {
    ensure!(
        !exported.has_neighbours(),
        DataError(
            "neighbours have a part in this experiment's probabilities (`score.memory`), and a graph \
             cannot hold their search\nhint: score it without them and export that, with `--set \
             score.memory=null` for both"
                .to_owned()
        )
    );
    if let Some(policy) = &exported.policy {
        warn_line!(
            "note: the policy {policy} looks at a user's other brands, so the file gives \
             probabilities and no decisions"
        );
    }
    let bytes = onnx::encode(exported).map_err(DataError)?;
    ensure!(
        bytes.len() <= MAX_ONNX,
        DataError("an ONNX file is at most 2 GiB; export safetensors".to_owned())
    );
    Ok(bytes)
}

impl Which {
    /// The model's file and that of its thresholds.
    fn files(&self) -> Result<(PathBuf, Option<PathBuf>)> {
        if let Some(dir) = &self.bundle {
            return Ok((dir.join("model.arrow"), Some(dir.join("thresholds.arrow"))));
        }
        let Some(name) = &self.experiment else {
            let model = self.model.clone().expect("one of three is required");
            return Ok((model, self.thresholds.clone()));
        };
        let ManifestArgs { manifest, set } = &self.manifest;
        let manifest = Manifest::load(manifest, set, std::slice::from_ref(name))?;
        let experiment = manifest.experiment(name)?;
        // Production uses the first seed's model.
        let training = manifest.trainings(experiment).swap_remove(0);
        let dir = |stage| manifest.stage_dir(&StageId::in_experiment(stage, &training));
        let files =
            [dir(Stage::Train).join("model.arrow"), dir(Stage::Score).join("thresholds.arrow")];
        if let Some(missing) = files.iter().find(|file| !file.exists()) {
            return Err(DataError(format!(
                "{}: there is no such file\nhint: run `pipeline run {name}`",
                missing.display()
            ))
            .into());
        }
        let [model, thresholds] = files;
        Ok((model, Some(thresholds)))
    }
}

/// Reads a model and its thresholds, which must have been fitted for it.
fn read(path: &Path, thresholds: Option<&Path>) -> Result<Exported> {
    let model =
        Model::from_table(&table(path, &MODEL)?).map_err(|err| DataError(err.to_string()))?;
    let Some(thresholds_path) = thresholds else {
        return Ok(Exported { model, brands: None, policy: None });
    };
    let table = table(thresholds_path, &THRESHOLDS)?;
    let brands = thresholds::rows(&table)?;
    let hash = model.hash();
    let is_for = thresholds::models(&table).is_none_or(|models| models.contains(&hash.as_str()));
    ensure!(
        is_for && brands.len() == model.brand_ids.len(),
        DataError(format!(
            "{}: fitted for another model than {}\nhint: score the model first, with `pipeline run NAME \
             --stage score`",
            thresholds_path.display(),
            path.display()
        ))
    );
    let policy = table.metadata("decision").map(str::to_owned);
    Ok(Exported { model, brands: Some(brands), policy })
}

fn table(path: &Path, contract: &'static contract::tables::Contract) -> Result<Table> {
    if !path.exists() {
        return Err(UsageError(format!("{}: there is no such file", path.display())).into());
    }
    let Recorded { table, is_listed, .. } = recorded::read(path, contract)?;
    if !is_listed {
        warn_line!(
            "train-stage: warning: {}: there is no `stage.json` or `bundle.json` beside it that lists \
             it, so its bytes cannot be verified",
            path.display()
        );
    }
    Ok(table)
}

//! `pipeline bundle`: all that predicting needs, in a folder that can be copied anywhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use contract::bundle::{BUNDLE, Bundle, MadeBy};
use contract::cli::ManifestArgs;
use contract::exit::DataError;
use contract::folder::{self, Folder};
use contract::ipc;
use contract::manifest::{Experiment, FeatureSource, Manifest, ModelKind};
use contract::plan::StagePlan;
use contract::record::{Output, Record};
use contract::{Stage, print_line, warn_line};

/// Arguments of `pipeline bundle`.
#[derive(Args)]
pub struct BundleArgs {
    /// Experiment to bundle; with several seeds the model is that of the first
    experiment: String,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Folder to write; an earlier bundle there is replaced
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

const MODEL: &str = "model.arrow";
const MEMORY: &str = "memory.arrow";

/// The files of a bundle, with the stage that makes each. There are neighbours if they have a weight.
const FILES: [(&str, Stage); 5] = [
    (MODEL, Stage::Train),
    ("thresholds.arrow", Stage::Score),
    (MEMORY, Stage::Score),
    ("reference.arrow", Stage::Score),
    ("brands.arrow", Stage::Holdout),
];

/// Writes a bundle.
///
/// # Errors
///
/// A stage that has not run, a file that was changed after it was written, or a folder that holds other
/// files.
pub fn bundle(args: &BundleArgs) -> Result<()> {
    let ManifestArgs { manifest, set } = &args.manifest;
    let manifest = Manifest::load(manifest, set, std::slice::from_ref(&args.experiment))?;
    let experiment = manifest.experiment(&args.experiment)?;
    // Production uses the first seed's model.
    let training = manifest.trainings(experiment).swap_remove(0);
    let target: PathBuf = args.output.components().collect();
    folder::check(&target, |name| name == BUNDLE || FILES.iter().any(|(file, _)| *file == name))?;
    let stages = Stages::read(&manifest, &training)?;
    stages.check_model(&training)?;

    let folder = Folder::create(&target)?;
    let mut files = BTreeMap::new();
    for (name, stage) in FILES {
        let (plan, record) = &stages.0[&stage];
        if let Some(output) = record.outputs.get(name) {
            copy(&plan.dir.join(name), &folder.path().join(name), output, &training)?;
            files.insert(name.to_owned(), output.clone());
        }
    }
    let train = &training.train;
    let is_read = |column: &str| match train.model {
        ModelKind::Mlp => {
            train.features.as_ref().is_none_or(|names| names.iter().any(|n| n == column))
        }
        ModelKind::Persistence => train.history.as_deref() == Some(column),
        ModelKind::Popularity => false,
    };
    let features = manifest.data.features.iter().map(FeatureSource::options);
    let features = features.filter(|feature| is_read(&feature.column)).collect();
    let bundle =
        Bundle::new(experiment.name.clone(), training.seed, features, files, stages.made_by());
    ipc::finish_text(&folder.path().join(BUNDLE), &bundle.text())?.commit()?;
    folder.commit()?;
    print_line!("{}", target.display());
    Ok(())
}

/// The stages whose results a bundle holds or is made of, with their records.
struct Stages(BTreeMap<Stage, (StagePlan, Record)>);

impl Stages {
    fn read(manifest: &Manifest, training: &Experiment) -> Result<Self> {
        let mut stages = BTreeMap::new();
        for stage in [Stage::Holdout, Stage::Sample, Stage::Train, Stage::Score] {
            if stage == Stage::Sample && !training.needs_sample() {
                continue;
            }
            let plan = manifest.plan(stage, Some(training));
            let record = Record::load(&plan.record_path()).ok_or_else(|| {
                DataError(format!(
                    "{}: {} has not run, or its record cannot be read\nhint: run `pipeline run {}`",
                    plan.record_path().display(),
                    plan.id,
                    training.name
                ))
            })?;
            if !record.has_params_of(&plan) {
                warn_line!(
                    "warning: {} was run with other settings than the manifest has now; `pipeline run \
                     {}` brings it up to date",
                    plan.id,
                    training.name
                );
            }
            stages.insert(stage, (plan, record));
        }
        Ok(Self(stages))
    }

    /// Checks that thresholds and neighbours were made for the model.
    fn check_model(&self, training: &Experiment) -> Result<(), DataError> {
        let trained = self.0[&Stage::Train].1.outputs.get(MODEL).map(|output| &output.content);
        let (plan, scored) = &self.0[&Stage::Score];
        let of = scored.parts.inputs.get("model").and_then(Option::as_ref);
        if trained == of {
            return Ok(());
        }
        let shown = |hash: Option<&String>| hash.map_or("none", String::as_str).to_owned();
        Err(DataError(format!(
            "{}: fitted for another model: for {}, not for {}\n\
             hint: score the model first, with `pipeline run {} --stage score`",
            plan.dir.display(),
            shown(of),
            shown(trained),
            training.name
        )))
    }

    fn made_by(self) -> BTreeMap<String, MadeBy> {
        let made_by = |(stage, (_, record)): (Stage, (StagePlan, Record))| {
            let Record { fingerprint, parts, summary, .. } = record;
            let made = MadeBy { fingerprint, program: parts.binary, params: parts.params, summary };
            (stage.name().to_owned(), made)
        };
        self.0.into_iter().map(made_by).collect()
    }
}

/// Copies a file, whose bytes must be those that were recorded.
fn copy(from: &Path, to: &Path, output: &Output, training: &Experiment) -> Result<()> {
    std::fs::copy(from, to).map_err(|err| {
        let what = format!("{}: {err}", from.display());
        DataError(format!("{what}\nhint: run `pipeline run {}`", training.name))
    })?;
    let found = ipc::hash_file(to)?;
    if found == output.blake3 {
        return Ok(());
    }
    Err(ipc::Error::Changed {
        path: from.display().to_string(),
        record: contract::plan::RECORD.to_owned(),
        recorded: output.blake3.clone(),
        found,
        remedy: format!("`pipeline run {}` makes it again", training.name),
    }
    .into())
}

//! What decides for new users: a model with the thresholds, neighbours and brands that belong to it.
//!
//! Every file is verified against the record beside it before anything of it is decoded, and
//! thresholds and neighbours must have been made for the model.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use contract::bundle::Bundle;
use contract::cli::say_notes;
use contract::exit::{DataError, UsageError};
use contract::ipc::Table;
use contract::manifest::{
    Experiment, FeatureOptions, FeatureSource, TableOptions, TableSource, View,
};
use contract::plan::{Stage, StageId};
use contract::record::Record;
use contract::recorded::{self, Recorded};
use contract::rungs::Rungs;
use contract::tables::{self, Contract};
use contract::{Manifest, thresholds, warn_line};
use model::Model;

use super::brands::Brands;
use super::{BestFor, WhichModel};
use crate::decide::{Decider, NEVER, Rule};
use crate::drift::Reference;
use crate::history::HistoryLines;
use crate::models::{check_brands, to_model};
use crate::neighbours::Neighbours;
use crate::table::{self, Thresholds};

/// Where everything is.
pub struct Sources {
    model: PathBuf,
    thresholds: PathBuf,
    memory: PathBuf,
    reference: PathBuf,
    /// Without it, brands are shown by the ids that the model has
    brands: Option<PathBuf>,
    /// As when the model was trained; none if that is not known
    pub features: Vec<FeatureOptions>,
    /// With an experiment or a bundle, every file must be listed by a record
    experiment: Option<String>,
    manifest: Option<Box<Manifest>>,
}

/// All that deciding needs.
pub struct Loaded {
    pub model: Model,
    pub decider: Decider,
    /// `(n_brands,)`: shares of the neighbours
    pub weights: Vec<f32>,
    /// What moves the logits of brands that a user had; `None` if nothing does
    pub lines: Option<HistoryLines>,
    /// `None` where they weigh nothing
    pub neighbours: Option<Neighbours>,
    pub brands: Brands,
    /// What new users are compared with; `None` where an earlier version scored
    pub reference: Option<Reference>,
    /// Whether decisions are made as the experiment's policy says
    pub is_own_policy: bool,
    /// Hashes of the files that decisions depend on
    pub hashes: Vec<String>,
}

impl Sources {
    /// Finds the files of a model, an experiment or a bundle.
    ///
    /// # Errors
    ///
    /// A mistake in the manifest or in the bundle's record, or an experiment that does not exist.
    pub fn find(which: &WhichModel) -> Result<Self> {
        if let Some(dir) = &which.bundle {
            return Self::of_bundle(dir);
        }
        if let Some(name) = &which.experiment {
            return Self::of_experiment(name, which);
        }
        let model = which.model.clone().expect("one of three is required");
        let experiment_dir = model.parent().and_then(Path::parent);
        let beside = || experiment_dir.unwrap_or(Path::new("..")).join("score/thresholds.arrow");
        let thresholds = which.thresholds.clone().unwrap_or_else(beside);
        Ok(Self {
            memory: thresholds.with_file_name(MEMORY),
            reference: thresholds.with_file_name(REFERENCE),
            thresholds,
            model,
            brands: which.brands.clone(),
            features: Vec::new(),
            experiment: None,
            manifest: None,
        })
    }

    fn of_bundle(dir: &Path) -> Result<Self> {
        let bundle = Bundle::load(dir)?;
        Ok(Self {
            model: dir.join("model.arrow"),
            thresholds: dir.join("thresholds.arrow"),
            memory: dir.join(MEMORY),
            reference: dir.join(REFERENCE),
            brands: Some(dir.join("brands.arrow")),
            features: bundle.features,
            experiment: Some(bundle.experiment),
            manifest: None,
        })
    }

    fn of_experiment(name: &str, which: &WhichModel) -> Result<Self> {
        let args = &which.manifest;
        let only = [name.to_owned()];
        let manifest = Manifest::load(&args.manifest, &args.set, &only)?;
        let experiment = manifest.experiment(name)?;
        say_notes(&manifest, Some(&experiment.name));
        // Production uses the first seed's model.
        let training = manifest.trainings(experiment).swap_remove(0);
        let dir = |stage| manifest.stage_dir(&StageId::in_experiment(stage, &training));
        warn_of_other_settings(&manifest, &training);
        let score = dir(Stage::Score);
        let holdout = manifest.stage_dir(&StageId::shared(Stage::Holdout));
        Ok(Self {
            model: dir(Stage::Train).join("model.arrow"),
            thresholds: score.join("thresholds.arrow"),
            memory: score.join(MEMORY),
            reference: score.join(REFERENCE),
            brands: Some(holdout.join("brands.arrow")),
            features: manifest.data.features.iter().map(FeatureSource::options).collect(),
            experiment: Some(name.to_owned()),
            manifest: Some(Box::new(manifest)),
        })
    }

    /// How to read the users: a table of the manifest by its name, else a path.
    ///
    /// * `named`: on the command line; without it, those of the manifest.
    ///
    /// # Errors
    ///
    /// If the manifest's users come from a query, or the name is also that of a file.
    pub fn users(&self, named: Option<&str>) -> Result<TableOptions, UsageError> {
        let tables = self.manifest.as_ref().map(|manifest| &manifest.data.tables);
        if let Some(named) = named {
            return match &self.manifest {
                Some(manifest) => manifest.named_table(named),
                None => Ok(TableSource::Path(named.to_owned()).options()),
            };
        }
        match self.manifest.as_ref().map(|manifest| &manifest.data.users) {
            Some(View::Table(view)) => {
                let table = tables.and_then(|tables| tables.get(&view.table));
                Ok(table.expect("checked when the manifest was loaded").options())
            }
            _ => Err(UsageError(
                "the manifest's users come from a query, which `pipeline predict` runs; or name \
                 users with `--users`"
                    .to_owned(),
            )),
        }
    }

    /// Folder for files that wait: that of all results, else the current one.
    pub fn scratch(&self) -> &Path {
        self.manifest.as_ref().map_or(Path::new("."), |manifest| &manifest.run_dir)
    }

    /// Files that are read, apart from the users'.
    pub fn files(&self) -> Vec<&Path> {
        let files = [&self.model, &self.thresholds, &self.memory, &self.reference];
        files.into_iter().chain(&self.brands).map(PathBuf::as_path).collect()
    }

    /// Reads everything.
    ///
    /// # Errors
    ///
    /// A file that is missing, damaged or not of this model: which, and how to repair it.
    pub fn load(&self, best_for: Option<BestFor>) -> Result<Loaded> {
        let mut hashes = Vec::new();
        let model_table = self.read(&self.model, &tables::MODEL, &mut hashes)?;
        let model = to_model(&model_table)?;
        let Thresholds { decider, weights, lines } =
            self.thresholds(&model, model_table.experiment(), &mut hashes)?;
        let decider = match best_for {
            None => decider,
            Some(best_for) => self.best_for(best_for, decider)?,
        };
        let neighbours = if weights.iter().all(|&weight| weight == 0.0) {
            None
        } else {
            let table = self.read(&self.memory, &tables::MEMORY, &mut hashes)?;
            Some(Neighbours::from_table(&table, &model)?)
        };
        let brands = match &self.brands {
            None => Brands::of_model(&model),
            Some(path) => {
                let table = self.read(path, &tables::BRANDS, &mut hashes)?;
                check_brands(&model, &self.model, &table)?;
                Brands::of_table(&table)?
            }
        };
        let reference = self.reference(&model, &mut hashes)?;
        let is_own_policy = best_for.is_none();
        Ok(Loaded {
            model,
            decider,
            weights,
            lines,
            neighbours,
            brands,
            reference,
            is_own_policy,
            hashes,
        })
    }

    /// What new users are compared with, if the score stage wrote it.
    fn reference(&self, model: &Model, hashes: &mut Vec<String>) -> Result<Option<Reference>> {
        if !self.reference.exists() && !recorded::is_listed(&self.reference)? {
            return Ok(None);
        }
        let table = self.read(&self.reference, &tables::REFERENCE, hashes)?;
        let hash = model.hash();
        if thresholds::models(&table).is_some_and(|of| !of.contains(&hash.as_str())) {
            let (reference, model) = (self.reference.display(), self.model.display());
            return Err(DataError(format!(
                "{reference}: of another model than {model}\nhint: {}",
                self.repair()
            ))
            .into());
        }
        let n_brands = model.brand_ids.len();
        Ok(Some(Reference::from_table(&table, model.features(), n_brands)?))
    }

    /// Reads a file that its record must list, or says that none does.
    fn read(&self, path: &Path, contract: &Contract, hashes: &mut Vec<String>) -> Result<Table> {
        ensure!(path.exists() || self.experiment.is_none(), self.missing(path));
        let Recorded { table, blake3, is_listed } = recorded::read(path, contract)?;
        if !is_listed && self.experiment.is_some() {
            return Err(DataError(format!(
                "{}: no record lists it, so its bytes cannot be verified\nhint: {}",
                path.display(),
                self.repair()
            ))
            .into());
        }
        if !is_listed {
            warn_line!(
                "score-stage: warning: {}: there is no `stage.json` or `bundle.json` beside it that \
                 lists it, so its bytes cannot be verified",
                path.display()
            );
        }
        hashes.push(blake3);
        Ok(table)
    }

    /// Why a file of the experiment is not there.
    fn missing(&self, path: &Path) -> DataError {
        let ended = path.parent().and_then(Rungs::of_any).and_then(|rungs| rungs.ended_in_words());
        let (what, hint) = match ended {
            Some(ended) => (
                format!("the training {ended}, so there is no model"),
                "an experiment of its own, without `halving`, trains it whole".to_owned(),
            ),
            None => ("there is no such file".to_owned(), self.repair()),
        };
        DataError(format!("{}: {what}\nhint: {hint}", path.display()))
    }

    /// What makes all files again.
    fn repair(&self) -> String {
        match (&self.experiment, &self.manifest) {
            (Some(name), Some(_)) => format!("make it with `pipeline run {name}`"),
            _ => "copy the bundle again".to_owned(),
        }
    }

    /// The thresholds, which must have been fitted for the model.
    ///
    /// * `trained_in`: the experiment that the model says it is of.
    fn thresholds(
        &self,
        model: &Model,
        trained_in: Option<&str>,
        hashes: &mut Vec<String>,
    ) -> Result<Thresholds> {
        let shown = self.thresholds.display();
        let experiment = self.experiment.as_deref().or(trained_in).unwrap_or("NAME");
        let score = format!("`pipeline run {experiment} --stage score`");
        let is_bundle = self.experiment.is_some() && self.manifest.is_none();
        // The option belongs to `--model`.
        let or_named = match self.experiment {
            Some(_) => "",
            None => ", or name its own thresholds with `--thresholds`",
        };
        ensure!(
            self.thresholds.exists() || is_bundle,
            DataError(format!(
                "{shown}: there are no thresholds for the model\n\
                 hint: score it first, with {score}{or_named}"
            ))
        );
        let table = self.read(&self.thresholds, &tables::THRESHOLDS, hashes)?;
        let of_another = |what: String| {
            DataError(format!(
                "{shown}: {what}\nhint: score the model first, with {score}{or_named}"
            ))
        };
        let hash = model.hash();
        match thresholds::models(&table) {
            Some(fitted) if !fitted.contains(&hash.as_str()) => {
                return Err(of_another(format!(
                    "fitted for another model than {}: for {}, not for {hash}",
                    self.model.display(),
                    fitted.join(" and ")
                ))
                .into());
            }
            Some(_) => {}
            None => warn_line!(
                "score-stage: warning: {shown} was written by an earlier version and does not say \
                 which model it was fitted for; only the number of brands is checked"
            ),
        }
        let thresholds = table::read_thresholds(&table)?;
        let (found, n_brands) = (thresholds.decider.n_brands(), model.brand_ids.len());
        ensure!(
            found == n_brands,
            of_another(format!(
                "fitted for {found} brands, not for the {n_brands} of {}",
                self.model.display()
            ))
        );
        Ok(thresholds)
    }

    fn best_for(&self, best_for: BestFor, decider: Decider) -> Result<Decider> {
        let is_expected = decider.brands().iter().any(|brand| brand.expected.is_some());
        match best_for {
            BestFor::Users => Ok(decider.with_rule(Rule::Gain { brand_share: 0.0 })),
            BestFor::Brands if is_expected => Ok(decider
                .with_rule(Rule::Brand)
                .with_thresholds(|brand| brand.expected.map_or(NEVER, |e| e.threshold()))),
            BestFor::Brands => Err(DataError(format!(
                "{}: does not say what F1 to expect, which `--for brands` needs\n\
                 hint: score again, with `pipeline run {} --stage score --force`",
                self.thresholds.display(),
                self.experiment.as_deref().unwrap_or("NAME")
            ))
            .into()),
        }
    }
}

/// File name of the neighbours, beside the thresholds.
const MEMORY: &str = "memory.arrow";

/// File name of what new users are compared with, beside the thresholds.
const REFERENCE: &str = "reference.arrow";

/// Warns if the results are of other settings than the manifest has now.
fn warn_of_other_settings(manifest: &Manifest, training: &Experiment) {
    for stage in [Stage::Train, Stage::Score] {
        let plan = manifest.plan(stage, Some(training));
        let record = Record::load(&plan.record_path());
        if record.is_some_and(|record| !record.has_params_of(&plan)) {
            warn_line!(
                "warning: {} was run with other settings than the manifest has now; `pipeline run {}` \
                 brings it up to date",
                plan.id,
                training.name
            );
        }
    }
}

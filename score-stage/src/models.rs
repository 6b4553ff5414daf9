//! The models that an experiment is scored with.

use std::path::Path;

use anyhow::{Context as _, Result};
use contract::commands;
use contract::exit::DataError;
use contract::ids::id_texts;
use contract::ipc::Table;
use contract::run::StageRun;
use contract::tables::MODEL;
use model::Model;

/// What the test users are scored with and, after a refit, what the valid users are scored with: a
/// refitted model has learned from them.
pub struct Refit<T> {
    /// For the test users, and for new ones
    pub last: T,
    /// For the valid users, if it is another
    pub judged: Option<T>,
}

impl<T> Refit<T> {
    /// What the valid users are scored with.
    pub fn judged(&self) -> &T {
        self.judged.as_ref().unwrap_or(&self.last)
    }
}

impl Refit<Model> {
    /// The models of an experiment.
    pub fn read(stage: &StageRun) -> Result<Self> {
        let read = |name: &str| to_model(&stage.read(name, &MODEL)?);
        let last = read("model")?;
        let is_refit = stage.plan.has_input("judged_model");
        let judged = if is_refit { Some(read("judged_model")?) } else { None };
        Ok(Self { last, judged })
    }

    /// Hashes of the models, that of the judged one first.
    pub fn hashes(&self) -> Vec<String> {
        self.judged.iter().chain([&self.last]).map(Model::hash).collect()
    }
}

/// The model in a table.
pub fn to_model(table: &Table) -> Result<Model> {
    Model::from_table(table)
        .map_err(|err| DataError(err.to_string()))
        .context("cannot use the model")
}

/// Checks that a model predicts the brands of the data, in their order.
///
/// * `path`: of the model.
pub fn check_brands(model: &Model, path: &Path, brands: &Table) -> Result<(), DataError> {
    let ids = brands.whole_column("brand_id").map_err(|err| DataError(err.to_string()))?;
    let ids = id_texts(&*ids);
    if ids == model.brand_ids {
        return Ok(());
    }
    let found = if ids.len() == model.brand_ids.len() {
        "other brands, or the same in another order".to_owned()
    } else {
        format!("{} brands", model.brand_ids.len())
    };
    Err(DataError(format!(
        "{}: the model was made for {found}, {} has {}\nhint: train it again, with `{}`",
        path.display(),
        brands.path.display(),
        ids.len(),
        commands::stage("train", "NAME")
    )))
}

//! Models that take no training.

use anyhow::Result;
use contract::exit::DataError;
use contract::manifest::Experiment;
use contract::plan::JUDGED_MODEL;
use contract::run::StageRun;
use contract::{features, ipc, tables, warn_line};
use model::{Kind, Model, Persistence, Popularity};
use serde_json::json;

use crate::brands::Brands;
use crate::results::Results;

/// An existing `model.arrow`, with its outputs in the order of `brands`.
pub fn pretrained(stage: &StageRun, brands: &Brands) -> Result<Results> {
    let broken = |err: model::Error| DataError(err.to_string());
    let path = stage.input("pretrained");
    let model = Model::from_table(&ipc::read_unmapped(path, &tables::MODEL)?).map_err(broken)?;
    let model = model.reordered(&brands.ids, &path.display().to_string()).map_err(broken)?;
    // Without the features that it reads, scoring would fail later.
    model.inputs(&stage.read("features", &tables::FEATURES)?).map_err(DataError)?;
    // How the model was made stays in its record, so that the report can tell the truth from a rival.
    let made_by = model.training.clone();
    if made_by["refit_rows"].is_number() {
        warn_line!(
            "train-stage: warning: {} was refit with the valid users of its training; if they \
             are those of this manifest, thresholds fitted on them are too good\n\
             hint: `{JUDGED_MODEL}` beside it has not learned from them",
            path.display()
        );
    }
    let training =
        json!({"pretrained": true, "truth": made_by["truth"] == true, "made_by": made_by});
    Ok(Results::untrained(Model { training, ..model }, "used as it is"))
}

pub fn popularity(brands: &Brands) -> Results {
    nothing_to_train(Kind::Popularity(Popularity { prior: brands.prior() }), brands)
}

pub fn persistence(stage: &StageRun, experiment: &Experiment, brands: &Brands) -> Result<Results> {
    let table = stage.read("features", &tables::FEATURES)?;
    let name = experiment.train.history.as_ref().expect("checked with the manifest");
    let history = features::of_schema(&table.schema).into_iter().find(|f| f.name == *name);
    let history = history
        .ok_or_else(|| DataError(format!("{}: no feature `{name}`", table.path.display())))?;
    let kind = Kind::Persistence(Persistence { history, prior: brands.prior() });
    Ok(nothing_to_train(kind, brands))
}

fn nothing_to_train(kind: Kind, brands: &Brands) -> Results {
    let model = Model { kind, brand_ids: brands.ids.clone(), training: json!({"updates": 0}) };
    Results::untrained(model, "nothing to train")
}

//! From the stage's tables to a trained network.

use std::time::Duration;

use anyhow::Result;
use contract::columns::{self, ListColumn};
use contract::exit::DataError;
use contract::ipc::Table;
use contract::manifest::Experiment;
use contract::run::StageRun;
use contract::{tables, warn_line, words};
use linfa::ParamGuard as _;
use model::Inputs;
use train_stage::MlpParams;
use train_stage::checkpoint::CheckpointFile;
use train_stage::examples::{Chained, Examples, HoldoutExamples, TableExamples};
use train_stage::task::Ids;

use crate::architecture::{architecture, check_size};
use crate::brands::Brands;
use crate::members::{Common, Members};
use crate::results::Results;

/// Each epoch is validated on this many users at most.
const VALID_USERS: usize = 20_000;

/// * `pause_after`: updates after which the training pauses.
pub fn train(
    stage: &StageRun,
    experiment: &Experiment,
    brands: &Brands,
    pause_after: Option<u64>,
) -> Result<Results> {
    let params = MlpParams::new(experiment.train.clone()).check()?;
    let features_table = stage.read("features", &tables::FEATURES)?;
    let examples_table = stage.read("examples", &tables::EXAMPLES)?;
    let valid_table = stage.read("valid", &tables::HOLDOUT)?;

    let n_brands = brands.ids.len();
    let architecture = architecture(&features_table, &experiment.train, brands)?;
    let listed: Vec<Vec<u32>> = architecture.ids.iter().map(Ids::listed).collect();
    let inputs = |table| {
        let inputs = Inputs::new(table, &architecture.features).map_err(DataError)?;
        Ok::<_, DataError>(inputs.with_ids(&listed))
    };
    let examples = TableExamples::new(&examples_table, inputs(&features_table)?, n_brands)
        .map_err(|found| examples_table.broken(&tables::EXAMPLES, found))?;
    check_something_to_learn(&examples_table, experiment)?;
    let valid = |n_most| {
        HoldoutExamples::new(&valid_table, inputs(&valid_table)?, n_brands, n_most)
            .map_err(|found| anyhow::Error::from(valid_table.broken(&tables::HOLDOUT, found)))
    };
    let (judged_on, all_valid) = (valid(VALID_USERS)?, valid(usize::MAX)?);
    check_size(&architecture, &experiment.train.hidden)?;

    let with_valid = Chained { first: &examples, second: &all_valid };
    let common = Common {
        name: &stage.plan.id.whose(),
        params: &params,
        architecture: &architecture,
        examples: &examples,
        valid: &judged_on,
        refit: experiment.train.refit.then_some(&with_valid as &dyn Examples),
        checkpoint: CheckpointFile {
            path: stage.plan.dir.join("checkpoint.arrow"),
            fingerprint: stage.fingerprint().to_owned(),
            every: Duration::from_secs_f64(60.0 * experiment.train.checkpoint_minutes),
            brand_ids: brands.ids.clone(),
        },
        pause_after,
    };
    Ok(Members::train(&common)?.into_results(&common))
}

/// If no example had a weight above 0, training would leave the first weights as they are, at a
/// loss of 0.
fn check_something_to_learn(examples: &Table, experiment: &Experiment) -> Result<(), DataError> {
    let (mut has_weight, mut has_label) = (false, false);
    let weights = examples.batches.iter().flat_map(|batch| columns::f32s(batch, "weight"));
    let brands = ListColumn::of(&examples.batches, "brands");
    for (brands, _) in brands.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
        has_weight = true;
        has_label |= !brands.is_empty();
    }
    let n = words::plural(examples.n_rows() as u64, "example");
    let query = experiment.sql().display();
    if !has_weight && examples.n_rows() > 0 {
        return Err(DataError(format!(
            "{}: nothing to learn: none of the {n} has a weight above 0\n\
             hint: see `weight` in {query}",
            examples.path.display()
        )));
    }
    if !has_label {
        warn_line!(
            "train-stage: warning: none of the {n} with a weight has a brand: the model can only \
             learn that there is none\nhint: see `brands` in {query}"
        );
    }
    Ok(())
}

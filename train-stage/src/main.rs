//! Trains a model of brands.
//!
//! Reads an experiment's `examples`, the shared `features`, `brands` and `valid`; writes
//! `model` and `history`, one row an epoch.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use contract::cli::{self, ExperimentArgs};
use contract::columns::{self, ListSlices};
use contract::exit;
use contract::exit::DataError;
use contract::features::{self, Feature, FeatureKind};
use contract::ipc::Table;
use contract::manifest::{Experiment, HiddenWidth, IdSpace, ModelKind, TrainParams};
use contract::plan::JUDGED_MODEL;
use contract::run::{StageRun, memory_bytes};
use contract::words;
use contract::{Stage, ipc, tables, warn_line};
use linfa::ParamGuard as _;
use model::{Inputs, Kind, Mlp, Model, Persistence, Popularity, prior_logits};
use progress::Progress;
use serde_json::{Value, json};
use train_stage::MlpParams;
use train_stage::checkpoint::CheckpointFile;
use train_stage::examples::{Chained, Examples as _, HoldoutExamples, TableExamples};
use train_stage::trainer::{Architecture, Budget, Epoch, Ids, Task, train};

mod history; // one row an epoch
mod progress; // a bar on a terminal, lines elsewhere

/// Users that every epoch is validated on, at most.
const VALID_USERS: usize = 20_000;

/// Train a model of brands
///
/// Reads the experiment's examples and the files that all experiments share; writes
/// model.arrow and history.arrow under `run_dir/EXPERIMENT/train`. Running it twice gives
/// the same model, byte by byte, with any number of threads.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    experiment: ExperimentArgs,
}

fn main() -> ExitCode {
    let args: Args = cli::parse();
    cli::main("train-stage", || run(&args))
}

fn run(args: &Args) -> Result<String> {
    let (manifest, experiment) = args.experiment.load()?;
    let mut stage = StageRun::start(&manifest, Stage::Train, Some(&experiment))?;
    let brands = Brands::of(&stage.read("brands", &tables::BRANDS)?)?;
    let trained = make_model(&stage, &experiment, &brands)?;

    let judged = trained.judged.iter().map(|model| (JUDGED_MODEL, model));
    for (file, model) in std::iter::once(("model.arrow", &trained.model)).chain(judged) {
        let (rows, metadata) = model.to_columns();
        let mut writer =
            stage.writer_with(file, &tables::MODEL, tables::MODEL.fields(), metadata)?;
        writer.write(rows)?;
        stage.add(writer.finish()?);
    }
    let mut writer =
        stage.writer("history.arrow", &tables::HISTORY, tables::HISTORY.all_fields())?;
    writer.write(history::columns(&trained.history))?;
    stage.add(writer.finish()?);

    stage.add_secs(trained.earlier_secs);
    let dir = stage.plan.dir.display().to_string();
    let record = stage.done(trained.model.training.clone())?;
    for file in &trained.checkpoints {
        file.remove().with_context(|| format!("cannot remove {}", file.path.display()))?;
    }
    let name = &experiment.name;
    Ok(format!("train of {name}: {} in {:.1} s\n{dir}", trained.said, record.secs))
}

struct Trained {
    model: Model,
    /// After a refit: the model that never saw the valid users, for thresholds
    judged: Option<Model>,
    /// In words
    said: String,
    /// Of each member
    history: Vec<Vec<Epoch>>,
    /// Wall time that earlier processes spent on it
    earlier_secs: f64,
    /// Of no use once the results are in their places
    checkpoints: Vec<CheckpointFile>,
}

impl Trained {
    /// A model that took no training.
    fn ready(model: Model, said: &str) -> Self {
        Self {
            model,
            judged: None,
            said: said.to_owned(),
            history: Vec::new(),
            earlier_secs: 0.0,
            checkpoints: Vec::new(),
        }
    }
}

fn make_model(stage: &StageRun, experiment: &Experiment, brands: &Brands) -> Result<Trained> {
    let params = &experiment.train;
    if params.pretrained.is_some() {
        let path = stage.input("pretrained");
        let model =
            Model::from_table(&ipc::read_unmapped(path, &tables::MODEL)?).map_err(broken)?;
        let model = model.reordered(&brands.ids, &path.display().to_string()).map_err(broken)?;
        // The features must be there, or scoring would fail later.
        model.inputs(&stage.read("features", &tables::FEATURES)?).map_err(DataError)?;
        // What made the model stays on its record, so that the report can tell the truth from a rival.
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
        return Ok(Trained::ready(Model { training, ..model }, "taken as it is"));
    }
    let prior = prior_logits(&brands.volumes, brands.n_train_users);
    let untrained =
        |kind| Model { kind, brand_ids: brands.ids.clone(), training: json!({"updates": 0}) };
    match params.model {
        ModelKind::Popularity => Ok(Trained::ready(
            untrained(Kind::Popularity(Popularity { prior })),
            "nothing to train",
        )),
        ModelKind::Persistence => {
            let table = stage.read("features", &tables::FEATURES)?;
            let name = params.history.as_ref().expect("checked with the manifest");
            let history = features::of_schema(&table.schema).into_iter().find(|f| f.name == *name);
            let history = history.ok_or_else(|| {
                DataError(format!("{}: no feature `{name}`", table.path.display()))
            })?;
            Ok(Trained::ready(
                untrained(Kind::Persistence(Persistence { history, prior })),
                "nothing to train",
            ))
        }
        ModelKind::Mlp => train_mlp(stage, experiment, brands),
    }
}

fn train_mlp(stage: &StageRun, experiment: &Experiment, brands: &Brands) -> Result<Trained> {
    let params = MlpParams::new(experiment.train.clone()).check()?;
    let features_table = stage.read("features", &tables::FEATURES)?;
    let examples_table = stage.read("examples", &tables::EXAMPLES)?;
    let valid_table = stage.read("valid", &tables::HOLDOUT)?;
    let chosen = chosen_features(&features_table, &experiment.train)?;
    let ids = ids_of(&features_table, &chosen, brands.ids.len());
    let listed: Vec<Vec<u32>> = ids.iter().map(Ids::listed).collect();
    let inputs = |table| {
        Ok::<_, DataError>(Inputs::new(table, &chosen).map_err(DataError)?.with_ids(&listed))
    };
    let examples = TableExamples::new(&examples_table, inputs(&features_table)?, brands.ids.len())
        .map_err(|found| examples_table.broken(&tables::EXAMPLES, found))?;
    check_something_to_learn(&examples_table, experiment)?;
    let n_brands = brands.ids.len();
    let valid = HoldoutExamples::new(&valid_table, inputs(&valid_table)?, n_brands, VALID_USERS)
        .map_err(|found| valid_table.broken(&tables::HOLDOUT, found))?;
    let architecture = Architecture {
        features: chosen.clone(),
        ids,
        volumes: brands.volumes.clone(),
        n_users: brands.n_train_users,
    };
    check_size(&architecture, &experiment.train.hidden, n_brands)?;
    let checkpoint = |member: usize, what: &str| CheckpointFile {
        path: stage.plan.dir.join(match member {
            0 => format!("{what}.arrow"),
            _ => format!("{what}.{member}.arrow"),
        }),
        fingerprint: stage.fingerprint().to_owned(),
        every: Duration::from_secs_f64(60.0 * experiment.train.checkpoint_minutes),
        brand_ids: brands.ids.clone(),
    };
    let all_valid = HoldoutExamples::new(&valid_table, inputs(&valid_table)?, n_brands, usize::MAX)
        .map_err(|found| valid_table.broken(&tables::HOLDOUT, found))?;
    let with_valid = Chained { first: &examples, second: &all_valid };
    let n_members = experiment.train.members;
    let mut members = Members::default();
    let mut earlier_secs = 0.0;
    for (i, params) in params.members().enumerate() {
        let task = Task {
            params: &params,
            architecture: &architecture,
            examples: &examples,
            valid: Some(&valid),
            budget: None,
            checkpoints: Some(&checkpoint(i, "checkpoint")),
        };
        let name = match n_members {
            1 => experiment.name.clone(),
            _ => format!("{} ({} of {n_members})", experiment.name, i + 1),
        };
        // For a refit too it is the training before that can be used as a model: thresholds
        // must not be fitted on users that a model has learned from.
        let run = |task: &Task, what: &str| {
            stopped(train(task, &mut Progress::new(what.to_owned())), &checkpoint(i, "checkpoint"))
        };
        let trained = run(&task, &format!("train {name}"))?;
        if experiment.train.refit {
            let refit = Task {
                examples: &with_valid,
                valid: None,
                budget: Some(Budget {
                    stop_after: trained.updates,
                    ..Budget::of(&params, examples.len())
                }),
                checkpoints: Some(&checkpoint(i, "checkpoint_refit")),
                ..task
            };
            let refit = run(&refit, &format!("refit {name}"))?;
            earlier_secs += refit.earlier_secs;
            members.refit.push(refit.mlp);
        }
        earlier_secs += trained.earlier_secs;
        members.trained.push(trained);
    }

    let mut training = members.record(examples.len());
    let mut said = format!(
        "{} examples, {} updates, {}",
        words::count(examples.len() as u64),
        words::count(members.updates()),
        members.kept()
    );
    let history = members.trained.iter().map(|trained| trained.history.clone()).collect();
    let mut mlps: Vec<Mlp> = members.trained.into_iter().map(|trained| trained.mlp).collect();
    let model = |mlps: Vec<Mlp>, training: &Value| Model {
        kind: Kind::Mlp(Mlp::average(mlps)),
        brand_ids: brands.ids.clone(),
        training: training.clone(),
    };
    let mut judged = None;
    if experiment.train.refit {
        judged = Some(model(mlps, &training));
        training["refit_rows"] = json!(with_valid.len());
        said += ", refit with the valid users";
        mlps = members.refit;
    }
    let files = (0..n_members)
        .flat_map(|i| ["checkpoint", "checkpoint_refit"].map(|what| checkpoint(i, what)));
    Ok(Trained {
        model: model(mlps, &training),
        judged,
        said,
        history,
        earlier_secs,
        checkpoints: files.collect(),
    })
}

/// The networks of an experiment, one unless it averages several.
#[derive(Default)]
struct Members {
    trained: Vec<train_stage::trainer::Trained>,
    refit: Vec<Mlp>,
}

impl Members {
    /// Updates of all of them.
    fn updates(&self) -> u64 {
        self.trained.iter().filter_map(|t| t.history.last()).map(|epoch| epoch.updates).sum()
    }

    /// Which epochs were kept, in words.
    fn kept(&self) -> String {
        let of_member =
            |t: &train_stage::trainer::Trained| format!("{} of {}", t.epoch, t.history.len());
        let kept: Vec<String> = self.trained.iter().map(of_member).collect();
        if let [one] = kept.as_slice() {
            return format!("kept after epoch {one}");
        }
        format!("average of {} networks, kept after epochs {}", kept.len(), kept.join(", "))
    }

    /// How the model came to be, as its file has it. Updates are those of all members together.
    fn record(&self, rows: usize) -> Value {
        let first = &self.trained[0];
        json!({
            "rows": rows,
            "members": self.trained.len(),
            "updates": self.updates(),
            "epochs": first.history.len(),
            "updates_kept": self.trained.iter().map(|t| t.updates).sum::<u64>(),
            "epoch_kept": first.epoch,
        })
    }
}

/// A sample whose examples count nothing would leave the model as it was drawn, at a loss of 0.
fn check_something_to_learn(examples: &Table, experiment: &Experiment) -> Result<(), DataError> {
    let (mut has_weight, mut has_label) = (false, false);
    for batch in &examples.batches {
        let brands = columns::u32_lists(batch, "brands");
        for (i, _) in columns::f32s(batch, "weight").iter().enumerate().filter(|(_, w)| **w > 0.0) {
            has_weight = true;
            has_label |= !brands.get(i).is_empty();
        }
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

/// A training that ended early says where its last checkpoint is: for a refit that of the
/// training before, as thresholds must not be fitted on users that a model has learned from.
fn stopped(
    result: Result<train_stage::trainer::Trained, train_stage::Error>,
    checkpoint: &CheckpointFile,
) -> Result<train_stage::trainer::Trained> {
    let err = match result {
        Err(err @ train_stage::Error::NotFinite { .. }) => err,
        Err(err @ train_stage::Error::Interrupted { .. }) => {
            return Err(exit::Interrupted(err.to_string()).into());
        }
        Err(train_stage::Error::Data(what)) => return Err(DataError(what).into()),
        other => return Ok(other?),
    };
    let kept = checkpoint.load().ok().flatten().map(|state| {
        format!(
            "\nthe last good checkpoint is kept, of update {}: {}; as `train.pretrained` it can be \
             used as a model",
            state.progress.update,
            checkpoint.path.display()
        )
    });
    Err(anyhow!("{err}{}", kept.unwrap_or_default()))
}

fn broken(err: model::Error) -> DataError {
    DataError(err.to_string())
}

/// The features that the experiment's model reads, in the table's order.
fn chosen_features(table: &Table, params: &TrainParams) -> Result<Vec<Feature>> {
    let all = features::of_schema(&table.schema);
    let Some(names) = &params.features else { return Ok(all) };
    let chosen: Vec<Feature> =
        all.into_iter().filter(|feature| names.contains(&feature.name)).collect();
    ensure!(
        chosen.len() == names.len(),
        DataError(format!(
            "{}: `train.features` names {names:?}, the table does not have them all",
            table.path.display()
        ))
    );
    Ok(chosen)
}

/// A network that does not fit into memory would end in the kernel's killer.
fn check_size(architecture: &Architecture, hidden: &[HiddenWidth], n_brands: usize) -> Result<()> {
    /// A weight, its two moments, and the best epoch's weight.
    const BYTES_PER_WEIGHT: u128 = 4 * 4;
    const GIB: f64 = (1_u64 << 30) as f64;

    let n_in: usize = architecture.features.iter().map(Feature::n_dense).sum();
    let n_in = n_in + architecture.ids.iter().map(Ids::n_rows).sum::<usize>();
    let widths = hidden.iter().map(|width| width.0).chain([n_brands]);
    let (n_weights, _) = widths
        .fold((0_u128, n_in), |(n, before), width| (n + before as u128 * width as u128, width));
    let needed = n_weights * BYTES_PER_WEIGHT;
    let there = memory_bytes().unwrap_or(u64::MAX);
    ensure!(
        needed < u128::from(there),
        DataError(format!(
            "the network has {n_weights} weights, for which training needs {:.1} GiB; this machine \
             has {:.1} GiB\nhint: make the layers of `train.hidden` narrower",
            needed as f64 / GIB,
            there as f64 / GIB
        ))
    );
    Ok(())
}

/// What the ids of each sparse feature are: the brands, or those of training users.
fn ids_of(table: &Table, features: &[Feature], n_brands: usize) -> Vec<Ids> {
    let of_feature = |feature: &Feature| match feature.kind {
        FeatureKind::Dense { .. } => None,
        FeatureKind::Sparse { ids: IdSpace::Brands, .. } => Some(Ids::Numbers(n_brands)),
        FeatureKind::Sparse { ids: IdSpace::Own, .. } => {
            let lists = table.batches.iter().map(|batch| columns::u32_lists(batch, &feature.name));
            Some(own_ids(lists.flat_map(ListSlices::iter).flatten().copied()))
        }
    };
    features.iter().filter_map(of_feature).collect()
}

/// Ids are rows of weights as they are, unless that would leave most rows to nobody.
fn own_ids(ids: impl Iterator<Item = u32>) -> Ids {
    let mut is_used: Vec<bool> = Vec::new();
    for id in ids {
        if is_used.len() <= id as usize {
            is_used.resize(id as usize + 1, false);
        }
        is_used[id as usize] = true;
    }
    let used: Vec<u32> =
        (0..).zip(&is_used).filter(|(_, is_used)| **is_used).map(|(id, _)| id).collect();
    if is_used.len() <= FEW_ROWS.max(2 * used.len()) {
        return Ids::Numbers(is_used.len());
    }
    Ids::Listed(used)
}

/// So many rows of weights are no burden, whether they are used or not.
const FEW_ROWS: usize = 4096;

/// What training needs of `brands.arrow`.
struct Brands {
    ids: Vec<String>,
    volumes: Vec<u64>,
    n_train_users: u64,
}

impl Brands {
    fn of(table: &Table) -> Result<Self> {
        let ids = contract::ids::id_texts(&*table.whole_column("brand_id")?);
        let volumes = table
            .batches
            .iter()
            .flat_map(|batch| columns::u64s(batch, "volume"))
            .copied()
            .collect();
        let n_train_users = table.metadata("n_train_users").and_then(|n| n.parse().ok());
        let n_train_users = n_train_users.ok_or_else(|| {
            anyhow!(
                table
                    .broken(&tables::BRANDS, "the number of training users is not in its metadata")
            )
        })?;
        Ok(Self { ids, volumes, n_train_users })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}

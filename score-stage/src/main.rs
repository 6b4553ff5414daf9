//! Turns a model's probabilities into decisions.
//!
//! Thresholds are fitted on `valid`, then used on `test`; `predict` uses them for new users.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use arrow::array::ArrayRef;
use clap::{Parser, Subcommand};
use contract::cli::{self, ExperimentArgs, ManifestArgs};
use contract::exit::DataError;
use contract::ids::id_texts;
use contract::ipc::Table;
use contract::manifest::{Calibration, ExpectedOver, Memory as MemoryParams, ScoreParams};
use contract::run::StageRun;
use contract::statistics::{PREVALENCE_KEY, Prevalence};
use contract::{Stage, columns, tables, threads, thresholds};
use decide::{Decider, Rule};
use memory::{Blend, Memory};
use metrics::{Histogram, TradeOff};
use model::{Inputs, Model};
use serde_json::json;
use users::{Labels, Scorer};

mod decide; // logits -> decisions
mod fit; // calibration and thresholds from the valid users
mod index; // the nearest of many vectors
mod memory; // what the nearest training users have, mixed into the probabilities
mod predict; // decisions for new users
mod table; // Arrow columns of the tables written
mod top_k; // the largest of many values
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
    /// Reads users with the model's features from an Arrow file, checks them as training does, and
    /// writes an Arrow file with each user's predicted brands and their best ones.
    Predict(predict::Args),
}

fn main() -> ExitCode {
    let args: Args = cli::parse();
    cli::main("score-stage", || match args.command {
        Some(Command::Predict(args)) => predict::run(&args),
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
    let judged_model =
        if stage.plan.has_input("judged_model") { Some(read("judged_model")?) } else { None };
    let brands = stage.read("brands", &tables::BRANDS)?;
    check_brands(&model, &brands, stage.input("model"))?;
    let valid = stage.read("valid", &tables::HOLDOUT)?;
    let test = stage.read("test", &tables::HOLDOUT)?;
    let n_brands = model.brand_ids.len();
    let valid = Group::of(&valid, &model, n_brands)?;
    let test = Group::of(&test, &model, n_brands)?;
    let params = &experiment.score;
    let pool = threads::pool("score.threads", params.threads)?;

    let memories = match params.memory {
        Some(params) => {
            let remembered = Remembered::read(&stage)?;
            let hash = model.hash();
            Some(pool.install(|| {
                remembered.memories((&model, hash), judged_model.as_ref(), &valid, params)
            })?)
        }
        None => None,
    };
    let models: Vec<String> = judged_model.iter().chain([&model]).map(Model::hash).collect();
    let judged_model = judged_model.as_ref().unwrap_or(&model);
    let weights = match &memories {
        Some(memories) => {
            let tiers =
                if memories.params.by_tier { tier_groups(&brands) } else { vec![0; n_brands] };
            pool.install(|| memories.weights(judged_model, &valid, tiers))?
        }
        None => vec![0.0; n_brands],
    };
    let blend = |memory: fn(&Memories) -> &Memory| {
        memories.as_ref().map(|m| Blend { memory: memory(m), weights: weights.clone() })
    };
    let judged = Scorer { model: judged_model, blend: blend(Memories::judged) };
    let scorer = Scorer { model: &model, blend: blend(|memories| &memories.all) };

    let prevalence = match params.calibration {
        Calibration::Prior => Some(prevalence(&stage.read("examples", &tables::EXAMPLES)?)?),
        _ => None,
    };
    let (decider, valid_histogram) =
        pool.install(|| decide(&judged, &scorer, &valid, &test, params, prevalence.as_ref()))?;

    let mut test_histogram = Histogram::new(n_brands);
    let mut trade_off = TradeOff::new(n_brands);
    let mut writer =
        stage.writer("scores.arrow", &tables::SCORES, table::score_fields(&test.ids, true))?;
    let mut n_predicted = 0;
    let started = Instant::now();
    pool.install(|| {
        scorer.for_each_batch(0..test.n_users(), &test.inputs, "test users", |scored| {
            test.labels.count(scored.first, scored.logits, &mut test_histogram);
            test.labels.trade_off(&decider, &scored, &mut trade_off);
            let decisions = decider.decide(scored.logits, params.top_k);
            n_predicted += decisions.iter().map(|d| d.predicted.len()).sum::<usize>();
            writer.write(table::scores(&test.ids, scored.first, Some(&test.labels), &decisions))
        })
    })?;
    let users_per_s = test.n_users() as f64 / started.elapsed().as_secs_f64();
    stage.add(writer.finish()?);

    let mut metadata = table::rule_metadata(decider.rule(), params.decision);
    metadata.extend(thresholds::bound_to(&models, &model.brand_ids));
    let fields = tables::THRESHOLDS.all_fields();
    let mut writer =
        stage.writer_with("thresholds.arrow", &tables::THRESHOLDS, fields, metadata)?;
    writer.write(table::thresholds(&decider, &weights))?;
    stage.add(writer.finish()?);
    let mut writer =
        stage.writer("histogram.arrow", &tables::HISTOGRAM, tables::HISTOGRAM.all_fields())?;
    for (split, histogram) in [("valid", &valid_histogram), ("test", &test_histogram)] {
        writer.write(table::histogram(split, histogram))?;
    }
    stage.add(writer.finish()?);
    let mut writer =
        stage.writer("trade_off.arrow", &tables::TRADE_OFF, tables::TRADE_OFF.fields())?;
    writer.write(table::trade_off(&trade_off.outcomes()))?;
    stage.add(writer.finish()?);
    // Not needed, and large, where it weighs nothing.
    let remembered = memories.as_ref().filter(|_| weights.iter().any(|&weight| weight > 0.0));
    if let Some(Memories { all, .. }) = remembered {
        let fields = tables::MEMORY.fields();
        let mut writer =
            stage.writer_with("memory.arrow", &tables::MEMORY, fields, all.metadata())?;
        for rows in all.to_columns() {
            writer.write(rows)?;
        }
        stage.add(writer.finish()?);
    }

    let n_users = test.n_users();
    let per_user = n_predicted as f64 / n_users as f64;
    let dir = stage.plan.dir.display().to_string();
    let mut summary = json!({
        "test_users": n_users,
        "predicted": n_predicted,
        "test_users_per_s": users_per_s.round(),
    });
    let mut chosen = String::new();
    if let Rule::Gain { brand_share } = decider.rule() {
        summary["brand_share"] = json!(brand_share);
        let _ = write!(chosen, ", brand share {brand_share}");
    }
    if let Some(memories) = &memories {
        let recall = pool.install(|| memories.recall(judged_model, &valid))?;
        summary["memory_recall"] = json!(recall);
        // As they are written: 0.3, not what is left of it in 32 bits.
        let as_written = |&weight: &f32| weight.to_string().parse::<f64>().unwrap_or_default();
        let mut distinct: Vec<f64> = weights.iter().map(as_written).collect();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        summary["memory_weights"] = json!(distinct);
        let _ = write!(
            chosen,
            ", memory weight {distinct:?}, {:.1} % of the nearest found",
            100.0 * recall
        );
    }
    let record = stage.done(summary)?;
    let name = &experiment.name;
    Ok(format!(
        "score of {name}: {n_users} test users, {per_user:.2} brands predicted a user{chosen} in {:.1} s\n{dir}",
        record.secs
    ))
}

/// Users of the holdout, ready to be scored.
struct Group<'a> {
    inputs: Inputs<'a>,
    labels: Labels<'a>,
    ids: ArrayRef,
}

impl<'a> Group<'a> {
    fn of(table: &'a Table, model: &Model, n_brands: usize) -> Result<Self> {
        Ok(Self {
            inputs: model.inputs(table).map_err(DataError)?,
            labels: Labels::of(table, "brands", n_brands)?,
            ids: table.whole_column("user_id")?,
        })
    }

    fn n_users(&self) -> usize {
        self.inputs.n_users()
    }
}

/// What a memory is made of.
struct Remembered {
    features: Table,
    examples: Table,
}

/// The memory of training users, and for a refit model that of training and valid users.
struct Memories {
    params: MemoryParams,
    all: Memory,
    /// Where it is another
    judged: Option<Memory>,
}

impl Remembered {
    fn read(stage: &StageRun) -> Result<Self> {
        let features = stage.read("features", &tables::FEATURES)?;
        let examples = stage.read("examples", &tables::EXAMPLES)?;
        Ok(Self { features, examples })
    }

    fn memories(
        &self,
        (model, hash): (&Model, String),
        judged_model: Option<&Model>,
        valid: &Group,
        params: MemoryParams,
    ) -> Result<Memories> {
        // Both models read the same features.
        let inputs = model.inputs(&self.features).map_err(DataError)?;
        let of_sample =
            || memory::Users::of_examples(&self.examples, &inputs, model.brand_ids.len());
        let Some(judged_model) = judged_model else {
            let all = Memory::build((model, hash), &[of_sample()?], params)?;
            return Ok(Memories { params, all, judged: None });
        };
        let judged = Memory::build((judged_model, String::new()), &[of_sample()?], params)?;
        let valid = memory::Users::of_holdout(&valid.inputs, &valid.labels);
        let all = Memory::build((model, hash), &[of_sample()?, valid], params)?;
        Ok(Memories { params, all, judged: Some(judged) })
    }
}

impl Memories {
    fn judged(&self) -> &Memory {
        self.judged.as_ref().unwrap_or(&self.all)
    }

    /// Share of the valid users' true neighbours that the search finds.
    fn recall(&self, model: &Model, valid: &Group) -> Result<f64> {
        let mut recall = 1.0;
        let plain = Scorer { model, blend: None };
        let users = 0..valid.n_users().min(RECALL_USERS);
        plain.for_each_batch(users, &valid.inputs, "checking the search", |scored| {
            recall = scored.hidden.map_or(recall, |hidden| self.judged().recall(hidden));
            Ok(())
        })?;
        Ok(recall)
    }

    /// The share of the memory in each brand's probability.
    ///
    /// * `groups`: `(n_brands,)`, brands of one number have one weight.
    fn weights(&self, model: &Model, valid: &Group, groups: Vec<usize>) -> Result<Vec<f32>> {
        if let Some(weight) = self.params.weight {
            return Ok(vec![weight; groups.len()]);
        }
        let n_brands = groups.len();
        let mut search = memory::WeightSearch::new(groups);
        let plain = Scorer { model, blend: None };
        for users in spread(valid.n_users(), CHOOSING_USERS) {
            plain.for_each_batch(
                users,
                &valid.inputs,
                "choosing the memory's weight",
                |scored| {
                    if let Some(hidden) = scored.hidden {
                        let means = self.judged().label_means(hidden, n_brands);
                        let labels = valid.labels.lists(scored.first, scored.logits.nrows());
                        search.add(scored.logits, means.view(), labels);
                    }
                    Ok(())
                },
            )?;
        }
        Ok(search.weights())
    }
}

/// Valid users that the memory's weight is chosen on, at most.
const CHOOSING_USERS: usize = 20_000;

/// Blocks of users that stand for all.
const BLOCKS: usize = 16;

/// `n` users as blocks spread over all: they are in order of their ids, so that the first may be
/// the oldest customers.
fn spread(n_users: usize, n: usize) -> Vec<Range<usize>> {
    if n >= n_users {
        return std::iter::once(0..n_users).collect();
    }
    let block = n / BLOCKS;
    let start = |i: usize| (n_users - block) * i / (BLOCKS - 1);
    (0..BLOCKS).map(|i| start(i)..start(i) + block).collect()
}

/// Valid users that the search for neighbours is checked on, at most.
const RECALL_USERS: usize = 256;

/// The tier of each brand as a number.
fn tier_groups(brands: &Table) -> Vec<usize> {
    let mut names: Vec<String> = Vec::new();
    let mut groups = Vec::new();
    for batch in &brands.batches {
        for tier in columns::texts(batch, "tier") {
            let tier = tier.unwrap_or_default();
            let known = names.iter().position(|name| name == tier);
            groups.push(known.unwrap_or_else(|| {
                names.push(tier.to_owned());
                names.len() - 1
            }));
        }
    }
    groups
}

/// What the sample did to each brand's prevalence.
fn prevalence(examples: &Table) -> Result<Prevalence> {
    let text = examples.metadata(PREVALENCE_KEY);
    let prevalence = text.and_then(|text| serde_json::from_str(text).ok());
    Ok(prevalence.ok_or_else(|| {
        let what =
            "its metadata do not say what sampling did to the brands' prevalence; sample again";
        examples.broken(&tables::EXAMPLES, what)
    })?)
}

/// Calibration and thresholds, and the histogram of the valid users they come from.
fn decide(
    judged: &Scorer,
    scorer: &Scorer,
    valid: &Group,
    test: &Group,
    params: &ScoreParams,
    prevalence: Option<&Prevalence>,
) -> Result<(Decider, Histogram)> {
    let mut valid_histogram = Histogram::new(scorer.model.brand_ids.len());
    judged.for_each_batch(0..valid.n_users(), &valid.inputs, "valid users", |scored| {
        valid.labels.count(scored.first, scored.logits, &mut valid_histogram);
        Ok(())
    })?;
    let mut over = valid_histogram.clone();
    if params.decision.expected_over() == ExpectedOver::Scored {
        scorer.for_each_batch(0..test.n_users(), &test.inputs, "test users", |scored| {
            users::count_unlabelled(scored.logits, &mut over);
            Ok(())
        })?;
    }
    let mut decider = fit::fit(&valid_histogram, &over, params, prevalence);
    if let Some(mut sweep) = fit::sweep(&valid_histogram, &decider, params.decision) {
        judged.for_each_batch(0..valid.n_users(), &valid.inputs, "valid users", |scored| {
            valid.labels.sweep(&decider, &scored, &mut sweep);
            Ok(())
        })?;
        decider = fit::choose(decider, &sweep, params.decision);
    }
    Ok((decider, valid_histogram))
}

fn to_model(table: &Table) -> Result<Model> {
    Model::from_table(table)
        .map_err(|err| DataError(err.to_string()))
        .context("cannot use the model")
}

fn check_brands(model: &Model, brands: &Table, path: &Path) -> Result<(), DataError> {
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
    fn blocks_are_spread_over_all_users_and_do_not_overlap() {
        assert_eq!(super::spread(100, 160).first(), Some(&(0..100)));
        let blocks = super::spread(1000, 160);
        assert_eq!((blocks[0].clone(), blocks[15].clone()), (0..10, 990..1000));
        assert!(blocks.windows(2).all(|pair| pair[0].end <= pair[1].start), "{blocks:?}");
        assert_eq!(blocks.iter().map(ExactSizeIterator::len).sum::<usize>(), 160);
    }

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}

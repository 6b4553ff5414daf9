//! Scores an experiment: the list "Scoring, pass by pass" of ARCHITECTURE.md, a function a pass.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::Result;
use arrow::array::ArrayRef;
use contract::brands::Tier;
use contract::exit::DataError;
use contract::ipc::{self, Finished, Table};
use contract::manifest::{
    Calibration, Decision, ExpectedOver, Experiment, Memory as NeighbourParams, ScoreParams,
};
use contract::run::StageRun;
use contract::statistics::{PREVALENCE_KEY, Prevalence};
use contract::tables::{self, Contract};
use contract::{Manifest, Stage, columns, threads, thresholds};
use metrics::{
    Decisions, Histogram, HistogramBuilder, OwnedLists, TradeOff, UserSweep, average_precision,
    macro_f1, mean_defined, point,
};
use model::Model;
use serde_json::{Map, Value, json};

use crate::calibrate::{self, Calibrated, CalibratedFolds, Counted, UsersBuilder};
use crate::decide::{Decider, Rule};
use crate::drift::Reference;
use crate::folds::{Folds, fold_of, rows_of};
use crate::history::HistoryLines;
use crate::models::{Refit, check_brands};
use crate::neighbours::blend::Blend;
use crate::neighbours::known_users::KnownUsers;
use crate::neighbours::{Neighbours, choose};
use crate::scorer::{History, Scorer};
use crate::split::Split;
use crate::{fit, table};

/// Scores one training of an experiment; returns what to print.
pub fn score(manifest: &Manifest, experiment: &Experiment) -> Result<String> {
    let params = &experiment.score;
    let mut stage = StageRun::start(manifest, Stage::Score, Some(experiment))?;
    let models = Refit::read(&stage)?;
    let brands = stage.read("brands", &tables::BRANDS)?;
    check_brands(&models.last, stage.input("model"), &brands)?;
    let valid = stage.read("valid", &tables::HOLDOUT)?;
    let test_users = stage.read("test", &tables::HOLDOUT)?;
    let valid = Split::of(&valid, &models.last)?;
    let test = Split::of(&test_users, &models.last)?;

    let pool = threads::pool("score.threads", params.threads)?;
    let results = pool.install(|| -> Result<_> {
        let asked = ask_neighbours(&stage, &models, &brands, &valid, params.memory.as_ref())?;
        let scorers = scorers(&models, &asked);
        let judge = scorers.judged();
        let counted = count_valid(judge, &valid)?;
        let curves = calibrate(&stage, counted, &brands, params.calibration)?;
        let fitted = fit_deciders(&scorers, [&valid, &test], &curves, params)?;
        let judge = judge.with(History::ByFold(curves.lines_by_fold()));
        let validated = decide_valid_users(&stage, &judge, &valid, &fitted.folds, params.top_k)?;
        let chosen = fitted.chosen(params.decision);
        let decider = fitted.decider;
        let scorer = scorers.last.with(History::All(curves.fitted.all.lines.as_ref()));
        let n_brands = models.last.brand_ids.len();
        let reference = Reference::of_users(&test_users, models.last.features(), n_brands);
        let tested = decide_test_users(&stage, &scorer, &test, &decider, params.top_k, reference)?;
        let Curves { fitted: CalibratedFolds { all: Calibrated { lines, .. }, .. }, valid } =
            curves;
        Ok(Results { asked, valid, lines, decider, chosen, validated, tested })
    })?;

    let (summary, chosen) = results.summary();
    let per_user = results.tested.predicted_per_user();
    results.write(&mut stage, &models, params)?;
    let (id, dir) = (stage.plan.id.clone(), stage.plan.dir.display().to_string());
    let record = stage.done(summary)?;
    Ok(format!(
        "{id}: {} test users, {per_user:.2} brands predicted per user{chosen} in {:.1} s\n{dir}",
        test.rows().len(),
        record.secs
    ))
}

/// The neighbours that are asked.
struct Asked {
    /// `None` without `score.memory`
    neighbours: Option<Refit<Neighbours>>,
    /// `(n_brands,)`, the neighbours' share in each probability
    weights: Vec<f32>,
    /// Share of the nearest that the search finds
    recall: f64,
}

/// Pass 1: known users through the model, then the valid users for the weights of least loss.
fn ask_neighbours(
    stage: &StageRun,
    models: &Refit<Model>,
    brands: &Table,
    valid: &Split,
    params: Option<&NeighbourParams>,
) -> Result<Asked> {
    let n_brands = models.last.brand_ids.len();
    let Some(params) = params else {
        return Ok(Asked { neighbours: None, weights: vec![0.0; n_brands], recall: 1.0 });
    };
    let neighbours = build_neighbours(stage, models, valid, params)?;
    let weights = if let Some(weight) = params.weight {
        vec![weight; n_brands]
    } else {
        let groups = if params.by_tier { tiers(brands)? } else { vec![0; n_brands] };
        choose::weights(neighbours.judged(), models.judged(), valid, groups)?
    };
    let recall = choose::recall(neighbours.judged(), models.judged(), valid)?;
    Ok(Asked { neighbours: Some(neighbours), weights, recall })
}

/// Neighbours for the test users, and for the valid users. After a refit, those for the test users
/// include the valid users, who are not to find themselves.
fn build_neighbours(
    stage: &StageRun,
    models: &Refit<Model>,
    valid: &Split,
    params: &NeighbourParams,
) -> Result<Refit<Neighbours>> {
    let features = stage.read("features", &tables::FEATURES)?;
    let examples = stage.read("examples", &tables::EXAMPLES)?;
    // Both models read the same features.
    let inputs = models.last.inputs(&features).map_err(DataError)?;
    let mut known = vec![KnownUsers::of_examples(&examples, &inputs, models.last.brand_ids.len())?];
    let judged = match &models.judged {
        Some(model) => Some(Neighbours::build(model, &known, params.clone())?),
        None => None,
    };
    if judged.is_some() {
        known.push(KnownUsers::of_split(valid));
    }
    Ok(Refit { last: Neighbours::build(&models.last, &known, params.clone())?, judged })
}

/// The tier of each brand as a number, `(n_brands,)`.
fn tiers(brands: &Table) -> Result<Vec<usize>, ipc::Error> {
    let names = brands.batches.iter().flat_map(|batch| columns::texts(batch, "tier"));
    let number = |(row, name): (usize, Option<&str>)| {
        let name = name.unwrap_or_default();
        Tier::named(name).map(|tier| tier as usize).ok_or_else(|| {
            let found =
                format!("row {row}: `tier` is `{name}`, expected `head`, `torso` or `tail`");
            brands.broken(&tables::BRANDS, found)
        })
    };
    names.enumerate().map(number).collect()
}

/// Each model with its neighbours.
fn scorers<'a>(models: &'a Refit<Model>, asked: &'a Asked) -> Refit<Scorer<'a>> {
    let neighbours = asked.neighbours.as_ref();
    let scorer = |model, neighbours: Option<&'a Neighbours>| {
        let blend = neighbours.map(|neighbours| Blend { neighbours, weights: &asked.weights });
        Scorer { model, blend, history: History::Ignored }
    };
    Refit {
        last: scorer(&models.last, neighbours.map(|pair| &pair.last)),
        judged: models.judged.as_ref().map(|model| scorer(model, neighbours.map(Refit::judged))),
    }
}

/// Pass 2: the valid users' logits.
fn count_valid(scorer: &Scorer, valid: &Split) -> Result<Counted> {
    let count = |fold| -> Result<_, ipc::Error> {
        let users = rows_of(fold, valid.rows().len());
        let mut counted = UsersBuilder::new(scorer.model.brand_ids.len());
        scorer.for_each_labelled(valid, users, "valid users", |scored, labels| {
            counted.add(&scored, labels);
            Ok(())
        })?;
        Ok(counted.build())
    };
    Ok(Counted(Folds::try_of(count)?))
}

/// The curves from logits to probabilities.
struct Curves {
    fitted: CalibratedFolds,
    /// The valid users' logits, each fold's moved by its own lines
    valid: Histogram,
}

impl Curves {
    fn lines_by_fold(&self) -> Folds<Option<&HistoryLines>> {
        self.fitted.folds.each(|calibrated| calibrated.lines.as_ref())
    }
}

fn calibrate(
    stage: &StageRun,
    counted: Counted,
    brands: &Table,
    kind: Calibration,
) -> Result<Curves> {
    let prevalence = match kind {
        Calibration::Prior => Some(prevalence(&stage.read("examples", &tables::EXAMPLES)?)?),
        _ => None,
    };
    let method = calibrate::Method { kind, bands: &tiers(brands)?, prevalence };
    let fitted = counted.calibrate(&method);
    let valid = counted.moved_by_fold(&fitted.users, &fitted.folds);
    Ok(Curves { fitted, valid })
}

/// What was fitted.
struct Fitted {
    /// On all valid users, for the test users
    decider: Decider,
    /// For each fold of the valid users, on the others
    folds: Folds<Decider>,
}

impl Fitted {
    /// For the record: what was chosen on valid for all brands together.
    fn chosen(&self, decision: Decision) -> Map<String, Value> {
        let single = |decider: &Decider| decider.brands().first().map(|brand| brand.threshold);
        let by_fold = |fold| single(&self.folds[fold]);
        let chosen = match (decision, self.decider.rule()) {
            (Decision::Global { .. }, _) => json!({
                "threshold": single(&self.decider),
                // They show how much a few users matter.
                "threshold_by_fold": Folds::<Decider>::all().map(by_fold).collect::<Vec<_>>(),
            }),
            (_, Rule::Gain { brand_share }) => json!({"brand_share": brand_share}),
            (Decision::TopK { k: None, .. }, Rule::TopK { k, .. }) => json!({"k": k}),
            _ => json!({}),
        };
        chosen.as_object().cloned().unwrap_or_default()
    }
}

/// Pass 3: thresholds from the counts, with `over: scored` after counting the test users without their
/// labels; the valid users again for what counts cannot tell, each with the probabilities that the
/// other folds give.
fn fit_deciders(
    scorers: &Refit<Scorer>,
    [valid, test]: [&Split; 2],
    curves: &Curves,
    params: &ScoreParams,
) -> Result<Fitted> {
    let is_over_scored = params.decision.expected_over() == ExpectedOver::Scored;
    let fit = |calibrated: &Calibrated, over: Option<&Histogram>| {
        let users = &calibrated.users;
        fit::fit(users, over.unwrap_or(users), calibrated.curves.clone(), params)
    };
    let mut over = is_over_scored.then(|| curves.fitted.all.users.clone());
    if let Some(over) = &mut over {
        let mut scored_users = HistogramBuilder::new(over.n_brands());
        let history = History::All(curves.fitted.all.lines.as_ref());
        let scorer = scorers.last.with(history);
        scorer.for_each_batch(&test.inputs, test.rows(), "test users", |scored| {
            let unlabelled = OwnedLists::empty(scored.rows.len());
            scored_users.add_rows(scored.cells(), unlabelled.as_lists());
            Ok(())
        })?;
        over.merge(&scored_users.build());
    }
    let decider = fit(&curves.fitted.all, over.as_ref());
    // The users that a fold's thresholds are for are the fold.
    let mut folds = Folds::of(|fold| {
        let calibrated = &curves.fitted.folds[fold];
        let over = is_over_scored.then(|| curves.fitted.users.moved(calibrated.lines.as_ref()));
        fit(calibrated, over.as_ref())
    });
    let Some(empty) = fit::sweep(&curves.fitted.all.users, &decider, params.decision) else {
        return Ok(Fitted { decider, folds });
    };
    let mut sweeps = Folds::of(|_| empty.clone());
    let scorer = scorers.judged().with(History::ByFold(curves.lines_by_fold()));
    scorer.for_each_labelled(valid, valid.rows(), "valid users", |scored, labels| {
        let deciders = folds.with_users(scored.rows);
        for ((decider, users), (sweep, _)) in deciders.zip(sweeps.with_users(scored.rows)) {
            let labels: OwnedLists = users.iter().map(|&user| labels.get(user)).collect();
            sweep.add(labels.as_lists(), decider.stakes(), |place, probs| {
                decider.probs(scored.logits.row(users[place]), probs);
            });
        }
        Ok(())
    })?;
    let choose =
        |(decider, sweep): (Decider, UserSweep)| fit::choose(decider, &sweep, params.decision);
    let (others, all) = sweeps.without_each(UserSweep::merge, |others| others);
    Ok(Fitted { decider: choose((decider, all)), folds: folds.zip(others).map(choose) })
}

/// What the sample did to each brand's prevalence.
fn prevalence(examples: &Table) -> Result<Prevalence, ipc::Error> {
    let text = examples.metadata(PREVALENCE_KEY);
    text.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(|| {
        let found = "its metadata does not say how sampling changed the brands' prevalence";
        examples.broken(&tables::EXAMPLES, found)
    })
}

/// The valid users with decisions that were fitted without them.
struct Validated {
    /// `valid_scores.arrow`
    scores: Finished,
    labels: OwnedLists,
    predicted: OwnedLists,
}

impl Validated {
    /// For the record: what experiments are chosen by.
    ///
    /// * `logits`: of the valid users.
    fn summary(&self, logits: &Histogram) -> Value {
        let (labels, predicted) = (self.labels.as_lists(), self.predicted.as_lists());
        let n_brands = logits.n_brands();
        let figures = point(&Decisions { labels, predicted }, n_brands);
        let precisions = (0..n_brands).map(|brand| average_precision(logits.brand(brand)));
        json!({
            "n_users": labels.len(),
            "macro_f1": macro_f1(&figures.brands),
            "user_f1": figures.user_f1,
            "map": mean_defined(precisions),
        })
    }
}

/// Pass 4: decisions for the valid users, each by what the other folds say.
fn decide_valid_users(
    stage: &StageRun,
    scorer: &Scorer,
    valid: &Split,
    folds: &Folds<Decider>,
    top_k: usize,
) -> Result<Validated> {
    let (mut all_labels, mut predicted) = (OwnedLists::default(), OwnedLists::default());
    let fields = table::fields_with_ids(&tables::SCORES, valid.ids.data_type());
    let mut writer = stage.writer("valid_scores.arrow", &tables::SCORES, fields)?;
    scorer.for_each_labelled(valid, valid.rows(), "valid users", |scored, labels| {
        let decider = |user| &folds[fold_of(scored.rows[user])];
        let decisions = Decider::decide_each(scored.logits, top_k, decider);
        for (labels, decision) in labels.iter().zip(&decisions) {
            all_labels.push(labels);
            predicted.push(&decision.predicted);
        }
        let ids = valid.ids.slice(scored.first(), decisions.len());
        writer.write(table::scores(ids, labels, &decisions))
    })?;
    Ok(Validated { scores: writer.finish()?, labels: all_labels, predicted })
}

/// The test users with their decisions.
struct Tested {
    /// `scores.arrow`
    scores: Finished,
    histogram: Histogram,
    trade_off: TradeOff,
    /// What new users are compared with
    reference: Reference,
    n_users: usize,
    n_predicted: usize,
    secs: f64,
}

impl Tested {
    fn predicted_per_user(&self) -> f64 {
        self.n_predicted as f64 / self.n_users as f64
    }
}

/// Pass 5: decisions for the test users, and what other decisions would give.
fn decide_test_users(
    stage: &StageRun,
    scorer: &Scorer,
    test: &Split,
    decider: &Decider,
    top_k: usize,
    mut reference: Reference,
) -> Result<Tested> {
    let started = Instant::now();
    let mut histogram = HistogramBuilder::new(decider.n_brands());
    let mut trade_off = TradeOff::new(decider.n_brands());
    let mut n_predicted = 0;
    let fields = table::fields_with_ids(&tables::SCORES, test.ids.data_type());
    let mut writer = stage.writer("scores.arrow", &tables::SCORES, fields)?;
    scorer.for_each_labelled(test, test.rows(), "test users", |scored, labels| {
        histogram.add_rows(scored.cells(), labels);
        trade_off.add(labels, decider.stakes(), |user, probs| {
            decider.probs(scored.logits.row(user), probs);
        });
        let decisions = decider.decide(scored.logits, top_k);
        reference.add_scored(decider, scored.logits, &decisions, scored.first());
        n_predicted += decisions.iter().map(|d| d.predicted.len()).sum::<usize>();
        let ids = test.ids.slice(scored.first(), decisions.len());
        writer.write(table::scores(ids, labels, &decisions))
    })?;
    let secs = started.elapsed().as_secs_f64();
    let scores = writer.finish()?;
    let (histogram, n_users) = (histogram.build(), test.rows().len());
    Ok(Tested { scores, histogram, trade_off, reference, n_users, n_predicted, secs })
}

/// What all passes found.
struct Results {
    asked: Asked,
    /// The valid users
    valid: Histogram,
    /// Moves logits of brands that a user had
    lines: Option<HistoryLines>,
    decider: Decider,
    /// What was chosen on valid for all brands together
    chosen: Map<String, Value>,
    validated: Validated,
    tested: Tested,
}

impl Results {
    /// The record's summary, and in words what was chosen.
    fn summary(&self) -> (Value, String) {
        let Tested { n_users, n_predicted, secs, .. } = self.tested;
        let mut summary = json!({
            "test_users": n_users,
            "predicted": n_predicted,
            "test_users_per_s": (n_users as f64 / secs).round(),
            "valid": self.validated.summary(&self.valid),
        });
        let mut chosen = String::new();
        for (key, value) in &self.chosen {
            summary[key] = value.clone();
            if value.is_number() {
                let _ = write!(chosen, ", {} {value}", key.replace('_', " "));
            }
        }
        let Asked { neighbours: Some(_), weights, recall } = &self.asked else {
            return (summary, chosen);
        };
        // As they are written: 0.3, not the nearest number of 32 bits.
        let as_written = |&weight: &f32| weight.to_string().parse::<f64>().unwrap_or_default();
        let mut distinct: Vec<f64> = weights.iter().map(as_written).collect();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        summary["memory_recall"] = json!(recall);
        summary["memory_weights"] = json!(distinct);
        let found = 100.0 * recall;
        let _ = write!(chosen, ", memory weight {distinct:?}, {found:.1} % of the nearest found");
        (summary, chosen)
    }

    fn write(
        self,
        stage: &mut StageRun,
        models: &Refit<Model>,
        params: &ScoreParams,
    ) -> Result<()> {
        let Self { asked, valid, lines, decider, validated, tested, .. } = self;
        stage.add(tested.scores);
        stage.add(validated.scores);
        let mut metadata = table::rule_metadata(decider.rule(), params.decision);
        let bound_to = thresholds::bound_to(&models.hashes(), &models.last.brand_ids);
        metadata.extend(bound_to.clone());
        let rows = [table::thresholds(&decider, &asked.weights, lines.as_ref())];
        write(stage, "thresholds.arrow", &tables::THRESHOLDS, metadata, rows)?;
        let rows = [("valid", &valid), ("test", &tested.histogram)];
        let rows = rows.into_iter().map(|(split, histogram)| table::histogram(split, histogram));
        write(stage, "histogram.arrow", &tables::HISTOGRAM, HashMap::new(), rows)?;
        let rows = [table::trade_off(&tested.trade_off.outcomes())];
        write(stage, "trade_off.arrow", &tables::TRADE_OFF, HashMap::new(), rows)?;
        let metadata = bound_to.into_iter().chain(tested.reference.metadata()).collect();
        let rows = [tested.reference.to_columns()];
        write(stage, "reference.arrow", &tables::REFERENCE, metadata, rows)?;
        // Large, and not needed where it weighs nothing.
        if let Some(Refit { last, .. }) = asked.neighbours
            && asked.weights.iter().any(|&weight| weight > 0.0)
        {
            let rows = last.to_columns();
            write(stage, "memory.arrow", &tables::MEMORY, last.metadata(), rows)?;
        }
        Ok(())
    }
}

/// Writes a table whose place is taken when the stage is done.
fn write(
    stage: &mut StageRun,
    file: &str,
    contract: &'static Contract,
    metadata: HashMap<String, String>,
    batches: impl IntoIterator<Item = Vec<ArrayRef>>,
) -> Result<(), ipc::Error> {
    let mut writer = stage.writer_with(file, contract, contract.all_fields(), metadata)?;
    for rows in batches {
        writer.write(rows)?;
    }
    stage.add(writer.finish()?);
    Ok(())
}

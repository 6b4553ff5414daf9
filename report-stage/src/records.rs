//! What the records of the stages say: the effort of an experiment, and where its results come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use contract::manifest::Experiment;
use contract::plan::{StageId, StagePlan};
use contract::record::{Accepted, Change, Output, Record};
use contract::rungs::Rungs;
use contract::statistics::SampleStatistics;
use contract::{Manifest, Stage, ipc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// Effort and circumstances of an experiment; `None` where no stage recorded it.
#[derive(Clone, Debug, Default)]
pub struct Effort {
    /// What the sample did to the training users
    pub sample: Option<SampleStatistics>,
    /// Training examples
    pub train_rows: Option<u64>,
    /// Gradient updates of all its networks
    pub updates: Option<u64>,
    /// Updates that the model in use had seen; chosen on the valid users
    pub updates_kept: Option<u64>,
    /// What scoring chose on the valid users: `brand_share`, `k`, `threshold`, `threshold_by_fold`,
    /// `memory_weights`
    pub chosen: Value,
    /// Whether the model is the truth that made the data: a ceiling, not a rival
    pub is_truth: bool,
    /// Wall time
    pub secs: Secs,
    /// Why the scores do not match the manifest, if so
    pub outdated: Option<String>,
    /// The first stage without a record, if the experiment has begun
    pub stopped_at: Option<Stage>,
    /// Where the training was ended, if others of its matrix were better
    pub ended: Option<String>,
}

/// Wall time of an experiment's stages in seconds. It differs from run to run.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct Secs {
    /// Drawing the examples
    pub sample: Option<f64>,
    /// Training
    pub train: Option<f64>,
    /// Scoring valid and test users
    pub score: Option<f64>,
}

/// What the report was made from.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Provenance {
    /// Version of the project
    pub version: &'static str,
    /// Path of the manifest, as given on the command line
    pub manifest: String,
    /// BLAKE3 of the manifest's bytes
    pub manifest_blake3: Option<String>,
    /// BLAKE3 of the raw files and queries that the users were read from, by name
    pub data: BTreeMap<String, Option<String>>,
    /// The manifest's `holdout`, which all experiments share
    pub holdout: Value,
    /// Every stage with a record
    pub stages: Vec<StageTrace>,
    /// Shell commands that make the report again, each with a comment
    pub commands: Vec<String>,
}

/// Where a stage's results come from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StageTrace {
    /// Which stage
    #[serde(flatten)]
    pub id: StageId,
    /// Hash of everything the results depend on
    pub fingerprint: String,
    /// Hash of the stage's program
    pub program: String,
    /// Rows written
    pub rows: u64,
    /// Bytes written
    pub bytes: u64,
    /// Largest resident memory of the process
    pub peak_memory_bytes: Option<u64>,
    /// Changes since the stage ran that somebody vouched for
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Accepted>,
}

impl Effort {
    /// Reads an experiment's records; with seeds, times are added up and the rest is the first seed's.
    ///
    /// * `holdout`: why the holdout is outdated, if so; see [`outdated_holdout`].
    pub fn of(manifest: &Manifest, experiment: &Experiment, holdout: Option<&String>) -> Self {
        let trainings = manifest.trainings(experiment);
        let mut efforts =
            trainings.iter().map(|training| Self::of_training(manifest, training, holdout));
        let mut effort = efforts.next().unwrap_or_default();
        for (training, other) in trainings[1..].iter().zip(efforts) {
            let add = |sum: &mut Option<f64>, secs: Option<f64>| {
                *sum = sum.zip(secs).map(|(sum, secs)| sum + secs).or(*sum);
            };
            if training.has_sample_of_seed() {
                add(&mut effort.secs.sample, other.secs.sample);
            }
            add(&mut effort.secs.train, other.secs.train);
            add(&mut effort.secs.score, other.secs.score);
            effort.outdated = effort.outdated.or(other.outdated);
            effort.stopped_at = effort.stopped_at.or(other.stopped_at);
            effort.ended = effort.ended.or(other.ended);
        }
        effort
    }

    fn of_training(manifest: &Manifest, training: &Experiment, holdout: Option<&String>) -> Self {
        let with_record = |stage| {
            let plan = manifest.plan(stage, Some(training));
            let record = Record::of(&plan);
            (plan, record)
        };
        let stages: Vec<(StagePlan, Option<Record>)> =
            stages(training).into_iter().map(with_record).collect();
        let record = |stage: Stage| {
            let (_, record) = stages.iter().find(|(plan, _)| plan.id.stage == stage)?;
            record.as_ref()
        };
        let [sample, train, score] = Stage::OF_EXPERIMENT.map(record);
        let number = |record: Option<&Record>, key: &str| record?.summary.get(key)?.as_u64();
        // A stage that the runner has started has a log, even if it failed.
        let has_begun =
            stages.iter().any(|(plan, record)| record.is_some() || plan.log_path().exists());
        let open = stages.iter().find(|(_, record)| record.is_none());
        let ended = stages.iter().find(|(plan, _)| plan.id.stage == Stage::Train);
        let ended = ended.filter(|_| manifest.is_halved(training));
        let ended = ended.and_then(|(plan, _)| Rungs::of_any(&plan.dir));
        let missing = training.seed.filter(|_| score.is_none());
        let missing = missing.map(|seed| format!("seed {seed} has no scores"));
        let of_stages =
            || stages.iter().find_map(|(plan, record)| outdated(plan, record.as_ref()?));
        Self {
            sample: sample.and_then(|record| serde_json::from_value(record.summary.clone()).ok()),
            train_rows: number(train, "rows").or_else(|| number(sample, "rows")),
            updates: number(train, "updates"),
            updates_kept: number(train, "updates_kept").or_else(|| number(train, "updates")),
            chosen: score.map_or(Value::Null, chosen),
            is_truth: train.is_some_and(|record| record.summary["truth"] == true),
            secs: Secs {
                sample: sample.map(|record| record.secs),
                train: train.map(|record| record.secs),
                score: score.map(|record| record.secs),
            },
            outdated: missing.or_else(|| holdout.cloned()).or_else(of_stages),
            stopped_at: open.map(|(plan, _)| plan.id.stage).filter(|_| has_begun),
            ended: ended.as_ref().and_then(Rungs::ended_in_words),
        }
    }

    /// The verdict on an experiment without scores.
    pub fn no_scores(&self) -> String {
        match self.stopped_at {
            Some(Stage::Train) if self.ended.is_some() => {
                format!("no scores: {}", self.ended.as_deref().unwrap_or_default())
            }
            Some(stage) => format!("no scores: it stopped at {stage}"),
            None => "no scores: it has not run".to_owned(),
        }
    }
}

fn stages(experiment: &Experiment) -> Vec<Stage> {
    let has = |stage: &Stage| *stage != Stage::Sample || experiment.needs_sample();
    Stage::OF_EXPERIMENT.into_iter().filter(has).collect()
}

/// What scoring chose on the valid users, where the manifest leaves the choice to it.
fn chosen(score: &Record) -> Value {
    let keys = ["brand_share", "k", "threshold", "threshold_by_fold", "memory_weights"];
    let found = keys.map(|key| (key.to_owned(), score.summary[key].clone()));
    found.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into()
}

/// Why the results that all experiments share do not match the manifest, if so.
pub fn outdated_holdout(manifest: &Manifest) -> Option<String> {
    let plan = manifest.plan(Stage::Holdout, None);
    if plan.problem.is_some() {
        return None; // a store cannot be asked now, and the runner checks that
    }
    outdated(&plan, &Record::of(&plan)?)
}

/// The first reason why a stage's results do not match its settings and files, if any.
fn outdated(plan: &StagePlan, record: &Record) -> Option<String> {
    if !record.has_params_of(plan) {
        return Some(format!("`{}` ran with other settings", named(&plan.id)));
    }
    let is_other = |input: &&contract::plan::Input| {
        let then = record.parts.inputs.get(&input.name).cloned().flatten();
        then.is_some_and(|then| now(plan.id.stage, &input.path).is_some_and(|now| now != then))
    };
    let input = plan.inputs.iter().find(is_other)?;
    Some(format!("`{}` ran before its input `{}` changed", named(&plan.id), input.name))
}

/// A stage of an experiment that is named already: `train`, or `train` with its seed.
fn named(id: &StageId) -> String {
    id.seed.map_or(id.stage.to_string(), |seed| format!("{}, seed {seed}", id.stage))
}

/// The hash of an input's content now: as its stage recorded it, or computed if the file is small.
fn now(stage: Stage, path: &Path) -> Option<String> {
    match Output::recorded(path) {
        Some(Output { content, blake3, .. }) => {
            Some(if content.is_empty() { blake3 } else { content })
        }
        // Raw tables can be large; the runner checks whether they changed.
        None if stage == Stage::Holdout => None,
        None => ipc::hash_file(path).ok(),
    }
}

impl StageTrace {
    /// A sentence for every change that was vouched for.
    pub fn vouched(&self) -> Vec<String> {
        let sentence = |accepted: &Accepted| {
            let changes: Vec<String> = accepted.changes.iter().map(Change::to_string).collect();
            let (when, changes) = (&accepted.when, changes.join("; "));
            let because = accepted.because.trim_end_matches('.');
            format!(
                "The stage {} has not run since a change that was accepted at {when}: {changes}. Reason given: {because}.",
                self.id
            )
        };
        self.accepted.iter().map(sentence).collect()
    }
}

impl Provenance {
    /// Reads the records of all stages.
    pub fn of(manifest: &Manifest, commands: Vec<String>) -> Self {
        let holdout = manifest.plan(Stage::Holdout, None);
        let mut plans: Vec<StagePlan> = vec![holdout.clone()];
        for experiment in manifest.experiments() {
            for training in manifest.trainings(experiment) {
                let of_stage = |stage| manifest.plan(stage, Some(&training));
                plans.extend(stages(&training).into_iter().map(of_stage));
            }
        }
        let mut listed = BTreeSet::new(); // seeds may share a sample
        plans.retain(|plan| listed.insert(plan.id.clone()));
        let trace = |plan: &StagePlan| {
            let record = Record::of(plan)?;
            Some(StageTrace {
                id: plan.id.clone(),
                rows: record.n_rows(),
                bytes: record.n_bytes(),
                fingerprint: record.fingerprint,
                program: record.parts.binary,
                peak_memory_bytes: record.peak_memory_bytes,
                accepted: record.accepted,
            })
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            manifest: manifest.path.display().to_string(),
            manifest_blake3: ipc::hash_file(&manifest.path).ok(),
            data: Record::of(&holdout).map(|record| record.parts.inputs).unwrap_or_default(),
            holdout: holdout.params["holdout"].clone(),
            stages: plans.iter().filter_map(trace).collect(),
            commands,
        }
    }
}

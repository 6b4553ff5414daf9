//! `pipeline.yaml`: what may be written, and the checked form that stages use.
//!
//! The types below are the manifest: their field names are its keys, their doc
//! comments its documentation, and the JSON Schema made of them is both what
//! `pipeline schema` prints and what [`Manifest::load`] checks a file against.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use indexmap::IndexMap;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::UsageError;

pub mod depth;
mod engine;
mod environment;
mod expand;
mod file;
mod histories;
mod load;
mod matrix;
pub(crate) mod problems;
pub mod query;
mod rules;
pub(crate) mod schema_check;
pub mod shipped;
mod size;
#[cfg(test)]
mod tests;
pub mod time;
mod time_rules;
pub mod timeline;
mod yaml;

pub use engine::Engine;
pub use expand::sweep_as_set;
pub use histories::Histories;
pub use load::place_of;
pub use load::{is_of_experiment, name_experiments};
pub use matrix::{in_words, shown};
pub use size::{MemorySize, ScratchSize};
use time::{HeldOut, History, HoldoutBy, Labels, NumUsers, TimeSource};

/// Largest seed: JSON readers and queries have signed 64-bit numbers.
const MAX_SEED: u64 = i64::MAX as u64;

/// Longest name of an experiment, in characters: it names a folder and is shown in tables.
pub const MAX_NAME: usize = 100;

/// Names of other folders in `run_dir`, which no experiment may have.
pub const RESERVED_NAMES: [&str; 3] = ["holdout", "report", BACKTEST_DIR];

/// Folder in `run_dir` with the results of backtests, one folder a date.
pub const BACKTEST_DIR: &str = "backtest";

/// `pipeline.yaml` as written.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pipeline.yaml")]
pub struct RawManifest {
    /// Version of this format: 1
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Folder for all results, relative to the manifest
    #[serde(default = "default_run_dir")]
    pub run_dir: PathBuf,
    /// The raw tables, and how they become users, interactions and brands
    pub data: Data,
    /// Which users are held out from training: `valid` to tune on, `test` to report on
    #[serde(default)]
    pub holdout: Holdout,
    /// Which interactions are predicted, by their time. Default: all, and time plays no part
    #[serde(default)]
    pub labels: Option<Labels>,
    /// Features made of the interactions before the date that `labels` names. Default: none
    #[serde(default)]
    pub history: Option<History>,
    /// Settings that every experiment starts from
    #[serde(default)]
    pub stages: Stages,
    /// Seeds of training: every experiment is trained and scored once for each, in place of
    /// `train.seed`, and the report shows means over them. Default: one training, with `train.seed`
    #[serde(default)]
    #[schemars(length(min = 1, max = 20), inner(range(max = MAX_SEED)))]
    pub seeds: Vec<u64>,
    /// Where queries run: `{kind: local}` or `{kind: distributed, workers: [HOST:PORT]}`. Changes no
    /// result
    #[serde(default)]
    pub engine: Engine,
    /// The experiment that all others are compared with. Default: the first
    #[serde(default)]
    pub baseline: Option<String>,
    /// Experiments by name, each with the settings that differ from `stages`
    pub experiments: IndexMap<String, Overrides>,
}

fn default_run_dir() -> PathBuf {
    "runs".into()
}

/// The raw tables, and how they become users, interactions and brands.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Raw tables by name: parquet, csv, json or arrow. Each is a file, a folder with all its
    /// subfolders, or a pattern such as `log/*.parquet`, on disk or in an object store such as
    /// `s3://bucket/log/`. A folder named `key=value` adds a column.
    /// `${NAME}` is replaced by the environment variable of that name
    pub tables: IndexMap<String, TableSource>,
    /// One row per user: `user_id`, the feature columns and, if it is set, `holdout.column`. With
    /// `time`, a user may have several rows; the last at or before `as_of - gap` counts, and a user
    /// without one is not there yet
    pub users: View,
    /// One row per event or label: `user_id`, `brand_id` and, optionally, `events`, how often it
    /// happened (default 1). Rows of one user and brand are added up. With `labels` it also has the
    /// column that `time` names
    pub interactions: View,
    /// One row per brand: `brand_id` and `name`; a brand without a name is shown by its id
    pub brands: View,
    /// Columns of users that models may read; may be empty with `history`
    pub features: Vec<FeatureSource>,
    /// Which brands are predicted. Default: those with at least one training user
    #[serde(default)]
    pub keep_brands: KeepBrands,
    /// What to do with interactions whose user or brand is not in its table
    #[serde(default)]
    pub unknown_ids: UnknownIds,
    /// Memory for the holdout, such as `4GiB`: the queries of users, interactions and brands, the labels
    /// and the rows of users; what does not fit is spilled to disk. Raise it if a query runs out of
    /// memory. Changes no result
    #[serde(default)]
    #[schemars(extend("x-changes-no-result" = true))]
    pub memory_limit: MemorySize,
    /// Disk space that this may take while it runs, such as `100GiB`. Changes no result
    #[serde(default)]
    #[schemars(extend("x-changes-no-result" = true))]
    pub scratch_limit: ScratchSize,
}

/// A raw table.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TableSource {
    /// A file, folder, pattern or URL; the format follows from the file name
    Path(String),
    /// A table with options
    Options(TableOptions),
}

/// A raw table with options.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableOptions {
    /// A file, folder, pattern or URL
    pub path: String,
    /// Default: by the extension of the file name
    #[serde(default)]
    pub format: Option<TableFormat>,
    /// Character between the fields of a csv file. Default: a comma, or a tab for `.tsv`
    #[serde(default)]
    pub delimiter: Option<String>,
    /// Whether the first line of each csv file names the columns
    #[serde(default = "yes")]
    pub header: bool,
    /// Types of columns by name, such as `{user_id: text}`. Default: inferred from all values of a
    /// csv or json file, and as stored in other files
    #[serde(default)]
    pub types: IndexMap<String, ColumnType>,
}

/// Type of a column of a raw table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Text as it is written: `007` keeps its zeros
    Text,
    /// 64-bit whole numbers
    Int,
    /// 64-bit floating-point numbers
    Float,
    /// `true` or `false`
    Bool,
    /// Days, such as `2024-07-01`
    Date,
    /// Times without a time zone, such as `2024-07-01T12:00:00`
    Timestamp,
}

fn yes() -> bool {
    true
}

impl TableSource {
    /// The table with all its options.
    pub fn options(&self) -> TableOptions {
        match self {
            Self::Options(options) => options.clone(),
            Self::Path(path) => {
                let (path, types) = (path.clone(), IndexMap::new());
                TableOptions { path, format: None, delimiter: None, header: true, types }
            }
        }
    }
}

/// Format of a raw table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TableFormat {
    /// Apache Parquet
    Parquet,
    /// Comma-separated values, or those of another delimiter
    Csv,
    /// JSON objects, one per line or in an array
    Json,
    /// Arrow IPC file or stream, also Feather version 2
    Arrow,
}

/// A table, or a query over the tables.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum View {
    /// A table of `data.tables` as it is
    Table(TableView),
    /// A query over `data.tables`
    Sql(SqlView),
}

/// A table of `data.tables` as it is.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableView {
    /// Name of the table
    pub table: String,
    /// Column with the time of each row; of interactions, and of users that change
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeSource>,
}

/// A query over `data.tables`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlView {
    /// File with one SELECT statement, relative to the manifest
    pub sql: PathBuf,
    /// Column with the time of each row; of interactions, and of users that change
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeSource>,
}

impl View {
    /// The column with the time of each row.
    pub fn time(&self) -> Option<&TimeSource> {
        match self {
            Self::Table(view) => view.time.as_ref(),
            Self::Sql(view) => view.time.as_ref(),
        }
    }
}

/// A column of users that a model may read.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum FeatureSource {
    /// A column: a number, a vector (list of floats) or a list of ids (whole numbers), by its type
    Column(String),
    /// A table with options
    Options(FeatureOptions),
}

/// A feature with options.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureOptions {
    /// Column of users
    pub column: String,
    /// What the ids of a list column mean
    #[serde(default)]
    pub ids: IdSpace,
    /// Column of users with one number for each id of the list. Default: each id counts 1
    #[serde(default)]
    pub weights: Option<String>,
    /// For a column of text: the values that become categories, each with a weight of its own in the
    /// model. Users with another value, or none, have no category
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Categories>,
}

/// Values of a text column that become categories.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Categories {
    /// The most common values of the training users
    Top(TopCategories),
    /// These values
    Listed(#[schemars(length(min = 1, max = 100_000))] Vec<String>),
}

/// The most common values.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopCategories {
    /// How many, at most
    #[schemars(range(min = 1, max = 100_000))]
    pub top: u32,
}

/// What the ids of a list column mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdSpace {
    /// Whole numbers from 0 to 16,777,215, such as categories
    #[default]
    Own,
    /// Brand ids, such as a user's past brands
    Brands,
}

impl FeatureSource {
    /// The column of users that the feature reads; also the feature's name.
    pub fn column(&self) -> &str {
        match self {
            Self::Column(column) => column,
            Self::Options(options) => &options.column,
        }
    }

    /// The feature with all its options.
    pub fn options(&self) -> FeatureOptions {
        match self {
            Self::Options(options) => options.clone(),
            Self::Column(column) => {
                let (column, ids) = (column.clone(), IdSpace::Own);
                FeatureOptions { column, ids, weights: None, categories: None }
            }
        }
    }
}

/// Which brands are predicted.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum KeepBrands {
    /// Brands with enough training users
    MinVolume(MinVolume),
    /// The largest brands
    Top(TopBrands),
}

/// Brands with enough training users.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinVolume {
    /// Fewest training users that a brand must have
    #[schemars(range(max = 4_294_967_295_u32))]
    pub min_volume: u64,
}

/// The largest brands by training users.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopBrands {
    /// Number of brands
    #[schemars(range(min = 1, max = 100_000_000))]
    pub top: u32,
}

impl Default for KeepBrands {
    fn default() -> Self {
        Self::MinVolume(MinVolume { min_volume: 1 })
    }
}

/// What to do with interactions whose user or brand is not in its table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownIds {
    /// Drop them, with a warning that counts them
    #[default]
    Warn,
    /// Stop with an error
    Error,
}

/// Which users are held out from training.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Holdout {
    /// Whether some users are held out, or all users are seen at later dates
    #[serde(skip_serializing_if = "HoldoutBy::is_users")]
    #[schemars(extend("default" = "users"))]
    pub by: HoldoutBy,
    /// Column of users that holds `train`, `valid` or `test`. Default: users are drawn at random
    pub column: Option<String>,
    /// Users to tune on: a fraction below 1, or a number of at least 2. With `column` it counts
    /// only if no user is `valid` there; then they are drawn from the `train` users. With `by: time`
    /// all users as of a date, `{as_of: 2024-10-01}`, or users that are drawn at the last date of
    /// training and not trained on
    pub valid: HeldOut,
    /// Users to report on: a fraction below 1, or a number of at least 2. Has no effect with
    /// `column`. With `by: time` all users as of a date, `{as_of: 2025-01-01}`
    pub test: HeldOut,
    /// Seed of the draw: a user's draw depends on this seed and the user's id alone
    #[schemars(range(max = MAX_SEED))]
    pub seed: u64,
}

impl Default for Holdout {
    fn default() -> Self {
        let [valid, test] = [0.1, 0.2].map(|share| HeldOut::Users(NumUsers(share)));
        Self { by: HoldoutBy::Users, column: None, valid, test, seed: 7 }
    }
}

/// Settings that every experiment starts from.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stages {
    /// How training examples are drawn
    pub sample: SampleParams,
    /// How the model is trained
    pub train: TrainParams,
    /// How probabilities become decisions
    pub score: ScoreParams,
    /// How the experiments are compared
    pub report: ReportParams,
}

/// An experiment: the settings that differ from `stages`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// How training examples are drawn
    pub sample: SampleParams,
    /// How the model is trained
    pub train: TrainParams,
    /// How probabilities become decisions
    pub score: ScoreParams,
    /// Values of keys, such as `{train.learning_rate: [0.001, 0.003], train.hidden: [[256], [512]]}`:
    /// each combination becomes an experiment, `NAME-1`, `NAME-2` and so on, in place of this one
    pub matrix: Option<RawMatrix>,
    /// Whether trainings of the matrix that look hopeless are ended early: after an eighth, a quarter
    /// and half of the updates the better half goes on, by MAP on the valid users
    pub halving: bool,
}

/// Keys such as `train.learning_rate`, each with a list of values; maps of keys may be nested.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct RawMatrix {
    /// Combinations to leave out, such as `[{train.learning_rate: 0.003, train.hidden: [512]}]`; one
    /// that names only some keys stands for all combinations with these values
    #[serde(default)]
    pub exclude: Vec<IndexMap<String, Value>>,
    /// The keys
    #[serde(flatten)]
    pub keys: IndexMap<String, RawAxis>,
}

/// What a key of a matrix has.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RawAxis {
    /// The values that it takes
    Values(#[schemars(length(min = 1))] Vec<Value>),
    /// The keys below it
    Keys(IndexMap<String, Value>),
}

/// How training examples are drawn.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampleParams {
    /// File with the sampling query, relative to the manifest, or the name of a query that is shipped, such
    /// as `everyone`. Needed by every model that learns
    pub sql: Option<PathBuf>,
    /// Values for the query's `$name` placeholders: numbers, strings, booleans, null, or lists of
    /// them
    #[schemars(with = "IndexMap<String, PlaceholderValue>")]
    pub params: IndexMap<String, Value>,
    /// With `seeds`: values of the query's `$seed`, one for each training, so that each has a sample
    /// of its own. Default: all trainings of an experiment share one sample
    #[schemars(length(max = 20), inner(range(max = MAX_SEED)))]
    pub seeds: Vec<u64>,
    /// Memory for the query, such as `4GiB`; what does not fit is spilled to disk. Raise it if the
    /// query runs out of memory. Changes no result
    #[schemars(extend("x-changes-no-result" = true))]
    pub memory_limit: MemorySize,
    /// Disk space that the query may take while it runs, such as `100GiB`. Changes no result
    #[schemars(extend("x-changes-no-result" = true))]
    pub scratch_limit: ScratchSize,
    /// Threads of the query. Default: one per core. Changes no result
    #[schemars(range(min = 1, max = 1024), extend("x-changes-no-result" = true))]
    pub threads: Option<usize>,
}

/// Values of placeholders. Only the schema of this type is used: the values stay as written.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "it is there for its schema")]
enum PlaceholderValue {
    One(PlainValue),
    List(#[schemars(length(min = 1))] Vec<PlainValue>),
}

/// A value that is not a list.
#[derive(JsonSchema)]
#[schemars(inline, extend("type" = ["number", "string", "boolean", "null"], "minimum" = i64::MIN, "maximum" = i64::MAX))]
struct PlainValue;

/// How the model is trained.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainParams {
    /// Kind of model
    pub model: ModelKind,
    /// For `persistence`: the feature that holds a user's past brands
    pub history: Option<String>,
    /// Existing `model.arrow` to use instead of training one, relative to the manifest
    pub pretrained: Option<PathBuf>,
    /// Which of `data.features` the model reads. Default: all
    #[schemars(length(min = 1))]
    pub features: Option<Vec<String>>,
    /// Whether dense features are scaled to mean 0 and variance 1. Turn it off if they are already
    pub standardise: bool,
    /// Number of units of each hidden layer; an empty list makes a linear model
    #[schemars(length(max = 64))]
    pub hidden: Vec<HiddenWidth>,
    /// The loss that training minimises
    pub loss: Loss,
    /// Weights of the brands in the loss, by their volume. Default: all brands count alike
    pub brand_weights: Option<BrandWeights>,
    /// Weight of an additional term of the loss, 1 - soft F1 of each brand in the batch; 0 leaves
    /// it out
    #[schemars(range(min = 0.0, max = 100.0))]
    pub soft_f1: f32,
    /// Most passes over the examples; `patience` may end training earlier
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: u32,
    /// Gradient updates, instead of `epochs` and `patience`: as many for a sample of any size, so
    /// that experiments can be compared. Default: `epochs` decides
    #[schemars(range(min = 1, max = 10_000_000_000_u64))]
    pub updates: Option<u64>,
    /// Which epoch's model is kept, judged on the valid users
    pub select_epoch: SelectEpoch,
    /// Epochs without improvement after which training ends; null never ends it early. Has no
    /// effect with `select_epoch: last`
    #[schemars(range(min = 1, max = 1_000_000))]
    pub patience: Option<u32>,
    /// Whether the model is trained again on training and valid users together, for the number of
    /// updates that was best. Thresholds and calibration still come from the first model
    pub refit: bool,
    /// Examples per gradient update
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch_size: usize,
    /// Step size of Adam after warm-up. Lower it if the loss explodes
    #[schemars(extend("exclusiveMinimum" = 0.0), range(max = 1.0))]
    pub learning_rate: f32,
    /// Fraction of all updates over which the step size grows from zero
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup: f32,
    /// How the step size falls after warm-up
    pub decay: Decay,
    /// Fraction of hidden units dropped at random in each update. Raise it if the model overfits
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f32,
    /// Decoupled weight decay (`AdamW`), per update and unit of learning rate; 0 is none
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub weight_decay: f32,
    /// Feature that holds a user's past brands, or several, such as how often and how long ago the
    /// user had each: each brand's logit gets a direct weight for the user's own history of it. Set
    /// it where users return to their brands. The name in `history` takes all features of it.
    /// Default: no such weight
    pub own_history: Option<Histories>,
    /// How much of the output layer an update computes. Less is faster, and the expected gradient is
    /// the same. A model without a hidden layer computes everything
    pub output: OutputLayer,
    /// Entries of the output gradient below this share of a user's largest are kept at random and
    /// scaled up in proportion. 0 keeps all, as does `output: exact`
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sparse_gradient: f32,
    /// Number of networks that are trained, with seeds from `seed` on, and averaged. Training takes
    /// that many times as long
    #[schemars(range(min = 1, max = 20))]
    pub members: usize,
    /// Seed of the initial weights, the order of examples and dropout
    #[schemars(range(max = MAX_SEED))]
    pub seed: u64,
    /// Threads. Default: one per core. Changes no result
    #[schemars(range(min = 1, max = 1024), extend("x-changes-no-result" = true))]
    pub threads: Option<usize>,
    /// Minutes between checkpoints, from which a killed training resumes; an epoch that takes
    /// longer ends with one as well. Changes no result
    #[schemars(range(min = 0.0, max = 1_000_000.0), extend("x-changes-no-result" = true))]
    pub checkpoint_minutes: f64,
}

/// How much of the output layer an update computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutputLayer {
    /// What is fastest: `sketch` where many brands are rare, else `sparse`
    Auto,
    /// All logits and all gradients
    Exact,
    /// All logits, and gradients as `sparse_gradient` says
    Sparse,
    /// Common brands, and of the others the logits and gradients that matter, as a cheap sketch of
    /// the logits tells. Needs `sparse_gradient` above 0 and no `soft_f1`
    Sketch,
}

/// Width of a hidden layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct HiddenWidth(#[schemars(range(min = 1, max = 65_536))] pub usize);

impl TrainParams {
    /// Updates that the training of a network has, unless patience ends it earlier.
    pub fn planned_updates(&self, n_examples: u64) -> u64 {
        let per_epoch = n_examples.div_ceil(self.batch_size as u64);
        self.updates.unwrap_or(per_epoch * u64::from(self.epochs))
    }

    /// What is wrong with `output`, given the other parameters.
    pub fn output_problem(&self) -> Option<&'static str> {
        let leaves_out = self.sparse_gradient > 0.0;
        match self.output {
            OutputLayer::Sketch if !leaves_out || self.soft_f1 > 0.0 => {
                Some("`sketch` needs `sparse_gradient` above 0 and no `soft_f1`")
            }
            OutputLayer::Sparse if !leaves_out => Some("`sparse` needs `sparse_gradient` above 0"),
            _ => None,
        }
    }
}

impl Default for TrainParams {
    fn default() -> Self {
        Self {
            model: ModelKind::Mlp,
            history: None,
            pretrained: None,
            features: None,
            standardise: true,
            hidden: vec![HiddenWidth(256), HiddenWidth(256)],
            loss: Loss::Bfce { gamma: 2.0, alpha: None },
            brand_weights: None,
            soft_f1: 0.0,
            epochs: 60,
            updates: None,
            select_epoch: SelectEpoch::MeanAveragePrecision,
            patience: Some(5),
            refit: false,
            batch_size: 512,
            learning_rate: 1e-3,
            warmup: 0.05,
            decay: Decay::Cosine,
            dropout: 0.1,
            weight_decay: 0.0,
            own_history: None,
            output: OutputLayer::Auto,
            sparse_gradient: 0.05,
            members: 1,
            seed: 7,
            threads: None,
            checkpoint_minutes: 5.0,
        }
    }
}

/// Which epoch's model is kept, judged on the valid users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SelectEpoch {
    /// The last epoch
    Last,
    /// The epoch with the lowest loss
    Loss,
    /// The epoch with the highest macro F1, at each brand's expected-F1 threshold
    MacroF1,
    /// The epoch with the highest average precision, averaged over brands
    MeanAveragePrecision,
    /// The epoch with the highest mean F1 over users, at the same thresholds as `macro_f1`
    UserF1,
}

/// Weights of the brands in the loss: a power of their volume.
///
/// Brand `b` of volume `n_b` has the weight `scale · n_b^-power / mean`, where `mean` is that of
/// `n^-power` over all brands.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrandWeights {
    /// 0 weighs all brands alike, 1 by the inverse of their volume
    #[serde(default = "one")]
    #[schemars(range(min = -2.0, max = 2.0))]
    pub power: f32,
    /// Mean weight of the brands
    #[serde(default = "one")]
    #[schemars(range(min = 0.000_001, max = 1000.0))]
    pub scale: f32,
    /// Which cells are weighted; the others have weight 1
    pub on: WeightedCells,
}

fn one() -> f32 {
    1.0
}

/// Which cells of the loss are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WeightedCells {
    /// Cells of users who have the brand
    Positives,
    /// Cells of all users
    Both,
}

/// Kind of model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// A multi-layer perceptron
    #[default]
    Mlp,
    /// Each brand's prevalence among training users, the same for every user
    Popularity,
    /// The brands that the user had before, from the feature named by `history`
    Persistence,
}

/// The loss that training minimises, per user and brand, from logits.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// Binary cross-entropy
    Bce {},
    /// Binary focal cross-entropy (Lin et al. 2017)
    Bfce {
        /// How strongly easy cells are discounted; 0 is cross-entropy
        #[serde(default = "two")]
        #[schemars(range(min = 0.0, max = 10.0))]
        gamma: f32,
        /// Weight of positives; negatives have 1 minus it. Default: both have weight 1
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
        alpha: Option<f32>,
    },
    /// Mean squared error of the probability
    Mse {},
    /// Asymmetric loss (Ridnik et al. 2021): focal, with separate exponents for positives and
    /// negatives; the easiest negatives are left out
    Asl {
        /// Focal exponent of positives
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 10.0))]
        gamma_positive: f32,
        /// Focal exponent of negatives
        #[serde(default = "four")]
        #[schemars(range(min = 0.0, max = 10.0))]
        gamma_negative: f32,
        /// Negatives with a probability up to this cost nothing
        #[serde(default = "one_twentieth")]
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
        clip: f32,
    },
    /// Binary cross-entropy of the logit plus `tau` times the logit of the brand's prevalence
    /// (Menon et al. 2021)
    LogitAdjusted {
        /// How much of the prevalence the model leaves unlearned; 0 is cross-entropy
        #[serde(default = "one")]
        #[schemars(range(min = 0.0, max = 10.0))]
        tau: f32,
    },
}

fn two() -> f32 {
    2.0
}

fn four() -> f32 {
    4.0
}

fn one_twentieth() -> f32 {
    0.05
}

/// How the step size falls after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// It stays constant
    None,
    /// Linearly, to zero one update after the last
    Linear,
    /// Along half a cosine, to zero one update after the last
    Cosine,
}

/// How probabilities become decisions.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreParams {
    /// How a prediction is decided from probabilities; all it fits is fitted on the valid users
    pub decision: Decision,
    /// How the model's probabilities are corrected, fitted on the valid users
    pub calibration: Calibration,
    /// Mixes the labels of the nearest training users into the model's probabilities. Default: off.
    /// Needs a network that learns from a sample, with a hidden layer or `by`
    pub memory: Option<Memory>,
    /// Number of best brands kept per user, for ranking metrics
    #[schemars(range(min = 1, max = 1000))]
    pub top_k: usize,
    /// Threads. Default: one per core. Changes no result
    #[schemars(range(min = 1, max = 1024), extend("x-changes-no-result" = true))]
    pub threads: Option<usize>,
}

impl Default for ScoreParams {
    fn default() -> Self {
        Self {
            decision: Decision::Fixed { threshold: 0.5 },
            calibration: Calibration::None,
            memory: None,
            top_k: 20,
            threads: None,
        }
    }
}

/// How a prediction is decided from probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decision {
    /// One given threshold for all brands
    Fixed {
        /// A brand is predicted when its probability is at least this
        #[serde(default = "one_half")]
        #[schemars(range(min = 0.0, max = 1.0))]
        threshold: f64,
    },
    /// One threshold for all brands, the best on the valid users
    Global {
        /// The metric that it maximises
        #[serde(default)]
        metric: GlobalMetric,
    },
    /// For each brand the best threshold on the valid users, found by trying all (`SCut`), shrunk
    /// towards that of `expected_f1`
    PerBrand {
        /// Strength of the shrinkage, in positives of the brand; 0 is none, which overfits brands
        /// with few positives
        #[serde(default = "twenty")]
        #[schemars(range(min = 0.0, max = 1_000_000.0))]
        strength: f64,
        /// Users whose probabilities give the threshold that is shrunk towards
        #[serde(default)]
        over: ExpectedOver,
    },
    /// For each brand half of the best expected F1, from calibrated probabilities (Lipton et al. 2014)
    ExpectedF1 {
        /// Users whose probabilities the expectation is taken over; their labels are not used
        #[serde(default)]
        over: ExpectedOver,
    },
    /// For each brand the threshold that predicts it as often as its probabilities expect (`PCut`)
    ExpectedVolume {
        /// Users whose probabilities the expectation is taken over; their labels are not used
        #[serde(default)]
        over: ExpectedOver,
    },
    /// The same number of brands for each user
    TopK {
        /// Number of brands. Default: the best on the valid users for the mean F1 over users
        #[serde(default)]
        #[schemars(range(min = 1, max = 1000))]
        k: Option<usize>,
        /// Order of a user's brands
        #[serde(default)]
        by: TopBy,
    },
    /// What raises a weighted sum of the mean F1 over brands and the mean F1 over users most: a
    /// small brand is decided by its own threshold, a large one by each user's list
    Gain {
        /// Weight of the mean over brands; the mean over users has the rest. 1 is `expected_f1`, 0
        /// the best list for each user. Default: chosen on the valid users by `user_loss`
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 1.0))]
        brand_share: Option<f64>,
        /// Share of the best mean F1 over users that may be given up for brands: the largest brand
        /// share that loses no more on the valid users is chosen. Has no effect with `brand_share`
        #[serde(default = "one_hundredth")]
        #[schemars(range(min = 0.0, max = 1.0))]
        user_loss: f64,
        /// Users whose probabilities the expectation is taken over; their labels are not used
        #[serde(default)]
        over: ExpectedOver,
    },
}

impl Decision {
    /// Users over whom a brand's F1 is expected.
    pub fn expected_over(&self) -> ExpectedOver {
        match *self {
            Self::PerBrand { over, .. }
            | Self::ExpectedF1 { over }
            | Self::ExpectedVolume { over }
            | Self::Gain { over, .. } => over,
            Self::Fixed { .. } | Self::Global { .. } | Self::TopK { .. } => ExpectedOver::Valid,
        }
    }
}

/// Users over whom a brand's F1 is expected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedOver {
    /// The valid users
    #[default]
    Valid,
    /// The valid users and the users to be scored, without their labels: steadier thresholds of
    /// small brands, at the cost of a second pass
    Scored,
}

/// Order of a user's brands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TopBy {
    /// Highest probability first
    #[default]
    Probability,
    /// Largest gain in expected F1 first
    Gain,
}

fn one_half() -> f64 {
    0.5
}

fn one_hundredth() -> f64 {
    0.01
}

fn twenty() -> f64 {
    20.0
}

/// The metric that a global threshold maximises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GlobalMetric {
    /// Micro F1: that of the counts summed over brands
    Micro,
    /// Macro F1: the mean over brands
    #[default]
    Macro,
    /// The mean over users
    User,
}

/// How the model's probabilities are corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Calibration {
    /// They are not
    None,
    /// By a slope and an intercept per brand, shrunk towards those of its tier; brands in a user's own
    /// history apart
    Platt,
    /// By the best curve that never falls, for brands with at least 100 positives in valid; the
    /// others as `platt`
    Isotonic,
    /// From the brand's prevalence in the sample to that among all training users, by arithmetic.
    /// For samples that change the prevalence
    Prior,
}

/// Mixes the labels of the nearest training users into the model's probabilities.
///
/// Nearest by the cosine of the model's last hidden layer, less its mean, or of users' histories: see
/// `by`. The probability becomes
/// `(1 - weight)·model + weight·mean of the neighbours' labels`, before calibration.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// What makes users alike: the feature that holds their past brands, by the rarer of which they
    /// are compared. Default: the model's last hidden layer
    pub by: Option<String>,
    /// Number of nearest training users
    #[schemars(range(min = 1, max = 10_000))]
    pub neighbours: usize,
    /// A neighbour whose cosine is lower by this counts 1/e as much; null counts all alike
    #[schemars(range(min = 0.0001, max = 1000.0))]
    pub temperature: Option<f32>,
    /// Weight of the neighbours. Default: the one with the lowest loss on the valid users; with any
    /// loss but `bce` that overrates the neighbours, as the model's own probabilities are off
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub weight: Option<f32>,
    /// Whether head, torso and tail brands each get their own best weight. Has no effect with
    /// `weight`
    pub by_tier: bool,
    /// Share of the training users' groups that is searched, where there are more than 16,384
    /// training users. Raise it for more exact neighbours, lower it for speed
    #[schemars(extend("exclusiveMinimum" = 0.0), range(max = 1.0))]
    pub search: f32,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            by: None,
            neighbours: 200,
            temperature: Some(0.1),
            weight: None,
            by_tier: false,
            search: 0.03,
        }
    }
}

/// How the experiments are compared.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReportParams {
    /// The report counts the brands whose F1 reaches each of these
    #[schemars(length(max = 20))]
    pub f1_buckets: Vec<F1Bucket>,
    /// Where head and tail begin
    pub tiers: Tiers,
    /// Draws of the paired bootstrap over test users, for the intervals of single brands and of F1
    /// buckets; more make them steadier, up to 1,000
    #[schemars(range(min = 100, max = 100_000))]
    pub bootstrap_draws: usize,
    /// Seed of the bootstrap
    #[schemars(range(max = MAX_SEED))]
    pub seed: u64,
    /// Number of the largest brands that are shown one by one
    #[schemars(range(max = 10_000))]
    pub top_brands: usize,
    /// Experiments that all others are compared with besides the baseline. Default: those of a
    /// `persistence` model, the rule that a user's history gives without training
    pub also_against: Option<Vec<String>>,
}

/// An F1 of at least this.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct F1Bucket(#[schemars(range(min = 0.0001, max = 1.0))] pub f64);

impl Default for ReportParams {
    fn default() -> Self {
        Self {
            f1_buckets: [0.5, 0.1, 0.05].map(F1Bucket).to_vec(),
            tiers: Tiers::default(),
            bootstrap_draws: 1000,
            seed: 7,
            top_brands: 20,
            also_against: None,
        }
    }
}

/// Where head and tail begin, as shares of all training labels.
///
/// The head is the fewest largest brands that together hold `head` of the labels,
/// the tail the most smallest brands that together hold at most `tail`; the torso
/// is what lies between.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tiers {
    /// Share of all labels that the head holds, at least
    #[schemars(range(min = 0.0, max = 1.0))]
    pub head: f64,
    /// Share of all labels that the tail holds, at most
    #[schemars(range(min = 0.0, max = 1.0))]
    pub tail: f64,
}

impl Default for Tiers {
    fn default() -> Self {
        Self { head: 0.5, tail: 0.1 }
    }
}

/// A checked manifest. Every path is resolved, every experiment complete.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file
    pub path: PathBuf,
    /// Folder for all results
    pub run_dir: PathBuf,
    /// The raw tables and their views
    pub data: Data,
    /// Which users are held out from training
    pub holdout: Holdout,
    /// Which interactions are predicted, if time plays a part
    pub labels: Option<Labels>,
    /// Features made of what lies before
    pub history: Option<History>,
    /// How experiments are compared
    pub report: ReportParams,
    /// What every experiment is trained with, once each; empty for `train.seed` alone
    pub seeds: Vec<u64>,
    /// Where queries run
    pub engine: Engine,
    /// The experiment that all others are compared with
    pub baseline: String,
    /// What is valid and may still not be what was meant
    pub notes: Vec<Note>,
    experiments: IndexMap<String, Experiment>,
    /// In the order of their experiments
    matrices: Vec<Matrix>,
}

/// An experiment with a `matrix`: not itself an experiment, but the name of those that it makes.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Name in the manifest
    pub name: String,
    /// Whether the experiment that it varies is there too, as the matrix was given on the command
    /// line
    pub has_base: bool,
    /// Values by key, such as `train.learning_rate`
    pub axes: IndexMap<String, Vec<Value>>,
    /// Names of its experiments
    pub cells: Vec<String>,
    /// Whether its trainings are ended early where others are better
    pub halving: bool,
}

impl Matrix {
    /// For a message about a name that is not an experiment's.
    fn hint(&self) -> String {
        let cells = self.cells.clone();
        let of = Note { text: String::new(), experiments: cells }.to_string();
        format!("it is a matrix; name one of its experiments{}", of.replacen(", in", ":", 1))
    }
}

/// What a matrix sets in an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// Name of the matrix
    pub name: String,
    /// Values by key, such as `train.learning_rate`
    pub values: IndexMap<String, Value>,
}

/// A remark on a valid manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The sentence, without the experiments
    pub text: String,
    /// The experiments it is about; none if it is about the manifest as a whole
    pub experiments: Vec<String>,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// Most names in a line.
        const SHOWN: usize = 5;

        f.write_str(&self.text)?;
        if self.experiments.is_empty() {
            return Ok(());
        }
        let names = self.experiments.iter().take(SHOWN).map(|name| format!("`{name}`"));
        write!(f, ", in {}", names.collect::<Vec<_>>().join(", "))?;
        match self.experiments.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            n_more => write!(f, " and {n_more} more"),
        }
    }
}

/// One experiment: `stages` with its overrides applied.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Name in the manifest
    pub name: String,
    /// How training examples are drawn
    pub sample: SampleParams,
    /// Placeholders that the experiment itself sets, not `stages`
    pub own_params: Vec<String>,
    /// How the model is trained
    pub train: TrainParams,
    /// How probabilities become decisions
    pub score: ScoreParams,
    /// Which of the manifest's seeds it is trained with; `None` of an experiment as a whole
    pub seed: Option<u64>,
    /// What a matrix sets in it, if it is of one
    pub matrix: Option<Cell>,
}

impl Experiment {
    /// Whether its sample is drawn once for each seed, not once for all.
    pub fn has_sample_of_seed(&self) -> bool {
        self.seed.is_some() && !self.sample.seeds.is_empty()
    }

    /// Whether the model learns from sampled examples.
    pub fn needs_sample(&self) -> bool {
        self.train.model == ModelKind::Mlp && self.train.pretrained.is_none()
    }

    /// The sampling query.
    pub fn sql(&self) -> &Path {
        self.sample.sql.as_deref().expect("checked when the manifest was loaded")
    }
}

/// No experiment has this name.
#[derive(Debug, thiserror::Error)]
#[error("no experiment `{name}` in `{manifest}`; {hint}")]
pub struct NoSuchExperiment {
    name: String,
    manifest: String,
    hint: String,
}

impl Manifest {
    /// All experiments, in the manifest's order.
    pub fn experiments(&self) -> impl Iterator<Item = &Experiment> + Clone {
        self.experiments.values()
    }

    /// The features that hold brands of a user's past.
    pub fn histories(&self) -> impl Iterator<Item = &str> {
        let of_data = self.data.features.iter().filter(|f| f.options().ids == IdSpace::Brands);
        let made = self.history.iter().map(|history| history.name.as_str());
        of_data.map(FeatureSource::column).chain(made)
    }

    /// What all experiments are compared with besides the baseline, in the manifest's order.
    pub fn also_against(&self) -> impl Iterator<Item = &Experiment> + Clone {
        let is_rival = |e: &&Experiment| match &self.report.also_against {
            Some(names) => names.contains(&e.name),
            None => e.train.model == ModelKind::Persistence,
        };
        self.experiments().filter(is_rival).filter(|e| e.name != self.baseline)
    }

    /// The experiment of this name.
    ///
    /// # Errors
    ///
    /// [`NoSuchExperiment`], with the nearest name.
    pub fn experiment(&self, name: &str) -> Result<&Experiment, NoSuchExperiment> {
        self.experiments.get(name).ok_or_else(|| NoSuchExperiment {
            name: name.to_owned(),
            manifest: self.path.display().to_string(),
            hint: match self.matrix(name) {
                Some(matrix) => matrix.hint(),
                None => problems::suggest(name, self.experiments.keys().map(String::as_str)),
            },
        })
    }

    /// The matrix of this name.
    pub fn matrix(&self, name: &str) -> Option<&Matrix> {
        self.matrices.iter().find(|matrix| matrix.name == name)
    }

    /// Whether an experiment's training may be ended early.
    pub fn is_halved(&self, experiment: &Experiment) -> bool {
        let matrix = experiment.matrix.as_ref().and_then(|cell| self.matrix(&cell.name));
        matrix.is_some_and(|matrix| matrix.halving)
    }

    /// All matrices, in the manifest's order.
    pub fn matrices(&self) -> impl Iterator<Item = &Matrix> + Clone {
        self.matrices.iter()
    }

    /// An experiment once for each of the manifest's seeds, set so that it trains with it; the
    /// experiment alone where the manifest lists no seeds or nothing is learned.
    pub fn trainings(&self, experiment: &Experiment) -> Vec<Experiment> {
        if self.seeds.is_empty() || !experiment.needs_sample() {
            return vec![experiment.clone()];
        }
        let with_seed = |(i, &seed): (usize, &u64)| {
            let mut training = Experiment { seed: Some(seed), ..experiment.clone() };
            training.train.seed = seed;
            if let Some(&of_sample) = training.sample.seeds.get(i) {
                training.sample.params.insert("seed".to_owned(), of_sample.into());
            }
            training
        };
        self.seeds.iter().enumerate().map(with_seed).collect()
    }

    /// The feature with the brands that a user had before: that of `history`, else the one that a
    /// `persistence` model reads.
    pub fn past_feature(&self) -> Option<&str> {
        let of_history = self.history.as_ref().map(|history| &history.name);
        let of_persistence = || self.experiments().find_map(|e| e.train.history.as_ref());
        of_history.or_else(of_persistence).map(String::as_str)
    }

    /// How to read a table that a command line names: one of the manifest, else a path.
    ///
    /// # Errors
    ///
    /// If the name is also that of a file.
    pub fn named_table(&self, named: &str) -> Result<TableOptions, UsageError> {
        let of_manifest = self.data.tables.get(named);
        if of_manifest.is_some() && Path::new(named).exists() {
            return Err(UsageError(format!(
                "`--users {named}` is a table of the manifest, and there is a file or folder of this \
                 name; write `./{named}` for that, or rename one of them"
            )));
        }
        let path = || TableSource::Path(named.to_owned()).options();
        Ok(of_manifest.map_or_else(path, TableSource::options))
    }

    /// The JSON Schema (draft 7) of `pipeline.yaml`.
    pub fn schema() -> Value {
        schema::<RawManifest>()
    }
}

/// Marks keys of the manifest that change no result, only how it is made.
const CHANGES_NO_RESULT: &str = "x-changes-no-result";

/// Settings as JSON, without the keys whose schema is marked with [`CHANGES_NO_RESULT`].
///
/// * `settings`: of a type of the manifest.
pub(crate) fn what_changes_results<T: Serialize + JsonSchema>(settings: &T) -> Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(Manifest::schema);

    let properties = &SCHEMA["definitions"][&*T::schema_name()]["properties"];
    let mut settings = serde_json::to_value(settings).expect("settings are plain data");
    let map = settings.as_object_mut().expect("settings are maps");
    map.retain(|key, _| properties[key][CHANGES_NO_RESULT] != true);
    settings
}

/// The JSON Schema (draft 7) of what `T` is written as.
pub fn schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<T>().to_value()
}

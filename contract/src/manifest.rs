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

pub mod depth;
mod environment;
mod file;
mod load;
pub(crate) mod problems;
pub mod query;
mod rules;
pub(crate) mod schema_check;
mod size;
#[cfg(test)]
mod tests;
mod yaml;

pub use load::{is_of_experiment, name_experiments};
pub use size::{MemorySize, ScratchSize};

/// Largest seed: what reads results and what runs queries has signed numbers of 64 bits.
const MAX_SEED: u64 = i64::MAX as u64;

/// Longest name of an experiment, in characters: it is a folder's name and stands in tables.
pub const MAX_NAME: usize = 100;

/// Names that stand for folders of `run_dir` and so cannot name an experiment.
pub const RESERVED_NAMES: [&str; 2] = ["holdout", "report"];

/// `pipeline.yaml` as written.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pipeline.yaml")]
pub struct RawManifest {
    /// Version of this format
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Folder for all results, relative to the manifest
    #[serde(default = "default_run_dir")]
    pub run_dir: PathBuf,
    /// The raw tables and how they become users, interactions and brands
    pub data: Data,
    /// Which users are kept from training, to tune on (valid) and to report on (test)
    #[serde(default)]
    pub holdout: Holdout,
    /// What every experiment starts from
    #[serde(default)]
    pub stages: Stages,
    /// The experiment that all others are compared with; by default the first
    #[serde(default)]
    pub baseline: Option<String>,
    /// By name, what differs from `stages`
    pub experiments: IndexMap<String, Overrides>,
}

fn default_run_dir() -> PathBuf {
    "runs".into()
}

/// The raw tables and how they become users, interactions and brands.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Raw tables by name: parquet, csv, json or arrow; a file, a folder with all its sub-folders, or
    /// a pattern. Folders named `key=value` give a column. `${NAME}` is taken from the environment
    pub tables: IndexMap<String, TableSource>,
    /// One row per user: `user_id`, the feature columns and, if the holdout says so, the split
    pub users: View,
    /// One row per label: `user_id`, `brand_id` and, if there, `events`
    pub interactions: View,
    /// One row per brand: `brand_id`, `name`
    pub brands: View,
    /// Columns of users that a model may read
    #[schemars(length(min = 1))]
    pub features: Vec<FeatureSource>,
    /// Which brands are predicted; by default those with at least one training user
    #[serde(default)]
    pub keep_brands: KeepBrands,
    /// What to do with interactions of users or brands that are not in their tables
    #[serde(default)]
    pub unknown_ids: UnknownIds,
    /// Memory that the views keep within, as `4GiB`; beyond it they work on disk. Changes no result
    #[serde(default)]
    #[schemars(extend("x-changes-no-result" = true))]
    pub memory_limit: MemorySize,
    /// Most that the views keep on disk while they run, as `100GiB`. Changes no result
    #[serde(default)]
    #[schemars(extend("x-changes-no-result" = true))]
    pub scratch_limit: ScratchSize,
}

/// A raw table.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TableSource {
    /// A file, folder or pattern; the format follows from the name
    Path(String),
    /// With options
    Options(TableOptions),
}

/// A raw table with options.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableOptions {
    /// A file, folder or pattern
    pub path: String,
    /// By default as the file's name ends
    #[serde(default)]
    pub format: Option<TableFormat>,
    /// Between the fields of a csv file; by default a comma, or a tab for `.tsv`
    #[serde(default)]
    pub delimiter: Option<String>,
    /// Whether each csv file's first line names its columns
    #[serde(default = "yes")]
    pub header: bool,
    /// Types of columns by name; by default as the values of a csv or json file are, or as the
    /// file itself says
    #[serde(default)]
    pub types: IndexMap<String, ColumnType>,
}

/// Type of a column of a raw table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Text, as it is written: `007` keeps its zeros
    Text,
    /// Whole numbers of 64 bits
    Int,
    /// Numbers
    Float,
    /// true or false
    Bool,
    /// Days, as `2024-07-01`
    Date,
    /// Moments, as `2024-07-01T12:00:00`, without a time zone
    Timestamp,
}

fn yes() -> bool {
    true
}

impl TableSource {
    /// With every option, as given or by default.
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
    /// Separated values
    Csv,
    /// One JSON object a line
    Json,
    /// Arrow IPC file
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
}

/// A query over `data.tables`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlView {
    /// File with one SELECT, relative to the manifest
    pub sql: PathBuf,
}

/// A column of users that a model may read.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum FeatureSource {
    /// A number, a dense vector or a list of ids, as the column's type says
    Column(String),
    /// With options
    Options(FeatureOptions),
}

/// A feature with options.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureOptions {
    /// Column of users
    pub column: String,
    /// What the ids of a list stand for
    #[serde(default)]
    pub ids: IdSpace,
    /// Column of users with a number for each id of the list
    #[serde(default)]
    pub weights: Option<String>,
}

/// What the ids of a list feature stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdSpace {
    /// Small whole numbers of their own
    #[default]
    Own,
    /// Brand ids: a history of brands
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
                FeatureOptions { column: column.clone(), ids: IdSpace::Own, weights: None }
            }
        }
    }
}

/// Which brands are predicted.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum KeepBrands {
    /// Those with enough training users
    MinVolume(MinVolume),
    /// The largest
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
    /// How many brands
    #[schemars(range(min = 1, max = 100_000_000))]
    pub top: u32,
}

impl Default for KeepBrands {
    fn default() -> Self {
        Self::MinVolume(MinVolume { min_volume: 1 })
    }
}

/// What to do with interactions of unknown users or brands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownIds {
    /// Count them, drop them, and say so
    #[default]
    Warn,
    /// Stop
    Error,
}

/// Which users are kept from training.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Holdout {
    /// Column of users that says `train`, `valid` or `test`
    pub column: Option<String>,
    /// A fraction below 1, or at least 2 users; with `column`, taken from its `train` users if no user is `valid`
    #[schemars(range(min = 0.000_001, max = 4_294_967_295_u32))]
    pub valid: f64,
    /// A fraction below 1, or at least 2 users; not used with `column`
    #[schemars(range(min = 0.000_001, max = 4_294_967_295_u32))]
    pub test: f64,
    /// Draws are by hash of the user's id and this seed
    #[schemars(range(max = MAX_SEED))]
    pub seed: u64,
}

impl Default for Holdout {
    fn default() -> Self {
        Self { column: None, valid: 0.1, test: 0.2, seed: 7 }
    }
}

/// What every experiment starts from.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stages {
    /// Draws the training examples
    pub sample: SampleParams,
    /// Trains the model
    pub train: TrainParams,
    /// Turns probabilities into decisions
    pub score: ScoreParams,
    /// Compares the experiments
    pub report: ReportParams,
}

/// An experiment: what differs from `stages`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// Draws the training examples
    pub sample: SampleParams,
    /// Trains the model
    pub train: TrainParams,
    /// Turns probabilities into decisions
    pub score: ScoreParams,
}

/// Draws the training examples.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampleParams {
    /// File with the sampling query, relative to the manifest
    pub sql: Option<PathBuf>,
    /// Values for the query's `$name` placeholders: numbers, texts, or lists of them
    #[schemars(with = "IndexMap<String, PlaceholderValue>")]
    pub params: IndexMap<String, Value>,
    /// Memory that the query keeps within, as `4GiB`; beyond it the query works on disk. Changes no result
    #[schemars(extend("x-changes-no-result" = true))]
    pub memory_limit: MemorySize,
    /// Most that the query keeps on disk while it runs, as `100GiB`. Changes no result
    #[schemars(extend("x-changes-no-result" = true))]
    pub scratch_limit: ScratchSize,
    /// Threads of the query; by default one a core. Changes no result
    #[schemars(range(min = 1, max = 1024), extend("x-changes-no-result" = true))]
    pub threads: Option<usize>,
}

/// What a placeholder of a query can stand for. Only its schema is used: the values stay as written.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "it is there for its schema")]
enum PlaceholderValue {
    One(PlainValue),
    List(#[schemars(length(min = 1))] Vec<PlainValue>),
}

/// A value that is no list.
#[derive(JsonSchema)]
#[schemars(inline, extend("type" = ["number", "string", "boolean", "null"], "minimum" = i64::MIN, "maximum" = i64::MAX))]
struct PlainValue;

/// Trains the model.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainParams {
    /// What kind of model
    pub model: ModelKind,
    /// For `persistence`: the feature with the brands that a user had before
    pub history: Option<String>,
    /// An existing model.arrow to use instead of training one, relative to the manifest
    pub pretrained: Option<PathBuf>,
    /// Which of `data.features` the model reads; by default all
    #[schemars(length(min = 1))]
    pub features: Option<Vec<String>>,
    /// Whether dense features are brought to mean 0 and variance 1
    pub standardise: bool,
    /// Width of each hidden layer; none for a linear model
    #[schemars(length(max = 64))]
    pub hidden: Vec<HiddenWidth>,
    /// What training minimises
    pub loss: Loss,
    /// Weights of the brands in the loss, by their volume; none by default
    pub brand_weights: Option<BrandWeights>,
    /// Share of an auxiliary term in the loss: 1 - soft F1 of each brand in the batch
    #[schemars(range(min = 0.0, max = 100.0))]
    pub soft_f1: f32,
    /// Passes over the examples, at most
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: u32,
    /// Gradient updates, in place of `epochs` and `patience`: as many for a sample of any size, so
    /// that experiments can be compared
    #[schemars(range(min = 1, max = 10_000_000_000_u64))]
    pub updates: Option<u64>,
    /// Which epoch's model is kept, by its figures on the valid users
    pub select_epoch: SelectEpoch,
    /// Training ends after this many epochs without a better one; null for never. Without effect
    /// where `select_epoch` is `last`
    #[schemars(range(min = 1, max = 1_000_000))]
    pub patience: Option<u32>,
    /// Whether the model is trained again, on training and valid users, for the updates that
    /// were found best; thresholds and calibration still come from the first model
    pub refit: bool,
    /// Examples in one gradient update
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch_size: usize,
    /// Step size of Adam after warm-up
    #[schemars(extend("exclusiveMinimum" = 0.0), range(max = 1.0))]
    pub learning_rate: f32,
    /// Fraction of all updates over which the step size grows from zero
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup: f32,
    /// How the step size falls after warm-up
    pub decay: Decay,
    /// Fraction of hidden units left out at random in each update
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f32,
    /// Decoupled weight decay (`AdamW`), per update and unit of learning rate
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub weight_decay: f32,
    /// Feature with the brands that a user had before: each brand's logit gets a direct
    /// weight for the user's own history of it
    pub own_history: Option<String>,
    /// Entries of the output gradient below this share of a user's largest are kept at random
    /// and made larger in proportion, without bias; 0 keeps all, which is slower. Without a
    /// hidden layer all are kept
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sparse_gradient: f32,
    /// Share of a batch's users for whom also the negatives of rare brands are looked at, each then
    /// counted more in proportion, without bias; rare is a brand that fewer than one training user
    /// in a hundred has. 1 looks at all, which is slower. Needs `sparse_gradient`, and no `soft_f1`;
    /// without a hidden layer all are looked at
    #[schemars(range(min = 0.001, max = 1.0))]
    pub negative_sampling: f32,
    /// How many networks are trained, with seeds from `seed` on, and averaged: all of them
    /// together take that many times the updates
    #[schemars(range(min = 1, max = 20))]
    pub members: usize,
    /// Seed of the first weights, the order of examples and dropout
    #[schemars(range(max = MAX_SEED))]
    pub seed: u64,
    /// Threads; by default one a core. Changes no result
    #[schemars(range(min = 1, max = 1024), extend("x-changes-no-result" = true))]
    pub threads: Option<usize>,
    /// Minutes between checkpoints, which a killed training goes on from; there is one after
    /// each longer epoch as well. Changes no result
    #[schemars(range(min = 0.0, max = 1_000_000.0), extend("x-changes-no-result" = true))]
    pub checkpoint_minutes: f64,
}

/// Width of a hidden layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct HiddenWidth(#[schemars(range(min = 1, max = 65_536))] pub usize);

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
            sparse_gradient: 0.05,
            negative_sampling: 1.0,
            members: 1,
            seed: 7,
            threads: None,
            checkpoint_minutes: 5.0,
        }
    }
}

/// Which epoch's model is kept, by its figures on the valid users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SelectEpoch {
    /// The last one's
    Last,
    /// That of the lowest loss
    Loss,
    /// That of the highest macro F1 at each brand's expected-F1 threshold
    MacroF1,
    /// That of the highest mean over brands of average precision
    MeanAveragePrecision,
    /// That of the highest F1 at user level, at the same thresholds
    UserF1,
}

/// Weights of the brands in the loss: a power of their volume.
///
/// Brand `b` of volume `n_b` counts `scale · n_b^-power / mean`, the mean being that of
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
    /// Which cells are weighted; the others count once
    pub on: WeightedCells,
}

fn one() -> f32 {
    1.0
}

/// Which cells of the loss a brand's weight is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WeightedCells {
    /// Those of users who have the brand
    Positives,
    /// Those of all users
    Both,
}

/// What kind of model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// A multi-layer perceptron
    #[default]
    Mlp,
    /// The same for every user: each brand's prevalence among training users
    Popularity,
    /// The brands that the user had before, from the feature named by `history`
    Persistence,
}

/// What training minimises, per user and brand, from logits.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// Binary cross-entropy
    Bce {},
    /// Binary focal cross-entropy (Lin et al. 2017)
    Bfce {
        /// How strongly easy cells are played down; 0 is cross-entropy
        #[serde(default = "two")]
        #[schemars(range(min = 0.0, max = 10.0))]
        gamma: f32,
        /// Weight of positives; negatives count 1 minus it. By default both count once
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
        alpha: Option<f32>,
    },
    /// Mean squared error of the probability
    Mse {},
    /// Asymmetric loss (Ridnik et al. 2021): focal, with a focus of its own for negatives, the
    /// easiest of which are left out
    Asl {
        /// Focus of positives
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 10.0))]
        gamma_positive: f32,
        /// Focus of negatives
        #[serde(default = "four")]
        #[schemars(range(min = 0.0, max = 10.0))]
        gamma_negative: f32,
        /// Negatives of a probability up to this cost nothing
        #[serde(default = "one_twentieth")]
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
        clip: f32,
    },
    /// Binary cross-entropy of the logit plus `tau` times the logit of the brand's prevalence
    /// (Menon et al. 2021)
    LogitAdjusted {
        /// How much of the prevalence is taken out of what the model learns
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
    /// It does not
    None,
    /// In a straight line that reaches zero one update after the last
    Linear,
    /// Along half a cosine that reaches zero one update after the last
    Cosine,
}

/// Turns probabilities into decisions.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreParams {
    /// What is predicted for whom; all that is chosen for it is chosen on the valid users
    pub decision: Decision,
    /// How the model's probabilities are corrected, fitted on the valid users only
    pub calibration: Calibration,
    /// Mixes what the nearest training users have into the model's probabilities
    pub memory: Option<Memory>,
    /// How many of a user's best brands are kept, for ranking metrics
    #[schemars(range(min = 1, max = 1000))]
    pub top_k: usize,
    /// Threads; by default one a core. Changes no result
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

/// What is predicted for whom.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decision {
    /// The same threshold for every brand, given
    Fixed {
        /// A brand is predicted when its probability reaches this
        #[serde(default = "one_half")]
        #[schemars(range(min = 0.0, max = 1.0))]
        threshold: f64,
    },
    /// The same threshold for every brand, the best on valid
    Global {
        /// What it is best for
        #[serde(default)]
        metric: GlobalMetric,
    },
    /// For each brand the best threshold on valid, by trying all (`SCut`), pulled to that of
    /// `expected_f1`
    PerBrand {
        /// Weight of the pull, in positives of the brand; 0 is none, which overfits brands with few
        #[serde(default = "twenty")]
        #[schemars(range(min = 0.0, max = 1_000_000.0))]
        strength: f64,
        /// Whose probabilities the threshold that is pulled to comes from
        #[serde(default)]
        over: ExpectedOver,
    },
    /// For each brand half of the best expected F1, from calibrated probabilities (Lipton et al. 2014)
    ExpectedF1 {
        /// Whose probabilities are expected from; none of their labels are used
        #[serde(default)]
        over: ExpectedOver,
    },
    /// For each brand the threshold that predicts it as often as its probabilities expect (`PCut`)
    ExpectedVolume {
        /// Whose probabilities are expected from; none of their labels are used
        #[serde(default)]
        over: ExpectedOver,
    },
    /// For each user the same number of brands
    TopK {
        /// How many
        #[schemars(range(min = 1, max = 1000))]
        k: usize,
        /// Which brands come first
        #[serde(default)]
        by: TopBy,
    },
    /// What gains most for the mean F1 over brands and that over users, each with its share: a
    /// small brand decides by its own threshold, of a large one the user's list decides
    Gain {
        /// Weight of the mean over brands, the mean over users having the rest: 1 is
        /// `expected_f1`, 0 the best list for each user. By default chosen on valid by `user_loss`
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 1.0))]
        brand_share: Option<f64>,
        /// How much of the best mean F1 over users may be lost for the brands' sake, as a share
        /// of it: the brand share is the largest that loses no more on valid
        #[serde(default = "one_hundredth")]
        #[schemars(range(min = 0.0, max = 1.0))]
        user_loss: f64,
        /// Whose probabilities are expected from; none of their labels are used
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
    /// Those and the users to be scored, without their labels: more of them make a small
    /// brand's threshold steadier, at the cost of a second pass
    Scored,
}

/// Which brands come first in a user's list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TopBy {
    /// Those of the highest probability
    #[default]
    Probability,
    /// Those whose expected F1 gains most from the prediction
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

/// What a global threshold is best for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GlobalMetric {
    /// F1 of the counts summed over brands
    Micro,
    /// Mean of the brands' F1
    #[default]
    Macro,
    /// Mean of the users' F1
    User,
}

/// How the model's probabilities are corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Calibration {
    /// Not at all
    None,
    /// A slope and an intercept per brand, pulled to those of all brands
    Platt,
    /// For brands with at least 100 positives in valid the best curve that never falls; the
    /// others as `platt`
    Isotonic,
    /// From the brand's prevalence in the sample to that among all training users, by
    /// arithmetic: for a sample that changed it
    Prior,
}

/// Mixes what the nearest training users have into the model's probabilities.
///
/// Near is by the cosine of the model's last hidden layer, less its mean. The probability
/// becomes `(1 - weight)·model + weight·mean of the neighbours' labels`, before calibration.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// How many training users are asked
    #[schemars(range(min = 1, max = 10_000))]
    pub neighbours: usize,
    /// A neighbour whose cosine is lower by this counts e times less; null counts all alike
    #[schemars(range(min = 0.0001, max = 1000.0))]
    pub temperature: Option<f32>,
    /// Share of the neighbours; by default the one of least loss on the valid users, for which
    /// the model's probabilities should be honest (`bce`): else the neighbours are overrated
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub weight: Option<f32>,
    /// Whether head, torso and tail each have the weight that is best for them; not with `weight`
    pub by_tier: bool,
    /// Beyond 16,384 training users: of the groups that they are sorted into, the share that is
    /// searched
    #[schemars(extend("exclusiveMinimum" = 0.0), range(max = 1.0))]
    pub search: f32,
}

impl Default for Memory {
    fn default() -> Self {
        Self { neighbours: 200, temperature: Some(0.1), weight: None, by_tier: false, search: 0.03 }
    }
}

/// Compares the experiments.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReportParams {
    /// The report counts the brands that reach each of these F1
    #[schemars(length(max = 20))]
    pub f1_buckets: Vec<F1Bucket>,
    /// Where head and tail begin
    pub tiers: Tiers,
    /// Draws of the paired bootstrap over users
    #[schemars(range(min = 100, max = 100_000))]
    pub bootstrap_draws: usize,
    /// Seed of the bootstrap
    #[schemars(range(max = MAX_SEED))]
    pub seed: u64,
    /// How many of the largest brands are shown one by one
    #[schemars(range(max = 10_000))]
    pub top_brands: usize,
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
    /// Share of all labels that the head holds
    #[schemars(range(min = 0.0, max = 1.0))]
    pub head: f64,
    /// Share of all labels that the tail holds
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
    /// The file it came from
    pub path: PathBuf,
    /// Folder for all results
    pub run_dir: PathBuf,
    /// The raw tables and their views
    pub data: Data,
    /// Which users are kept from training
    pub holdout: Holdout,
    /// How experiments are compared
    pub report: ReportParams,
    /// The experiment that all others are compared with
    pub baseline: String,
    /// What is sound and may still not be what was meant
    pub notes: Vec<Note>,
    experiments: IndexMap<String, Experiment>,
}

/// What a reader should know of a sound manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The sentence, without the experiments
    pub text: String,
    /// Which it is about; none if it is about the manifest as a whole
    pub experiments: Vec<String>,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// Names that a line has room for.
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
    /// As the manifest names it
    pub name: String,
    /// Draws the training examples
    pub sample: SampleParams,
    /// Placeholders that the experiment itself gives, not `stages`
    pub own_params: Vec<String>,
    /// Trains the model
    pub train: TrainParams,
    /// Turns probabilities into decisions
    pub score: ScoreParams,
}

impl Experiment {
    /// Whether the model learns from sampled examples at all.
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

    /// The experiment of this name.
    ///
    /// # Errors
    ///
    /// [`NoSuchExperiment`], with the nearest name.
    pub fn experiment(&self, name: &str) -> Result<&Experiment, NoSuchExperiment> {
        self.experiments.get(name).ok_or_else(|| NoSuchExperiment {
            name: name.to_owned(),
            manifest: self.path.display().to_string(),
            hint: problems::suggest(name, self.experiments.keys().map(String::as_str)),
        })
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

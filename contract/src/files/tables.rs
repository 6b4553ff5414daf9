//! The columns of every table that stages exchange.
//!
//! A table may have more columns than its contract names; features are such columns. A changed
//! contract gets a new version and a line in the changelog.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

/// Name, version and columns of a table.
#[derive(Debug, Clone, Copy)]
pub struct Contract {
    /// Name of the table, written in the file's metadata
    pub name: &'static str,
    /// Version of its columns, written in the file's metadata
    pub version: u32,
    /// Columns that must be there
    pub columns: &'static [Column],
    /// Columns that may be missing; if present, they are checked
    pub optional: &'static [Column],
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name
    pub name: &'static str,
    /// What it holds
    pub kind: Kind,
}

/// What a column holds. Only [`Kind::NullableF64`] may hold nulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A source identifier: `Int64` or `Utf8`
    Id,
    /// `UInt32`
    U32,
    /// `UInt64`
    U64,
    /// `Float32`
    F32,
    /// `Float64`
    F64,
    /// `Float64`, null where undefined
    NullableF64,
    /// `Boolean`
    Bool,
    /// `Utf8`
    Text,
    /// `List<UInt32>`
    ListU32,
    /// `List<Float32>`
    ListF32,
}

impl Column {
    /// The Arrow field; a [`Kind::Id`] is whole numbers.
    pub fn field(&self) -> Field {
        Field::new(self.name, self.kind.data_type(), self.kind.is_nullable())
    }

    /// Nulls of the column in a batch, including those within its lists.
    pub(crate) fn n_nulls(&self, batch: &RecordBatch) -> usize {
        let array = crate::columns::column(batch, self.name);
        let items = array.as_list_opt::<i32>().map_or(0, |list| list.values().null_count());
        array.null_count() + items
    }
}

impl Kind {
    /// Whether it may hold nulls.
    pub fn is_nullable(self) -> bool {
        self == Self::NullableF64
    }

    /// Whether a column of this type satisfies the contract.
    pub fn accepts(self, found: &DataType) -> bool {
        match self {
            Self::Id => matches!(found, DataType::Int64 | DataType::Utf8),
            Self::ListU32 => is_list_of(found, &DataType::UInt32),
            Self::ListF32 => is_list_of(found, &DataType::Float32),
            _ => *found == self.data_type(),
        }
    }

    /// The Arrow type; for [`Kind::Id`] one of its two.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Id => DataType::Int64,
            Self::U32 => DataType::UInt32,
            Self::U64 => DataType::UInt64,
            Self::F32 => DataType::Float32,
            Self::F64 | Self::NullableF64 => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Text => DataType::Utf8,
            Self::ListU32 => DataType::new_list(DataType::UInt32, false),
            Self::ListF32 => DataType::new_list(DataType::Float32, false),
        }
    }

    /// For messages.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Id => "`Int64` or `Utf8`",
            Self::U32 => "`UInt32`",
            Self::U64 => "`UInt64`",
            Self::F32 => "`Float32`",
            Self::F64 | Self::NullableF64 => "`Float64`",
            Self::Bool => "`Boolean`",
            Self::Text => "`Utf8`",
            Self::ListU32 => "`List(UInt32)`",
            Self::ListF32 => "`List(Float32)`",
        }
    }
}

fn is_list_of(found: &DataType, item: &DataType) -> bool {
    matches!(found, DataType::List(field) if field.data_type() == item)
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

/// The predicted brands, largest first. `brand_idx` counts from 0.
pub const BRANDS: Contract = Contract {
    name: "brands",
    version: 1,
    columns: &[
        column("brand_idx", Kind::U32),
        column("brand_id", Kind::Id),
        column("name", Kind::Text),
        column("volume", Kind::U64),
        column("tier", Kind::Text), // head, torso or tail
    ],
    optional: &[],
};

/// Every training user once, in order of `user_id`; then one column a feature. With dates also `as_of`;
/// with several dates of training every user once for each, one date after the other.
pub const FEATURES: Contract = Contract {
    name: "features",
    version: 1,
    columns: &[column("user_id", Kind::Id)],
    optional: &[],
};

/// Training users as the sampling query sees them: the columns that are not features.
pub const TRAIN_USERS: Contract = Contract {
    name: "train_users",
    version: 1,
    columns: &[column("user_id", Kind::Id)],
    optional: &[],
};

/// Labels of training users as the sampling query sees them, in order of `user_row`.
pub const TRAIN_INTERACTIONS: Contract = Contract {
    name: "train_interactions",
    version: 2,
    columns: &[
        column("user_id", Kind::Id),
        column("user_row", Kind::U32), // in features
        column("brand_idx", Kind::U32),
        column("brand_id", Kind::Id),
        column("events", Kind::F64), // 1 where the source has no such column
    ],
    optional: &[],
};

/// Training examples. `user_row` is a row of `features`.
pub const EXAMPLES: Contract = Contract {
    name: "examples",
    version: 1,
    columns: &[
        column("user_row", Kind::U32),
        column("brands", Kind::ListU32),
        column("ignored_brands", Kind::ListU32),
        column("weight", Kind::F32),
        column("is_clone", Kind::Bool),
    ],
    optional: &[],
};

/// Users kept from training, with their labels; then one column a feature.
pub const HOLDOUT: Contract = Contract {
    name: "holdout",
    version: 1,
    columns: &[column("user_id", Kind::Id), column("brands", Kind::ListU32)],
    optional: &[],
};

/// A model's arrays; how they fit together is in the file's metadata.
pub const MODEL: Contract = Contract {
    name: "model",
    version: 1,
    columns: &[
        column("name", Kind::Text),
        column("shape", Kind::ListU32),
        column("data", Kind::ListF32),
    ],
    optional: &[],
};

/// One row per epoch. `rows_per_s` and `secs` differ from run to run.
pub const HISTORY: Contract = Contract {
    name: "history",
    version: 1,
    columns: &[
        column("epoch", Kind::U32),
        column("train_loss", Kind::F64),
        column("valid_loss", Kind::F64),
        column("valid_macro_f1", Kind::NullableF64),
        column("valid_user_f1", Kind::NullableF64),
        column("rows_per_s", Kind::F64),
        column("secs", Kind::F64),
    ],
    optional: &[
        column("valid_map", Kind::NullableF64),
        column("updates", Kind::U64),
        column("member", Kind::U32), // which of the networks that are averaged, from 0
    ],
};

/// Per brand `prob = sigmoid(slope * logit + intercept)`, predicted when `prob >= threshold`.
///
/// A decision may also depend on the user: the policy is in the file's metadata. score-stage adds
/// the columns of [`THRESHOLDS_MORE`] and [`THRESHOLDS_HISTORY`].
pub const THRESHOLDS: Contract = Contract {
    name: "thresholds",
    version: 1,
    columns: &[
        column("brand_idx", Kind::U32),
        column("slope", Kind::F64),
        column("intercept", Kind::F64),
        column("threshold", Kind::F64),
    ],
    optional: &THRESHOLDS_OPTIONAL,
};

const THRESHOLDS_OPTIONAL: [Column; THRESHOLDS_MORE.len() + THRESHOLDS_HISTORY.len()] = {
    let [a, b, c, d, e, f] = THRESHOLDS_MORE;
    let [g, h] = THRESHOLDS_HISTORY;
    [a, b, c, d, e, f, g, h]
};

/// More columns of [`THRESHOLDS`], all or none.
pub const THRESHOLDS_MORE: [Column; 6] = [
    // If there are knots, the curve is linear between them.
    column("knot_logits", Kind::ListF32),
    column("knot_probs", Kind::ListF32),
    column("expected_f1", Kind::F64), // the best that a threshold is expected to reach
    column("expected_predicted", Kind::F64), // share of the users that it predicts
    column("expected_positives", Kind::F64), // share of the users expected to have the brand
    column("memory_weight", Kind::F64), // share of the neighbours in the probability
];

/// More columns of [`THRESHOLDS`], both or none: where the brand is in the user's own history, the
/// logit is first moved to `history_slope * logit + history_intercept`.
pub const THRESHOLDS_HISTORY: [Column; 2] =
    [column("history_slope", Kind::F64), column("history_intercept", Kind::F64)];

/// Training users that serve as neighbours: their vectors on the last hidden layer, and their
/// labels.
pub const MEMORY: Contract = Contract {
    name: "memory",
    version: 1,
    columns: &[column("vector", Kind::ListF32), column("brands", Kind::ListU32)],
    optional: &[],
};

/// The test users in small, so that others can be compared with them: a row for each number that they
/// have, for the most common ids in their lists, and for each brand.
///
/// Its metadata says `n_users`, test users that were looked at, and `n_decided`, all of them.
pub const REFERENCE: Contract = Contract {
    name: "reference",
    version: 1,
    columns: &[
        column("kind", Kind::Text), // value, n_ids, sum_of_weights, has_id or brand
        column("feature", Kind::Text), // empty for a brand
        column("place", Kind::U32), // in a vector; the id; `brand_idx`
        column("mean", Kind::F64),  // of has_id the share of users, of a brand the mean probability
        column("sd", Kind::F64),
        column("predicted", Kind::NullableF64), // of a brand: share of users
        column("edges", Kind::ListF32),         // of bins, each of which holds its upper edge
        column("counts", Kind::ListU32),        // users in each bin, one more than edges
    ],
    optional: &[],
};

/// Decisions for the test users. `top_brands` are the best brands, best first.
pub const SCORES: Contract = Contract {
    name: "scores",
    version: 1,
    columns: &[
        column("user_id", Kind::Id),
        column("labels", Kind::ListU32),
        column("predicted", Kind::ListU32),
        column("top_brands", Kind::ListU32),
        column("top_probs", Kind::ListF32),
    ],
    optional: &[],
};

/// Decisions for users whose labels are unknown.
pub const PREDICTIONS: Contract = Contract {
    name: "predictions",
    version: 1,
    columns: &[
        column("user_id", Kind::Id),
        column("predicted", Kind::ListU32),
        column("top_brands", Kind::ListU32),
        column("top_probs", Kind::ListF32),
    ],
    optional: &[column("predicted_probs", Kind::ListF32)],
};

/// [`PREDICTIONS`] for people and other programs: a row for each user and brand.
pub const PREDICTED_BRANDS: Contract = Contract {
    name: "predicted_brands",
    version: 1,
    columns: &[
        column("user_id", Kind::Id),
        column("brand_id", Kind::Id),
        column("brand_name", Kind::Text),
        column("prob", Kind::F32),
        column("rank", Kind::U32), // of the user's brands, by probability, from 1
    ],
    optional: &[column("is_predicted", Kind::Bool)], // whether the brand reaches its threshold
};

/// As [`PREDICTED_BRANDS`], a row for each user: lists of the same length, best brand first. The lists
/// `brand_ids` and `brand_names` are columns of their own, as ids are numbers or text.
pub const PREDICTED_USERS: Contract = Contract {
    name: "predicted_users",
    version: 1,
    columns: &[column("user_id", Kind::Id), column("probs", Kind::ListF32)],
    optional: &[],
};

/// The users of brands, a row for each brand and user, best first.
pub const AUDIENCE: Contract = Contract {
    name: "audience",
    version: 1,
    columns: &[
        column("brand_id", Kind::Id),
        column("brand_name", Kind::Text),
        column("user_id", Kind::Id),
        column("prob", Kind::F32),
        column("rank", Kind::U32), // of the brand's users, by probability, from 1
    ],
    optional: &[],
};

/// The rows of a query over raw tables that gives users, before their features are made.
pub const RAW_USERS: Contract =
    Contract { name: "raw_users", version: 1, columns: &[], optional: &[] };

/// Users by the logit before calibration. `bin` is one of 1,024 equal steps from -14 to 14, beyond
/// which the first and last hold all; rows of one split, brand and bin add up.
///
/// score-stage adds the columns of [`HISTOGRAM_MORE`], and with them several rows a bin.
pub const HISTOGRAM: Contract = Contract {
    name: "histogram",
    version: 1,
    columns: &[
        column("split", Kind::Text), // valid or test
        column("brand_idx", Kind::U32),
        column("bin", Kind::U32),
        column("positives", Kind::U64),
        column("negatives", Kind::U64),
    ],
    optional: HISTOGRAM_MORE,
};

/// More columns of [`HISTOGRAM`], all or none: where in its bin a row's users lie.
pub const HISTOGRAM_MORE: &[Column] = &[
    column("logit_low", Kind::F32),
    column("logit_high", Kind::F32), // as logit_low if all have the same logit
];

/// Figures on the test users for other decisions from the same probabilities. Only the report shows
/// them; nothing is chosen by them.
pub const TRADE_OFF: Contract = Contract {
    name: "trade_off",
    version: 1,
    columns: &[
        column("kind", Kind::Text), // threshold: one for all brands; brand_share: of policy `gain`
        column("value", Kind::F64),
        column("macro_f1", Kind::NullableF64),
        column("user_f1", Kind::NullableF64),
        column("n_predicted", Kind::U64), // for all users together
    ],
    optional: &[],
};

/// The report's figures per experiment and brand.
pub const PER_BRAND: Contract = Contract {
    name: "per_brand",
    version: 1,
    columns: &[
        column("experiment", Kind::Text),
        column("brand_idx", Kind::U32),
        column("brand_id", Kind::Id),
        column("name", Kind::Text),
        column("volume", Kind::U64),
        column("tier", Kind::Text),
        column("tp", Kind::U64),
        column("fp", Kind::U64),
        column("fn", Kind::U64),
        column("precision", Kind::NullableF64),
        column("recall", Kind::NullableF64),
        column("f1", Kind::NullableF64),
    ],
    optional: &[],
};

impl Contract {
    /// Fields of the columns that must be there.
    pub fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(Column::field).collect()
    }

    /// Fields of all columns, the optional ones last.
    pub fn all_fields(&self) -> Vec<Field> {
        self.columns.iter().chain(self.optional).map(Column::field).collect()
    }

    /// The first column of `found` that violates the contract, if any.
    pub(crate) fn mismatch(&self, found: &Schema) -> Option<String> {
        let is_missing = |column: &&Column| found.field_with_name(column.name).is_err();
        if let Some(column) = self.columns.iter().find(is_missing) {
            let names: Vec<_> = found.fields().iter().map(|f| format!("`{}`", f.name())).collect();
            return Some(format!(
                "column `{}` ({}) is missing; found {}",
                column.name,
                column.kind.describe(),
                names.join(", ")
            ));
        }
        self.columns_of(found).find_map(|column| {
            let field = found.field_with_name(column.name).expect("one of its columns");
            (!column.kind.accepts(field.data_type())).then(|| {
                format!(
                    "column `{}` is `{}`, expected {}",
                    column.name,
                    field.data_type(),
                    column.kind.describe()
                )
            })
        })
    }

    /// The columns of the contract that a table has.
    pub(crate) fn columns_of(&self, found: &Schema) -> impl Iterator<Item = &'static Column> {
        let is_there = |column: &&Column| found.field_with_name(column.name).is_ok();
        self.columns.iter().chain(self.optional).filter(is_there)
    }
}

//! From Arrow tables to plain values. Checks what a table's contract cannot say.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use contract::brands::Tier;
use contract::columns::{ListColumn, f32s, f64s, nullable_f64s, texts, u32s, u64s};
use contract::ids::id_texts;
use contract::ipc::{Error, Table};
use contract::statistics::{LEFT_OUT_KEY, LeftOut};
use contract::tables::{
    BRANDS, Contract, HISTOGRAM, HISTOGRAM_MORE, SCORES, THRESHOLDS, TRADE_OFF,
};
use contract::thresholds::BrandThreshold;
use metrics::{Bin, Curve, Decisions, Histogram, N_STEPS, OwnedLists, Platt, step_centre, step_of};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// The predicted brands, by `brand_idx`: largest first.
pub struct Brands {
    /// By `brand_idx`
    pub list: Vec<Brand>,
    /// The `brand_id` column, by `brand_idx`
    pub ids: ArrayRef,
    /// Labels of brands that are not predicted; `None` if the table does not say
    pub left_out: Option<LeftOut>,
    /// Whether the table says that no valid user has any of them
    pub are_unseen_in_valid: bool,
}

/// One brand.
pub struct Brand {
    /// Source identifier: a whole number or a string
    pub id: Value,
    /// From the user's data, so it may hold any character
    pub name: String,
    /// Distinct training users that have it, before sampling
    pub volume: u64,
    pub tier: Tier,
}

/// One experiment's decisions for the test users.
pub struct Scores {
    /// The `user_id` column
    pub user_ids: ArrayRef,
    /// Per user the brands that they have, ascending
    pub labels: OwnedLists,
    /// Per user the brands that are predicted, ascending
    pub predicted: OwnedLists,
    /// Per user the most probable brands, best first
    pub top_brands: OwnedLists,
}

impl Scores {
    /// Number of test users.
    pub fn n_users(&self) -> usize {
        self.labels.len()
    }

    /// Predictions beside the truth.
    pub fn decisions(&self) -> Decisions<'_> {
        Decisions { labels: self.labels.as_lists(), predicted: self.predicted.as_lists() }
    }
}

/// One pass of training over the examples. Without times, which differ from run to run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "named after the columns of the table")]
pub struct Epoch {
    /// From 1
    pub epoch: u32,
    /// Mean loss over the examples
    pub train_loss: f64,
    /// Mean loss over the valid users
    pub valid_loss: f64,
    /// Item macro F1 on the valid users
    pub valid_macro_f1: Option<f64>,
    /// User F1 on the valid users
    pub valid_user_f1: Option<f64>,
    /// Mean average precision on the valid users
    pub valid_map: Option<f64>,
    /// Gradient updates since the start of training
    pub updates: Option<u64>,
}

/// What another decision would have given the test users.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Alternative {
    /// Which decision
    pub kind: AlternativeKind,
    /// The threshold or the share, between 0 and 1
    pub value: f64,
    /// Item macro F1
    pub macro_f1: Option<f64>,
    /// Mean over users with a label
    pub user_f1: Option<f64>,
    /// Predictions for all test users together
    pub n_predicted: u64,
}

/// A kind of decision with one number to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlternativeKind {
    /// One threshold for all brands
    Threshold,
    /// The policy `gain` with this brand share
    BrandShare,
}

impl AlternativeKind {
    /// The kind of this name in `trade_off.arrow`.
    fn named(name: &str) -> Option<Self> {
        match name {
            "threshold" => Some(Self::Threshold),
            "brand_share" => Some(Self::BrandShare),
            _ => None,
        }
    }
}

/// `brands.arrow`.
///
/// # Errors
///
/// [`Error::Broken`] if a tier is unknown or the brands are not numbered from 0.
pub fn brands(table: &Table) -> Result<Brands, Error> {
    let ids = whole(table, &BRANDS, "brand_id")?;
    let mut list = Vec::with_capacity(ids.len());
    for batch in &table.batches {
        let (numbers, names) = (u32s(batch, "brand_idx"), texts(batch, "name"));
        let (volumes, tiers) = (u64s(batch, "volume"), texts(batch, "tier"));
        for row in 0..batch.num_rows() {
            let brand_idx = list.len();
            if numbers[row] as usize != brand_idx {
                let found =
                    format!("row {brand_idx} is brand {}, expected {brand_idx}", numbers[row]);
                return Err(table.broken(&BRANDS, found));
            }
            let tier = tiers.value(row);
            let Some(tier) = Tier::named(tier) else {
                let found = format!("row {brand_idx}: tier `{tier}`, expected head, torso or tail");
                return Err(table.broken(&BRANDS, found));
            };
            let name = names.value(row).to_owned();
            list.push(Brand { id: id_value(&ids, brand_idx), name, volume: volumes[row], tier });
        }
    }
    let left_out = table.metadata(LEFT_OUT_KEY).and_then(|text| serde_json::from_str(text).ok());
    let without = table.metadata("n_brands_without_positives_in_valid");
    let are_unseen_in_valid = without.and_then(|n| n.parse().ok()) == Some(list.len());
    Ok(Brands { list, ids, left_out, are_unseen_in_valid })
}

/// `scores.arrow`.
///
/// # Errors
///
/// [`Error::Broken`] if a brand is not below `n_brands`, or `labels` or `predicted` do not ascend.
pub fn scores(table: &Table, n_brands: usize) -> Result<Scores, Error> {
    Ok(Scores {
        user_ids: whole(table, &SCORES, "user_id")?,
        labels: user_lists(table, "labels", n_brands, true)?,
        predicted: user_lists(table, "predicted", n_brands, true)?,
        top_brands: user_lists(table, "top_brands", n_brands, false)?,
    })
}

/// The rows of `histogram.arrow` for one split. Without `logit_low` and `logit_high`, all users
/// of a bin count as if their logit were its centre.
///
/// # Errors
///
/// [`Error::Broken`] if a brand or a bin is out of range, or a logit does not lie in its bin.
pub fn histogram(table: &Table, split: &str, n_brands: usize) -> Result<Histogram, Error> {
    let mut bins: Vec<Vec<Bin>> = vec![Vec::new(); n_brands];
    for batch in &table.batches {
        let (splits, brands, steps) =
            (texts(batch, "split"), u32s(batch, "brand_idx"), u32s(batch, "bin"));
        let (with, without) = (u64s(batch, "positives"), u64s(batch, "negatives"));
        let logits = has_logits(table, batch)?
            .then(|| (f32s(batch, "logit_low"), f32s(batch, "logit_high")));
        for row in (0..batch.num_rows()).filter(|&row| splits.value(row) == split) {
            let (brand_idx, step) = (brands[row] as usize, steps[row] as usize);
            if brand_idx >= n_brands || step >= N_STEPS {
                let found = format!(
                    "bin {step} of brand {brand_idx}, expected bins below {N_STEPS} of {n_brands} brands"
                );
                return Err(table.broken(&HISTOGRAM, found));
            }
            let centre = step_centre(step);
            let (low, high) = logits.map_or((centre, centre), |(low, high)| (low[row], high[row]));
            if !(low <= high && step_of(low) == step && step_of(high) == step) {
                let found = format!(
                    "logits from {low} to {high} in bin {step} of brand {brand_idx}, expected logits of that bin, the lowest first"
                );
                return Err(table.broken(&HISTOGRAM, found));
            }
            let (positives, negatives) = (with[row], without[row]);
            if positives > 0 || negatives > 0 {
                bins[brand_idx].push(Bin { low, high, positives, negatives });
            }
        }
    }
    Ok(Histogram::from_bins(bins))
}

/// Whether a histogram has the optional columns of [`HISTOGRAM_MORE`].
fn has_logits(table: &Table, batch: &RecordBatch) -> Result<bool, Error> {
    let mut n_found = 0;
    for column in HISTOGRAM_MORE {
        let Some(array) = batch.column_by_name(column.name) else { continue };
        if !column.kind.accepts(array.data_type()) || array.null_count() > 0 {
            let found = format!(
                "column `{}` is `{}` with {} nulls, expected {} without",
                column.name,
                array.data_type(),
                array.null_count(),
                column.kind.describe()
            );
            return Err(table.broken(&HISTOGRAM, found));
        }
        n_found += 1;
    }
    if n_found == 1 {
        let found = "one of the columns `logit_low` and `logit_high`, expected both or none";
        return Err(table.broken(&HISTOGRAM, found));
    }
    Ok(n_found > 0)
}

/// How an experiment decides about a brand.
pub struct Threshold {
    /// From logits to probabilities
    pub curve: Curve,
    /// The probability from which it is predicted
    pub prob: f64,
}

/// `thresholds.arrow`, by `brand_idx`.
///
/// # Errors
///
/// [`Error::Broken`] if there is not one row for each brand, in order, if a value is out of range, or
/// if the thresholds were fitted for other brands.
pub fn thresholds(table: &Table, brands: &Brands) -> Result<Vec<Threshold>, Error> {
    let n_brands = brands.list.len();
    contract::thresholds::check_brands(table, &id_texts(&*brands.ids))?;
    let rows = contract::thresholds::rows(table)?;
    if rows.len() != n_brands {
        let found = format!("{} rows, expected one for each of {n_brands} brands", rows.len());
        return Err(table.broken(&THRESHOLDS, found));
    }
    let threshold = |row: BrandThreshold| {
        let platt = Platt { slope: row.slope, intercept: row.intercept };
        let (logits, probs) =
            row.more.map(|more| (more.knot_logits, more.knot_probs)).unwrap_or_default();
        let curve = Curve::from_parts(platt, logits, probs)?;
        Some(Threshold { curve, prob: row.threshold })
    };
    let all: Option<Vec<Threshold>> = rows.into_iter().map(threshold).collect();
    all.ok_or_else(|| {
        table.broken(&THRESHOLDS, "the knots of a calibration curve do not form a rising curve")
    })
}

/// `history.arrow`.
pub fn history(table: &Table) -> Vec<Epoch> {
    let mut epochs = Vec::new();
    for batch in &table.batches {
        let (macro_f1, user_f1) =
            (nullable_f64s(batch, "valid_macro_f1"), nullable_f64s(batch, "valid_user_f1"));
        // Of networks that are averaged, the first stands for all.
        let member = batch.column_by_name("member").map(|_| u32s(batch, "member"));
        let is_shown = |&row: &usize| member.is_none_or(|member| member[row] == 0);
        let has = |name: &str| batch.column_by_name(name).is_some();
        let map = has("valid_map").then(|| nullable_f64s(batch, "valid_map"));
        let updates = has("updates").then(|| u64s(batch, "updates"));
        for row in (0..batch.num_rows()).filter(is_shown) {
            epochs.push(Epoch {
                epoch: u32s(batch, "epoch")[row],
                train_loss: f64s(batch, "train_loss")[row],
                valid_loss: f64s(batch, "valid_loss")[row],
                valid_macro_f1: macro_f1[row],
                valid_user_f1: user_f1[row],
                valid_map: map.as_ref().and_then(|map| map[row]),
                updates: updates.map(|updates| updates[row]),
            });
        }
    }
    epochs
}

/// `trade_off.arrow`.
///
/// # Errors
///
/// [`Error::Broken`] if a kind is not known.
pub fn trade_off(table: &Table) -> Result<Vec<Alternative>, Error> {
    let mut alternatives = Vec::new();
    for batch in &table.batches {
        let (kinds, values) = (texts(batch, "kind"), f64s(batch, "value"));
        let macro_f1 = nullable_f64s(batch, "macro_f1");
        let user_f1 = nullable_f64s(batch, "user_f1");
        let n_predicted = u64s(batch, "n_predicted");
        for row in 0..batch.num_rows() {
            let kind = kinds.value(row);
            let Some(kind) = AlternativeKind::named(kind) else {
                let found = format!("kind `{kind}`, expected `threshold` or `brand_share`");
                return Err(table.broken(&TRADE_OFF, found));
            };
            alternatives.push(Alternative {
                kind,
                value: values[row],
                macro_f1: macro_f1[row],
                user_f1: user_f1[row],
                n_predicted: n_predicted[row],
            });
        }
    }
    Ok(alternatives)
}

/// A list column of `scores.arrow`.
fn user_lists(
    table: &Table,
    name: &'static str,
    n_brands: usize,
    ascends: bool,
) -> Result<OwnedLists, Error> {
    let column = ListColumn::of(&table.batches, name);
    column.check_brands(n_brands).map_err(|found| table.broken(&SCORES, found))?;
    let is_in_order = |list: &&[u32]| list.is_sorted_by(|a, b| a < b);
    if let Some(row) = column.iter().position(|list| ascends && !is_in_order(&list)) {
        let found =
            format!("row {row}: `{name}` does not ascend, expected each brand once, in order");
        return Err(table.broken(&SCORES, found));
    }
    Ok(column.iter().collect())
}

fn whole(table: &Table, contract: &Contract, name: &str) -> Result<ArrayRef, Error> {
    table
        .whole_column(name)
        .map_err(|err| table.broken(contract, format!("column `{name}`: {err}")))
}

fn id_value(ids: &ArrayRef, row: usize) -> Value {
    match ids.data_type() {
        DataType::Int64 => ids.as_primitive::<Int64Type>().value(row).into(),
        _ => ids.as_string::<i32>().value(row).into(),
    }
}

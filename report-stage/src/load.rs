//! Tables as read, to plain values; what a table's contract cannot say is checked here.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use contract::brands::Tier;
use contract::columns::{f32s, f64s, nullable_f64s, texts, u32_lists, u32s, u64s};
use contract::ids::id_texts;
use contract::ipc::{Error, Table};
use contract::statistics::{LEFT_OUT_KEY, LeftOut};
use contract::tables::{BRANDS, Contract, HISTOGRAM, HISTOGRAM_MORE, SCORES, THRESHOLDS};
use contract::thresholds::BrandThreshold;
use metrics::{Bin, Curve, Decisions, Histogram, Lists, N_STEPS, Platt, step_centre, step_of};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// The predicted brands, by `brand_idx`: largest first.
pub struct Brands {
    /// One a brand
    pub list: Vec<Brand>,
    /// The `brand_id` column, for the table of figures per brand
    pub ids: ArrayRef,
    /// Labels of brands that are not predicted; `None` if the table does not say
    pub left_out: Option<LeftOut>,
    /// Whether the table says that no valid user has any of them
    pub are_unseen_in_valid: bool,
}

/// One brand.
pub struct Brand {
    /// Source identifier, a number or a text
    pub id: Value,
    /// As the data call it: any text
    pub name: String,
    /// Distinct training users that have it, before sampling
    pub volume: u64,
    /// By volume
    pub tier: Tier,
}

/// One experiment's decisions for the test users.
pub struct Scores {
    /// The `user_id` column
    pub user_ids: ArrayRef,
    /// Per user the brands that it has, ascending
    pub labels: UserLists,
    /// Per user the brands that are predicted, ascending
    pub predicted: UserLists,
    /// Per user the most probable brands, best first
    pub top_brands: UserLists,
}

impl Scores {
    /// Number of test users.
    pub fn n_users(&self) -> usize {
        self.labels.lists().len()
    }

    /// Predictions beside the truth.
    pub fn decisions(&self) -> Decisions<'_> {
        Decisions { labels: self.labels.lists(), predicted: self.predicted.lists() }
    }
}

/// Lists of `brand_idx`, one a user.
#[derive(Default, PartialEq)]
pub struct UserLists {
    offsets: Vec<usize>,
    values: Vec<u32>,
}

impl UserLists {
    /// As the metrics read them.
    pub fn lists(&self) -> Lists<'_> {
        Lists { offsets: &self.offsets, values: &self.values }
    }

    /// Adds a user.
    pub fn push(&mut self, list: &[u32]) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.values.extend_from_slice(list);
        self.offsets.push(self.values.len());
    }
}

/// One pass of training over the examples. Timings are left out: they differ from run to run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "the columns are called so")]
pub struct Epoch {
    /// From 1
    pub epoch: u32,
    /// Mean loss of the examples
    pub train_loss: f64,
    /// Mean loss of the valid users
    pub valid_loss: f64,
    /// Item macro F1 on the valid users
    pub valid_macro_f1: Option<f64>,
    /// User F1 on the valid users
    pub valid_user_f1: Option<f64>,
    /// Mean average precision on the valid users
    pub valid_map: Option<f64>,
    /// Gradient updates so far
    pub updates: Option<u64>,
}

/// What a decision that was not taken would have given.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Alternative {
    /// `threshold`, one for all brands, or `brand_share`, of policy `gain`
    pub kind: String,
    /// The threshold or the share
    pub value: f64,
    /// Item macro F1
    pub macro_f1: Option<f64>,
    /// Mean over users with a label
    pub user_f1: Option<f64>,
    /// For all test users together
    pub n_predicted: u64,
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

/// The test users' part of `histogram.arrow`; without `logit_low` and `logit_high`, all users of a
/// bin count as if their logit were its centre.
///
/// # Errors
///
/// [`Error::Broken`] if a brand or a bin is out of range, or logits are not those of their bin.
pub fn test_histogram(table: &Table, n_brands: usize) -> Result<Histogram, Error> {
    let mut bins: Vec<Vec<Bin>> = vec![Vec::new(); n_brands];
    for batch in &table.batches {
        let (splits, brands, steps) =
            (texts(batch, "split"), u32s(batch, "brand_idx"), u32s(batch, "bin"));
        let (with, without) = (u64s(batch, "positives"), u64s(batch, "negatives"));
        let logits = has_logits(table, batch)?
            .then(|| (f32s(batch, "logit_low"), f32s(batch, "logit_high")));
        for row in (0..batch.num_rows()).filter(|&row| splits.value(row) == "test") {
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

/// Whether a histogram has the columns of [`HISTOGRAM_MORE`].
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
/// [`Error::Broken`] if there is not one row a brand, in order, a value cannot be, or they are of
/// other brands.
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
    all.ok_or_else(|| table.broken(&THRESHOLDS, "its knots are no curve"))
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
pub fn trade_off(table: &Table) -> Vec<Alternative> {
    let mut alternatives = Vec::new();
    for batch in &table.batches {
        let (kinds, values) = (texts(batch, "kind"), f64s(batch, "value"));
        let macro_f1 = nullable_f64s(batch, "macro_f1");
        let user_f1 = nullable_f64s(batch, "user_f1");
        let n_predicted = u64s(batch, "n_predicted");
        alternatives.extend((0..batch.num_rows()).map(|row| Alternative {
            kind: kinds.value(row).to_owned(),
            value: values[row],
            macro_f1: macro_f1[row],
            user_f1: user_f1[row],
            n_predicted: n_predicted[row],
        }));
    }
    alternatives
}

fn user_lists(
    table: &Table,
    name: &str,
    n_brands: usize,
    ascends: bool,
) -> Result<UserLists, Error> {
    let mut lists = UserLists { offsets: vec![0], values: Vec::new() };
    for batch in &table.batches {
        for list in u32_lists(batch, name).iter() {
            let row = lists.offsets.len() - 1;
            if let Some(brand) = list.iter().find(|&&brand| brand as usize >= n_brands) {
                let found = format!(
                    "`{name}` of row {row} has brand {brand}, expected one of {n_brands} brands"
                );
                return Err(table.broken(&SCORES, found));
            }
            if ascends && !list.is_sorted_by(|a, b| a < b) {
                let found = format!(
                    "`{name}` of row {row} does not ascend, expected each brand once, in order"
                );
                return Err(table.broken(&SCORES, found));
            }
            lists.push(list);
        }
    }
    Ok(lists)
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

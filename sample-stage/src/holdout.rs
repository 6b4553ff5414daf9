//! Raw tables -> the files that all experiments share.
//!
//! `brands`, `features` and the training tables that a sampling query sees hold training
//! users only; `valid` and `test` hold the others, with their labels.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::columns::ListBuilder;
use contract::exit::DataError;
use contract::ids::{self, IdIndex, IdKind};
use contract::ipc::Writer;
use contract::manifest::{Holdout, KeepBrands, Manifest, Tiers};
use contract::run::StageRun;
use contract::scratch::Scratch;
use contract::source_features::{self, BrandPositions, BrandsSeen, FeatureColumn};
use contract::statistics::{LEFT_OUT_KEY, LeftOut};
use contract::words::{count, plural};
use contract::{record::Record, tables, warn_line};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array,
    UInt64Array,
};
use datafusion::arrow::compute::{cast, concat, filter_record_batch, sort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{ColumnarValue, Volatility, col, create_udf, ident};
use futures::StreamExt as _;
use serde_json::json;

use crate::draw::{HOLDOUT_DRAW, hashes};
use crate::labels::{self, Label};
use crate::raw::RawTables;
use crate::{heap, session};
use contract::brands::Tier;

/// What a user is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Train,
    Valid,
    Test,
}

/// Makes the shared files; returns the stage's record.
///
/// # Errors
///
/// Data that is not what the manifest says, by table, column and first offending value.
pub async fn run(manifest: &Manifest, mut stage: StageRun) -> Result<Record> {
    let data = &manifest.data;
    let scratch = Scratch::create(&stage.plan.dir)?;
    heap::bound(
        session::heap_bound(data.memory_limit.bytes()),
        "the views need more memory than `data.memory_limit` allows\n\
         hint: raise the limit, or make the views smaller",
    );
    let raw = RawTables::open(session::for_views(data, scratch.path())?, data)?;
    let users = raw.view(&data.users).await.context("users")?;
    source_features::check_present(&data.features, users.schema().as_arrow())?;
    let column = manifest.holdout.column.as_deref();
    let sorted = sorted_ids(&raw, users.clone(), "users", "user_id", column).await?;
    let splits = split_users(&sorted.ids, sorted.other.as_ref(), &manifest.holdout)?;
    let SortedIds { ids: user_ids, index: user_index, .. } = sorted;
    let users = with_stored_ids(users, "user_id", user_ids.data_type())?;

    let brand_frame = raw.view(&data.brands).await.context("brands")?;
    let (sorted, brand_names) = read_brands(&raw, brand_frame).await?;
    let SortedIds { ids: brand_ids, index: brand_index, .. } = sorted;

    let interactions = raw.view(&data.interactions).await.context("interactions")?;
    let read = labels::read(&raw, interactions, &user_index, &brand_index).await?;
    read.report(data.unknown_ids)?;
    let labels = read.labels;

    let volumes = count_volumes(&labels, &splits, brand_ids.len());
    let order = keep_brands(&volumes, data.keep_brands)?;
    let mut kept = vec![None; brand_ids.len()];
    for (brand_idx, &brand) in order.iter().enumerate() {
        kept[brand as usize] = Some(brand_idx as u32);
    }
    let left_out = count_left_out(&labels, &splits, &volumes, &kept);
    if let Some(message) = left_out.message() {
        warn_line!("warning: interactions: {message}");
    }
    let labels: Vec<Label> = labels
        .into_iter()
        .filter_map(|label| Some(Label { brand: kept[label.brand as usize]?, ..label }))
        .collect();
    let brands = Brands::new(&brand_ids, &brand_names, &volumes, &order, manifest.report.tiers)?;
    let n_train = splits.iter().filter(|&&split| split == Split::Train).count();
    let without = brands_without(&labels, &splits, order.len());
    if without[0] == order.len() {
        warn_line!(
            "warning: no valid user has a predicted brand: what is chosen on valid means nothing"
        );
    }
    brands.write(&mut stage, n_train, without, &left_out)?;
    write_interactions(&mut stage, &user_ids, &brands, &labels, &splits)?;
    let positions = BrandPositions { ids: brand_index, kept };
    write_users(&raw, &mut stage, manifest, users, &splits, &labels, &positions).await?;

    let count = |split| splits.iter().filter(|&&other| other == split).count();
    let summary = json!({
        "n_train": n_train, "n_valid": count(Split::Valid), "n_test": count(Split::Test),
        "n_brands": order.len(), "n_labels": labels.len(),
        "n_brands_without_positives": {"valid": without[0], "test": without[1]},
        "unknown_users": read.unknown_users.count, "unknown_brands": read.unknown_brands.count,
        "n_rows_of_no_event": read.n_no_event,
        "left_out": left_out,
    });
    Ok(stage.done(summary)?)
}

/// A frame whose id column is as it is between stages, `Int64` or `Utf8`.
fn with_stored_ids(frame: DataFrame, column: &str, to: &DataType) -> Result<DataFrame> {
    let found = frame.schema().field_with_unqualified_name(column)?.data_type().clone();
    if found == *to {
        return Ok(frame);
    }
    let stored = to.clone();
    let convert = move |arguments: &[ColumnarValue]| {
        let ids = ColumnarValue::values_to_arrays(arguments)?.swap_remove(0);
        let ids = ids::convert(&ids, &stored);
        Ok(ColumnarValue::Array(ids.map_err(|err| DataFusionError::External(err.into()))?))
    };
    let stored_id =
        create_udf("stored_id", vec![found], to.clone(), Volatility::Immutable, Arc::new(convert));
    Ok(frame.with_column(column, stored_id.call(vec![ident(column)]))?)
}

pub(crate) fn column_type(
    schema: &Schema,
    table: &str,
    column: &str,
) -> Result<DataType, DataError> {
    let field = schema.field_with_name(column).map_err(|_| {
        let found: Vec<_> = schema.fields().iter().map(|f| format!("`{}`", f.name())).collect();
        DataError(format!("{table}: column `{column}` is missing; found {}", found.join(", ")))
    })?;
    Ok(field.data_type().clone())
}

/// All ids of a table, sorted, none twice, with another column.
struct SortedIds {
    ids: ArrayRef,
    /// In the order of the ids
    other: Option<StringArray>,
    index: IdIndex,
}

/// Reads `column` and, as text, `other`; no id may be null or appear twice.
async fn sorted_ids(
    raw: &RawTables,
    frame: DataFrame,
    table: &str,
    column: &str,
    other: Option<&str>,
) -> Result<SortedIds> {
    let schema = frame.schema().as_arrow().clone();
    let found = column_type(&schema, table, column)?;
    if found != DataType::Null {
        IdKind::of(&found).map_err(|err| raw.bad_ids(table, column, &err))?;
    }
    let mut wanted = vec![ident(column)];
    if let Some(other) = other {
        column_type(&schema, table, other)?;
        wanted.push(ident(other));
    }
    let batches = raw.collect(frame.select(wanted)?, table).await?;
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        return Err(DataError(format!("{table}: there is no row")).into());
    }
    let parts: Vec<&ArrayRef> = batches.iter().map(|batch| batch.column(0)).collect();
    let all = ids::whole(&parts).map_err(|err| err.at(table, column))?;
    let order = sort_to_indices(&all, None, None)?;
    let ids = take(&all, &order, None)?;
    let index = ids::index(table, column, &ids, found)?;
    let other = match other {
        Some(_) => {
            let others: Vec<ArrayRef> = batches
                .iter()
                .map(|batch| cast(batch.column(1), &DataType::Utf8))
                .collect::<Result<_, _>>()?;
            let others: Vec<&dyn Array> = others.iter().map(AsRef::as_ref).collect();
            Some(take(&concat(&others)?, &order, None)?.as_string::<i32>().clone())
        }
        None => None,
    };
    Ok(SortedIds { ids, other, index })
}

/// What each user is kept for, in order of the ids.
///
/// * `names`: the column that says it, if there is one.
fn split_users(
    ids: &ArrayRef,
    names: Option<&StringArray>,
    holdout: &Holdout,
) -> Result<Vec<Split>> {
    let mut splits = vec![Split::Train; ids.len()];
    if let (Some(column), Some(names)) = (&holdout.column, names) {
        for (row, name) in names.iter().enumerate() {
            splits[row] = match name {
                Some("train") => Split::Train,
                Some("valid") => Split::Valid,
                Some("test") => Split::Test,
                other => {
                    let id = ids::shown(ids, row);
                    let found = other.map_or("null".to_owned(), |other| format!("`{other}`"));
                    return Err(DataError(format!(
                        "users: column `{column}`: user {id}: found {found}, expected `train`, `valid` or `test`"
                    )).into());
                }
            };
        }
    }
    // Users in order of their draw: the first go to test, the next to valid.
    let draws = hashes(ids, holdout.seed as i64, HOLDOUT_DRAW);
    let mut drawn: Vec<u32> =
        (0..ids.len() as u32).filter(|&row| splits[row as usize] == Split::Train).collect();
    drawn.sort_by_key(|&row| (draws[row as usize], row));
    let n = drawn.len() as f64;
    let number = |amount: f64| if amount < 1.0 { (amount * n).round() } else { amount } as usize;
    let n_test = if holdout.column.is_some() { 0 } else { number(holdout.test) };
    let n_valid = if splits.contains(&Split::Valid) { 0 } else { number(holdout.valid) };
    if drawn.is_empty()
        && let Some(column) = &holdout.column
    {
        let message = format!("users: column `{column}` says `train` of no user");
        return Err(DataError(message).into());
    }
    if n_test.saturating_add(n_valid) >= drawn.len() {
        return Err(DataError(format!(
            "users: {} users cannot give {n_valid} to valid and {n_test} to test and leave one to train on; \
             make `holdout` smaller", drawn.len()
        )).into());
    }
    for (i, &row) in drawn[..n_test + n_valid].iter().enumerate() {
        splits[row as usize] = if i < n_test { Split::Test } else { Split::Valid };
    }
    for (split, name) in [(Split::Train, "train"), (Split::Valid, "valid"), (Split::Test, "test")] {
        if !splits.contains(&split) {
            let remedy = match &holdout.column {
                Some(column) => format!("column `{column}` says `{name}` of none"),
                None => "make `holdout` larger".to_owned(),
            };
            let message = format!("users: no user is kept for {name}; {remedy}");
            return Err(DataError(message).into());
        }
    }
    Ok(splits)
}

/// Ids and names of all brands, in order of the ids.
async fn read_brands(raw: &RawTables, frame: DataFrame) -> Result<(SortedIds, StringArray)> {
    raw.warn_of_unused("brands", &frame, &["brand_id", "name"]);
    let sorted = sorted_ids(raw, frame, "brands", "brand_id", Some("name")).await?;
    let as_text = cast(&sorted.ids, &DataType::Utf8)?;
    // A brand without a name goes by its id.
    let names = sorted.other.iter().flatten().zip(as_text.as_string::<i32>());
    let names = names.map(|(name, id)| name.or(id)).collect();
    Ok((sorted, names))
}

fn count_volumes(labels: &[Label], splits: &[Split], n_brands: usize) -> Vec<u64> {
    let mut volumes = vec![0; n_brands];
    for label in labels.iter().filter(|label| splits[label.user as usize] == Split::Train) {
        volumes[label.brand as usize] += 1;
    }
    volumes
}

/// The brands to predict, largest first, ties in order of their id.
fn keep_brands(volumes: &[u64], keep: KeepBrands) -> Result<Vec<u32>, DataError> {
    let mut order: Vec<u32> = (0..volumes.len() as u32).collect();
    order.sort_by_key(|&brand| (std::cmp::Reverse(volumes[brand as usize]), brand));
    match keep {
        KeepBrands::MinVolume(rule) => {
            order.retain(|&brand| volumes[brand as usize] >= rule.min_volume);
        }
        KeepBrands::Top(rule) => order.truncate(rule.top as usize),
    }
    let largest = volumes.iter().max().copied().unwrap_or(0);
    if largest == 0 {
        return Err(DataError(
            "interactions: no training user has any brand; check that `user_id` and `brand_id` \
             of interactions are those of users and brands"
                .to_owned(),
        ));
    }
    if order.is_empty() {
        return Err(DataError(format!(
            "`data.keep_brands` keeps no brand: the largest has {largest} training users"
        )));
    }
    Ok(order)
}

/// Labels of brands that are not kept.
///
/// * `kept`: `brand_idx` of each brand, if it is kept.
fn count_left_out(
    labels: &[Label],
    splits: &[Split],
    volumes: &[u64],
    kept: &[Option<u32>],
) -> LeftOut {
    let mut left_out = LeftOut::default();
    let mut is_counted = vec![false; kept.len()];
    for label in labels.iter().filter(|label| kept[label.brand as usize].is_none()) {
        let brand = label.brand as usize;
        let of_kind = if volumes[brand] == 0 {
            &mut left_out.without_training_users
        } else {
            &mut left_out.not_kept
        };
        of_kind.brands += u64::from(!std::mem::replace(&mut is_counted[brand], true));
        match splits[label.user as usize] {
            Split::Train => of_kind.train += 1,
            Split::Valid => of_kind.valid += 1,
            Split::Test => of_kind.test += 1,
        }
    }
    left_out
}

/// Number of brands without a positive in valid and in test.
fn brands_without(labels: &[Label], splits: &[Split], n_brands: usize) -> [usize; 2] {
    [Split::Valid, Split::Test].map(|split| {
        let held = labels.iter().filter(|label| splits[label.user as usize] == split);
        n_brands - held.map(|label| label.brand).collect::<HashSet<_>>().len()
    })
}

/// The kept brands, in order of `brand_idx`.
struct Brands {
    ids: ArrayRef,
    names: ArrayRef,
    volumes: Vec<u64>,
    tiers: Vec<Tier>,
}

impl Brands {
    fn new(
        ids: &ArrayRef,
        names: &StringArray,
        volumes: &[u64],
        order: &[u32],
        tiers: Tiers,
    ) -> Result<Self> {
        let order = UInt32Array::from(order.to_vec());
        let volumes: Vec<u64> =
            order.values().iter().map(|&brand| volumes[brand as usize]).collect();
        Ok(Self {
            ids: take(ids, &order, None)?,
            names: take(names, &order, None)?,
            tiers: tiers_of(&volumes, tiers),
            volumes,
        })
    }

    fn write(
        &self,
        stage: &mut StageRun,
        n_train: usize,
        without: [usize; 2],
        left_out: &LeftOut,
    ) -> Result<()> {
        let fields = vec![
            Field::new("brand_idx", DataType::UInt32, false),
            Field::new("brand_id", self.ids.data_type().clone(), false),
            Field::new("name", DataType::Utf8, false),
            Field::new("volume", DataType::UInt64, false),
            Field::new("tier", DataType::Utf8, false),
        ];
        let metadata = HashMap::from([
            ("n_train_users".to_owned(), n_train.to_string()),
            ("n_brands_without_positives_in_valid".to_owned(), without[0].to_string()),
            ("n_brands_without_positives_in_test".to_owned(), without[1].to_string()),
            (LEFT_OUT_KEY.to_owned(), json!(left_out).to_string()),
        ]);
        let mut writer = stage.writer_with("brands.arrow", &tables::BRANDS, fields, metadata)?;
        writer.write(vec![
            Arc::new(UInt32Array::from_iter_values(0..self.volumes.len() as u32)),
            self.ids.clone(),
            self.names.clone(),
            Arc::new(UInt64Array::from(self.volumes.clone())),
            Arc::new(StringArray::from_iter_values(self.tiers.iter().map(|tier| tier.name()))),
        ])?;
        stage.add(writer.finish()?);
        Ok(())
    }
}

/// Tier of each brand; `volumes` fall.
fn tiers_of(volumes: &[u64], tiers: Tiers) -> Vec<Tier> {
    let total: u64 = volumes.iter().sum();
    let mut before = 0; // labels of all larger brands
    volumes
        .iter()
        .map(|&volume| {
            let (start, end) = (before as f64, (before + volume) as f64);
            before += volume;
            if start < tiers.head * total as f64 {
                Tier::Head
            } else if end > (1.0 - tiers.tail) * total as f64 {
                Tier::Tail
            } else {
                Tier::Torso
            }
        })
        .collect()
}

/// Labels of training users, in rows a sampling query can read.
fn write_interactions(
    stage: &mut StageRun,
    user_ids: &ArrayRef,
    brands: &Brands,
    labels: &[Label],
    splits: &[Split],
) -> Result<()> {
    let fields = vec![
        Field::new("user_id", user_ids.data_type().clone(), false),
        Field::new("user_row", DataType::UInt32, false),
        Field::new("brand_idx", DataType::UInt32, false),
        Field::new("brand_id", brands.ids.data_type().clone(), false),
        Field::new("events", DataType::Float64, false),
    ];
    let mut writer =
        stage.writer("train_interactions.arrow", &tables::TRAIN_INTERACTIONS, fields)?;
    let train: Vec<&Label> =
        labels.iter().filter(|label| splits[label.user as usize] == Split::Train).collect();
    let mut n_train = 0;
    let train_rows: Vec<u32> = splits
        .iter()
        .map(|&split| {
            n_train += u32::from(split == Split::Train);
            n_train.saturating_sub(1) // of a training user: those before
        })
        .collect();
    for chunk in train.chunks(contract::ipc::ROWS_PER_BATCH) {
        let users = UInt32Array::from_iter_values(chunk.iter().map(|label| label.user));
        let brand_rows = UInt32Array::from_iter_values(chunk.iter().map(|label| label.brand));
        writer.write(vec![
            take(user_ids, &users, None)?,
            Arc::new(UInt32Array::from_iter_values(
                chunk.iter().map(|label| train_rows[label.user as usize]),
            )),
            Arc::new(brand_rows.clone()),
            take(&brands.ids, &brand_rows, None)?,
            Arc::new(Float64Array::from_iter_values(chunk.iter().map(|label| label.events))),
        ])?;
    }
    stage.add(writer.finish()?);
    Ok(())
}

/// Splits users, in order of their id, into features and training columns, valid and test.
async fn write_users(
    raw: &RawTables,
    stage: &mut StageRun,
    manifest: &Manifest,
    users: DataFrame,
    splits: &[Split],
    labels: &[Label],
    brands: &BrandPositions,
) -> Result<()> {
    let sorted = users.sort(vec![col("user_id").sort(true, false)])?;
    let mut stream = raw.stream(sorted, "users").await?;
    let mut files: Option<UserFiles> = None;
    let mut first_row = 0;
    let mut next_label = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let files = match &mut files {
            Some(files) => files,
            None => files.insert(UserFiles::create(stage, manifest, &batch)?),
        };
        let rows = first_row..first_row + batch.num_rows();
        let mut user_labels = ListBuilder::<u32>::default();
        for row in rows.clone() {
            let start = next_label;
            while labels.get(next_label).is_some_and(|label| label.user as usize == row) {
                next_label += 1;
            }
            let mut brand_idx: Vec<u32> =
                labels[start..next_label].iter().map(|label| label.brand).collect();
            brand_idx.sort_unstable();
            user_labels.push(&brand_idx);
        }
        first_row = rows.end;
        files.write(&batch, user_labels.finish(), &splits[rows], brands)?;
    }
    let files = files.expect("there is a user, checked before");
    files.report_brands()?;
    for writer in [files.features, files.train_users, files.valid, files.test] {
        stage.add(writer.finish()?);
    }
    Ok(())
}

struct UserFiles {
    columns: Vec<FeatureColumn>,
    /// By column
    brands_seen: Vec<BrandsSeen>,
    others: Vec<usize>,
    features: Writer,
    train_users: Writer,
    valid: Writer,
    test: Writer,
}

impl UserFiles {
    fn create(stage: &StageRun, manifest: &Manifest, first: &RecordBatch) -> Result<Self> {
        let columns = source_features::match_columns(&manifest.data.features, first)?;
        let schema = first.schema();
        let is_feature =
            |name: &str| columns.iter().any(|column| column.sources().any(|source| source == name));
        let others: Vec<usize> = (0..schema.fields().len())
            .filter(|&i| schema.field(i).name() != "user_id" && !is_feature(schema.field(i).name()))
            .collect();
        let user_id = Field::new(
            "user_id",
            first.column_by_name("user_id").expect("cast before").data_type().clone(),
            false,
        );
        let feature_fields: Vec<Field> =
            columns.iter().flat_map(|column| column.feature.fields()).collect();
        let with = |more: &[Field]| [std::slice::from_ref(&user_id), more].concat();
        let brands = Field::new("brands", DataType::new_list(DataType::UInt32, false), false);
        let holdout = || with(&[std::slice::from_ref(&brands), &feature_fields[..]].concat());
        let other_fields: Vec<Field> = others.iter().map(|&i| schema.field(i).clone()).collect();
        Ok(Self {
            features: stage.writer("features.arrow", &tables::FEATURES, with(&feature_fields))?,
            train_users: stage.writer(
                "train_users.arrow",
                &tables::TRAIN_USERS,
                with(&other_fields),
            )?,
            valid: stage.writer("valid.arrow", &tables::HOLDOUT, holdout())?,
            test: stage.writer("test.arrow", &tables::HOLDOUT, holdout())?,
            brands_seen: vec![BrandsSeen::default(); columns.len()],
            columns,
            others,
        })
    }

    /// Says which ids in lists of brands were left out; that all were is a mistake.
    fn report_brands(&self) -> Result<(), DataError> {
        for (column, seen) in self.columns.iter().zip(&self.brands_seen) {
            let name = &column.feature.name;
            let &BrandsSeen { n_ids, n_known, is_any_brand } = seen;
            if n_ids > 0 && !is_any_brand {
                return Err(DataError(format!(
                    "users: column `{name}`: none of its {n_ids} ids is one of `brands`; expected \
                     ids as `brand_id` there"
                )));
            }
            if n_known < n_ids {
                let left_out = plural((n_ids - n_known) as u64, "id");
                warn_line!(
                    "note: users: column `{name}`: {left_out} of {} are of no brand that is predicted, \
                     and left out",
                    count(n_ids as u64)
                );
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        users: &RecordBatch,
        labels: ArrayRef,
        splits: &[Split],
        brands: &BrandPositions,
    ) -> Result<()> {
        let ids = users.column_by_name("user_id").expect("cast before").clone();
        let mut converted = vec![ids.clone(), labels];
        for (column, seen) in self.columns.iter().zip(&mut self.brands_seen) {
            let of_column = column.convert(users, brands)?;
            column.count_brands(users, &of_column, brands, seen)?;
            converted.extend(of_column);
        }
        let converted = RecordBatch::try_new(self.test.schema(), converted)?;
        let of = |batch: &RecordBatch, split: Split| {
            let keep: BooleanArray = splits.iter().map(|&other| Some(other == split)).collect();
            filter_record_batch(batch, &keep)
        };
        let train = of(&converted, Split::Train)?;
        let mut train_features = train.columns().to_vec();
        train_features.remove(1); // the labels of training users are in train_interactions
        self.features.write(train_features)?;
        self.valid.write(of(&converted, Split::Valid)?.columns().to_vec())?;
        self.test.write(of(&converted, Split::Test)?.columns().to_vec())?;
        let others: Vec<usize> = std::iter::once(users.schema().index_of("user_id")?)
            .chain(self.others.iter().copied())
            .collect();
        self.train_users.write(of(&users.project(&others)?, Split::Train)?.columns().to_vec())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 labels: 50 + 20 make the head (the 20 starts before 60), 8 + 8 the torso,
    /// the rest starts beyond 86, and from 90 on it is the tail.
    #[test]
    fn tiers_follow_the_share_of_labels() {
        let volumes = [50, 20, 8, 8, 4, 4, 3, 3];
        let tiers = tiers_of(&volumes, Tiers { head: 0.6, tail: 0.1 });
        let names: Vec<_> = tiers.into_iter().map(Tier::name).collect();
        assert_eq!(names, ["head", "head", "torso", "torso", "torso", "tail", "tail", "tail"]);
    }

    #[test]
    fn brands_are_kept_by_volume_with_ties_in_order() {
        let keep = |rule| keep_brands(&[3, 0, 5, 3], rule).unwrap();
        let min = |min_volume| KeepBrands::MinVolume(contract::manifest::MinVolume { min_volume });
        assert_eq!(keep(min(1)), [2, 0, 3]);
        assert_eq!(keep(min(4)), [2]);
        assert_eq!(keep(KeepBrands::Top(contract::manifest::TopBrands { top: 2 })), [2, 0]);
    }

    #[test]
    fn no_positive_for_any_brand_is_an_error() {
        let message = keep_brands(&[0, 0], KeepBrands::default()).unwrap_err().to_string();
        assert!(message.contains("no training user has any brand"), "{message}");
    }
}

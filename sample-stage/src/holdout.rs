//! Raw tables -> the files that all experiments share.
//!
//! `brands`, `features` and the training tables that a sampling query sees hold training
//! users only; `valid` and `test` hold the others, with their labels.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::cli::DataError;
use contract::columns::{IdIndex, ListBuilder};
use contract::ipc::Writer;
use contract::manifest::{Holdout, KeepBrands, Manifest, Tiers, UnknownIds};
use contract::run::StageRun;
use contract::{record::Record, tables};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array,
    UInt64Array,
};
use datafusion::arrow::compute::{cast, filter_record_batch, sort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{cast as cast_expr, col, ident};
use futures::StreamExt as _;
use serde_json::json;

use crate::draw::{HOLDOUT_DRAW, hashes};
use crate::features::{self, BrandPositions, cast_ids};
use crate::session;

/// What a user is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Train,
    Valid,
    Test,
}

/// One label: positions of a user and a brand, and how often it happened.
struct Label {
    user: u32,
    brand: u32,
    events: f64,
}

/// Makes the shared files; returns the stage's record.
///
/// # Errors
///
/// Data that is not what the manifest says, by table, column and first offending value.
pub async fn run(manifest: &Manifest, mut stage: StageRun) -> Result<Record> {
    let data = &manifest.data;
    let raw = session::over_raw_tables(data).await?;
    let users = session::view(&raw, &data.users).await.context("users")?;
    features::check_present(&data.features, users.schema().as_arrow())?;
    let users = with_ids(users, "users", "user_id")?;

    let (user_ids, splits) = split_users(&users, &manifest.holdout).await?;
    let user_index = IdIndex::new(&user_ids).expect("checked to be distinct");
    let brand_frame = session::view(&raw, &data.brands).await.context("brands")?;
    let (brand_ids, brand_names) = read_brands(brand_frame).await?;
    let brand_index = IdIndex::new(&brand_ids).expect("checked to be distinct");

    let interactions = session::view(&raw, &data.interactions).await.context("interactions")?;
    let (labels, unknown) = read_labels(interactions, &user_index, &brand_index).await?;
    if let Some(message) = unknown.message() {
        let message = format!("interactions: {message}");
        match data.unknown_ids {
            UnknownIds::Error => {
                return Err(DataError(format!("{message} (`data.unknown_ids` is `error`)")).into());
            }
            UnknownIds::Warn => eprintln!("warning: {message}; dropped"),
        }
    }

    let volumes = count_volumes(&labels, &splits, brand_ids.len());
    let order = keep_brands(&volumes, data.keep_brands)?;
    let mut kept = vec![None; brand_ids.len()];
    for (brand_idx, &brand) in order.iter().enumerate() {
        kept[brand as usize] = Some(brand_idx as u32);
    }
    let labels: Vec<Label> = labels
        .into_iter()
        .filter_map(|label| Some(Label { brand: kept[label.brand as usize]?, ..label }))
        .collect();
    let brands = Brands::new(&brand_ids, &brand_names, &volumes, &order, manifest.report.tiers)?;
    let n_train = splits.iter().filter(|&&split| split == Split::Train).count();
    let without = brands_without(&labels, &splits, order.len());
    brands.write(&mut stage, n_train, without)?;
    write_interactions(&mut stage, &user_ids, &brands, &labels, &splits)?;
    let positions = BrandPositions { ids: brand_index, kept };
    write_users(&mut stage, manifest, users, &splits, &labels, &positions).await?;

    let count = |split| splits.iter().filter(|&&other| other == split).count();
    let summary = json!({
        "n_train": n_train, "n_valid": count(Split::Valid), "n_test": count(Split::Test),
        "n_brands": order.len(), "n_labels": labels.len(),
        "n_brands_without_positives": {"valid": without[0], "test": without[1]},
        "unknown_users": unknown.users.count, "unknown_brands": unknown.brands.count,
    });
    Ok(stage.done(summary)?)
}

/// Only the id is cast, to `Int64` or `Utf8`; a column that is neither is an error.
fn with_ids(frame: DataFrame, table: &str, column: &str) -> Result<DataFrame> {
    let schema = frame.schema().as_arrow().clone();
    let found = column_type(&schema, table, column)?;
    let to = id_type(&found).ok_or_else(|| {
        DataError(format!(
            "{table}: column `{column}` is `{found}`, expected whole numbers or text"
        ))
    })?;
    Ok(frame.with_column(column, cast_expr(ident(column), to))?)
}

fn id_type(found: &DataType) -> Option<DataType> {
    match found {
        found if found.is_integer() => Some(DataType::Int64),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Some(DataType::Utf8),
        _ => None,
    }
}

fn column_type(schema: &Schema, table: &str, column: &str) -> Result<DataType, DataError> {
    let field = schema.field_with_name(column).map_err(|_| {
        let found: Vec<_> = schema.fields().iter().map(|f| format!("`{}`", f.name())).collect();
        DataError(format!("{table}: column `{column}` is missing; found {}", found.join(", ")))
    })?;
    Ok(field.data_type().clone())
}

/// All ids of a column, sorted; no nulls, none twice.
async fn distinct_ids(frame: DataFrame, table: &str, column: &str) -> Result<RecordBatch> {
    let frame = with_ids(frame, table, column)?;
    let schema: Arc<Schema> = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await.with_context(|| format!("cannot read {table}"))?;
    let all = datafusion::arrow::compute::concat_batches(&schema, &batches)?;
    let ids = all.column_by_name(column).expect("checked above");
    if ids.null_count() > 0 {
        return Err(DataError(format!(
            "{table}: column `{column}` holds {} nulls, expected none",
            ids.null_count()
        ))
        .into());
    }
    if ids.is_empty() {
        return Err(DataError(format!("{table}: there is no row")).into());
    }
    let order = sort_to_indices(ids, None, None)?;
    let columns = all.columns().iter().map(|c| take(c, &order, None)).collect::<Result<_, _>>()?;
    let sorted = RecordBatch::try_new(all.schema(), columns)?;
    let ids = sorted.column_by_name(column).expect("checked above");
    if let Err(row) = IdIndex::new(ids) {
        let id = array_value_to_string(ids, row)?;
        return Err(DataError(format!(
            "{table}: `{column}` `{id}` stands there twice, expected once"
        ))
        .into());
    }
    Ok(sorted)
}

/// User ids in order, and what each user is kept for.
async fn split_users(users: &DataFrame, holdout: &Holdout) -> Result<(ArrayRef, Vec<Split>)> {
    let mut wanted = vec!["user_id"];
    if let Some(column) = &holdout.column {
        column_type(users.schema().as_arrow(), "users", column)?;
        wanted.push(column);
    }
    let frame = users.clone().select(wanted.iter().map(|name| ident(*name)))?;
    let sorted = distinct_ids(frame, "users", "user_id").await?;
    let ids = sorted.column(0).clone();

    let mut splits = vec![Split::Train; ids.len()];
    if let Some(column) = &holdout.column {
        let names = cast(sorted.column_by_name(column).expect("selected above"), &DataType::Utf8)?;
        for (row, name) in names.as_string::<i32>().iter().enumerate() {
            splits[row] = match name {
                Some("train") => Split::Train,
                Some("valid") => Split::Valid,
                Some("test") => Split::Test,
                other => {
                    let id = array_value_to_string(&ids, row)?;
                    let found = other.map_or("null".to_owned(), |other| format!("`{other}`"));
                    return Err(DataError(format!(
                        "users: column `{column}`: user `{id}`: found {found}, expected `train`, `valid` or `test`"
                    )).into());
                }
            };
        }
    }
    // Users in order of their draw: the first go to test, the next to valid.
    let draws = hashes(&ids, holdout.seed as i64, HOLDOUT_DRAW);
    let mut drawn: Vec<u32> =
        (0..ids.len() as u32).filter(|&row| splits[row as usize] == Split::Train).collect();
    drawn.sort_by_key(|&row| (draws[row as usize], row));
    let n = drawn.len() as f64;
    let number = |amount: f64| if amount < 1.0 { (amount * n).round() } else { amount } as usize;
    let n_test = if holdout.column.is_some() { 0 } else { number(holdout.test) };
    let n_valid = if splits.contains(&Split::Valid) { 0 } else { number(holdout.valid) };
    if n_test + n_valid >= drawn.len() {
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
            return Err(DataError(format!(
                "users: no user is kept for {name}; make `holdout` larger"
            ))
            .into());
        }
    }
    Ok((ids, splits))
}

async fn read_brands(frame: DataFrame) -> Result<(ArrayRef, StringArray)> {
    column_type(frame.schema().as_arrow(), "brands", "brand_id")?;
    column_type(frame.schema().as_arrow(), "brands", "name")?;
    let sorted =
        distinct_ids(frame.select([ident("brand_id"), ident("name")])?, "brands", "brand_id")
            .await?;
    let ids = sorted.column(0).clone();
    let (names, as_text) = (cast(sorted.column(1), &DataType::Utf8)?, cast(&ids, &DataType::Utf8)?);
    // A brand without a name goes by its id.
    let names = names.as_string::<i32>().iter().zip(as_text.as_string::<i32>());
    Ok((ids, names.map(|(name, id)| name.or(id)).collect()))
}

/// Interactions whose user or brand is not known.
#[derive(Default)]
struct Unknown {
    users: Strangers,
    brands: Strangers,
}

#[derive(Default)]
struct Strangers {
    count: u64,
    first: Vec<String>,
}

impl Strangers {
    fn add(&mut self, ids: &ArrayRef, row: usize) {
        self.count += 1;
        if self.first.len() < 3 {
            let id = if ids.is_null(row) {
                "null".into()
            } else {
                array_value_to_string(ids, row).unwrap_or_default()
            };
            if !self.first.contains(&id) {
                self.first.push(id);
            }
        }
    }

    fn message(&self, what: &str) -> Option<String> {
        let first: Vec<_> = self.first.iter().map(|id| format!("`{id}`")).collect();
        (self.count > 0).then(|| {
            format!(
                "{} rows of {what} that are not in `{what}` ({}, …)",
                self.count,
                first.join(", ")
            )
        })
    }
}

impl Unknown {
    fn message(&self) -> Option<String> {
        let parts: Vec<_> = [self.users.message("users"), self.brands.message("brands")]
            .into_iter()
            .flatten()
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Labels in order of user and brand; several rows of one label are summed.
async fn read_labels(
    frame: DataFrame,
    users: &IdIndex,
    brands: &IdIndex,
) -> Result<(Vec<Label>, Unknown)> {
    let schema = frame.schema().as_arrow().clone();
    for column in ["user_id", "brand_id"] {
        let found = column_type(&schema, "interactions", column)?;
        if id_type(&found).is_none() {
            return Err(DataError(format!(
                "interactions: column `{column}` is `{found}`, expected whole numbers or text"
            ))
            .into());
        }
    }
    let mut wanted = vec![ident("user_id"), ident("brand_id")];
    if let Ok(field) = schema.field_with_name("events") {
        if !field.data_type().is_numeric() {
            return Err(DataError(format!(
                "interactions: column `events` is `{}`, expected a number",
                field.data_type()
            ))
            .into());
        }
        wanted.push(cast_expr(ident("events"), DataType::Float64).alias("events"));
    }
    let mut stream =
        frame.select(wanted)?.execute_stream().await.context("cannot read interactions")?;
    let mut labels = Vec::new();
    let mut unknown = Unknown::default();
    while let Some(batch) = stream.next().await {
        let batch = batch.context("cannot read interactions")?;
        let user_rows = users.positions(&cast_ids(batch.column(0), &users.data_type())?);
        let brand_rows = brands.positions(&cast_ids(batch.column(1), &brands.data_type())?);
        let events = batch
            .columns()
            .get(2)
            .map(datafusion::arrow::array::AsArray::as_primitive::<Float64Type>);
        for row in 0..batch.num_rows() {
            match (user_rows[row], brand_rows[row]) {
                (None, _) => unknown.users.add(batch.column(0), row),
                (_, None) => unknown.brands.add(batch.column(1), row),
                (Some(user), Some(brand)) => {
                    let events = events.map_or(1.0, |events| {
                        if events.is_null(row) { 0.0 } else { events.value(row) }
                    });
                    labels.push(Label { user, brand, events });
                }
            }
        }
    }
    // Sorted by the number of events too, so that their sum does not depend on the order of reading.
    labels.sort_unstable_by(|a, b| {
        (a.user, a.brand).cmp(&(b.user, b.brand)).then(a.events.total_cmp(&b.events))
    });
    labels.dedup_by(|next, first| {
        let is_same = next.user == first.user && next.brand == first.brand;
        if is_same {
            first.events += next.events;
        }
        is_same
    });
    Ok((labels, unknown))
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
    tiers: Vec<&'static str>,
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
            tiers: tier_names(&volumes, tiers),
            volumes,
        })
    }

    fn write(&self, stage: &mut StageRun, n_train: usize, without: [usize; 2]) -> Result<()> {
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
        ]);
        let mut writer = stage.writer_with("brands.arrow", &tables::BRANDS, fields, metadata)?;
        writer.write(vec![
            Arc::new(UInt32Array::from_iter_values(0..self.volumes.len() as u32)),
            self.ids.clone(),
            self.names.clone(),
            Arc::new(UInt64Array::from(self.volumes.clone())),
            Arc::new(StringArray::from(self.tiers.clone())),
        ])?;
        stage.add(writer.finish()?);
        Ok(())
    }
}

/// Tier of each brand; `volumes` fall.
fn tier_names(volumes: &[u64], tiers: Tiers) -> Vec<&'static str> {
    let total: u64 = volumes.iter().sum();
    let mut before = 0; // labels of all larger brands
    volumes
        .iter()
        .map(|&volume| {
            let (start, end) = (before as f64, (before + volume) as f64);
            before += volume;
            if start < tiers.head * total as f64 {
                "head"
            } else if end > (1.0 - tiers.tail) * total as f64 {
                "tail"
            } else {
                "torso"
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
    stage: &mut StageRun,
    manifest: &Manifest,
    users: DataFrame,
    splits: &[Split],
    labels: &[Label],
    brands: &BrandPositions,
) -> Result<()> {
    let sorted = users.sort(vec![col("user_id").sort(true, false)])?;
    let mut stream = sorted.execute_stream().await.context("cannot read users")?;
    let mut files: Option<UserFiles> = None;
    let mut first_row = 0;
    let mut next_label = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch.context("cannot read users")?;
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
    for writer in [files.features, files.train_users, files.valid, files.test] {
        stage.add(writer.finish()?);
    }
    Ok(())
}

struct UserFiles {
    columns: Vec<features::FeatureColumn>,
    others: Vec<usize>,
    features: Writer,
    train_users: Writer,
    valid: Writer,
    test: Writer,
}

impl UserFiles {
    fn create(stage: &StageRun, manifest: &Manifest, first: &RecordBatch) -> Result<Self> {
        let columns = features::match_columns(&manifest.data.features, first)?;
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
            columns,
            others,
        })
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
        for column in &self.columns {
            converted.extend(column.convert(users, brands)?);
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
        let names = tier_names(&volumes, Tiers { head: 0.6, tail: 0.1 });
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

//! The files of users: `features`, `train_users`, `valid` and `test`.

use std::ops::Range;

use anyhow::Result;
use contract::columns::ListBuilder;
use contract::exit::DataError;
use contract::features::{Feature, FeatureKind};
use contract::ipc::Writer;
use contract::manifest::time::History;
use contract::manifest::{IdSpace, Manifest};
use contract::run::StageRun;
use contract::source_features::{self, BrandPositions, BrandsSeen, FeatureColumn};
use contract::{tables, warn_line};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::col;
use futures::StreamExt as _;

use super::labels::Label;
use super::snapshot::Snapshot;
use super::split::Split;
use super::vocabulary::vocabularies;
use crate::as_of::{AS_OF, AsOf};
use crate::interactions::Interactions;
use crate::past::Past;
use crate::raw::RawTables;

/// Writes the features and training columns of training users, and the valid and test users, date
/// after date.
///
/// * `snapshots`: with the labels of all users, in order.
///
/// # Errors
///
/// An invalid value of a feature, with its user.
pub async fn write(
    raw: &RawTables,
    stage: &mut StageRun,
    manifest: &Manifest,
    interactions: &Interactions,
    snapshots: Vec<Snapshot>,
    brands: &BrandPositions,
) -> Result<()> {
    let vocabularies = vocabularies(raw, &manifest.data.features, &snapshots).await?;
    let mut files: Option<UserFiles> = None;
    for Snapshot { users, splits, labels, date } in snapshots {
        let mut past = match (&manifest.history, &date) {
            (Some(history), Some(date)) => {
                let rows = interactions.past(&history.weights, date, users.ids.data_type())?;
                Some(Past::open(raw, rows, history.weights.len(), &users.index, brands).await?)
            }
            _ => None,
        };
        let sorted = users.frame.sort(vec![col("user_id").sort(true, false)])?;
        let mut stream = raw.stream(sorted, "users").await?;
        let mut labels = Labels { labels: &labels, next: 0 };
        let mut first_row = 0;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let as_of = date.as_ref().map(|date| &date.as_of);
            let files = if let Some(files) = &mut files {
                files
            } else {
                let columns =
                    source_features::match_columns(&manifest.data.features, &batch, &vocabularies)?;
                files.insert(UserFiles::create(stage, manifest, columns, as_of, &batch)?)
            };
            let rows = first_row..first_row + batch.num_rows();
            first_row = rows.end;
            let history = match &mut past {
                Some(past) => past.of_users(rows.clone()).await?,
                None => Vec::new(),
            };
            let of_users = OfUsers { labels: labels.of_users(rows.clone()), as_of, history };
            files.write(&batch, of_users, &splits[rows], brands)?;
        }
    }
    let files = files.expect("there is a user, checked before");
    files.report_brands()?;
    for writer in [files.features, files.train_users, files.valid, files.test] {
        stage.add(writer.finish()?);
    }
    Ok(())
}

/// Labels in order of their users.
struct Labels<'a> {
    labels: &'a [Label],
    next: usize,
}

impl Labels<'_> {
    /// The brands of the next users, ascending.
    fn of_users(&mut self, rows: Range<usize>) -> ArrayRef {
        let mut lists = ListBuilder::<u32>::default();
        for row in rows {
            let start = self.next;
            while self.labels.get(self.next).is_some_and(|label| label.user as usize == row) {
                self.next += 1;
            }
            let labels = &self.labels[start..self.next];
            let mut brand_idx: Vec<u32> = labels.iter().map(|label| label.brand).collect();
            brand_idx.sort_unstable();
            lists.push(&brand_idx);
        }
        lists.finish()
    }
}

/// What is known of some users beside the columns of their table.
struct OfUsers<'a> {
    labels: ArrayRef,
    as_of: Option<&'a AsOf>,
    /// The columns of the history's features
    history: Vec<ArrayRef>,
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
    /// Starts the files.
    ///
    /// * `columns`: the features.
    /// * `as_of`: any value of that column, if there is one.
    fn create(
        stage: &StageRun,
        manifest: &Manifest,
        columns: Vec<FeatureColumn>,
        as_of: Option<&AsOf>,
        first: &RecordBatch,
    ) -> Result<Self> {
        let schema = first.schema();
        // Queries see text as it is, too.
        let numbers = || columns.iter().filter(|column| !column.feature.is_categories());
        let is_read = |name: &str| {
            name == "user_id"
                || as_of.is_some() && name == AS_OF
                || numbers().any(|column| column.sources().any(|source| source == name))
        };
        let others: Vec<usize> =
            (0..schema.fields().len()).filter(|&i| !is_read(schema.field(i).name())).collect();
        let user_id = Field::new(
            "user_id",
            first.column_by_name("user_id").expect("cast before").data_type().clone(),
            false,
        );
        let brands = Field::new("brands", DataType::new_list(DataType::UInt32, false), false);
        let as_of = as_of.map(AsOf::field);
        let mut feature_fields: Vec<Field> = as_of.iter().cloned().collect();
        feature_fields.extend(columns.iter().flat_map(|column| column.feature.fields()));
        let of_history = manifest.history.iter().flat_map(History::names).map(|name| {
            let kind = FeatureKind::Sparse { is_weighted: true, ids: IdSpace::Brands };
            Feature::new(name, kind)
        });
        feature_fields.extend(of_history.flat_map(|feature| feature.fields()));
        let mut other_fields: Vec<Field> =
            others.iter().map(|&i| schema.field(i).clone()).collect();
        other_fields.extend(as_of);

        let with = |more: &[Field]| [std::slice::from_ref(&user_id), more].concat();
        let holdout = || with(&[std::slice::from_ref(&brands), &feature_fields[..]].concat());
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

    /// Reports ids in lists of brands that were left out. It is an error if none is known.
    fn report_brands(&self) -> Result<(), DataError> {
        for (column, seen) in self.columns.iter().zip(&self.brands_seen) {
            let name = &column.feature.name;
            let &BrandsSeen { n_ids, is_any_brand, .. } = seen;
            if n_ids > 0 && !is_any_brand && !column.feature.is_categories() {
                return Err(DataError(format!(
                    "users: column `{name}`: none of its {n_ids} ids is one of `brands`; expected \
                     ids as `brand_id` there"
                )));
            }
            if let Some(note) = seen.note(&column.feature) {
                warn_line!("{note}");
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        users: &RecordBatch,
        known: OfUsers,
        splits: &[Split],
        brands: &BrandPositions,
    ) -> Result<()> {
        let ids = users.column_by_name("user_id").expect("cast before").clone();
        let as_of = known.as_of.map(|as_of| as_of.column(users.num_rows()));
        let mut converted = vec![ids, known.labels];
        converted.extend(as_of.clone());
        for (column, seen) in self.columns.iter().zip(&mut self.brands_seen) {
            let of_column = column.convert(users, brands)?;
            column.count_brands(users, &of_column, brands, seen)?;
            converted.extend(of_column);
        }
        converted.extend(known.history);
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
        let mut others = users.project(&others)?.columns().to_vec();
        others.extend(as_of);
        let others = RecordBatch::try_new(self.train_users.schema(), others)?;
        self.train_users.write(of(&others, Split::Train)?.columns().to_vec())?;
        Ok(())
    }
}

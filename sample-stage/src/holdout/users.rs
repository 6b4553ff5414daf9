//! Users: read and split, then written as `features`, `train_users`, `valid` and `test`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use contract::columns::ListBuilder;
use contract::exit::DataError;
use contract::ids::IdIndex;
use contract::ipc::Writer;
use contract::manifest::{FeatureSource, Manifest};
use contract::run::StageRun;
use contract::source_features::{self, BrandPositions, BrandsSeen, FeatureColumn};
use contract::{tables, warn_line};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::col;
use futures::StreamExt as _;

use super::ids::{SortedIds, sorted_ids, with_stored_ids};
use super::labels::Label;
use super::split::{Split, split_users};
use super::vocabulary::{Known, vocabularies};
use crate::raw::RawTables;

/// All users of the source, in order of their ids.
pub struct Users {
    frame: DataFrame,
    pub ids: ArrayRef,
    pub index: IdIndex,
    pub splits: Vec<Split>,
    /// Of each feature with `categories`, by its column
    vocabularies: BTreeMap<String, Vec<String>>,
}

impl Users {
    /// Reads the ids and splits them.
    ///
    /// # Errors
    ///
    /// An id that is null or appears twice, a column that is missing, a split without a user.
    pub async fn read(raw: &RawTables, manifest: &Manifest) -> Result<Self> {
        let frame = raw.view(&manifest.data.users).await.context("users")?;
        source_features::check_present(&manifest.data.features, frame.schema().as_arrow())?;
        let column = manifest.holdout.column.as_deref();
        let sorted = sorted_ids(raw, frame.clone(), "users", "user_id", column).await?;
        let splits = split_users(&sorted.ids, sorted.other.as_ref(), &manifest.holdout)?;
        let frame = with_stored_ids(frame, "user_id", sorted.ids.data_type())?;
        let SortedIds { ids, index, .. } = sorted;
        let known = Known { ids: &index, splits: &splits };
        let vocabularies = vocabularies(raw, &frame, &manifest.data.features, &known).await?;
        Ok(Self { frame, ids, index, splits, vocabularies })
    }

    /// Number of users of a split.
    pub fn n(&self, split: Split) -> usize {
        self.splits.iter().filter(|&&other| other == split).count()
    }

    /// Writes the features and training columns of training users, and the valid and test users.
    ///
    /// * `labels`: of all users, in order.
    ///
    /// # Errors
    ///
    /// An invalid value of a feature, with its user.
    pub async fn write(
        self,
        raw: &RawTables,
        stage: &mut StageRun,
        features: &[FeatureSource],
        labels: &[Label],
        brands: &BrandPositions,
    ) -> Result<()> {
        let sorted = self.frame.sort(vec![col("user_id").sort(true, false)])?;
        let mut stream = raw.stream(sorted, "users").await?;
        let mut files: Option<UserFiles> = None;
        let mut first_row = 0;
        let mut next_label = 0;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let files = if let Some(files) = &mut files {
                files
            } else {
                let vocabularies = &self.vocabularies;
                files.insert(UserFiles::create(stage, features, vocabularies, &batch)?)
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
            files.write(&batch, user_labels.finish(), &self.splits[rows], brands)?;
        }
        let files = files.expect("there is a user, checked before");
        files.report_brands()?;
        for writer in [files.features, files.train_users, files.valid, files.test] {
            stage.add(writer.finish()?);
        }
        Ok(())
    }
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
    fn create(
        stage: &StageRun,
        features: &[FeatureSource],
        vocabularies: &BTreeMap<String, Vec<String>>,
        first: &RecordBatch,
    ) -> Result<Self> {
        let columns = source_features::match_columns(features, first, vocabularies)?;
        let schema = first.schema();
        // Queries see text as it is, too.
        let numbers = || columns.iter().filter(|column| !column.feature.is_categories());
        let is_feature =
            |name: &str| numbers().any(|column| column.sources().any(|source| source == name));
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

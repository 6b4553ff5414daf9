//! The files of users: `features`, `train_users`, `valid` and `test`.

use std::collections::VecDeque;
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

use super::in_order::InOrder;
use super::labels::{LabelBlocks, Labels};
use super::snapshot::Snapshot;
use super::split::Split;
use super::vocabulary::vocabularies;
use crate::as_of::{AS_OF, AsOf};
use crate::interactions::Interactions;
use crate::past::Past;
use crate::raw::RawTables;
use crate::room::Room;

/// Writes the features and training columns of training users, and the valid and test users, date
/// after date.
///
/// * `snapshots`: with their labels.
/// * `brands`: the kept ones.
///
/// # Errors
///
/// An invalid value of a feature, with its user.
pub async fn write(
    raw: &RawTables,
    room: &Room<'_>,
    stage: &mut StageRun,
    manifest: &Manifest,
    interactions: &Interactions,
    snapshots: Vec<(Snapshot, Labels)>,
    brands: &BrandPositions,
) -> Result<()> {
    let vocabularies = vocabularies(raw, &manifest.data.features, &snapshots).await?;
    let mut files: Option<UserFiles> = None;
    for (Snapshot { users, splits, date }, labels) in snapshots {
        let mut past = match (&manifest.history, &date) {
            (Some(history), Some(date)) => {
                let rows = interactions.past(&history.weights, date, users.ids.data_type())?;
                Some(Past::open(raw, rows, history.weights.len(), &users.index, brands).await?)
            }
            _ => None,
        };
        let n_users = splits.len();
        let mut rows = InOrder::read(raw, room, users.frame, &users.index, n_users).await?;
        let mut held_out = HeldOut::new(&labels, &splits, &brands.kept);
        let mut first_row = 0;
        while let Some(batch) = rows.next().await? {
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
            let of_users = OfUsers { labels: held_out.of_users(rows.clone())?, as_of, history };
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

/// Labels of valid and test users, in order of the users.
struct HeldOut<'a> {
    blocks: LabelBlocks<'a>,
    splits: &'a [Split],
    kept: &'a [Option<u32>],
    /// User and `brand_idx` of some labels, those of the next users first
    labels: VecDeque<(u32, u32)>,
}

impl<'a> HeldOut<'a> {
    fn new(labels: &'a Labels, splits: &'a [Split], kept: &'a [Option<u32>]) -> Self {
        Self { blocks: labels.blocks(), splits, kept, labels: VecDeque::new() }
    }

    /// The brands of the next users, ascending; none of training users, which have a file of their own.
    fn of_users(&mut self, rows: Range<usize>) -> Result<ArrayRef> {
        while self.labels.back().is_none_or(|&(user, _)| (user as usize) < rows.end) {
            let Some(labels) = self.blocks.next()? else { break };
            let is_held_out =
                |user: u32| matches!(self.splits[user as usize], Split::Valid | Split::Test);
            self.labels.extend(
                labels
                    .filter(|label| is_held_out(label.user))
                    .filter_map(|label| Some((label.user, self.kept[label.brand as usize]?))),
            );
        }
        let mut lists = ListBuilder::<u32>::default();
        let mut brands: Vec<u32> = Vec::new();
        for row in rows {
            brands.clear();
            while let Some((_, brand)) = self.labels.pop_front_if(|label| label.0 as usize == row) {
                brands.push(brand);
            }
            brands.sort_unstable();
            lists.push(&brands);
        }
        Ok(lists.finish())
    }
}

/// What is known of some users beside the columns of their table.
struct OfUsers<'a> {
    /// Brands of valid and test users
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

//! Brands: which are kept, by volume, and the table `brands`.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::brands::Tier;
use contract::exit::DataError;
use contract::manifest::{KeepBrands, Tiers, View};
use contract::run::StageRun;
use contract::source_features::BrandPositions;
use contract::statistics::{LEFT_OUT_KEY, LeftOut};
use contract::words::plural;
use contract::{tables, warn_line};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray, UInt32Array, UInt64Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field};
use serde_json::json;

use super::labels::Counts;
use super::split::Split;
use crate::id_columns::sorted_ids;
use crate::raw::RawTables;

/// All brands of the source, in order of their ids.
pub struct SourceBrands {
    pub ids: ArrayRef,
    names: StringArray,
    /// Where each id stands; a brand that is not kept has no position
    pub positions: BrandPositions,
}

impl SourceBrands {
    /// Reads the view; all brands are kept.
    ///
    /// # Errors
    ///
    /// An id that is null or appears twice, a column that is missing.
    pub async fn read(raw: &RawTables, view: &View) -> Result<Self> {
        let frame = raw.view(view).await.context("brands")?;
        raw.warn_of_unused("brands", &frame, &["brand_id", "name"]);
        let sorted = sorted_ids(raw, frame, "brands", "brand_id", Some("name")).await?;
        let as_text = cast(&sorted.ids, &DataType::Utf8)?;
        let given: Vec<Option<&str>> = sorted.other.iter().flatten().collect();
        let ids = as_text.as_string::<i32>();
        warn_of_blank(&given, ids);
        // A brand without a name is named by its id.
        let has_name = |name: &&str| !name.trim().is_empty();
        let names = given.iter().zip(ids).map(|(name, id)| name.filter(has_name).or(id));
        let kept = (0..sorted.ids.len() as u32).map(Some).collect();
        let positions = BrandPositions { ids: Arc::new(sorted.index), kept };
        Ok(Self { names: names.collect(), ids: sorted.ids, positions })
    }
}

/// Warns of brands whose name is there and says nothing, which is more likely a mistake than a null.
fn warn_of_blank(names: &[Option<&str>], ids: &StringArray) {
    let is_blank = |name: Option<&str>| name.is_some_and(|name| name.trim().is_empty());
    let blank: Vec<&str> = names
        .iter()
        .zip(ids)
        .filter(|(name, _)| is_blank(**name))
        .filter_map(|(_, id)| id)
        .collect();
    if let Some(first) = blank.first() {
        warn_line!(
            "warning: brands: the `name` of {} is blank, so {} named by {}; the first is `{first}`",
            plural(blank.len() as u64, "brand"),
            if blank.len() == 1 { "it is" } else { "they are" },
            if blank.len() == 1 { "its id" } else { "their ids" }
        );
    }
}

/// The brands to predict, largest first, ties in order of their id.
///
/// # Errors
///
/// If no brand has a training user, or none is kept.
pub fn keep_brands(volumes: &[u64], keep: KeepBrands) -> Result<Vec<u32>, DataError> {
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

/// Brands that are not kept, and their labels.
///
/// * `kept`: `brand_idx` of each brand, if it is kept.
pub fn count_left_out(counts: &Counts, kept: &[Option<u32>]) -> LeftOut {
    let [train, valid, test] = [Split::Train, Split::Valid, Split::Test].map(|s| counts.of(s));
    let mut left_out = LeftOut::default();
    for brand in (0..kept.len()).filter(|&brand| kept[brand].is_none()) {
        let of_kind = if train[brand] == 0 {
            &mut left_out.without_training_users
        } else {
            &mut left_out.not_kept
        };
        of_kind.brands += 1;
        of_kind.train += train[brand];
        of_kind.valid += valid[brand];
        of_kind.test += test[brand];
    }
    left_out
}

/// Number of kept brands without a positive in valid and in test.
///
/// * `order`: the kept brands.
pub fn brands_without(counts: &Counts, order: &[u32]) -> [usize; 2] {
    [Split::Valid, Split::Test].map(|split| {
        let of_split = counts.of(split);
        order.iter().filter(|&&brand| of_split[brand as usize] == 0).count()
    })
}

/// The kept brands, in order of `brand_idx`.
pub struct Brands {
    pub ids: ArrayRef,
    names: ArrayRef,
    volumes: Vec<u64>,
    tiers: Vec<Tier>,
}

impl Brands {
    /// * `volumes`: of all brands of the source.
    /// * `order`: the kept ones.
    pub fn new(
        source: &SourceBrands,
        volumes: &[u64],
        order: &[u32],
        tiers: Tiers,
    ) -> Result<Self> {
        let order = UInt32Array::from(order.to_vec());
        let volumes: Vec<u64> =
            order.values().iter().map(|&brand| volumes[brand as usize]).collect();
        Ok(Self {
            ids: take(&source.ids, &order, None)?,
            names: take(&source.names, &order, None)?,
            tiers: tiers_of(&volumes, tiers),
            volumes,
        })
    }

    /// Writes `brands`.
    ///
    /// * `n_train`: number of training users.
    /// * `without`: brands without a positive in valid and in test.
    pub fn write(
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

//! Raw tables -> the files that all experiments share.
//!
//! `brands`, `features` and the training tables that a sampling query sees hold training
//! users only; `valid` and `test` hold the others, with their labels.

mod brands; // which brands are kept; the file `brands`
mod ids; // id columns of raw tables
mod labels; // rows of interactions -> labels; the file `train_interactions`
mod split; // users -> train, valid, test
mod users; // the files of users
mod vocabulary; // values of text columns that become categories

use anyhow::{Context as _, Result};
use contract::manifest::Manifest;
use contract::record::Record;
use contract::run::StageRun;
use contract::scratch::Scratch;
use contract::source_features::BrandPositions;
use contract::warn_line;
use serde_json::json;

use brands::{Brands, SourceBrands};
pub use ids::column_type;
use labels::Label;
use split::Split;
use users::Users;

use crate::raw::RawTables;
use crate::{heap, session};

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
    let raw = RawTables::open(session::for_views(data, scratch.path())?, data, &data.users)?;
    let users = Users::read(&raw, manifest).await?;
    let source = SourceBrands::read(&raw, &data.brands).await?;
    let interactions = raw.view(&data.interactions).await.context("interactions")?;
    let read = labels::read(&raw, interactions, &users.index, &source.index).await?;
    read.report(data.unknown_ids)?;

    let volumes = brands::volumes(&read.labels, &users.splits, source.ids.len());
    let order = brands::keep_brands(&volumes, data.keep_brands)?;
    let mut kept = vec![None; source.ids.len()];
    for (brand_idx, &brand) in order.iter().enumerate() {
        kept[brand as usize] = Some(brand_idx as u32);
    }
    let left_out = brands::count_left_out(&read.labels, &users.splits, &volumes, &kept);
    if let Some(message) = left_out.message() {
        warn_line!("warning: interactions: {message}");
    }
    let labels: Vec<Label> = read
        .labels
        .into_iter()
        .filter_map(|label| Some(Label { brand: kept[label.brand as usize]?, ..label }))
        .collect();
    let without = brands::brands_without(&labels, &users.splits, order.len());
    if without[0] == order.len() {
        warn_line!(
            "warning: no valid user has a predicted brand, so nothing chosen on the valid users is meaningful"
        );
    }
    let [n_train, n_valid, n_test] = [Split::Train, Split::Valid, Split::Test].map(|s| users.n(s));
    let summary = json!({
        "n_train": n_train, "n_valid": n_valid, "n_test": n_test,
        "n_brands": order.len(), "n_labels": labels.len(),
        "n_brands_without_positives": {"valid": without[0], "test": without[1]},
        "unknown_users": read.unknown_users.count, "unknown_brands": read.unknown_brands.count,
        "n_rows_of_no_event": read.n_no_event,
        "left_out": left_out,
    });

    let brands = Brands::new(&source, &volumes, &order, manifest.report.tiers)?;
    brands.write(&mut stage, n_train, without, &left_out)?;
    labels::write(&mut stage, &users.ids, &brands.ids, &labels, &users.splits)?;
    let positions = BrandPositions { ids: source.index, kept };
    users.write(&raw, &mut stage, &data.features, &labels, &positions).await?;
    Ok(stage.done(summary)?)
}

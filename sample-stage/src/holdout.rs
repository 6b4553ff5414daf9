//! Raw tables -> the files that all experiments share.
//!
//! `brands`, `features` and the training tables that a sampling query sees hold training
//! users only; `valid` and `test` hold the others, with their labels.

mod brands; // which brands are kept; the file `brands`
mod in_order; // rows of users in order of their ids
mod labels; // rows of interactions -> labels
mod snapshot; // users as of a date, and what each is kept for
mod split; // users -> train, valid, test
mod train_interactions; // labels of training users -> the file `train_interactions`
mod user_files; // the files of users
mod users; // the users of the source
mod vocabulary; // values of text columns that become categories

use anyhow::Result;
use contract::manifest::{self, Manifest, View};
use contract::record::Record;
use contract::run::StageRun;
use contract::scratch::Scratch;
use contract::warn_line;
use serde_json::json;

use brands::{Brands, SourceBrands};
use labels::{Counts, Read};
use snapshot::Snapshot;
use split::Split;

use crate::engine::Engine;
use crate::interactions::Interactions;
use crate::raw::{self, RawTables};
use crate::room::Room;
use crate::{heap, session};

/// Makes the shared files; returns the stage's record.
///
/// # Errors
///
/// Data that is not what the manifest says, by table, column and first offending value.
pub async fn run(
    manifest: &Manifest,
    engine: &manifest::Engine,
    mut stage: StageRun,
) -> Result<Record> {
    let data = &manifest.data;
    let scratch = Scratch::create(&stage.plan.dir)?;
    heap::bound(
        session::heap_bound(data.memory_limit.bytes()),
        "the views need more memory than `data.memory_limit` allows\n\
         hint: raise the limit, or make the views smaller",
    );
    let engine = Engine::start(engine, &scratch).await?;
    let session = session::for_views(data, scratch.path(), &engine)?;
    let limits = (data.memory_limit.bytes(), data.scratch_limit.bytes());
    let room = &Room::new(&scratch, session.runtime_env(), limits, "data");
    let raw = RawTables::open(session, &engine, data, &data.users)?;
    let snapshots = snapshot::read(&raw, room, manifest).await?;
    let mut source = SourceBrands::read(&raw, &data.brands).await?;
    let n_brands = source.positions.kept.len();
    let interactions = Interactions::open(&raw, data).await?;
    interactions.check_ids(&raw, &snapshots[0].users.index, &source.positions.ids)?;
    check_times(&raw, manifest, &interactions, &snapshots).await?;
    let only = manifest.labels.as_ref().map(|labels| labels.only).unwrap_or_default();
    let (mut read, mut labelled) = (Read::default(), Vec::new());
    let mut counts = Counts::new(n_brands);
    for snapshot in snapshots {
        let positions = &source.positions;
        let labels = snapshot.labels(&raw, room, &interactions, positions, only, &mut read).await?;
        counts = counts.plus(labels.counts());
        labelled.push((snapshot, labels));
    }
    let snapshots = labelled;
    read.report(data.unknown_ids, data.users.time().is_some())?;

    // With several dates of training, a user counts once for each.
    let volumes = counts.of(Split::Train);
    let order = brands::keep_brands(volumes, data.keep_brands)?;
    let mut kept = vec![None; n_brands];
    for (brand_idx, &brand) in order.iter().enumerate() {
        kept[brand as usize] = Some(brand_idx as u32);
    }
    let left_out = brands::count_left_out(&counts, &kept);
    if let Some(message) = left_out.message() {
        warn_line!("warning: interactions: {message}");
    }
    let without = brands::brands_without(&counts, &order);
    if without[0] == order.len() {
        warn_line!(
            "warning: no valid user has a predicted brand, so nothing chosen on the valid users is meaningful"
        );
    }
    let [n_train, n_valid, n_test] = [Split::Train, Split::Valid, Split::Test]
        .map(|split| snapshots.iter().map(|(snapshot, _)| snapshot.n(split)).sum::<usize>());
    let summary = json!({
        "n_train": n_train, "n_valid": n_valid, "n_test": n_test,
        "n_brands": order.len(), "n_labels": counts.n_labels(&order),
        "n_brands_without_positives": {"valid": without[0], "test": without[1]},
        "unknown_users": read.unknown_users.count, "unknown_brands": read.unknown_brands.count,
        "n_rows_of_no_event": read.n_no_event,
        "left_out": left_out,
    });

    let brands = Brands::new(&source, volumes, &order, manifest.report.tiers)?;
    brands.write(&mut stage, n_train, without, &left_out)?;
    train_interactions::write(&mut stage, &brands.ids, &snapshots, &kept)?;
    source.positions.kept = kept;
    let positions = &source.positions;
    user_files::write(&raw, room, &mut stage, manifest, &interactions, snapshots, positions)
        .await?;
    Ok(stage.done(summary)?)
}

/// Checks that every date has something to predict, and warns of what may tell features of the time
/// after it.
async fn check_times(
    raw: &RawTables,
    manifest: &Manifest,
    interactions: &Interactions,
    snapshots: &[Snapshot],
) -> Result<()> {
    let Some(range) = interactions.range(raw).await? else { return Ok(()) };
    for date in snapshots.iter().filter_map(|snapshot| snapshot.date.as_ref()) {
        range.check(date, manifest.history.is_some())?;
    }
    if let (View::Sql(view), None) = (&manifest.data.users, manifest.data.users.time()) {
        let of_interactions = interactions.tables();
        let of_users = raw::tables_of(&snapshots[0].users.frame);
        if let Some(table) = of_users.iter().find(|table| of_interactions.contains(table)) {
            warn_line!(
                "warning: users: {}: reads the table `{table}`, from which the interactions come, so \
                 what happens at or after a date may reach a feature\n\
                 hint: let `history` make features of interactions, or give the rows of users a time: \
                 `users: {{sql: …, time: COLUMN}}`",
                view.sql.display()
            );
        }
    }
    Ok(())
}

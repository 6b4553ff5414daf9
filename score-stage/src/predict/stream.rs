//! Users through the model, read by a thread of their own so that reading and scoring overlap.

use std::ops::Range;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Result, anyhow};
use arrow::array::ArrayRef;
use contract::exit::DataError;
use contract::ids;
use contract::ipc::Table;
use contract::source_features::BrandsSeen;
use ndarray::parallel::prelude::*;
use ndarray::{ArrayView1, ArrayView2, Axis};

use super::sources::Loaded;
use super::users::{Group, NewUsers};
use crate::neighbours::blend::Blend;
use crate::scorer::{History, Scorer};

/// Groups that wait to be scored, so that memory stays bounded.
const GROUPS_WAITING: usize = 1;

/// What comes out, in order of the users.
pub enum Event<'a> {
    /// A batch of users
    Scored {
        ids: ArrayRef,
        /// `(n_users, n_brands)`
        logits: ArrayView2<'a, f32>,
    },
    /// All of a group's users were scored
    GroupEnds {
        /// Their features
        users: &'a Table,
        /// Ids of brands that were read, by feature
        seen: &'a [BrandsSeen],
        is_last_of_part: bool,
    },
}

/// Calls `each` with some users.
///
/// * `part_users`: no group crosses a multiple of this.
/// * `rows`: those of whole parts.
///
/// # Errors
///
/// The first error of `each`, a feature that training would refuse, or a logit that overflows.
pub fn for_each(
    loaded: &Loaded,
    users: &NewUsers,
    part_users: usize,
    rows: Range<usize>,
    each: impl FnMut(Event) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, groups) = sync_channel(GROUPS_WAITING);
        let reader = scope.spawn(move || read(users, part_users, rows, &sender));
        let scored = score(loaded, groups.into_iter(), each);
        // If the reader failed, scoring only saw that there were no more users.
        match reader.join() {
            Ok(read) => read.and(scored),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn read(
    users: &NewUsers,
    part_users: usize,
    rows: Range<usize>,
    sender: &SyncSender<Group>,
) -> Result<()> {
    let mut is_stopped = false;
    let read = users.for_each_group(part_users, rows, |group| {
        is_stopped = sender.send(group).is_err();
        if is_stopped { Err(anyhow!("scoring stopped")) } else { Ok(()) }
    });
    if is_stopped { Ok(()) } else { read }
}

fn score(
    loaded: &Loaded,
    groups: impl Iterator<Item = Group>,
    mut each: impl FnMut(Event) -> Result<()>,
) -> Result<()> {
    let Loaded { model, weights, lines, neighbours, .. } = loaded;
    let blend = neighbours.as_ref().map(|neighbours| Blend { neighbours, weights });
    let scorer = Scorer { model, blend, history: History::All(lines.as_ref()) };
    for group in groups {
        let ids = group.table.whole_column("user_id")?;
        let inputs = model.inputs(&group.table).map_err(DataError)?;
        let mut failed = Ok(());
        scorer.for_each_batch(&inputs, 0..group.table.n_rows(), "users", |scored| {
            if failed.is_err() {
                return Ok(());
            }
            let users = scored.logits.axis_iter(Axis(0)).into_par_iter();
            // Without a branch on each cell.
            let is_finite = |row: ArrayView1<f32>| row.fold(true, |all, z| all & z.is_finite());
            failed = if let Some(user) = users.position_first(|row| !is_finite(row)) {
                Err(overflow(&ids, scored.first() + user).into())
            } else {
                let ids = ids.slice(scored.first(), scored.logits.nrows());
                each(Event::Scored { ids, logits: scored.logits })
            };
            Ok(())
        })?;
        failed?;
        let Group { table: users, seen, is_last_of_part } = &group;
        each(Event::GroupEnds { users, seen, is_last_of_part: *is_last_of_part })?;
    }
    Ok(())
}

/// A logit overflowed: the user's features, or the model's weights, are too large.
fn overflow(ids: &ArrayRef, row: usize) -> DataError {
    DataError(format!(
        "users: user {}: the model's output is not finite; the features may be far outside the \
         range that the model was trained on",
        ids::shown(ids, row)
    ))
}

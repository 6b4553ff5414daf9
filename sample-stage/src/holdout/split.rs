//! Users -> training, valid and test users.

use anyhow::Result;
use contract::exit::DataError;
use contract::ids;
use contract::manifest::Holdout;
use contract::manifest::time::{HeldOut, HoldoutBy};
use datafusion::arrow::array::{Array, ArrayRef, StringArray};

use crate::draw::{HOLDOUT_DRAW, hashes};

/// What a user is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    Train,
    Valid,
    Test,
    /// At this date for nothing, as it is a valid or test user at another
    Unused,
}

impl Split {
    const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// Its name in `holdout.column`.
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
            Self::Unused => "nothing",
        }
    }
}

/// The split of each user, in order of the ids.
///
/// * `names`: `holdout.column`, if it is set.
///
/// # Errors
///
/// A user with another name in the column, or a split without a user.
pub fn split_users(
    ids: &ArrayRef,
    names: Option<&StringArray>,
    holdout: &Holdout,
) -> Result<Vec<Split>, DataError> {
    let mut splits = match (&holdout.column, names) {
        (Some(column), Some(names)) => named(ids, column, names)?,
        _ => vec![Split::Train; ids.len()],
    };
    draw(ids, holdout, &mut splits)?;
    let is_by_time = holdout.by == HoldoutBy::Time;
    for split in Split::ALL.into_iter().filter(|&split| !(is_by_time && split == Split::Test)) {
        if !splits.contains(&split) {
            let name = split.name();
            let remedy = match &holdout.column {
                Some(column) => format!("column `{column}` has no user with `{name}`"),
                None => "make `holdout` larger".to_owned(),
            };
            return Err(DataError(format!("users: no user is kept for {name}; {remedy}")));
        }
    }
    Ok(splits)
}

/// The splits that a column names.
fn named(ids: &ArrayRef, column: &str, names: &StringArray) -> Result<Vec<Split>, DataError> {
    let split = |(row, name): (usize, Option<&str>)| {
        Split::ALL.into_iter().find(|split| name == Some(split.name())).ok_or_else(|| {
            let id = ids::shown(ids, row);
            let found = name.map_or("null".to_owned(), |name| format!("`{name}`"));
            DataError(format!(
                "users: column `{column}`: user {id}: found {found}, expected `train`, `valid` or `test`"
            ))
        })
    };
    names.iter().enumerate().map(split).collect()
}

/// Moves as many training users to test and valid as the manifest says: in order of their draw, the
/// first to test, the next to valid. With a column, none go to test, and none to valid if it names
/// valid users.
fn draw(ids: &ArrayRef, holdout: &Holdout, splits: &mut [Split]) -> Result<(), DataError> {
    let draws = hashes(ids, holdout.seed as i64, HOLDOUT_DRAW);
    let mut drawn: Vec<u32> =
        (0..ids.len() as u32).filter(|&row| splits[row as usize] == Split::Train).collect();
    let n = drawn.len() as f64;
    let number = |amount: f64| if amount < 1.0 { (amount * n).round() } else { amount } as usize;
    let number = |held_out: &HeldOut| held_out.users().map_or(0, number);
    let n_test = if holdout.column.is_some() { 0 } else { number(&holdout.test) };
    let n_valid = if splits.contains(&Split::Valid) { 0 } else { number(&holdout.valid) };
    if drawn.is_empty()
        && let Some(column) = &holdout.column
    {
        return Err(DataError(format!("users: column `{column}` has no user with `train`")));
    }
    if n_test.saturating_add(n_valid) >= drawn.len() {
        return Err(DataError(format!(
            "users: {} users cannot give {n_valid} to valid and {n_test} to test and leave one to train on; \
             make `holdout` smaller",
            drawn.len()
        )));
    }
    // Which come first matters, not their order.
    let draw = |&row: &u32| (draws[row as usize], row);
    let n = n_test + n_valid;
    drawn.select_nth_unstable_by_key(n, draw);
    if n_test < n {
        drawn[..n].select_nth_unstable_by_key(n_test, draw);
    }
    for (i, &row) in drawn[..n].iter().enumerate() {
        splits[row as usize] = if i < n_test { Split::Test } else { Split::Valid };
    }
    Ok(())
}

//! Rows of interactions -> labels: which user has which brand, and how often it happened.

use std::sync::Arc;

use anyhow::Result;
use contract::exit::DataError;
use contract::ids::{self, IdIndex};
use contract::manifest::UnknownIds;
use contract::warn_line;
use contract::words::plural;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::ident;

use super::split::Split;
use crate::external::{Blocks, Kept, Sorted, Sorter};
use crate::raw::RawTables;
use crate::room::Room;

/// One label: positions of a user and a brand, and how often it happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    pub user: u32,
    pub brand: u32,
    /// Above 0
    pub events: f64,
}

impl Label {
    /// A number whose order is that of user, brand and events: bits of positive numbers are in order.
    pub fn key(self) -> u128 {
        let upper = u64::from(self.user) << 32 | u64::from(self.brand);
        u128::from(upper) << 64 | u128::from(self.events.to_bits())
    }

    fn of(key: u128) -> Self {
        let events = f64::from_bits(key as u64);
        Self { user: (key >> 96) as u32, brand: (key >> 64) as u32, events }
    }
}

/// Labels in order of user and brand, each once, and how many there are.
pub struct Labels {
    keys: Kept,
    counts: Counts,
}

/// Labels by split and brand.
#[derive(Clone)]
pub struct Counts {
    /// Of training, valid and test users
    by_split: [Vec<u64>; 3],
}

impl Counts {
    pub fn new(n_brands: usize) -> Self {
        Self { by_split: [(); 3].map(|()| vec![0; n_brands]) }
    }

    /// Labels of each brand.
    pub fn of(&self, split: Split) -> &[u64] {
        &self.by_split[split as usize]
    }

    /// Counts a label of a user who is kept for something.
    fn add(&mut self, split: Split, brand: u32) {
        self.by_split[split as usize][brand as usize] += 1;
    }

    /// Number of labels of some brands.
    pub fn n_labels(&self, brands: &[u32]) -> u64 {
        let of_brands = |counts: &Vec<u64>| brands.iter().map(|&b| counts[b as usize]).sum::<u64>();
        self.by_split.iter().map(of_brands).sum()
    }

    /// Adds other counts.
    pub fn plus(mut self, other: &Self) -> Self {
        for (sums, counts) in self.by_split.iter_mut().zip(&other.by_split) {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        self
    }
}

impl Labels {
    /// None yet.
    pub fn new(room: &Room, n_brands: usize) -> Self {
        Self { keys: Kept::new(room, "labels"), counts: Counts::new(n_brands) }
    }

    /// Adds some labels.
    ///
    /// * `splits`: of the users, none unused.
    ///
    /// # Errors
    ///
    /// If the disk is full, or the limit of what may be on it is reached.
    pub fn add(&mut self, room: &Room, labels: &[Label], splits: &[Split]) -> Result<()> {
        let count = |label: &Label| self.counts.add(splits[label.user as usize], label.brand);
        labels.iter().for_each(count);
        let keys: Vec<u128> = labels.iter().map(|label| label.key()).collect();
        self.keys.add(room, &keys)
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Reads from the start.
    pub fn blocks(&self) -> LabelBlocks<'_> {
        LabelBlocks { keys: self.keys.blocks() }
    }
}

/// Labels, some at a time.
pub struct LabelBlocks<'a> {
    keys: Blocks<'a>,
}

impl LabelBlocks<'_> {
    /// The next labels; `None` at the end.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn next(&mut self) -> Result<Option<impl Iterator<Item = Label>>> {
        let keys = self.keys.next()?;
        Ok((!keys.is_empty()).then(|| keys.iter().map(|&key| Label::of(key))))
    }
}

/// Sorted rows of interactions as labels: rows of one user and brand are summed.
pub struct Summed {
    rows: Sorted,
    /// May go on in the next block
    last: Option<Label>,
}

impl Summed {
    /// The next labels in order of user and brand; none at the end.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn next(&mut self, labels: &mut Vec<Label>) -> Result<()> {
        labels.clear();
        while labels.is_empty() {
            let rows = self.rows.next()?;
            if rows.is_empty() {
                labels.extend(self.last.take());
                return Ok(());
            }
            for row in rows.iter().map(|&row| Label::of(row)) {
                match &mut self.last {
                    // Smaller `events` come first, so the sum does not depend on the order of reading.
                    Some(last) if (last.user, last.brand) == (row.user, row.brand) => {
                        last.events += row.events;
                    }
                    last => labels.extend(last.replace(row)),
                }
            }
        }
        Ok(())
    }
}

/// What was seen in the rows of interactions beside labels.
#[derive(Default)]
pub struct Read {
    pub unknown_users: Unknown,
    pub unknown_brands: Unknown,
    /// Rows whose `events` is 0
    pub n_no_event: u64,
}

/// Rows whose user or brand is unknown.
#[derive(Default)]
pub struct Unknown {
    pub count: u64,
    /// Some of the ids
    first: Vec<String>,
}

/// Most ids in a message.
const IDS_NAMED: usize = 3;

impl Unknown {
    fn add(&mut self, ids: &ArrayRef, row: usize) {
        self.count += 1;
        if self.first.len() < IDS_NAMED {
            let id = ids::shown(ids, row);
            if !self.first.contains(&id) {
                self.first.push(id);
            }
        }
    }

    fn join(&mut self, other: Self) {
        self.count += other.count;
        let others = other.first.into_iter().filter(|id| !self.first.contains(id));
        let others: Vec<String> = others.collect();
        self.first.extend(others);
        self.first.truncate(IDS_NAMED);
    }

    fn message(&self, what: &str) -> Option<String> {
        let first = self.first.join(", ");
        (self.count > 0).then(|| {
            let rows = plural(self.count, "row");
            format!("{rows} of {what} that are not in `{what}` ({first}, …)")
        })
    }
}

impl Read {
    /// Reports dropped rows.
    ///
    /// * `users_appear`: whether a user may be there at a later date only, which is no mistake.
    ///
    /// # Errors
    ///
    /// If a row was dropped and the manifest does not allow it.
    pub fn report(&self, unknown_ids: UnknownIds, users_appear: bool) -> Result<(), DataError> {
        let of_users = self.unknown_users.message("users").filter(|_| !users_appear);
        let parts = [of_users, self.unknown_brands.message("brands")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            let message = format!("interactions: {}", parts.join("; "));
            if unknown_ids == UnknownIds::Error {
                return Err(DataError(format!("{message} (`data.unknown_ids` is `error`)")));
            }
            warn_line!("warning: {message}; dropped");
        }
        if self.n_no_event > 0 {
            let has = if self.n_no_event == 1 { "has" } else { "have" };
            let rows = plural(self.n_no_event, "row");
            warn_line!("note: interactions: {rows} {has} 0 `events`: no label");
        }
        Ok(())
    }

    /// Reads interactions, in parallel, as labels in order of user and brand.
    ///
    /// # Errors
    ///
    /// `events` that are negative or not finite.
    pub async fn labels(
        &mut self,
        raw: &RawTables,
        room: &Room<'_>,
        interactions: DataFrame,
        users: &Arc<IdIndex>,
        brands: &Arc<IdIndex>,
    ) -> Result<Summed> {
        let mut wanted = vec![ident("user_id"), ident("brand_id")];
        if interactions.schema().has_column_with_unqualified_name("events") {
            wanted.push(ident("events"));
        }
        let rows = interactions.select(wanted)?;
        let (users, brands) = (users.clone(), brands.clone());
        let decode = move |batch: &RecordBatch| Rows::of(batch, &users, &brands);
        let mut parts = raw.map(rows, "interactions", decode).await?;
        let mut sorter = Sorter::new(room, "labels");
        while let Some(rows) = parts.next().await {
            let rows = rows?;
            self.unknown_users.join(rows.read.unknown_users);
            self.unknown_brands.join(rows.read.unknown_brands);
            self.n_no_event += rows.read.n_no_event;
            sorter.add(room, &rows.keys)?;
        }
        Ok(Summed { rows: sorter.finish(room)?, last: None })
    }
}

/// Some rows of interactions.
#[derive(Default)]
struct Rows {
    /// Of those that are labels
    keys: Vec<u128>,
    read: Read,
}

impl Rows {
    fn of(batch: &RecordBatch, users: &IdIndex, brands: &IdIndex) -> Result<Self> {
        let bad_ids = |column| move |err: ids::IdError| err.at("interactions", column);
        let user_rows = users.positions(batch.column(0)).map_err(bad_ids("user_id"))?;
        let brand_rows = brands.positions(batch.column(1)).map_err(bad_ids("brand_id"))?;
        let events = batch.columns().get(2);
        let events = events.map(|events| cast(events, &DataType::Float64)).transpose()?;
        let events: Option<&Float64Array> =
            events.as_ref().map(AsArray::as_primitive::<Float64Type>);
        let mut found = Self::default();
        found.keys.reserve(batch.num_rows());
        for row in 0..batch.num_rows() {
            // Without a number, the event happened once.
            let events = events.filter(|events| events.is_valid(row)).map_or(1.0, |e| e.value(row));
            if !events.is_finite() || events < 0.0 {
                return Err(bad_events(batch, row, events).into());
            }
            let Self { keys, read } = &mut found;
            match (user_rows[row], brand_rows[row]) {
                _ if events == 0.0 => read.n_no_event += 1,
                (None, _) => read.unknown_users.add(batch.column(0), row),
                (_, None) => read.unknown_brands.add(batch.column(1), row),
                (Some(user), Some(brand)) => keys.push(Label { user, brand, events }.key()),
            }
        }
        Ok(found)
    }
}

fn bad_events(batch: &RecordBatch, row: usize, found: f64) -> DataError {
    let remedy = if found < 0.0 {
        "leave returns out in a view: `where events > 0`"
    } else {
        "leave such rows out in a view"
    };
    DataError(format!(
        "interactions: column `events`: user {}, brand {}: found {found}, expected a number of at \
         least 0; {remedy}",
        ids::shown(batch.column(0), row),
        ids::shown(batch.column(1), row)
    ))
}

//! The order in which examples are stored: by user, a user's originals before its clones, then
//! by content.
//!
//! It depends on the examples alone, not on the order in which a query returns them, so the file is
//! the same for any number of threads and any way of running the query.

use std::sync::{Arc, mpsc};

use anyhow::{Result, ensure};
use contract::columns::{ListBuilder, bools, f32s, u32_lists, u32s};
use contract::ipc::ROWS_PER_BATCH;
use contract::splitmix::hash;
use datafusion::arrow::array::{ArrayRef, BooleanArray, Float32Array, RecordBatch, UInt32Array};
use rayon::prelude::*;

use crate::external::{BLOCK, Kept, Sorter};
use crate::room::Room;

const _: () = assert!(BLOCK == ROWS_PER_BATCH, "a block of keys makes a batch of rows");

/// Blocks of examples that are processed in parallel at a time.
const BLOCKS_AT_ONCE: usize = 16;

/// Examples as a query returned them, and the order to store them in.
pub struct Ordered {
    batches: Vec<RecordBatch>,
    /// First row of each batch
    starts: Vec<u32>,
    /// From the highest bit on: user, whether a clone, hash of the content, row
    keys: Kept,
}

impl Ordered {
    /// Finds the order; takes 16 bytes per example, of memory or, if there is no room, of disk.
    ///
    /// # Errors
    ///
    /// If there are 2^32 examples or more, or no room.
    pub fn new(room: &Room, batches: Vec<RecordBatch>) -> Result<Self> {
        let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        ensure!(
            u32::try_from(n_rows).is_ok(),
            "the query returned {n_rows} examples, at most {} are possible",
            u32::MAX
        );
        let mut starts = Vec::with_capacity(batches.len());
        let mut keys = Sorter::new(room, "the order of examples");
        let mut start = 0;
        for batch in &batches {
            starts.push(start);
            keys.add(room, &keys_of(batch, start))?;
            start += batch.num_rows() as u32;
        }
        Ok(Self { batches, starts, keys: keys.keep(room, "the order of examples")? })
    }

    /// The sum of a result for each [`ROWS_PER_BATCH`] examples, in order; they are processed in
    /// parallel. `None` without an example.
    ///
    /// # Errors
    ///
    /// If the order cannot be read.
    pub fn sum<T: Send>(
        &self,
        result: impl Fn(&mut dyn Iterator<Item = Example<'_>>) -> T + Sync,
        plus: impl Fn(T, T) -> T,
    ) -> Result<Option<T>> {
        let mut sum: Option<T> = None;
        let mut blocks = self.keys.blocks();
        loop {
            let mut some: Vec<Vec<u128>> = Vec::new();
            while some.len() < BLOCKS_AT_ONCE {
                match blocks.next()? {
                    [] => break,
                    keys => some.push(keys.to_vec()),
                }
            }
            if some.is_empty() {
                return Ok(sum);
            }
            let results: Vec<T> = some.par_iter().map(|keys| result(&mut self.of(keys))).collect();
            for result in results {
                sum = Some(match sum {
                    Some(sum) => plus(sum, result),
                    None => result,
                });
            }
        }
    }

    /// Calls `each` with each example's row in `features`, in order.
    ///
    /// # Errors
    ///
    /// If the order cannot be read.
    pub fn each_user(&self, mut each: impl FnMut(u32)) -> Result<()> {
        let mut blocks = self.keys.blocks();
        loop {
            match blocks.next()? {
                [] => return Ok(()),
                keys => keys.iter().for_each(|key| each((key >> 96) as u32)),
            }
        }
    }

    fn of<'a>(&'a self, keys: &'a [u128]) -> impl Iterator<Item = Example<'a>> {
        let columns: Vec<_> = self
            .batches
            .iter()
            .map(|batch| {
                let lists = (u32_lists(batch, "brands"), u32_lists(batch, "ignored_brands"));
                (lists, f32s(batch, "weight"))
            })
            .collect();
        keys.iter().map(move |key| {
            let row = *key as u32;
            let batch = self.starts.partition_point(|&start| start <= row) - 1;
            let ((brands, ignored_brands), weights) = &columns[batch];
            let i = (row - self.starts[batch]) as usize;
            Example {
                user_row: (key >> 96) as u32,
                brands: brands.get(i),
                ignored_brands: ignored_brands.get(i),
                weight: weights[i],
                is_clone: (key >> 95) & 1 == 1,
            }
        })
    }

    /// Passes on the columns of `examples`, some rows at a time, in order. The next ones are
    /// gathered in parallel.
    ///
    /// # Errors
    ///
    /// The first error of `write`, or if the order cannot be read.
    pub fn write(&self, mut write: impl FnMut(Vec<ArrayRef>) -> Result<()>) -> Result<()> {
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(1);
            scope.spawn(move || {
                let mut blocks = self.keys.blocks();
                loop {
                    let columns = match blocks.next() {
                        Ok([]) => return,
                        Ok(keys) => Ok(self.columns(keys)),
                        Err(err) => Err(err),
                    };
                    // If the receiver is gone, it failed and reports the error itself.
                    if sender.send(columns).is_err() {
                        return;
                    }
                }
            });
            receiver.into_iter().try_for_each(|columns| write(columns?))
        })
    }

    fn columns(&self, keys: &[u128]) -> Vec<ArrayRef> {
        let (mut brands, mut ignored) = (ListBuilder::default(), ListBuilder::default());
        let (mut users, mut weights, mut clones) = (Vec::new(), Vec::new(), Vec::new());
        for example in self.of(keys) {
            users.push(example.user_row);
            brands.push(example.brands);
            ignored.push(example.ignored_brands);
            weights.push(example.weight);
            clones.push(example.is_clone);
        }
        vec![
            Arc::new(UInt32Array::from(users)),
            brands.finish(),
            ignored.finish(),
            Arc::new(Float32Array::from(weights)),
            Arc::new(BooleanArray::from(clones)),
        ]
    }
}

/// One row of `examples`.
#[derive(Debug, Clone, Copy)]
pub struct Example<'a> {
    /// Row of `features`
    pub user_row: u32,
    /// Shown labels, sorted
    pub brands: &'a [u32],
    /// Labels left out of the loss, sorted
    pub ignored_brands: &'a [u32],
    /// In the loss
    pub weight: f32,
    /// Whether it repeats a user
    pub is_clone: bool,
}

/// The keys of a batch's examples.
///
/// * `start`: row of the first.
fn keys_of(batch: &RecordBatch, start: u32) -> Vec<u128> {
    let (users, clones) = (u32s(batch, "user_row"), bools(batch, "is_clone"));
    let key = |(i, hash): (usize, u64)| {
        let upper = u64::from(users[i]) << 32 | u64::from(clones.value(i)) << 31 | hash >> 33;
        let lower = hash << 32 | u64::from(start + i as u32);
        u128::from(upper) << 64 | u128::from(lower)
    };
    content_hashes(batch).into_iter().enumerate().map(key).collect()
}

/// A hash of each example's content: brands, ignored brands, weight. Two examples of a user with
/// the same hash have no fixed order; the chance that they differ is 2^-63.
fn content_hashes(batch: &RecordBatch) -> Vec<u64> {
    let (brands, ignored) = (u32_lists(batch, "brands"), u32_lists(batch, "ignored_brands"));
    let weights = f32s(batch, "weight");
    (0..batch.num_rows())
        .map(|row| {
            let lists = [brands.get(row), ignored.get(row)];
            let seed = u64::from(weights[row].to_bits()) | ((lists[0].len() as u64) << 32);
            let ids = lists.into_iter().flatten();
            ids.fold(hash(seed), |key, &id| hash(key ^ u64::from(id)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::tests::{room, scratch};
    use contract::columns;
    use contract::tables::EXAMPLES;
    use datafusion::arrow::datatypes::{Field, Schema};

    fn batch(rows: &[(u32, &[u32], f32, bool)]) -> RecordBatch {
        let fields = EXAMPLES.columns.iter().map(|c| Field::new(c.name, c.kind.data_type(), false));
        let (mut brands, mut ignored) = (ListBuilder::default(), ListBuilder::<u32>::default());
        for row in rows {
            brands.push(row.1);
            ignored.push(&[]);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.0))),
            brands.finish(),
            ignored.finish(),
            Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Float32Array>()),
            Arc::new(rows.iter().map(|row| Some(row.3)).collect::<BooleanArray>()),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).unwrap()
    }

    /// The order of the rows and where batches end change nothing; originals come first.
    #[test]
    fn the_order_depends_on_the_examples_alone() {
        type Row = (u32, &'static [u32], f32, bool);
        let rows: [Row; 6] = [
            (2, &[1], 1.0, false),
            (1, &[0, 3], 1.0, true),
            (1, &[0, 2], 1.0, true),
            (1, &[0, 2], 2.0, true),
            (1, &[0, 2, 3], 1.0, false),
            (0, &[], 1.0, false),
        ];
        let mut reversed = rows;
        reversed.reverse();
        let (_dir, scratch) = scratch();
        let room = room(&scratch, 1 << 30, 0);
        let all = |batches: Vec<RecordBatch>| {
            let mut stored = Vec::new();
            let ordered = Ordered::new(&room, batches).unwrap();
            ordered
                .write(|columns| {
                    stored.push(columns);
                    Ok(())
                })
                .unwrap();
            RecordBatch::try_new(batch(&rows).schema(), stored.remove(0)).unwrap()
        };
        let (one, other) =
            (all(vec![batch(&rows)]), all(vec![batch(&reversed[..2]), batch(&reversed[2..])]));
        assert_eq!(one, other);
        assert_eq!(columns::u32s(&one, "user_row"), [0, 1, 1, 1, 1, 2]);
        let clones: Vec<_> = columns::bools(&one, "is_clone").iter().flatten().collect();
        assert_eq!(clones, [false, false, true, true, true, false]);
    }
}

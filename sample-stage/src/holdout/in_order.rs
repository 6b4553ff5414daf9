//! Rows of users in order of their ids: from memory as soon as they are there, or from buckets on disk.
//!
//! Where each user belongs is known before the rows are read, so they are not sorted. Rows wait in
//! memory until their turn comes; if they were read in order, that is at once. If there is no room,
//! all that wait and all that follow are spread over buckets: a bucket holds the users of a range of
//! positions, in the order in which they were read, and is read by memory map.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use contract::exit::DataError;
use contract::ids::{self, IdIndex};
use contract::scratch::{ScratchRows, ScratchTable};
use datafusion::arrow::array::{ArrayRef, AsArray as _, RecordBatch, UInt32Array};
use datafusion::arrow::compute::interleave_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, UInt32Type};
use datafusion::dataframe::DataFrame;

use crate::raw::{Mapped, RawTables};
use crate::room::{Memory, Room};

/// Users that are taken at a time; the files of users have batches of as many, less those of other
/// splits.
const USERS_AT_ONCE: usize = 32_768;

/// A bucket should take this share of the memory limit: it is not held in memory, but is read here and
/// there, so that it should fit.
const BUCKET_SHARE: u64 = 16;

/// Most buckets: each has an open file and a buffer.
const BUCKETS_MAX: usize = 128;

/// All rows of the users, to be taken in order.
pub struct InOrder<'a> {
    /// In any order, with the user's position in the last column
    given: Mapped<'a, RecordBatch>,
    rows: Rows<'a>,
}

impl<'a> InOrder<'a> {
    /// Starts reading the rows.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn read(
        raw: &'a RawTables,
        room: &'a Room<'a>,
        users: DataFrame,
        index: &Arc<IdIndex>,
        n_users: usize,
    ) -> Result<Self> {
        let index = index.clone();
        let with_positions = move |batch: &RecordBatch| with_positions(batch, &index);
        let given = raw.map(users, "users", with_positions).await?;
        Ok(Self { given, rows: Rows::new(room, n_users) })
    }

    /// The next users, at most [`USERS_AT_ONCE`]; `None` at the end.
    ///
    /// # Errors
    ///
    /// If the rows cannot be read, there is no room for them on disk, or they are not those of the
    /// users, each once.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while !self.rows.are_ready() {
            match self.given.next().await {
                Some(batch) => self.rows.add(batch?)?,
                None => self.rows.finish()?,
            }
        }
        self.rows.take()
    }
}

/// Rows that were read and not taken yet.
struct Rows<'a> {
    room: &'a Room<'a>,
    n_users: usize,
    /// Users that were taken
    n_taken: usize,
    store: Store,
}

enum Store {
    Memory(Waiting),
    /// Being written
    Buckets(Buckets),
    Disk(OnDisk),
    /// All were read and taken
    Empty,
}

impl<'a> Rows<'a> {
    fn new(room: &'a Room<'a>, n_users: usize) -> Self {
        let memory = room.memory("rows of users");
        let store = Store::Memory(Waiting::new(memory, n_users));
        Self { room, n_users, n_taken: 0, store }
    }

    /// The users to take next.
    fn next(&self) -> Range<usize> {
        self.n_taken..self.n_users.min(self.n_taken + USERS_AT_ONCE)
    }

    /// Whether the next users can be taken, or all were.
    fn are_ready(&self) -> bool {
        match &self.store {
            Store::Memory(waiting) => waiting.are_there(&self.next()),
            Store::Buckets(_) => false,
            Store::Disk(_) | Store::Empty => true,
        }
    }

    /// Adds rows as they come, with positions.
    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        if positions(&batch).iter().any(|&position| (position as usize) < self.n_taken) {
            return Err(changed("a user has two rows").into());
        }
        match &mut self.store {
            Store::Memory(waiting) => {
                if !waiting.add(batch)? {
                    let bucket_bytes = self.room.memory_limit / BUCKET_SHARE;
                    let per_bucket = bucket_bytes as usize / waiting.bytes_per_row();
                    let per_bucket = per_bucket.max(self.n_users.div_ceil(BUCKETS_MAX)).max(1);
                    let per_bucket = per_bucket.next_multiple_of(USERS_AT_ONCE);
                    let buckets = waiting.spill(self.room, self.n_taken, per_bucket)?;
                    self.store = Store::Buckets(buckets);
                }
                Ok(())
            }
            Store::Buckets(buckets) => buckets.add(self.room, &batch),
            Store::Disk(_) | Store::Empty => Err(changed("a user has two rows").into()),
        }
    }

    /// All rows were added.
    fn finish(&mut self) -> Result<()> {
        self.store = match std::mem::replace(&mut self.store, Store::Empty) {
            Store::Buckets(buckets) => Store::Disk(buckets.finish(self.room)?),
            _ if self.n_taken < self.n_users => return Err(changed("a user is gone").into()),
            _ => Store::Empty,
        };
        Ok(())
    }

    /// The next users, which are ready; `None` at the end.
    fn take(&mut self) -> Result<Option<RecordBatch>> {
        let users = self.next();
        if users.is_empty() {
            return Ok(None);
        }
        self.n_taken = users.end;
        match &mut self.store {
            Store::Memory(waiting) => waiting.take(users).map(Some),
            Store::Disk(on_disk) => on_disk.take(users, self.n_users).map(Some),
            Store::Buckets(_) | Store::Empty => unreachable!("they are ready"),
        }
    }
}

/// Batch and row of a user.
#[derive(Clone, Copy, PartialEq)]
struct Place(u32, u32);

const NOWHERE: Place = Place(u32::MAX, u32::MAX);

/// Rows in memory.
struct Waiting {
    memory: Memory,
    /// As they came; empty if all its rows were taken
    batches: Vec<RecordBatch>,
    /// Rows of each batch that were not taken
    n_left: Vec<usize>,
    n_rows: usize,
    n_bytes: usize,
    /// By position
    places: Vec<Place>,
    /// Of each [`USERS_AT_ONCE`] users
    n_there: Vec<usize>,
}

impl Waiting {
    fn new(memory: Memory, n_users: usize) -> Self {
        memory.grow(n_users * size_of::<Place>());
        Self {
            memory,
            batches: Vec::new(),
            n_left: Vec::new(),
            n_rows: 0,
            n_bytes: 0,
            places: vec![NOWHERE; n_users],
            n_there: vec![0; n_users.div_ceil(USERS_AT_ONCE)],
        }
    }

    /// Adds rows; false if there is no room for more.
    fn add(&mut self, batch: RecordBatch) -> Result<bool> {
        let number = self.batches.len() as u32;
        for (row, &position) in positions(&batch).iter().enumerate() {
            set(&mut self.places[position as usize], Place(number, row as u32))?;
            self.n_there[position as usize / USERS_AT_ONCE] += 1;
        }
        let n_bytes = batch.get_array_memory_size();
        self.n_rows += batch.num_rows();
        self.n_bytes += n_bytes;
        self.n_left.push(batch.num_rows());
        self.batches.push(batch);
        Ok(self.memory.grow(n_bytes))
    }

    fn are_there(&self, users: &Range<usize>) -> bool {
        let n_there = self.n_there.get(users.start / USERS_AT_ONCE);
        n_there.is_some_and(|&n| n == users.len())
    }

    fn take(&mut self, users: Range<usize>) -> Result<RecordBatch> {
        let places = &self.places[users];
        let gathered = gather(&self.batches, places)?;
        for &Place(batch, _) in places {
            let batch = batch as usize;
            self.n_left[batch] -= 1;
            if self.n_left[batch] == 0 {
                self.memory.shrink(self.batches[batch].get_array_memory_size());
                self.batches[batch] = RecordBatch::new_empty(self.batches[batch].schema());
            }
        }
        Ok(gathered)
    }

    fn bytes_per_row(&self) -> usize {
        (self.n_bytes / self.n_rows.max(1)).max(1)
    }

    /// Moves what was not taken to disk.
    fn spill(&mut self, room: &Room, n_taken: usize, per_bucket: usize) -> Result<Buckets> {
        let n_users = self.places.len();
        let mut buckets = Buckets::create(room, &self.batches[0].schema(), n_users, per_bucket)?;
        self.places = Vec::new();
        for batch in std::mem::take(&mut self.batches) {
            let is_left = |&row: &usize| positions(&batch)[row] as usize >= n_taken;
            let left: Vec<_> = (0..batch.num_rows()).filter(is_left).map(|row| (0, row)).collect();
            match left.len() {
                0 => {}
                n if n == batch.num_rows() => buckets.add(room, &batch)?,
                _ => buckets.add(room, &interleave_record_batch(&[&batch], &left)?)?,
            }
        }
        self.memory.free();
        Ok(buckets)
    }
}

/// Buckets being written.
struct Buckets {
    users_per_bucket: usize,
    tables: Vec<ScratchTable>,
}

impl Buckets {
    fn create(room: &Room, schema: &Schema, n_users: usize, per_bucket: usize) -> Result<Self> {
        let fields: Vec<Field> =
            schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        let new = |_| room.scratch.table(fields.clone()).map_err(|err| room.write_error(err));
        let tables = (0..n_users.div_ceil(per_bucket)).map(new).collect::<Result<_>>()?;
        Ok(Self { users_per_bucket: per_bucket, tables })
    }

    fn add(&mut self, room: &Room, batch: &RecordBatch) -> Result<()> {
        let mut rows: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.tables.len()];
        for (row, &position) in positions(batch).iter().enumerate() {
            rows[position as usize / self.users_per_bucket].push((0, row));
        }
        for (table, rows) in self.tables.iter_mut().zip(rows) {
            let part = match rows.len() {
                0 => continue,
                n if n == batch.num_rows() => batch.clone(),
                _ => interleave_record_batch(&[batch], &rows)?,
            };
            table.write(part.columns().to_vec()).map_err(|err| room.write_error(err))?;
        }
        room.check_disk()
    }

    fn finish(self, room: &Room) -> Result<OnDisk> {
        let finish = |table: ScratchTable| table.finish().map_err(|err| room.write_error(err));
        let buckets: Vec<_> =
            self.tables.into_iter().map(|table| finish(table).map(Some)).collect::<Result<_>>()?;
        let users_per_bucket = self.users_per_bucket;
        Ok(OnDisk { users_per_bucket, buckets, first: 0, places: Vec::new() })
    }
}

/// Rows in buckets on disk.
struct OnDisk {
    users_per_bucket: usize,
    /// By position; `None` after their users were taken
    buckets: Vec<Option<ScratchRows>>,
    /// First user of `places`
    first: usize,
    /// Of the users of a bucket
    places: Vec<Place>,
}

impl OnDisk {
    fn take(&mut self, users: Range<usize>, n_users: usize) -> Result<RecordBatch> {
        let bucket = users.start / self.users_per_bucket;
        if users.start >= self.first + self.places.len() {
            self.buckets[..bucket].fill_with(|| None);
            let end = n_users.min((bucket + 1) * self.users_per_bucket);
            self.first = users.start;
            self.places = vec![NOWHERE; end - users.start];
            for (i, batch) in self.batches(bucket).to_vec().iter().enumerate() {
                for (row, &position) in positions(batch).iter().enumerate() {
                    let place = &mut self.places[position as usize - users.start];
                    set(place, Place(i as u32, row as u32))?;
                }
            }
            if self.places.contains(&NOWHERE) {
                return Err(changed("a user is gone").into());
            }
        }
        let places = &self.places[users.start - self.first..users.end - self.first];
        gather(self.batches(bucket), places)
    }

    fn batches(&self, bucket: usize) -> &[RecordBatch] {
        &self.buckets[bucket].as_ref().expect("it is the current one").batches
    }
}

fn set(place: &mut Place, to: Place) -> Result<()> {
    if *place != NOWHERE {
        return Err(changed("a user has two rows").into());
    }
    *place = to;
    Ok(())
}

/// Rows of users with the position of each as a last column.
fn with_positions(users: &RecordBatch, index: &IdIndex) -> Result<RecordBatch> {
    let ids = users.column_by_name("user_id").expect("cast before");
    let positions = index.stored_positions(ids);
    if let Some(row) = positions.iter().position(Option::is_none) {
        return Err(changed(&format!("user {} is new", ids::shown(ids, row))).into());
    }
    let positions: ArrayRef = Arc::new(positions.into_iter().collect::<UInt32Array>());
    let field = FieldRef::new(Field::new("position", DataType::UInt32, false));
    let fields = users.schema().fields().iter().cloned().chain([field]).collect::<Vec<_>>();
    let columns = users.columns().iter().cloned().chain([positions]).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn positions(batch: &RecordBatch) -> &[u32] {
    let last = batch.columns().last().expect("it was added");
    last.as_primitive::<UInt32Type>().values()
}

fn changed(how: &str) -> DataError {
    DataError(format!("users: they changed while they were read: {how}; run the stage again"))
}

/// The rows at some places, without their positions.
fn gather(batches: &[RecordBatch], places: &[Place]) -> Result<RecordBatch> {
    let Place(first, row) = places[0];
    let follows = |(i, place): (usize, &Place)| *place == Place(first, row + i as u32);
    let mut gathered = if places.iter().enumerate().all(follows) {
        batches[first as usize].slice(row as usize, places.len()) // they were in order
    } else {
        let places: Vec<_> =
            places.iter().map(|&Place(batch, row)| (batch as usize, row as usize)).collect();
        interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &places)?
    };
    gathered.remove_column(gathered.num_columns() - 1);
    let compact = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            // Such a column may share texts with other rows, and a file would have those as well.
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => column.clone(),
        }
    };
    let columns = gathered.columns().iter().map(compact).collect();
    Ok(RecordBatch::try_new(gathered.schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::tests::{room, scratch};
    use contract::ids::IdIndex;
    use contract::splitmix::hash;
    use datafusion::arrow::array::{Float32Array, Int64Array, ListArray, StringViewArray};
    use datafusion::arrow::compute::concat_batches;
    use datafusion::arrow::datatypes::{Float32Type, Int64Type};

    const N: usize = 3 * USERS_AT_ONCE + 7;

    /// Users of some ids: a list and a text of each, of which some are null.
    fn users(ids: &[i64]) -> RecordBatch {
        let list = |&id: &i64| (id % 5 > 0).then(|| vec![Some(id as f32); (id % 3) as usize]);
        let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(ids.iter().map(list));
        let text = |&id: &i64| (id % 7 > 0).then(|| format!("the text of user {id}"));
        let texts: StringViewArray = ids.iter().map(text).collect();
        let number: Float32Array = ids.iter().map(|&id| Some(id as f32)).collect();
        RecordBatch::try_from_iter_with_nullable([
            ("user_id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef, false),
            ("list", Arc::new(lists), true),
            ("text", Arc::new(texts), true),
            ("number", Arc::new(number), false),
        ])
        .unwrap()
    }

    /// Batches of rows in any order, and the index of their ids.
    fn shuffled() -> (Vec<RecordBatch>, IdIndex) {
        let mut ids: Vec<i64> = (0..N as i64).map(|i| 3 * i).collect();
        let sorted: ArrayRef = Arc::new(Int64Array::from(ids.clone()));
        ids.sort_by_key(|&id| hash(id as u64));
        let index = IdIndex::new(&sorted, DataType::Int64).unwrap();
        (ids.chunks(10_000).map(users).collect(), index)
    }

    /// Reads users batch by batch and takes them as soon as they are ready; also returns how many
    /// buckets there were.
    fn read(
        room: &Room,
        batches: &[RecordBatch],
        index: &IdIndex,
        n_users: usize,
    ) -> Result<(usize, Vec<RecordBatch>)> {
        let mut rows = Rows::new(room, n_users);
        let (mut given, mut all) = (batches.iter(), Vec::new());
        let mut n_buckets = 0;
        loop {
            while !rows.are_ready() {
                match given.next() {
                    Some(batch) => rows.add(with_positions(batch, index)?)?,
                    None => rows.finish()?,
                }
                if let Store::Disk(on_disk) = &rows.store {
                    n_buckets = on_disk.buckets.len();
                }
            }
            match rows.take()? {
                Some(batch) => all.push(batch),
                None => return Ok((n_buckets, all)),
            }
        }
    }

    #[test]
    fn rows_are_in_order_from_memory_and_from_disk() {
        let (_dir, scratch) = scratch();
        let (batches, index) = shuffled();
        let expected = users(&(0..N as i64).map(|i| 3 * i).collect::<Vec<_>>());
        let mut found = Vec::new();
        for (memory, n_buckets) in [(1 << 30, 0), (4 << 20, 4), (0, 4)] {
            let room = room(&scratch, memory, 1 << 30);
            let (n, all) = read(&room, &batches, &index, N).unwrap();
            assert_eq!(n, n_buckets);
            let sizes: Vec<usize> = all.iter().map(RecordBatch::num_rows).collect();
            assert_eq!(sizes, [USERS_AT_ONCE, USERS_AT_ONCE, USERS_AT_ONCE, 7]);
            assert_eq!(concat_batches(&expected.schema(), &all).unwrap(), expected);
            let buffers =
                |batch: &RecordBatch| batch.column(2).as_string_view().data_buffers().to_vec();
            found.push(all.iter().map(buffers).collect::<Vec<_>>());
        }
        assert!(
            found.windows(2).all(|pair| pair[0] == pair[1]),
            "not only equal, but stored alike"
        );
        assert_eq!(scratch.used_bytes(), 0, "nothing is left on disk");
    }

    /// As if another program wrote the table between two readings.
    #[test]
    fn other_users_than_before_are_an_error() {
        let (_dir, scratch) = scratch();
        let room = room(&scratch, 1 << 30, 0);
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let index = IdIndex::new(&ids, DataType::Int64).unwrap();
        let message = |ids: &[i64]| {
            let read = read(&room, &[users(ids)], &index, 3);
            read.unwrap_err().to_string()
        };
        let starts = "users: they changed while they were read: ";
        assert_eq!(message(&[3, 1, 4]), format!("{starts}user `4` is new; run the stage again"));
        assert!(message(&[3, 1, 3, 2]).contains("a user has two rows"));
        assert!(message(&[3, 1]).contains("a user is gone"));
    }

    #[test]
    fn no_room_on_disk_is_an_error() {
        let (_dir, scratch) = scratch();
        let (batches, index) = shuffled();
        let room = room(&scratch, 0, 1 << 10);
        let message = read(&room, &batches, &index, N).err().unwrap().to_string();
        assert!(message.contains("`data.scratch_limit`"), "{message}");
    }

    /// Rows that are in order already are not copied, and wait for nothing: of three batches, there is
    /// room for one.
    #[test]
    fn rows_in_order_are_passed_on() {
        let (_dir, scratch) = scratch();
        let n = 3 * USERS_AT_ONCE;
        let ids: Vec<i64> = (0..n as i64).collect();
        let all: ArrayRef = Arc::new(Int64Array::from(ids.clone()));
        let index = IdIndex::new(&all, DataType::Int64).unwrap();
        let given: Vec<RecordBatch> = ids.chunks(USERS_AT_ONCE).map(users).collect();
        let of_one = with_positions(&given[2], &index).unwrap().get_array_memory_size();
        let room = room(&scratch, 2 * (of_one + n * size_of::<Place>()), 0);
        let (n_buckets, all) = read(&room, &given, &index, n).unwrap();
        assert_eq!(n_buckets, 0);
        let first =
            |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().as_ptr();
        assert!(all.iter().map(first).eq(given.iter().map(first)));
    }
}

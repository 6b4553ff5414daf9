//! Rows of users in order of their ids: kept in memory, or spread over buckets on disk.
//!
//! Where each user belongs is known before the rows are read, so they are not sorted: a bucket holds
//! the users of a range of positions, in the order in which they were read, and is read by memory map.

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

use crate::raw::RawTables;
use crate::room::{Memory, Room};

/// Users that are taken at a time; the files of users have batches of as many, less those of other
/// splits.
pub const USERS_AT_ONCE: usize = 32_768;

/// A bucket should take this share of the memory limit: it is not held in memory, but is read here and
/// there, so that it should fit.
const BUCKET_SHARE: u64 = 16;

/// Most buckets: each has an open file and a buffer.
const BUCKETS_MAX: usize = 128;

/// All rows of the users, to be taken in order.
pub struct InOrder {
    n_users: usize,
    users_per_bucket: usize,
    /// By position
    buckets: Vec<Bucket>,
    /// Of the bucket that is being read
    places: Vec<Place>,
    next: usize,
    _memory: Memory,
}

/// Rows with their users' positions in the last column.
enum Bucket {
    InMemory(Vec<RecordBatch>),
    OnDisk(ScratchRows),
}

/// Batch and row of a user.
#[derive(Clone, Copy, PartialEq)]
struct Place(u32, u32);

const NOWHERE: Place = Place(u32::MAX, u32::MAX);

impl InOrder {
    /// Reads the rows.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or there is no room for them on disk.
    pub async fn read(
        raw: &RawTables,
        room: &Room<'_>,
        users: DataFrame,
        index: &Arc<IdIndex>,
        n_users: usize,
    ) -> Result<Self> {
        let index = index.clone();
        let with_positions = move |batch: &RecordBatch| with_positions(batch, &index);
        let mut rows = raw.map(users, "users", with_positions).await?;
        let mut reading = Reading::new(room, n_users);
        while let Some(batch) = rows.next().await {
            reading.add(batch?)?;
        }
        reading.finish()
    }

    /// The next users, at most [`USERS_AT_ONCE`]; `None` at the end.
    ///
    /// # Errors
    ///
    /// If the rows are not those of the users, each once.
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.next == self.n_users {
            return Ok(None);
        }
        let (bucket, start) =
            (self.next / self.users_per_bucket, self.next % self.users_per_bucket);
        if start == 0 {
            if bucket > 0 {
                self.buckets[bucket - 1] = Bucket::InMemory(Vec::new()); // frees it
            }
            let first = self.next;
            let range = first..self.n_users.min(first + self.users_per_bucket);
            self.places = places(self.buckets[bucket].batches(), range)?;
        }
        let places = &self.places[start..self.places.len().min(start + USERS_AT_ONCE)];
        self.next += places.len();
        gather(self.buckets[bucket].batches(), places).map(Some)
    }
}

impl Bucket {
    fn batches(&self) -> &[RecordBatch] {
        match self {
            Self::InMemory(batches) => batches,
            Self::OnDisk(rows) => &rows.batches,
        }
    }
}

/// Rows of users with the position of each as a last column.
fn with_positions(users: &RecordBatch, index: &IdIndex) -> Result<RecordBatch> {
    let ids = users.column_by_name("user_id").expect("cast before");
    let positions = index.positions(ids).map_err(|err| err.at("users", "user_id"))?;
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

/// The rows as they come.
struct Reading<'a> {
    room: &'a Room<'a>,
    n_users: usize,
    memory: Memory,
    in_memory: Vec<RecordBatch>,
    n_bytes: usize,
    on_disk: Option<Buckets>,
}

impl<'a> Reading<'a> {
    fn new(room: &'a Room<'a>, n_users: usize) -> Self {
        let memory = room.memory("rows of users");
        Self { room, n_users, memory, in_memory: Vec::new(), n_bytes: 0, on_disk: None }
    }

    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        if let Some(buckets) = &mut self.on_disk {
            return buckets.add(self.room, &batch);
        }
        let n_bytes = batch.get_array_memory_size();
        let is_held = self.memory.grow(n_bytes);
        self.n_bytes += n_bytes;
        self.in_memory.push(batch);
        if !is_held {
            self.move_to_disk()?;
        }
        Ok(())
    }

    fn move_to_disk(&mut self) -> Result<()> {
        let n_rows: usize = self.in_memory.iter().map(RecordBatch::num_rows).sum();
        let bucket_bytes = (self.room.memory_limit / BUCKET_SHARE) as usize;
        let per_bucket = bucket_bytes / (self.n_bytes / n_rows).max(1);
        let per_bucket = per_bucket.max(self.n_users.div_ceil(BUCKETS_MAX));
        let per_bucket = per_bucket.max(1).next_multiple_of(USERS_AT_ONCE);
        let schema = self.in_memory[0].schema();
        let mut buckets = Buckets::create(self.room, &schema, self.n_users, per_bucket)?;
        for batch in std::mem::take(&mut self.in_memory) {
            buckets.add(self.room, &batch)?;
        }
        self.memory.free();
        self.on_disk = Some(buckets);
        Ok(())
    }

    fn finish(self) -> Result<InOrder> {
        let Self { room, n_users, memory, in_memory, on_disk, .. } = self;
        let (users_per_bucket, buckets) = match on_disk {
            None => (n_users, vec![Bucket::InMemory(in_memory)]),
            Some(buckets) => (buckets.users_per_bucket, buckets.finish(room)?),
        };
        Ok(InOrder {
            n_users,
            users_per_bucket,
            buckets,
            places: Vec::new(),
            next: 0,
            _memory: memory,
        })
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

    fn finish(self, room: &Room) -> Result<Vec<Bucket>> {
        let finish = |table: ScratchTable| {
            let rows = table.finish().map_err(|err| room.write_error(err))?;
            Ok(Bucket::OnDisk(rows))
        };
        self.tables.into_iter().map(finish).collect()
    }
}

/// Where the users of a range of positions are.
fn places(batches: &[RecordBatch], range: Range<usize>) -> Result<Vec<Place>> {
    let mut places = vec![NOWHERE; range.len()];
    for (i, batch) in batches.iter().enumerate() {
        for (row, &position) in positions(batch).iter().enumerate() {
            let place = &mut places[position as usize - range.start];
            if *place != NOWHERE {
                return Err(changed("a user has two rows").into());
            }
            *place = Place(i as u32, row as u32);
        }
    }
    if places.contains(&NOWHERE) {
        return Err(changed("a user is gone").into());
    }
    Ok(places)
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

    fn read(
        room: &Room,
        batches: &[RecordBatch],
        index: &IdIndex,
        n_users: usize,
    ) -> Result<(usize, Vec<RecordBatch>)> {
        let mut reading = Reading::new(room, n_users);
        for batch in batches {
            reading.add(with_positions(batch, index)?)?;
        }
        let mut rows = reading.finish()?;
        let mut all = Vec::new();
        while let Some(batch) = rows.next()? {
            all.push(batch);
        }
        Ok((rows.buckets.len(), all))
    }

    #[test]
    fn rows_are_in_order_from_memory_and_from_disk() {
        let (_dir, scratch) = scratch();
        let (batches, index) = shuffled();
        let expected = users(&(0..N as i64).map(|i| 3 * i).collect::<Vec<_>>());
        let mut found = Vec::new();
        for (memory, n_buckets) in [(1 << 30, 1), (1 << 20, 4), (0, 4)] {
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

    /// Rows that are in order already are not copied.
    #[test]
    fn rows_in_order_are_passed_on() {
        let (_dir, scratch) = scratch();
        let room = room(&scratch, 1 << 30, 0);
        let ids: Vec<i64> = (0..10).collect();
        let index =
            IdIndex::new(&(Arc::new(Int64Array::from(ids.clone())) as ArrayRef), DataType::Int64);
        let given = users(&ids);
        let (_, all) = read(&room, std::slice::from_ref(&given), &index.unwrap(), 10).unwrap();
        let first =
            |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().as_ptr();
        assert_eq!(first(&all[0]), first(&given));
    }
}

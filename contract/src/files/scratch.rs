//! A stage's unfinished work on disk: a folder that is removed when the run ends.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::writer::FileWriter;

use super::lock::{open_alone, stands_at};
use crate::interrupt;
use crate::ipc::{self, Error};

/// A folder for unfinished work beside a stage's outputs, locked by one run at a time.
///
/// It is removed when dropped and on Ctrl-C. Leftovers of a killed run are removed by the next one.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock: File,
}

impl Scratch {
    /// Makes the folder, empty, in the stage's folder.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be made or another run holds it.
    pub fn create(stage_dir: &Path) -> Result<Self, Error> {
        let path = stage_dir.join(".scratch");
        let open = || fs::create_dir_all(&path).and_then(|()| File::open(&path));
        let lock = open_alone(&path, stage_dir, open)?;
        let leftovers = fs::read_dir(&path).map_err(|err| Error::io(&path, err))?;
        for leftover in leftovers.flatten().map(|entry| entry.path()) {
            let removed = if leftover.is_dir() {
                fs::remove_dir_all(&leftover)
            } else {
                fs::remove_file(&leftover)
            };
            removed.map_err(|err| Error::io(&leftover, err))?;
        }
        interrupt::remove_on_interrupt(&path);
        Ok(Self { path, lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts a table that is gone after this run.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be made.
    pub fn table(&self, fields: Vec<Field>) -> Result<ScratchTable, Error> {
        let path = self.path.join("table");
        let failed = |err| Error::io(&path, err);
        let file =
            File::options().create_new(true).read(true).write(true).open(&path).map_err(failed)?;
        fs::remove_file(&path).map_err(failed)?; // it exists as long as it is open
        let map = file.try_clone().map_err(failed)?;
        let schema = Arc::new(Schema::new(fields));
        let inner = FileWriter::try_new(BufWriter::with_capacity(1 << 20, file), &schema)
            .map_err(|err| ipc::failed(&path, err))?;
        Ok(ScratchTable { inner, map, path, bytes: 0 })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if stands_at(&self.lock, &self.path) {
            let _ = fs::remove_dir_all(&self.path);
        }
        interrupt::keep(&self.path);
    }
}

/// A table being written to the scratch folder.
pub struct ScratchTable {
    inner: FileWriter<BufWriter<File>>,
    map: File,
    path: PathBuf,
    bytes: u64,
}

impl ScratchTable {
    /// Adds rows.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], as when the disk is full.
    pub fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), Error> {
        let schema: SchemaRef = self.inner.schema().clone();
        let batch = RecordBatch::try_new(schema, columns).expect("columns as the table was made");
        let sliced = |column: &ArrayRef| column.to_data().get_slice_memory_size();
        self.bytes += batch.columns().iter().map(|c| sliced(c).unwrap_or(0) as u64).sum::<u64>();
        self.inner.write(&batch).map_err(|err| ipc::failed(&self.path, err))
    }

    /// Approximate size of its rows on disk, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rows, read by memory map.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], as when the disk is full.
    pub fn finish(self) -> Result<Vec<RecordBatch>, Error> {
        let Self { mut inner, map, path, .. } = self;
        inner.finish().map_err(|err| ipc::failed(&path, err))?;
        let buffered = inner.into_inner().map_err(|err| ipc::failed(&path, err))?;
        buffered.into_inner().map_err(|err| Error::io(&path, err.into_error()))?;
        ipc::read_scratch(&path, &map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::UInt32Array;
    use arrow::datatypes::{DataType, UInt32Type};

    #[test]
    fn a_scratch_table_reads_back_as_written_and_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(dir.path()).unwrap();
        let mut table = scratch.table(vec![Field::new("row", DataType::UInt32, false)]).unwrap();
        for first in [0, 10] {
            table.write(vec![Arc::new(UInt32Array::from_iter_values(first..first + 10))]).unwrap();
        }
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "it has no name");
        let batches = table.finish().unwrap();
        let rows = |batch: &RecordBatch| {
            arrow::array::AsArray::as_primitive::<UInt32Type>(batch.column(0)).values().to_vec()
        };
        assert_eq!(batches.iter().flat_map(rows).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        drop(scratch);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_of_a_killed_run_are_removed_and_a_second_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".scratch/datafusion-1")).unwrap();
        fs::write(dir.path().join(".scratch/datafusion-1/spill"), "x").unwrap();
        let scratch = Scratch::create(dir.path()).unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        let message = Scratch::create(dir.path()).unwrap_err().to_string();
        assert!(message.contains("another run is writing"), "{message}");
    }
}

//! A stage's unfinished work on disk: a folder that is removed when the run ends.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::writer::FileWriter;

use super::lock::{open_alone, stands_at};
use crate::interrupt;
use crate::ipc::{self, Error};

/// Bytes of a table that are written at a time. A stage may have a hundred tables.
const BUFFER_BYTES: usize = 256 << 10;

/// A folder for unfinished work beside a stage's outputs, locked by one run at a time.
///
/// It is removed when dropped and on Ctrl-C. Leftovers of a killed run are removed by the next one.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock: File,
    /// Bytes of all files that are in use
    used: Arc<AtomicU64>,
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
        Ok(Self { path, lock, used: Arc::default() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of all files that are in use, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Starts a file that is gone when it is dropped, however this run ends.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be made.
    pub fn file(&self) -> Result<ScratchFile, Error> {
        let path = self.path.join("unnamed");
        let failed = |err| Error::io(&path, err);
        let file =
            File::options().create_new(true).read(true).write(true).open(&path).map_err(failed)?;
        fs::remove_file(&path).map_err(failed)?; // it exists as long as it is open
        Ok(ScratchFile { file, path, n_bytes: 0, used: self.used.clone() })
    }

    /// Starts a table that is gone when it is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be made.
    pub fn table(&self, fields: Vec<Field>) -> Result<ScratchTable, Error> {
        let file = self.file()?;
        let path = file.path.clone();
        let inner = BufWriter::with_capacity(BUFFER_BYTES, file);
        let inner = FileWriter::try_new(inner, &Schema::new(fields))
            .map_err(|err| ipc::failed(&path, err))?;
        Ok(ScratchTable { inner, path })
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

/// A file without a name. It is written from start to end and read anywhere.
#[derive(Debug)]
pub struct ScratchFile {
    file: File,
    path: PathBuf,
    n_bytes: u64,
    used: Arc<AtomicU64>,
}

impl ScratchFile {
    /// Its size, in bytes.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], as when the disk is full.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.write_all(bytes).map_err(|err| Error::io(&self.path, err))
    }

    /// Reads bytes that were written.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read_exact_at(bytes, offset).map_err(|err| Error::io(&self.path, err))
    }
}

impl Write for ScratchFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.n_bytes += n as u64;
        self.used.fetch_add(n as u64, Relaxed);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        self.used.fetch_sub(self.n_bytes, Relaxed);
    }
}

/// A table being written to the scratch folder.
pub struct ScratchTable {
    inner: FileWriter<BufWriter<ScratchFile>>,
    path: PathBuf,
}

/// The rows of a table in the scratch folder, read by memory map.
#[derive(Debug)]
pub struct ScratchRows {
    /// The rows as they were written
    pub batches: Vec<RecordBatch>,
    /// Counts as used while it is there
    _file: ScratchFile,
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
        self.inner.write(&batch).map_err(|err| ipc::failed(&self.path, err))
    }

    /// The rows.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], as when the disk is full.
    pub fn finish(self) -> Result<ScratchRows, Error> {
        let Self { mut inner, path } = self;
        inner.finish().map_err(|err| ipc::failed(&path, err))?;
        let buffered = inner.into_inner().map_err(|err| ipc::failed(&path, err))?;
        let file = buffered.into_inner().map_err(|err| Error::io(&path, err.into_error()))?;
        Ok(ScratchRows { batches: ipc::read_scratch(&path, &file.file)?, _file: file })
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
        let ScratchRows { batches, .. } = table.finish().unwrap();
        let rows = |batch: &RecordBatch| {
            arrow::array::AsArray::as_primitive::<UInt32Type>(batch.column(0)).values().to_vec()
        };
        assert_eq!(batches.iter().flat_map(rows).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        drop(scratch);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_count_as_used_until_they_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(dir.path()).unwrap();
        let (mut one, mut other) = (scratch.file().unwrap(), scratch.file().unwrap());
        one.append(b"abcdef").unwrap();
        other.append(b"xyz").unwrap();
        let mut found = [0; 3];
        one.read_at(&mut found, 2).unwrap();
        assert_eq!((&found, scratch.used_bytes()), (b"cde", 9));
        drop(one);
        assert_eq!(scratch.used_bytes(), 3);
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

//! Arrow IPC files, written atomically and read by memory map.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use memmap2::Mmap;

use super::arrow_file::{Batches, Source, Unmapped, decoded};
pub use super::error::Error;
use super::lock::{open_alone, stands_at};
use crate::interrupt;
use crate::tables::{Contract, HISTORY};
use crate::words::plural;

/// Rows of one record batch of a written table, the last apart.
pub const ROWS_PER_BATCH: usize = 65_536;

/// Metadata keys of every file.
const CONTRACT_KEY: &str = "contract";
const VERSION_KEY: &str = "contract_version";
/// Metadata that every file gets when it is written.
pub const CONTRACT_KEYS: [&str; 2] = [CONTRACT_KEY, VERSION_KEY];

/// A table in memory; the columns of one that was read are in the mapped file.
#[derive(Debug, Clone)]
pub struct Table {
    /// Columns and metadata
    pub schema: SchemaRef,
    /// The rows
    pub batches: Vec<RecordBatch>,
    /// Where it was read
    pub path: PathBuf,
}

impl Table {
    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// A value of the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.schema.metadata().get(key).map(String::as_str)
    }

    /// The experiment that made the table, if the file says.
    pub fn experiment(&self) -> Option<&str> {
        self.metadata(EXPERIMENT_KEY)
    }

    /// The error of a file that violates more than its contract can express.
    pub fn broken(&self, contract: &Contract, found: impl Into<String>) -> Error {
        Error::broken(&self.path, contract, found)
    }

    /// All rows of one column.
    ///
    /// # Errors
    ///
    /// If the column's batches differ in type, which those of a written table do not.
    pub fn whole_column(&self, name: &str) -> Result<ArrayRef, ArrowError> {
        let parts: Vec<&dyn Array> =
            self.batches.iter().map(|batch| crate::columns::column(batch, name).as_ref()).collect();
        if parts.is_empty() {
            let field = self.schema.field_with_name(name)?;
            return Ok(arrow::array::new_empty_array(field.data_type()));
        }
        arrow::compute::concat(&parts)
    }
}

/// Maps a file of `run_dir` and checks it against its contract.
///
/// The columns are not copied: they live in the map, and the map as long as they do. A file that a
/// user names is for [`read_unmapped`].
///
/// # Errors
///
/// [`Error::Missing`], [`Error::Io`], or [`Error::Broken`] with what was found and what was
/// expected: not an Arrow file, truncated, another contract or version, a column that is missing or
/// of another type, a null where none may be.
pub fn read(path: &Path, contract: &Contract) -> Result<Table, Error> {
    let file = open(path, contract)?;
    checked(path, contract, map(path, &file)?)
}

/// As [`read`], for a file that a user names: its bytes are read, not mapped, as it may be truncated
/// meanwhile.
///
/// # Errors
///
/// As [`read`].
pub fn read_unmapped(path: &Path, contract: &Contract) -> Result<Table, Error> {
    let file = open(path, contract)?;
    let source = Unmapped::new(Box::new(file)).map_err(|err| Error::io(path, err))?;
    checked(path, contract, source)
}

/// As [`read_unmapped`], but nothing is decoded before `accept` has seen the hash of the bytes. Also
/// returns the hash.
///
/// # Errors
///
/// As [`read_unmapped`]; also the error of `accept`.
pub fn read_accepted(
    path: &Path,
    contract: &Contract,
    accept: impl FnOnce(&str) -> Result<(), Error>,
) -> Result<(Table, String), Error> {
    let mut file = open(path, contract)?;
    // The same open file is hashed and decoded: another one may take its place meanwhile.
    let hash = hash_rest(&mut file).map_err(|err| Error::io(path, err))?;
    accept(&hash)?;
    let source = Unmapped::new(Box::new(file)).map_err(|err| Error::io(path, err))?;
    Ok((checked(path, contract, source)?, hash))
}

fn open(path: &Path, contract: &Contract) -> Result<File, Error> {
    let missing = || Error::Missing { path: path.display().to_string(), contract: contract.name };
    // Opening a pipe would wait for somebody who writes to it.
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(Error::broken(path, contract, "is not a regular file"));
    }
    let file = File::open(path).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => missing(),
        _ => Error::io(path, err),
    })?;
    let metadata = file.metadata().map_err(|err| Error::io(path, err))?;
    if !metadata.is_file() {
        return Err(Error::broken(path, contract, "is not a regular file"));
    }
    Ok(file)
}

/// The rows of a file, checked against their contract.
fn checked(path: &Path, contract: &Contract, source: impl Source) -> Result<Table, Error> {
    let (schema, batches) = decoded(|| decode(source)).map_err(|err| match err {
        ArrowError::IoError(_, err) if err.kind() != io::ErrorKind::UnexpectedEof => {
            Error::io(path, err)
        }
        err => Error::broken(path, contract, format!("not a whole Arrow file: {err}")),
    })?;
    if let Some(mismatch) = contract.mismatch(&schema) {
        return Err(Error::broken(path, contract, mismatch));
    }
    let table = Table { schema, batches, path: path.to_path_buf() };
    for column in contract.columns_of(&table.schema).filter(|c| !c.kind.is_nullable()) {
        let n_nulls: usize = table.batches.iter().map(|batch| column.n_nulls(batch)).sum();
        if n_nulls > 0 {
            let nulls = plural(n_nulls as u64, "null");
            let found = format!("column `{}` holds {nulls}, expected none", column.name);
            return Err(table.broken(contract, found));
        }
    }
    let name = table.metadata(CONTRACT_KEY);
    if name != Some(contract.name) {
        let found =
            name.map_or("no contract in its metadata".to_owned(), |n| format!("a `{n}` table"));
        return Err(
            table.broken(contract, format!("found {found}, expected a `{}` table", contract.name))
        );
    }
    let version = table.metadata(VERSION_KEY).unwrap_or("none");
    if version != contract.version.to_string() {
        let found = format!(
            "found version {version} of `{}`, expected {}",
            contract.name, contract.version
        );
        return Err(table.broken(contract, found));
    }
    Ok(table)
}

/// Maps a file for as long as its columns are used.
///
/// If a mapped file is truncated, the process that reads it ends with a bus error, and no check
/// before can prevent that. So only what our own programs wrote to `run_dir` is mapped: tables
/// between stages, checkpoints, scratch files without a name. They are put in place by rename and
/// never written again. All that users write is read: `--model`, `--thresholds` and
/// `train.pretrained` by [`read_unmapped`], `--users` and raw Arrow tables by `UserFile`, other raw
/// tables by their readers.
fn map(path: &Path, file: &File) -> Result<Arc<Mmap>, Error> {
    // SAFETY: the map is read-only, and nothing of ours changes the bytes of a file in place.
    unsafe { Mmap::map(file) }.map(Arc::new).map_err(|err| Error::io(path, err))
}

/// The rows of a scratch table that this process has just written.
pub(crate) fn read_scratch(path: &Path, file: &File) -> Result<Vec<RecordBatch>, Error> {
    let (_, batches) = decode(map(path, file)?).map_err(|err| failed(path, err))?;
    Ok(batches)
}

fn decode(source: impl Source) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let mut batches = Batches::open(source)?;
    let rows = batches.by_ref().collect::<Result<_, _>>()?;
    Ok((batches.schema, rows))
}

/// A table being written beside its target, in a thread of its own.
///
/// Dropping it without [`Writer::finish`] removes what was written.
pub struct Writer {
    encoding: Encoding, // ends before the file is removed
    partial: Partial,
    contract: &'static Contract,
    schema: SchemaRef,
    n_rows: u64,
}

/// Batches that wait to be encoded, so that memory stays bounded.
const BATCHES_WAITING: usize = 1;

/// The thread that encodes, hashes and writes batches.
struct Encoding {
    batches: Option<SyncSender<RecordBatch>>,
    thread: Option<JoinHandle<Result<Encoder, ArrowError>>>,
}

struct Encoder {
    inner: FileWriter<BufWriter<Hashing>>,
    content: Box<StreamWriter<Digest>>,
    /// Columns that the hash of the content counts
    counted: Vec<usize>,
}

impl Encoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.inner.write(batch)?;
        self.content.write(&batch.project(&self.counted)?)
    }
}

impl Encoding {
    fn start(mut encoder: Encoder) -> io::Result<Self> {
        let (sender, batches) = mpsc::sync_channel::<RecordBatch>(BATCHES_WAITING);
        let encode = move || {
            for batch in batches {
                encoder.write(&batch)?;
            }
            encoder.inner.finish()?;
            Ok(encoder)
        };
        let thread = thread::Builder::new().name("table".to_owned()).spawn(encode)?;
        Ok(Self { batches: Some(sender), thread: Some(thread) })
    }

    /// Adds a batch.
    fn add(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        let sent = self.batches.as_ref().map(|batches| batches.send(batch));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => self.end().map(|_| ()), // it failed
        }
    }

    /// Waits for the rest.
    fn end(&mut self) -> Result<Encoder, ArrowError> {
        self.batches = None;
        let failed = || ArrowError::IpcError("writing failed before".to_owned());
        match self.thread.take().ok_or_else(failed)?.join() {
            Ok(encoder) => encoder,
            Err(panic) => panic::resume_unwind(panic),
        }
    }
}

impl Drop for Encoding {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Counts and hashes the bytes on their way to the file.
struct Hashing {
    file: File,
    hasher: blake3::Hasher,
    n_bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.n_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Hashes the content of a table, independent of who made it: its columns except times, its
/// metadata except the two keys below, and its rows. The same rows written by another experiment or
/// another build have the same digest.
struct Digest(blake3::Hasher);

/// Hash of texts and of the rows of batches with the same columns, independent of the layout of a
/// file.
///
/// # Errors
///
/// If a batch has other columns than the first.
pub fn hash_rows<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    batches: impl IntoIterator<Item = RecordBatch>,
) -> Result<String, ArrowError> {
    let mut batches = batches.into_iter().peekable();
    let fields = batches.peek().map(|batch| batch.schema().fields().clone()).unwrap_or_default();
    let mut writer = StreamWriter::try_new(Digest::of_texts(texts), &Schema::new(fields))?;
    for batch in batches {
        writer.write(&batch)?;
    }
    let Digest(hasher) = writer.into_inner()?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Columns of `history` that are times: they differ from run to run, and no result depends on them.
const TIMES: [&str; 2] = ["secs", "rows_per_s"];

/// Metadata: hash of all that a table was made of.
pub(crate) const FINGERPRINT_KEY: &str = "fingerprint";
/// Metadata: the experiment that made a table.
pub(crate) const EXPERIMENT_KEY: &str = "experiment";

impl Digest {
    fn of(schema: &Schema, contract: &Contract) -> Result<StreamWriter<Self>, ArrowError> {
        let mut metadata: Vec<_> = schema.metadata().iter().collect();
        metadata.retain(|(key, _)| *key != FINGERPRINT_KEY && *key != EXPERIMENT_KEY);
        metadata.sort(); // a map has no order of its own
        let texts = metadata.into_iter().flat_map(|(key, value)| [key.as_str(), value]);
        let plain =
            Schema::new(schema.fields().clone()).project(&Self::columns(schema, contract))?;
        StreamWriter::try_new(Self::of_texts(texts), &plain)
    }

    fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for text in texts {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        Self(hasher)
    }

    /// Indices of the columns that count.
    fn columns(schema: &Schema, contract: &Contract) -> Vec<usize> {
        let is_history = contract.name == HISTORY.name;
        let is_time = |i: usize| is_history && TIMES.contains(&schema.field(i).name().as_str());
        let is_counted = |&i: &usize| !is_time(i);
        (0..schema.fields().len()).filter(is_counted).collect()
    }
}

impl Write for Digest {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.update(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The unfinished file; removed when dropped.
struct Partial {
    path: PathBuf,
    target: PathBuf,
    /// Held until the file is renamed or removed
    lock: File,
}

impl Partial {
    /// Opens and locks the unfinished file: two runs that write the same target would damage it.
    fn create(target: &Path) -> Result<(Self, File), Error> {
        check_target(target)?;
        let dir =
            target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(dir).map_err(|err| Error::io(dir, err))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = dir.join(format!(".{name}.partial"));
        let open = || File::options().create(true).truncate(false).write(true).open(&path);
        let file = open_alone(&path, target, open)?;
        file.set_len(0).map_err(|err| Error::io(&path, err))?;
        let lock = file.try_clone().map_err(|err| Error::io(&path, err))?;
        interrupt::remove_on_interrupt(&path);
        Ok((Self { path, target: target.to_path_buf(), lock }, file))
    }
}

/// Checks that the target is a file or new: renaming would replace anything else.
///
/// # Errors
///
/// [`Error::Target`].
pub fn check_target(target: &Path) -> Result<(), Error> {
    let is_url = stores::is_url(&target.to_string_lossy());
    let found = match fs::symlink_metadata(target) {
        _ if is_url => "is a URL, and this is only written to local files",
        // `/dev/stdout` is one: renaming over it would remove it for all programs.
        Ok(there) if there.is_symlink() => "is a link, name the file itself",
        Ok(there) if there.is_dir() => "is a folder",
        Ok(there) if !there.is_file() => "is a device or a pipe",
        _ if target.file_name().is_none() => "is not a file name",
        Err(_) if target.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            "is the name of a folder"
        }
        _ => return Ok(()),
    };
    Err(Error::Target { path: target.display().to_string(), found })
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After `commit` the path may hold the unfinished file of another run.
        if stands_at(&self.lock, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
        interrupt::keep(&self.path);
    }
}

/// A table that is complete and synced, but not in its place yet.
#[must_use = "a finished table takes its place with `commit`"]
pub struct Finished {
    partial: Partial,
    /// Hash of the file's bytes
    pub blake3: String,
    /// Hash of its content, independent of who made it
    pub content: String,
    /// Size of the file
    pub n_bytes: u64,
    /// Rows of the table
    pub n_rows: u64,
}

impl Finished {
    /// Path that it is put at.
    pub fn target(&self) -> &Path {
        &self.partial.target
    }

    /// Puts the file in its place: a reader sees the old one or the new one.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be renamed.
    pub fn commit(self) -> Result<(), Error> {
        let Partial { path, target, .. } = &self.partial;
        fs::rename(path, target).map_err(|err| Error::io(target, err))
    }
}

impl Writer {
    /// Starts a table with these columns, which must fit its contract.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be made, [`Error::Broken`] if the columns are not the contract's.
    pub fn create(
        target: &Path,
        contract: &'static Contract,
        fields: Vec<Field>,
        metadata: HashMap<String, String>,
    ) -> Result<Self, Error> {
        let mut metadata = metadata;
        metadata.insert(CONTRACT_KEY.to_owned(), contract.name.to_owned());
        metadata.insert(VERSION_KEY.to_owned(), contract.version.to_string());
        let schema = Schema::new_with_metadata(fields, metadata);
        if let Some(mismatch) = contract.mismatch(&schema) {
            return Err(Error::broken(target, contract, mismatch));
        }
        let (partial, file) = Partial::create(target)?;
        let file = Hashing { file, hasher: blake3::Hasher::new(), n_bytes: 0 };
        let inner = FileWriter::try_new(BufWriter::with_capacity(1 << 20, file), &schema)
            .map_err(|err| failed(target, err))?;
        let content = Box::new(Digest::of(&schema, contract).map_err(|err| failed(target, err))?);
        let counted = Digest::columns(&schema, contract);
        let encoding = Encoding::start(Encoder { inner, content, counted });
        let encoding = encoding.map_err(|err| Error::io(target, err))?;
        Ok(Self { encoding, partial, contract, schema: Arc::new(schema), n_rows: 0 })
    }

    /// The columns of the file.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Adds rows.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], as when the disk is full, which may be that of earlier rows.
    pub fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), Error> {
        let batch = RecordBatch::try_new(self.schema(), columns)
            .map_err(|err| Error::broken(&self.partial.target, self.contract, err.to_string()))?;
        self.n_rows += batch.num_rows() as u64;
        self.encoding.add(batch).map_err(|err| failed(&self.partial.target, err))
    }

    /// Writes the footer and syncs.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], as when the disk is full.
    pub fn finish(mut self) -> Result<Finished, Error> {
        let target = &self.partial.target;
        let Encoder { inner, content, .. } =
            self.encoding.end().map_err(|err| failed(target, err))?;
        let buffered = inner.into_inner().map_err(|err| failed(target, err))?;
        let hashing = buffered.into_inner().map_err(|err| Error::io(target, err.into_error()))?;
        hashing.file.sync_all().map_err(|err| Error::io(target, err))?;
        let Digest(content) = content.into_inner().map_err(|err| failed(target, err))?;
        Ok(Finished {
            partial: self.partial,
            blake3: hashing.hasher.finalize().to_hex().to_string(),
            content: content.finalize().to_hex().to_string(),
            n_bytes: hashing.n_bytes,
            n_rows: self.n_rows,
        })
    }
}

pub(crate) fn failed(path: &Path, err: ArrowError) -> Error {
    let source = match err {
        ArrowError::IoError(_, source) => source,
        other => io::Error::other(other.to_string()),
    };
    Error::io(path, source)
}

/// A file of any format being written beside its target.
///
/// Dropping it without [`BytesWriter::finish`] removes what was written.
pub struct BytesWriter {
    inner: BufWriter<Hashing>,
    partial: Partial,
}

impl BytesWriter {
    /// Starts a file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be made, [`Error::Target`] if the target is not a file.
    pub fn create(target: &Path) -> Result<Self, Error> {
        let (partial, file) = Partial::create(target)?;
        let file = Hashing { file, hasher: blake3::Hasher::new(), n_bytes: 0 };
        Ok(Self { inner: BufWriter::with_capacity(1 << 20, file), partial })
    }

    /// Syncs the file; [`Finished::commit`] puts it in its place.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], as when the disk is full.
    pub fn finish(self) -> Result<Finished, Error> {
        let Self { inner, partial } = self;
        let failed = |err| Error::io(&partial.target, err);
        let hashing = inner.into_inner().map_err(|err| failed(err.into_error()))?;
        hashing.file.sync_all().map_err(failed)?;
        let blake3 = hashing.hasher.finalize().to_hex().to_string();
        let (content, n_bytes) = (blake3.clone(), hashing.n_bytes);
        Ok(Finished { partial, blake3, content, n_bytes, n_rows: 0 })
    }
}

impl Write for BytesWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.inner.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a text file beside its target; [`Finished::commit`] puts it in its place.
///
/// # Errors
///
/// [`Error::Io`].
pub fn finish_text(target: &Path, text: &str) -> Result<Finished, Error> {
    let mut writer = BytesWriter::create(target)?;
    writer.write_all(text.as_bytes()).map_err(|err| Error::io(target, err))?;
    writer.finish()
}

/// Bytes hashed at a time: enough for all threads, and a bound on memory.
const HASHED_AT_ONCE: usize = 16 << 20;

/// Hash of a file's bytes, as [`Finished::blake3`].
///
/// # Errors
///
/// [`Error::Io`].
pub fn hash_file(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).map_err(|err| Error::io(path, err))?;
    hash_rest(&mut file).map_err(|err| Error::io(path, err))
}

/// Hash of a text.
pub fn hash_text(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// Hash of the bytes from here on.
pub(crate) fn hash_rest(file: &mut impl Read) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = vec![0; HASHED_AT_ONCE];
    loop {
        let n = file.read(&mut bytes)?;
        if n == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update_rayon(&bytes[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{self, ListBuilder};
    use crate::tables::{MODEL, THRESHOLDS};
    use arrow::array::{Float64Array, StringArray};
    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    fn write(path: &Path, rows: &[(String, Vec<u32>, Vec<f32>)]) -> Finished {
        let fields = MODEL.columns.iter().map(|c| Field::new(c.name, c.kind.data_type(), false));
        let mut writer = Writer::create(path, &MODEL, fields.collect(), HashMap::new()).unwrap();
        let (mut shapes, mut data) = (ListBuilder::default(), ListBuilder::default());
        for (_, shape, values) in rows {
            shapes.push(shape);
            data.push(values);
        }
        let names = rows.iter().map(|(name, ..)| Some(name.as_str())).collect::<StringArray>();
        writer.write(vec![Arc::new(names), shapes.finish(), data.finish()]).unwrap();
        writer.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_table_reads_back_as_written(
            rows in proptest::collection::vec((".*", proptest::collection::vec(any::<u32>(), 0..5), proptest::collection::vec(-1e9_f32..1e9, 0..5)), 0..20)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("model.arrow");
            let finished = write(&path, &rows);
            let hash = finished.blake3.clone();
            finished.commit().unwrap();
            prop_assert_eq!(hash, hash_file(&path).unwrap());
            let table = read(&path, &MODEL).unwrap();
            let mut found = Vec::new();
            for batch in &table.batches {
                let (shapes, data) = (columns::u32_lists(batch, "shape"), columns::f32_lists(batch, "data"));
                for (i, name) in columns::texts(batch, "name").iter().enumerate() {
                    found.push((name.unwrap().to_owned(), shapes.get(i).to_vec(), data.get(i).to_vec()));
                }
            }
            prop_assert_eq!(found, rows);
        }
    }

    /// The times of a training are not results; columns of these names in other tables are.
    #[test]
    fn only_the_times_of_a_history_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let content = |contract: &'static Contract, secs: f64| {
            let fields = contract.columns.iter().map(|c| (c.name, c.kind.data_type()));
            let more = (contract.name != HISTORY.name).then_some(("secs", DataType::Float64));
            let fields: Vec<Field> = fields
                .chain(more)
                .map(|(name, data_type)| Field::new(name, data_type, false))
                .collect();
            let columns = fields
                .iter()
                .map(|field| -> ArrayRef {
                    let values = if field.name() == "secs" { vec![secs] } else { vec![1.0] };
                    arrow::compute::cast(&Float64Array::from(values), field.data_type()).unwrap()
                })
                .collect();
            let path = dir.path().join("table.arrow");
            let mut writer = Writer::create(&path, contract, fields, HashMap::new()).unwrap();
            writer.write(columns).unwrap();
            writer.finish().unwrap().content.clone()
        };
        assert_eq!(content(&HISTORY, 1.0), content(&HISTORY, 2.0));
        assert_ne!(content(&THRESHOLDS, 1.0), content(&THRESHOLDS, 2.0));
    }

    #[test]
    fn an_unfinished_table_leaves_the_old_one_and_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.arrow");
        write(&path, &[("old".into(), vec![1], vec![1.0])]).commit().unwrap();
        drop(write(&path, &[("new".into(), vec![1], vec![2.0])]));
        let table = read(&path, &MODEL).unwrap();
        assert_eq!(columns::texts(&table.batches[0], "name").value(0), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_content_hash_does_not_depend_on_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let write = |maker: &str, more: &str, value: f32| {
            let fields =
                MODEL.columns.iter().map(|c| Field::new(c.name, c.kind.data_type(), false));
            let metadata = [("fingerprint", maker), ("experiment", maker), ("layers", more)];
            let metadata = metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            let path = dir.path().join("model.arrow");
            let mut writer = Writer::create(&path, &MODEL, fields.collect(), metadata).unwrap();
            let (mut shapes, mut data) = (ListBuilder::default(), ListBuilder::default());
            shapes.push(&[1_u32]);
            data.push(&[value]);
            let names = Arc::new(StringArray::from(vec!["w"]));
            writer.write(vec![names, shapes.finish(), data.finish()]).unwrap();
            let finished = writer.finish().unwrap();
            (finished.blake3.clone(), finished.content.clone())
        };
        let (bytes, content) = write("bau", "2", 1.0);
        assert_ne!(write("best", "2", 1.0).0, bytes);
        assert_eq!(write("best", "2", 1.0).1, content);
        assert_ne!(write("bau", "3", 1.0).1, content, "other metadata");
        assert_ne!(write("bau", "2", 2.0).1, content, "other rows");
    }

    #[test]
    fn a_second_writer_of_a_target_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.arrow");
        let first = write(&path, &[]);
        let fields = MODEL.columns.iter().map(|c| Field::new(c.name, c.kind.data_type(), false));
        let second = Writer::create(&path, &MODEL, fields.collect(), HashMap::new());
        let message = second.err().expect("the first holds the target").to_string();
        assert!(message.contains("another run is writing here"), "{message}");
        drop(first);
    }

    /// The first file is in its place when the second is begun, and is dropped only then.
    #[test]
    fn a_writer_removes_only_its_own_unfinished_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.arrow");
        let first = write(&path, &[]);
        fs::rename(dir.path().join(".model.arrow.partial"), &path).unwrap();
        let second = write(&path, &[("new".into(), vec![1], vec![2.0])]);
        drop(first);
        second.commit().unwrap();
        assert_eq!(read(&path, &MODEL).unwrap().n_rows(), 1);
    }

    #[test]
    fn only_files_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let message = |path: &Path| finish_text(path, "text").err().unwrap().to_string();
        assert!(message(Path::new("/dev/null")).starts_with("/dev/null: is a device"));
        assert!(message(dir.path()).contains("is a folder"));
        assert!(message(&dir.path().join("new/")).contains("is the name of a folder"));
        assert!(message(&dir.path().join("..")).contains("is a folder"));
        assert!(message(Path::new("")).contains("is not a file name"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_optional_column_is_checked_if_present() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thresholds.arrow");
        let with = |name: &str, more: ArrayRef| {
            let more = Field::new(name, more.data_type().clone(), true);
            let fields = THRESHOLDS.columns.iter();
            let fields = fields.map(|c| Field::new(c.name, c.kind.data_type(), false));
            Writer::create(&path, &THRESHOLDS, fields.chain([more]).collect(), HashMap::new())
                .err()
                .map(|err| err.to_string())
        };
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        assert_eq!(with("expected_f1", floats.clone()), None);
        assert_eq!(with("anything", floats.clone()), None);
        let message = with("knot_logits", floats).expect("floats are no lists");
        assert!(message.contains("`knot_logits` is `Float64`, expected `List(Float32)`"));
    }

    /// A list that is not null itself may contain nulls.
    #[test]
    fn a_null_within_a_list_is_rejected() {
        use arrow::array::ListArray;
        use arrow::datatypes::Float32Type;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.arrow");
        let data = ListArray::from_iter_primitive::<Float32Type, _, _>([Some([Some(1.0), None])]);
        let mut shape = ListBuilder::<u32>::default();
        shape.push(&[2]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["w"])), shape.finish(), Arc::new(data)];
        let fields = MODEL.columns.iter().zip(&columns);
        let fields = fields.map(|(c, array)| Field::new(c.name, array.data_type().clone(), true));
        let mut writer = Writer::create(&path, &MODEL, fields.collect(), HashMap::new()).unwrap();
        writer.write(columns).unwrap();
        writer.finish().unwrap().commit().unwrap();
        let message = read(&path, &MODEL).unwrap_err().to_string();
        assert!(message.contains("column `data` holds 1 null, expected none"), "{message}");
    }
}

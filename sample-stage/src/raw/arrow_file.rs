//! Arrow IPC files (also Feather version 2) and streams.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use contract::raw_files::RawFile;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::{FileReader, StreamReader};

use super::open::Failure;
use super::stream::Batches;

const FILE_MAGIC: &[u8] = b"ARROW1";
const FEATHER_1_MAGIC: &[u8] = b"FEA1";

/// The columns of a file.
pub fn look_at(file: &RawFile) -> Result<Schema, Failure> {
    guarded(|| {
        let schema = match open(file)? {
            Opened::File(reader) => reader.schema(),
            Opened::Stream(reader) => reader.schema(),
        };
        // Metadata of files differ, and no column follows from them.
        Ok(Schema::new(schema.fields().clone()))
    })
}

/// Reads a file.
pub fn read(file: &RawFile) -> Result<Batches, Failure> {
    let mut batches: Batches = guarded(|| {
        Ok(match open(file)? {
            Opened::File(reader) => Box::new(reader) as Batches,
            Opened::Stream(reader) => Box::new(reader),
        })
    })?;
    Ok(Box::new(std::iter::from_fn(move || {
        let next: Result<Option<RecordBatch>, Failure> =
            guarded(|| batches.next().transpose().map_err(Failure::from));
        match next {
            Ok(batch) => batch.map(Ok),
            Err(Failure::Io(err)) => Some(Err(ArrowError::IoError(err.to_string(), err))),
            Err(Failure::Content(what)) => Some(Err(ArrowError::IpcError(what))),
        }
    })))
}

enum Opened {
    File(FileReader<BufReader<File>>),
    Stream(StreamReader<BufReader<File>>),
}

fn open(file: &RawFile) -> Result<Opened, Failure> {
    let mut bytes = File::open(&file.path)?;
    let mut start = Vec::new();
    (&mut bytes).take(FILE_MAGIC.len() as u64).read_to_end(&mut start)?;
    bytes.rewind()?;
    let bytes = BufReader::with_capacity(1 << 20, bytes);
    if start == FILE_MAGIC {
        return Ok(Opened::File(FileReader::try_new(bytes, None)?));
    }
    if start.starts_with(FEATHER_1_MAGIC) {
        return Err(Failure::content(
            "is of Feather version 1; write it as version 2, or as parquet",
        ));
    }
    let stream = StreamReader::try_new(bytes, None);
    Ok(Opened::Stream(
        stream.map_err(|_| Failure::content("is neither an Arrow file nor an Arrow stream"))?,
    ))
}

/// The reader is made for files it can trust and panics on some damaged ones.
fn guarded<T>(read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Failure::content("is not a whole Arrow file: it is damaged")))
}

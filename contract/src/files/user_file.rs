//! An Arrow file that a user made: a file or a stream, read a record batch at a time.

use std::io::{self, Read as _};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;

use super::arrow_file::{
    Batches as FileBatches, FILE_MAGIC, STREAM_MAGIC, Stream, Unmapped, decoded,
};
use crate::raw_files::RawFile;
use crate::unreadable::{Unreadable, refuse_lfs_pointer};

/// An Arrow file of the user.
///
/// Its bytes are read, not mapped, as another process may still be writing it.
#[derive(Debug)]
pub struct UserFile {
    file: RawFile,
    is_stream: bool,
    /// Its columns
    pub schema: SchemaRef,
}

/// Rows of a file, a record batch at a time.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch, Unreadable>> + Send>;

type Decoded = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

impl UserFile {
    /// Opens a file and reads its columns.
    ///
    /// # Errors
    ///
    /// What the file is instead, and how to convert it.
    pub fn open(file: &RawFile) -> Result<Self, Unreadable> {
        if file.object.is_none() {
            let metadata = std::fs::metadata(&file.path).map_err(|err| match err.kind() {
                io::ErrorKind::NotFound => Unreadable::content("there is no such file"),
                _ => Unreadable::Io(err),
            })?;
            if !metadata.is_file() {
                let what =
                    "is not a regular file, which is needed as it is read twice; save it as a file";
                return Err(Unreadable::content(what));
            }
        }
        let mut start = Vec::new();
        let bytes = file.open().map_err(Unreadable::Io)?;
        bytes.take(START as u64).read_to_end(&mut start).map_err(Unreadable::Io)?;
        let is_stream = start.starts_with(STREAM_MAGIC);
        if !is_stream && !start.starts_with(FILE_MAGIC) {
            refuse_lfs_pointer(&start)?;
            return Err(Unreadable::Content(other_format(&start)));
        }
        let mut file =
            Self { file: file.clone(), is_stream, schema: SchemaRef::new(Schema::empty()) };
        file.schema = file.decode()?.0;
        distinct_names(&file.schema)?;
        Ok(file)
    }

    /// Its rows from the start, a batch at a time.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, or with the next batch.
    pub fn batches(&self) -> Result<Batches, Unreadable> {
        let (schema, mut batches) = self.decode()?;
        if schema != self.schema {
            return Err(Self::changed());
        }
        let next = move || decoded(|| batches.next().transpose()).transpose();
        Ok(Box::new(std::iter::from_fn(next).map(|batch| batch.map_err(broken))))
    }

    /// The error of a file that was written to while it was read.
    pub fn changed() -> Unreadable {
        Unreadable::content("it was changed while it was read")
    }

    fn decode(&self) -> Result<(SchemaRef, Decoded), Unreadable> {
        let file = self.file.open().map_err(Unreadable::Io)?;
        let opened = decoded(|| {
            if self.is_stream {
                let stream = Stream::open(file)?;
                return Ok((stream.schema.clone(), Box::new(stream) as Decoded));
            }
            let batches = FileBatches::open(Unmapped::new(file)?)?;
            Ok((batches.schema.clone(), Box::new(batches) as Decoded))
        });
        opened.map_err(broken)
    }
}

/// Checks that no two columns have the same name.
///
/// # Errors
///
/// The name that appears twice.
pub fn distinct_names(schema: &Schema) -> Result<(), Unreadable> {
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    let is_repeated = |i: &usize| names[..*i].contains(&names[*i]);
    match (0..names.len()).find(is_repeated) {
        None => Ok(()),
        Some(i) => Err(Unreadable::Content(format!(
            "column `{}` appears twice; give each its own name",
            names[i]
        ))),
    }
}

fn broken(err: ArrowError) -> Unreadable {
    match err.into() {
        Unreadable::Content(what) => {
            Unreadable::Content(format!("is not a whole Arrow file: {what}\nhint: write it again"))
        }
        io @ Unreadable::Io(_) => io,
    }
}

/// Bytes that identify the format.
const START: usize = 64;

/// What a file is instead of an Arrow file, by its first bytes, and how to convert it.
fn other_format(start: &[u8]) -> String {
    let is_text = !start.is_empty() && start.iter().all(|&b| b >= b' ' || b.is_ascii_whitespace());
    let first = start.iter().find(|b| !b.is_ascii_whitespace());
    let (what, read) = match start {
        [] => return "is empty, expected an Arrow IPC file".to_owned(),
        [b'P', b'A', b'R', b'1', ..] => ("a Parquet file", "pq.read_table(NAME)"),
        [b'F', b'E', b'A', b'1', ..] => ("a Feather file of version 1", "feather.read_table(NAME)"),
        [0x1f, 0x8b, ..] => ("compressed by gzip", ""),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("compressed by zstd", ""),
        _ if is_text && matches!(first, Some(b'{' | b'[')) => ("JSON", "json.read_json(NAME)"),
        _ if is_text => ("text, perhaps CSV", "csv.read_csv(NAME)"),
        _ => ("of a format that is not known", ""),
    };
    let hint = if read.is_empty() {
        "hint: write an Arrow file, as `pyarrow.feather.write_feather` does".to_owned()
    } else {
        let module = read.split('.').next().unwrap_or_default();
        let import = match module {
            "pq" => "import pyarrow.parquet as pq; ".to_owned(),
            "feather" => String::new(),
            _ => format!("from pyarrow import {module}; "),
        };
        let read = read.replace("NAME", "'users'");
        format!(
            "hint: convert it, as in Python by `{import}from pyarrow import feather; \
             feather.write_feather({read}, 'users.arrow')`"
        )
    };
    format!("is {what}, expected an Arrow IPC file or stream\n{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::path::Path;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::ipc::writer::{FileWriter, StreamWriter};
    use std::sync::Arc;

    fn batch(from: i64, n: i64) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("user_id", DataType::Int64, false)]));
        let ids = Int64Array::from_iter_values(from..from + n);
        RecordBatch::try_new(schema, vec![Arc::new(ids)]).unwrap()
    }

    fn written(path: &Path, is_stream: bool) {
        let (file, batches) =
            (File::create(path).unwrap(), [batch(0, 3), batch(3, 0), batch(3, 2)]);
        if is_stream {
            let mut writer = StreamWriter::try_new(file, &batches[0].schema()).unwrap();
            for batch in &batches {
                writer.write(batch).unwrap();
            }
            writer.finish().unwrap();
        } else {
            let mut writer = FileWriter::try_new(file, &batches[0].schema()).unwrap();
            for batch in &batches {
                writer.write(batch).unwrap();
            }
            writer.finish().unwrap();
        }
    }

    #[test]
    fn files_and_streams_read_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.arrow");
        for is_stream in [false, true] {
            written(&path, is_stream);
            let file = UserFile::open(&RawFile::local(&path)).unwrap();
            for _ in 0..2 {
                let batches: Vec<RecordBatch> =
                    file.batches().unwrap().collect::<Result<_, Unreadable>>().unwrap();
                assert_eq!(batches, [batch(0, 3), batch(3, 2)]);
            }
        }
    }

    #[test]
    fn a_truncated_file_is_an_error_wherever_it_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.arrow");
        for is_stream in [false, true] {
            written(&path, is_stream);
            let bytes = std::fs::read(&path).unwrap();
            let whole = bytes.len() - if is_stream { 8 } else { 0 }; // the mark of the end
            for n in 0..whole {
                std::fs::write(&path, &bytes[..n]).unwrap();
                let read = UserFile::open(&RawFile::local(&path))
                    .and_then(|file| file.batches()?.collect::<Result<Vec<_>, Unreadable>>());
                // A stream without its end marker may end after any batch.
                assert!(read.is_err() || is_stream, "{n} of {whole} bytes");
            }
        }
    }

    #[test]
    fn other_formats_are_named_with_how_to_convert_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let message = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            UserFile::open(&RawFile::local(&path)).unwrap_err().to_string()
        };
        let parquet = message(b"PAR1....");
        assert!(parquet.contains("is a Parquet file") && parquet.contains("pq.read_table"));
        assert!(message(b"user_id,x\n1,2\n").contains("csv.read_csv"));
        assert!(message(b" {\"user_id\": 1}").contains("json.read_json"));
        assert!(message(b"").contains("is empty"));
        assert!(message(b"\x01\x02").contains("format that is not known"));
        let folder = UserFile::open(&RawFile::local(dir.path())).unwrap_err();
        assert!(folder.to_string().contains("is not a regular file"));
    }
}

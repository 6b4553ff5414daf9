//! Arrow IPC files and streams, decoded a record batch at a time.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, StreamDecoder, read_footer_length};
use arrow::ipc::{Block, root_as_footer};
use memmap2::Mmap;

use crate::guarded;
use crate::raw_files::Bytes;

/// First bytes of a file.
pub(crate) const FILE_MAGIC: &[u8] = b"ARROW1";
/// First bytes of a stream, unless it is older than Arrow 0.15.
pub(crate) const STREAM_MAGIC: &[u8] = &[0xff; 4];

/// Bytes of a file, by their offset.
pub(crate) trait Source {
    fn n_bytes(&self) -> usize;
    /// The bytes of a range that lies within the file.
    fn read(&mut self, range: Range<usize>) -> io::Result<Buffer>;
}

/// A mapped file: nothing is copied. Only for files of our own, see `map` in `ipc.rs`.
impl Source for Arc<Mmap> {
    fn n_bytes(&self) -> usize {
        self.len()
    }

    fn read(&mut self, range: Range<usize>) -> io::Result<Buffer> {
        let n = range.len();
        let start = std::ptr::NonNull::from(&self[range]).cast();
        // A buffer of its own for each range: whoever counts the memory of a batch would else
        // count the whole file.
        // SAFETY: the map owns the bytes and is kept alive by the buffer.
        Ok(unsafe { Buffer::from_custom_allocation(start, n, self.clone()) })
    }
}

/// A file that is read: if it is truncated meanwhile, that is an error.
pub(crate) struct Unmapped {
    file: Box<dyn Bytes>,
    n_bytes: usize,
}

impl Unmapped {
    pub(crate) fn new(mut file: Box<dyn Bytes>) -> io::Result<Self> {
        let n_bytes = file.seek(SeekFrom::End(0))? as usize;
        Ok(Self { file, n_bytes })
    }
}

impl Source for Unmapped {
    fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    fn read(&mut self, range: Range<usize>) -> io::Result<Buffer> {
        let mut bytes = MutableBuffer::from_len_zeroed(range.len());
        self.file.seek(SeekFrom::Start(range.start as u64))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// The record batches of an Arrow file, in order; those without a row are left out.
pub(crate) struct Batches<S> {
    pub(crate) schema: SchemaRef,
    source: S,
    decoder: FileDecoder,
    blocks: std::vec::IntoIter<Block>,
    /// Where the footer starts
    footer_at: usize,
}

impl<S: Source> Batches<S> {
    /// Reads the footer and the dictionaries.
    pub(crate) fn open(mut source: S) -> Result<Self, ArrowError> {
        let end = source.n_bytes();
        let trailer_at = end.checked_sub(10).ok_or_else(short)?;
        let trailer = source.read(trailer_at..end)?;
        let trailer: [u8; 10] = trailer.as_slice().try_into().expect("10 bytes");
        let footer_at = trailer_at.checked_sub(read_footer_length(trailer)?).ok_or_else(short)?;
        let footer = source.read(footer_at..trailer_at)?;
        let footer = root_as_footer(&footer)
            .map_err(|err| ArrowError::ParseError(format!("its footer is damaged: {err}")))?;
        let schema =
            footer.schema().ok_or_else(|| ArrowError::ParseError("it has no schema".to_owned()))?;
        let schema = Arc::new(fb_to_schema(schema));
        let decoder = FileDecoder::new(schema.clone(), footer.version());
        let blocks: Vec<Block> = footer.recordBatches().iter().flatten().copied().collect();
        let mut file = Self { schema, source, decoder, blocks: blocks.into_iter(), footer_at };
        for block in footer.dictionaries().iter().flatten() {
            let bytes = file.bytes(block)?;
            file.decoder.read_dictionary(block, &bytes)?;
        }
        Ok(file)
    }

    fn bytes(&mut self, block: &Block) -> Result<Buffer, ArrowError> {
        let part = |n: i64| usize::try_from(n).ok();
        let range = || {
            let start = part(block.offset())?;
            let n = part(block.bodyLength())?.checked_add(part(block.metaDataLength().into())?)?;
            let end = start.checked_add(n)?;
            (end <= self.footer_at).then_some(start..end)
        };
        let range = range().ok_or_else(short)?;
        Ok(self.source.read(range)?)
    }

    fn decode_next(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        while let Some(block) = self.blocks.next() {
            let bytes = self.bytes(&block)?;
            let batch = self.decoder.read_record_batch(&block, &bytes)?;
            if let Some(batch) = batch.filter(|batch| batch.num_rows() > 0) {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

impl<S: Source> Iterator for Batches<S> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.decode_next().transpose()
    }
}

/// The record batches of an Arrow stream.
pub(crate) struct Stream {
    pub(crate) schema: SchemaRef,
    file: Box<dyn Bytes>,
    decoder: StreamDecoder,
    /// Bytes not yet decoded
    rest: Buffer,
    /// Decoded while reading the schema
    first: Option<RecordBatch>,
}

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

impl Stream {
    /// Reads up to the first batch, where the schema is known.
    pub(crate) fn open(file: Box<dyn Bytes>) -> Result<Self, ArrowError> {
        let mut stream = Self {
            schema: SchemaRef::new(arrow::datatypes::Schema::empty()),
            file,
            decoder: StreamDecoder::new(),
            rest: Buffer::from(&[]),
            first: None,
        };
        stream.first = stream.decode_next()?;
        let schema = stream.decoder.schema();
        stream.schema =
            schema.ok_or_else(|| ArrowError::ParseError("it has no schema".to_owned()))?;
        Ok(stream)
    }

    fn decode_next(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        loop {
            if let Some(batch) = self.decoder.decode(&mut self.rest)? {
                if batch.num_rows() > 0 {
                    return Ok(Some(batch));
                }
                continue;
            }
            let mut bytes = vec![0; CHUNK];
            let n = self.file.read(&mut bytes)?;
            if n == 0 {
                self.decoder.finish().map_err(|_| short())?;
                return Ok(None);
            }
            bytes.truncate(n);
            self.rest = Buffer::from_vec(bytes);
        }
    }
}

impl Iterator for Stream {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.first.take().map(Ok).or_else(|| self.decode_next().transpose())
    }
}

fn short() -> ArrowError {
    ArrowError::ParseError("the file is truncated".to_owned())
}

/// Decodes with [`guarded`]; a panic becomes an error.
pub(crate) fn decoded<T>(decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    guarded(decode).unwrap_or_else(|| Err(ArrowError::ParseError("it is damaged".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_decoder_becomes_an_error() {
        let err = decoded::<()>(|| panic!("out of range")).unwrap_err();
        assert_eq!(err.to_string(), "Parser error: it is damaged");
        assert_eq!(decoded(|| Ok(7)).unwrap(), 7);
    }
}

//! A file of a raw table, decompressed; and what is wrong with one, said once.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::anyhow;
use contract::cli::DataError;
use contract::raw_files::{Compression, RawFile};
use contract::unreadable::Unreadable;

/// An error with the table and the file.
pub fn at(err: Unreadable, table: &str, file: &Path) -> anyhow::Error {
    let place = format!("table `{table}`: {}", file.display());
    match err {
        Unreadable::Io(err) => anyhow!("{place}: {err}"),
        Unreadable::Content(what) => DataError(format!("{place}: {what}")).into(),
    }
}

/// First bytes of a file that Git LFS left in place of the real one.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Finds files that are not data at all, before a format makes something of them.
pub fn check(file: &RawFile) -> Result<(), Unreadable> {
    let mut start = Vec::new();
    File::open(&file.path)?.take(LFS_POINTER.len() as u64).read_to_end(&mut start)?;
    if start.is_empty() {
        return Err(Unreadable::content(
            "is empty (0 bytes); write it again, or take it away if it holds nothing",
        ));
    }
    if start == LFS_POINTER {
        return Err(Unreadable::content(
            "is a pointer of Git LFS, not the file itself; run `git lfs pull`",
        ));
    }
    Ok(())
}

/// The file's bytes, decompressed.
pub fn reader(file: &RawFile) -> Result<BufReader<Box<dyn Read + Send>>, Unreadable> {
    let bytes = File::open(&file.path)?;
    let plain: Box<dyn Read + Send> = match file.compression {
        None => Box::new(bytes),
        Some(Compression::Gzip) => {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(bytes)))
        }
        Some(Compression::Zstd) => Box::new(zstd::stream::read::Decoder::new(bytes)?),
    };
    Ok(BufReader::with_capacity(1 << 20, plain))
}

/// Remembers the last byte that was read and is no end of line.
pub struct LastByte<R> {
    inner: R,
    pub last: u8,
}

impl<R: Read> LastByte<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, last: 0 }
    }
}

impl<R: Read> Read for LastByte<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(bytes)?;
        let last = bytes[..n].iter().rfind(|byte| !matches!(byte, b'\n' | b'\r'));
        self.last = last.copied().unwrap_or(self.last);
        Ok(n)
    }
}

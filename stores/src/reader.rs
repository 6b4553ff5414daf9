//! An object as a file that is read: ranges of it, a few MiB at a time.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use crate::connect::pinned;
use crate::error::{Kind, StoreError};
use crate::listing::Object;
use crate::pinned::Pinned;
use crate::runtime::wait;
use crate::url::StoreUrl;

/// Bytes of the first range; each one that follows on the last is longer, up to the most.
const RANGE_MIN: u64 = 64 << 10;
const RANGE_MAX: u64 = 8 << 20;

/// How often a range is asked for again if the connection broke. Where an object has a tag, the client
/// does so itself, from where it broke.
const RETRIES: usize = 5;

/// An object that is read.
#[derive(Debug)]
pub struct ObjectReader {
    store: Arc<Pinned>,
    url: StoreUrl,
    path: Path,
    size: u64,
    has_tag: bool,
    position: u64,
    /// The bytes at `fetched_at`
    fetched: Bytes,
    fetched_at: u64,
    next_range: u64,
}

impl ObjectReader {
    /// Opens an object; nothing is read yet.
    ///
    /// # Errors
    ///
    /// As [`crate::store_of`].
    pub fn open(object: &Object) -> Result<Self, StoreError> {
        Ok(Self {
            store: pinned(&object.url)?,
            path: object.path().clone(),
            url: object.url.clone(),
            size: object.size,
            has_tag: object.tag.is_some(),
            position: 0,
            fetched: Bytes::new(),
            fetched_at: 0,
            next_range: RANGE_MIN,
        })
    }

    /// Number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fetches the bytes at the position.
    fn fetch(&mut self) -> Result<(), StoreError> {
        let follows = self.position == self.fetched_at + self.fetched.len() as u64;
        self.next_range = if follows { (self.next_range * 2).min(RANGE_MAX) } else { RANGE_MIN };
        let range = self.position..(self.position + self.next_range).min(self.size);
        let mut retries = if self.has_tag { 0 } else { RETRIES };
        loop {
            let (store, path, wanted) = (self.store.clone(), self.path.clone(), range.clone());
            match wait(async move { store.get_range(&path, wanted).await }) {
                Ok(bytes) => {
                    if bytes.len() as u64 != range.end - range.start {
                        let what = "it was changed while it was read; run again";
                        return Err(StoreError::new(&self.url, Kind::Changed, what));
                    }
                    (self.fetched, self.fetched_at) = (bytes, range.start);
                    return Ok(());
                }
                Err(err) => {
                    let err = StoreError::of(&self.url, &err);
                    if retries == 0 || err.kind != Kind::Failed {
                        return Err(err);
                    }
                    retries -= 1;
                }
            }
        }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.position >= self.size {
            return Ok(0);
        }
        let is_fetched = |reader: &Self| {
            let end = reader.fetched_at + reader.fetched.len() as u64;
            (reader.fetched_at..end).contains(&reader.position)
        };
        if !is_fetched(self) {
            self.fetch()?;
        }
        let rest = &self.fetched[(self.position - self.fetched_at) as usize..];
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the start");
        self.position = position.ok_or_else(before)?;
        Ok(self.position)
    }
}

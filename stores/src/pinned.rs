//! A store whose objects must not change while they are read.
//!
//! Once the tag of an object is known, each request asks for the object with this tag, so that rows of
//! two versions are never mixed, and what is hashed is what is read. Errors name the URL.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

use crate::error::StoreError;
use crate::url::StoreUrl;

/// See above.
#[derive(Debug)]
pub struct Pinned {
    inner: Arc<dyn ObjectStore>,
    /// Of the store, for messages
    url: StoreUrl,
    tags: Mutex<HashMap<Path, String>>,
}

impl Pinned {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, url: StoreUrl) -> Self {
        Self { inner, url, tags: Mutex::default() }
    }

    /// Remembers the tag of an object, unless one is known.
    pub(crate) fn pin(&self, path: &Path, tag: &str) {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        tags.entry(path.clone()).or_insert_with(|| tag.to_owned());
    }

    fn tag(&self, path: &Path) -> Option<String> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn named(&self, path: &Path) -> impl Fn(Error) -> Error + Send + use<> {
        let url = self.url.at(path);
        move |err| {
            let source = StoreError::of(&url, &err).into();
            Error::Generic { store: "object store", source }
        }
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url.root())
    }
}

#[async_trait]
impl ObjectStore for Pinned {
    async fn get_opts(&self, path: &Path, mut options: GetOptions) -> Result<GetResult> {
        if options.if_match.is_none() && !options.head {
            options.if_match = self.tag(path);
        }
        let result = self.inner.get_opts(path, options).await.map_err(self.named(path))?;
        let GetResult { payload, meta, range, attributes } = result;
        let payload = match payload {
            GetResultPayload::Stream(stream) => {
                GetResultPayload::Stream(stream.map_err(self.named(path)).boxed())
            }
            file @ GetResultPayload::File(..) => file,
        };
        Ok(GetResult { payload, meta, range, attributes })
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        let fetch = |range: Range<u64>| async move {
            let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
            self.get_opts(path, options).await?.bytes().await
        };
        let gap = object_store::OBJECT_STORE_COALESCE_DEFAULT;
        object_store::coalesce_ranges(ranges, fetch, gap).await
    }

    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

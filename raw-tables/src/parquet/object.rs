//! Parquet files in a store: what is wanted of a row group is fetched at once.

use std::ops::Range;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use ::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use contract::guarded;
use contract::unreadable::Unreadable;
use contract::user_file::Batches;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _};
use stores::{Object, wait};

use super::{NOT_WHOLE, damaged_page, projected, unreadable};

/// The footer of a file.
pub fn metadata(object: &Object) -> std::result::Result<ArrowReaderMetadata, Unreadable> {
    let mut file = ParquetObject::open(object)?;
    let load =
        async move { ArrowReaderMetadata::load_async(&mut file, ArrowReaderOptions::new()).await };
    let metadata = guarded(|| wait(load)).ok_or_else(|| Unreadable::content(NOT_WHOLE))?;
    metadata.map_err(unreadable)
}

/// The rows of a file, with the columns that `wanted` has.
pub fn read(object: &Object, wanted: &SchemaRef) -> std::result::Result<Batches, Unreadable> {
    let (file, wanted) = (ParquetObject::open(object)?, wanted.clone());
    let open = async move {
        let builder = ParquetRecordBatchStreamBuilder::new(file).await?;
        projected(builder, &wanted).build()
    };
    let stream = guarded(|| wait(open)).ok_or_else(|| Unreadable::content(NOT_WHOLE))?;
    let mut stream = Some(stream.map_err(unreadable)?);
    let next = move || -> Option<std::result::Result<RecordBatch, Unreadable>> {
        let mut taken = stream.take()?;
        let next = async move {
            let batch = taken.next().await;
            (taken, batch)
        };
        let Some((rest, batch)) = guarded(|| wait(next)) else {
            return Some(Err(damaged_page().into()));
        };
        stream = Some(rest).filter(|_| matches!(batch, Some(Ok(_))));
        batch.map(|batch| batch.map_err(unreadable))
    };
    Ok(Box::new(std::iter::from_fn(next)))
}

/// A file whose ranges are fetched.
struct ParquetObject {
    store: Arc<dyn ObjectStore>,
    object: Object,
}

impl ParquetObject {
    fn open(object: &Object) -> std::result::Result<Self, Unreadable> {
        let store = stores::store_of(&object.url).map_err(std::io::Error::from)?;
        Ok(Self { store, object: object.clone() })
    }
}

fn failed(err: object_store::Error) -> ParquetError {
    ParquetError::External(err.into())
}

impl AsyncFileReader for ParquetObject {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.store.get_range(self.object.path(), range).map_err(failed).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        let fetch = async move { self.store.get_ranges(self.object.path(), &ranges).await };
        fetch.map_err(failed).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let size = self.object.size;
        async move { Ok(Arc::new(ParquetMetaDataReader::new().load_and_finish(self, size).await?)) }
            .boxed()
    }
}

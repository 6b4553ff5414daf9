//! Tables as parquet files that workers read. A table is written when a query first reads it.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use contract::ipc::Table;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::physical_plan::ExecutionPlan;
use raw_tables::RawTable;
use tokio::sync::OnceCell;

use crate::raw::parquet::{ParquetFiles, local};
use crate::stage_tables;

/// Rows that one task reads at least.
const ROWS_PER_GROUP: usize = 16_384;

/// Calls its argument with every batch.
type Rows = dyn Fn(&mut dyn FnMut(&RecordBatch) -> Result<()>) -> Result<()> + Send + Sync;

/// A table that is written when it is first read.
struct Shared {
    schema: SchemaRef,
    file: PathBuf,
    rows: Arc<Rows>,
    written: OnceCell<ParquetFiles>,
}

/// A table that another stage wrote.
///
/// * `scratch`: folder that the workers see.
///
/// # Errors
///
/// None that a table between stages can cause.
pub fn of_stage(scratch: &Path, name: &str, table: &Table) -> Result<Arc<dyn TableProvider>> {
    let (schema, batches) = stage_tables::without_metadata(table)?;
    let rows = move |each: &mut dyn FnMut(&RecordBatch) -> Result<()>| {
        batches.iter().try_for_each(&mut *each)
    };
    Ok(Arc::new(Shared::new(scratch, name, schema, Arc::new(rows))))
}

/// A raw table, of all its files.
pub fn of_raw(scratch: &Path, table: &Arc<RawTable>) -> Arc<dyn TableProvider> {
    let read = table.clone();
    let rows = move |each: &mut dyn FnMut(&RecordBatch) -> Result<()>| {
        let names: Vec<&str> = read.schema.fields().iter().map(|field| &**field.name()).collect();
        read.rows(&names).try_for_each(|batch| each(&batch?))
    };
    Arc::new(Shared::new(scratch, &table.name, table.schema.clone(), Arc::new(rows)))
}

impl Shared {
    fn new(scratch: &Path, name: &str, schema: SchemaRef, rows: Arc<Rows>) -> Self {
        let file = scratch.join(format!("table-{name}.parquet"));
        Self { schema, file, rows, written: OnceCell::new() }
    }

    async fn files(&self) -> Result<&ParquetFiles, DataFusionError> {
        let write = || async {
            let (schema, file, rows) = (self.schema.clone(), self.file.clone(), self.rows.clone());
            let written = tokio::task::spawn_blocking(move || write(&schema, &file, &*rows));
            let written = written.await.map_err(|err| DataFusionError::External(err.into()))?;
            written.map_err(|err| DataFusionError::External(err.into()))
        };
        self.written.get_or_try_init(write).await
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shared table {}", self.file.display())
    }
}

fn write(schema: &SchemaRef, file: &Path, rows: &Rows) -> Result<ParquetFiles> {
    let failed = |err: std::io::Error| anyhow::anyhow!("{}: {err}", file.display());
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(ROWS_PER_GROUP)).build();
    let to = File::create(file).map_err(failed)?;
    let mut writer = ArrowWriter::try_new(to, schema.clone(), Some(properties))?;
    let mut n_rows = 0;
    rows(&mut |batch| {
        n_rows += batch.num_rows();
        Ok(writer.write(batch)?)
    })?;
    writer.close()?;
    let file = PartitionedFile::new_from_meta(local(file).map_err(failed)?);
    Ok(ParquetFiles {
        own: schema.clone(),
        keys: Vec::new(),
        store: ObjectStoreUrl::local_filesystem(),
        files: vec![file],
        n_rows: Some(n_rows),
    })
}

#[async_trait]
impl TableProvider for Shared {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        self.files().await?.scan(state, projection, limit)
    }
}

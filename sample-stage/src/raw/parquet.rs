//! Raw tables of parquet files: read by DataFusion, which skips what a query does not need.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use async_trait::async_trait;
use contract::unreadable::Unreadable;
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::object_store::{ObjectMeta, path::Path as StorePath};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use raw_tables::{RawTable, columns, open};

/// Registers the table.
///
/// # Errors
///
/// A file that is gone, or if the name is taken.
pub fn register(session: &SessionContext, table: &Arc<RawTable>) -> Result<()> {
    let n_rows = table.parts.iter().map(|part| part.n_rows).sum::<Option<usize>>();
    let mut store = ObjectStoreUrl::local_filesystem();
    if let Some(object) = &table.parts[0].file.object {
        store = ObjectStoreUrl::parse(object.url.root())?;
        let found = stores::store_of(&object.url)?;
        session.runtime_env().register_object_store(store.as_ref(), found);
    }
    let files = table.parts.iter().map(|part| {
        let at = |err: Unreadable| open::at(err, &table.name, &part.file.path);
        let object = match &part.file.object {
            None => local(&part.file.path).map_err(|err| at(err.into()))?,
            Some(object) => ObjectMeta {
                location: object.path().clone(),
                last_modified: SystemTime::UNIX_EPOCH.into(), // is not used
                size: object.size,
                e_tag: None,
                version: None,
            },
        };
        let keys = columns::key_values(table, part).map_err(at)?;
        let keys = keys.iter().map(|key| ScalarValue::try_from_array(key, 0));
        let keys = keys.collect::<Result<_, _>>()?;
        Ok(PartitionedFile::new_from_meta(object).with_partition_values(keys))
    });
    let files = files.collect::<Result<Vec<_>>>()?;
    let (own, keys) = table.schema.fields().split_at(table.first_key());
    let (own, keys) = (Arc::new(Schema::new(own.to_vec())), keys.to_vec());
    let provider = ParquetTable {
        schema: table.schema.clone(),
        files: ParquetFiles { own, keys, store, files, n_rows },
    };
    session.register_table(table.name.as_str(), Arc::new(provider))?;
    Ok(())
}

/// What a scan needs to know of a local file.
pub fn local(path: &Path) -> io::Result<ObjectMeta> {
    let metadata = path.metadata()?;
    Ok(ObjectMeta {
        location: StorePath::from_absolute_path(path.canonicalize()?).map_err(io::Error::other)?,
        last_modified: metadata.modified()?.into(),
        size: metadata.len(),
        e_tag: None,
        version: None,
    })
}

#[derive(Debug)]
struct ParquetTable {
    schema: SchemaRef,
    files: ParquetFiles,
}

/// Parquet files with the same columns.
#[derive(Debug)]
pub struct ParquetFiles {
    /// The files' columns
    pub own: SchemaRef,
    /// Columns after them, whose values are those of each file
    pub keys: Vec<FieldRef>,
    /// Where the files are
    pub store: ObjectStoreUrl,
    pub files: Vec<PartitionedFile>,
    /// Of all files together, if it is known
    pub n_rows: Option<usize>,
}

impl ParquetFiles {
    /// A scan of some columns.
    ///
    /// # Errors
    ///
    /// A column that is not there.
    pub fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let columns = TableSchema::builder(self.own.clone())
            .with_table_partition_cols(self.keys.clone())
            .build();
        let n_columns = columns.table_schema().clone();
        let options = state.table_options().parquet.clone();
        let source = ParquetSource::new(columns).with_table_parquet_options(options);
        let groups =
            FileGroup::new(self.files.clone()).split_files(state.config().target_partitions());
        let n_rows = self.n_rows.map_or(Precision::Absent, Precision::Exact);
        let statistics = Statistics::new_unknown(&n_columns).with_num_rows(n_rows);
        let config = FileScanConfigBuilder::new(self.store.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

#[async_trait]
impl TableProvider for ParquetTable {
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
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        self.files.scan(state, projection, limit)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::error::Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// Whether an error can come from a damaged parquet file.
pub fn is_of_file(err: &DataFusionError) -> bool {
    matches!(
        err,
        DataFusionError::ParquetError(_)
            | DataFusionError::ArrowError(..)
            | DataFusionError::ObjectStore(_)
            | DataFusionError::IoError(_)
            | DataFusionError::ExecutionJoin(_)
    )
}

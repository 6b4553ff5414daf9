//! What all sides share: settings as in sample-stage, limits of a process, the tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use clap::{Args, ValueEnum};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};

/// Rows of a batch, as in sample-stage.
const BATCH_SIZE: usize = 32_768;

/// Share of the memory limit that DataFusion may claim, as in sample-stage.
const POOL_SHARE: f64 = 0.6;

/// Limits of a process.
#[derive(Args, Clone)]
pub struct Limits {
    /// Threads
    #[arg(long, value_name = "NUM", default_value_t = 2)]
    pub threads: usize,
    /// Partitions of a query; by default one per thread
    #[arg(long, value_name = "NUM")]
    pub partitions: Option<usize>,
    /// Memory limit
    #[arg(long, value_name = "MiB", default_value_t = 4096)]
    pub memory: usize,
    /// Folder for what does not fit into memory
    #[arg(long, value_name = "FOLDER")]
    pub scratch: Option<PathBuf>,
    /// Largest size of the scratch folder
    #[arg(long, value_name = "MiB", default_value_t = 16384)]
    pub scratch_limit: u64,
    /// Further settings of the session
    #[arg(long, value_name = "NAME=VALUE")]
    pub config: Vec<String>,
    /// Let joins sort instead of holding one side in memory
    #[arg(long)]
    pub sort_joins: bool,
}

impl Limits {
    /// A memory pool and a scratch folder with these limits.
    pub fn runtime(&self) -> Result<Arc<RuntimeEnv>> {
        let pool = FairSpillPool::new((self.memory as f64 * POOL_SHARE) as usize * 1024 * 1024);
        let mode = match &self.scratch {
            Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        let disk = DiskManagerBuilder::default()
            .with_mode(mode)
            .with_max_temp_directory_size(self.scratch_limit << 20);
        RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, 3.try_into().expect("not 0"))))
            .with_disk_manager_builder(disk)
            .build_arc()
    }

    /// Settings as in sample-stage.
    pub fn apply(&self, config: SessionConfig) -> Result<SessionConfig> {
        let mut config = config
            .with_batch_size(BATCH_SIZE)
            .with_target_partitions(self.partitions.unwrap_or(self.threads));
        config.options_mut().sql_parser.collect_spans = true;
        config.options_mut().optimizer.prefer_hash_join = !self.sort_joins;
        for setting in &self.config {
            let (name, value) = setting.split_once('=').unwrap_or((setting, "true"));
            config.options_mut().set(name, value)?;
        }
        Ok(config)
    }
}

/// Formats of the tables.
#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    Parquet,
    Arrow,
}

/// The tables to read.
#[derive(Args, Clone)]
pub struct Tables {
    /// Folder that `engines data` wrote
    #[arg(long, value_name = "FOLDER")]
    pub data: PathBuf,
    /// Format of the tables
    #[arg(long, value_name = "NAME", default_value = "parquet")]
    pub format: Format,
    /// Give the tables by a table provider of our own instead of DataFusion's
    #[arg(long)]
    pub own_provider: bool,
}

impl Tables {
    /// Registers users, interactions and brands.
    pub async fn register(&self, session: &SessionContext) -> Result<()> {
        for name in ["users", "interactions", "brands"] {
            let table = self.listing(session, name).await?;
            let table: Arc<dyn TableProvider> = match self.own_provider {
                true => Arc::new(Own(table)),
                false => Arc::new(table),
            };
            session.register_table(name, table)?;
        }
        Ok(())
    }

    async fn listing(&self, session: &SessionContext, name: &str) -> Result<ListingTable> {
        let (folder, options) = match self.format {
            Format::Parquet => ("parquet", ListingOptions::new(Arc::new(ParquetFormat::default()))),
            Format::Arrow => ("arrow", ListingOptions::new(Arc::new(ArrowFormat))),
        };
        let extension = format!(".{folder}");
        let path = absolute(&self.data)?.join(folder).join(name);
        let url = ListingTableUrl::parse(format!("file://{}/", path.display()))?;
        let options = options.with_file_extension(extension);
        let config = ListingTableConfig::new(url)
            .with_listing_options(options)
            .infer_schema(&session.state())
            .await?;
        ListingTable::try_new(config)
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}

/// Stands for the project's own providers: unknown to DataFusion's codecs, but what it scans is an
/// ordinary `DataSourceExec`.
#[derive(Debug)]
struct Own(ListingTable);

#[async_trait]
impl TableProvider for Own {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.0.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.scan(state, projection, filters, limit).await
    }
}

//! DataFusion sessions: the raw tables for the views, the training tables for sampling.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use contract::cli::DataError;
use contract::ipc::Table;
use contract::manifest::{Data, TableFormat, TableOptions, View};
use contract::raw_files;
use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::MemTable;
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::file_format::options::ArrowReadOptions;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{
    CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionConfig, SessionContext,
};
use indexmap::IndexMap;

use crate::errors::{self, Exhausted};
use crate::query::Query;
use crate::{bounded, draw};

/// Part of the memory limit that DataFusion may claim. The rest is for what it does not count:
/// batches in flight, the ids, the mapped tables.
const POOL_SHARE: f64 = 0.6;

/// Rows of a batch. DataFusion counts a list column in full for each batch that a slice of it is
/// in, so with its usual, smaller batches it would believe memory full and spill long before.
const BATCH_SIZE: usize = 32_768;

/// Most partitions of a query. Each is a task with buffers of its own, so that with tens of
/// thousands of them there would be no memory left.
const PARTITIONS_MAX: usize = 512;

/// Part of the memory limit that one call of a function may make, and what it may make at least.
const CALL_SHARE: u64 = 4;
const CALL_BYTES_MIN: u64 = 64 << 20;

/// What the heap may hold beyond the memory limit, at least: see [`heap_bound`].
const HEAP_ALLOWANCE_MIN: u64 = 1 << 30;

/// Largest memory consumers that an error names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");

/// What a session may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// Memory to keep within, in bytes
    pub memory: u64,
    /// Most that may lie in the scratch folder, in bytes
    pub scratch_bytes: u64,
    /// Threads; by default one a core
    pub threads: Option<usize>,
    /// Folder for what does not fit into memory
    pub scratch: &'a Path,
    /// Whether joins may hold one side in memory; if not they sort, which is slower but needs little
    pub hash_joins: bool,
}

/// What the heap may grow by while a query runs: twice the limit, as what DataFusion does not
/// count should be no more than what it does, and for small limits what planning needs.
pub fn heap_bound(memory: u64) -> u64 {
    memory + memory.max(HEAP_ALLOWANCE_MIN)
}

/// A session within limits, with the project's functions.
///
/// # Errors
///
/// If the scratch folder cannot be used.
pub fn limited(limits: Limits) -> Result<SessionContext> {
    let mut config =
        SessionConfig::new().with_information_schema(false).with_batch_size(BATCH_SIZE);
    config.options_mut().sql_parser.collect_spans = true; // places in error messages
    if let Some(threads) = limits.threads {
        config = config.with_target_partitions(threads.min(PARTITIONS_MAX));
    }
    config.options_mut().optimizer.prefer_hash_join = limits.hash_joins;
    let pool = FairSpillPool::new((limits.memory as f64 * POOL_SHARE) as usize);
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![limits.scratch.to_path_buf()]))
        .with_max_temp_directory_size(limits.scratch_bytes);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, CONSUMERS_NAMED)))
        .with_disk_manager_builder(disk)
        .build_arc()?;
    let session = SessionContext::new_with_config_rt(config, runtime);
    bounded::register(&session, (limits.memory / CALL_SHARE).max(CALL_BYTES_MIN));
    session.register_udf(draw::function());
    Ok(session)
}

/// A session over the raw tables of the manifest.
///
/// * `scratch`: folder for what does not fit into memory.
///
/// # Errors
///
/// A table that cannot be opened, by its name and path.
pub async fn over_raw_tables(data: &Data, scratch: &Path) -> Result<SessionContext> {
    let session = limited(Limits {
        memory: data.memory_limit.bytes(),
        scratch_bytes: data.scratch_limit.bytes(),
        threads: None,
        scratch,
        hash_joins: true,
    })?;
    for (name, source) in &data.tables {
        let options = source.options();
        register_raw(&session, name, &options)
            .await
            .map_err(|err| DataError(format!("table `{name}`: {}: {err}", options.path)))?;
    }
    Ok(session)
}

async fn register_raw(session: &SessionContext, name: &str, options: &TableOptions) -> Result<()> {
    let found = raw_files::find(options).map_err(DataError)?;
    let files: Vec<_> = found.files.into_iter().map(|file| file.path).collect();
    let (format, ending) = (found.format, String::new());
    let paths: Vec<String> = files
        .iter()
        .map(|file| std::path::absolute(file).map(|path| path.display().to_string()))
        .collect::<std::io::Result<_>>()?;
    let frame = match format {
        TableFormat::Parquet => {
            session.read_parquet(paths, ParquetReadOptions::new().file_extension(&ending)).await?
        }
        TableFormat::Csv => {
            let delimiter = options.delimiter.as_ref().map_or(b',', |text| text.as_bytes()[0]);
            let csv = CsvReadOptions::new()
                .has_header(options.header)
                .delimiter(delimiter)
                .file_extension(&ending);
            session.read_csv(paths, csv).await?
        }
        TableFormat::Json => {
            session.read_json(paths, JsonReadOptions::default().file_extension(&ending)).await?
        }
        TableFormat::Arrow => {
            let arrow = ArrowReadOptions { file_extension: &ending, ..ArrowReadOptions::default() };
            session.read_arrow(paths, arrow).await?
        }
    };
    session.register_table(name, frame.into_view())?;
    Ok(())
}

/// The rows of `users`, `interactions` or `brands`.
///
/// # Errors
///
/// A view whose query cannot be planned.
pub async fn view(session: &SessionContext, view: &View) -> Result<DataFrame> {
    match view {
        View::Table(view) => Ok(session.table(format!("\"{}\"", view.table)).await?),
        View::Sql(view) => Ok(Query::read(&view.sql)?.plan(session, &IndexMap::new(), &[]).await?),
    }
}

/// Registers a table that another stage wrote; its columns stay in the mapped file.
///
/// # Errors
///
/// If the name is taken.
pub fn register_table(session: &SessionContext, name: &str, table: &Table) -> Result<()> {
    // DataFusion cannot join tables whose metadata differ.
    let schema = Arc::new(table.schema.as_ref().clone().with_metadata([].into()));
    let batches = table
        .batches
        .iter()
        .map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()))
        .collect::<Result<_, _>>()?;
    session.register_table(name, Arc::new(MemTable::try_new(schema, vec![batches])?))?;
    Ok(())
}

/// All rows of a frame over raw tables.
///
/// * `what`: `users`, `interactions` or `brands`, for messages.
///
/// # Errors
///
/// What cannot be read, as [`reading_error`] says it.
pub async fn collect(frame: DataFrame, what: &str) -> Result<Vec<RecordBatch>> {
    frame.collect().await.map_err(|err| reading_error(what, &err))
}

/// As [`collect`], batch by batch; errors of the stream are for [`reading_error`].
///
/// # Errors
///
/// As [`collect`].
pub async fn stream(frame: DataFrame, what: &str) -> Result<SendableRecordBatchStream> {
    frame.execute_stream().await.map_err(|err| reading_error(what, &err))
}

/// What went wrong while rows were read.
pub fn reading_error(what: &str, err: &DataFusionError) -> anyhow::Error {
    let message = match errors::exhausted(err) {
        Some(Exhausted::Memory(reason)) => {
            format!("{reason}\nhint: give the views more memory with `data.memory_limit`")
        }
        Some(Exhausted::Scratch) => "what does not fit into memory takes more of the disk than \
             `data.scratch_limit`\nhint: look for a join that makes too many rows, or raise the limit"
            .to_owned(),
        None => errors::message(err),
    };
    DataError(format!("cannot read {what}: {message}")).into()
}

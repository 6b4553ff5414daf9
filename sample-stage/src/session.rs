//! DataFusion sessions: one for views over raw tables, one for sampling over training tables.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use contract::ipc::Table;
use contract::manifest::Data;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::lit;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::as_of::AS_OF;
use crate::engine::Engine;
use crate::{bounded, draw};

/// Share of the memory limit that DataFusion may claim. The rest is for what it does not count:
/// batches in flight, the ids, the mapped tables.
const POOL_SHARE: f64 = 0.6;

/// Rows of a batch. DataFusion counts a list column in full for each batch with a slice of it, so
/// with its smaller default batches it would spill much too early.
const BATCH_SIZE: usize = 32_768;

/// Most partitions of a query. Each is a task with its own buffers, so tens of thousands of them
/// would take all memory.
const PARTITIONS_MAX: usize = 512;

/// One call of a function may make a quarter of the memory limit, and at least this many bytes.
const CALL_SHARE: u64 = 4;
const CALL_BYTES_MIN: u64 = 64 << 20;

/// Least that the heap may hold beyond the memory limit, in bytes: see [`heap_bound`].
const HEAP_ALLOWANCE_MIN: u64 = 1 << 30;

/// Number of memory consumers in an error.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");

/// Limits of a session.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Memory to keep within, in bytes
    pub memory: u64,
    /// Largest size of the scratch folder, in bytes
    pub scratch_bytes: u64,
    /// Threads; by default one per core
    pub threads: Option<usize>,
    /// Folder for what does not fit into memory
    pub scratch: &'a Path,
    /// Whether joins may hold one side in memory; else they sort, which is slower and needs little
    /// memory
    pub hash_joins: bool,
    /// Where the queries run
    pub engine: &'a Engine,
}

/// How much the heap may grow while a query runs, in bytes: twice the limit, as what DataFusion
/// does not count should not exceed what it does, and at least what planning needs.
pub fn heap_bound(memory: u64) -> u64 {
    memory + memory.max(HEAP_ALLOWANCE_MIN)
}

/// A session within limits, with the project's functions.
///
/// # Errors
///
/// If the scratch folder cannot be used.
pub fn limited(limits: Limits) -> Result<SessionContext> {
    let mut config = SessionConfig::new().with_information_schema(false);
    config = with_batch_size(config);
    config.options_mut().sql_parser.collect_spans = true; // places in error messages
    if let Some(threads) = limits.threads {
        config = config.with_target_partitions(threads.min(PARTITIONS_MAX));
    }
    config.options_mut().optimizer.prefer_hash_join = limits.hash_joins;
    let runtime = runtime(limits.memory, limits.scratch_bytes, limits.scratch).build_arc()?;
    let session = limits.engine.session(config, runtime);
    register_functions(&session, limits.memory);
    Ok(session)
}

/// The size of batches that all sessions have.
pub fn with_batch_size(config: SessionConfig) -> SessionConfig {
    config.with_batch_size(BATCH_SIZE)
}

/// Where queries take memory and disk.
///
/// * `memory`, `scratch_bytes`, `scratch`: as in [`Limits`].
pub fn runtime(memory: u64, scratch_bytes: u64, scratch: &Path) -> RuntimeEnvBuilder {
    let pool = FairSpillPool::new((memory as f64 * POOL_SHARE) as usize);
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![scratch.to_path_buf()]))
        .with_max_temp_directory_size(scratch_bytes);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, CONSUMERS_NAMED)))
        .with_disk_manager_builder(disk)
}

/// Adds the project's functions to a session.
///
/// * `memory`: limit of the session, in bytes.
pub fn register_functions(session: &SessionContext, memory: u64) {
    bounded::register(session, (memory / CALL_SHARE).max(CALL_BYTES_MIN));
    session.register_udf(draw::function());
}

/// A session for views over raw tables, with the limits of the manifest's `data`.
///
/// * `scratch`: folder for what does not fit into memory.
///
/// # Errors
///
/// As [`limited`].
pub fn for_views(data: &Data, scratch: &Path, engine: &Engine) -> Result<SessionContext> {
    limited(Limits {
        memory: data.memory_limit.bytes(),
        scratch_bytes: data.scratch_limit.bytes(),
        threads: None,
        scratch,
        hash_joins: true,
        engine,
    })
}

/// A table that another stage wrote, with a column `as_of` in any case, so that a query may pass it on:
/// without dates it is the same day in all rows, 1970-01-01.
///
/// * `table`: as a table of the session.
///
/// # Errors
///
/// If the name is taken.
pub fn register_dated(
    session: &SessionContext,
    name: &str,
    table: Arc<dyn TableProvider>,
) -> Result<()> {
    if table.schema().field_with_name(AS_OF).is_ok() {
        session.register_table(name, table)?;
        return Ok(());
    }
    let no_date = lit(ScalarValue::Date32(Some(0)));
    let frame = session.read_table(table)?.with_column(AS_OF, no_date)?;
    session.register_table(name, frame.into_view())?;
    Ok(())
}

/// A table that another stage wrote, without copying its columns.
///
/// # Errors
///
/// None that a table between stages can cause.
pub fn in_memory(table: &Table) -> Result<MemTable> {
    let (schema, batches) = without_metadata(table)?;
    Ok(MemTable::try_new(schema, vec![batches])?)
}

/// Columns and rows of a table; `DataFusion` cannot join tables with different metadata.
///
/// # Errors
///
/// None that a table between stages can cause.
pub fn without_metadata(table: &Table) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let schema = Arc::new(table.schema.as_ref().clone().with_metadata([].into()));
    let strip =
        |batch: &RecordBatch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec());
    let batches = table.batches.iter().map(strip).collect::<Result<_, _>>()?;
    Ok((schema, batches))
}

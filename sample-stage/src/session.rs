//! DataFusion sessions: one for views over raw tables, one for sampling over training tables.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use contract::ipc::Table;
use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::MemTable;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::draw;

/// Part of the memory limit that DataFusion may claim. The rest is for what it does not count:
/// batches in flight, the ids, the mapped tables.
const POOL_SHARE: f64 = 0.6;

/// Rows of a batch. DataFusion counts a list column in full for each batch that a slice of it is
/// in, so with its usual, smaller batches it would believe memory full and spill long before.
const BATCH_SIZE: usize = 32_768;

/// Largest memory consumers that an error names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");

/// What a session may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// Memory to keep within, in bytes
    pub memory: u64,
    /// Threads; by default one a core
    pub threads: Option<usize>,
    /// Folder for what does not fit into memory
    pub scratch: &'a Path,
    /// Whether joins may hold one side in memory; if not they sort, which is slower but needs little
    pub hash_joins: bool,
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new().with_information_schema(false);
    config.options_mut().sql_parser.collect_spans = true; // places in error messages
    config
}

/// A session for a sampling query, with the project's functions and within limits.
///
/// # Errors
///
/// If the scratch folder cannot be used.
pub fn limited(limits: Limits) -> Result<SessionContext> {
    let mut config = config();
    config = config.with_batch_size(BATCH_SIZE);
    if let Some(threads) = limits.threads {
        config = config.with_target_partitions(threads);
    }
    config.options_mut().optimizer.prefer_hash_join = limits.hash_joins;
    let pool = FairSpillPool::new((limits.memory as f64 * POOL_SHARE) as usize);
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![limits.scratch.to_path_buf()]));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, CONSUMERS_NAMED)))
        .with_disk_manager_builder(disk)
        .build_arc()?;
    let session = SessionContext::new_with_config_rt(config, runtime);
    session.register_udf(draw::function());
    Ok(session)
}

/// A session for views over raw tables, with the project's functions.
pub fn for_views() -> SessionContext {
    let session = SessionContext::new_with_config(config());
    session.register_udf(draw::function());
    session
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

//! What all DataFusion sessions have in common, those of workers too.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::{bounded, draw};

/// Share of the memory limit that DataFusion may claim. The rest is for what it does not count:
/// batches in flight, the ids, the mapped tables.
const POOL_SHARE: f64 = 0.6;

/// Rows of a batch. DataFusion counts a list column in full for each batch with a slice of it, so
/// with its smaller default batches it would spill much too early.
const BATCH_SIZE: usize = 32_768;

/// One call of a function may make a quarter of the memory limit, and at least this many bytes.
const CALL_SHARE: u64 = 4;
const CALL_BYTES_MIN: u64 = 64 << 20;

/// Number of memory consumers in an error.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");

/// The size of batches that all sessions have.
pub fn with_batch_size(config: SessionConfig) -> SessionConfig {
    config.with_batch_size(BATCH_SIZE)
}

/// Where queries take memory and disk.
///
/// * `memory`, `scratch_bytes`, `scratch`: as in [`crate::session::Limits`].
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

//! DataFusion sessions within limits: one for views over raw tables, one for sampling.

use std::path::Path;

use anyhow::Result;
use contract::manifest::Data;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::engine::Engine;
use crate::settings::{register_functions, runtime, with_batch_size};

/// Most partitions of a query. Each is a task with its own buffers, so tens of thousands of them
/// would take all memory.
const PARTITIONS_MAX: usize = 512;

/// Least that the heap may hold beyond the memory limit, in bytes: see [`heap_bound`].
const HEAP_ALLOWANCE_MIN: u64 = 1 << 30;

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

//! Where queries run: in this process, or on the workers that the manifest lists.
//!
//! The plan of a query is made here in any case, and its rows come back here, where each stage puts
//! them into an order of its own. So the results are the same.

#[cfg(feature = "distributed")]
mod channel; // connections to workers
#[cfg(feature = "distributed")]
mod cluster; // the workers, seen from a stage
#[cfg(feature = "distributed")]
mod network; // threads for connections
#[cfg(feature = "distributed")]
mod shared; // tables as files that workers read
#[cfg(all(test, feature = "distributed"))]
mod tests; // the same rows on three workers as in one process
#[cfg(feature = "distributed")]
mod worker; // a worker

use std::sync::Arc;

use anyhow::Result;
use contract::cli::WorkerArgs;
#[cfg(feature = "distributed")]
use contract::exit::DataError;
#[cfg(not(feature = "distributed"))]
use contract::exit::UsageError;
use contract::ipc::Table;
use contract::manifest;
use contract::scratch::Scratch;
#[cfg(feature = "distributed")]
use contract::warn_line;
use datafusion::catalog::TableProvider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};
use raw_tables::RawTable;

use crate::raw::stream;
use crate::stage_tables;

/// Where queries run.
pub enum Engine {
    /// In this process
    Local,
    /// On workers
    #[cfg(feature = "distributed")]
    Distributed(cluster::Cluster),
}

impl Engine {
    /// The engine of a manifest; workers are asked whether they are there and of the same build.
    ///
    /// * `scratch`: folder that the workers see, for tables that they read.
    ///
    /// # Errors
    ///
    /// A worker that does not answer or is of another build, or a build without workers.
    #[cfg_attr(not(feature = "distributed"), expect(clippy::unused_async, reason = "asks workers"))]
    pub async fn start(engine: &manifest::Engine, scratch: &Scratch) -> Result<Self> {
        match engine {
            manifest::Engine::Local {} => Ok(Self::Local),
            #[cfg(feature = "distributed")]
            manifest::Engine::Distributed { workers } => {
                Ok(Self::Distributed(cluster::Cluster::connect(workers, scratch.path()).await?))
            }
            #[cfg(not(feature = "distributed"))]
            manifest::Engine::Distributed { .. } => {
                let _ = scratch;
                Err(not_built_in())
            }
        }
    }

    /// What limits the memory of queries, for messages.
    ///
    /// * `key`: the manifest's key of the stage's limit.
    pub fn memory_limit(&self, key: &str) -> String {
        match self {
            Self::Local => format!("`{key}`"),
            #[cfg(feature = "distributed")]
            Self::Distributed(_) => format!("`{key}` or a worker's --memory"),
        }
    }

    /// A session whose queries run here.
    pub fn session(&self, config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionContext {
        match self {
            Self::Local => SessionContext::new_with_config_rt(config, runtime),
            #[cfg(feature = "distributed")]
            Self::Distributed(cluster) => cluster.session(config, runtime),
        }
    }

    /// A table that another stage wrote.
    ///
    /// # Errors
    ///
    /// None that a table between stages can cause.
    pub fn table(&self, name: &str, table: &Table) -> Result<Arc<dyn TableProvider>> {
        match self {
            Self::Local => {
                let _ = name;
                Ok(Arc::new(stage_tables::in_memory(table)?))
            }
            #[cfg(feature = "distributed")]
            Self::Distributed(cluster) => shared::of_stage(cluster.scratch(), name, table),
        }
    }

    /// Registers a raw table whose format `DataFusion` does not read.
    ///
    /// # Errors
    ///
    /// If the name is taken.
    pub fn register_raw(&self, session: &SessionContext, table: &Arc<RawTable>) -> Result<()> {
        match self {
            Self::Local => stream::register(session, table),
            #[cfg(feature = "distributed")]
            Self::Distributed(cluster) => {
                let shared = shared::of_raw(cluster.scratch(), table);
                session.register_table(table.name.as_str(), shared)?;
                Ok(())
            }
        }
    }
}

/// Runs a stage, and again on the workers that are left if some cannot be used, or no longer.
///
/// * `run`: runs it on an engine, from the beginning.
///
/// # Errors
///
/// As `run`, if all workers can be used or none is left.
pub async fn on_workers_left<T>(
    engine: &manifest::Engine,
    run: impl AsyncFn(&manifest::Engine) -> Result<T>,
) -> Result<T> {
    #[cfg(feature = "distributed")]
    {
        let mut engine = engine.clone();
        loop {
            let result = run(&engine).await;
            let (Err(err), manifest::Engine::Distributed { workers }) = (&result, &mut engine)
            else {
                return result;
            };
            let lost = cluster::lost(workers).await;
            if lost.is_empty() || lost.len() == workers.len() {
                return result.map_err(|err| with_hint(err, workers));
            }
            workers.retain(|worker| !lost.contains(worker));
            warn_line!(
                "warning: {err:#}\nwarning: running the stage again without {}",
                lost.join(", ")
            );
        }
    }
    #[cfg(not(feature = "distributed"))]
    run(engine).await
}

/// An error of the system as workers may have met it: it arrives as text and without the worker's name.
#[cfg(feature = "distributed")]
fn with_hint(err: anyhow::Error, workers: &[String]) -> anyhow::Error {
    let text = format!("{err:#}");
    if !text.contains("(os error ") {
        return err;
    }
    let text = format!(
        "{text}\nhint: this may be on a worker ({}): all need the tables and `run_dir` under the same \
         paths, the right to read them, and room in their --scratch",
        workers.join(", ")
    );
    if err.is::<DataError>() { DataError(text).into() } else { anyhow::Error::msg(text) }
}

/// Runs a worker until it is stopped; returns what to print.
///
/// # Errors
///
/// An address or a folder that cannot be used, or a build without workers.
#[cfg_attr(not(feature = "distributed"), expect(clippy::unused_async, reason = "a worker waits"))]
pub async fn run_worker(args: &WorkerArgs) -> Result<String> {
    #[cfg(feature = "distributed")]
    return worker::run(args).await;
    #[cfg(not(feature = "distributed"))]
    {
        let _ = args;
        Err(not_built_in())
    }
}

#[cfg(not(feature = "distributed"))]
fn not_built_in() -> anyhow::Error {
    UsageError(
        "this build runs queries in one process\n\
         hint: build it with workers, `make build ENGINE=distributed`"
            .to_owned(),
    )
    .into()
}

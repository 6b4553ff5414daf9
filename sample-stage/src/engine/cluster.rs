//! The workers, seen from a stage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use contract::exit::DataError;
use datafusion::common::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlanProperties as _;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_distributed::{
    ChannelResolver as _, DesiredTaskCountEvent, DesiredTaskCountEventResponse,
    DistributedExt as _, GetWorkerInfoRequest, SessionStateBuilderExt as _, WorkerResolver,
};
use futures::future::join_all;
use url::Url;

use super::channel::{Channels, TOKEN, Token};
use super::worker::build;
use crate::errors;

/// Bytes of files that are worth a task of their own: all scans are spread over all workers.
const BYTES_PER_PARTITION: usize = 1;

/// Workers that answered.
pub struct Cluster {
    urls: Vec<Url>,
    channels: Channels,
    scratch: PathBuf,
}

impl Cluster {
    /// Asks all workers whether they are there and of the same build.
    ///
    /// * `workers`: as `HOST:PORT`.
    /// * `scratch`: folder that the workers see.
    ///
    /// # Errors
    ///
    /// All workers that cannot be used, each with the reason.
    pub async fn connect(workers: &[String], scratch: &Path) -> Result<Self> {
        let channels = Channels::new(Token::of_environment().map_err(DataError)?);
        let build = build()?;
        let urls = workers.iter().map(|worker| url(worker)).collect::<Result<Vec<Url>>>()?;
        let answers = join_all(urls.iter().map(|url| ask(&channels, url, &build))).await;
        let problems: Vec<String> = answers.into_iter().filter_map(Result::err).collect();
        if !problems.is_empty() {
            return Err(anyhow!(
                "engine: {} of {} workers cannot be used\n  {}\n\
                 hint: start `pipeline worker --listen HOST:PORT` of the same build on each machine, \
                 with the same {TOKEN}, or take the worker out of `engine.workers`",
                problems.len(),
                workers.len(),
                problems.join("\n  ")
            ));
        }
        Ok(Self { urls, channels, scratch: scratch.to_path_buf() })
    }

    /// Folder that the workers see.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// A session that plans here and runs on the workers.
    pub fn session(&self, mut config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionContext {
        // As in tables that are held in memory: text is `Utf8`, not a view of it.
        config.options_mut().execution.parquet.schema_force_view_types = false;
        // Else a small table would be one partition; see `not_in_copies`.
        config.options_mut().optimizer.repartition_file_min_size = 0;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_distributed_worker_resolver(Listed(self.urls.clone()))
            .with_distributed_channel_resolver(self.channels.clone())
            .with_distributed_planner()
            .with_distributed_desired_task_count_handler(not_in_copies)
            .with_distributed_file_scan_config_bytes_per_partition(BYTES_PER_PARTITION)
            .and_then(|state| state.with_distributed_broadcast_joins(false))
            .expect("the planner is there");
        SessionContext::new_with_state(state.build())
    }
}

/// Workers that do not answer, by their addresses.
pub async fn lost(workers: &[String]) -> Vec<String> {
    let (Ok(token), Ok(build)) = (Token::of_environment(), build()) else { return Vec::new() };
    let channels = Channels::new(token); // those that are open may be dead
    let is_lost = async |worker: &String| match url(worker) {
        Ok(url) => ask(&channels, &url, &build).await.is_err().then(|| worker.clone()),
        Err(_) => None,
    };
    join_all(workers.iter().map(is_lost)).await.into_iter().flatten().collect()
}

fn url(worker: &str) -> Result<Url> {
    Url::parse(&format!("http://{worker}")).map_err(|err| anyhow!("worker {worker}: {err}"))
}

/// Workers that do not change.
struct Listed(Vec<Url>);

impl WorkerResolver for Listed {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        Ok(self.0.clone())
    }
}

/// One task where there is one partition. What is above it, such as a sum over all rows, then runs
/// without gathering partitions first, so that several tasks would each have a result of their own.
fn not_in_copies(
    event: DesiredTaskCountEvent,
) -> Option<Result<DesiredTaskCountEventResponse, DataFusionError>> {
    let is_one = event.plan.output_partitioning().partition_count() == 1;
    (is_one && event.plan.children().is_empty())
        .then(|| Ok(DesiredTaskCountEventResponse::maximum(1)))
}

/// Why a worker cannot be used.
async fn ask(channels: &Channels, url: &Url, build: &str) -> Result<(), String> {
    let address = url.authority();
    let client = channels.get_worker_client_for_url(url).await;
    let mut client = client.map_err(|err| said(&err))?;
    let info = client.get_worker_info(GetWorkerInfoRequest {}).await;
    let found = info.map_err(|err| format!("worker {address}: {}", said(&err)))?.version;
    if found == build {
        return Ok(());
    }
    Err(format!("worker {address}: found build `{found}`, expected this one, `{build}`"))
}

/// What a worker said, without how it was sent.
fn said(err: &DataFusionError) -> String {
    let text = errors::message(err);
    let message = text.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"'));
    message.map_or(text.clone(), |(message, _)| message.to_owned())
}

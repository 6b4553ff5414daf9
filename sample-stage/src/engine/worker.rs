//! A worker: runs parts of other processes' queries until it is stopped.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use contract::cli::WorkerArgs;
use contract::exit::UsageError;
use contract::hashes::Hashes;
use contract::manifest::MemorySize;
use contract::scratch::Scratch;
use contract::warn_line;
use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::object_store::ObjectStore;
use datafusion::prelude::SessionContext;
use datafusion_distributed::{DistributedExt as _, Worker, WorkerQueryContext};
use stores::StoreUrl;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};
use url::Url;

use super::channel::{Channels, TOKEN, Token};
use super::network::{ComputesOn, NETWORK};
use crate::settings;

/// What a worker and a stage must agree on: the program, byte by byte.
///
/// # Errors
///
/// If the program cannot be read.
pub fn build() -> Result<String> {
    let program = std::env::current_exe().context("cannot find the program's own file")?;
    let hash = Hashes::default().of(&program)?;
    Ok(format!("{} {}", env!("CARGO_PKG_VERSION"), &hash[..16]))
}

/// Listens until the process is stopped.
///
/// # Errors
///
/// An address that cannot be used, or is open to other machines without a token.
pub async fn run(args: &WorkerArgs) -> Result<String> {
    let size = |name: &str, text: &str| {
        MemorySize::parse(text)
            .ok_or_else(|| UsageError(format!("--{name} {text}: expected a size such as `8GiB`")))
    };
    let memory = size("memory", &args.memory)?;
    let scratch_bytes = size("scratch-limit", &args.scratch_limit)?;
    let token = Token::of_environment().map_err(UsageError)?;
    let address = address(&args.listen)?;
    if !address.ip().is_loopback() && !token.is_set() {
        return Err(UsageError(format!(
            "--listen {}: other machines can reach this address, and whoever reaches a worker can read \
             what it reads\nhint: set {TOKEN} to the same secret on all machines",
            args.listen
        ))
        .into());
    }
    fs::create_dir_all(&args.scratch)
        .with_context(|| format!("--scratch {}", args.scratch.display()))?;
    let scratch = Scratch::create(&args.scratch)?;
    let runtime = settings::runtime(memory, scratch_bytes, scratch.path())
        .with_object_store_registry(Arc::new(Stores(DefaultObjectStoreRegistry::new())))
        .build_arc()?;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("--listen {}: cannot listen", args.listen))?;
    warn_line!("worker: listening on {}", listener.local_addr()?);
    serve(listener, runtime, memory, token).await?;
    Ok(String::new())
}

/// Serves parts of queries until the process ends.
///
/// * `memory`: limit of `runtime`, in bytes.
///
/// # Errors
///
/// If connections can no longer be accepted.
pub async fn serve(
    listener: TcpListener,
    runtime: Arc<RuntimeEnv>,
    memory: u64,
    token: Token,
) -> Result<()> {
    let channels = Channels::new(token.clone());
    let state = move |context: WorkerQueryContext| {
        let channels = channels.clone();
        async move { Ok::<_, DataFusionError>(state(context, channels, memory)) }
    };
    let worker =
        Worker::from_session_builder(state).with_runtime_env(runtime).with_version(build()?);
    let service = InterceptedService::new(worker.into_worker_server(), move |request| {
        admitted(&token, request)
    });
    let service = ComputesOn { service, threads: Handle::current() };
    let listener = listener.into_std()?;
    let serving = async move {
        let listener = TcpListener::from_std(listener)?; // from now on by these threads
        let server = Server::builder().tcp_nodelay(true).add_service(service);
        anyhow::Ok(server.serve_with_incoming(TcpListenerStream::new(listener)).await?)
    };
    NETWORK.spawn(serving).await?
}

/// The first address of a host and port.
fn address(listen: &str) -> Result<SocketAddr> {
    let mut found = listen
        .to_socket_addrs()
        .map_err(|err| UsageError(format!("--listen {listen}: {err}; expected `HOST:PORT`")))?;
    found.next().ok_or_else(|| anyhow!("--listen {listen}: the host has no address"))
}

#[expect(clippy::result_large_err, reason = "tonic asks for it")]
fn admitted(token: &Token, request: Request<()>) -> Result<Request<()>, Status> {
    let found = request.metadata().get("authorization").map(|value| value.as_encoded_bytes());
    if token.is_in(found) {
        return Ok(request);
    }
    Err(Status::unauthenticated(format!("the {TOKEN} of this worker is another one")))
}

/// The session of one part of a query.
fn state(mut context: WorkerQueryContext, channels: Channels, memory: u64) -> SessionState {
    let config = context.builder.config();
    *config = config.take().map(settings::with_batch_size);
    let state = context.builder.with_distributed_channel_resolver(channels).build();
    let session = SessionContext::new_with_state(state);
    settings::register_functions(&session, memory);
    session.state()
}

/// Object stores by URL, with credentials of this machine's environment.
#[derive(Debug)]
struct Stores(DefaultObjectStoreRegistry);

impl ObjectStoreRegistry for Stores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.0.register_store(url, store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        if url.scheme() == "file" {
            return self.0.get_store(url);
        }
        let of =
            StoreUrl::parse(url.as_str()).map_err(|err| DataFusionError::External(err.into()))?;
        stores::store_of(&of).map_err(|err| DataFusionError::External(err.into()))
    }
}

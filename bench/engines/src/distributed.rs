//! datafusion-distributed: a worker, and a coordinator that plans a query and sends its parts to
//! the workers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clap::Args;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_distributed::{
    ChannelResolver, DistributedExt, GetWorkerInfoRequest, SessionStateBuilderExt, Worker,
    WorkerChannel, WorkerQueryContext, WorkerResolver, display_plan_ascii, grpc,
};
use futures::future::{BoxFuture, join_all};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Mutex;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::NamedService;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig};
use tonic::{Request, Status};
use tower::{Service, ServiceExt};
use url::Url;

use crate::functions;
use crate::queries::{Queries, report};
use crate::session::{Limits, Tables};

/// How processes reach each other: the same on all sides.
#[derive(Args, Clone)]
pub struct Network {
    /// Version that all sides must have
    #[arg(long, value_name = "TEXT")]
    version: Option<String>,
    /// Secret that each request must carry
    #[arg(long, value_name = "TEXT")]
    token: Option<String>,
    /// Folder with ca.crt, node.crt and node.key: encrypt, and know each other by certificates
    #[arg(long, value_name = "FOLDER")]
    tls: Option<PathBuf>,
    /// Seconds between pings of a connection, and until a ping without an answer ends it
    #[arg(long, value_name = "NUM")]
    keep_alive: Option<u64>,
}

impl Network {
    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn pem(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let read = |folder: &PathBuf| std::fs::read(folder.join(name));
        Ok(self.tls.as_ref().map(read).transpose()?)
    }

    fn identity(&self) -> Result<Option<(Certificate, Identity)>> {
        let (ca, cert, key) = (self.pem("ca.crt")?, self.pem("node.crt")?, self.pem("node.key")?);
        Ok(ca
            .zip(cert.zip(key))
            .map(|(ca, (cert, key))| (Certificate::from_pem(ca), Identity::from_pem(cert, key))))
    }
}

#[derive(Args)]
pub struct WorkerArgs {
    /// Port on the loopback interface
    #[arg(long, value_name = "NUM")]
    port: u16,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    network: Network,
}

/// Serves parts of queries until it is killed.
pub async fn worker(args: WorkerArgs) -> Result<()> {
    let channels = Channels::new(&args.network)?;
    let limits = args.limits.clone();
    let build = move |context: WorkerQueryContext| {
        let (channels, limits) = (channels.clone(), limits.clone());
        async move { worker_session(context, channels, &limits) }
    };
    let worker = Worker::from_session_builder(build)
        .with_runtime_env(args.limits.runtime()?)
        .with_version(args.network.version.clone().unwrap_or_default());
    let token = args.network.token.clone();
    let check = move |request: Request<()>| match &token {
        Some(token) => {
            let given = request.metadata().get("authorization");
            match given.is_some_and(|given| given.as_bytes() == token.as_bytes()) {
                true => Ok(request),
                false => Err(Status::unauthenticated("no token, or another one")),
            }
        }
        None => Ok(request),
    };
    let mut server = Server::builder();
    if let Some((ca, identity)) = args.network.identity()? {
        let tls = ServerTlsConfig::new().identity(identity).client_ca_root(ca);
        server = server.tls_config(tls).map_err(external)?;
    }
    let service = OnThreads {
        service: InterceptedService::new(worker.into_worker_server(), check),
        threads: Handle::current(),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let serving = NETWORK.spawn(server.add_service(service).serve(address));
    serving.await.map_err(external)?.map_err(external)
}

/// A thread for the network alone. Where queries compute, a step may take many seconds, and the
/// pings of other processes would wait for its end.
static NETWORK: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread can start")
});

/// A service that the network's thread calls and that computes on other threads.
#[derive(Clone)]
struct OnThreads<S> {
    service: S,
    threads: Handle,
}

impl<S> Service<http::Request<Body>> for OnThreads<S>
where
    S: Service<http::Request<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Response: Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<S::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut service = self.service.clone();
        let task = self.threads.spawn(async move { service.call(request).await });
        Box::pin(async move { task.await.expect("requests do not panic") })
    }
}

impl<S: NamedService> NamedService for OnThreads<S> {
    const NAME: &'static str = S::NAME;
}

/// The settings are those of this worker: of the coordinator's, only the extensions arrive.
fn worker_session(
    context: WorkerQueryContext,
    channels: Channels,
    limits: &Limits,
) -> Result<SessionState> {
    let mut builder = context.builder;
    let config = std::mem::take(builder.config()).unwrap_or_default();
    builder.scalar_functions().get_or_insert_default().extend(functions::all());
    Ok(builder
        .with_config(limits.apply(config)?)
        .with_distributed_channel_resolver(channels)
        .build())
}

#[derive(Args)]
pub struct RunArgs {
    /// Ports of the workers
    #[arg(long, value_name = "NUMS", value_delimiter = ',')]
    workers: Vec<u16>,
    /// Bytes of a file that a partition should read: fewer give more parts
    #[arg(long, value_name = "NUM", default_value_t = 1 << 20)]
    bytes_per_partition: usize,
    /// Let the number of parts follow what the first rows show
    #[arg(long)]
    dynamic: bool,
    /// Leave out workers that do not answer or have another version
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    queries: Queries,
}

/// Runs the queries on the workers.
pub async fn run(args: RunArgs) -> Result<()> {
    let channels = Channels::new(&args.network)?;
    let scheme = args.network.scheme();
    let mut urls: Vec<Url> = args
        .workers
        .iter()
        .map(|port| Url::parse(&format!("{scheme}://localhost:{port}")).expect("a valid URL"))
        .collect();
    if args.check {
        urls = fitting(urls, &channels, args.network.version.as_deref().unwrap_or("")).await;
    }
    let config = args.limits.apply(SessionConfig::new())?;
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_runtime_env(args.limits.runtime()?)
        .with_distributed_worker_resolver(Fixed(urls))
        .with_distributed_channel_resolver(channels)
        .with_distributed_planner()
        .with_distributed_file_scan_config_bytes_per_partition(args.bytes_per_partition)?
        .with_distributed_dynamic_task_count(args.dynamic)?
        .build();
    let session = SessionContext::new_with_state(state);
    functions::all().iter().for_each(|udf| session.register_udf(udf.as_ref().clone()));
    args.tables.register(&session).await?;
    for name in &args.queries.queries {
        let frame = args.queries.plan(&session, name).await?;
        if args.queries.explain {
            let plan = frame.create_physical_plan().await?;
            println!("{}", display_plan_ascii(plan.as_ref(), false));
            continue;
        }
        report(name, Instant::now(), frame.execute_stream()).await;
    }
    Ok(())
}

/// The workers that answer and have the version.
async fn fitting(urls: Vec<Url>, channels: &Channels, version: &str) -> Vec<Url> {
    let answers = join_all(urls.into_iter().map(|url| async move {
        let mut client = match channels.get_worker_client_for_url(&url).await {
            Ok(client) => client,
            Err(err) => return Err(format!("{url}: {err}")),
        };
        match client.get_worker_info(GetWorkerInfoRequest {}).await {
            Ok(info) if info.version == version => Ok(url),
            Ok(info) => Err(format!("{url}: version `{}`, expected `{version}`", info.version)),
            Err(err) => Err(format!("{url}: {err}")),
        }
    }));
    let mut fitting = Vec::new();
    for answer in answers.await {
        match answer {
            Ok(url) => fitting.push(url),
            Err(why) => eprintln!("left out {why}"),
        }
    }
    fitting
}

#[derive(Clone)]
struct Fixed(Vec<Url>);

impl WorkerResolver for Fixed {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.0.clone())
    }
}

/// Connections to workers, kept, with what [`Network`] asks for. The default ones have no time
/// limit, no ping and no encryption.
#[derive(Clone)]
struct Channels {
    network: Network,
    tls: Option<ClientTlsConfig>,
    open: Arc<Mutex<HashMap<Url, Channel>>>,
}

impl Channels {
    fn new(network: &Network) -> Result<Self> {
        let tls = network.identity()?.map(|(ca, identity)| {
            ClientTlsConfig::new().ca_certificate(ca).identity(identity).domain_name("localhost")
        });
        Ok(Self { network: network.clone(), tls, open: Arc::default() })
    }

    async fn channel(&self, url: &Url) -> Result<Channel> {
        let mut open = self.open.lock().await;
        if let Some(channel) = open.get(url) {
            return Ok(channel.clone());
        }
        let mut endpoint = Channel::from_shared(url.to_string()).map_err(external)?;
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone()).map_err(external)?;
        }
        if let Some(seconds) = self.network.keep_alive {
            let seconds = Duration::from_secs(seconds);
            endpoint = endpoint
                .connect_timeout(seconds)
                .http2_keep_alive_interval(seconds)
                .keep_alive_timeout(seconds)
                .keep_alive_while_idle(true);
        }
        let connecting = NETWORK.spawn(async move { endpoint.connect().await });
        let channel = connecting.await.map_err(external)?.map_err(|err| {
            DataFusionError::Execution(format!("worker {url}: cannot connect: {err:?}"))
        })?;
        open.insert(url.clone(), channel.clone());
        Ok(channel)
    }
}

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let token = self.network.token.clone();
        let channel =
            self.channel(url).await?.map_request(move |mut request: http::Request<Body>| {
                if let Some(value) = token.as_ref().and_then(|token| token.parse().ok()) {
                    request.headers_mut().insert("authorization", value);
                }
                request
            });
        Ok(grpc::create_worker_client(grpc::BoxCloneSyncChannel::new(channel)))
    }
}

fn external(err: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(err))
}

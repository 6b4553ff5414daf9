//! Ballista: a scheduler, an executor, and a client that sends a query to the scheduler.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ballista::prelude::{SessionConfigExt, SessionContextExt};
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::execution_plans::execute_physical_plan;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::utils::default_session_builder;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::start_server;
use clap::Args;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::protobuf::PhysicalPlanNode;

use crate::functions;
use crate::queries::{Queries, report};
use crate::session::{Limits, Tables};

/// Seconds after which a silent executor counts as lost, and between its signs of life.
#[derive(Args, Clone)]
pub struct Liveness {
    /// Seconds without a sign of life after which an executor counts as lost
    #[arg(long, value_name = "NUM", default_value_t = 180)]
    executor_timeout: u64,
    /// Seconds between an executor's signs of life
    #[arg(long, value_name = "NUM", default_value_t = 60)]
    heartbeat: u64,
    /// Seconds between looks for lost executors
    #[arg(long, value_name = "NUM", default_value_t = 15)]
    look: u64,
    /// Let executors ask for tasks instead of sending them
    #[arg(long)]
    pull: bool,
}

impl Liveness {
    fn policy(&self) -> TaskSchedulingPolicy {
        if self.pull { TaskSchedulingPolicy::PullStaged } else { TaskSchedulingPolicy::PushStaged }
    }
}

#[derive(Args)]
pub struct SchedulerArgs {
    /// Port on the loopback interface
    #[arg(long, value_name = "NUM")]
    port: u16,
    #[command(flatten)]
    liveness: Liveness,
}

/// Plans queries and hands out their tasks until it is killed.
pub async fn scheduler(args: SchedulerArgs) -> Result<()> {
    let config = SchedulerConfig {
        bind_host: "127.0.0.1".to_owned(),
        bind_port: args.port,
        scheduling_policy: args.liveness.policy(),
        task_distribution: TaskDistributionPolicy::RoundRobin,
        executor_timeout_seconds: args.liveness.executor_timeout,
        no_executors_grace_period_seconds: args.liveness.executor_timeout,
        expire_dead_executor_interval_seconds: args.liveness.look,
        override_session_builder: Some(Arc::new(|config| {
            let state = default_session_builder(config)?;
            let mut builder = SessionStateBuilder::new_from_existing(state);
            builder.scalar_functions().get_or_insert_default().extend(functions::all());
            Ok(builder.build())
        })),
        ..SchedulerConfig::default()
    };
    let cluster = BallistaCluster::new_from_config(&config).await.map_err(external)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    start_server(cluster, address, Arc::new(config)).await.map_err(external)
}

#[derive(Args)]
pub struct ExecutorArgs {
    /// Port for results; the next one is for tasks
    #[arg(long, value_name = "NUM")]
    port: u16,
    /// Port of the scheduler
    #[arg(long, value_name = "NUM")]
    scheduler: u16,
    /// Folder for the results of stages
    #[arg(long, value_name = "FOLDER")]
    work: PathBuf,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    liveness: Liveness,
}

/// Runs tasks until it is killed.
pub async fn executor(args: ExecutorArgs) -> Result<()> {
    std::fs::create_dir_all(&args.work)?;
    // Ballista's own registry lacks the functions on lists, such as `range` and `array_sort`.
    let mut registry = BallistaFunctionRegistry::default();
    let defaults = SessionStateDefaults::default_scalar_functions();
    for udf in defaults.into_iter().chain(functions::all()) {
        registry.scalar_functions.insert(udf.name().to_owned(), udf);
    }
    let limits = args.limits.clone();
    let config = ExecutorProcessConfig {
        bind_host: "127.0.0.1".to_owned(),
        external_host: Some("127.0.0.1".to_owned()),
        port: args.port,
        grpc_port: args.port + 1,
        scheduler_host: "127.0.0.1".to_owned(),
        scheduler_port: args.scheduler,
        scheduler_connect_timeout_seconds: 30,
        vcores: args.limits.threads,
        task_scheduling_policy: args.liveness.policy(),
        executor_heartbeat_interval_seconds: args.liveness.heartbeat,
        work_dir: Some(args.work.display().to_string()),
        // Of our limits, the memory pool is Ballista's own, one for each task.
        memory_pool_size: Some((args.limits.memory as u64 * 1024 * 1024 * 6) / 10),
        override_runtime_producer: Some(Arc::new(move |_| limits.runtime())),
        override_function_registry: Some(Arc::new(registry)),
        ..ExecutorProcessConfig::default()
    };
    start_executor_process(Arc::new(config)).await.map_err(external)
}

#[derive(Args)]
pub struct RunArgs {
    /// Port of the scheduler
    #[arg(long, value_name = "NUM")]
    scheduler: u16,
    /// Plan all stages before the first one runs, instead of after each
    #[arg(long)]
    fixed_plan: bool,
    /// Plan here and send the physical plan instead of the logical one
    #[arg(long)]
    physical: bool,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    queries: Queries,
}

/// Runs the queries on the cluster.
pub async fn run(args: RunArgs) -> Result<()> {
    let config = args.limits.apply(SessionConfig::new_with_ballista())?;
    let config = config.with_ballista_adaptive_query_planner(!args.fixed_plan);
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config.clone())
        .with_runtime_env(args.limits.runtime()?)
        .build();
    let url = format!("http://127.0.0.1:{}", args.scheduler);
    let session = match args.physical {
        true => SessionContext::new_with_state(state),
        false => SessionContext::remote_with_state(&url.replace("http", "df"), state).await?,
    };
    functions::all().iter().for_each(|udf| session.register_udf(udf.as_ref().clone()));
    args.tables.register(&session).await?;
    for name in &args.queries.queries {
        let frame = args.queries.plan(&session, name).await?;
        if args.queries.explain {
            frame.explain(false, false)?.show().await?;
            continue;
        }
        let start = Instant::now();
        if args.physical {
            let plan = frame.create_physical_plan().await?;
            let codec = config.ballista_physical_extension_codec();
            let id = format!("{}-{name}", std::process::id());
            let (limits, codec) = (config.ballista_config(), codec.as_ref());
            let (url, config) = (url.clone(), config.clone());
            let stream =
                execute_physical_plan::<PhysicalPlanNode>(url, &limits, plan, codec, id, config);
            report(name, start, stream).await;
        } else {
            report(name, start, frame.execute_stream()).await;
        }
    }
    Ok(())
}

fn external(err: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(err))
}

//! Our queries on one process, on datafusion-distributed and on Ballista: `bench/engines/run.py`
//! starts the processes and compares what they print.

mod ballista;
mod data;
mod distributed;
mod functions;
mod queries;
mod session;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use datafusion::error::Result;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::queries::{Queries, report};
use crate::session::{Limits, Tables};

#[derive(Parser)]
enum Command {
    /// Write the tables
    Data(DataArgs),
    /// Run queries in this process
    Local(LocalArgs),
    /// datafusion-distributed
    #[command(subcommand)]
    Distributed(Distributed),
    /// Ballista
    #[command(subcommand)]
    Ballista(Ballista),
}

#[derive(Subcommand)]
enum Distributed {
    /// Serve parts of queries
    Worker(distributed::WorkerArgs),
    /// Run queries on the workers
    Run(distributed::RunArgs),
}

#[derive(Subcommand)]
enum Ballista {
    /// Plan queries and hand out their tasks
    Scheduler(ballista::SchedulerArgs),
    /// Run tasks
    Executor(ballista::ExecutorArgs),
    /// Run queries on the cluster
    Run(ballista::RunArgs),
}

#[derive(Args)]
struct DataArgs {
    /// Folder to write
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    #[arg(long, value_name = "NUM", default_value_t = 1_000_000)]
    users: usize,
    #[arg(long, value_name = "NUM", default_value_t = 3_000)]
    brands: usize,
}

#[derive(Args)]
struct LocalArgs {
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    queries: Queries,
}

fn main() -> Result<()> {
    env_logger::init();
    let command = Command::parse();
    let threads = match &command {
        Command::Data(_) | Command::Ballista(Ballista::Scheduler(_)) => 2,
        Command::Local(LocalArgs { limits, .. })
        | Command::Distributed(Distributed::Worker(distributed::WorkerArgs { limits, .. }))
        | Command::Distributed(Distributed::Run(distributed::RunArgs { limits, .. }))
        | Command::Ballista(Ballista::Executor(ballista::ExecutorArgs { limits, .. }))
        | Command::Ballista(Ballista::Run(ballista::RunArgs { limits, .. })) => limits.threads,
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Data(args) => data::write(&args.data, args.users, args.brands),
            Command::Local(args) => local(args).await,
            Command::Distributed(Distributed::Worker(args)) => distributed::worker(args).await,
            Command::Distributed(Distributed::Run(args)) => distributed::run(args).await,
            Command::Ballista(Ballista::Scheduler(args)) => ballista::scheduler(args).await,
            Command::Ballista(Ballista::Executor(args)) => ballista::executor(args).await,
            Command::Ballista(Ballista::Run(args)) => ballista::run(args).await,
        }
    })
}

async fn local(args: LocalArgs) -> Result<()> {
    let config = args.limits.apply(SessionConfig::new())?;
    let session = SessionContext::new_with_config_rt(config, args.limits.runtime()?);
    functions::all().iter().for_each(|udf| session.register_udf(udf.as_ref().clone()));
    args.tables.register(&session).await?;
    for name in &args.queries.queries {
        let frame = args.queries.plan(&session, name).await?;
        if args.queries.explain {
            let plan = frame.create_physical_plan().await?;
            println!("{}", displayable(plan.as_ref()).indent(false));
            continue;
        }
        report(name, Instant::now(), frame.execute_stream()).await;
    }
    Ok(())
}

//! The rows of a query over the raw tables that gives users, for `predict`, which makes their features.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use contract::cli::ManifestArgs;
use contract::exit::UsageError;
use contract::ipc::Writer;
use contract::manifest::{SqlView, View};
use contract::scratch::Scratch;
use contract::tables::RAW_USERS;
use contract::words::plural;
use datafusion::arrow::datatypes::Field;
use datafusion::logical_expr::col;
use futures::StreamExt as _;

use crate::holdout::column_type;
use crate::raw::RawTables;
use crate::{heap, session};

#[derive(ClapArgs)]
pub struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Query over the manifest's tables that gives users [default: that of `data.users`]
    #[arg(long, value_name = "FILE")]
    query: Option<PathBuf>,
    /// Arrow file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Writes the users of a query, in order of their ids; returns what to print.
///
/// # Errors
///
/// A query or a raw table that cannot be read.
pub async fn run(args: &Args) -> Result<String> {
    let manifest = args.manifest.load()?;
    let data = &manifest.data;
    let view = match (&args.query, &data.users) {
        (Some(query), _) => View::Sql(SqlView { sql: query.clone() }),
        (None, view @ View::Sql(_)) => view.clone(),
        (None, View::Table(view)) => {
            return Err(UsageError(format!(
                "`data.users` is the table `{}`, not a query; name one with `--query`",
                view.table
            ))
            .into());
        }
    };
    let dir = args.output.parent().filter(|dir| !dir.as_os_str().is_empty());
    let name = args.output.file_name().unwrap_or_default().to_string_lossy();
    let folder = dir.unwrap_or(Path::new(".")).join(format!(".{name}.query"));
    let scratch = Scratch::create(&folder)?;
    heap::bound(
        session::heap_bound(data.memory_limit.bytes()),
        "the query needs more memory than `data.memory_limit` allows\n\
         hint: raise the limit, or make the query smaller",
    );
    let raw = RawTables::open(session::for_views(data, scratch.path())?, data, &view)?;
    let frame = raw.view(&view).await.context("users")?;
    column_type(frame.schema().as_arrow(), "users", "user_id")?;
    let sorted = frame.sort(vec![col("user_id").sort(true, false)])?;
    let fields: Vec<Field> =
        sorted.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut writer = Writer::create(&args.output, &RAW_USERS, fields, HashMap::new())?;
    let mut n_users = 0;
    let mut stream = raw.stream(sorted, "users").await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        n_users += batch.num_rows() as u64;
        writer.write(batch.columns().to_vec())?;
    }
    writer.finish()?.commit()?;
    drop((stream, scratch));
    let _ = std::fs::remove_dir(folder); // empty now, unless another program uses it
    Ok(format!("{}\n{}", plural(n_users, "user"), args.output.display()))
}

//! Users for `predict`, which makes their features: the rows of a query or a table, and what is known of
//! each user at a date where the manifest has a `history`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use contract::cli::ManifestArgs;
use contract::exit::UsageError;
use contract::ids::IdIndex;
use contract::ipc::Writer;
use contract::manifest::time::{DAY, History, Moment, TimeSource};
use contract::manifest::{Data, Manifest, SqlView, TableSource, TableView, View};
use contract::scratch::Scratch;
use contract::source_features::BrandPositions;
use contract::tables::RAW_USERS;
use contract::warn_line;
use contract::words::plural;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, ListArray};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{col, ident};
use futures::StreamExt as _;

use crate::as_of::Date;
use crate::engine::Engine;
use crate::id_columns::{column_type, sorted_ids, with_stored_ids};
use crate::interactions::Interactions;
use crate::past::Past;
use crate::raw::RawTables;
use crate::time::TimeColumn;
use crate::{heap, session};

#[derive(ClapArgs)]
pub struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Query over the manifest's tables that gives users [default: that of `data.users`]
    #[arg(long, value_name = "FILE", conflicts_with = "table")]
    query: Option<PathBuf>,
    /// Table that gives users: one of the manifest, or a file, folder or pattern
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Date at which the users are seen, such as 2025-01-01: their histories end at it, less
    /// `labels.gap` [default: after the last interaction]
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    /// Interactions that histories are made of: a table of the manifest, a file, folder or pattern, or
    /// a query, which ends in `.sql` [default: `data.interactions`]
    #[arg(long, value_name = "TABLE")]
    interactions: Option<String>,
    /// Arrow file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Writes the users, in order of their ids; returns what to print.
///
/// # Errors
///
/// A query or a raw table that cannot be read.
pub async fn run(args: &Args) -> Result<String> {
    let manifest = args.manifest.load()?;
    let mut data = manifest.data.clone();
    let users = args.users(&manifest, &mut data)?;
    if let Some(named) = &args.interactions {
        let time = data.interactions.time().cloned();
        data.interactions = view_of(named, "given_interactions", time, &manifest, &mut data)?;
    }
    let dir = args.output.parent().filter(|dir| !dir.as_os_str().is_empty());
    let name = args.output.file_name().unwrap_or_default().to_string_lossy();
    // Dropped after what is in it.
    let folder = Folder(dir.unwrap_or(Path::new(".")).join(format!(".{name}.query")));
    let scratch = Scratch::create(&folder.0)?;
    heap::bound(
        session::heap_bound(data.memory_limit.bytes()),
        "the query needs more memory than `data.memory_limit` allows\n\
         hint: raise the limit, or make the query smaller",
    );
    let engine = Engine::start(&manifest.engine, &scratch).await?;
    let session = session::for_views(&data, scratch.path(), &engine)?;
    let raw = RawTables::open(session, &engine, &data, &users)?;
    let mut frame = raw.view(&users).await.context("users")?;
    column_type(frame.schema().as_arrow(), "users", "user_id")?;
    let n_users = match &manifest.history {
        None => {
            let sorted = frame.sort(vec![col("user_id").sort(true, false)])?;
            write(args, &raw, sorted, None).await?
        }
        Some(history) => {
            let interactions = Interactions::open(&raw, &data).await?;
            let date = args.date(&raw, &manifest, &interactions).await?;
            let mut when = None;
            if let Some(source) = manifest.data.users.time()
                && column_type(frame.schema().as_arrow(), "users", source.column()).is_ok()
            {
                let (timed, time) = TimeColumn::find(frame, source, "users")?;
                frame = time.last_rows(timed, "user_id", date.known_before)?;
                when = Some(format!("users before {}, by `data.users.time`", date.as_of.moment));
            }
            let frame = without(frame, history)?;
            let ids = sorted_ids(&raw, frame.clone(), "users", "user_id", None).await;
            let ids = match when {
                Some(when) => ids.context(when)?,
                None => ids?,
            };
            let brands = raw.view(&data.brands).await.context("brands")?;
            let brands = sorted_ids(&raw, brands, "brands", "brand_id", None).await?;
            interactions.check_ids(&raw, &ids.index, &brands.index)?;
            let kept = (0..brands.ids.len() as u32).map(Some).collect();
            let positions = BrandPositions { ids: Arc::new(brands.index), kept };
            let frame = with_stored_ids(frame, "user_id", ids.ids.data_type())?;
            let sorted = frame.sort(vec![col("user_id").sort(true, false)])?;
            let rows = interactions.past(&history.weights, &date, ids.ids.data_type())?;
            let histories = Histories {
                rows,
                history,
                users: &ids.index,
                positions: &positions,
                brand_ids: &brands.ids,
            };
            write(args, &raw, sorted, Some(histories)).await?
        }
    };
    Ok(format!("{}\n{}", plural(n_users, "user"), args.output.display()))
}

/// A folder that is removed with its last file, whether the query succeeds or not.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0); // empty, unless another program uses it
    }
}

/// What histories of users are made of.
struct Histories<'a> {
    rows: DataFrame,
    history: &'a History,
    users: &'a IdIndex,
    positions: &'a BrandPositions,
    brand_ids: &'a ArrayRef,
}

/// Writes the users and their histories; returns how many users.
async fn write(
    args: &Args,
    raw: &RawTables,
    users: DataFrame,
    histories: Option<Histories<'_>>,
) -> Result<u64> {
    let mut fields: Vec<Field> =
        users.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut past = None;
    if let Some(Histories { rows, history, users, positions, brand_ids }) = histories {
        let brands = DataType::new_list(brand_ids.data_type().clone(), false);
        for name in history.names() {
            let weights = DataType::new_list(DataType::Float32, false);
            fields.push(Field::new(&name, brands.clone(), false));
            fields.push(Field::new(format!("{name}_weights"), weights, false));
        }
        let n_weights = history.weights.len();
        past = Some((Past::open(raw, rows, n_weights, users, positions).await?, brand_ids));
    }
    let mut writer = Writer::create(&args.output, &RAW_USERS, fields, HashMap::new())?;
    let mut n_users = 0;
    let mut stream = raw.stream(users, "users").await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let mut columns = batch.columns().to_vec();
        if let Some((past, brand_ids)) = &mut past {
            let lists = past.of_users(n_users..n_users + batch.num_rows()).await?;
            for (i, list) in lists.into_iter().enumerate() {
                let is_brands = i % 2 == 0;
                columns.push(if is_brands { with_ids(&list, brand_ids)? } else { list });
            }
        }
        n_users += batch.num_rows();
        writer.write(columns)?;
    }
    writer.finish()?.commit()?;
    Ok(n_users as u64)
}

/// Lists of ids for lists of positions.
fn with_ids(positions: &ArrayRef, ids: &ArrayRef) -> Result<ArrayRef> {
    let (_, offsets, places, nulls) = positions.as_list::<i32>().clone().into_parts();
    let field = Arc::new(Field::new_list_field(ids.data_type().clone(), false));
    Ok(Arc::new(ListArray::try_new(field, offsets, take(ids, &places, None)?, nulls)?))
}

/// The users without columns that the history makes anew.
fn without(frame: DataFrame, history: &History) -> Result<DataFrame> {
    let made: Vec<String> =
        history.names().into_iter().flat_map(|n| [format!("{n}_weights"), n]).collect();
    let names: Vec<String> = frame.schema().fields().iter().map(|f| f.name().clone()).collect();
    let (replaced, kept): (Vec<_>, Vec<_>) = names.into_iter().partition(|n| made.contains(n));
    if !replaced.is_empty() {
        warn_line!(
            "warning: users: `{}` is made from the interactions; the table's own is not used",
            replaced.join("`, `")
        );
    }
    Ok(frame.select(kept.iter().map(ident).collect::<Vec<_>>())?)
}

/// A view of what is named on the command line: a query, a table of the manifest, or files.
///
/// * `name`: of the table that files become.
fn view_of(
    named: &str,
    name: &str,
    time: Option<TimeSource>,
    manifest: &Manifest,
    data: &mut Data,
) -> Result<View> {
    if Path::new(named).extension().is_some_and(|end| end == "sql") {
        return Ok(View::Sql(SqlView { sql: PathBuf::from(named), time }));
    }
    let table = if manifest.data.tables.contains_key(named) {
        manifest.named_table(named)?;
        named.to_owned()
    } else {
        let mut name = name.to_owned();
        while data.tables.contains_key(&name) {
            name.push('_');
        }
        data.tables.insert(name.clone(), TableSource::Path(named.to_owned()));
        name
    };
    Ok(View::Table(TableView { table, time }))
}

impl Args {
    /// Where the users come from.
    fn users(&self, manifest: &Manifest, data: &mut Data) -> Result<View> {
        let time = data.users.time().cloned();
        match (&self.query, &self.table, &data.users) {
            (Some(query), _, _) => Ok(View::Sql(SqlView { sql: query.clone(), time })),
            (_, Some(table), _) => view_of(table, "given_users", time, manifest, data),
            (None, None, view @ View::Sql(_)) => Ok(view.clone()),
            (None, None, view) if manifest.history.is_some() => Ok(view.clone()),
            (None, None, View::Table(view)) => Err(UsageError(format!(
                "`data.users` is the table `{}`, not a query; name one with `--query`",
                view.table
            ))
            .into()),
        }
    }

    /// The date at which users are seen.
    async fn date(
        &self,
        raw: &RawTables,
        manifest: &Manifest,
        interactions: &Interactions,
    ) -> Result<Date> {
        let timeline = manifest.timeline().expect("a history needs `labels`");
        if let Some(text) = &self.as_of {
            let moment = Moment::parse(text).ok_or_else(|| {
                UsageError(format!("--as-of {text}: expected a day such as 2025-01-01"))
            })?;
            return Ok(Date::of(&timeline, &moment));
        }
        let range = interactions.range(raw).await?.expect("the interactions have a time");
        let next_day = (range.last.div_euclid(DAY) + 1) * DAY;
        let moment = Moment::of_seconds(next_day + timeline.gap);
        warn_line!("note: users are seen as of {moment}, after the last interaction");
        Ok(Date::of(&timeline, &moment))
    }
}

//! DataFusion sessions: the raw tables for the views, the training tables for sampling.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::cli::DataError;
use contract::ipc::Table;
use contract::manifest::{Data, TableFormat, TableOptions, TableSource, View};
use datafusion::catalog::MemTable;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::file_format::options::ArrowReadOptions;
use datafusion::prelude::{
    CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionConfig, SessionContext,
};
use indexmap::IndexMap;

use crate::draw;
use crate::query::Query;

/// An empty session with the project's functions.
pub fn new() -> SessionContext {
    let mut config = SessionConfig::new().with_information_schema(false);
    config.options_mut().sql_parser.collect_spans = true; // places in error messages
    let session = SessionContext::new_with_config(config);
    session.register_udf(draw::function());
    session
}

/// A session over the raw tables of the manifest.
///
/// # Errors
///
/// A table that cannot be opened, by its name and path.
pub async fn over_raw_tables(data: &Data) -> Result<SessionContext> {
    let session = new();
    for (name, source) in &data.tables {
        let options = match source {
            TableSource::Options(options) => options.clone(),
            TableSource::Path(path) => {
                TableOptions { path: path.clone(), format: None, delimiter: None, header: true }
            }
        };
        register_raw(&session, name, &options)
            .await
            .map_err(|err| DataError(format!("table `{name}`: {}: {err}", options.path)))?;
    }
    Ok(session)
}

async fn register_raw(session: &SessionContext, name: &str, options: &TableOptions) -> Result<()> {
    let files = contract::plan::table_files(&options.path);
    let first = files.first().context("there is no file")?;
    let format =
        options.format.or(TableFormat::of(&options.path)).context("its format is not known")?;
    // The reader takes files with the ending of the first, so that a README beside them is no table.
    let ending = first.extension().map_or(String::new(), |e| format!(".{}", e.to_string_lossy()));
    let paths: Vec<String> = files
        .iter()
        .map(|file| std::path::absolute(file).map(|path| path.display().to_string()))
        .collect::<std::io::Result<_>>()?;
    let frame = match format {
        TableFormat::Parquet => {
            session.read_parquet(paths, ParquetReadOptions::new().file_extension(&ending)).await?
        }
        TableFormat::Csv => {
            let delimiter = options.delimiter.as_ref().map_or(b',', |text| text.as_bytes()[0]);
            let csv = CsvReadOptions::new()
                .has_header(options.header)
                .delimiter(delimiter)
                .file_extension(&ending);
            session.read_csv(paths, csv).await?
        }
        TableFormat::Json => {
            session.read_json(paths, JsonReadOptions::default().file_extension(&ending)).await?
        }
        TableFormat::Arrow => {
            let arrow = ArrowReadOptions { file_extension: &ending, ..ArrowReadOptions::default() };
            session.read_arrow(paths, arrow).await?
        }
    };
    session.register_table(name, frame.into_view())?;
    Ok(())
}

/// The rows of `users`, `interactions` or `brands`.
///
/// # Errors
///
/// A view whose query cannot be planned.
pub async fn view(session: &SessionContext, view: &View) -> Result<DataFrame> {
    match view {
        View::Table(view) => Ok(session.table(format!("\"{}\"", view.table)).await?),
        View::Sql(view) => Ok(Query::read(&view.sql)?.plan(session, &IndexMap::new(), &[]).await?),
    }
}

/// Registers a table that another stage wrote; its columns stay in the mapped file.
///
/// # Errors
///
/// If the name is taken.
pub fn register_table(session: &SessionContext, name: &str, table: &Table) -> Result<()> {
    let memory = MemTable::try_new(table.schema.clone(), vec![table.batches.clone()])?;
    session.register_table(name, Arc::new(memory))?;
    Ok(())
}

//! The raw tables of the manifest, as tables of a DataFusion session.
//!
//! A table may be many files. Every file is inspected before any row is read: its columns are
//! matched by name, a file whose columns differ is an error, and columns of several types are
//! widened to one that holds all of them. Types of csv and json come from all rows.

mod arrow_file; // Arrow IPC files and streams
mod columns; // the columns that all files of a table have
mod csv; // csv files
mod json; // json files
mod open; // a file, decompressed, or what it is instead
mod parquet; // parquet files, read by DataFusion
mod stream; // the other formats, file after file

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use contract::exit::DataError;
use contract::ids::IdError;
use contract::manifest::{Data, TableFormat, TableOptions, View};
use contract::raw_files::{self, RawFile};
use contract::user_file::distinct_names;
use contract::words::plural;
use contract::{slips, unused, warn_line};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use futures::{Stream, StreamExt as _};
use indexmap::IndexMap;

use crate::errors::{self, Exhausted};
use crate::query::Query;

/// A file of a raw table and its columns.
#[derive(Debug, Clone)]
pub struct Part {
    pub file: RawFile,
    pub schema: SchemaRef,
    /// If the format says
    pub n_rows: Option<usize>,
}

/// A raw table whose files fit together.
#[derive(Debug)]
pub struct RawTable {
    pub name: String,
    pub options: TableOptions,
    pub parts: Vec<Part>,
    /// The columns of every file, then the keys of its folders
    pub schema: SchemaRef,
    /// Number of columns that are keys of folders
    pub n_keys: usize,
    pub format: TableFormat,
    /// As [`columns::Columns::why_text`]
    why_text: Vec<(String, String)>,
}

impl RawTable {
    /// Place of the first column that is a key of folders.
    fn first_key(&self) -> usize {
        self.schema.fields().len() - self.n_keys
    }
}

/// The raw tables, in a session that queries over them run in.
pub struct RawTables {
    session: SessionContext,
    tables: Vec<Arc<RawTable>>,
    /// Query files of `users`, `interactions` and `brands`
    queries: Vec<(&'static str, PathBuf)>,
}

impl RawTables {
    /// Inspects all files and registers the tables.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or does not fit the others: table, file, what was found.
    pub fn open(session: SessionContext, data: &Data) -> Result<Self> {
        let mut tables = Vec::new();
        for (name, source) in &data.tables {
            let table = Arc::new(look_at(name, &source.options())?);
            match table.format {
                TableFormat::Parquet => parquet::register(&session, &table)?,
                _ => stream::register(&session, &table)?,
            }
            tables.push(table);
        }
        let views = [
            ("users", &data.users),
            ("interactions", &data.interactions),
            ("brands", &data.brands),
        ];
        let queries = views.into_iter().filter_map(|(what, view)| match view {
            View::Table(_) => None,
            View::Sql(view) => Some((what, view.sql.clone())),
        });
        let queries = queries.collect();
        Ok(Self { session, tables, queries })
    }

    /// The rows of `users`, `interactions` or `brands`.
    ///
    /// # Errors
    ///
    /// A view whose query cannot be planned.
    pub async fn view(&self, view: &View) -> Result<DataFrame> {
        match view {
            View::Table(view) => Ok(self.session.table(format!("\"{}\"", view.table)).await?),
            View::Sql(view) => {
                let query = Query::read(&view.sql)?;
                Ok(query.plan(&self.session, &IndexMap::new(), &[]).await?)
            }
        }
    }

    /// The query of a view, if it is one.
    fn query_of(&self, what: &str) -> Option<&Path> {
        self.queries.iter().find(|(of, _)| *of == what).map(|(_, path)| path.as_path())
    }

    /// An error about ids, with the reason why a column of a csv file is text.
    ///
    /// * `what`: `users`, `interactions` or `brands`.
    pub fn bad_ids(&self, what: &str, column: &str, err: &IdError) -> DataError {
        let DataError(mut message) = err.at(what, column);
        for table in &self.tables {
            let reasons = table.why_text.iter().filter(|(name, _)| name == column);
            for (_, reason) in reasons {
                let _ = write!(
                    message,
                    "\nhint: in table `{}` it is text because of {reason}",
                    table.name
                );
            }
        }
        DataError(message)
    }

    /// Warns of columns of a view's query that are not read, and of columns of a table that look
    /// like a typo of one that is missing.
    ///
    /// * `what`: `interactions` or `brands`.
    /// * `known`: what is read of it.
    pub fn warn_of_unused(&self, what: &str, frame: &DataFrame, known: &[&str]) {
        let fields = frame.schema().fields().iter();
        let names = fields.map(|field| field.name().as_str());
        let known = known.iter().copied();
        let (of, warnings) = match self.query_of(what) {
            Some(path) => (format!("{}: ", path.display()), unused("column", names, known)),
            None => (String::new(), slips("column", names, known).0),
        };
        for warning in warnings {
            warn_line!("warning: {what}: {of}{warning}");
        }
    }

    /// The error of reading the rows of a view.
    ///
    /// * `what`: `users`, `interactions` or `brands`.
    pub fn reading_error(&self, what: &str, err: DataFusionError) -> anyhow::Error {
        if parquet::is_of_file(err.find_root()) {
            let mut tables = self.tables.iter().filter(|t| t.format == TableFormat::Parquet);
            if let Some(damaged) = tables.find_map(|table| parquet::damaged(table)) {
                return damaged;
            }
        }
        let query = self.query_of(what).map(|path| format!(" ({})", path.display()));
        let query = query.unwrap_or_default();
        let message = |reason: &str| format!("cannot read {what}{query}: {reason}");
        match errors::exhausted(&err) {
            Some(Exhausted::Memory(reason)) => {
                let hint = "hint: give the views more memory with `data.memory_limit`";
                return DataError(message(&format!("{reason}\n{hint}"))).into();
            }
            Some(Exhausted::Scratch) => {
                let reason = errors::scratch_full("data.scratch_limit");
                return DataError(message(&reason)).into();
            }
            None => {}
        }
        let message = message(&errors::message(&err));
        match err {
            // An error of our own readers, which says where already.
            DataFusionError::External(inner) => anyhow::Error::from_boxed(inner),
            err => match err.find_root() {
                DataFusionError::External(inner) if inner.is::<DataError>() => {
                    DataError(inner.to_string()).into()
                }
                DataFusionError::IoError(_) => anyhow!("{message}"),
                _ => DataError(message).into(),
            },
        }
    }

    /// All rows of a frame over the tables.
    ///
    /// # Errors
    ///
    /// As [`Self::reading_error`].
    pub async fn collect(&self, frame: DataFrame, what: &str) -> Result<Vec<RecordBatch>> {
        frame.collect().await.map_err(|err| self.reading_error(what, err))
    }

    /// As [`Self::collect`], batch by batch.
    ///
    /// # Errors
    ///
    /// As [`Self::collect`].
    pub async fn stream<'a>(
        &'a self,
        frame: DataFrame,
        what: &'a str,
    ) -> Result<impl Stream<Item = Result<RecordBatch>> + Unpin + use<'a>> {
        let failed = move |err| self.reading_error(what, err);
        let stream = frame.execute_stream().await.map_err(failed)?;
        Ok(stream.map(move |batch| batch.map_err(failed)))
    }
}

/// Inspects the files of a table.
fn look_at(name: &str, options: &TableOptions) -> Result<RawTable> {
    let in_table = |message: String| DataError(format!("table `{name}`: {message}"));
    let found = raw_files::find(options).map_err(in_table)?;
    if let Some(path) = found.passed_over.first() {
        warn_line!(
            "warning: table `{name}`: {} not read, as by their names they are not `{}`; the first is {}",
            plural(found.passed_over.len() as u64, "file"),
            found.format.name(),
            path.display()
        );
    }
    let mut parts = Vec::new();
    for file in found.files {
        let looked_at = open::check(&file).and_then(|()| match found.format {
            TableFormat::Parquet => parquet::look_at(&file),
            TableFormat::Csv => csv::look_at(&file, options).map(|schema| (schema, None)),
            TableFormat::Json => json::look_at(&file).map(|schema| (schema, None)),
            TableFormat::Arrow => arrow_file::look_at(&file).map(|schema| (schema, None)),
        });
        let looked_at = looked_at.and_then(|found| distinct_names(&found.0).map(|()| found));
        let (schema, n_rows) = looked_at.map_err(|err| open::at(err, name, &file.path))?;
        parts.push(Part { file, schema: Arc::new(schema), n_rows });
    }
    let columns = columns::of_all(&parts, options, found.format).map_err(in_table)?;
    Ok(RawTable {
        name: name.to_owned(),
        options: options.clone(),
        parts,
        schema: Arc::new(columns.schema),
        n_keys: columns.n_keys,
        format: found.format,
        why_text: columns.why_text,
    })
}

#[cfg(test)]
mod tests;

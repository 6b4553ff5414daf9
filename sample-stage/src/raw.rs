//! The raw tables of the manifest, as tables of a DataFusion session.

pub mod parquet; // parquet files, read by DataFusion
pub mod stream; // the other formats, file after file

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use contract::exit::DataError;
use contract::ids::IdError;
use contract::manifest::{Data, TableFormat, TableSource, View};
use contract::{slips, unused, warn_line};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use futures::{Stream, StreamExt as _};
use indexmap::IndexMap;
use raw_tables::{Part, RawTable};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::engine::Engine;
use crate::errors::{self, Exhausted};
use crate::in_tasks;
use crate::query::Query;

/// Most results of [`RawTables::map`] that wait to be used, so that memory stays bounded.
const BATCHES_WAITING: usize = 2;

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
    /// * `users`: where users come from, which may be others than the manifest's.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or does not fit the others: table, file, what was found.
    pub fn open(
        session: SessionContext,
        engine: &Engine,
        data: &Data,
        users: &View,
    ) -> Result<Self> {
        let open = |(name, source): (&String, &TableSource)| {
            RawTable::open(name, &source.options()).map(Arc::new)
        };
        let tables = data.tables.iter().map(open).collect::<Result<_>>()?;
        Self::of(session, engine, tables, data, users)
    }

    /// Registers tables that are open.
    ///
    /// # Errors
    ///
    /// If a name is taken.
    pub fn of(
        session: SessionContext,
        engine: &Engine,
        tables: Vec<Arc<RawTable>>,
        data: &Data,
        users: &View,
    ) -> Result<Self> {
        for table in &tables {
            match table.format {
                TableFormat::Parquet => parquet::register(&session, table)?,
                _ => engine.register_raw(&session, table)?,
            }
        }
        let views =
            [("users", users), ("interactions", &data.interactions), ("brands", &data.brands)];
        let queries = views.into_iter().filter_map(|(what, view)| match view {
            View::Table(_) => None,
            View::Sql(view) => Some((what, view.sql.clone())),
        });
        let queries = queries.collect();
        Ok(Self { session, tables, queries })
    }

    /// Whether there is a table of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table.name == name)
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
                Ok(query.plan(&self.session, &IndexMap::new()).await?)
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
            for reason in table.why_text(column) {
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

    /// What a store said of a file, which readers pass on as text.
    fn error_of_store(&self, text: &str) -> Option<anyhow::Error> {
        self.tables.iter().find_map(|table| {
            let mut objects = table.parts.iter().filter(|part| part.file.object.is_some());
            let starts = |part: &Part| text.find(&format!("{}: ", part.file.path.display()));
            let start = objects.find_map(starts)?;
            Some(anyhow!("table `{}`: {}", table.name, &text[start..]))
        })
    }

    /// The error of reading the rows of a view.
    ///
    /// * `what`: `users`, `interactions` or `brands`.
    pub fn reading_error(&self, what: &str, err: DataFusionError) -> anyhow::Error {
        if let Some(of_store) = self.error_of_store(&err.to_string()) {
            return of_store;
        }
        if parquet::is_of_file(err.find_root()) {
            let mut tables = self.tables.iter().filter(|t| t.format == TableFormat::Parquet);
            if let Some(damaged) = tables.find_map(|table| raw_tables::parquet::damaged(table)) {
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

    /// Something made of each batch of a frame, in parallel and in any order. Dropping the result ends
    /// the reading.
    ///
    /// # Errors
    ///
    /// As [`Self::collect`].
    pub async fn map<'a, T: Send + 'static>(
        &'a self,
        frame: DataFrame,
        what: &'a str,
        make: impl Fn(&RecordBatch) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Mapped<'a, T>> {
        let failed = |err| self.reading_error(what, err);
        let (made, tasks) = in_tasks::map(frame, BATCHES_WAITING, make).await.map_err(failed)?;
        Ok(Mapped { raw: self, what, made, tasks })
    }
}

/// What is made of the batches of a frame.
pub struct Mapped<'a, T> {
    raw: &'a RawTables,
    what: &'a str,
    made: mpsc::Receiver<Result<T>>,
    tasks: JoinSet<()>,
}

impl<T> Mapped<'_, T> {
    /// The next of them; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T>> {
        let Some(made) = self.made.recv().await else {
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(err) = ended {
                    return Some(Err(anyhow!("reading {} ended early: {err}", self.what)));
                }
            }
            return None;
        };
        Some(made.map_err(|err| match err.downcast::<DataFusionError>() {
            Ok(err) => self.raw.reading_error(self.what, err),
            Err(err) => err,
        }))
    }
}

/// Names of the tables that a frame reads, each once.
pub fn tables_of(frame: &DataFrame) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let look = |node: &LogicalPlan| {
        if let LogicalPlan::TableScan(scan) = node {
            let name = scan.table_name.table().to_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    };
    frame.logical_plan().apply_with_subqueries(look).expect("looking at a plan cannot fail");
    names
}

#[cfg(test)]
mod tests;

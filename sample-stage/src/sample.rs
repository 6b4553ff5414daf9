//! A sampling query -> training examples.

use std::collections::HashMap;
use std::sync::{Arc, Once};

use anyhow::{Context as _, Result};
use contract::ids::IdIndex;
use contract::ipc::Table;
use contract::manifest::{self, Experiment, SampleParams};
use contract::record::Record;
use contract::run::StageRun;
use contract::scratch::{Scratch, ScratchRows, ScratchTable};
use contract::statistics::{PREVALENCE_KEY, STATISTICS_KEY};
use contract::tables::{self, Contract};
use contract::warn_line;
use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use serde_json::json;

use crate::convert::Converter;
use crate::engine::Engine;
use crate::errors::{self, Exhausted};
use crate::in_tasks;
use crate::order::Ordered;
use crate::query::Query;
use crate::room::Room;
use crate::session::{self, Limits};
use crate::settings;
use crate::stage_tables::register_dated;
use crate::user_rows::UserRows;
use crate::{heap, statistics};

/// Most batches of examples that wait to be written, so that memory stays bounded.
const BATCHES_WAITING: usize = 4;

/// Partitions of the last attempt: DataFusion joins by sorting only with several, and each sorts
/// its own part.
const SORTING_PARTITIONS: usize = 16;

/// The key that bounds a query's memory.
const MEMORY_LIMIT: &str = "sample.memory_limit";

/// The key that bounds what a query keeps on disk.
const SCRATCH_LIMIT: &str = "sample.scratch_limit";

/// Runs the experiment's query over the training tables; returns the stage's record.
///
/// # Errors
///
/// A query that cannot be planned or run, or whose rows are not training examples: the file, the
/// column and the first offending value.
pub async fn run(
    experiment: &Experiment,
    engine: &manifest::Engine,
    mut stage: StageRun,
) -> Result<Record> {
    let training = Training {
        brands: stage.read("brands", &tables::BRANDS)?,
        features: stage.read("features", &tables::FEATURES)?,
        users: stage.read("train_users", &tables::TRAIN_USERS)?,
        interactions: stage.read("train_interactions", &tables::TRAIN_INTERACTIONS)?,
    };
    let n_train = training.features.n_rows();
    let brands = statistics::Brands::new(&training.brands)?;
    let before = statistics::before(&brands, n_train, &training.interactions);

    let query = Query::read(experiment.sql())?;
    let scratch = Scratch::create(&stage.plan.dir)?;
    let engine = Engine::start(engine, &scratch).await?;
    let sampler = Sampler::new(query, &engine, &training, &experiment.sample)?;
    let path = experiment.sql().display();
    heap::bound(
        session::heap_bound(experiment.sample.memory_limit.bytes()),
        &format!(
            "{path}: the query needs more memory than `sample.memory_limit` allows\n\
             hint: raise the limit, or make the query's lists and texts smaller"
        ),
    );
    let rows = sampler.run(&scratch).await;
    heap::free();
    let rows = rows?;
    drop(training); // unmaps the labels
    let params = &experiment.sample;
    let (memory, scratch_bytes) = (params.memory_limit.bytes(), params.scratch_limit.bytes());
    // A new one: the query's is gone, with all that it held.
    let runtime = settings::runtime(memory, scratch_bytes, scratch.path()).build_arc()?;
    let room = &Room::new(&scratch, runtime, (memory, scratch_bytes), "sample");
    let examples = Ordered::new(room, rows.batches.clone())?;
    let (statistics, prevalence) = statistics::measure(&brands, n_train, before, &examples)?;
    let metadata = HashMap::from([
        (STATISTICS_KEY.to_owned(), json!(statistics).to_string()),
        (PREVALENCE_KEY.to_owned(), json!(prevalence).to_string()),
    ]);
    let fields = tables::EXAMPLES.fields();
    let mut writer = stage.writer_with("examples.arrow", &tables::EXAMPLES, fields, metadata)?;
    examples.write(|columns| Ok(writer.write(columns)?)).context("cannot write the examples")?;
    stage.add(writer.finish()?);
    Ok(stage.done(json!(statistics))?)
}

/// A query and the tables it reads.
pub struct Sampler<'a> {
    engine: &'a Engine,
    training: &'a Training,
    converter: Arc<Converter>,
    params: &'a SampleParams,
    /// Whether unused columns were warned of, once however often the query runs
    warned: Once,
}

impl<'a> Sampler<'a> {
    /// # Errors
    ///
    /// If an id of users or brands repeats.
    pub fn new(
        query: Query,
        engine: &'a Engine,
        training: &'a Training,
        params: &'a SampleParams,
    ) -> Result<Self> {
        let converter = Converter {
            query,
            users: UserRows::new(&training.features)?,
            brands: index(&training.brands, &tables::BRANDS, "brand_id")?,
        };
        let converter = Arc::new(converter);
        Ok(Self { engine, training, converter, params, warned: Once::new() })
    }

    /// The examples in any order, in batches mapped from the scratch folder.
    ///
    /// # Errors
    ///
    /// As the function [`run`].
    pub async fn run(&self, scratch: &Scratch) -> Result<ScratchRows> {
        let query = &self.converter.query;
        let threads = self.params.threads;
        let mut drawn = self.attempt(scratch, threads, true).await;
        // Each attempt needs less memory than the one before, and more time.
        let one_thread = (Some(1), true, "on one thread");
        let sorting = (Some(SORTING_PARTITIONS), false, "with joins by sorting");
        let ways = (threads != Some(1)).then_some(one_thread).into_iter().chain([sorting]);
        for (threads, hash_joins, way) in ways {
            if !drawn
                .as_ref()
                .is_err_and(|err| matches!(exhausted(err), Some(Exhausted::Memory(_))))
            {
                break;
            }
            let (path, limit) = (query.path().display(), self.engine.memory_limit(MEMORY_LIMIT));
            warn_line!("warning: {path}: {limit} is reached; trying again {way}");
            drawn = self.attempt(scratch, threads, hash_joins).await;
        }
        let rows = drawn.map_err(|err| match exhausted(&err) {
            Some(Exhausted::Memory(reason)) => {
                let limit = self.engine.memory_limit(MEMORY_LIMIT);
                query
                    .fail(format!("{reason}\nhint: give the stage more memory with {limit}"))
                    .into()
            }
            Some(Exhausted::Scratch) => query.fail(errors::scratch_full(SCRATCH_LIMIT)).into(),
            None => err,
        })?;
        if rows.batches.is_empty() {
            let message = "the query returned no row, expected at least one example";
            return Err(query.fail(message).into());
        }
        Ok(rows)
    }

    /// Runs the query once.
    pub async fn attempt(
        &self,
        scratch: &Scratch,
        threads: Option<usize>,
        hash_joins: bool,
    ) -> Result<ScratchRows> {
        let limits = Limits {
            memory: self.params.memory_limit.bytes(),
            scratch_bytes: self.params.scratch_limit.bytes(),
            threads,
            scratch: scratch.path(),
            hash_joins,
            engine: self.engine,
        };
        let session = session::limited(limits)?;
        self.training.register(&session, self.engine)?;
        let query = &self.converter.query;
        let frame = query.plan(&session, &self.params.params).await?;
        let columns = frame.schema().as_arrow();
        self.converter.check_columns(columns)?;
        self.warned.call_once(|| self.converter.warn_of_unused(columns));
        let table = scratch.table(tables::EXAMPLES.fields())?;
        let disk = session.runtime_env().disk_manager.clone();
        let is_full = || scratch.used_bytes() + disk.used_disk_space() > limits.scratch_bytes;
        execute(in_any_order(frame), &self.converter, table, is_full).await
    }
}

/// The tables that a sampling query sees: training users only.
pub struct Training {
    /// `brands.arrow`
    pub brands: Table,
    /// `features.arrow`
    pub features: Table,
    /// `train_users.arrow`
    pub users: Table,
    /// `train_interactions.arrow`
    pub interactions: Table,
}

impl Training {
    /// Registers the tables under the names that queries use.
    ///
    /// # Errors
    ///
    /// If a name is taken.
    pub fn register(&self, session: &SessionContext, engine: &Engine) -> Result<()> {
        session.register_table("brands", engine.table("brands", &self.brands)?)?;
        let users = with_rows(&self.users)?;
        for (name, table) in
            [("features", &self.features), ("users", &users), ("interactions", &self.interactions)]
        {
            register_dated(session, name, engine.table(name, table)?)?;
        }
        Ok(())
    }
}

/// The training users with the column `user_row`, each one's row in `features`.
fn with_rows(users: &Table) -> Result<Table> {
    const USER_ROW: &str = "user_row";

    let others: Vec<usize> = users
        .schema
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| field.name() != USER_ROW)
        .map(|(i, _)| i)
        .collect();
    let mut fields: Vec<_> = others.iter().map(|&i| users.schema.field(i).clone()).collect();
    fields.push(Field::new(USER_ROW, DataType::UInt32, false));
    let schema = Arc::new(Schema::new(fields));
    let mut start = 0;
    let with_row = |batch: &RecordBatch| {
        let end = start + batch.num_rows() as u32;
        let rows: ArrayRef = Arc::new(UInt32Array::from_iter_values(start..end));
        start = end;
        let mut columns = batch.project(&others)?.columns().to_vec();
        columns.push(rows);
        RecordBatch::try_new(schema.clone(), columns)
    };
    let batches = users.batches.iter().map(with_row).collect::<Result<_, _>>()?;
    Ok(Table { schema, batches, path: users.path.clone() })
}

fn index(table: &Table, contract: &Contract, column: &str) -> Result<IdIndex> {
    let ids = table.whole_column(column)?;
    Ok(IdIndex::new(&ids, ids.data_type().clone())
        .map_err(|row| table.broken(contract, format!("`{column}` repeats in row {row}")))?)
}

/// Drops a final `order by`: examples are stored in an order of their own, and a sort of all
/// rows costs as much as the rest of a query.
fn in_any_order(frame: DataFrame) -> DataFrame {
    match frame.logical_plan() {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
            let (state, input) = (frame.clone().into_parts().0, sort.input.as_ref().clone());
            DataFrame::new(state, input)
        }
        _ => frame,
    }
}

/// Whether a limit is reached.
fn exhausted(err: &anyhow::Error) -> Option<Exhausted> {
    errors::exhausted(err.downcast_ref()?)
}

/// Runs the query and writes its rows as examples, in any order.
async fn execute(
    frame: DataFrame,
    converter: &Arc<Converter>,
    mut table: ScratchTable,
    is_full: impl Fn() -> bool,
) -> Result<ScratchRows> {
    let failed = |err: DataFusionError| match errors::exhausted(&err) {
        Some(_) => anyhow::Error::new(err),
        None => converter.query.error(&err).into(),
    };
    let convert = {
        let converter = converter.clone();
        move |batch: &RecordBatch| converter.convert(batch)
    };
    let running = in_tasks::map(frame, BATCHES_WAITING, convert).await;
    let (mut receiver, mut tasks) = running.map_err(failed)?;
    let mut outcome = Ok(());
    while let (Ok(()), Some(columns)) = (&outcome, receiver.recv().await) {
        outcome = match columns {
            Ok(_) if is_full() => {
                Err(converter.query.fail(errors::scratch_full(SCRATCH_LIMIT)).into())
            }
            Ok(columns) => table.write(columns).context("cannot write the examples"),
            Err(err) => Err(err.downcast::<DataFusionError>().map_or_else(|err| err, failed)),
        };
    }
    if outcome.is_err() {
        tasks.shutdown().await; // so that they free their memory and spill no more
        outcome?;
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("the query ended early")?;
    }
    Ok(table.finish()?)
}

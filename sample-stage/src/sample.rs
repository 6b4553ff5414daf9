//! A sampling query -> training examples.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::cli::DataError;
use contract::columns::{IdIndex, ListBuilder};
use contract::manifest::Experiment;
use contract::record::Record;
use contract::run::StageRun;
use contract::tables::{self, Contract, Kind};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, ListArray, RecordBatch, UInt32Array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Schema};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::logical_expr::LogicalPlan;
use futures::StreamExt as _;
use serde_json::json;

use crate::features::cast_ids;
use crate::query::Query;
use crate::session;

/// Runs the experiment's query over the training tables; returns the stage's record.
///
/// # Errors
///
/// A query that cannot be planned or run, or whose rows are no training examples: the file,
/// the column and the first offending value.
pub async fn run(experiment: &Experiment, mut stage: StageRun) -> Result<Record> {
    let session = session::new();
    let brands = stage.read("brands", &tables::BRANDS)?;
    let users = stage.read("features", &tables::FEATURES)?;
    session::register_table(&session, "brands", &brands)?;
    session::register_table(&session, "features", &users)?;
    session::register_table(&session, "users", &stage.read("train_users", &tables::TRAIN_USERS)?)?;
    let interactions = stage.read("train_interactions", &tables::TRAIN_INTERACTIONS)?;
    session::register_table(&session, "interactions", &interactions)?;

    let query = Query::read(experiment.sql())?;
    let frame = query.plan(&session, &experiment.sample.params, &experiment.own_params).await?;
    if !matches!(frame.logical_plan(), LogicalPlan::Sort(_)) {
        eprintln!(
            "warning: {}: without a final `order by` the examples' order may differ from run to run",
            experiment.sql().display()
        );
    }
    let index = |table: &contract::ipc::Table, column| {
        let ids = table.whole_column(column)?;
        Ok::<_, anyhow::Error>(IdIndex::new(&ids).map_err(|row| {
            table.broken(&tables::FEATURES, format!("`{column}` repeats in row {row}"))
        })?)
    };
    let converter = Converter {
        query: &query,
        users: index(&users, "user_id")?,
        brands: index(&brands, "brand_id")?,
    };
    converter.check_columns(frame.schema().as_arrow())?;

    let fields = fields(&tables::EXAMPLES);
    let mut writer = stage.writer("examples.arrow", &tables::EXAMPLES, fields)?;
    let mut counts = Counts::new(users.n_rows());
    let mut stream = frame.execute_stream().await.map_err(|err| query.error(&err))?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|err| query.error(&err))?;
        let columns = converter.convert(&batch)?;
        counts.add(&columns);
        writer.write(columns).context("cannot write the examples")?;
    }
    if counts.rows == 0 {
        return Err(query.fail("the query returned no row, expected at least one example").into());
    }
    stage.add(writer.finish()?);
    let summary = json!({
        "rows": counts.rows, "users": counts.users(), "clones": counts.clones,
        "labels": counts.labels, "rows_without_label": counts.without_label,
    });
    Ok(stage.done(summary)?)
}

/// Arrow fields of a contract without ids.
fn fields(contract: &Contract) -> Vec<Field> {
    contract
        .columns
        .iter()
        .map(|c| Field::new(c.name, c.kind.data_type(), c.kind == Kind::NullableF64))
        .collect()
}

struct Counts {
    rows: u64,
    clones: u64,
    labels: u64,
    without_label: u64,
    is_used: Vec<bool>,
}

impl Counts {
    fn new(n_users: usize) -> Self {
        Self { rows: 0, clones: 0, labels: 0, without_label: 0, is_used: vec![false; n_users] }
    }

    fn add(&mut self, examples: &[ArrayRef]) {
        self.rows += examples[0].len() as u64;
        for user_row in
            examples[0].as_primitive::<datafusion::arrow::datatypes::UInt32Type>().values()
        {
            self.is_used[*user_row as usize] = true;
        }
        let brands = examples[1].as_list::<i32>();
        self.labels += brands.values().len() as u64;
        self.without_label +=
            (0..brands.len()).filter(|&row| brands.value_length(row) == 0).count() as u64;
        self.clones += examples[4].as_boolean().true_count() as u64;
    }

    fn users(&self) -> usize {
        self.is_used.iter().filter(|used| **used).count()
    }
}

/// Whether a column's type will do.
type Fits<'a> = &'a dyn Fn(&DataType) -> bool;

/// A value as messages show it.
fn shown(values: &ArrayRef, row: usize) -> Result<String> {
    if values.is_null(row) {
        return Ok("null".to_owned());
    }
    Ok(format!("`{}`", array_value_to_string(values, row)?))
}

/// Rows of the query -> rows of `examples`.
struct Converter<'a> {
    query: &'a Query,
    users: IdIndex,
    brands: IdIndex,
}

impl Converter<'_> {
    fn check_columns(&self, found: &Schema) -> Result<(), DataError> {
        let names: Vec<_> = found.fields().iter().map(|f| format!("`{}`", f.name())).collect();
        let kind = |name: &str| found.field_with_name(name).ok().map(Field::data_type);
        for required in ["user_id", "brands"] {
            if kind(required).is_none() {
                return Err(self.query.fail(format!(
                    "the query returns no column `{required}`; it returns {}",
                    names.join(", ")
                )));
            }
        }
        let is_id = |t: &DataType| t.is_integer() || t.is_string();
        let is_ids = |t: &DataType| match t {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                is_id(item.data_type()) || *item.data_type() == DataType::Null
            }
            other => *other == DataType::Null,
        };
        let checks: [(&str, Fits, &str); 5] = [
            ("user_id", &is_id, "whole numbers or text"),
            ("brands", &is_ids, "a list of brand ids"),
            ("ignored_brands", &is_ids, "a list of brand ids"),
            ("weight", &DataType::is_numeric, "a number"),
            ("is_clone", &|t| *t == DataType::Boolean, "`Boolean`"),
        ];
        for (name, fits, expected) in checks {
            if let Some(found) = kind(name).filter(|found| !fits(found)) {
                return Err(self
                    .query
                    .fail(format!("column `{name}` is `{found}`, expected {expected}")));
            }
        }
        Ok(())
    }

    fn convert(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let n = batch.num_rows();
        let column = |name: &str| batch.column_by_name(name);
        let weight: ArrayRef = match column("weight") {
            Some(weight) => self.weights(weight)?,
            None => Arc::new(Float32Array::from(vec![1.0; n])),
        };
        let is_clone: ArrayRef = match column("is_clone") {
            Some(flags) if flags.null_count() > 0 => {
                return Err(self
                    .query
                    .fail("column `is_clone` holds nulls, expected true or false")
                    .into());
            }
            Some(flags) => flags.clone(),
            None => Arc::new(BooleanArray::from(vec![false; n])),
        };
        let brands = self.brand_lists(column("brands"), n, "brands")?;
        let ignored = self.brand_lists(column("ignored_brands"), n, "ignored_brands")?;
        Ok(vec![
            self.user_rows(column("user_id").expect("checked before"))?,
            brands,
            ignored,
            weight,
            is_clone,
        ])
    }

    fn user_rows(&self, ids: &ArrayRef) -> Result<ArrayRef> {
        let rows = self.users.positions(&cast_ids(ids, &self.users.data_type())?);
        if let Some(row) = rows.iter().position(Option::is_none) {
            let found = shown(ids, row)?;
            return Err(self
                .query
                .fail(format!(
                    "column `user_id`: found {found}, expected the id of a training user"
                ))
                .into());
        }
        Ok(Arc::new(rows.into_iter().collect::<UInt32Array>()))
    }

    fn weights(&self, column: &ArrayRef) -> Result<ArrayRef> {
        let weights = cast(column, &DataType::Float32)?;
        let values = weights.as_primitive::<Float32Type>();
        let is_good = |row: usize| {
            values.is_valid(row) && values.value(row) >= 0.0 && values.value(row).is_finite()
        };
        if let Some(row) = (0..values.len()).find(|&row| !is_good(row)) {
            let found = shown(column, row)?;
            return Err(self
                .query
                .fail(format!(
                    "column `weight`: found {found}, expected a finite number of at least 0"
                ))
                .into());
        }
        Ok(weights)
    }

    /// Positions of brands, in order, each once. A null list is an empty one: a user without brands.
    fn brand_lists(&self, column: Option<&ArrayRef>, n: usize, name: &str) -> Result<ArrayRef> {
        let mut built = ListBuilder::<u32>::default();
        let list: Option<ListArray> = match column {
            Some(column) if *column.data_type() != DataType::Null => {
                let id = self.brands.data_type();
                Some(cast(column, &DataType::new_list(id, true))?.as_list::<i32>().clone())
            }
            _ => None,
        };
        let Some(list) = list else {
            (0..n).for_each(|_| built.push(&[]));
            return Ok(built.finish());
        };
        let positions = self.brands.positions(list.values());
        let mut row_brands = Vec::new();
        for row in 0..n {
            row_brands.clear();
            if list.is_valid(row) {
                let start = list.value_offsets()[row] as usize;
                let n_brands = list.value_length(row) as usize;
                for (i, position) in positions.iter().enumerate().skip(start).take(n_brands) {
                    let Some(brand_idx) = *position else {
                        let found = shown(list.values(), i)?;
                        return Err(self
                            .query
                            .fail(format!(
                                "column `{name}`: found {found}, expected ids of the table brands"
                            ))
                            .into());
                    };
                    row_brands.push(brand_idx);
                }
            }
            row_brands.sort_unstable();
            row_brands.dedup();
            built.push(&row_brands);
        }
        Ok(built.finish())
    }
}

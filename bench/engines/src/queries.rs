//! The queries: those that sample-stage ships, a holdout and a scoring; run, with a hash of their
//! rows that does not depend on order.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::functions_nested::expr_fn::array_sort;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use serde_json::{Value, json};

/// A part of the users, their brands as a list in order, and their features.
const HOLDOUT: &str = "
with user_brands as (
    select
        interactions.user_row,
        array_agg(interactions.brand_id order by interactions.brand_idx) as brands,
        max(interactions.events) as events_max
    from interactions
    group by interactions.user_row
)

select users.user_id, users.as_of, user_brands.brands, user_brands.events_max, users.features
from users
left join user_brands on user_brands.user_row = users.user_row
where draw(users.user_id, 7, -9223372036854775808) < 0.25";

/// Scores of all users: nothing but a scan and the model.
const SCORE: &str = "select users.user_id, predict(users.features) as predictions from users";

/// How often each brand is predicted: a shuffle after the model.
const SCORE_BRANDS: &str = "
with predictions as (
    select users.user_id, unnest(predict(users.features)) as prediction from users
)

select
    predictions.prediction['brand_idx'] as brand_idx,
    count(*) as n_users,
    min(predictions.user_id) as first_user,
    max(predictions.prediction['prob']) as prob_max
from predictions
group by predictions.prediction['brand_idx']";

/// Queries to run.
#[derive(Args, Clone)]
pub struct Queries {
    /// Folder of the shipped queries
    #[arg(long, value_name = "FOLDER", default_value = "sample-stage/sql")]
    sql: PathBuf,
    /// Queries, separated by commas: names of files, `holdout`, `score`, `score_brands`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub queries: Vec<String>,
    /// Values of parameters in place of their defaults
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',')]
    set: Vec<String>,
    /// Print the plan instead of running it
    #[arg(long)]
    pub explain: bool,
}

impl Queries {
    /// The query, planned with its parameters, its unordered lists sorted.
    pub async fn plan(&self, session: &SessionContext, name: &str) -> Result<DataFrame> {
        let text = match name {
            "holdout" => HOLDOUT.to_owned(),
            "score" => SCORE.to_owned(),
            "score_brands" => SCORE_BRANDS.to_owned(),
            _ => std::fs::read_to_string(self.sql.join(name).with_extension("sql"))?,
        };
        let mut values = Vec::new();
        for line in text.lines() {
            let Some((param, rest)) = line.strip_prefix("-- $").and_then(|l| l.split_once(" = "))
            else {
                continue;
            };
            let default = rest.split(':').next().unwrap_or("null").trim();
            let given = self.set.iter().filter_map(|set| set.split_once('='));
            let value =
                given.filter(|(name, _)| *name == param).map(|(_, value)| value).next_back();
            values.push((param.to_owned(), scalar(value.unwrap_or(default))?));
        }
        let mut frame = session.sql(&text).await?;
        if !values.is_empty() {
            frame = frame.with_param_values(values)?;
        }
        // The order within `array_agg` is that of arrival, here as in one process with threads.
        let columns = frame.schema().fields().iter().map(|field| match field.data_type() {
            DataType::List(item) if !item.data_type().is_nested() => {
                array_sort(col(field.name()), lit("ASC"), lit("NULLS FIRST")).alias(field.name())
            }
            _ => col(field.name()),
        });
        let columns: Vec<_> = columns.collect();
        frame.select(columns)
    }
}

fn scalar(text: &str) -> Result<ScalarValue> {
    match serde_json::from_str(text) {
        Ok(Value::Null) => Ok(ScalarValue::Null),
        Ok(Value::Number(number)) => Ok(number.as_i64().map_or_else(
            || ScalarValue::Float64(number.as_f64()),
            |whole| ScalarValue::Int64(Some(whole)),
        )),
        _ => Err(DataFusionError::Configuration(format!("no number: `{text}`"))),
    }
}

/// Prints one line of JSON: the rows, or how it failed, and after how long.
pub async fn report(
    name: &str,
    start: Instant,
    stream: impl Future<Output = Result<SendableRecordBatchStream>>,
) {
    let mut digest = Digest::default();
    let result = digest.add_all(stream).await;
    let seconds = start.elapsed().as_secs_f64();
    let mut line = json!({"query": name, "seconds": (seconds * 1000.0).round() / 1000.0});
    match result {
        Ok(()) => {
            line["rows"] = json!(digest.rows);
            line["hash"] = json!(format!("{:016x}", digest.sum));
        }
        Err(err) => {
            line["error"] = json!(err.to_string());
            line["rows_before_error"] = json!(digest.rows);
        }
    }
    println!("{line}");
}

/// Number of rows, and the sum of their hashes: the same in any order.
#[derive(Default)]
struct Digest {
    rows: u64,
    sum: u64,
    converter: Option<RowConverter>,
}

impl Digest {
    async fn add_all(
        &mut self,
        stream: impl Future<Output = Result<SendableRecordBatchStream>>,
    ) -> Result<()> {
        let mut stream = stream.await?;
        while let Some(batch) = stream.next().await {
            self.add(&batch?)?;
        }
        Ok(())
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.converter.is_none() {
            let schema = batch.schema();
            let fields = schema.fields().iter().map(|f| SortField::new(f.data_type().clone()));
            self.converter = Some(RowConverter::new(fields.collect())?);
        }
        let converter = self.converter.as_ref().expect("set above");
        for row in &converter.convert_columns(batch.columns())? {
            let mut hasher = DefaultHasher::new();
            row.as_ref().hash(&mut hasher);
            self.sum = self.sum.wrapping_add(hasher.finish());
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }
}

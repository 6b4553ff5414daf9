//! A query in a file: read, checked to be one SELECT, planned with its parameters.
//!
//! Errors name the file, and the line and column where DataFusion knows them.

use std::path::{Path, PathBuf};

use contract::depth::{DEPTH_MAX, depth};
use contract::exit::DataError;
use contract::query::{self, BadDefault, BadDefaultFound, ParamDefault};
use contract::words::count;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ParamValues, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::prelude::{SQLOptions, SessionContext};
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast;
use indexmap::IndexMap;
use serde_json::Value;

use crate::{clauses, errors};

/// A query file.
pub struct Query {
    path: PathBuf,
    text: String,
    defaults: Vec<ParamDefault>,
}

impl Query {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, a default in its header is invalid, or the query is too deep to plan.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = query::read(path).map_err(|err| {
            DataError(format!("{}: cannot read the query: {err}", path.display()))
        })?;
        let depth = depth(&text);
        if depth > DEPTH_MAX {
            return Err(DataError(format!(
                "{}: the query is {} levels deep, expected at most {}\n\
                 hint: operators in a chain, chained subqueries and set operations count; write a \
                 long list of values as `in (…)`",
                path.display(),
                count(depth as u64),
                count(DEPTH_MAX as u64)
            )));
        }
        let defaults = query::defaults(&text).map_err(|BadDefault { line, found }| {
            let what = match found {
                BadDefaultFound::Unreadable(comment) => format!(
                    "found `{comment}`, expected a default as `$name = value: what it is`, \
                     the value a number, a string, true, false, null or a list"
                ),
                BadDefaultFound::Repeated(name) => {
                    format!("`${name}` has a default already, expected one")
                }
            };
            DataError(format!("{}:{line}: {what}", path.display()))
        })?;
        Ok(Self { path: path.to_path_buf(), text, defaults })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Plans the query over the session's tables.
    ///
    /// # Errors
    ///
    /// A syntax error, an unknown table or column, anything but one SELECT, a function such as
    /// `random()`, a parameter that is missing.
    pub async fn plan(
        &self,
        session: &SessionContext,
        params: &IndexMap<String, Value>,
    ) -> Result<DataFrame, DataError> {
        let statements = DFParser::parse_sql(&self.text).map_err(|err| self.error(&err))?;
        let is_query = |statement: &Statement| matches!(statement, Statement::Statement(inner) if matches!(**inner, ast::Statement::Query(_)));
        if statements.len() != 1 || !statements.iter().all(is_query) {
            let found: Vec<_> = statements.iter().map(|s| format!("`{}`", verb(s))).collect();
            return Err(self.fail(format!("expected one read-only SELECT, found {}", list(&found))));
        }
        let statement = statements.into_iter().next().expect("counted above");
        if let Statement::Statement(inner) = &statement
            && let ast::Statement::Query(query) = inner.as_ref()
        {
            clauses::check(query, &session.state()).map_err(|ignored| {
                let start = ignored.span.start;
                let place = (start.line > 0).then_some((start.line, start.column));
                self.fail_at(place, &ignored.message)
            })?;
        }
        let plan = session.state().statement_to_plan(statement).await;
        let plan = plan.map_err(|err| self.planning_error(&err, session))?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(|err| self.error(&err))?;
        self.check_repeatable(&plan)?;
        let values = self.param_values(&plan, params)?;
        let frame = DataFrame::new(session.state(), plan);
        frame.with_param_values(values).map_err(|err| self.error(&err))
    }

    /// Refuses functions whose result differs from run to run, such as `random()` or `now()`.
    fn check_repeatable(&self, plan: &LogicalPlan) -> Result<(), DataError> {
        let mut found = None;
        let mut look = |expr: &Expr| {
            let (name, volatility) = match expr {
                Expr::ScalarFunction(call) => (call.func.name(), call.func.signature().volatility),
                Expr::AggregateFunction(call) => {
                    (call.func.name(), call.func.signature().volatility)
                }
                Expr::WindowFunction(call) => (call.fun.name(), call.fun.signature().volatility),
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            if volatility != Volatility::Immutable {
                found.get_or_insert_with(|| name.to_owned());
            }
            Ok(TreeNodeRecursion::Continue)
        };
        plan.apply_with_subqueries(|node| node.apply_expressions(|expr| expr.apply(&mut look)))
            .map_err(|err| self.error(&err))?;
        found.map_or(Ok(()), |name| {
            Err(self.fail(format!(
                "the query calls `{name}`, whose result differs from run to run; {}",
                repeatable(&name)
            )))
        })
    }

    fn param_values(
        &self,
        plan: &LogicalPlan,
        params: &IndexMap<String, Value>,
    ) -> Result<ParamValues, DataError> {
        let used = plan.get_parameter_names().map_err(|err| self.error(&err))?;
        let mut used: Vec<_> =
            used.iter().map(|name| name.trim_start_matches('$').to_owned()).collect();
        used.sort();
        let mut values = Vec::new();
        for name in &used {
            let default = self.defaults.iter().find(|default| default.name == *name);
            let Some(value) = params.get(name).or(default.map(|default| &default.value)) else {
                let known: Vec<_> = params.keys().map(|k| format!("`{k}`")).collect();
                return Err(self.fail(format!(
                    "the query uses `${name}`, but `sample.params` has no `{name}`, it has {}; \
                     give it there, or as a default in the query's header: `-- ${name} = value`",
                    list(&known)
                )));
            };
            let value = scalar(value).ok_or_else(|| {
                self.fail(format!("`sample.params.{name}`: expected a number, a string, true, false, null or a list, got `{value}`"))
            })?;
            values.push((name.clone(), value));
        }
        if let Some(default) = self.defaults.iter().find(|default| !used.contains(&default.name)) {
            return Err(DataError(format!(
                "{}:{}: `${}` has a default, but the query does not use it",
                self.path.display(),
                default.line,
                default.name
            )));
        }
        Ok(ParamValues::from(values))
    }

    /// An error of planning; one about a table lists those that exist.
    fn planning_error(&self, err: &DataFusionError, session: &SessionContext) -> DataError {
        let DataError(message) = self.error(err);
        let Some((start, name)) = message.split_once("table 'datafusion.public.") else {
            return DataError(message);
        };
        let schema = session.catalog("datafusion").and_then(|catalog| catalog.schema("public"));
        let mut known = schema.map_or_else(Vec::new, |schema| schema.table_names());
        known.sort();
        let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
        let name = name.trim_end_matches("' not found");
        DataError(format!("{start}there is no table `{name}`; the tables are {}", list(&known)))
    }

    /// An error about the query as a whole.
    pub fn fail(&self, message: impl AsRef<str>) -> DataError {
        self.fail_at(None, message.as_ref())
    }

    fn fail_at(&self, place: Option<(u64, u64)>, message: &str) -> DataError {
        let path = self.path.display();
        DataError(match place {
            Some((line, column)) => format!("{path}:{line}:{column}: {message}"),
            None => format!("{path}: {message}"),
        })
    }

    /// An error of DataFusion, with its place if it has one.
    pub fn error(&self, err: &DataFusionError) -> DataError {
        let span = err.diagnostic().and_then(|diagnostic| diagnostic.span);
        let message = errors::message(err);
        let place = span.map(|span| (span.start.line, span.start.column));
        self.fail_at(place.or_else(|| place_in(&message)), &message)
    }
}

/// What to write instead of a function that is not repeatable.
fn repeatable(name: &str) -> &'static str {
    match name {
        "random" | "uuid" => "draw with `draw(user_id, $seed, 0)`",
        "now" | "current_date" | "current_time" => {
            "give the date as a parameter: `cast($today as date)`, and its value in the query's \
             header, `-- $today = 2026-01-31`, or in `sample.params`"
        }
        _ => "leave it out",
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn verb(statement: &Statement) -> String {
    let text = statement.to_string();
    text.split_whitespace().next().unwrap_or("nothing").to_uppercase()
}

/// The place that the parser writes into its messages, `… at Line: 3, Column: 8`.
fn place_in(message: &str) -> Option<(u64, u64)> {
    let rest = &message[message.find("Line: ")? + "Line: ".len()..];
    let (line, rest) = rest.split_once(", Column: ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((line.parse().ok()?, digits.parse().ok()?))
}

fn scalar(value: &Value) -> Option<ScalarValue> {
    match value {
        Value::Null => Some(ScalarValue::Null),
        Value::Bool(value) => Some(ScalarValue::from(*value)),
        Value::Number(number) => number
            .as_i64()
            .map(ScalarValue::from)
            .or_else(|| number.as_f64().map(ScalarValue::from)),
        Value::String(text) => Some(ScalarValue::from(text.as_str())),
        Value::Array(items) => {
            let items: Vec<ScalarValue> = items.iter().map(scalar).collect::<Option<_>>()?;
            let kind = items.first()?.data_type();
            let is_uniform = items.iter().all(|item| item.data_type() == kind);
            is_uniform.then(|| ScalarValue::List(ScalarValue::new_list_nullable(&items, &kind)))
        }
        Value::Object(_) => None,
    }
}

//! Checks the columns of the raw tables and views before anything runs, all problems at once.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use contract::cli::ManifestArgs;
use contract::exit::DataError;
use contract::ids::IdKind;
use contract::manifest::{FeatureSource, IdSpace, View, place_of};
use contract::source_features::{list_item, type_problem};
use contract::words::plural;
use contract::{Manifest, nearest};
use datafusion::arrow::datatypes::{DataType, Schema};
use raw_tables::RawTable;

use crate::engine::Engine;
use crate::raw::RawTables;
use crate::session;
use contract::scratch::Scratch;

/// Checks them; returns what to print.
///
/// # Errors
///
/// All problems, each with its place in the manifest.
pub async fn run(args: &ManifestArgs) -> Result<String> {
    let manifest = args.load()?;
    let mut check = Check { args, problems: Vec::new() };
    let tables = check.tables(&manifest);
    let n_tables = tables.len();
    let views = check.views(&manifest, tables).await?;
    check.columns(&manifest, &views);
    check.ids(&manifest, &views);
    let n = check.problems.len();
    ensure!(
        n == 0,
        DataError(format!(
            "the tables have {} that would stop a run\n  {}",
            plural(n as u64, "problem"),
            check.problems.join("\n  ")
        ))
    );
    Ok(format!("{} and 3 views: columns as expected", plural(n_tables as u64, "table")))
}

struct Check<'a> {
    args: &'a ManifestArgs,
    problems: Vec<String>,
}

/// The columns of `users`, `interactions` and `brands`; `None` where they are not known.
struct Views {
    users: Option<Schema>,
    interactions: Option<Schema>,
    brands: Option<Schema>,
}

impl Check<'_> {
    /// * `keys`: of the manifest's value that is to change.
    fn problem(&mut self, keys: &[&str], what: &str) {
        let place = place_of(&self.args.manifest, &self.args.set, keys);
        // Hints of errors are lines of their own, and so are problems.
        self.problems.push(format!("{place}: {}", what.replace('\n', "\n    ")));
    }

    /// The tables that can be read.
    fn tables(&mut self, manifest: &Manifest) -> Vec<Arc<RawTable>> {
        let mut tables = Vec::new();
        for (name, source) in &manifest.data.tables {
            match RawTable::open(name, &source.options()) {
                Ok(table) => tables.push(Arc::new(table)),
                Err(err) => self.problem(&["data", "tables", name], &format!("{err:#}")),
            }
        }
        tables
    }

    /// The columns of each view.
    async fn views(&mut self, manifest: &Manifest, tables: Vec<Arc<RawTable>>) -> Result<Views> {
        let data = &manifest.data;
        let is_whole = tables.len() == data.tables.len();
        let scratch = Scratch::create(&manifest.run_dir.join(".check"))?;
        let session = session::for_views(data, scratch.path(), &Engine::Local)?;
        let raw = RawTables::of(session, &Engine::Local, tables, data, &data.users)?;
        let mut found = Vec::new();
        for (name, view) in
            [("users", &data.users), ("interactions", &data.interactions), ("brands", &data.brands)]
        {
            // A query may need a table that cannot be read.
            let is_known = match view {
                View::Table(view) => raw.has(&view.table),
                View::Sql(_) => is_whole,
            };
            let frame = if is_known { Some(raw.view(view).await) } else { None };
            found.push(match frame {
                None => None,
                Some(Ok(frame)) => Some(frame.schema().as_arrow().clone()),
                Some(Err(err)) => {
                    self.problem(&["data", name], &format!("{err:#}"));
                    None
                }
            });
        }
        drop(scratch);
        // Nothing is left behind; the run folder itself goes only if it is empty.
        let _ = std::fs::remove_dir(manifest.run_dir.join(".check"));
        let _ = std::fs::remove_dir(&manifest.run_dir);
        let [users, interactions, brands] = found.try_into().expect("there are three views, above");
        Ok(Views { users, interactions, brands })
    }

    /// Columns that are missing or of a type that is not read.
    fn columns(&mut self, manifest: &Manifest, views: &Views) {
        let data = &manifest.data;
        if let Some(users) = &views.users {
            self.id("users", &data.users, users, "user_id");
            for (i, feature) in data.features.iter().enumerate() {
                self.feature(i, feature, &data.users, users);
            }
            if let Some(column) = &manifest.holdout.column {
                let of = ["holdout", "column"];
                self.present(&of, "users", &data.users, users, column);
            }
        }
        if let Some(interactions) = &views.interactions {
            self.id("interactions", &data.interactions, interactions, "user_id");
            self.id("interactions", &data.interactions, interactions, "brand_id");
            if let Ok(events) = interactions.field_with_name("events")
                && !events.data_type().is_numeric()
            {
                let found = events.data_type();
                let what = format!(
                    "interactions: column `events` is `{found}`, expected numbers; leave it out of \
                     the view, or cast it there"
                );
                self.problem(&["data", "interactions"], &what);
            }
        }
        if let Some(brands) = &views.brands {
            self.id("brands", &data.brands, brands, "brand_id");
            self.present(&["data", "brands"], "brands", &data.brands, brands, "name");
        }
        for (what, view, columns) in [
            ("users", &data.users, &views.users),
            ("interactions", &data.interactions, &views.interactions),
        ] {
            if let (Some(time), Some(columns)) = (view.time(), columns) {
                self.present(&["data", what, "time"], what, view, columns, time.column());
            }
        }
    }

    fn id(&mut self, what: &str, view: &View, columns: &Schema, name: &str) {
        let place = ["data", what];
        let Some(found) = self.present(&place, what, view, columns, name) else { return };
        if found != DataType::Null
            && let Err(err) = IdKind::of(&found)
        {
            self.problem(&place, &err.at(what, name).to_string());
        }
    }

    fn feature(&mut self, i: usize, feature: &FeatureSource, view: &View, users: &Schema) {
        let index = i.to_string();
        let place = ["data", "features", &index];
        let options = feature.options();
        let found = self.present(&place, "users", view, users, &options.column);
        if let Some(found) = found
            && let Some(problem) = type_problem(&options, &found)
        {
            self.problem(&place, &format!("users: {problem}"));
        }
        if let Some(weights) = &options.weights
            && let Some(found) = self.present(&place, "users", view, users, weights)
            && !list_item(&found).is_some_and(|t| t.is_numeric() || *t == DataType::Null)
        {
            let expected = "expected a list of numbers (weights)";
            let what = format!("users: column `{weights}` is `{found}`, {expected}");
            self.problem(&place, &what);
        }
    }

    /// The type of a column, or a problem if it is not there.
    ///
    /// * `place`: keys of the manifest that name the column or its table.
    fn present(
        &mut self,
        place: &[&str],
        what: &str,
        view: &View,
        columns: &Schema,
        name: &str,
    ) -> Option<DataType> {
        if let Ok(field) = columns.field_with_name(name) {
            return Some(field.data_type().clone());
        }
        let names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
        let near = names.iter().find(|other| other.eq_ignore_ascii_case(name)).copied();
        let near = near.or_else(|| nearest(name, names.iter().copied()));
        let there = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "there are {}",
                names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            ),
        };
        let from = near.unwrap_or("...");
        let remedy = match view {
            View::Table(view) => format!(
                "use `{what}: {{sql: {what}.sql}}` to rename it: `select \"{from}\" as {name}, ... from \
                 {}`",
                view.table
            ),
            View::Sql(view) => {
                let path: PathBuf = view.sql.clone();
                format!("let {} select it", path.display())
            }
        };
        self.problem(
            place,
            &format!("{what}: column `{name}` is missing; {there}\nhint: {remedy}"),
        );
        None
    }

    /// Ids that can never match, as they are numbers on one side and text on the other.
    fn ids(&mut self, manifest: &Manifest, views: &Views) {
        let of = |schema: &Option<Schema>, name: &str| {
            let field = schema.as_ref()?.field_with_name(name).ok()?;
            let found = list_item(field.data_type()).unwrap_or(field.data_type());
            IdKind::of(found).ok()
        };
        let pairs = [
            ("user_id", &views.users, &views.interactions, "users"),
            ("brand_id", &views.brands, &views.interactions, "brands"),
        ];
        for (column, theirs, ours, table) in pairs {
            if let (Some(there), Some(here)) = (of(theirs, column), of(ours, column))
                && there != here
            {
                self.mismatch(
                    &["data", "interactions"],
                    "interactions",
                    column,
                    here,
                    (table, there),
                );
            }
        }
        for (i, feature) in manifest.data.features.iter().enumerate() {
            let options = feature.options();
            if options.ids != IdSpace::Brands {
                continue;
            }
            let place = ["data", "features", &i.to_string()];
            if let (Some(there), Some(here)) =
                (of(&views.brands, "brand_id"), of(&views.users, &options.column))
                && there != here
            {
                self.mismatch(&place, "users", &options.column, here, ("brands", there));
            }
        }
    }

    fn mismatch(
        &mut self,
        place: &[&str],
        what: &str,
        column: &str,
        here: IdKind,
        (table, there): (&str, IdKind),
    ) {
        self.problem(
            place,
            &format!(
                "{what}: the ids of `{column}` are {here}, those of {table} are {there}, so none \
                 matches\nhint: cast one of them in a view, or give the type of a csv or json column \
                 with `types`"
            ),
        );
    }
}

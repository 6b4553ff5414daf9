//! Commands about users that no stage has seen: the sample stage runs the query that gives them, if one
//! does, and makes their histories, if the manifest has one; the score stage does the rest.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use clap::Args;
use contract::cli::ManifestArgs;
use contract::exit::{EXIT_DONE, UsageError};
use contract::manifest::View;
use contract::{Manifest, Stage};

use crate::{foreground, program};

/// The users of a command, and whose model scores them.
#[derive(Args)]
pub struct NewUsersArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Use the model of a folder that `pipeline bundle` wrote; needs no manifest
    #[arg(long, value_name = "DIR", requires = "users")]
    pub bundle: Option<PathBuf>,
    /// Users: a file, folder, pattern or URL of parquet, csv, json or Arrow files with the columns of
    /// `data.users`, a table of the manifest, or a query over its tables, which ends in `.sql`
    /// [default: the manifest's `data.users`]
    #[arg(long, value_name = "TABLE")]
    users: Option<String>,
    /// With `history`: date at which the users are seen, such as 2025-01-01; their histories end at it,
    /// less `labels.gap` [default: after the last interaction]
    #[arg(long, value_name = "DATE", conflicts_with = "bundle")]
    as_of: Option<String>,
    /// With `history`: the interactions that it is made of, a table of the manifest, a file, folder or
    /// pattern, or a query, which ends in `.sql` [default: the manifest's `data.interactions`]
    #[arg(long, value_name = "TABLE", conflicts_with = "bundle")]
    interactions: Option<String>,
    /// Users of a part: what is done again after a kill
    #[arg(long, value_name = "NUM")]
    part_users: Option<usize>,
    /// End with exit code 1 if the users differ from those that the experiment was judged on; the output
    /// is written all the same
    #[arg(long)]
    fail_on_drift: bool,
}

impl NewUsersArgs {
    /// Runs a command of the score stage on the users; the result is its exit code.
    ///
    /// * `experiment`: without `--bundle`, whose model to use.
    /// * `output`: the command's, if it has one.
    /// * `add`: adds the command's own arguments, the last.
    ///
    /// # Errors
    ///
    /// A mistake in the manifest, or a program that cannot be run.
    pub fn run(
        &self,
        name: &str,
        experiment: Option<&String>,
        output: Option<Output>,
        add: impl FnOnce(&mut Command),
    ) -> Result<u8> {
        foreground::pass_on_interrupts()?;
        let mut command = Command::new(program::path(Stage::Score)?);
        command.arg(name);
        if let Some(bundle) = &self.bundle {
            command.arg("--bundle").arg(bundle);
        } else {
            program::add_manifest(&mut command, &self.manifest);
            command.args(experiment.iter().flat_map(|name| ["--experiment", name]));
        }
        if let Some(output) = &output {
            command.arg("--output").arg(output.path);
        }
        if let Some(n) = self.part_users {
            command.arg("--part-users").arg(n.to_string());
        }
        command.args(self.fail_on_drift.then_some("--fail-on-drift"));
        let Some(query) = self.query(experiment)? else {
            command.args(self.users.iter().flat_map(|users| ["--users", users]));
            add(&mut command);
            return foreground::run(command);
        };
        let rows = rows_path(output, &query.run_dir);
        command.arg("--users").arg(&rows).arg("--users-label").arg(&query.label);
        add(&mut command);
        let code = match foreground::run(self.query_command(&query, &rows)?)? {
            EXIT_DONE => foreground::run(command)?,
            failed => failed,
        };
        let _ = std::fs::remove_file(&rows); // it was not made if the query failed
        Ok(code)
    }

    /// What the sample stage has to do first: run a query that gives the users, or make their histories.
    fn query(&self, experiment: Option<&String>) -> Result<Option<Query>> {
        let is_query =
            |users: &String| Path::new(users).extension().is_some_and(|end| end == "sql");
        let named = self.users.as_ref().filter(|users| is_query(users));
        if self.bundle.is_some() {
            return match named {
                None => Ok(None),
                Some(_) => Err(UsageError(
                    "`--users` is a query over a manifest's tables, and `--bundle` has no manifest; \
                     name a table"
                        .to_owned(),
                )
                .into()),
            };
        }
        let ManifestArgs { manifest, set } = &self.manifest;
        let experiments: Vec<String> = experiment.into_iter().cloned().collect();
        let asks_for_history = self.as_of.is_some() || self.interactions.is_some();
        let Manifest { data, run_dir, history, .. } = Manifest::load(manifest, set, &experiments)?;
        if history.is_none() && asks_for_history {
            let what = "`--as-of` and `--interactions` are about histories, and the manifest has no \
                        `history`";
            return Err(UsageError(what.to_owned()).into());
        }
        let query = |sql: String| (vec!["--query".to_owned(), sql.clone()], sql);
        let (arguments, label) = match (&self.users, data.users) {
            (Some(sql), _) if is_query(sql) => query(sql.clone()),
            (None, View::Sql(view)) => query(view.sql.display().to_string()),
            _ if history.is_none() => return Ok(None),
            (Some(table), _) => (vec!["--table".to_owned(), table.clone()], table.clone()),
            (None, View::Table(view)) => (Vec::new(), view.table),
        };
        let options = [("--as-of", &self.as_of), ("--interactions", &self.interactions)];
        let given = options.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let given = given.flat_map(|(name, value)| [name.to_owned(), value.clone()]);
        let arguments = arguments.into_iter().chain(given).collect();
        Ok(Some(Query { arguments, label, run_dir }))
    }

    fn query_command(&self, query: &Query, rows: &Path) -> Result<Command> {
        let mut command = Command::new(program::path(Stage::Sample)?);
        command.arg("users");
        program::add_manifest(&mut command, &self.manifest);
        command.args(&query.arguments).arg("--output").arg(rows);
        command.stdout(Stdio::null());
        Ok(command)
    }
}

/// What a command writes.
pub struct Output<'a> {
    pub path: &'a Path,
    /// Which of several for the same output this is
    pub machine: Option<&'a str>,
}

/// What the sample stage does first.
struct Query {
    /// Its arguments
    arguments: Vec<String>,
    /// Where users come from, for messages
    label: String,
    /// The manifest's
    run_dir: PathBuf,
}

/// Where the rows of a query wait for being scored.
fn rows_path(output: Option<Output>, run_dir: &Path) -> PathBuf {
    let is_local = |output: &Output| !stores::is_url(&output.path.to_string_lossy());
    let Some(output) = output.filter(is_local) else {
        return run_dir.join(format!(".users-{}.arrow", std::process::id()));
    };
    let path: PathBuf = output.path.components().collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let machine = output.machine.map(|place| format!("-{}", place.replace('/', "-")));
    path.with_file_name(format!(".{name}.users{}.arrow", machine.unwrap_or_default()))
}

/// Adds an option if it is set.
pub fn option(command: &mut Command, name: &str, value: Option<&impl ToString>) {
    if let Some(value) = value {
        command.arg(name).arg(value.to_string());
    }
}

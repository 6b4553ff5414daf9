//! `pipeline init`: a first manifest for a user's own tables.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use arrow::datatypes::{DataType, Field};
use clap::Args;
use contract::exit::{DataError, UsageError};
use contract::ids::IdKind;
use contract::manifest::TableSource;
use contract::words::plural;
use contract::{Manifest, ipc, print_line, warn_line};
use raw_tables::RawTable;

use crate::guess::{Role, Wanted};

/// Arguments of `pipeline init`.
#[derive(Args)]
pub struct InitArgs {
    /// Users: a file, folder or pattern of parquet, csv, json or Arrow files
    #[arg(long, value_name = "PATH")]
    users: String,
    /// Which user had which brand, a row for each time or pair
    #[arg(long, value_name = "PATH")]
    interactions: String,
    /// Brands with their names [default: the brands of the interactions, shown by their ids]
    #[arg(long, value_name = "PATH")]
    brands: Option<String>,
    /// Folder for the manifest and its queries
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Replace files of earlier
    #[arg(long)]
    force: bool,
}

/// The sampling query that experiments start with.
const EVERYONE: &str = include_str!("../../../sample-stage/sql/everyone.sql");

/// Looks at the tables and writes a manifest that runs.
///
/// # Errors
///
/// A table that cannot be read, a column that cannot be found, or files that are there already.
pub fn init(args: &InitArgs) -> Result<()> {
    let draft = Draft::of(args)?;
    let mut files = vec![("everyone.sql", EVERYONE.to_owned())];
    files.extend(draft.views.iter().map(|view| (view.file, view.sql.clone())));
    files.push(("pipeline.yaml", draft.manifest()));
    let path = |name: &str| args.output.join(name);
    if let Some((name, _)) = files.iter().find(|(name, _)| !args.force && path(name).exists()) {
        let shown = path(name).display().to_string();
        return Err(UsageError(format!("{shown} is there already; `--force` replaces it")).into());
    }
    for (name, text) in &files {
        ipc::finish_text(&path(name), text)?.commit()?;
        print_line!("{}", path(name).display());
    }
    let manifest = path("pipeline.yaml");
    Manifest::load(&manifest, &[], &[])?;
    draft.notes.iter().for_each(|note| warn_line!("note: {note}"));
    let option = if args.output == Path::new(".") {
        String::new()
    } else {
        format!(" --manifest {}", manifest.display())
    };
    warn_line!("next: look at {}, then `pipeline run{option}`", manifest.display());
    Ok(())
}

/// A query that gives a table the project's names and types.
struct View {
    file: &'static str,
    /// `users`, `interactions` or `brands`
    of: &'static str,
    sql: String,
}

/// What was found out about the tables.
struct Draft {
    /// Name and path of each table, with its columns for people
    tables: Vec<(&'static str, String, String)>,
    views: Vec<View>,
    features: Vec<String>,
    /// Columns of users that no model can read
    others: Vec<String>,
    has_split: bool,
    notes: Vec<String>,
}

/// A column that was found, and what it becomes.
struct Column {
    from: String,
    to: &'static str,
    /// Whether ids become text, as those that they refer to are
    is_cast: bool,
}

impl Draft {
    fn of(args: &InitArgs) -> Result<Self> {
        let open =
            |name, path: &String| RawTable::open(name, &TableSource::Path(path.clone()).options());
        let users = open("users", &args.users)?;
        let interactions = open("interactions", &args.interactions)?;
        let brands = args.brands.as_ref().map(|path| open("brands", path)).transpose()?;

        let user_id = found(&users, Wanted::UserId, None)?;
        let their_user = found(&interactions, Wanted::UserId, Some(user_id.name()))?;
        let brand_id =
            brands.as_ref().map(|brands| found(brands, Wanted::BrandId, None)).transpose()?;
        let known = brand_id.map(|field| field.name().as_str());
        let their_brand = found(&interactions, Wanted::BrandId, known)?;
        let name = brands.as_ref().map(|brands| found(brands, Wanted::Name, None)).transpose()?;
        let events = Wanted::Events.find(&interactions.schema, None);

        // Numbers never match text: then both become text.
        let is_text_user = is_mixed(user_id, their_user);
        let is_text_brand = brand_id.is_some_and(|brand_id| is_mixed(brand_id, their_brand));
        let column = |field: &Field, to, is_text: bool| {
            let is_cast = is_text && kind(field) != Some(IdKind::Text);
            Column { from: field.name().clone(), to, is_cast }
        };
        let mut draft = Self {
            tables: Vec::new(),
            views: Vec::new(),
            features: Vec::new(),
            others: Vec::new(),
            has_split: users
                .schema
                .field_with_name("split")
                .is_ok_and(|f| kind(f) == Some(IdKind::Text)),
            notes: Vec::new(),
        };
        draft.add_table("users", &args.users, &users, &args.output);
        draft.add_table("interactions", &args.interactions, &interactions, &args.output);
        draft.sort_columns(&users, user_id);
        let own: Vec<Column> = vec![column(user_id, "user_id", is_text_user)];
        draft.add_view("users", "users.sql", &own, &draft.kept_of_users());
        let mut columns = vec![
            column(their_user, "user_id", is_text_user),
            column(their_brand, "brand_id", is_text_brand),
        ];
        columns.extend(events.map(|field| column(field, "events", false)));
        draft.add_view("interactions", "interactions.sql", &columns, &[]);
        if let (Some(brands), Some(path), Some(id), Some(name)) =
            (&brands, &args.brands, brand_id, name)
        {
            draft.add_table("brands", path, brands, &args.output);
            let columns = [column(id, "brand_id", is_text_brand), column(name, "name", false)];
            draft.add_view("brands", "brands.sql", &columns, &[]);
        } else {
            draft.add_brands_of_interactions(their_brand);
        }
        if is_text_user || is_text_brand {
            draft.notes.push(
                "ids are numbers in one table and text in another; the queries make all of them text, so \
                 look whether leading zeros or spaces keep them apart"
                    .to_owned(),
            );
        }
        if draft.features.is_empty() {
            return Err(DataError(
                "users: no column is a number, a vector or a list of ids, so there is nothing that a model \
                 could read\nhint: add a column, such as an embedding"
                    .to_owned(),
            )
            .into());
        }
        Ok(draft)
    }

    fn add_table(&mut self, name: &'static str, path: &str, table: &RawTable, output: &Path) {
        let fields = table.schema.fields().iter();
        let columns: Vec<_> = fields.map(|f| format!("{} {}", f.name(), f.data_type())).collect();
        self.tables.push((name, seen_from(path, output), columns.join(", ")));
    }

    fn sort_columns(&mut self, users: &RawTable, user_id: &Field) {
        for field in users.schema.fields().iter().filter(|field| field.name() != user_id.name()) {
            let into = match Role::of(field.data_type()) {
                Role::Feature => &mut self.features,
                Role::Other => &mut self.others,
            };
            into.push(field.name().clone());
        }
    }

    /// Columns of users besides the id.
    fn kept_of_users(&self) -> Vec<String> {
        self.features.iter().chain(&self.others).cloned().collect()
    }

    /// A query, if names or types have to change.
    fn add_view(
        &mut self,
        of: &'static str,
        file: &'static str,
        columns: &[Column],
        kept: &[String],
    ) {
        if columns.iter().all(|column| column.from == column.to && !column.is_cast) {
            return;
        }
        let renamed = columns.iter().map(|Column { from, to, is_cast }| {
            let from = quoted(from);
            if *is_cast {
                format!("cast({from} as varchar) as {to}")
            } else {
                format!("{from} as {to}")
            }
        });
        let lines: Vec<String> = renamed.chain(kept.iter().map(|name| quoted(name))).collect();
        let sql = format!(
            "-- The table `{of}` under the names that the pipeline knows.\nselect\n    {}\nfrom {of}\n",
            lines.join(",\n    ")
        );
        self.views.push(View { file, of, sql });
    }

    fn add_brands_of_interactions(&mut self, brand: &Field) {
        let from = quoted(brand.name());
        let sql = format!(
            "-- There is no table of brands: those of the interactions, named by their ids.\n\
             select distinct\n    {from} as brand_id,\n    cast({from} as varchar) as name\n\
             from interactions\nwhere {from} is not null\n"
        );
        self.views.push(View { file: "brands.sql", of: "brands", sql });
    }

    /// The manifest's text.
    fn manifest(&self) -> String {
        let mut text = String::from(
            "version: 1\nrun_dir: runs                 # all results go here\ndata:\n  tables:\n",
        );
        for (name, path, columns) in &self.tables {
            let _ = writeln!(text, "    # {}\n    {name}: {}", in_comment(columns), in_yaml(path));
        }
        for of in ["users", "interactions", "brands"] {
            let view = self.views.iter().find(|view| view.of == of);
            let _ = match view {
                Some(view) => writeln!(text, "  {of}: {{sql: {}}}", view.file),
                None => writeln!(text, "  {of}: {{table: {of}}}"),
            };
        }
        let features: Vec<String> = self.features.iter().map(|name| in_yaml(name)).collect();
        let _ = writeln!(
            text,
            "  # Columns of users that models may read: leave out what is not known for new users.\n  \
             features: [{}]",
            features.join(", ")
        );
        if !self.others.is_empty() {
            let others = in_comment(&self.others.join(", "));
            let _ = writeln!(text, "  # No numbers, vectors or lists of ids: {others}");
        }
        text += if self.has_split {
            "holdout: {column: split}      # train, valid or test\n"
        } else {
            "holdout: {valid: 0.1, test: 0.2, seed: 7}   # shares of the users\n"
        };
        text + EXPERIMENTS
    }
}

const EXPERIMENTS: &str = "\
stages:                        # what every experiment starts from
  sample: {sql: everyone.sql}  # the query that gives the training examples
  train: {hidden: [256, 256], loss: {kind: bce}}
baseline: bau
experiments:                   # what each does differently
  bau: {}                      # predicts a brand from a probability of 0.5 on
  # Corrected probabilities, and for each brand the threshold of its best expected F1.
  per_brand: {score: {calibration: platt, decision: {policy: expected_f1}}}
  # One decision for users and brands.
  both: {score: {calibration: platt, decision: {policy: gain}}}
  popularity: {train: {model: popularity}, score: {calibration: platt, decision: {policy: expected_f1}}}
";

/// The column of a table, or an error with what there is.
fn found<'a>(
    table: &'a RawTable,
    wanted: Wanted,
    known: Option<&str>,
) -> Result<&'a Field, DataError> {
    wanted.find(&table.schema, known).ok_or_else(|| {
        let columns = table.schema.fields().iter();
        let columns: Vec<_> =
            columns.map(|f| format!("`{}` ({})", f.name(), f.data_type())).collect();
        DataError(format!(
            "table `{}`: cannot tell which of its {} is `{}`: {}\n\
             hint: rename the column to `{}`, or write the manifest by hand",
            table.name,
            plural(columns.len() as u64, "column"),
            wanted.name(),
            columns.join(", "),
            wanted.name()
        ))
    })
}

fn kind(field: &Field) -> Option<IdKind> {
    IdKind::of(field.data_type()).ok()
}

fn is_mixed(a: &Field, b: &Field) -> bool {
    kind(a) != kind(b) && *a.data_type() != DataType::Null && *b.data_type() != DataType::Null
}

/// A path as a manifest in `output` has it.
fn seen_from(path: &str, output: &Path) -> String {
    if output == Path::new(".") || Path::new(path).is_absolute() || stores::is_url(path) {
        return path.to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    here.join(path).display().to_string()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as YAML: quoted, as JSON is YAML, unless it is plain.
fn in_yaml(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || ['_', '/', '.', '-'].contains(&c);
    let starts_plain =
        text.starts_with(|c: char| c.is_alphabetic() || c == '/' || c == '_' || c == '.');
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if starts_plain && text.chars().all(is_plain) && !words.contains(&&*text.to_lowercase()) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

/// A text that stays in its line.
fn in_comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

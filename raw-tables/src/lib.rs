//! A user's own tables: files of any format as record batches with the same columns.
//!
//! A table may be many files. Every file is inspected before any row is read: its columns are
//! matched by name, a file whose columns differ is an error, and columns of several types are
//! widened to one that holds all of them. Types of csv and json come from all rows.

mod arrow_file; // Arrow IPC files and streams
pub mod columns; // the columns that all files of a table have
mod csv; // csv files
mod json; // json files
mod json_array; // arrays of json objects
mod messages; // messages of readers
pub mod open; // a file, decompressed, or what it is instead
pub mod parquet; // parquet files

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use contract::exit::DataError;
use contract::manifest::{TableFormat, TableOptions};
use contract::raw_files::{self, RawFile};
use contract::unreadable::Unreadable;
use contract::user_file::{Batches, distinct_names};
use contract::warn_line;
use contract::words::plural;

pub use messages::without_layers;

/// A file of a raw table and its columns.
#[derive(Debug, Clone)]
pub struct Part {
    /// The file
    pub file: RawFile,
    /// Its columns, in its order
    pub schema: SchemaRef,
    /// If the format says
    pub n_rows: Option<usize>,
}

/// A raw table whose files fit together.
#[derive(Debug)]
pub struct RawTable {
    /// Its name, for messages
    pub name: String,
    /// How it is read
    pub options: TableOptions,
    /// Its files, in order of their paths
    pub parts: Vec<Part>,
    /// The columns of every file, then the keys of its folders
    pub schema: SchemaRef,
    /// Number of columns that are keys of folders
    pub n_keys: usize,
    /// Format of all files
    pub format: TableFormat,
    /// As [`columns::Columns::why_text`]
    pub why_text: Vec<(String, String)>,
}

impl RawTable {
    /// Inspects the files of a table.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or does not fit the others: table, file, what was found.
    pub fn open(name: &str, options: &TableOptions) -> Result<Self> {
        let in_table = |message: String| DataError(format!("table `{name}`: {message}"));
        let found = raw_files::find(options).map_err(in_table)?;
        warn_of_passed_over(name, found.format, &found.passed_over);
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
        Ok(Self {
            name: name.to_owned(),
            options: options.clone(),
            parts,
            schema: Arc::new(columns.schema),
            n_keys: columns.n_keys,
            format: found.format,
            why_text: columns.why_text,
        })
    }

    /// Place of the first column that is a key of folders.
    pub fn first_key(&self) -> usize {
        self.schema.fields().len() - self.n_keys
    }

    /// Its rows, file after file, in the order of each file.
    ///
    /// * `columns`: names of the columns to read, each of which the table has.
    pub fn rows<'a>(
        &'a self,
        columns: &[&str],
    ) -> impl Iterator<Item = Result<RecordBatch>> + use<'a> {
        let is_wanted = |name: &str| columns.contains(&name);
        let fields = self.schema.fields().iter().filter(|field| is_wanted(field.name()));
        let wanted: SchemaRef = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        self.parts.iter().flat_map(move |part| {
            let (batches, failed) = match self.conforming(part, &wanted) {
                Ok(batches) => (Some(batches), None),
                Err(err) => (None, Some(Err(err))),
            };
            let batches = failed.into_iter().chain(batches.into_iter().flatten());
            batches.map(|batch| batch.map_err(|err| open::at(err, &self.name, &part.file.path)))
        })
    }

    /// A file's rows with columns of the table.
    fn conforming<'a>(
        &'a self,
        part: &'a Part,
        wanted: &SchemaRef,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, Unreadable>> + use<'a>, Unreadable> {
        let keys = columns::key_values(self, part)?;
        let batches = self.read_own(part, wanted)?;
        let wanted = wanted.clone();
        Ok(batches.map(move |batch| columns::conform(self, &wanted, &keys, &batch?)))
    }

    /// A file's own columns, those that are wanted or all.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub fn read_own(&self, part: &Part, wanted: &SchemaRef) -> Result<Batches, Unreadable> {
        let schema = columns::own_columns(self, part);
        match self.format {
            TableFormat::Csv => csv::read(&part.file, &self.options, schema),
            TableFormat::Json => json::read(&part.file, schema),
            TableFormat::Arrow => arrow_file::read(&part.file),
            TableFormat::Parquet => parquet::read(&part.file, wanted),
        }
    }

    /// Why a column of csv files is text, for messages about it.
    pub fn why_text(&self, column: &str) -> impl Iterator<Item = &str> {
        let reasons = self.why_text.iter().filter(move |(name, _)| name == column);
        reasons.map(|(_, reason)| reason.as_str())
    }
}

fn warn_of_passed_over(name: &str, format: TableFormat, files: &[PathBuf]) {
    let Some(first) = files.first() else { return };
    warn_line!(
        "warning: table `{name}`: {} not read, as by their names they are not `{}`; the first is {}",
        plural(files.len() as u64, "file"),
        format.name(),
        first.display()
    );
}

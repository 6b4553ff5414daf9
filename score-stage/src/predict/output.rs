//! The file or folder of predictions: parquet, csv or Arrow.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use clap::{Args as ClapArgs, ValueEnum};
use contract::exit::UsageError;
use contract::folder::{self, Folder};
use contract::ipc::{self, BytesWriter, Finished};
use contract::manifest::TableOptions;
use contract::raw_files;
use contract::tables::{Contract, PREDICTED_BRANDS, PREDICTED_USERS, PREDICTIONS};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::brands::Brands;
use super::rows::{Counts, Rows, Selection};
use crate::table::fields_with_ids;

/// What is written where.
#[derive(ClapArgs)]
pub struct Args {
    /// File to write, by its ending .parquet, .csv or .arrow; a name without an ending is a folder of
    /// such files, each with the users of a part
    #[arg(long, value_name = "PATH")]
    output: PathBuf,
    /// Format of the files of a folder [default: parquet]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// What a row is [default: `positions` for a single Arrow file, else `long`]
    #[arg(long, value_name = "ROWS")]
    rows: Option<Layout>,
    /// Only brands of at least this probability
    #[arg(long, value_name = "PROB", value_parser = share)]
    min_prob: Option<f32>,
}

fn share(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(prob) if (0.0..=1.0).contains(&prob) => Ok(prob),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

/// Format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Apache Parquet
    Parquet,
    /// Comma-separated values; lists are JSON
    Csv,
    /// Arrow IPC, also called Feather version 2
    Arrow,
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// A user and a brand, with id and name
    Long,
    /// A user, with lists of the ids and names of the brands
    Wide,
    /// A user, with lists of the positions of the brands
    Positions,
}

/// Where the predictions go.
enum Target {
    File(PathBuf),
    Folder(PathBuf),
}

/// The output, checked.
pub struct Output {
    target: Target,
    format: Format,
    layout: Layout,
    top_k: Option<usize>,
    min_prob: f32,
}

/// What was written.
pub struct Written {
    /// Brands of all users together
    pub n_predicted: u64,
    /// Users without a brand
    pub n_without: u64,
}

/// Start of the names of a folder's files.
const PART: &str = "part-";

/// Most probable brands that are written beside positions.
const TOP_K: usize = 20;

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_string_lossy().to_ascii_lowercase();
        match &*extension {
            "parquet" | "pq" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "arrow" | "feather" | "ipc" => Some(Self::Arrow),
            _ => None,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
        }
    }
}

impl Output {
    /// Checks what the command line says, before anything is read.
    ///
    /// # Errors
    ///
    /// An ending that is not known, a target that cannot be replaced, or options that exclude each other.
    pub fn of(args: &Args, top_k: Option<usize>) -> Result<Self> {
        let path = &args.output;
        let shown = path.display();
        let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/")
            || path.extension().is_none()
            || path.is_dir();
        let (target, format) = if is_folder {
            folder::check(path, |name| name.starts_with(PART)).context("`--output`")?;
            // A slash at the end would make the names beside it names within it.
            let path: PathBuf = path.components().collect();
            (Target::Folder(path), args.format.unwrap_or(Format::Parquet))
        } else {
            let format = Format::of(path).ok_or_else(|| {
                UsageError(format!(
                    "`--output` {shown}: expected a name that ends in .parquet, .csv or .arrow, or a \
                     folder"
                ))
            })?;
            if args.format.is_some_and(|given| given != format) {
                let what = format!("`--output` {shown}: its ending and `--format` differ; leave one out");
                return Err(UsageError(what).into());
            }
            ipc::check_target(path)?;
            (Target::File(path.clone()), format)
        };
        let is_positions = format == Format::Arrow && !is_folder;
        let by_format = if is_positions { Layout::Positions } else { Layout::Long };
        let layout = args.rows.unwrap_or(by_format);
        if layout == Layout::Positions && format != Format::Arrow {
            let what = "`--rows positions` is for Arrow files; use `wide` or `long`";
            return Err(UsageError(what.to_owned()).into());
        }
        if layout == Layout::Positions && args.min_prob.is_some() {
            let what = "`--min-prob` needs `--rows long` or `--rows wide`";
            return Err(UsageError(what.to_owned()).into());
        }
        Ok(Self { target, format, layout, top_k, min_prob: args.min_prob.unwrap_or(0.0) })
    }

    /// The file or folder.
    pub fn target(&self) -> PathBuf {
        match &self.target {
            Target::File(path) | Target::Folder(path) => path.clone(),
        }
    }

    /// Most probable brands that parts must have.
    pub fn top_k(&self) -> usize {
        self.top_k.unwrap_or(if self.layout == Layout::Positions { TOP_K } else { 0 })
    }

    /// Refuses to replace a file that is read.
    ///
    /// # Errors
    ///
    /// The file.
    pub fn check_inputs(&self, files: &[&Path], users: &TableOptions) -> Result<(), UsageError> {
        let Ok(target) = self.target().canonicalize() else { return Ok(()) };
        // What is wrong with the users' files is said when they are read.
        let users = raw_files::find(users).map(|found| found.files).unwrap_or_default();
        let users = users.iter().map(|file| file.path.as_path());
        let is_input =
            |path: &&Path| path.canonicalize().is_ok_and(|input| input.starts_with(&target));
        match files.iter().copied().chain(users).find(is_input) {
            Some(input) => Err(UsageError(format!(
                "`--output` is {}, which is read; name another file",
                input.display()
            ))),
            None => Ok(()),
        }
    }

    /// Writes the decisions of all parts.
    ///
    /// # Errors
    ///
    /// As when the disk is full.
    pub fn write(&self, parts: &[PathBuf], brands: &Brands) -> Result<Written> {
        let mut counts = Counts::default();
        match &self.target {
            Target::File(path) => {
                self.write_file(path, parts, brands, &mut counts)?.commit()?;
            }
            Target::Folder(path) => {
                let folder = Folder::create(path)?;
                for (i, part) in parts.iter().enumerate() {
                    let extension = self.format.extension();
                    let path = folder.path().join(format!("{PART}{i:05}.{extension}"));
                    let part = std::slice::from_ref(part);
                    self.write_file(&path, part, brands, &mut counts)?.commit()?;
                }
                folder.commit()?;
            }
        }
        Ok(Written { n_predicted: counts.n_brands, n_without: counts.n_without })
    }

    fn write_file(
        &self,
        path: &Path,
        parts: &[PathBuf],
        brands: &Brands,
        counts: &mut Counts,
    ) -> Result<Finished> {
        let first = ipc::read(&parts[0], &PREDICTIONS)?;
        let ids = first.schema.field_with_name("user_id")?.data_type().clone();
        let selection = Selection { are_top: self.top_k.is_some(), min_prob: self.min_prob };
        let rows = Rows::new(brands, selection, self.layout == Layout::Wide, &ids);
        let mut file = self.create(path, &rows, &ids)?;
        for part in parts {
            for batch in ipc::read(part, &PREDICTIONS)?.batches {
                let made = rows.of(&batch, counts)?;
                let made = if self.layout == Layout::Positions { batch } else { made };
                file.write(&made).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        file.finish().with_context(|| format!("cannot write {}", path.display()))
    }

    fn create(&self, path: &Path, rows: &Rows, ids: &DataType) -> Result<File> {
        let (contract, fields): (&'static Contract, Vec<Field>) = match self.layout {
            Layout::Positions => (&PREDICTIONS, fields_with_ids(&PREDICTIONS, ids)),
            Layout::Long => (&PREDICTED_BRANDS, owned(&rows.schema)),
            Layout::Wide => (&PREDICTED_USERS, owned(&rows.schema)),
        };
        Ok(match self.format {
            Format::Arrow => {
                File::Arrow(ipc::Writer::create(path, contract, fields, HashMap::new())?)
            }
            Format::Parquet => {
                let properties =
                    WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let schema = Arc::new(Schema::new(fields));
                let file = BytesWriter::create(path)?;
                File::Parquet(Box::new(ArrowWriter::try_new(file, schema, Some(properties))?))
            }
            Format::Csv => {
                let mut file = BytesWriter::create(path)?;
                let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
                writeln!(file, "{}", names.join(","))?;
                File::Csv(csv::WriterBuilder::new().with_header(false).build(file))
            }
        })
    }
}

fn owned(schema: &SchemaRef) -> Vec<Field> {
    schema.fields().iter().map(|field| field.as_ref().clone()).collect()
}

/// A file being written.
enum File {
    Arrow(ipc::Writer),
    Parquet(Box<ArrowWriter<BytesWriter>>),
    Csv(csv::Writer<BytesWriter>),
}

impl File {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        match self {
            Self::Arrow(writer) => writer.write(rows.columns().to_vec())?,
            Self::Parquet(writer) => writer.write(rows)?,
            Self::Csv(writer) => writer.write(&without_lists(rows)?)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Finished> {
        Ok(match self {
            Self::Arrow(writer) => writer.finish()?,
            Self::Parquet(writer) => writer.into_inner()?.finish()?,
            Self::Csv(writer) => writer.into_inner().finish()?,
        })
    }
}

/// The rows with each list as JSON, as csv has none.
fn without_lists(rows: &RecordBatch) -> Result<RecordBatch> {
    let json = |column: &ArrayRef| -> Result<ArrayRef> {
        if !column.data_type().is_nested() {
            return Ok(column.clone());
        }
        let field = Field::new("list", column.data_type().clone(), false);
        let lists = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column.clone()])?;
        let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
        writer.write(&lists)?;
        writer.finish()?;
        let text = String::from_utf8(writer.into_inner())?;
        let list = |line: &str| Some(line.strip_prefix("{\"list\":")?.strip_suffix('}')?.to_owned());
        let texts: Vec<Option<String>> = text.lines().map(list).collect();
        Ok(Arc::new(StringArray::from(texts)))
    };
    let columns = rows.columns().iter().map(json).collect::<Result<Vec<_>>>()?;
    let schema = rows.schema();
    let fields = schema.fields().iter().zip(&columns);
    let fields: Vec<Field> = fields
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

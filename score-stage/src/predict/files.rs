//! Files for people and other programs: parquet, csv or Arrow, alone or in a folder, here or in a store.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::csv;
use arrow::datatypes::{Field, Schema};
use clap::ValueEnum;
use contract::exit::UsageError;
use contract::folder;
use contract::ipc::{self, BytesWriter, Finished};
use contract::manifest::TableOptions;
use contract::raw_files;
use contract::tables::Contract;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use stores::{StoreUrl, upload};

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

    /// Ending of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
        }
    }
}

/// A file, or a folder of files, to be written.
pub struct Place {
    /// The file or folder; for a store, where it waits until it is complete
    pub path: PathBuf,
    pub is_folder: bool,
    pub format: Format,
    /// Where it goes from there
    store: Option<StoreUrl>,
}

impl Place {
    /// What `--output` and `--format` say, before anything is read.
    ///
    /// * `prefix`: start of the names of a folder's files.
    /// * `scratch`: folder in which files for a store wait.
    ///
    /// # Errors
    ///
    /// An ending that is not known, or a target that cannot be replaced.
    pub fn of(path: &Path, format: Option<Format>, prefix: &str, scratch: &Path) -> Result<Self> {
        let text = path.to_string_lossy();
        if let Some(local) = stores::local_path(&text) {
            let local = local.map_err(|what| UsageError(format!("`--output` {what}")))?;
            return Self::of(Path::new(&local), format, prefix, scratch);
        }
        if stores::is_url(&text) {
            return Self::in_store(&text, format, prefix, scratch);
        }
        let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/")
            || path.extension().is_none()
            || path.is_dir();
        if is_folder {
            folder::check(path, |name| name.starts_with(prefix)).context("`--output`")?;
            // With a slash at the end, names beside the folder would be names within it.
            let path = path.components().collect();
            let format = format.unwrap_or(Format::Parquet);
            return Ok(Self { path, is_folder, format, store: None });
        }
        let format = Self::format_of(path, format)?;
        ipc::check_target(path)?;
        Ok(Self { path: path.to_path_buf(), is_folder, format, store: None })
    }

    fn in_store(url: &str, format: Option<Format>, prefix: &str, scratch: &Path) -> Result<Self> {
        let wrong = |what: String| UsageError(format!("`--output` {what}"));
        let store = StoreUrl::parse(url).map_err(wrong)?;
        upload::check(&store).map_err(|err| wrong(err.to_string()))?;
        let name = Path::new(store.name());
        let is_folder = store.is_folder() || name.extension().is_none();
        let format = if is_folder {
            let others = upload::others_in(&store, |name| name.starts_with(prefix))?;
            if let Some(other) = others.first() {
                let what = "which is not one of its files; name another folder";
                return Err(wrong(format!("{url}: the folder holds `{other}`, {what}")).into());
            }
            format.unwrap_or(Format::Parquet)
        } else {
            Self::format_of(name, format)?
        };
        let name = if is_folder { Path::new("parts") } else { name };
        // The same for the same URL, so that a killed job is continued.
        let hash = ipc::hash_text(url);
        let path = scratch.join(format!(".upload-{}", &hash[..16])).join(name);
        Ok(Self { path, is_folder, format, store: Some(store) })
    }

    /// The format of a file.
    fn format_of(path: &Path, format: Option<Format>) -> Result<Format, UsageError> {
        let shown = path.display();
        let by_name = Format::of(path).ok_or_else(|| {
            let expected = "expected a name that ends in .parquet, .csv or .arrow, or a folder";
            UsageError(format!("`--output` {shown}: {expected}"))
        })?;
        if format.is_some_and(|given| given != by_name) {
            let what =
                format!("`--output` {shown}: its ending and `--format` differ; leave one out");
            return Err(UsageError(what));
        }
        Ok(by_name)
    }

    /// Where it is in the end, for messages.
    pub fn shown(&self) -> String {
        self.store.as_ref().map_or(self.path.display().to_string(), StoreUrl::to_string)
    }

    /// Brings what is written to its store, if it goes to one.
    ///
    /// # Errors
    ///
    /// What the store says. The decisions are kept, so that the next process only sends them.
    pub fn send(&self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        if self.is_folder {
            upload::folder(&self.path, store)?;
            fs::remove_dir_all(&self.path)?;
        } else {
            upload::file(&self.path, store)?;
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }

    /// Refuses to replace a file that is read.
    ///
    /// # Errors
    ///
    /// The file.
    pub fn check_inputs(&self, files: &[&Path], users: &TableOptions) -> Result<(), UsageError> {
        // What is wrong with the users' files is said when they are read.
        let users = raw_files::find(users).map(|found| found.files).unwrap_or_default();
        let users = users.iter().map(|file| file.path.as_path());
        if let Some(store) = &self.store {
            let target = PathBuf::from(store.to_string());
            return match users.clone().find(|path| path.starts_with(&target)) {
                Some(input) => Err(is_read(input)),
                None => Ok(()),
            };
        }
        let Ok(target) = self.path.canonicalize() else { return Ok(()) };
        let is_input =
            |path: &&Path| path.canonicalize().is_ok_and(|input| input.starts_with(&target));
        match files.iter().copied().chain(users).find(is_input) {
            Some(input) => Err(is_read(input)),
            None => Ok(()),
        }
    }
}

fn is_read(input: &Path) -> UsageError {
    let input = input.display();
    UsageError(format!("`--output` is {input}, which is read; name another file"))
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (Some(_), Some(folder)) = (&self.store, self.path.parent()) {
            let _ = fs::remove_dir(folder); // unless there is something to go on with
        }
    }
}

/// A file being written beside its target.
pub struct OutputFile {
    path: PathBuf,
    inner: Inner,
}

enum Inner {
    Arrow(ipc::Writer),
    Parquet(Box<ArrowWriter<BytesWriter>>),
    Csv(Box<csv::Writer<BytesWriter>>),
}

impl OutputFile {
    /// * `contract`: of an Arrow file.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn create(
        path: &Path,
        format: Format,
        contract: &'static Contract,
        fields: Vec<Field>,
    ) -> Result<Self> {
        let inner = match format {
            Format::Arrow => {
                Inner::Arrow(ipc::Writer::create(path, contract, fields, HashMap::new())?)
            }
            Format::Parquet => {
                let properties =
                    WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let schema = Arc::new(Schema::new(fields));
                let file = BytesWriter::create(path)?;
                Inner::Parquet(Box::new(ArrowWriter::try_new(file, schema, Some(properties))?))
            }
            Format::Csv => {
                let mut file = BytesWriter::create(path)?;
                let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
                writeln!(file, "{}", names.join(","))?;
                Inner::Csv(Box::new(csv::WriterBuilder::new().with_header(false).build(file)))
            }
        };
        Ok(Self { path: path.to_path_buf(), inner })
    }

    /// Adds rows.
    ///
    /// # Errors
    ///
    /// As when the disk is full.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let written = match &mut self.inner {
            Inner::Arrow(writer) => return Ok(writer.write(rows.columns().to_vec())?),
            Inner::Parquet(writer) => writer.write(rows).map_err(anyhow::Error::from),
            Inner::Csv(writer) => {
                without_lists(rows).and_then(|rows| writer.write(&rows).map_err(Into::into))
            }
        };
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Syncs the file; `commit` puts it in its place.
    ///
    /// # Errors
    ///
    /// As when the disk is full.
    pub fn finish(self) -> Result<Finished> {
        let failed = || format!("cannot write {}", self.path.display());
        Ok(match self.inner {
            Inner::Arrow(writer) => writer.finish()?,
            Inner::Parquet(writer) => writer.into_inner().with_context(failed)?.finish()?,
            Inner::Csv(writer) => writer.into_inner().finish()?,
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
        let list =
            |line: &str| Some(line.strip_prefix("{\"list\":")?.strip_suffix('}')?.to_owned());
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

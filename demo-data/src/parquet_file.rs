//! A parquet file, written beside its target and renamed when whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

/// An unfinished file; its target stays as it was until [`ParquetFile::finish`].
pub struct ParquetFile {
    writer: ArrowWriter<File>,
    schema: Arc<Schema>,
    partial: PathBuf,
    target: PathBuf,
}

impl ParquetFile {
    pub fn create(target: &Path, fields: Vec<Field>) -> Result<Self> {
        let partial = target.with_extension("parquet.partial");
        let file = File::create(&partial)
            .with_context(|| format!("cannot write {}", partial.display()))?;
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))?;
        Ok(Self { writer, schema, partial, target: target.to_path_buf() })
    }

    pub fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        self.writer
            .write(&RecordBatch::try_new(self.schema.clone(), columns)?)
            .with_context(|| format!("cannot write {}", self.target.display()))
    }

    pub fn finish(self) -> Result<()> {
        self.writer.close().with_context(|| format!("cannot write {}", self.target.display()))?;
        fs::rename(&self.partial, &self.target)
            .with_context(|| format!("cannot write {}", self.target.display()))
    }
}

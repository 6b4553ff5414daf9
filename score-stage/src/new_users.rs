//! The users of a file, as the model reads them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array as _, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use contract::exit::DataError;
use contract::ids::{self, IdError};
use contract::ipc::{ROWS_PER_BATCH, Table};
use contract::source_features::{ModelColumn, match_model};
use contract::user_file::UserFile;
use model::Model;

/// The users of a file.
pub struct NewUsers {
    /// Their ids, `Int64` or `Utf8`, each once
    pub ids: ArrayRef,
    file: UserFile,
    path: PathBuf,
    /// Makes the model's features of the file's columns
    columns: Vec<ModelColumn>,
    /// As `features` has the columns
    schema: SchemaRef,
}

impl NewUsers {
    /// Checks the columns, and reads all ids: none may appear twice.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, a column that is missing or has another type, or wrong ids.
    pub fn open(path: &Path, model: &Model) -> Result<Self> {
        let file = UserFile::open(path)?;
        let found = file.schema.field_with_name("user_id").map_err(|_| {
            let names: Vec<_> =
                file.schema.fields().iter().map(|f| format!("`{}`", f.name())).collect();
            let names = names.join(", ");
            DataError(format!("users: column `user_id` is missing; found {names}"))
        })?;
        let bad_ids = |err: IdError| err.in_file("users", "user_id");
        ids::IdKind::of(found.data_type()).map_err(bad_ids)?;
        let columns = match_model(model.features(), &model.brand_ids, &file.schema)?;
        let mut parts = Vec::new();
        for batch in file.batches()? {
            parts.push(batch?.column_by_name("user_id").expect("it is in the schema").clone());
        }
        let parts: Vec<&ArrayRef> = parts.iter().collect();
        let ids = ids::whole(&parts).map_err(bad_ids)?;
        ids::index("users", "user_id", &ids, found.data_type().clone())?;
        let id = Field::new("user_id", ids.data_type().clone(), false);
        let features = columns.iter().flat_map(ModelColumn::fields);
        let schema = Arc::new(Schema::new(std::iter::once(id).chain(features).collect::<Vec<_>>()));
        Ok(Self { ids, file, path: path.to_path_buf(), columns, schema })
    }

    /// Calls `each` with tables like `features.arrow`, each of some tens of thousands of users.
    ///
    /// # Errors
    ///
    /// The first error of `each`, a feature with a value that training refuses, or a file that
    /// changed meanwhile.
    pub fn for_each_group(mut self, mut each: impl FnMut(Table) -> Result<()>) -> Result<()> {
        let mut group = Vec::new();
        let (mut done, mut waiting) = (0, 0);
        let table =
            |batches| Table { schema: self.schema.clone(), batches, path: self.path.clone() };
        for batch in self.file.batches()? {
            let batch = batch?;
            let n_rows = batch.num_rows();
            if done + n_rows > self.ids.len() {
                return Err(UserFile::changed().into());
            }
            let mut columns = vec![self.ids.slice(done, n_rows)];
            for column in &mut self.columns {
                columns.extend(column.convert(&batch)?);
            }
            group.push(RecordBatch::try_new(self.schema.clone(), columns)?);
            done += n_rows;
            waiting += n_rows;
            if waiting >= ROWS_PER_BATCH {
                each(table(std::mem::take(&mut group)))?;
                waiting = 0;
            }
        }
        if waiting > 0 {
            each(table(group))?;
        }
        if done != self.ids.len() {
            return Err(UserFile::changed().into());
        }
        self.columns.iter().try_for_each(ModelColumn::check_known)?;
        Ok(())
    }
}

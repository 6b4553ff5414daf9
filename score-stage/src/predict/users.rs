//! The users of a table, as the model reads them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array as _, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use contract::exit::DataError;
use contract::features::meaning_of_ids;
use contract::hashes::Hashes;
use contract::id_scan::IdScan;
use contract::ids::{self, IdError, IdKind};
use contract::ipc::{self, ROWS_PER_BATCH, Table};
use contract::raw_files::RawFile;
use contract::source_features::{BrandsSeen, ModelColumn, match_model};
use contract::user_file::UserFile;
use model::Model;
use raw_tables::RawTable;

use super::sources::Sources;

/// The users of a table.
pub struct NewUsers<'a> {
    /// Type of their ids, `Int64` or `Utf8`
    pub id_type: DataType,
    pub n_users: usize,
    table: &'a RawTable,
    /// Makes the model's features of the table's columns
    pub columns: Vec<ModelColumn>,
    /// As `features` has the columns
    schema: SchemaRef,
}

/// Some tens of thousands of users.
pub struct Group {
    /// Like `features.arrow`
    pub table: Table,
    /// Ids of brands, by feature
    pub seen: Vec<BrandsSeen>,
    /// Whether a part ends with it
    pub is_last_of_part: bool,
}

impl<'a> NewUsers<'a> {
    /// Checks the columns, and reads all ids: none may be null or appear twice.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, a column that is missing or has another type, or wrong ids.
    pub fn open(table: &'a RawTable, model: &Model, sources: &Sources) -> Result<Self> {
        let found = table.schema.field_with_name("user_id").map_err(|_| {
            let names: Vec<_> =
                table.schema.fields().iter().map(|f| format!("`{}`", f.name())).collect();
            let names = names.join(", ");
            DataError(format!("users: column `user_id` is missing; found {names}"))
        })?;
        let bad_ids = |err: IdError| with_reasons(table, err.in_file("users", "user_id"));
        if *found.data_type() != DataType::Null {
            IdKind::of(found.data_type()).map_err(bad_ids)?;
        }
        let schema = with_positions(table);
        let columns = match_model(model.features(), &model.brand_ids, &sources.features, &schema)?;

        let mut scan = IdScan::default();
        let user_ids =
            || table.rows(&["user_id"]).map(|rows| rows.map(|rows| rows.column(0).clone()));
        for ids in user_ids() {
            scan.add(&ids?).map_err(bad_ids)?;
        }
        scan.check_nulls().map_err(bad_ids)?;
        let (id_type, n_users) = (scan.data_type(), scan.n_ids());
        if n_users == 0 {
            return Err(DataError("users: no rows found".to_owned()).into());
        }
        scan.check_distinct("users", "user_id", user_ids())?;

        let id = Field::new("user_id", id_type.clone(), false);
        let features = columns.iter().flat_map(ModelColumn::fields);
        let schema = Arc::new(Schema::new(std::iter::once(id).chain(features).collect::<Vec<_>>()));
        Ok(Self { id_type, n_users, table, columns, schema })
    }

    /// Hash of each file of the table.
    ///
    /// # Errors
    ///
    /// If one cannot be read.
    pub fn hashes(&self) -> Result<Vec<String>, ipc::Error> {
        let mut hashes = Hashes::default();
        let files = self.table.parts.iter().map(|part| &part.file);
        let hash = |file: &RawFile| match &file.object {
            Some(object) => hashes.of_object(object),
            None => ipc::hash_file(&file.path),
        };
        files.map(hash).collect()
    }

    /// Calls `each` with users in groups that do not cross from one part into the next.
    ///
    /// * `part_users`: users of a part.
    /// * `wanted`: their rows, those of whole parts.
    ///
    /// # Errors
    ///
    /// The first error of `each`, a feature with a value that training refuses, or a file that
    /// changed meanwhile.
    pub fn for_each_group(
        &self,
        part_users: usize,
        wanted: Range<usize>,
        mut each: impl FnMut(Group) -> Result<()>,
    ) -> Result<()> {
        let sources = self.columns.iter().flat_map(ModelColumn::sources);
        let columns: Vec<&str> = std::iter::once("user_id").chain(sources).collect();
        let mut group = self.new_group();
        let mut done = 0; // users that were read, with those of the group
        for rows in self.table.rows(&columns) {
            let rows = rows?;
            let mut start = wanted.start.saturating_sub(done).min(rows.num_rows());
            done += start;
            while start < rows.num_rows() {
                let in_group = group.table.n_rows();
                let left = (part_users - done % part_users).min(ROWS_PER_BATCH - in_group);
                let n = left.min(rows.num_rows() - start);
                self.add(&rows.slice(start, n), &mut group)?;
                start += n;
                done += n;
                group.is_last_of_part = done.is_multiple_of(part_users) || done == self.n_users;
                if done > self.n_users {
                    return Err(UserFile::changed().into());
                }
                if n == left || group.is_last_of_part {
                    each(std::mem::replace(&mut group, self.new_group()))?;
                }
                if done == wanted.end && done < self.n_users {
                    return Ok(());
                }
            }
        }
        if done != self.n_users {
            return Err(UserFile::changed().into());
        }
        Ok(())
    }

    /// Nothing seen yet, for each feature.
    pub fn none_seen(&self) -> Vec<BrandsSeen> {
        vec![BrandsSeen::default(); self.columns.len()]
    }

    /// Adds what was seen in other users.
    pub fn add_seen(all: &mut [BrandsSeen], more: &[BrandsSeen]) {
        all.iter_mut().zip(more).for_each(|(all, &more)| *all += more);
    }

    /// Checks lists of brands and values of text, now that all users are read; returns notes about what
    /// was left out.
    ///
    /// * `seen`: for each feature.
    ///
    /// # Errors
    ///
    /// If the model knows nothing of many.
    pub fn notes(&self, seen: Vec<BrandsSeen>) -> Result<Vec<String>, DataError> {
        let notes = self.columns.iter().zip(seen).map(|(column, seen)| column.check_known(seen));
        notes.filter_map(Result::transpose).collect()
    }

    fn new_group(&self) -> Group {
        let table = Table {
            schema: self.schema.clone(),
            batches: Vec::new(),
            path: PathBuf::from("users"),
        };
        let seen = self.none_seen();
        Group { table, seen, is_last_of_part: false }
    }

    fn add(&self, users: &RecordBatch, group: &mut Group) -> Result<()> {
        let ids = users.column_by_name("user_id").expect("it is wanted");
        let ids: ArrayRef = ids::convert(ids, &self.id_type)?;
        if ids.null_count() > 0 {
            return Err(UserFile::changed().into());
        }
        let mut converted = vec![ids];
        for (column, seen) in self.columns.iter().zip(&mut group.seen) {
            converted.extend(column.convert(users, seen)?);
        }
        group.table.batches.push(RecordBatch::try_new(self.schema.clone(), converted)?);
        Ok(())
    }
}

/// The table's columns, those that hold positions of brands or of categories marked, as in `features.arrow`.
fn with_positions(table: &RawTable) -> Schema {
    let fields = table.schema.fields().iter().map(|field| {
        let meanings = table.parts.iter().map(|part| {
            part.schema.field_with_name(field.name()).map(meaning_of_ids).unwrap_or_default()
        });
        let mut meanings: Vec<_> = meanings.collect();
        meanings.dedup();
        match meanings.pop() {
            Some(meaning) if meanings.is_empty() => field.as_ref().clone().with_metadata(meaning),
            _ => field.as_ref().clone(),
        }
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// Adds why a column of csv files is text.
fn with_reasons(table: &RawTable, DataError(message): DataError) -> DataError {
    let reasons =
        table.why_text("user_id").map(|why| format!("\nhint: it is text because of {why}"));
    DataError(message + &reasons.collect::<String>())
}

//! Arrow IPC files (also Feather version 2) and streams.

use arrow::datatypes::Schema;
use contract::raw_files::RawFile;
use contract::unreadable::Unreadable;
use contract::user_file::{Batches, UserFile};

/// The columns of a file, without its metadata, which may differ between files.
pub fn look_at(file: &RawFile) -> Result<Schema, Unreadable> {
    Ok(Schema::new(UserFile::open(file)?.schema.fields().clone()))
}

/// Reads a file.
pub fn read(file: &RawFile) -> Result<Batches, Unreadable> {
    UserFile::open(file)?.batches()
}

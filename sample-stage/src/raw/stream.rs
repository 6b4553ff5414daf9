//! Raw tables of csv, json and Arrow files: read file after file, a few at a time.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use contract::unreadable::Unreadable;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;
use raw_tables::{Part, RawTable, columns, open};
use tokio::sync::mpsc::Sender;

/// Most batches of a stream that wait to be used, so that memory stays bounded.
const BATCHES_WAITING: usize = 2;

/// Registers the table.
///
/// # Errors
///
/// If the name is taken.
pub fn register(session: &SessionContext, table: &Arc<RawTable>) -> Result<()> {
    let n_streams = session.state().config().target_partitions().min(table.parts.len());
    let streams = (0..n_streams).map(|first| -> Arc<dyn PartitionStream> {
        let parts = (first..table.parts.len()).step_by(n_streams).collect();
        Arc::new(Files { table: table.clone(), parts })
    });
    let provider = StreamingTable::try_new(table.schema.clone(), streams.collect())?;
    session.register_table(table.name.as_str(), Arc::new(provider))?;
    Ok(())
}

/// Some of a table's files.
struct Files {
    table: Arc<RawTable>,
    /// Positions in the table's parts
    parts: Vec<usize>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files of `{}`", self.parts.len(), self.table.name)
    }
}

impl PartitionStream for Files {
    fn schema(&self) -> &SchemaRef {
        &self.table.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = self.table.schema.clone();
        let mut stream = RecordBatchReceiverStream::builder(schema, BATCHES_WAITING);
        let (table, parts) = (self.table.clone(), self.parts.clone());
        let sender = stream.tx();
        stream.spawn_blocking(move || {
            for part in parts.into_iter().map(|i| &table.parts[i]) {
                let read = send_all(&table, part, &sender);
                read.map_err(|err| {
                    let err = open::at(err, &table.name, &part.file.path);
                    DataFusionError::External(err.into())
                })?;
            }
            Ok(())
        });
        stream.build()
    }
}

/// Sends a file's rows; stops when the receiver is gone.
fn send_all(
    table: &RawTable,
    part: &Part,
    sender: &Sender<datafusion::error::Result<RecordBatch>>,
) -> Result<(), Unreadable> {
    let keys = columns::key_values(table, part)?;
    for batch in table.read_own(part, &table.schema)? {
        let batch = columns::conform(table, &table.schema, &keys, &batch?)?;
        if sender.blocking_send(Ok(batch)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

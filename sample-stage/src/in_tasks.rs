//! Batches of a frame, each partition's in a task of its own.

use std::sync::Arc;

use anyhow::Result;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Makes something of each batch, in parallel and in any order. The tasks stop after the first error, and
/// when the receiver is gone.
///
/// * `n_waiting`: most results that wait to be used, so that memory stays bounded.
///
/// # Errors
///
/// If the frame cannot be run.
pub async fn map<T: Send + 'static>(
    frame: DataFrame,
    n_waiting: usize,
    make: impl Fn(&RecordBatch) -> Result<T> + Send + Sync + 'static,
) -> Result<(mpsc::Receiver<Result<T>>, JoinSet<()>), DataFusionError> {
    let (sender, made) = mpsc::channel(n_waiting);
    let (make, mut tasks) = (Arc::new(make), JoinSet::new());
    for stream in frame.execute_stream_partitioned().await? {
        tasks.spawn(map_all(stream, make.clone(), sender.clone()));
    }
    Ok((made, tasks))
}

async fn map_all<T>(
    mut stream: SendableRecordBatchStream,
    make: Arc<impl Fn(&RecordBatch) -> Result<T>>,
    sender: mpsc::Sender<Result<T>>,
) {
    while let Some(batch) = stream.next().await {
        let made = match batch {
            Ok(batch) if batch.num_rows() == 0 => continue,
            Ok(batch) => make(&batch),
            Err(err) => Err(err.into()),
        };
        let is_last = made.is_err();
        if sender.send(made).await.is_err() || is_last {
            return;
        }
    }
}

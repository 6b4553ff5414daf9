//! Blocking calls of asynchronous clients.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;

use tokio::runtime::{Builder, Runtime};

/// Threads that wait for stores; they compute nothing.
const N_THREADS: usize = 2;

/// Runs a future to its end. May be called from any thread, also one of another runtime.
///
/// # Panics
///
/// If the future does, or no thread can be started.
pub fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let builder = Builder::new_multi_thread()
            .worker_threads(N_THREADS)
            .thread_name("stores")
            .enable_all()
            .build();
        builder.expect("threads can be started")
    });
    let (sender, receiver) = sync_channel(1);
    runtime.spawn(async move {
        let _ = sender.send(future.await); // the receiver waits below
    });
    receiver.recv().expect("the future did not panic")
}

//! Thread pools, of a size that the manifest may give.

use std::io;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The system cannot start the threads.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start {what}: {reason}\nhint: lower `{key}`, or raise the limits of threads and memory"
)]
pub struct Error {
    what: String,
    key: &'static str,
    reason: io::Error,
}

impl Error {
    /// The error of a thread outside a pool.
    ///
    /// * `key`: of the manifest, such as `train.threads`.
    pub fn of_one(key: &'static str, reason: io::Error) -> Self {
        Self { what: "another thread".to_owned(), key, reason }
    }
}

/// A pool of `n` threads, by default one per core.
///
/// * `key`: of the manifest, such as `train.threads`.
///
/// # Errors
///
/// [`Error`] if the system cannot start them all.
pub fn pool(key: &'static str, n: Option<usize>) -> Result<ThreadPool, Error> {
    let builder = ThreadPoolBuilder::new().num_threads(n.unwrap_or(0));
    builder.build().map_err(|err| {
        let what = n.map_or("threads".to_owned(), |n| crate::words::plural(n as u64, "thread"));
        Error { what, key, reason: io::Error::other(err.to_string()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_the_given_number_of_threads() {
        assert_eq!(pool("train.threads", Some(3)).unwrap().current_num_threads(), 3);
    }

    #[test]
    fn the_error_says_how_many_and_which_key() {
        let err = Error {
            what: "70,000 threads".to_owned(),
            key: "score.threads",
            reason: io::Error::other("no more"),
        };
        assert_eq!(
            err.to_string(),
            "cannot start 70,000 threads: no more\n\
             hint: lower `score.threads`, or raise the limits of threads and memory"
        );
    }
}

//! Ctrl-C: unfinished files are removed, earlier results stay, the exit code says so.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::exit::EXIT_INTERRUPTED;
use crate::warn_line;

static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static IS_WATCHED: AtomicBool = AtomicBool::new(false);
static IS_REQUESTED: AtomicBool = AtomicBool::new(false);

/// Ends the program on Ctrl-C or SIGTERM after removing unfinished files and folders; while it is
/// [watched](Watch), the first signal is only recorded.
pub fn install(program: &'static str) {
    let handler = move || {
        if IS_WATCHED.load(Relaxed) && !IS_REQUESTED.swap(true, Relaxed) {
            warn_line!(
                "\n{program}: interrupted; writing a checkpoint (interrupt again to stop at once)"
            );
            return;
        }
        let unfinished = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for path in unfinished.iter() {
            let _ = if path.is_dir() {
                std::fs::remove_dir_all(path)
            } else {
                std::fs::remove_file(path)
            };
        }
        warn_line!("\n{program}: interrupted; earlier results are untouched");
        std::process::exit(i32::from(EXIT_INTERRUPTED));
    };
    // A second handler in one process would be a bug.
    ctrlc::set_handler(handler).expect("the handler is set once, at the start");
}

/// While it lives, the program checks [`requested`] and stops by itself.
#[derive(Debug)]
pub struct Watch(());

/// Starts a [`Watch`].
pub fn watch() -> Watch {
    IS_WATCHED.store(true, Relaxed);
    Watch(())
}

impl Drop for Watch {
    fn drop(&mut self) {
        IS_WATCHED.store(false, Relaxed);
    }
}

/// Whether the program was asked to stop.
pub fn requested() -> bool {
    IS_REQUESTED.load(Relaxed)
}

pub(crate) fn remove_on_interrupt(path: &Path) {
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    unfinished.push(path.to_path_buf());
}

pub(crate) fn keep(path: &Path) {
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    unfinished.retain(|other| other != path);
}

//! Ctrl-C: unfinished files go, earlier results stay, the exit code says so.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Exit code of a program that was interrupted.
pub const EXIT_INTERRUPTED: u8 = 130;

static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Ends the program on Ctrl-C or SIGTERM after removing files and folders that are not finished.
pub fn install(program: &'static str) {
    let handler = move || {
        let unfinished = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for path in unfinished.iter() {
            let _ = if path.is_dir() {
                std::fs::remove_dir_all(path)
            } else {
                std::fs::remove_file(path)
            };
        }
        eprintln!("\n{program}: interrupted; earlier results are untouched");
        std::process::exit(i32::from(EXIT_INTERRUPTED));
    };
    // A second handler in one process would be a mistake of ours, not of the user.
    ctrlc::set_handler(handler).expect("the handler is set once, at the start");
}

pub(crate) fn remove_on_interrupt(path: &Path) {
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    unfinished.push(path.to_path_buf());
}

pub(crate) fn keep(path: &Path) {
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    unfinished.retain(|other| other != path);
}

//! A stage's program in the foreground: its output is that of this program.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context as _, Result};
use contract::exit::EXIT_FAILED;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};

/// Process id of the running program; 0 if there is none.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// From now on an interrupt is passed on to the program that [`run`] runs, and this one ends after it.
///
/// # Errors
///
/// If there is a handler already.
pub fn pass_on_interrupts() -> Result<()> {
    let handler = || match RUNNING.load(Ordering::SeqCst) {
        0 => std::process::exit(contract::exit::EXIT_INTERRUPTED.into()),
        // Not if it got the same interrupt from the terminal and ended.
        id => drop(kill(Pid::from_raw(id), Signal::SIGINT)),
    };
    ctrlc::set_handler(handler).context("cannot catch interrupts")
}

/// Runs a program to its end; the result is its exit code. The kernel kills it if this program is
/// killed. Must be called from the main thread.
///
/// # Errors
///
/// If it cannot be run.
pub fn run(mut command: Command) -> Result<u8> {
    let here = getpid();
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() == here { Ok(()) } else { Err(Errno::ESRCH.into()) }
        });
    }
    let failed = format!("cannot run {}", command.get_program().display());
    let mut child = command.spawn().context(failed.clone())?;
    RUNNING.store(child.id() as i32, Ordering::SeqCst);
    let status = child.wait();
    RUNNING.store(0, Ordering::SeqCst);
    let status = status.context(failed)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILED))
}

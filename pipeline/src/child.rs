//! A stage's program as a child process: in its own process group, its messages in a log from the first
//! moment.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};

/// Lines of a log that a failure shows.
const SHOWN_LINES: usize = 15;

/// What a child process reports. `place` is what [`start`] was given.
pub enum Event {
    /// A line of its messages
    Line { place: usize, line: String },
    /// Its end, with all that it wrote to stdout
    End { place: usize, status: std::io::Result<ExitStatus>, stdout: String },
}

/// The process group of a child.
pub struct Group(Pid);

/// Starts a program. Must be called from the main thread: the kernel kills the child when that thread
/// ends, however it ends, so that a killed runner leaves no stage running.
///
/// * `place`: a number that its events carry.
/// * `log`: its messages and its result; the folder is created if need be.
///
/// # Errors
///
/// If the log cannot be written or the program cannot be started.
pub fn start(
    mut command: Command,
    place: usize,
    log: &Path,
    events: &Sender<Event>,
) -> Result<Group> {
    let dir = log.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let runner = getpid();
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // A runner that ended before that call no longer sends the signal.
            if getppid() == runner { Ok(()) } else { Err(Errno::ESRCH.into()) }
        });
    }
    let mut child: Child = command
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let group = Group(Pid::from_raw(child.id() as i32));
    let stderr = child.stderr.take().expect("piped above");
    let mut stdout = child.stdout.take().expect("piped above");
    let events = events.clone();
    thread::spawn(move || {
        let result = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        // All bytes are read, also those that are no text: a closed pipe would end the child.
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            let _ = writeln!(file, "{line}"); // a full disk must not stop the stage
            let _ = events.send(Event::Line { place, line });
        }
        let status = child.wait();
        let stdout = result.join().unwrap_or_default();
        let _ = write!(file, "{stdout}");
        let _ = events.send(Event::End { place, status, stdout });
    });
    Ok(group)
}

impl Group {
    /// Asks the child to end.
    pub fn interrupt(&self) {
        let _ = killpg(self.0, Signal::SIGINT); // it may have ended meanwhile
    }

    /// Ends the child at once.
    pub fn kill(&self) {
        let _ = killpg(self.0, Signal::SIGKILL); // it may have ended meanwhile
    }
}

/// The last lines of a log, indented.
pub fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(SHOWN_LINES);
    lines[first..].iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

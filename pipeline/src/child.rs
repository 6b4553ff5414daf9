//! A stage's program at work: in its own process group, its messages in a log from the first moment.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};

use crate::node::Node;

/// Lines of a log that a failure shows.
const SHOWN_LINES: usize = 15;

/// What a running stage tells.
pub enum Event {
    /// A line of its messages
    Line {
        /// Which stage, by its place
        node: usize,
        /// The line
        line: String,
    },
    /// Its end
    End {
        /// Which stage, by its place
        node: usize,
        /// How it ended
        status: std::io::Result<ExitStatus>,
        /// What it said of its result
        stdout: String,
    },
}

/// A stage that runs.
pub struct Running {
    /// Which, by its place
    pub node: usize,
    /// Of what it makes, so that nothing is made twice at once
    pub fingerprint: String,
    /// Memory that it is expected to need, in bytes
    pub memory: u64,
    /// When it was started
    pub started: Instant,
    group: Pid,
}

/// File name of a stage's log.
pub const LOG: &str = "log.txt";

/// The stage's log.
pub fn log_path(node: &Node) -> PathBuf {
    node.plan.dir.join(LOG)
}

/// Starts a stage's program. Must be called from the main thread: the program ends with it, however
/// it ends, so that a killed runner leaves nothing at work.
///
/// # Errors
///
/// If the log cannot be written or the program not be started.
pub fn start(
    mut command: Command,
    place: usize,
    node: &Node,
    events: &Sender<Event>,
) -> Result<Pid> {
    let log = log_path(node);
    std::fs::create_dir_all(&node.plan.dir)
        .with_context(|| format!("cannot make {}", node.plan.dir.display()))?;
    let mut file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let runner = getpid();
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // A runner that ended before that sends no signal any more.
            if getppid() == runner { Ok(()) } else { Err(Errno::ESRCH.into()) }
        });
    }
    let mut child: Child =
        command.spawn().with_context(|| format!("cannot run {}", node.binary.display()))?;
    let group = Pid::from_raw(child.id() as i32);
    let stderr = child.stderr.take().expect("piped above");
    let mut stdout = child.stdout.take().expect("piped above");
    let events = events.clone();
    thread::spawn(move || {
        let said = thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stdout.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        // Whatever bytes it writes are read, or it would end at a broken pipe.
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            let _ = writeln!(file, "{line}"); // a full disk must not stop the stage
            let _ = events.send(Event::Line { node: place, line });
        }
        let status = child.wait();
        let stdout = said.join().unwrap_or_default();
        let _ = write!(file, "{stdout}");
        let _ = events.send(Event::End { node: place, status, stdout });
    });
    Ok(group)
}

impl Running {
    /// A stage that was started.
    pub fn new(node: usize, group: Pid, fingerprint: String, memory: u64) -> Self {
        Self { node, fingerprint, memory, started: Instant::now(), group }
    }

    /// Lets it end by itself, or ends it at once.
    pub fn stop(&self, at_once: bool) {
        let signal = if at_once { Signal::SIGKILL } else { Signal::SIGINT };
        let _ = killpg(self.group, signal); // it may have ended meanwhile
    }
}

/// The last lines of a stage's log.
pub fn last_lines(node: &Node) -> String {
    let text = std::fs::read_to_string(log_path(node)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(SHOWN_LINES);
    lines[first..].iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

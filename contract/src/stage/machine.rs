//! What runs run on.

use std::fs;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The computer of a run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Threads that can run at once
    pub cores: usize,
    /// Name of the processor, where the system reports it
    #[serde(default)]
    pub processor: Option<String>,
    /// Operating system and architecture, as `linux x86_64`
    #[serde(default)]
    pub system: String,
    /// Memory, where the system reports it
    pub memory_bytes: Option<u64>,
}

impl Machine {
    /// The computer that this program runs on.
    pub fn here() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = processors.lines().find_map(|line| line.strip_prefix("model name"));
        Self {
            cores: cores(),
            processor: name.map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned()),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            memory_bytes: memory_bytes(),
        }
    }
}

/// Threads that can run at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Four fifths of the memory, in bytes; without a limit where the system does not report it.
pub fn most_of_memory() -> u64 {
    memory_bytes().map_or(u64::MAX, |bytes| bytes / 5 * 4)
}

/// Largest resident memory of this process so far, in bytes; `None` without `/proc`.
pub fn peak_memory_bytes() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmHWM:")
}

/// Memory of this machine, in bytes; `None` without `/proc`.
pub fn memory_bytes() -> Option<u64> {
    proc_bytes("/proc/meminfo", "MemTotal:")
}

fn proc_bytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

//! What a stage's own work may take of memory and disk. DataFusion's pool and its limit of the disk count
//! it too, so that both together stay within the manifest's limits.

use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use contract::exit::DataError;
use contract::ipc::Error;
use contract::scratch::{Scratch, ScratchFile};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;

use crate::errors;

/// The limits of a stage, shared with a session.
pub struct Room<'a> {
    pub scratch: &'a Scratch,
    runtime: Arc<RuntimeEnv>,
    /// Of memory, in bytes, as the manifest says
    pub memory_limit: u64,
    /// Of disk, in bytes
    scratch_limit: u64,
    /// `data` or `sample`, which has the keys of the limits
    key: &'static str,
}

impl<'a> Room<'a> {
    /// * `runtime`: of the session.
    /// * `limits`: of memory and of disk, in bytes.
    /// * `key`: `data` or `sample`, which has the keys of the limits.
    pub fn new(
        scratch: &'a Scratch,
        runtime: Arc<RuntimeEnv>,
        (memory_limit, scratch_limit): (u64, u64),
        key: &'static str,
    ) -> Self {
        Self { scratch, runtime, memory_limit, scratch_limit, key }
    }

    /// Memory for what can be moved to disk.
    pub fn memory(&self, what: &str) -> Memory {
        let pool = &self.runtime.memory_pool;
        // To DataFusion it cannot be spilled: only then does the pool never give out more than it has.
        let reservation = MemoryConsumer::new(what).register(pool);
        let most = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes / 2, // a query must be able to go on
            _ => usize::MAX,
        };
        Memory { reservation, most }
    }

    /// Counts memory that must be there, until the result is dropped.
    pub fn hold(&self, what: &str, bytes: usize) -> MemoryReservation {
        let reservation = MemoryConsumer::new(what).register(&self.runtime.memory_pool);
        reservation.grow(bytes);
        reservation
    }

    /// Starts a file that is gone when it is dropped.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn file(&self) -> Result<ScratchFile> {
        self.scratch.file().map_err(|err| self.write_error(err))
    }

    /// Checks that what is on disk stays within the limit; leaves the rest of it to DataFusion.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn check_disk(&self) -> Result<()> {
        let (own, disk) = (self.scratch.used_bytes(), &self.runtime.disk_manager);
        disk.set_max_temp_directory_size(self.scratch_limit.saturating_sub(own))?;
        if own + disk.used_disk_space() > self.scratch_limit {
            let key = format!("{}.scratch_limit", self.key);
            return Err(DataError(errors::scratch_full(&key)).into());
        }
        Ok(())
    }

    /// The error of writing to disk what does not fit into memory.
    pub fn write_error(&self, err: Error) -> anyhow::Error {
        let is_full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        match &err {
            Error::Io { reason, .. } if is_full(reason.kind()) => anyhow!(
                "{err}\nhint: what does not fit into `{key}.memory_limit` is kept there, at most \
                 `{key}.scratch_limit`; free some of the disk, or raise the limit of memory",
                key = self.key
            ),
            _ => err.into(),
        }
    }
}

/// Memory that is given back when dropped.
pub struct Memory {
    reservation: MemoryReservation,
    /// Most that may be taken, in bytes
    most: usize,
}

impl Memory {
    /// Whether so many bytes more may be used.
    pub fn grow(&self, bytes: usize) -> bool {
        self.reservation.size() + bytes <= self.most && self.reservation.try_grow(bytes).is_ok()
    }

    /// Gives some back, at most all.
    pub fn shrink(&self, bytes: usize) {
        self.reservation.shrink(bytes.min(self.reservation.size()));
    }

    /// Gives all back.
    pub fn free(&self) {
        self.reservation.free();
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use tempfile::TempDir;

    /// A scratch folder.
    pub fn scratch() -> (TempDir, Scratch) {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(dir.path()).unwrap();
        (dir, scratch)
    }

    /// Room of so many bytes of memory and disk.
    pub fn room(scratch: &Scratch, memory: usize, disk: u64) -> Room<'_> {
        let pool = Arc::new(GreedyMemoryPool::new(memory));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
        Room::new(scratch, runtime, (memory as u64, disk), "data")
    }

    #[test]
    fn memory_that_is_held_is_not_there_for_others() {
        let (_dir, scratch) = scratch();
        let room = room(&scratch, 100, 0);
        let held = room.hold("ids", 40);
        let memory = room.memory("labels");
        assert!(memory.grow(30) && !memory.grow(21), "half of the pool at most");
        let other = room.memory("users");
        assert!(!other.grow(31), "70 of 100 are taken");
        drop(held);
        assert!(other.grow(31));
        memory.free();
        assert!(memory.grow(50));
    }

    #[test]
    fn too_much_on_disk_is_an_error_that_names_the_limit() {
        let (_dir, scratch) = scratch();
        let room = room(&scratch, 0, 10);
        let mut file = room.file().unwrap();
        file.append(&[7; 10]).unwrap();
        room.check_disk().unwrap();
        assert_eq!(room.runtime.disk_manager.max_temp_directory_size(), 0, "nothing is left");
        file.append(&[7]).unwrap();
        let message = room.check_disk().unwrap_err().to_string();
        assert!(message.contains("takes more of the disk than `data.scratch_limit`"), "{message}");
        drop(file);
        room.check_disk().unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_limit() {
        let (_dir, scratch) = scratch();
        let full = Error::Io { path: "here".into(), reason: ErrorKind::StorageFull.into() };
        let message = room(&scratch, 0, 0).write_error(full).to_string();
        assert!(message.starts_with("here: no storage space\nhint: "), "{message}");
        assert!(message.contains("at most `data.scratch_limit`"), "{message}");
    }
}

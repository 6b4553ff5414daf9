//! Files that stages exchange, and files that a user gives.

pub(crate) mod arrow_file;
pub mod columns;
mod error;
pub mod features;
pub mod folder;
pub(crate) mod guard;
pub mod ipc;
mod lock;
pub mod resumable;
pub mod scratch;
pub mod tables;
pub mod thresholds;
pub mod unreadable;
pub mod user_file;

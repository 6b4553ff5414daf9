//! What all stages agree on: the manifest, the tables and their files.
//!
//! * [`manifest`]: `pipeline.yaml`, checked as a whole before anything runs.
//! * [`plan`]: which files each stage of each experiment reads and writes.
//! * [`tables`]: the columns of every table that stages exchange.
//! * [`ipc`]: Arrow IPC files, written atomically and read by memory map.
//! * [`run`]: one run of a stage, from checked inputs to its record, `stage.json`.
//!
//! Only this crate opens Arrow files.

pub mod cli;
pub mod columns;
pub mod depth;
pub mod features;
pub mod ids;
pub mod interrupt;
pub mod ipc;
pub mod manifest;
pub mod output;
pub mod plan;
pub mod query;
pub mod raw_files;
pub mod record;
pub mod run;
pub mod scratch;
pub mod source_features;
pub mod statistics;
pub mod tables;
pub mod threads;
pub mod thresholds;
pub mod unreadable;
pub mod user_file;

mod arrow_file;
mod lock;
mod problems;
mod schema_check;
mod yaml;

pub use manifest::{Manifest, schema};
pub use plan::Stage;
pub use problems::{Problem, Problems, slips, unused};
pub use schema_check::schema_problems;

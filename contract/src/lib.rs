//! What all stages agree on: the manifest, the tables and their files.
//!
//! * [`manifest`]: `pipeline.yaml`, checked as a whole before anything runs.
//! * `source/`: a user's own data, raw tables, [`ids`] and features.
//! * `files/`: Arrow IPC files ([`ipc`]), written atomically, and the columns of every table that
//!   stages exchange ([`tables`]).
//! * `stage/`: which files each stage reads and writes ([`plan`]), one [`run`] of it, and its
//!   [`record`], `stage.json`.
//! * `program/`: what programs print and how they end.
//!
//! Only this crate opens Arrow files.

pub mod brands;
mod files;
pub mod manifest;
mod program;
mod source;
pub mod splitmix;
mod stage;

pub use files::guard::guarded;
pub use files::{
    columns, features, folder, ipc, resumable, scratch, tables, thresholds, unreadable, user_file,
};
pub use manifest::problems::{Problem, Problems, nearest, slips, unused};
pub use manifest::schema_check::schema_problems;
pub use manifest::{Manifest, schema};
pub use manifest::{depth, query};
pub use plan::Stage;
pub use program::{commands, exit, interrupt, output, threads, words};
pub use source::{id_scan, ids, raw_files, source_features};
pub use stage::{
    audience, bundle, cli, drift, hashes, machine, outcome, plan, record, recorded, run, rungs,
    runs, statistics, why,
};

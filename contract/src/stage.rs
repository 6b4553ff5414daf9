//! A stage: what it reads and writes, one run of it, and the record of that run.

mod changes;
pub mod cli;
mod fingerprint;
pub mod hashes;
pub mod plan;
pub mod record;
pub mod run;
pub mod statistics;
#[cfg(test)]
mod tests;

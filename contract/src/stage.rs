//! A stage: what it reads and writes, one run of it, and the record of that run.

pub mod audience;
pub mod bundle;
mod changes;
pub mod cli;
mod fingerprint;
pub mod hashes;
pub mod plan;
pub mod record;
pub mod recorded;
pub mod run;
pub mod statistics;
#[cfg(test)]
mod tests;

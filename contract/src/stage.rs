//! A stage: what it reads and writes, one run of it, and the record of that run.

mod alone;
pub mod audience;
pub mod bundle;
mod changes;
pub mod cli;
pub mod drift;
mod fingerprint;
pub mod hashes;
pub mod machine;
pub mod outcome;
pub mod plan;
pub mod record;
pub mod recorded;
pub mod run;
pub mod rungs;
pub mod runs;
pub mod statistics;
#[cfg(test)]
mod tests;
pub mod why;

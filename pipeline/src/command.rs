//! What the runner can be asked to do: a file for each command.

pub mod accept; // keep results after a change that a user accepts
pub mod audience; // the users of brands
pub mod backtest; // an experiment at several dates
pub mod bundle; // all that predicting needs, in a folder
pub mod check; // is the manifest well-formed
pub mod clean; // delete results that nothing refers to
pub mod compare; // two experiments
pub mod explain; // why a stage would run, or ran
pub mod export; // a model or the report for other programs
pub mod graph; // which stage needs which
pub mod history; // what each run did
pub mod init; // a first manifest
pub mod predict; // predictions for new users
pub mod preview; // what a run would do
pub mod publish; // the report in a store
pub mod run; // run what is stale
pub mod sample; // rows of a sample
pub mod status; // whether each stage is fresh
pub mod sweep; // which experiment of a matrix is best
pub mod worker; // serve parts of queries

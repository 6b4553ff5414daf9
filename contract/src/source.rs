//! A user's own data: the files of raw tables, the ids and the features in them.

pub mod id_scan;
pub mod ids;
pub mod raw_files;
pub mod source_features;

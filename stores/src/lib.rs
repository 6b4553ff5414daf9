//! Object stores: S3, Google Cloud Storage, Azure and web servers, by URL.
//!
//! * [`StoreUrl`]: what a URL names, without secrets.
//! * [`listing`]: the objects of a URL, a folder or a pattern.
//! * [`ObjectReader`]: an object as a file that is read.
//! * [`upload`]: files to objects, each whole or not at all.
//! * [`store_of`]: the store itself, for `DataFusion` and parquet.
//!
//! Credentials come from the environment and stay in the clients; an error names the URL, what the
//! store said and what to do. Functions block; the work is done by threads of this crate, so that they
//! may be called from anywhere.

mod aws_profile; // access keys of ~/.aws
mod connect; // from a URL to its store
mod error; // what a store says, in words
pub mod listing; // the objects of a table
mod pinned; // a store whose objects must not change while they are read
mod reader; // an object as a file
mod runtime; // blocking calls
pub mod upload; // files to objects
mod url; // URLs of stores

pub use connect::{is_built_in, store_of};
pub use error::{Kind, StoreError};
pub use listing::{Listing, Object};
pub use reader::ObjectReader;
pub use runtime::wait;
pub use url::{StoreUrl, is_url, local_path};

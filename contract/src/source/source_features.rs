//! Feature columns of users as the source has them -> as the tables between stages have them.
//!
//! Training matches the manifest's features ([`match_columns`]), prediction those of a model
//! ([`match_model`]); both accept and refuse the same.

mod brands; // ids of brands -> their positions
mod categories; // values of text -> ids
mod column; // features of the manifest
mod model; // features of a model
mod values; // numbers, vectors and lists of ids, checked and converted

pub use brands::{BrandPositions, BrandsSeen};
pub use categories::{category_texts, is_category};
pub use column::{FeatureColumn, check_present, match_columns, type_problem};
pub use model::{ModelColumn, match_model};
pub use values::{MAX_ID, list_item};

//! Messages of readers, without their wrapping.
//!
//! Errors have several layers, each with a prefix: `Parquet error: Parquet error: External: …`. A user
//! needs the innermost text.

/// Prefixes of the layers.
const LAYERS: [&str; 18] = [
    "Arrow error: ",
    "Arrow: ",
    "Cast error: ",
    "Compute error: ",
    "EOF: ",
    "Error during planning: ",
    "Execution error: ",
    "External error: ",
    "External: ",
    "Internal error: ",
    "Invalid argument error: ",
    "Io error: ",
    "Object Store error: ",
    "Parquet argument error: ",
    "Parquet error: ",
    "Resources exhausted: ",
    "SQL error: ",
    "Schema error: ",
];

/// A message without the prefixes of layers.
pub fn without_layers(mut text: &str) -> &str {
    while let Some(inner) = LAYERS.iter().find_map(|layer| text.strip_prefix(layer)) {
        text = inner;
    }
    text
}

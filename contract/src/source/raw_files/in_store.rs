//! The files of a raw table in an object store.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use stores::listing::is_pattern;
use stores::{Listing, Object, StoreUrl};

use super::{RawFiles, classified, folder_of_keys, keys_below, of_table_format};
use crate::manifest::TableOptions;

/// As [`super::find`], of a URL.
pub fn find(table: &str, options: &TableOptions) -> Result<RawFiles, String> {
    let listing = stores::listing::find(table)?;
    refuse_table_formats(table, &listing)?;
    let object = |object: &Object| (PathBuf::from(object.url.to_string()), Some(object.clone()));
    let mut all: Vec<_> = listing.objects.iter().map(object).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let keys = |path: &Path| keys_below(&folder_of_keys(table), path);
    classified(all, options, |path| if listing.is_object { Vec::new() } else { keys(path) })
}

/// As for local files: looks at all that was listed, and into the folders above.
fn refuse_table_formats(table: &str, listing: &Listing) -> Result<(), String> {
    const LOGS: [(&str, &str); 3] =
        [("Delta Lake", "_delta_log"), ("Hudi", ".hoodie"), ("Iceberg", "metadata")];
    let is_log = |name: &str, url: &str| {
        name != "metadata" || url.ends_with(".metadata.json") || url.ends_with("version-hint.text")
    };
    let objects: Vec<String> =
        listing.objects.iter().map(|object| object.url.to_string()).collect();
    let mut seen = HashSet::new();
    for url in objects.iter().chain(&listing.hidden) {
        for (found, name) in LOGS {
            if let Some((folder, _)) = url.split_once(&format!("/{name}/"))
                && is_log(name, url)
                && seen.insert((found, folder))
                && objects.iter().any(|object| Path::new(object).starts_with(folder))
            {
                return Err(of_table_format(found, folder));
            }
        }
    }
    // All of a folder was listed, so only those above it are left.
    let mut above = folder_of_keys(table);
    if !is_pattern(table) {
        above = above.parent().unwrap_or(Path::new("")).to_path_buf();
    }
    while let Some(folder) = above.to_str().and_then(|url| StoreUrl::parse(url).ok()) {
        for (found, name) in LOGS {
            if stores::listing::peek(&folder.join(name)).iter().any(|url| is_log(name, url)) {
                return Err(of_table_format(found, &folder.to_string()));
            }
        }
        above = match above.parent() {
            Some(parent) if parent.components().count() > 1 => parent.to_path_buf(),
            _ => break,
        };
    }
    Ok(())
}

//! The objects of a URL: one, those of a folder with all its subfolders, or those of a pattern.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _};
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _};

use crate::connect::pinned;
use crate::error::{Kind, StoreError};
use crate::pinned::Pinned;
use crate::runtime::wait;
use crate::url::StoreUrl;

/// An object of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Where it is
    pub url: StoreUrl,
    /// Number of bytes
    pub size: u64,
    /// What changes whenever its bytes change, if the store has such a thing
    pub tag: Option<Tag>,
    path: Path,
}

/// What a store gives to tell an object's content from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// The `ETag` of HTTP
    Etag(String),
    /// A version
    Version(String),
}

impl Object {
    fn of(url: &StoreUrl, meta: ObjectMeta) -> Self {
        let ObjectMeta { location, size, e_tag, version, .. } = meta;
        // Quotes are there or not, depending on the request.
        let etag = e_tag.map(|tag| Tag::Etag(tag.trim_matches('"').to_owned()));
        let tag = etag.or_else(|| version.map(Tag::Version));
        Self { url: url.at(&location), size, tag, path: location }
    }

    /// Its path in the store.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The objects that a URL names.
#[derive(Debug, Default)]
pub struct Listing {
    /// All objects but hidden ones, whose name or folder begins with `.` or `_`
    pub objects: Vec<Object>,
    /// URLs of hidden objects, as of the log of a table format
    pub hidden: Vec<String>,
    /// Whether the URL names one object, not a folder or a pattern
    pub is_object: bool,
}

/// Finds the objects of a URL. The same URL gives the same objects for as long as the program runs, so
/// that what is hashed is what is read.
///
/// # Errors
///
/// If there are none, or what the store says.
pub fn find(url: &str) -> Result<Arc<Listing>, String> {
    type Known = HashMap<String, Result<Arc<Listing>, String>>;
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known().get_or_insert_default().get(url) {
        return found.clone();
    }
    let found = StoreUrl::parse(url)
        .and_then(|parsed| list(&parsed).map_err(|err| err.to_string()))
        .map(Arc::new);
    known().get_or_insert_default().insert(url.to_owned(), found.clone());
    found
}

fn list(url: &StoreUrl) -> Result<Listing, StoreError> {
    let store = pinned(url)?;
    if url.scheme.is_web() && (url.is_folder() || is_pattern(&url.key)) {
        let what = "a folder or a pattern cannot be listed on a web server; name each file";
        return Err(StoreError::new(url, Kind::Missing, what));
    }
    if !url.is_folder()
        && let Some(object) = head(&store, url)?
    {
        pin(&store, &object);
        return Ok(Listing { objects: vec![object], hidden: Vec::new(), is_object: true });
    }
    let all = all_in(&store, &folder_of(url), url)?;
    let mut listing = Listing::default();
    let pattern = is_pattern(&url.key).then(|| Pattern::new(&url.key)).transpose();
    let pattern = pattern.map_err(|err| StoreError::new(url, Kind::Missing, err.to_string()))?;
    for object in all.into_iter().filter(|object| !is_folder_marker(object)) {
        match place(object.path.as_ref(), url, pattern.as_ref()) {
            Place::Elsewhere => {}
            Place::Hidden => listing.hidden.push(object.url.to_string()),
            Place::Inside => listing.objects.push(object),
        }
    }
    if listing.objects.is_empty() {
        let what = if is_pattern(&url.key) {
            "no object matches the pattern"
        } else {
            "there is no object of this name, and none in a folder of this name"
        };
        return Err(StoreError::new(url, Kind::Missing, what));
    }
    listing.objects.iter().for_each(|object| pin(&store, object));
    Ok(listing)
}

/// Names of some of the objects in a folder, up to a thousand; none if it cannot be listed.
pub fn peek(folder: &StoreUrl) -> Vec<String> {
    const SOME: usize = 1000;
    let (Ok(store), Ok(path)) = (pinned(folder), folder.path()) else { return Vec::new() };
    if folder.scheme.is_web() {
        return Vec::new();
    }
    let listed = wait(async move { store.list(Some(&path)).take(SOME).collect::<Vec<_>>().await });
    listed.into_iter().flatten().map(|meta| meta.location.to_string()).collect()
}

/// An object, if there is one at exactly this URL.
pub(crate) fn head(store: &Arc<Pinned>, url: &StoreUrl) -> Result<Option<Object>, StoreError> {
    let path = path_of(url)?;
    let (store, at) = (store.clone(), path.clone());
    match wait(async move { store.head(&at).await }) {
        // The path of the request, as that of the answer may be encoded in another way.
        Ok(meta) => Ok(Some(Object { url: url.clone(), ..Object::of(url, meta) })),
        Err(err) => match StoreError::of(url, &err) {
            // The answer has no body that could say that there is no bucket.
            StoreError { kind: Kind::Missing, .. } if !url.scheme.is_web() => Ok(None),
            err => Err(err),
        },
    }
}

/// All objects in a folder and its subfolders.
pub(crate) fn all_in(
    store: &Arc<Pinned>,
    folder: &StoreUrl,
    named: &StoreUrl,
) -> Result<Vec<Object>, StoreError> {
    let (store, path) = (store.clone(), path_of(folder)?);
    let listed = wait(async move { store.list(Some(&path)).try_collect::<Vec<_>>().await });
    let listed = listed.map_err(|err| StoreError::of(named, &err))?;
    Ok(listed.into_iter().map(|meta| Object::of(folder, meta)).collect())
}

fn path_of(url: &StoreUrl) -> Result<Path, StoreError> {
    url.path().map_err(|err| StoreError::new(url, Kind::Missing, err.to_string()))
}

fn pin(store: &Pinned, object: &Object) {
    // A weak tag matches no condition.
    if let Some(Tag::Etag(tag)) = &object.tag
        && !tag.starts_with("W/")
    {
        store.pin(&object.path, &format!("\"{tag}\""));
    }
}

/// Characters that make a path a pattern, here and on disk.
const SPECIAL: [char; 3] = ['*', '?', '['];

/// Whether a path is a pattern.
pub fn is_pattern(path: &str) -> bool {
    path.contains(SPECIAL)
}

/// Whether files and folders of this name are no part of a table, as `_SUCCESS` and `.tmp`.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// The folder that has all objects of a URL: of a pattern, the part before its first special character.
fn folder_of(url: &StoreUrl) -> StoreUrl {
    let key = match url.key.find(SPECIAL) {
        Some(end) => url.key[..end].rsplit_once('/').map_or("", |(folder, _)| folder),
        None => url.key.trim_end_matches('/'),
    };
    StoreUrl { key: key.to_owned(), ..url.clone() }
}

/// An empty object that stands for a folder.
fn is_folder_marker(object: &Object) -> bool {
    object.size == 0 && !object.url.name().contains('.')
}

enum Place {
    Inside,
    Hidden,
    Elsewhere,
}

/// Whether an object is one of a folder or a pattern. What a pattern matches may also be a folder.
fn place(key: &str, url: &StoreUrl, pattern: Option<&Pattern>) -> Place {
    const AS_IN_PATHS: MatchOptions = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    let rest = &key[folder_of(url).key.len()..];
    if rest.split('/').any(is_hidden) {
        return Place::Hidden;
    }
    let Some(pattern) = pattern else { return Place::Inside };
    let mut ends = key.match_indices('/').map(|(end, _)| end).chain([key.len()]);
    let is_match = ends.any(|end| pattern.matches_with(&key[..end], AS_IN_PATHS));
    if is_match { Place::Inside } else { Place::Elsewhere }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside<'a>(url: &str, keys: &[&'a str]) -> Vec<&'a str> {
        let url = StoreUrl::parse(url).unwrap();
        let pattern = is_pattern(&url.key).then(|| Pattern::new(&url.key).unwrap());
        let is_inside = |key: &&str| matches!(place(key, &url, pattern.as_ref()), Place::Inside);
        keys.iter().copied().filter(is_inside).collect()
    }

    #[test]
    fn folders_and_patterns_match_as_local_ones_do() {
        let keys = ["log/a.parquet", "log/2025/b.parquet", "log/_SUCCESS", "log/.x/c.parquet"];
        assert_eq!(inside("s3://b/log/", &keys), keys[..2]);
        assert_eq!(inside("s3://b/log/*", &keys), keys[..2]);
        assert_eq!(inside("s3://b/log/*.parquet", &keys), keys[..1]);
        assert_eq!(inside("s3://b/log/*/*.parquet", &keys), keys[1..2]);
        assert_eq!(inside("s3://b/**/b.parquet", &keys), keys[1..2]);
        assert_eq!(inside("s3://b/l*", &keys), keys[..2]);
        assert_eq!(inside("s3://b", &keys), keys[..2]);
    }

    #[test]
    fn a_pattern_is_looked_for_in_the_folder_before_it() {
        let folder = |url: &str| folder_of(&StoreUrl::parse(url).unwrap()).to_string();
        assert_eq!(folder("s3://b/log/2025/*.csv"), "s3://b/log/2025");
        assert_eq!(folder("s3://b/log-*"), "s3://b/");
        assert_eq!(folder("s3://b/log/"), "s3://b/log");
    }
}

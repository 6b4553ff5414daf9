//! Files to objects: an object appears whole or not at all.

use std::fs::File;
use std::io::Read as _;
use std::path::Path as LocalPath;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{
    Attribute, Attributes, Error, ObjectStore as _, ObjectStoreExt as _, PutMultipartOptions,
    PutOptions, WriteMultipart,
};

use crate::connect::pinned;
use crate::error::{Kind, StoreError};
use crate::listing::{self, Object};
use crate::pinned::Pinned;
use crate::runtime::wait;
use crate::url::StoreUrl;

/// Bytes of a part of an upload. Stores take at most 10,000 parts, so those of big files are bigger.
const PART: u64 = 8 << 20;
const PARTS_MAX: u64 = 9_000;

/// Parts that are sent at the same time.
const PARTS_AT_ONCE: usize = 4;

/// Checks that objects can be written to a URL, as far as that can be told without writing.
///
/// # Errors
///
/// A URL of the web, or settings that no client can be made of.
pub fn check(url: &StoreUrl) -> Result<(), StoreError> {
    if url.scheme.is_web() {
        let what =
            "a web server is only read; name an `s3://`, `gs://` or `az://` URL, or a local path";
        return Err(StoreError::new(url, Kind::Denied, what));
    }
    pinned(url).map(drop)
}

/// Puts a file into a store, in place of an object that is there.
///
/// # Errors
///
/// What the store says. Then there is the earlier object, or none.
pub fn file(from: &LocalPath, to: &StoreUrl) -> Result<(), StoreError> {
    let store = pinned(to)?;
    let local = |err: std::io::Error| {
        StoreError::new(to, Kind::Failed, format!("cannot read {}: {err}", from.display()))
    };
    let mut file = File::open(from).map_err(local)?;
    let size = file.metadata().map_err(local)?.len();
    let path = to.path().map_err(|err| StoreError::new(to, Kind::Failed, err.to_string()))?;
    let failed = |err: Error| StoreError::of(to, &err);
    let mut next = move |n: u64| -> std::io::Result<Bytes> {
        let mut bytes = Vec::with_capacity(n as usize);
        (&mut file).take(n).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    };
    if size <= PART {
        let bytes = next(size).map_err(local)?;
        let options = PutOptions { attributes: attributes(to), ..PutOptions::default() };
        wait(async move { store.put_opts(&path, bytes.into(), options).await }).map_err(failed)?;
        return Ok(());
    }
    let part = PART.max(size.div_ceil(PARTS_MAX));
    let options =
        PutMultipartOptions { attributes: attributes(to), ..PutMultipartOptions::default() };
    let upload = wait(async move { store.put_multipart_opts(&path, options).await });
    let upload = upload.map_err(failed)?;
    let mut upload = WriteMultipart::new_with_chunk_size(upload, part as usize);
    loop {
        let bytes = match next(part) {
            Ok(bytes) => bytes,
            Err(err) => {
                let _ = wait(upload.abort()); // the store removes it some day
                return Err(local(err));
            }
        };
        if bytes.is_empty() {
            break;
        }
        let (rest, sent) = wait(async move {
            let sent = upload.wait_for_capacity(PARTS_AT_ONCE).await;
            if sent.is_ok() {
                upload.put(bytes);
            }
            (upload, sent)
        });
        upload = rest;
        if let Err(err) = sent {
            let _ = wait(upload.abort());
            return Err(failed(err));
        }
    }
    // Aborts by itself if a part failed.
    wait(upload.finish()).map(drop).map_err(failed)
}

/// What a browser needs to know of a file, by its name.
fn attributes(url: &StoreUrl) -> Attributes {
    let kind = match url.name().rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" => "application/json",
        "parquet" => "application/vnd.apache.parquet",
        _ => "application/octet-stream",
    };
    Attributes::from_iter([(Attribute::ContentType, kind)])
}

/// Objects in a folder that are not among those that may be replaced.
///
/// * `is_own`: whether an object of this name, relative to the folder, may be replaced.
///
/// # Errors
///
/// What the store says.
pub fn others_in(
    folder: &StoreUrl,
    is_own: impl Fn(&str) -> bool,
) -> Result<Vec<String>, StoreError> {
    let names = names_in(&pinned(folder)?, folder)?;
    Ok(names.into_iter().map(|(name, _)| name).filter(|name| !is_own(name)).collect())
}

/// Puts the files of a local folder into a folder of a store, and then removes what was there before and
/// is not among them.
///
/// # Errors
///
/// What the store says. Then some of the files may be there.
pub fn folder(from: &LocalPath, to: &StoreUrl) -> Result<(), StoreError> {
    let local = |err: std::io::Error| {
        StoreError::new(to, Kind::Failed, format!("cannot read {}: {err}", from.display()))
    };
    let store = pinned(to)?;
    let earlier = names_in(&store, to)?;
    let entries = std::fs::read_dir(from).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut names = Vec::new();
    for entry in entries.map_err(local)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        file(&entry.path(), &to.join(&name))?;
        names.push(name);
    }
    for (name, object) in earlier.into_iter().filter(|(name, _)| !names.contains(name)) {
        let (store, path) = (store.clone(), object.path().clone());
        let removed = wait(async move { store.delete(&path).await });
        removed.map_err(|err| StoreError::of(&to.join(&name), &err))?;
    }
    Ok(())
}

fn names_in(store: &Arc<Pinned>, folder: &StoreUrl) -> Result<Vec<(String, Object)>, StoreError> {
    let root = folder.join("");
    let objects = listing::all_in(store, folder, folder)?;
    let name = |object: &Object| object.url.to_string()[root.to_string().len()..].to_owned();
    Ok(objects.into_iter().map(|object| (name(&object), object)).collect())
}

//! Hashes of files, cached between programs.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use stores::listing::Tag;
use stores::{Object, ObjectReader};

use super::record::{Output, Record};
use crate::ipc::{self, Error};

/// Hashes of files, each computed once until the file changes.
#[derive(Debug, Default)]
pub struct Hashes {
    known: HashMap<PathBuf, (Stamp, String)>,
    /// Content hashes of files as they will be once kept results are restored
    assumed: HashMap<PathBuf, String>,
    /// Hashes of objects that were read, as their store gives them no tag
    objects: HashMap<String, String>,
}

/// What changes whenever a file's bytes change: its size, its inode and its ctime, which no program
/// can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    len: u64,
    inode: u64,
    changed: (i64, i64),
}

/// Two changes of a file within this many seconds may have the same ctime.
const TICK: i64 = 2;

impl Stamp {
    fn of(path: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::MetadataExt as _;

        let metadata = std::fs::metadata(path).map_err(|err| Error::io(path, err))?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Ok(Self { len: metadata.len(), inode: metadata.ino(), changed })
    }
}

impl Hashes {
    /// Loads the hashes that an earlier program saved; none if the file cannot be parsed.
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self { known: serde_json::from_str(&text).unwrap_or_default(), ..Self::default() }
    }

    /// Saves the hashes for later programs, except those of files that changed just now or are
    /// gone.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_settled = |stamp: &Stamp| stamp.changed.0 + TICK < now.as_secs() as i64;
        let kept: BTreeMap<_, _> =
            self.known.iter().filter(|(path, (s, _))| is_settled(s) && path.exists()).collect();
        let text = serde_json::to_string(&kept).expect("paths and hashes are plain data");
        ipc::finish_text(path, &text)?.commit()
    }

    /// Hash of a file's content: as its stage recorded it, if the file still has the recorded
    /// bytes; else of its bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn content_of(&mut self, path: &Path) -> Result<String, Error> {
        if let Some(content) = self.assumed.get(path) {
            return Ok(content.clone());
        }
        let hash = self.of(path)?;
        let recorded = Output::recorded(path).filter(|output| output.blake3 == hash);
        Ok(recorded.map(|output| output.content).filter(|c| !c.is_empty()).unwrap_or(hash))
    }

    /// Hash of an object: of its URL, size and tag; of its bytes if the store gives no tag.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it has to be read and cannot.
    pub fn of_object(&mut self, object: &Object) -> Result<String, Error> {
        let url = object.url.to_string();
        let tag = match &object.tag {
            Some(Tag::Etag(tag)) => format!("etag {tag}"),
            Some(Tag::Version(version)) => format!("version {version}"),
            None => return self.of_bytes(object, url),
        };
        let text = format!("{url}\n{}\n{tag}", object.size);
        Ok(blake3::hash(text.as_bytes()).to_string())
    }

    fn of_bytes(&mut self, object: &Object, url: String) -> Result<String, Error> {
        if let Some(hash) = self.objects.get(&url) {
            return Ok(hash.clone());
        }
        let failed = |err| Error::io(Path::new(&url), err);
        let mut reader = ObjectReader::open(object).map_err(|err| failed(err.into()))?;
        let hash = ipc::hash_rest(&mut reader).map_err(failed)?;
        self.objects.insert(url, hash.clone());
        Ok(hash)
    }

    /// Assumes that the stage's folder `dir` holds the outputs of a record, so that later stages
    /// can be looked at before they are restored.
    pub fn assume(&mut self, dir: &Path, record: &Record) {
        let content = |output: &Output| match &*output.content {
            "" => output.blake3.clone(),
            content => content.to_owned(),
        };
        let files = record.outputs.iter().map(|(name, output)| (dir.join(name), content(output)));
        self.assumed.extend(files);
    }

    /// Ends all assumptions.
    pub fn assume_nothing(&mut self) {
        self.assumed.clear();
    }

    /// Whether a file exists, or is assumed to.
    pub fn is_there(&self, path: &Path) -> bool {
        self.assumed.contains_key(path) || path.exists()
    }

    /// The hash of a file's bytes, if it was asked for before.
    pub fn known(&self, path: &Path) -> Option<&str> {
        self.known.get(path).map(|(_, hash)| hash.as_str())
    }

    /// The hash of a file's bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn of(&mut self, path: &Path) -> Result<String, Error> {
        let stamp = Stamp::of(path)?;
        match self.known.get(path) {
            Some((known, hash)) if *known == stamp => Ok(hash.clone()),
            _ => {
                let hash = ipc::hash_file(path)?;
                self.known.insert(path.to_path_buf(), (stamp, hash.clone()));
                Ok(hash)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn folder() -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.arrow");
        std::fs::write(&path, "a model").unwrap();
        (dir, path)
    }

    fn hash(text: &str) -> String {
        blake3::hash(text.as_bytes()).to_string()
    }

    fn known(path: &Path, stamp: Stamp, hash: &str) -> Hashes {
        let known = HashMap::from([(path.to_path_buf(), (stamp, hash.to_owned()))]);
        Hashes { known, ..Hashes::default() }
    }

    #[test]
    fn a_file_is_hashed_again_only_when_its_stamp_changed() {
        let (_dir, path) = folder();
        let mut hashes = known(&path, Stamp::of(&path).unwrap(), "as before");
        assert_eq!(hashes.of(&path).unwrap(), "as before");
        std::fs::write(&path, "another model").unwrap();
        assert_eq!(hashes.of(&path).unwrap(), hash("another model"));
        assert_eq!(hashes.known(&path), Some(&*hash("another model")));
    }

    /// A second change could have the same stamp, and the hash of the first would be taken for it.
    #[test]
    fn a_stamp_that_changed_within_the_tick_is_not_saved() {
        let (dir, path) = folder();
        let left = dir.path().join(".hashes.json");
        let reload = |hashes: &Hashes| {
            hashes.save(&left).unwrap();
            Hashes::load(&left).known(&path).map(str::to_owned)
        };
        let now = Stamp::of(&path).unwrap();
        assert_eq!(reload(&known(&path, now, "new")), None);
        let settled = Stamp { changed: (now.changed.0 - TICK - 2, 0), ..now };
        assert_eq!(reload(&known(&path, settled, "old")).as_deref(), Some("old"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(reload(&known(&path, settled, "gone")), None);
    }

    #[test]
    fn a_damaged_cache_of_hashes_is_ignored() {
        let (dir, path) = folder();
        let left = dir.path().join(".hashes.json");
        std::fs::write(&left, "{\"a\": 1}").unwrap();
        assert_eq!(Hashes::load(&left).known(&path), None);
        assert_eq!(Hashes::load(&dir.path().join("none")).known(&path), None);
    }

    fn record(blake3: &str) -> Record {
        serde_json::from_value(serde_json::json!({
            "stage": "train", "experiment": "bau", "fingerprint": "", "secs": 0.0, "summary": null,
            "parts": {"contract": 1, "binary": "", "params": {}, "inputs": {}},
            "outputs": {"model.arrow": {
                "blake3": blake3, "content": "rows", "n_bytes": 7, "n_rows": 1,
            }},
        }))
        .unwrap()
    }

    #[test]
    fn the_recorded_content_hash_is_used_while_the_bytes_match() {
        let (dir, path) = folder();
        let content = || Hashes::default().content_of(&path).unwrap();
        assert_eq!(content(), hash("a model"), "no stage made it");
        record(&hash("a model")).save(&dir.path().join(super::super::plan::RECORD)).unwrap();
        assert_eq!(content(), "rows");
        std::fs::write(&path, "b model").unwrap();
        assert_eq!(content(), hash("b model"));
    }

    #[test]
    fn assumed_files_exist_until_assumptions_end() {
        let mut hashes = Hashes::default();
        let dir = Path::new("not/there");
        let path = dir.join("model.arrow");
        hashes.assume(dir, &record("bytes"));
        assert!(hashes.is_there(&path));
        assert_eq!(hashes.content_of(&path).unwrap(), "rows");
        hashes.assume_nothing();
        assert!(!hashes.is_there(&path));
        assert!(hashes.content_of(&path).is_err());
    }
}

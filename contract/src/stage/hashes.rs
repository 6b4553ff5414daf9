//! Hashes of files, kept from one program to the next.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::record::{Output, Record};
use crate::ipc::{self, Error};

/// Hashes of files, each computed once as long as the file is not touched.
#[derive(Debug, Default)]
pub struct Hashes {
    known: HashMap<PathBuf, (Stamp, String)>,
    /// What files will hold when kept results are in their places
    assumed: HashMap<PathBuf, String>,
}

/// What the file system changes whenever a file's bytes change: its size, its inode and the time of
/// its last change, which no program can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    len: u64,
    inode: u64,
    changed: (i64, i64),
}

/// Two changes of a file within this may have the same time, in seconds.
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
    /// Hashes that an earlier program left; none if the file cannot be understood.
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self { known: serde_json::from_str(&text).unwrap_or_default(), ..Self::default() }
    }

    /// Leaves the hashes for a later program, but for those of files that changed just now and of
    /// files that are gone.
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

    /// The hash of what a file holds: as its stage recorded it, if it still has the bytes that the
    /// stage wrote; else of its bytes.
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

    /// From now on the stage's folder `dir` counts as holding what a record says, so that what
    /// follows can be looked at before it does.
    pub fn assume(&mut self, dir: &Path, record: &Record) {
        let content = |output: &Output| match &*output.content {
            "" => output.blake3.clone(),
            content => content.to_owned(),
        };
        let files = record.outputs.iter().map(|(name, output)| (dir.join(name), content(output)));
        self.assumed.extend(files);
    }

    /// Nothing is assumed any more.
    pub fn assume_nothing(&mut self) {
        self.assumed.clear();
    }

    /// Whether a file is there, or assumed to be.
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

//! `bundle.json`: all that predicting needs, in a folder that can be copied anywhere.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::Output;
use crate::ipc::Error;
use crate::manifest::FeatureOptions;

/// File name of a bundle's record.
pub const BUNDLE: &str = "bundle.json";

/// Version of the format.
const VERSION: u32 = 1;

/// What a bundle holds and where it comes from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Bundle {
    /// Version of this format: 1
    pub version: u32,
    /// The experiment that it was made of
    pub experiment: String,
    /// Which of the experiment's seeds the model was trained with, if it has several
    pub seed: Option<u64>,
    /// Columns of users that the model reads
    pub features: Vec<FeatureOptions>,
    /// The other files of the folder, by name
    pub files: BTreeMap<String, Output>,
    /// How its files were made, by stage
    pub stages: BTreeMap<String, MadeBy>,
    /// Hash of all this, as JSON without this field
    pub hash: String,
}

/// A stage that made files of a bundle.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MadeBy {
    /// Hash of everything that its outputs depend on
    pub fingerprint: String,
    /// Hash of its program
    pub program: String,
    /// Its settings
    pub params: Value,
    /// Its own figures
    pub summary: Value,
}

impl Bundle {
    /// A bundle with its hash.
    pub fn new(
        experiment: String,
        seed: Option<u64>,
        features: Vec<FeatureOptions>,
        files: BTreeMap<String, Output>,
        stages: BTreeMap<String, MadeBy>,
    ) -> Self {
        let hash = String::new();
        let bundle = Self { version: VERSION, experiment, seed, features, files, stages, hash };
        Self { hash: bundle.own_hash(), ..bundle }
    }

    /// Reads and verifies a bundle's record; the files that it lists are verified when they are read.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if it is missing, cannot be parsed or was changed.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(BUNDLE);
        let unusable = |found: String| Error::Record { path: path.display().to_string(), found };
        let text = std::fs::read_to_string(&path).map_err(|err| match err.kind() {
            ErrorKind::NotFound => unusable(
                "there is no such file\nhint: name a folder that `pipeline bundle` wrote"
                    .to_owned(),
            ),
            ErrorKind::InvalidData => {
                unusable("is not text\nhint: copy the bundle again".to_owned())
            }
            _ => Error::io(&path, err),
        })?;
        let bundle: Self = serde_json::from_str(&text).map_err(|err| {
            unusable(format!("cannot be parsed: {err}\nhint: copy the bundle again"))
        })?;
        if bundle.hash != bundle.own_hash() {
            let remedy = bundle.remedy(dir);
            return Err(unusable(format!("was changed after it was written\nhint: {remedy}")));
        }
        Ok(bundle)
    }

    /// Its text, as it is written.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a bundle is plain data") + "\n"
    }

    /// What makes the bundle again.
    pub fn remedy(&self, dir: &Path) -> String {
        format!(
            "make it again with `pipeline bundle {} --output {}`, or copy it again",
            self.experiment,
            dir.display()
        )
    }

    fn own_hash(&self) -> String {
        let plain = Self { hash: String::new(), ..self.clone() };
        let text = serde_json::to_string(&plain).expect("a bundle is plain data");
        blake3::hash(text.as_bytes()).to_string()
    }
}

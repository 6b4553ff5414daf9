//! Files that a record lists, verified before anything of them is decoded.
//!
//! A stage's outputs are listed in the `stage.json` beside them, the files of a bundle in its
//! `bundle.json`. A file that none of them lists, such as one that was copied alone, is read as it
//! is; whoever reads it says so.

use std::path::Path;

use super::bundle::{BUNDLE, Bundle};
use super::plan::RECORD;
use super::record::{Output, Record};
use crate::Stage;
use crate::ipc::{self, Error, Table};
use crate::tables::Contract;

/// A table whose bytes are those that its record lists.
#[derive(Debug)]
pub struct Recorded {
    /// The table
    pub table: Table,
    /// Hash of the file's bytes
    pub blake3: String,
    /// Whether a record lists the file
    pub is_listed: bool,
}

/// What a record says of a file.
struct Listed {
    output: Output,
    /// File name of the record
    record: &'static str,
    /// What makes the file again
    remedy: String,
}

/// Reads a table, once its bytes are known to be those that the record beside it lists.
///
/// # Errors
///
/// [`Error::Changed`] if they are not; a record that cannot be read; else as
/// [`ipc::read_unmapped`].
pub fn read(path: &Path, contract: &Contract) -> Result<Recorded, Error> {
    let listed = listed(path)?;
    let (table, blake3) = ipc::read_accepted(path, contract, |found| match &listed {
        Some(listed) if listed.output.blake3 != found => Err(Error::Changed {
            path: path.display().to_string(),
            record: listed.record.to_owned(),
            recorded: listed.output.blake3.clone(),
            found: found.to_owned(),
            remedy: listed.remedy.clone(),
        }),
        _ => Ok(()),
    })?;
    Ok(Recorded { table, blake3, is_listed: listed.is_some() })
}

/// Whether the record beside a file lists it; the file itself may be missing.
///
/// # Errors
///
/// A record that cannot be read.
pub fn is_listed(path: &Path) -> Result<bool, Error> {
    Ok(listed(path)?.is_some())
}

/// What the record beside a file says of it; `None` if there is no record, or the file is not in it.
fn listed(path: &Path) -> Result<Option<Listed>, Error> {
    let Some(dir) = path.parent() else { return Ok(None) };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if dir.join(BUNDLE).exists() {
        let mut bundle = Bundle::load(dir)?;
        let remedy = bundle.remedy(dir);
        let output = bundle.files.remove(&*name);
        return Ok(output.map(|output| Listed { output, record: BUNDLE, remedy }));
    }
    let record = dir.join(RECORD);
    if !record.exists() {
        return Ok(None);
    }
    let mut loaded = Record::load(&record).ok_or_else(|| Error::Record {
        path: record.display().to_string(),
        found: "cannot be parsed, so the files beside it cannot be verified\n\
                hint: run `pipeline run`, which makes them again"
            .to_owned(),
    })?;
    let remedy = match loaded.experiment.as_ref().map(|recorded| owner(dir).unwrap_or(recorded)) {
        Some(experiment) => format!("`pipeline run {experiment}` makes it again"),
        None => "`pipeline run` makes it again".to_owned(),
    };
    let output = loaded.outputs.remove(&*name);
    Ok(output.map(|output| Listed { output, record: RECORD, remedy }))
}

/// The experiment that a stage's folder belongs to, as in `bau/train` and `bau/seed-8/train`. Its record may
/// be of another one, whose results it shares.
fn owner(dir: &Path) -> Option<&str> {
    let stages = [Stage::Sample, Stage::Train, Stage::Score].map(Stage::name);
    let mut folders = dir.components().rev().filter_map(|folder| folder.as_os_str().to_str());
    folders.next().filter(|name| stages.contains(name))?;
    let is_seed =
        |name: &&str| name.strip_prefix("seed-").is_some_and(|n| n.parse::<u64>().is_ok());
    folders.find(|name| !is_seed(name))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::fs;
    use std::path::PathBuf;

    use arrow::array::{Array as _, ArrayRef, StringArray};
    use arrow::datatypes::Field;
    use serde_json::json;

    use super::*;
    use crate::columns::ListBuilder;
    use crate::tables::MODEL;

    #[test]
    fn a_folder_says_whose_files_it_holds() {
        let owner = |dir: &str| owner(Path::new(dir)).map(str::to_owned);
        assert_eq!(owner("runs/bau/train").as_deref(), Some("bau"));
        assert_eq!(owner("runs/bau/seed-8/score").as_deref(), Some("bau"));
        assert_eq!(owner("runs/seed-lab/sample").as_deref(), Some("seed-lab"));
        assert_eq!(owner("runs/holdout"), None);
        assert_eq!(owner("copied"), None);
    }

    /// A model, and a record that lists it.
    fn folder(record: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.arrow");
        let (mut shape, mut data) = (ListBuilder::<u32>::default(), ListBuilder::<f32>::default());
        shape.push(&[1]);
        data.push(&[7.0]);
        let columns: Vec<ArrayRef> =
            vec![std::sync::Arc::new(StringArray::from(vec!["w"])), shape.finish(), data.finish()];
        let fields = MODEL.columns.iter().zip(&columns);
        let fields = fields.map(|(c, array)| Field::new(c.name, array.data_type().clone(), false));
        let mut writer =
            ipc::Writer::create(&path, &MODEL, fields.collect(), HashMap::new()).unwrap();
        writer.write(columns).unwrap();
        let finished = writer.finish().unwrap();
        let output = json!({"blake3": finished.blake3, "content": "", "n_bytes": 1, "n_rows": 1});
        finished.commit().unwrap();
        let text = if record == BUNDLE {
            let files =
                BTreeMap::from([("model.arrow".into(), serde_json::from_value(output).unwrap())]);
            Bundle::new("bau".into(), None, Vec::new(), files, BTreeMap::new()).text()
        } else {
            json!({
                "stage": "train", "experiment": "bau", "fingerprint": "", "secs": 0.0,
                "parts": {"contract": 1, "binary": "", "params": {}, "inputs": {}},
                "outputs": {"model.arrow": output}, "summary": null,
            })
            .to_string()
        };
        fs::write(dir.path().join(record), text).unwrap();
        (dir, path)
    }

    #[test]
    fn every_changed_byte_of_a_listed_file_is_found_before_it_is_decoded() {
        for record in [RECORD, BUNDLE] {
            let (_dir, path) = folder(record);
            assert!(read(&path, &MODEL).unwrap().is_listed);
            let whole = fs::read(&path).unwrap();
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                fs::write(&path, bytes).unwrap();
                let err = read(&path, &MODEL).unwrap_err();
                assert!(matches!(err, Error::Changed { .. }), "{record}, byte {at}: {err}");
            }
            fs::write(&path, &whole[1..]).unwrap();
            let message = read(&path, &MODEL).unwrap_err().to_string();
            let command = if record == BUNDLE { "pipeline bundle bau" } else { "pipeline run bau" };
            assert!(message.contains(record) && message.contains(command), "{message}");
        }
    }

    #[test]
    fn a_file_that_no_record_lists_is_read_and_said_to_be_unlisted() {
        let (dir, path) = folder(RECORD);
        let alone = dir.path().join("other.arrow");
        fs::copy(&path, &alone).unwrap();
        assert!(!read(&alone, &MODEL).unwrap().is_listed);
        fs::remove_file(dir.path().join(RECORD)).unwrap();
        assert!(!read(&path, &MODEL).unwrap().is_listed);
    }

    #[test]
    fn a_changed_record_is_rejected() {
        for record in [RECORD, BUNDLE] {
            let (dir, path) = folder(record);
            let text = fs::read_to_string(dir.path().join(record)).unwrap();
            for (from, to) in [("\"outputs\"", "\"output\""), ("bau", "other")] {
                fs::write(dir.path().join(record), text.replacen(from, to, 1)).unwrap();
                let is_found =
                    record == BUNDLE && from == "bau" || record == RECORD && from != "bau";
                assert_eq!(read(&path, &MODEL).is_err(), is_found, "{record}, {from}");
            }
        }
    }
}

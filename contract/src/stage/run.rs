//! One run of a stage: checked inputs, outputs that are put in place together, a record.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

use arrow::datatypes::Field;
use serde_json::Value;

use super::alone::Alone;
use super::machine;
use crate::hashes::Hashes;
use crate::ipc::{self, Error, Finished, Table, Writer};
use crate::manifest::{Experiment, Manifest};
use crate::plan::{Stage, StagePlan};
use crate::record::{Output, Parts, Record};
use crate::tables::Contract;

/// A running stage.
pub struct StageRun {
    /// Its inputs, parameters and folder
    pub plan: StagePlan,
    parts: Parts,
    hashes: Hashes,
    fingerprint: String,
    started: Instant,
    earlier_secs: f64,
    outputs: Vec<Finished>,
    /// Without the runner, the record of this run
    alone: Option<Alone>,
}

impl StageRun {
    /// Starts a stage: hashes its inputs, writes none of its outputs. Without the runner, the run is
    /// recorded in its place.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn start(
        manifest: &Manifest,
        stage: Stage,
        experiment: Option<&Experiment>,
    ) -> Result<Self, Error> {
        let run = Self::open(manifest, stage, experiment)?;
        let alone = Alone::begin(manifest, &run.plan, &run.parts);
        Ok(Self { alone, ..run })
    }

    /// Opens a stage to read its inputs: hashes them, writes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if an input is missing, [`Error::Io`] if one cannot be read.
    pub fn open(
        manifest: &Manifest,
        stage: Stage,
        experiment: Option<&Experiment>,
    ) -> Result<Self, Error> {
        let started = Instant::now();
        let plan = manifest.plan(stage, experiment);
        if let Some(problem) = plan.problem {
            return Err(Error::Unknown(problem));
        }
        let is_missing = |input: &&crate::plan::Input| {
            !input.is_optional && input.object.is_none() && !input.path.exists()
        };
        if let Some(input) = plan.inputs.iter().find(is_missing) {
            let path = input.path.display().to_string();
            return Err(Error::Missing { path, contract: known_name(&input.name) });
        }
        let binary =
            std::env::current_exe().map_err(|err| Error::io(Path::new("this program"), err))?;
        let mut hashes = Hashes::default();
        let parts = Parts::of(&plan, &binary, &mut hashes)?;
        let fingerprint = parts.fingerprint();
        Ok(Self {
            plan,
            parts,
            hashes,
            fingerprint,
            started,
            earlier_secs: 0.0,
            outputs: Vec::new(),
            alone: None,
        })
    }

    /// Hash of everything that this run's results depend on.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Path of an input.
    ///
    /// # Panics
    ///
    /// If the stage has no such input.
    pub fn input(&self, name: &str) -> &Path {
        let input = self.plan.inputs.iter().find(|input| input.name == name);
        &input.unwrap_or_else(|| panic!("{} has no input `{name}`", self.plan.id)).path
    }

    /// Reads an input, whose bytes must be as its stage recorded them.
    ///
    /// # Errors
    ///
    /// As [`ipc::read`]; also [`Error::Broken`] if the file was changed after it was written.
    pub fn read(&self, name: &str, contract: &Contract) -> Result<Table, Error> {
        let path = self.input(name);
        if let (Some(recorded), Some(found)) = (Output::recorded(path), self.hashes.known(path))
            && recorded.blake3 != found
        {
            let found = "its bytes are not those that were written";
            return Err(Error::broken(path, contract, found));
        }
        ipc::read(path, contract)
    }

    /// Starts an output table.
    ///
    /// # Errors
    ///
    /// As [`Writer::create`].
    pub fn writer(
        &self,
        file: &str,
        contract: &'static Contract,
        fields: Vec<Field>,
    ) -> Result<Writer, Error> {
        self.writer_with(file, contract, fields, HashMap::new())
    }

    /// Starts an output table with metadata of its own.
    ///
    /// # Errors
    ///
    /// As [`Writer::create`].
    pub fn writer_with(
        &self,
        file: &str,
        contract: &'static Contract,
        fields: Vec<Field>,
        mut metadata: HashMap<String, String>,
    ) -> Result<Writer, Error> {
        metadata.insert(ipc::FINGERPRINT_KEY.to_owned(), self.fingerprint.clone());
        if let Some(experiment) = &self.plan.id.experiment {
            metadata.insert(ipc::EXPERIMENT_KEY.to_owned(), experiment.clone());
        }
        Writer::create(&self.plan.dir.join(file), contract, fields, metadata)
    }

    /// Adds the time of earlier processes whose work this one finished.
    pub fn add_secs(&mut self, secs: f64) {
        self.earlier_secs += secs;
    }

    /// Adds a finished output; [`Self::done`] puts it in place.
    pub fn add(&mut self, output: Finished) {
        self.outputs.push(output);
    }

    /// Writes a text output; [`Self::done`] puts it in place.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn add_text(&mut self, file: &str, text: &str) -> Result<(), Error> {
        let output = ipc::finish_text(&self.plan.dir.join(file), text)?;
        self.add(output);
        Ok(())
    }

    /// Puts all outputs in place, writes the record, and then removes outputs of an earlier run
    /// that this one does not have.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]. If it is killed in between, the stage has no record and runs again.
    pub fn done(self, summary: Value) -> Result<Record, Error> {
        let record = Record {
            stage: self.plan.id.stage.name().to_owned(),
            experiment: self.plan.id.experiment.clone(),
            fingerprint: self.fingerprint,
            parts: self.parts,
            outputs: self
                .outputs
                .iter()
                .map(|output| {
                    let name = output
                        .target()
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned();
                    let Finished { blake3, content, n_bytes, n_rows, .. } = output;
                    let (blake3, content) = (blake3.clone(), content.clone());
                    (name, Output { blake3, content, n_bytes: *n_bytes, n_rows: *n_rows })
                })
                .collect::<BTreeMap<_, _>>(),
            secs: self.earlier_secs + self.started.elapsed().as_secs_f64(),
            peak_memory_bytes: machine::peak_memory_bytes(),
            summary,
            accepted: Vec::new(),
        };
        let path = self.plan.record_path();
        let earlier = Record::load(&path);
        let text = serde_json::to_string_pretty(&record).expect("a record is plain data");
        let record_file = ipc::finish_text(&path, &text)?;
        match std::fs::remove_file(&path) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&path, err));
            }
            _ => {}
        }
        for output in self.outputs {
            output.commit()?;
        }
        record_file.commit()?;
        if let Some(earlier) = earlier {
            remove_outdated(&self.plan.dir, &earlier, &record)?;
        }
        if let Some(alone) = self.alone {
            alone.done(&record);
        }
        Ok(record)
    }
}

/// Removes outputs of an earlier run that this one does not have, such as a memory that is not used
/// any more.
fn remove_outdated(dir: &Path, earlier: &Record, record: &Record) -> Result<(), Error> {
    let is_outdated = |name: &&String| !record.outputs.contains_key(*name);
    for name in earlier.outputs.keys().filter(is_outdated) {
        // Only the name counts, so that nothing outside the folder is removed, whatever a record
        // says.
        let Some(path) = Path::new(name).file_name().map(|name| dir.join(name)) else { continue };
        match std::fs::remove_file(&path) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&path, err));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The table of an input, for messages.
fn known_name(name: &str) -> &'static str {
    const NAMES: [&str; 9] = [
        "brands",
        "features",
        "train_users",
        "train_interactions",
        "examples",
        "valid",
        "test",
        "model",
        "judged_model",
    ];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("an input file")
}

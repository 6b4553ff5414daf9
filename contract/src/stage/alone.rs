//! A stage that runs without the runner leaves a record of that run, as the runner would.

use super::cli::UNDER_RUNNER;
use super::outcome::{Outcome, StageResult};
use super::plan::StagePlan;
use super::record::{Parts, Record};
use super::runs::{Recorder, StageEnd};
use super::why::Why;
use crate::{Manifest, interrupt, warn_line};

/// The record of a run of one stage. Dropped before [`Self::done`], it says that the stage failed.
pub(super) struct Alone {
    recorder: Option<Recorder>,
    plan: StagePlan,
    fingerprint: String,
    why: Why,
}

impl Alone {
    /// Begins the record; `None` under the runner, which writes it itself.
    pub(super) fn begin(manifest: &Manifest, plan: &StagePlan, parts: &Parts) -> Option<Self> {
        if std::env::var_os(UNDER_RUNNER).is_some() {
            return None;
        }
        let recorder = Recorder::begin(manifest);
        // What counts is the stage's own record.
        let recorder = recorder.inspect_err(|err| warn_line!("warning: {err:#}")).ok()?;
        let changes = Record::of(plan).map(|earlier| parts.changes_since(&earlier.parts));
        let why = Why {
            words: Some("it was run alone".to_owned()),
            changes: changes.unwrap_or_default(),
        };
        let (plan, fingerprint) = (plan.clone(), parts.fingerprint());
        Some(Self { recorder: Some(recorder), plan, fingerprint, why })
    }

    pub(super) fn done(mut self, record: &Record) {
        self.end(StageResult::Ran, Outcome::Done, Some(record));
    }

    fn end(&mut self, result: StageResult, outcome: Outcome, record: Option<&Record>) {
        let Some(mut recorder) = self.recorder.take() else { return };
        let why = std::mem::take(&mut self.why);
        let fingerprint = Some(self.fingerprint.clone());
        let secs = Some(recorder.secs());
        let end = StageEnd { result, why, fingerprint, secs };
        let added = recorder.add(&self.plan, end, record);
        if let Err(err) = added.and_then(|()| recorder.end(outcome).map(drop)) {
            warn_line!("warning: {err:#}");
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if interrupt::requested() {
            self.end(StageResult::Interrupted, Outcome::Interrupted, None);
        } else {
            self.end(StageResult::Failed, Outcome::Failed, None);
        }
    }
}

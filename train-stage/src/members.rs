//! The networks of an experiment: one, or several that are averaged, each with its refit.

use std::path::Path;

use anyhow::{Result, anyhow};
use contract::exit::{DataError, Interrupted};
use contract::rungs::Rungs;
use contract::words;
use model::{Kind, Mlp, Model};
use serde_json::{Value, json};
use train_stage::checkpoint::CheckpointFile;
use train_stage::examples::Examples;
use train_stage::task::{Architecture, Budget, Task};
use train_stage::trainer::{Trained, train};
use train_stage::{Error, MlpValidParams};

use crate::bar::Bar;
use crate::results::Results;

/// Names of the checkpoints of a member, the second of its refit.
const CHECKPOINTS: [&str; 2] = ["checkpoint", "checkpoint_refit"];

/// What all members have in common.
pub struct Common<'a> {
    /// Of the experiment, with its seed where there are several
    pub name: &'a str,
    pub params: &'a MlpValidParams,
    pub architecture: &'a Architecture,
    pub examples: &'a dyn Examples,
    /// Users that each epoch is judged on
    pub valid: &'a dyn Examples,
    /// If there is to be a refit: the examples followed by all valid users
    pub refit: Option<&'a dyn Examples>,
    /// That of the first member
    pub checkpoint: CheckpointFile,
    /// Updates after which the first member pauses
    pub pause_after: Option<u64>,
}

impl Common<'_> {
    fn n_members(&self) -> usize {
        self.params.members().count()
    }

    /// As in `bau` or, of several, `bau (2 of 3)`.
    fn name_of(&self, member: usize) -> String {
        match self.n_members() {
            1 => self.name.to_owned(),
            n => format!("{} ({} of {n})", self.name, member + 1),
        }
    }

    fn checkpoints_of(&self, member: usize) -> [CheckpointFile; 2] {
        CHECKPOINTS.map(|what| {
            let name = match member {
                0 => format!("{what}.arrow"),
                _ => format!("{what}.{member}.arrow"),
            };
            let path = self.checkpoint.path.with_file_name(name);
            CheckpointFile { path, ..self.checkpoint.clone() }
        })
    }
}

impl Common<'_> {
    /// Records how good a training was when it was to pause; if it ended before, how good it is.
    fn keep_figure(&self, task: &Task, trained: &Result<Trained, Error>) -> Result<()> {
        let Some(updates) = task.pause_after else { return Ok(()) };
        let map = match trained {
            Err(Error::Paused { map, .. }) => *map,
            Err(_) => return Ok(()),
            Ok(trained) => trained.history[trained.epoch as usize - 1]
                .valid
                .and_then(|valid| valid.mean_average_precision),
        };
        let planned = Budget::of(task.params, self.examples.len()).planned;
        let dir = self.checkpoint.path.parent().unwrap_or(Path::new(""));
        Ok(Rungs::add(dir, &self.checkpoint.fingerprint, planned, updates, map)?)
    }
}

#[derive(Default)]
pub struct Members {
    trained: Vec<Trained>,
    /// The same members after their refits; empty without
    refit: Vec<Mlp>,
    /// Wall time of earlier processes whose checkpoints were used
    earlier_secs: f64,
}

impl Members {
    pub fn train(common: &Common) -> Result<Self> {
        let mut members = Self::default();
        for (i, params) in common.params.members().enumerate() {
            let [checkpoint, refit_checkpoint] = common.checkpoints_of(i);
            let task = Task {
                params: &params,
                architecture: common.architecture,
                examples: common.examples,
                valid: Some(common.valid),
                budget: None,
                checkpoints: Some(&checkpoint),
                pause_after: common.pause_after.filter(|_| i == 0),
            };
            let run = |what: &str, task: &Task| {
                let mut bar = Bar::new(format!("{what} {}", common.name_of(i)));
                let trained = train(task, &mut bar);
                common.keep_figure(task, &trained)?;
                trained.map_err(|err| with_checkpoint(err, &checkpoint))
            };
            let trained = run("train", &task)?;
            members.earlier_secs += trained.earlier_secs;
            if let Some(examples) = common.refit {
                // Step sizes are planned as in the training whose updates were found best.
                let planned = Budget::of(&params, common.examples.len());
                let refit = run(
                    "refit",
                    &Task {
                        examples,
                        valid: None,
                        budget: Some(Budget { stop_after: trained.updates, ..planned }),
                        checkpoints: Some(&refit_checkpoint),
                        pause_after: None,
                        ..task
                    },
                )?;
                members.earlier_secs += refit.earlier_secs;
                members.refit.push(refit.mlp);
            }
            members.trained.push(trained);
        }
        Ok(members)
    }

    pub fn into_results(self, common: &Common) -> Results {
        let mut training = self.record(common.examples.len());
        let mut summary = format!(
            "{} examples, {} updates, {}",
            words::count(common.examples.len() as u64),
            words::count(self.updates()),
            self.kept()
        );
        let history = self.trained.iter().map(|trained| trained.history.clone()).collect();
        let average = |members: Vec<Mlp>, training: &Value| Model {
            kind: Kind::Mlp(Mlp::average(members)),
            brand_ids: common.checkpoint.brand_ids.clone(),
            training: training.clone(),
        };
        let trained = self.trained.into_iter().map(|trained| trained.mlp).collect();
        let mut model = average(trained, &training);
        let mut judged = None;
        if let Some(examples) = common.refit {
            training["refit_rows"] = json!(examples.len());
            summary += ", refit with the valid users";
            judged = Some(std::mem::replace(&mut model, average(self.refit, &training)));
        }
        let checkpoints = (0..common.n_members()).flat_map(|i| common.checkpoints_of(i)).collect();
        let earlier_secs = self.earlier_secs;
        Results { model, judged, summary, history, earlier_secs, checkpoints }
    }

    /// Updates of all members together.
    fn updates(&self) -> u64 {
        self.trained.iter().filter_map(|t| t.history.last()).map(|epoch| epoch.updates).sum()
    }

    /// As in `kept after epoch 2 of 3`.
    fn kept(&self) -> String {
        let of_member = |t: &Trained| format!("{} of {}", t.epoch, t.history.len());
        let kept: Vec<String> = self.trained.iter().map(of_member).collect();
        if let [one] = kept.as_slice() {
            return format!("kept after epoch {one}");
        }
        format!("average of {} networks, kept after epochs {}", kept.len(), kept.join(", "))
    }

    /// What `model.arrow` says about its training; epochs are those of the first member.
    fn record(&self, n_examples: usize) -> Value {
        let first = &self.trained[0];
        json!({
            "rows": n_examples,
            "members": self.trained.len(),
            "updates": self.updates(),
            "epochs": first.history.len(),
            "updates_kept": self.trained.iter().map(|t| t.updates).sum::<u64>(),
            "epoch_kept": first.epoch,
        })
    }
}

/// An error of a training, with its last checkpoint where that can be used as a model.
///
/// * `checkpoint`: for a refit too that of the training before, as thresholds must not be fitted on
///   users that a model has learned from.
fn with_checkpoint(err: Error, checkpoint: &CheckpointFile) -> anyhow::Error {
    match err {
        Error::NotFinite { .. } => {}
        Error::Interrupted { .. } => return Interrupted(err.to_string()).into(),
        Error::Data(what) => return DataError(what).into(),
        other => return other.into(),
    }
    let kept = checkpoint.load().ok().flatten().map(|state| {
        format!(
            "\nthe last good checkpoint, after update {}, is kept: {}; it can be used as a model \
             with `train.pretrained`",
            state.progress.update,
            checkpoint.path.display()
        )
    });
    anyhow!("{err}{}", kept.unwrap_or_default())
}

//! What of the manifest a command is about.

use anyhow::Result;
use clap::{Args, ValueEnum};
use contract::exit::UsageError;
use contract::{Manifest, Stage};
use glob::Pattern;

use crate::node::{Node, nodes};

/// Experiments and stages, as named on the command line.
#[derive(Args)]
pub struct Selection {
    /// Experiments, by name or pattern as `approach_1*`; all if none is named
    experiments: Vec<String>,
    /// This stage only
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["from", "to"])]
    pub stage: Option<StageName>,
    /// From this stage on
    #[arg(long, value_name = "STAGE")]
    from: Option<StageName>,
    /// Up to this stage
    #[arg(long, value_name = "STAGE")]
    to: Option<StageName>,
}

/// A stage, as written on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub enum StageName {
    /// The shared split of the users
    Holdout,
    /// Training users to examples
    Sample,
    /// Examples to a model
    Train,
    /// A model to decisions
    Score,
    /// Decisions to the report
    Report,
}

impl From<StageName> for Stage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::Holdout => Self::Holdout,
            StageName::Sample => Self::Sample,
            StageName::Train => Self::Train,
            StageName::Score => Self::Score,
            StageName::Report => Self::Report,
        }
    }
}

impl Selection {
    /// Names of the experiments, in the manifest's order; all if none is named. A name without `*`,
    /// `?` or `[` must be an experiment's.
    ///
    /// # Errors
    ///
    /// A pattern that is none, a name that is not in the manifest.
    pub fn experiments(&self, manifest: &Manifest) -> Result<Vec<String>> {
        let mut wanted = Vec::new();
        for text in &self.experiments {
            if !text.contains(['*', '?', '[']) {
                manifest.experiment(text)?;
            }
            wanted.push(Pattern::new(text).map_err(|err| UsageError(format!("`{text}`: {err}")))?);
        }
        let is_wanted =
            |name: &String| wanted.is_empty() || wanted.iter().any(|pattern| pattern.matches(name));
        Ok(manifest.experiments().map(|e| e.name.clone()).filter(is_wanted).collect())
    }

    /// Whether no experiment is named, which means all.
    pub fn is_of_all(&self) -> bool {
        self.experiments.is_empty()
    }

    /// The stages of some experiments that are selected, in the order they run.
    ///
    /// # Errors
    ///
    /// If the range is empty, or this program's folder is not known.
    pub fn nodes(&self, manifest: &Manifest, experiments: &[String]) -> Result<Vec<Node>> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && Stage::from(from) > Stage::from(to)
        {
            return Err(UsageError("`--from` names a stage that comes after `--to`".into()).into());
        }
        let is_selected = |stage: Stage| {
            self.stage.is_none_or(|only| stage == Stage::from(only))
                && self.from.is_none_or(|from| stage >= from.into())
                && self.to.is_none_or(|to| stage <= to.into())
        };
        let mut selected = nodes(manifest, experiments)?;
        selected.retain(|node| is_selected(node.plan.stage));
        Ok(selected)
    }
}

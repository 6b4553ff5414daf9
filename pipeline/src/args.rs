//! What `run` is asked to do, and which stages a command is about.

use anyhow::Result;
use clap::Args;
use contract::cli::ManifestArgs;
use contract::exit::UsageError;
use contract::manifest::MemorySize;
use contract::{Manifest, Stage};
use glob::Pattern;

use crate::graph::{Node, nodes};

/// Arguments of `pipeline run`.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct RunArgs {
    #[command(flatten)]
    pub manifest: ManifestArgs,
    #[command(flatten)]
    pub selection: Selection,
    /// Of the selected experiments, run only those with a stage that failed in its last run
    #[arg(long)]
    pub failed: bool,
    /// How many stages may run at once, each on its share of the cores [default: the number of cores,
    /// but at most 4]
    #[arg(short, long, value_name = "NUM", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Memory that stages which run at once may take together, such as `8GiB` [default: four fifths
    /// of the machine's memory]. A stage is expected to take what it took the last time
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,
    /// Print only failures
    #[arg(short, long)]
    pub quiet: bool,
    /// Run stages even if they are fresh
    #[arg(long)]
    pub force: bool,
    /// After a failure, still run the stages that do not need the failed one
    #[arg(short, long)]
    pub keep_going: bool,
    /// Only print what would run
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print the record of the run as JSON, instead of the report's table
    #[arg(long)]
    pub json: bool,
}

fn memory(text: &str) -> Result<u64, String> {
    MemorySize::parse(text).ok_or_else(|| "expected a size such as `8GiB`".to_owned())
}

/// Experiments and stages, as named on the command line.
#[derive(Args)]
pub struct Selection {
    /// Experiments, by name or by pattern such as `approach_1*` [default: all]
    experiments: Vec<String>,
    /// Only this stage
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["from", "to"])]
    stage: Option<Stage>,
    /// Only this stage and those after it
    #[arg(long, value_name = "STAGE")]
    from: Option<Stage>,
    /// Only this stage and those before it
    #[arg(long, value_name = "STAGE")]
    to: Option<Stage>,
}

/// There is nothing to do, as nothing is selected. Programs exit with [`NothingSelected::EXIT_CODE`].
#[derive(Debug)]
pub struct NothingSelected(pub String);

impl NothingSelected {
    pub const EXIT_CODE: u8 = 4;
}

impl std::fmt::Display for NothingSelected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "nothing is selected: {}", self.0)
    }
}

impl std::error::Error for NothingSelected {}

impl Selection {
    /// Names of the selected experiments, in the manifest's order. A name without `*`, `?` or `[` must be
    /// an experiment's.
    ///
    /// # Errors
    ///
    /// A pattern that is not well-formed, a name that is not in the manifest.
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

    /// The selected stages of some experiments, in the order they run.
    ///
    /// # Errors
    ///
    /// If the range is empty, or this program's folder is not known.
    pub fn nodes(&self, manifest: &Manifest, experiments: &[String]) -> Result<Vec<Node>> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(UsageError("`--from` names a stage that comes after `--to`".into()).into());
        }
        let is_selected = |stage: Stage| {
            self.stage.is_none_or(|only| stage == only)
                && self.from.is_none_or(|from| stage >= from)
                && self.to.is_none_or(|to| stage <= to)
        };
        let mut selected = nodes(manifest, experiments)?;
        selected.retain(|node| is_selected(node.plan.id.stage));
        Ok(selected)
    }
}

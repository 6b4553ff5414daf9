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
pub struct RunArgs {
    #[command(flatten)]
    pub manifest: ManifestArgs,
    #[command(flatten)]
    pub selection: Selection,
    /// Vary a key of the selected experiment, as in `train.learning_rate=0.001,0.003`, just this
    /// once; may be repeated. It runs with each combination of values, as NAME-1, NAME-2 and so on
    #[arg(long, value_name = "KEY=VALUE,...", conflicts_with = "failed")]
    pub sweep: Vec<String>,
    /// Of the selected experiments, run only those with a stage that failed in its last run
    #[arg(long)]
    pub failed: bool,
    #[command(flatten)]
    pub how: How,
    /// Print the record of the run as JSON, instead of the report's table
    #[arg(long)]
    pub json: bool,
    /// Whether it is part of `pipeline sweep`: the baseline runs too, the report's table is not shown
    #[arg(skip)]
    pub is_sweep: bool,
}

/// How stages are run.
#[derive(Args, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct How {
    /// How many stages may run at once, each on its share of the cores [default: one per core, at
    /// most 4]
    #[arg(short, long, value_name = "NUM", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Memory that all running stages may take together, such as `8GiB`; a stage is expected to take
    /// what it took the last time [default: four fifths of the machine's memory]
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
    /// With `-n`, also list the stages that are fresh
    #[arg(long, requires = "dry_run")]
    pub all: bool,
}

fn memory(text: &str) -> Result<u64, String> {
    MemorySize::parse(text).ok_or_else(|| "expected a size such as `8GiB`".to_owned())
}

/// Experiments, as named on the command line.
#[derive(Args)]
pub struct Names {
    /// Experiments, by name or by pattern such as `approach_1*`; the name of a matrix stands for all
    /// of its experiments [default: all]
    experiments: Vec<String>,
}

/// Experiments and stages, as named on the command line.
#[derive(Args)]
pub struct Selection {
    #[command(flatten)]
    pub names: Names,
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

/// The pattern of one name.
fn exactly(name: &str) -> Pattern {
    Pattern::new(&Pattern::escape(name)).expect("an escaped name is well-formed")
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

impl Names {
    /// Names of the selected experiments, in the manifest's order. A name without `*`, `?` or `[` must be
    /// an experiment's, or that of a matrix, which stands for all of its experiments.
    ///
    /// # Errors
    ///
    /// A pattern that is not well-formed, a name that is not in the manifest.
    pub fn experiments(&self, manifest: &Manifest) -> Result<Vec<String>> {
        let mut wanted = Vec::new();
        for text in &self.experiments {
            match manifest.matrix(text) {
                Some(matrix) => wanted.extend(matrix.cells.iter().map(|name| exactly(name))),
                None if !text.contains(['*', '?', '[']) => drop(manifest.experiment(text)?),
                None => {}
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
}

impl Selection {
    /// All stages of one experiment, or of a matrix.
    pub fn of(experiment: &str) -> Self {
        let names = Names { experiments: vec![experiment.to_owned()] };
        Self { names, stage: None, from: None, to: None }
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

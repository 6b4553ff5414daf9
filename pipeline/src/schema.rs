//! JSON Schemas (draft 7) of all that the runner reads and writes.

use anyhow::Result;
use clap::{Args, ValueEnum};
use contract::Manifest;
use contract::audience::Audiences;
use contract::bundle::Bundle;
use contract::drift::Predicted;
use contract::exit::{EXIT_DONE, UsageError};
use contract::print_line;
use contract::record::Record;
use serde_json::Value;

use crate::command::accept::AcceptedStage;
use crate::command::check::Checked;
use crate::command::clean::Cleaned;
use crate::command::explain::Explanations;
use crate::command::graph::Graph;
use crate::command::preview::Planned;
use crate::command::status::StageStatus;
use crate::command::sweep::Ranked;
use crate::reference;
use contract::runs::Run;

/// Which schema to print, and how.
#[derive(Args)]
pub struct SchemaArgs {
    /// What the schema describes
    #[arg(value_name = "NAME", default_value = "manifest")]
    name: SchemaName,
    /// `markdown` prints a reference for readers; of the manifest only
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    format: SchemaFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaName {
    /// The manifest, pipeline.yaml
    Manifest,
    /// A stage's record, stage.json
    Record,
    /// What `run` did: `run --json`, run.json
    Run,
    /// What `run -n --json` prints
    Plan,
    /// What `status --json` prints
    Status,
    /// What `explain --json` prints
    Explain,
    /// What `history --json` prints
    History,
    /// What `accept --json` prints
    Accept,
    /// What `clean --json` prints
    Clean,
    /// What `graph --json` prints
    Graph,
    /// What `check --json` prints
    Check,
    /// What `sweep --json` prints
    Sweep,
    /// A bundle's record, bundle.json
    Bundle,
    /// What `audience --json` prints
    Audience,
    /// What `predict --json` prints
    Predict,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaFormat {
    /// JSON Schema (draft 7), for programs and editors
    Json,
    /// docs/MANIFEST.md
    Markdown,
}

/// Prints a schema; the result is the exit code.
///
/// # Errors
///
/// [`UsageError`] if Markdown is asked for of anything but the manifest.
pub fn print(args: &SchemaArgs) -> Result<u8> {
    match (args.format, args.name) {
        (SchemaFormat::Json, name) => print_line!("{:#}", schema(name)),
        (SchemaFormat::Markdown, SchemaName::Manifest) => {
            print_line!("{}", reference::markdown(&Manifest::schema()));
        }
        (SchemaFormat::Markdown, _) => {
            let what = "`--format markdown` prints the manifest's reference only\nhint: leave out the name, or print JSON";
            return Err(UsageError(what.to_owned()).into());
        }
    }
    Ok(EXIT_DONE)
}

fn schema(name: SchemaName) -> Value {
    match name {
        SchemaName::Manifest => Manifest::schema(),
        SchemaName::Record => contract::schema::<Record>(),
        SchemaName::Run => contract::schema::<Run>(),
        SchemaName::Plan => contract::schema::<Planned>(),
        SchemaName::Status => contract::schema::<Vec<StageStatus>>(),
        SchemaName::Explain => contract::schema::<Explanations>(),
        SchemaName::History => contract::schema::<Vec<Run>>(),
        SchemaName::Accept => contract::schema::<Vec<AcceptedStage>>(),
        SchemaName::Clean => contract::schema::<Cleaned>(),
        SchemaName::Graph => contract::schema::<Graph>(),
        SchemaName::Check => contract::schema::<Checked>(),
        SchemaName::Sweep => contract::schema::<Ranked>(),
        SchemaName::Bundle => contract::schema::<Bundle>(),
        SchemaName::Audience => contract::schema::<Audiences>(),
        SchemaName::Predict => contract::schema::<Predicted>(),
    }
}

//! JSON Schemas (draft 7) of all that the runner reads and writes.

use clap::ValueEnum;
use contract::Manifest;
use contract::record::Record;
use serde_json::Value;

use crate::command::accept::AcceptedStage;
use crate::command::check::Checked;
use crate::command::clean::Cleaned;
use crate::command::explain::Explanation;
use crate::command::graph::Graph;
use crate::command::preview::Planned;
use crate::command::status::StageStatus;
use crate::recorder::Run;

/// What a schema is of.
#[derive(Clone, Copy, ValueEnum)]
pub enum SchemaName {
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
}

/// The schema of this name.
pub fn schema(name: SchemaName) -> Value {
    match name {
        SchemaName::Manifest => Manifest::schema(),
        SchemaName::Record => contract::schema::<Record>(),
        SchemaName::Run => contract::schema::<Run>(),
        SchemaName::Plan => contract::schema::<Planned>(),
        SchemaName::Status => contract::schema::<Vec<StageStatus>>(),
        SchemaName::Explain => contract::schema::<Explanation>(),
        SchemaName::History => contract::schema::<Vec<Run>>(),
        SchemaName::Accept => contract::schema::<Vec<AcceptedStage>>(),
        SchemaName::Clean => contract::schema::<Cleaned>(),
        SchemaName::Graph => contract::schema::<Graph>(),
        SchemaName::Check => contract::schema::<Checked>(),
    }
}

//! `pipeline history`: what each run did, also those of a stage alone.

use std::collections::BTreeMap;

use contract::outcome::{Outcome, StageResult};
use contract::plan::StageId;
use contract::runs::{RUNNER, Run, StageOutcome, runs};
use contract::{Manifest, print_line};
use serde_json::json;

use crate::listing;

/// Prints the recorded runs.
pub fn history(manifest: &Manifest, as_json: bool) {
    let runs = runs(manifest);
    if as_json {
        print_line!("{:#}", json!(runs));
        return;
    }
    let mut table = listing::table(&["run", "took", "outcome", "stages", "command"]);
    for run in &runs {
        let outcome = match run.outcome {
            Outcome::Running if run.is_running() => "running",
            Outcome::Running => "did not end",
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::Interrupted => "interrupted",
        };
        let took = format!("{:.1} s", run.secs);
        let program = Some(&run.program).filter(|program| **program != RUNNER);
        let command: Vec<&str> =
            program.into_iter().chain(&run.arguments).map(String::as_str).collect();
        table.add_row([&run.id, &took, outcome, &stages(run), &command.join(" ")]);
    }
    print_line!("{table}");
}

/// The numbers of stages that ran, that failed and of all.
fn stages(run: &Run) -> String {
    let n = |is_meant: fn(&StageResult) -> bool| {
        run.stages.iter().filter(|stage| is_meant(&stage.outcome)).count()
    };
    let n_ran = n(|result| *result == StageResult::Ran);
    let n_failed = n(StageResult::is_failure);
    format!("{n_ran} ran, {n_failed} failed, of {}", run.stages.len())
}

/// Whether one of an experiment's stages, or one that all experiments share, failed or could not start
/// in the last of these runs that came to it.
///
/// * `is_planned`: whether the manifest still has a stage, as it may list other seeds now.
pub fn has_failed(
    runs: Vec<Run>,
    is_planned: impl Fn(&StageId) -> bool,
) -> impl Fn(&String) -> bool {
    let mut last = BTreeMap::new();
    for StageOutcome { id, outcome, .. } in runs.into_iter().flat_map(|run| run.stages) {
        last.insert(id, outcome);
    }
    last.retain(|id, outcome: &mut StageResult| outcome.is_failure() && is_planned(id));
    move |name| last.keys().any(|id| id.experiment.as_ref().is_none_or(|failed| failed == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of stages, each an experiment (or none), a stage and what became of it.
    fn run(stages: &[(Option<&str>, &str, &str)]) -> Run {
        let stage = |(experiment, stage, outcome): &(Option<&str>, &str, &str)| {
            json!({
                "experiment": experiment, "stage": stage, "outcome": outcome,
                "changes": [], "seeds": {}, "rows_in": 0, "bytes_in": 0,
            })
        };
        let stages: Vec<_> = stages.iter().map(stage).collect();
        let run = json!({
            "id": "1", "started": "", "secs": 1.0, "arguments": [], "version": "1",
            "machine": {"cores": 1}, "outcome": "done", "stages": stages,
        });
        serde_json::from_value(run).unwrap()
    }

    fn failed(runs: Vec<Run>) -> Vec<&'static str> {
        let has_failed = has_failed(runs, |_| true);
        ["a", "b"].into_iter().filter(|name| has_failed(&(*name).to_owned())).collect()
    }

    #[test]
    fn a_failure_counts_until_the_stage_ends_well() {
        let first = || run(&[(Some("a"), "train", "failed"), (Some("b"), "train", "blocked")]);
        assert_eq!(failed(vec![first()]), ["a", "b"]);
        // A run of other stages does not make it forgotten.
        let other = || run(&[(Some("a"), "sample", "ran"), (Some("b"), "train", "restored")]);
        assert_eq!(failed(vec![first(), other()]), ["a"]);
        let interrupted = run(&[(Some("a"), "train", "interrupted")]);
        assert_eq!(failed(vec![first(), other(), interrupted]), [""; 0]);
    }

    #[test]
    fn a_failed_holdout_counts_for_every_experiment() {
        assert_eq!(failed(vec![run(&[(None, "holdout", "failed")])]), ["a", "b"]);
    }

    #[test]
    fn stages_are_counted_by_what_became_of_them() {
        let run = run(&[
            (None, "holdout", "fresh"),
            (Some("a"), "train", "ran"),
            (Some("a"), "score", "failed"),
            (Some("b"), "train", "blocked"),
            (Some("c"), "train", "interrupted"),
        ]);
        assert_eq!(stages(&run), "1 ran, 2 failed, of 5");
    }
}

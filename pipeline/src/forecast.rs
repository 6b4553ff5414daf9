//! What a run would find: the state of each stage when the stages before it have ended.

use contract::hashes::Hashes;
use contract::plan::StageId;
use contract::rungs::Rungs;

use crate::freshness::{State, Why};
use crate::graph::{Node, fails_with, needs};
use crate::store::Store;

/// What a run would find of a stage.
#[derive(Debug)]
pub enum Forecast {
    /// This, as nothing that the stage needs would run before.
    Known(State),
    /// A stage that it needs would run first, so its state is not known; the changes that are known.
    Waiting(Why),
    /// An earlier experiment would make the same results, which it would take over.
    Shared { with: String },
}

impl Forecast {
    /// Whether the stage would run, as far as is known.
    pub fn will_run(&self) -> bool {
        match self {
            Self::Known(state) => matches!(state, State::Stale { .. }),
            Self::Waiting(_) => true,
            Self::Shared { .. } => false,
        }
    }
}

/// What a run of a list of stages would find, in order. Results that would be restored count as
/// restored for the stages after them.
///
/// * `force`: whether stages whose results exist would run too.
pub fn forecast(nodes: &[Node], force: bool, store: &Store, hashes: &mut Hashes) -> Vec<Forecast> {
    let mut pending = Pending::default();
    let mut forecasts = Vec::new();
    for node in nodes {
        let state = State::of(node, store, hashes);
        let state = if force { state.forced() } else { state };
        let forecast = pending.forecast(&node.plan.id, state);
        if let Forecast::Known(State::Kept { record, .. }) = &forecast {
            hashes.assume(&node.plan.dir, record);
        }
        forecasts.push(forecast);
    }
    hashes.assume_nothing();
    forecasts
}

/// Stages whose results would be others after the run, in order; with the fingerprints of those that
/// would run.
#[derive(Default)]
struct Pending<'a> {
    stages: Vec<(&'a StageId, Option<String>)>,
    /// Trainings that were ended early
    ended: Vec<(&'a StageId, Box<Rungs>)>,
}

impl<'a> Pending<'a> {
    /// What the run would find of the next stage, whose state now is `state`.
    fn forecast(&mut self, id: &'a StageId, state: State) -> Forecast {
        if let State::Ended { rungs, .. } = &state {
            self.ended.push((id, rungs.clone()));
            return Forecast::Known(state);
        }
        if let Some((_, rungs)) = self.ended.iter().find(|(other, _)| fails_with(id, other)) {
            let (fingerprint, rungs) = (String::new(), rungs.clone());
            return Forecast::Known(State::Ended { fingerprint, rungs });
        }
        if let Some((before, _)) = self.stages.iter().find(|(other, _)| needs(id, other)) {
            let words = Some(format!("after {before}"));
            let changes = match state {
                State::Stale { why, .. } | State::Kept { why, .. } => why.changes,
                State::Fresh { .. } | State::Ended { .. } | State::Blocked(_) => Vec::new(),
            };
            self.stages.push((id, None));
            return Forecast::Waiting(Why { words, changes });
        }
        let State::Stale { fingerprint, .. } = &state else { return Forecast::Known(state) };
        let is_same = |(_, made): &&(_, Option<String>)| made.as_ref() == Some(fingerprint);
        let maker =
            self.stages.iter().find(is_same).and_then(|(maker, _)| maker.experiment.clone());
        if let Some(with) = maker {
            self.stages.push((id, None));
            return Forecast::Shared { with };
        }
        self.stages.push((id, Some(fingerprint.clone())));
        Forecast::Known(state)
    }
}

#[cfg(test)]
mod tests {
    use contract::Stage;

    use super::*;
    use crate::made_up::{self, Project};

    fn fresh() -> State {
        State::Fresh { fingerprint: "of what is there".to_owned() }
    }

    fn stale(fingerprint: &str) -> State {
        State::Stale { fingerprint: fingerprint.to_owned(), why: Why::of("a reason") }
    }

    fn kept() -> State {
        let record = Box::new(made_up::record(made_up::parts("f")));
        State::Kept { dir: "kept".into(), record, why: Why::default() }
    }

    /// A word for each stage, in order.
    fn words(stages: Vec<(StageId, State)>) -> Vec<String> {
        let mut pending = Pending::default();
        let (ids, states): (Vec<_>, Vec<_>) = stages.into_iter().unzip();
        let forecasts = ids.iter().zip(states).map(|(id, state)| pending.forecast(id, state));
        forecasts.map(|forecast| word(&forecast)).collect()
    }

    fn word(forecast: &Forecast) -> String {
        match forecast {
            Forecast::Known(State::Fresh { .. }) => "fresh".to_owned(),
            Forecast::Known(State::Kept { .. }) => "kept".to_owned(),
            Forecast::Known(State::Stale { .. }) => "stale".to_owned(),
            Forecast::Known(State::Ended { .. }) => "ended".to_owned(),
            Forecast::Known(State::Blocked(_)) => "blocked".to_owned(),
            Forecast::Waiting(why) => why.line(),
            Forecast::Shared { with } => format!("shared with {with}"),
        }
    }

    fn of(stage: Stage, experiment: &str) -> StageId {
        StageId::of(stage, experiment)
    }

    const HOLDOUT: StageId = StageId { experiment: None, stage: Stage::Holdout, seed: None };
    const REPORT: StageId = StageId { experiment: None, stage: Stage::Report, seed: None };

    #[test]
    fn stages_after_one_that_would_run_wait_for_it() {
        let found = words(vec![
            (HOLDOUT, fresh()),
            (of(Stage::Sample, "a"), fresh()),
            (of(Stage::Train, "a"), stale("f")),
            (of(Stage::Score, "a"), fresh()),
            (of(Stage::Train, "b"), fresh()),
            (REPORT, fresh()),
        ]);
        assert_eq!(
            found,
            ["fresh", "fresh", "stale", "after train of a", "fresh", "after train of a"]
        );
    }

    #[test]
    fn everything_waits_for_the_holdout() {
        let found = words(vec![
            (HOLDOUT, stale("h")),
            (of(Stage::Train, "a"), stale("f")),
            (of(Stage::Score, "b"), State::Blocked(String::new())),
            (REPORT, kept()),
        ]);
        assert_eq!(found, ["stale", "after holdout", "after holdout", "after holdout"]);
    }

    #[test]
    fn the_report_waits_for_any_stage() {
        for stage in Stage::OF_EXPERIMENT {
            let found = words(vec![(of(stage, "a"), stale("f")), (REPORT, fresh())]);
            assert_eq!(found, ["stale".to_owned(), format!("after {stage} of a")]);
        }
    }

    #[test]
    fn a_waiting_stage_shows_the_changes_that_are_known() {
        let changed = State::Stale {
            fingerprint: "g".to_owned(),
            why: Why {
                words: None,
                changes: made_up::parts("g").changes_since(&made_up::parts("f")),
            },
        };
        let found =
            words(vec![(of(Stage::Sample, "a"), stale("f")), (of(Stage::Train, "a"), changed)]);
        assert_eq!(found, ["stale", "after sample of a; `f`: \"f\" -> \"g\""]);
    }

    #[test]
    fn a_stage_shares_what_an_earlier_experiment_would_make() {
        let found = words(vec![
            (of(Stage::Train, "a"), stale("f")),
            (of(Stage::Score, "a"), fresh()),
            (of(Stage::Train, "b"), stale("f")),
            (of(Stage::Score, "b"), fresh()),
            (of(Stage::Train, "c"), stale("g")),
        ]);
        let expected = ["stale", "after train of a", "shared with a", "after train of b", "stale"];
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_waits_for_results_that_would_be_restored_or_for_what_cannot_run() {
        let found = words(vec![
            (of(Stage::Train, "a"), kept()),
            (of(Stage::Score, "a"), fresh()),
            (of(Stage::Train, "b"), State::Blocked(String::new())),
            (of(Stage::Score, "b"), fresh()),
        ]);
        assert_eq!(found, ["kept", "fresh", "blocked", "fresh"]);
    }

    /// Stages of real files, each of which reads what the one before it wrote.
    fn forecast_of(project: &Project, force: bool) -> Vec<String> {
        let found = forecast(&project.nodes, force, &project.store(), &mut Hashes::default());
        found.iter().map(word).collect()
    }

    #[test]
    fn everything_is_fresh_after_a_run_and_force_runs_it_all_the_same() {
        let project = Project::new(&["a"]);
        let never_run = ["stale", "after train of a", "after train of a"];
        assert_eq!(forecast_of(&project, false), never_run);
        project.run_all();
        assert_eq!(forecast_of(&project, false), ["fresh", "fresh", "fresh"]);
        assert_eq!(forecast_of(&project, true), never_run);
    }

    /// The score was made of the restored model, so it counts as fresh although another is there.
    #[test]
    fn stages_after_restored_results_are_looked_at_as_if_they_were_in_place() {
        let mut project = Project::new(&["a"]);
        project.run_all();
        project.keep(Stage::Train, "a");
        project.set(Stage::Train, "a", "epochs", 4);
        project.run(Stage::Train, "a");
        project.set(Stage::Train, "a", "epochs", 30);
        assert_eq!(forecast_of(&project, false), ["kept", "fresh", "fresh"]);
    }

    #[test]
    fn experiments_with_equal_settings_share_and_with_others_do_not() {
        let mut project = Project::new(&["a", "b"]);
        let shared =
            ["stale", "after train of a", "shared with a", "after train of b", "after train of a"];
        assert_eq!(forecast_of(&project, false), shared);
        project.set(Stage::Train, "b", "epochs", 4);
        assert_eq!(forecast_of(&project, false)[2], "stale");
    }
}

//! How long a run still takes: from the times of earlier runs, and from the updates of trainings.

use std::sync::LazyLock;
use std::time::Instant;

use contract::Stage;
use contract::record::Record;
use regex::Regex;
use serde_json::Value;

use crate::graph::Node;

/// What is known of the time that each stage takes.
pub struct Left {
    stages: Vec<Expected>,
}

struct Expected {
    stage: Stage,
    /// Whether a training is followed by a refit
    has_refit: bool,
    state: Progress,
    /// As its last run took
    secs: Option<f64>,
}

#[derive(Clone, Copy)]
enum Progress {
    /// It will run.
    Due,
    Running {
        /// Since when, and how much was done then
        since: (Instant, f64),
        /// How much is done, if it says so
        share: Option<f64>,
    },
    /// It has ended or will not run.
    Over,
}

impl Left {
    /// * `nodes`: each with whether it will run.
    pub fn new<'a>(nodes: impl Iterator<Item = (&'a Node, bool)>) -> Self {
        let expected = |(node, will_run): (&Node, bool)| Expected {
            stage: node.plan.id.stage,
            has_refit: node.plan.params["refit"] == true,
            state: if will_run { Progress::Due } else { Progress::Over },
            secs: Record::of(&node.plan)
                .filter(|_| node.pause_after.is_none())
                .map(|record| expected_secs(&record, &node.plan.params)),
        };
        Self { stages: nodes.map(expected).collect() }
    }

    pub fn start(&mut self, place: usize, now: Instant) {
        self.stages[place].state = Progress::Running { since: (now, 0.0), share: None };
    }

    /// * `secs`: if the stage ran.
    pub fn end(&mut self, place: usize, secs: Option<f64>) {
        self.stages[place].state = Progress::Over;
        if secs.is_some() {
            self.stages[place].secs = secs;
        }
    }

    /// A line of a stage's messages, which may say how far it is.
    pub fn line(&mut self, place: usize, line: &str, now: Instant) {
        let Expected { has_refit, state, .. } = &mut self.stages[place];
        let Progress::Running { since, share } = state else { return };
        let Some(done) = share_done(line, *has_refit) else { return };
        if line.contains("resuming from a checkpoint") {
            *since = (now, done);
        } else {
            *share = Some(done);
        }
    }

    /// Seconds until all stages have ended; `None` as long as the time of one cannot be told.
    ///
    /// * `jobs`: stages that run at once.
    pub fn secs(&self, jobs: usize, now: Instant) -> Option<f64> {
        let each: Option<Vec<f64>> = self.stages.iter().map(|stage| self.of(stage, now)).collect();
        let each = each?;
        let longest = each.iter().copied().fold(0.0, f64::max);
        Some((each.iter().sum::<f64>() / jobs as f64).max(longest))
    }

    fn of(&self, stage: &Expected, now: Instant) -> Option<f64> {
        let expected = || stage.secs.or_else(|| self.mean_of(stage.stage));
        match stage.state {
            Progress::Over => Some(0.0),
            Progress::Due => expected(),
            Progress::Running { since: (since, before), share } => {
                let elapsed = (now - since).as_secs_f64();
                match share.filter(|share| *share > before) {
                    Some(share) => Some(elapsed / (share - before) * (1.0 - share)),
                    None => expected().map(|secs| (secs - elapsed).max(0.0)),
                }
            }
        }
    }

    /// Mean time of the same stage of other experiments, where it is known.
    fn mean_of(&self, stage: Stage) -> Option<f64> {
        let known = self.stages.iter().filter(|other| other.stage == stage);
        let known: Vec<f64> = known.filter_map(|other| other.secs).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }
}

/// What a stage's last run took, in proportion to the updates if their number was set anew.
fn expected_secs(record: &Record, params: &Value) -> f64 {
    let rows = record.summary["rows"].as_u64();
    let updates = |params: &Value| planned_updates(params, rows?);
    match (updates(&record.parts.params), updates(params)) {
        (Some(then), Some(now)) if then > 0.0 => record.secs * now / then,
        _ => record.secs,
    }
}

/// Updates of all networks, as settings of `train` say.
fn planned_updates(params: &Value, rows: u64) -> Option<f64> {
    let of_one = match params["updates"].as_u64() {
        Some(updates) => updates,
        None => params["epochs"].as_u64()? * rows.div_ceil(params["batch_size"].as_u64()?.max(1)),
    };
    Some((of_one * params["members"].as_u64()?) as f64)
}

/// How much of a training is done, from what train-stage writes: `train bau (2 of 3): epoch 4 of 8
/// (332 of 664 updates): …`, or `… resuming from a checkpoint after update 332 of 664`.
fn share_done(line: &str, has_refit: bool) -> Option<f64> {
    static DONE: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r"^(train|refit) .*?(?: \((\d+) of (\d+)\))?: (?:epoch .*\(|resuming .* update )(\d+) of (\d+)";
        Regex::new(pattern).expect("the pattern is well-formed")
    });

    let found = DONE.captures(line)?;
    let number = |i: usize| found.get(i).and_then(|text| text.as_str().parse::<f64>().ok());
    let (member, members) = number(2).zip(number(3)).unwrap_or((1.0, 1.0));
    let parts = if has_refit { 2.0 } else { 1.0 };
    let before = (member - 1.0) * parts + f64::from(u8::from(&found[1] == "refit"));
    let share = (before + number(4)? / number(5)?) / (members * parts);
    (0.0..=1.0).contains(&share).then_some(share)
}

/// A time for people: `40 s`, `4 min`, `1 h 20 min`.
pub fn in_words(secs: f64) -> String {
    let minutes = (secs / 60.0).round() as u64;
    match minutes {
        0 | 1 if secs < 90.0 => format!("{} s", secs.ceil().max(1.0)),
        0..60 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::made_up;
    use serde_json::json;

    fn stage(stage: Stage, secs: Option<f64>, will_run: bool) -> Expected {
        let state = if will_run { Progress::Due } else { Progress::Over };
        Expected { stage, has_refit: false, state, secs }
    }

    #[test]
    fn what_is_left_is_shared_by_the_jobs_and_lasts_as_long_as_its_longest_stage() {
        let train = |secs| stage(Stage::Train, Some(secs), true);
        let left = Left { stages: vec![train(10.0), train(20.0), train(30.0), train(100.0)] };
        let now = Instant::now();
        assert_eq!(left.secs(1, now), Some(160.0));
        assert_eq!(left.secs(2, now), Some(100.0));
    }

    #[test]
    fn a_stage_that_never_ran_is_expected_to_take_the_mean_of_its_kind() {
        let mut left = Left {
            stages: vec![
                stage(Stage::Train, Some(10.0), false),
                stage(Stage::Train, Some(20.0), true),
                stage(Stage::Train, None, true),
            ],
        };
        let now = Instant::now();
        assert_eq!(left.secs(1, now), Some(20.0 + 15.0));
        left.stages.push(stage(Stage::Score, None, true));
        assert_eq!(left.secs(1, now), None, "nothing is known of scores");
        left.end(3, Some(1.0));
        left.end(1, Some(12.0));
        assert_eq!(left.secs(1, now), Some(11.0));
    }

    /// A quarter took 10 s, so three quarters take 30.
    #[test]
    fn a_training_says_how_far_it_is() {
        let mut left = Left { stages: vec![stage(Stage::Train, Some(100.0), true)] };
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        left.start(0, start);
        assert_eq!(left.secs(1, after(4)), Some(96.0));
        left.line(0, "train bau: epoch 2 of 8 (166 of 664 updates): loss 1", after(10));
        assert_eq!(left.secs(1, after(10)), Some(30.0));
        // Half was done before: a quarter in 10 s, the last quarter in another 10.
        left.start(0, start);
        left.line(0, "train bau: resuming from a checkpoint after update 332 of 664", start);
        left.line(0, "train bau: epoch 6 of 8 (498 of 664 updates): loss 1", after(10));
        assert_eq!(left.secs(1, after(10)), Some(10.0));
    }

    #[test]
    fn averaged_and_refit_networks_are_parts_of_a_training() {
        for (line, has_refit, expected) in [
            ("train bau: epoch 1 of 8 (83 of 664 updates): loss 2.1", false, Some(0.125)),
            ("train bau (seed 8): epoch 1 of 8 (83 of 664 updates): loss", false, Some(0.125)),
            ("train bau (2 of 4): epoch 1 of 2 (5 of 10 updates): loss", false, Some(0.375)),
            ("train bau (seed 8) (2 of 4): epoch 1 of 2 (5 of 10 updates): l", true, Some(0.3125)),
            ("refit bau (2 of 4): epoch 1 of 2 (5 of 10 updates): loss", true, Some(0.4375)),
            ("train of bau: 12 examples, 4 updates, kept after epoch 2 of 3", false, None),
            ("sample-stage: 5 of 6 rows", false, None),
        ] {
            assert_eq!(share_done(line, has_refit), expected, "{line}");
        }
    }

    /// 4 updates an epoch: 40 then, 10 now.
    #[test]
    fn fewer_updates_take_less_time() {
        let mut parts = made_up::parts("f");
        parts.params = json!({"epochs": 10, "updates": null, "batch_size": 8, "members": 1});
        let mut record = made_up::record(parts);
        record.secs = 20.0;
        record.summary = json!({"rows": 30});
        let now = json!({"epochs": 10, "updates": 10, "batch_size": 8, "members": 1});
        assert_eq!(expected_secs(&record, &now), 5.0);
        assert_eq!(expected_secs(&record, &json!({"model": "popularity"})), 20.0);
    }

    #[test]
    fn times_are_in_words() {
        let words = [0.2, 40.0, 89.0, 100.0, 240.0, 4800.0].map(in_words);
        assert_eq!(words, ["1 s", "40 s", "89 s", "2 min", "4 min", "1 h 20 min"]);
    }
}

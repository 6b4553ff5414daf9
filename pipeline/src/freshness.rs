//! Whether a stage's results are those that running it now would give, and if not, why.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use contract::commands;
use contract::hashes::Hashes;
use contract::plan::Input;
use contract::record::{Parts, Record};
use contract::rungs::Rungs;
pub use contract::why::Why;

use crate::graph::Node;
use crate::store::Store;

/// Whether a stage must run, as things are now.
#[derive(Debug)]
pub enum State {
    /// Its results are those that running it would give.
    Fresh { fingerprint: String },
    /// The results that running it would give are kept: of another experiment, or of an earlier setting.
    Kept {
        /// The folder in which they are kept
        dir: PathBuf,
        record: Box<Record>,
        /// Why they are not those that are there
        why: Why,
    },
    /// It must run.
    Stale {
        /// Of the results that it would make
        fingerprint: String,
        why: Why,
    },
    /// It goes no further, as other trainings of its matrix are better.
    Ended { fingerprint: String, rungs: Box<Rungs> },
    /// It cannot run: a file that it needs does not exist or cannot be read.
    Blocked(String),
}

impl State {
    /// The state of a stage; an error blocks it.
    pub fn of(node: &Node, store: &Store, hashes: &mut Hashes) -> Self {
        look(node, store, hashes).unwrap_or_else(|err| Self::Blocked(format!("{err:#}")))
    }

    /// Fingerprint of the results that the stage would have, unless it is blocked.
    pub fn fingerprint(&self) -> Option<&str> {
        match self {
            Self::Fresh { fingerprint }
            | Self::Stale { fingerprint, .. }
            | Self::Ended { fingerprint, .. } => Some(fingerprint),
            Self::Kept { record, .. } => Some(&record.fingerprint),
            Self::Blocked(_) => None,
        }
    }

    /// The same under `--force`: the stage also runs if its results exist.
    pub fn forced(self) -> Self {
        let fingerprint = match self {
            Self::Fresh { fingerprint } => fingerprint,
            Self::Kept { record, .. } => record.fingerprint,
            Self::Stale { .. } | Self::Ended { .. } | Self::Blocked(_) => return self,
        };
        Self::Stale { fingerprint, why: Why::of("--force") }
    }
}

/// Compares what a stage's results would be made of now with what those that are there were made of.
///
/// # Errors
///
/// If a file cannot be read, or the stage's program is not built.
pub fn look(node: &Node, store: &Store, hashes: &mut Hashes) -> Result<State> {
    let Node { plan, binary, .. } = node;
    ensure!(
        binary.exists(),
        "{}: the program is not built\nhint: run `{}`",
        binary.display(),
        commands::build()
    );
    if let Some(problem) = &plan.problem {
        return Ok(State::Blocked(problem.clone()));
    }
    let is_missing = |input: &&Input| {
        !input.is_optional && input.object.is_none() && !hashes.is_there(&input.path)
    };
    if let Some(input) = plan.inputs.iter().find(is_missing) {
        return Ok(State::Blocked(format!("`{}` does not exist yet", input.path.display())));
    }
    let parts = Parts::of(plan, binary, hashes)?;
    let fingerprint = parts.fingerprint();
    let why = match Record::of(plan) {
        Some(record) => {
            let damage = record.damage(&plan.dir, hashes);
            match why_stale(&record, &parts, damage) {
                Some(why) => why,
                None => return Ok(State::Fresh { fingerprint }),
            }
        }
        // The runner creates the log when it starts a stage, the stage its record at the end.
        None if plan.log_path().exists() => Why::of("it has not succeeded yet"),
        None => Why::of("it has not run yet"),
    };
    Ok(match store.find(&fingerprint, hashes) {
        Some((dir, record)) => State::Kept { dir, record: Box::new(record), why },
        None => match ended(node, &fingerprint) {
            Some(rungs) => State::Ended { fingerprint, rungs: Box::new(rungs) },
            None => State::Stale { fingerprint, why },
        },
    })
}

/// Where a training with this fingerprint was ended early.
fn ended(node: &Node, fingerprint: &str) -> Option<Rungs> {
    let is_asked = node.is_halved && node.pause_after.is_none();
    let rungs = is_asked.then(|| Rungs::load(&node.plan.dir, fingerprint)).flatten()?;
    rungs.ended.is_some().then_some(rungs)
}

/// Why recorded results are not those that a stage would make of `parts`; `None` if they are.
///
/// * `damage`: what is wrong with the recorded files.
fn why_stale(record: &Record, parts: &Parts, damage: Option<String>) -> Option<Why> {
    if record.fingerprint == parts.fingerprint() && damage.is_none() {
        return None;
    }
    let changes = parts.changes_since(&record.parts);
    let words = damage.or_else(|| {
        let words = "its settings differ only in their order or in a last digit";
        changes.is_empty().then(|| words.to_owned())
    });
    Some(Why { words, changes })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use contract::Stage;
    use serde_json::json;

    use super::*;
    use crate::made_up::{self, Project};

    fn changed_parts(why: &Why) -> Vec<&str> {
        why.changes.iter().map(|change| &*change.part).collect()
    }

    /// A record that was made of `a`, and why its results are stale if they would be made of `b`.
    fn why(a: Parts, b: &Parts) -> Option<Why> {
        why_stale(&made_up::record(a), b, None)
    }

    #[test]
    fn the_same_parts_are_fresh() {
        assert!(why(made_up::parts("f"), &made_up::parts("f")).is_none());
    }

    #[test]
    fn a_changed_setting_is_stale_and_named_with_both_values() {
        let mut now = made_up::parts("f");
        now.params["epochs"] = json!(4);
        let why = why(made_up::parts("f"), &now).unwrap();
        assert_eq!(why.line(), "`epochs`: 30 -> 4");
    }

    #[test]
    fn a_rebuilt_program_is_stale() {
        let now = Parts { binary: "rebuilt".to_owned(), ..made_up::parts("f") };
        assert_eq!(why(made_up::parts("f"), &now).unwrap().line(), "the program was rebuilt");
    }

    #[test]
    fn another_version_of_the_contracts_is_stale() {
        let now = Parts { contract: 2, ..made_up::parts("f") };
        let why = why(made_up::parts("f"), &now).unwrap();
        assert_eq!(why.line(), "the contracts' version: 1 -> 2");
    }

    #[test]
    fn an_input_with_other_content_is_stale_and_so_is_a_new_or_a_missing_one() {
        let mut now = made_up::parts("f");
        now.inputs.insert("features".to_owned(), Some("other".to_owned()));
        assert_eq!(why(made_up::parts("f"), &now).unwrap().line(), "input `features` has changed");
        now.inputs.insert("features".to_owned(), None);
        assert_eq!(why(made_up::parts("f"), &now).unwrap().line(), "input `features` is gone");
        assert_eq!(why(now, &made_up::parts("f")).unwrap().line(), "input `features` is new");
    }

    #[test]
    fn the_order_of_settings_does_not_matter() {
        let (mut then, mut now) = (made_up::parts("f"), made_up::parts("f"));
        then.params = json!({"epochs": 30, "seed": 7});
        now.params = json!({"seed": 7, "epochs": 30});
        assert!(why(then, &now).is_none());
    }

    #[test]
    fn damaged_results_are_stale_although_no_part_changed() {
        let record = made_up::record(made_up::parts("f"));
        let why = why_stale(&record, &made_up::parts("f"), Some("`x` is gone".to_owned())).unwrap();
        assert_eq!((why.reasons(), why.changes.len()), (vec!["`x` is gone".to_owned()], 0));
    }

    #[test]
    fn a_difference_that_cannot_be_named_is_still_a_reason() {
        let mut record = made_up::record(made_up::parts("f"));
        record.fingerprint = "of a last digit".to_owned();
        let why = why_stale(&record, &made_up::parts("f"), None).unwrap();
        assert!(why.line().starts_with("its settings differ only in"), "{}", why.line());
    }

    #[test]
    fn a_line_has_three_reasons_and_the_first_line_of_each() {
        let mut now = made_up::parts("f");
        now.params = json!({"a": 1, "b": 2, "c": 3, "d": 4, "epochs": 30, "f": "f"});
        assert_eq!(
            why(made_up::parts("f"), &now).unwrap().line(),
            "`a`: null -> 1; `b`: null -> 2; `c`: null -> 3; and 1 more; see `pipeline explain`"
        );
        let sql = |text: &str| Parts { params: json!({ "sql": text }), ..made_up::parts("f") };
        let why = why(sql("select 1\nfrom a"), &sql("select 1\nfrom b")).unwrap();
        assert_eq!(why.line(), "`sql` has changed");
    }

    #[test]
    fn a_stage_without_a_record_has_not_run_or_not_succeeded() {
        let project = Project::new(&["a"]);
        let words = |project: &Project| match project.look(Stage::Train, "a") {
            State::Stale { why, .. } => why.line(),
            other => panic!("{other:?}"),
        };
        assert_eq!(words(&project), "it has not run yet");
        fs::create_dir_all(project.dir(Stage::Train, "a")).unwrap();
        fs::write(project.dir(Stage::Train, "a").join("log.txt"), "").unwrap();
        assert_eq!(words(&project), "it has not succeeded yet");
    }

    #[test]
    fn a_stage_is_fresh_after_it_has_run_until_an_input_changes() {
        let project = Project::new(&["a"]);
        project.run(Stage::Train, "a");
        let State::Fresh { fingerprint } = project.look(Stage::Train, "a") else {
            panic!("{:?}", project.look(Stage::Train, "a"))
        };
        assert_eq!(fingerprint, project.record(Stage::Train, "a").fingerprint);
        fs::write(project.raw(), "other users").unwrap();
        let State::Stale { why, .. } = project.look(Stage::Train, "a") else {
            panic!("{:?}", project.look(Stage::Train, "a"))
        };
        assert_eq!(changed_parts(&why), ["input.raw"]);
    }

    #[test]
    fn a_file_that_was_changed_cut_or_deleted_makes_its_stage_stale() {
        let project = Project::new(&["a"]);
        project.run(Stage::Train, "a");
        let file = project.dir(Stage::Train, "a").join("out");
        let whole = fs::read(&file).unwrap();
        for (bytes, reason) in [
            (Some([&whole[1..], b"x"].concat()), "was changed after it was written"),
            (Some(whole[1..].to_vec()), "bytes, "),
            (None, "is gone"),
        ] {
            fs::remove_file(&file).unwrap();
            if let Some(bytes) = &bytes {
                fs::write(&file, bytes).unwrap();
            }
            let State::Stale { why, .. } = project.look(Stage::Train, "a") else {
                panic!("{reason}: {:?}", project.look(Stage::Train, "a"))
            };
            assert!(why.line().contains(reason), "{reason}: {}", why.line());
            fs::write(&file, &whole).unwrap();
        }
        assert!(matches!(project.look(Stage::Train, "a"), State::Fresh { .. }));
    }

    #[test]
    fn results_of_an_earlier_setting_are_kept_with_the_reason_for_the_change() {
        let mut project = Project::new(&["a"]);
        project.run(Stage::Train, "a");
        let earlier = project.record(Stage::Train, "a").fingerprint;
        project.keep(Stage::Train, "a");
        project.set(Stage::Train, "a", "epochs", 4);
        project.run(Stage::Train, "a");
        project.set(Stage::Train, "a", "epochs", 30);
        let State::Kept { record, why, .. } = project.look(Stage::Train, "a") else {
            panic!("{:?}", project.look(Stage::Train, "a"))
        };
        assert_eq!((record.fingerprint, why.line()), (earlier, "`epochs`: 4 -> 30".to_owned()));
    }

    #[test]
    fn a_missing_input_blocks_unless_it_is_optional() {
        let mut project = Project::new(&["a"]);
        fs::remove_file(project.raw()).unwrap();
        let State::Blocked(reason) = project.look(Stage::Train, "a") else {
            panic!("{:?}", project.look(Stage::Train, "a"))
        };
        assert_eq!(reason, format!("`{}` does not exist yet", project.raw().display()));
        project.node_mut(Stage::Train, "a").plan.inputs[0].is_optional = true;
        assert!(matches!(project.look(Stage::Train, "a"), State::Stale { .. }));
    }

    #[test]
    fn a_program_that_is_not_built_blocks_with_a_hint() {
        let mut project = Project::new(&["a"]);
        project.node_mut(Stage::Train, "a").binary = "no-such-program".into();
        let State::Blocked(reason) = project.look(Stage::Train, "a") else {
            panic!("{:?}", project.look(Stage::Train, "a"))
        };
        assert_eq!(reason, "no-such-program: the program is not built\nhint: run `make build`");
    }

    #[test]
    fn force_makes_stale_what_is_there_with_its_fingerprint() {
        let fresh = State::Fresh { fingerprint: "f".to_owned() };
        let State::Stale { fingerprint, why } = fresh.forced() else { panic!("not forced") };
        assert_eq!((&*fingerprint, &*why.line()), ("f", "--force"));
        // What is stale already keeps its reason, and what is blocked stays blocked.
        let stale = State::Stale { fingerprint: "f".to_owned(), why: Why::of("a reason") };
        let State::Stale { why, .. } = stale.forced() else { panic!("not stale") };
        assert_eq!(why.line(), "a reason");
        assert!(matches!(State::Blocked(String::new()).forced(), State::Blocked(_)));
    }
}

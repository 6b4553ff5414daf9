//! Loading a manifest: mistakes and their places, normalised values, which of two settings counts.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{
    CHANGES_NO_RESULT, IdSpace, Loss, Manifest, ModelKind, ScoreParams, name_experiments,
    what_changes_results,
};
use crate::Problems;

mod matrix;

/// A valid manifest, with a line for each thing that a test changes.
const SOUND: &str = "\
version: 1
data:
  tables: {users: t.csv}
  users: {table: users}
  interactions: {table: users}
  brands: {table: users}
  features: [x, {column: past, ids: brands}]
holdout: {valid: 0.1, test: 0.2}
stages:
  sample: {sql: q.sql}
  train: {hidden: [8]}
experiments:
  a: {}
  b: {}
";

struct File {
    dir: TempDir,
    path: PathBuf,
}

/// The valid manifest with changes: each a text in it and its replacement.
fn changed(changes: &[(&str, &str)]) -> File {
    let mut text = SOUND.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    written(text.as_bytes())
}

fn written(bytes: &[u8]) -> File {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("t.csv", "user_id\n1\n"), ("q.sql", "select 1")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let path = dir.path().join("m.yaml");
    std::fs::write(&path, bytes).unwrap();
    File { dir, path }
}

impl File {
    fn load(&self, sets: &[&str]) -> Result<Manifest, Problems> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        Manifest::load(&self.path, &sets, &[])
    }

    /// Each problem as `PLACE: MESSAGE`, the place without the file's folder.
    fn problems(&self, sets: &[&str]) -> Vec<String> {
        let Problems(problems) = self.load(sets).expect_err("the manifest has mistakes");
        let folder = format!("{}/", self.dir.path().display());
        let line = |p: crate::Problem| format!("{}: {}", p.place, p.message).replace(&folder, "");
        problems.into_iter().map(line).collect()
    }
}

/// Whether the sample is fresh or not: what a query does not use is in no fingerprint.
#[test]
fn an_experiments_own_parameter_must_be_used_by_its_query() {
    let own =
        |params: &str| changed(&[("  a: {}", &format!("  a: {{sample: {{params: {params}}}}}"))]);
    let file = own("{n_user: 3, n_users: 4}");
    std::fs::write(file.dir.path().join("q.sql"), "select $n_users, $seed").unwrap();
    assert_eq!(
        file.problems(&["experiments.b.sample.params.sed=8"]),
        [
            "m.yaml:13:25: `sample.params.n_user` is given, but the query has no `$n_user`; it has \
             `$n_users`, `$seed`; did you mean `n_users`?",
            "--set experiments.b.sample.params.sed=8: `sample.params.sed` is given, but the query has no \
             `$sed`; it has `$n_users`, `$seed`; did you mean `seed`?",
        ]
    );
    let none = own("{n: 3}").problems(&[]);
    assert!(none[0].ends_with("the query has no `$n`; it has none"), "{none:?}");
    // A query that is no SQL says so when it runs.
    let file = own("{n: 3}");
    std::fs::write(file.dir.path().join("q.sql"), "select 'open").unwrap();
    assert!(file.load(&[]).is_ok());
}

#[test]
fn every_mistake_is_shown_at_once() {
    let file = changed(&[
        ("version: 1", "version: 2"),
        ("t.csv", "none.csv"),
        ("users: {table: users}\n", "users: {table: user}\n"),
        ("valid: 0.1", "valid: 1"),
        ("train: {hidden: [8]}", "train: {hidden: [0], epoch: 3, features: [y]}"),
        ("  a: {}", "  a: {score: {memory: 5, calibration: prior}, train: {model: popularity}}"),
        ("  b: {}", "  b: {sample: {sql: no.sql}}\nbaseline: c"),
    ]);
    assert_eq!(
        file.problems(&["train.updates=1.5"]),
        [
            "m.yaml:1:10: `version`: must be at least 1 and at most 1, got 2",
            "m.yaml:11:20: `stages.train.hidden.0`: must be at least 1 and at most 65536, got 0",
            "m.yaml:11:24: unknown key `epoch`; did you mean `epochs`?",
            "m.yaml:13:23: `experiments.a.score.memory`: expected a map or null, got `5`",
            "--set train.updates=1.5: `train.updates`: expected a whole number, got `1.5`",
            "m.yaml:3:19: `data.tables.users`: nothing at `none.csv`",
            "m.yaml:4:18: `data.users.table`: no table `user`; did you mean `users`?",
            "m.yaml:15:11: `baseline`: no experiment `c`; did you mean `a`?",
            "m.yaml:8:18: `holdout.valid`: must be a fraction below 1, or a whole number of at least 2 users, got 1",
            "m.yaml:11:44: `train.features`: no feature `y` in `data.features`; did you mean `x`?",
            "m.yaml:13:39: `score.calibration`: `prior` undoes what a sample did, but this experiment's model does not learn from one; use `none` or `platt`",
            "m.yaml:14:21: `experiments.b.sample.sql`: no file `no.sql`",
        ]
    );
}

#[test]
fn own_history_names_one_feature_or_several_and_each_must_hold_brands() {
    let none = changed(&[("  a: {}", "  a: {train: {own_history: null}}")]);
    assert_eq!(none.load(&[]).unwrap().experiment("a").unwrap().train.own_history, None);
    let several = changed(&[("  a: {}", "  a: {train: {own_history: [past]}}")]);
    let manifest = several.load(&[]).unwrap();
    let train = &manifest.experiment("a").unwrap().train;
    assert_eq!(train.own_history.as_ref().unwrap().names(), ["past"]);
    let file = changed(&[
        ("  a: {}", "  a: {train: {own_history: [past, x, past]}, score: {memory: {by: x}}}"),
        (
            "  b: {}",
            "  b: {train: {features: [x], own_history: past}, score: {memory: {by: past}}}",
        ),
    ]);
    assert_eq!(
        file.problems(&[]),
        [
            "m.yaml:13:67: `score.memory.by`: feature `x` does not hold brands; write `{column: x, ids: brands}` in `data.features`",
            "m.yaml:13:28: `train.own_history`: feature `x` does not hold brands; write `{column: x, ids: brands}` in `data.features`",
            "m.yaml:13:28: `train.own_history`: `past` appears twice",
            "m.yaml:14:71: `score.memory.by`: feature `past` is not in `train.features`; add it there",
            "m.yaml:14:43: `train.own_history`: feature `past` is not in `train.features`; add it there",
        ]
    );
}

#[test]
fn whole_numbers_may_be_written_as_fractions_wherever_one_is_wanted() {
    let file = changed(&[
        ("features: [x", "keep_brands: {top: 5e2}\n  features: [x"),
        ("hidden: [8]", "hidden: [1.6e1], batch_size: 16.0, updates: 1e3"),
    ]);
    let manifest = file.load(&["train.seed=1e2", "report.bootstrap_draws=2e2"]).unwrap();
    let train = &manifest.experiment("a").unwrap().train;
    assert_eq!(train.hidden[0].0, 16);
    assert_eq!((train.batch_size, train.updates, train.seed), (16, Some(1000), 100));
    assert_eq!(manifest.report.bootstrap_draws, 200);
    let keep = serde_json::to_value(manifest.data.keep_brands).unwrap();
    assert_eq!(keep, serde_json::json!({"top": 500}));
}

#[test]
fn nan_infinity_and_numbers_out_of_range_are_rejected() {
    let file = changed(&[("hidden: [8]", "hidden: [.inf], patience: .nan, epochs: 1e18")]);
    assert_eq!(
        file.problems(&["train.learning_rate=.inf", "sample.params={n: [1, .nan]}"])[..4],
        [
            "m.yaml:11:20: `stages.train.hidden.0`: expected a finite number, got `.inf`",
            "m.yaml:11:37: `stages.train.patience`: expected a finite number, got `.nan`",
            "--set train.learning_rate=.inf: `train.learning_rate`: expected a finite number, got `.inf`",
            "--set sample.params={n: [1, .nan]}: `sample.params`: expected a finite number, got `.nan`",
        ]
    );
    assert_eq!(
        changed(&[("hidden: [8]", "epochs: 1e18, seed: 99999999999999999999")]).problems(&[])[..2],
        [
            "m.yaml:11:19: `stages.train.epochs`: must be at least 1 and at most 1000000, got 1000000000000000000",
            "m.yaml:11:31: `stages.train.seed`: must be at least 0 and at most 9223372036854775807, got 1e+20",
        ]
    );
}

#[test]
fn a_holdout_of_all_users_or_a_single_one_is_rejected() {
    for (key, amount) in [("valid", "1"), ("valid", "1.0"), ("test", "1.0"), ("test", "1.5")] {
        let found = changed(&[]).problems(&[&format!("holdout.{key}={amount}")]);
        let expected = format!("`holdout.{key}`: must be a fraction below 1, or a whole number");
        assert!(found[0].contains(&expected), "{found:?}");
    }
    assert!(changed(&[]).problems(&["holdout.valid=1e300"])[0].contains("at most 4294967295"));
    assert!(changed(&[]).load(&["holdout.test=2"]).is_ok());
}

#[test]
fn names_that_would_fail_later_are_rejected() {
    let long = "x".repeat(101);
    for (name, reason) in [
        ("-rf", "begin with `-`"),
        ("--help", "begin with `-`"),
        (&long, "100 characters at most, got 101"),
        ("A", "differs from `a` in upper and lower case only"),
        ("Holdout", "taken by a folder of results"),
        ("x/y", "letters, digits"),
        ("", "letters, digits"),
    ] {
        let file = changed(&[("  b: {}", &format!("  \"{name}\": {{}}"))]);
        let found = file.problems(&[]);
        assert!(found[0].starts_with("m.yaml:14:3: experiment `"), "{found:?}");
        assert!(found[0].contains(reason), "{found:?}");
    }
    let file = changed(&[]);
    std::fs::create_dir(file.dir.path().join("runs")).unwrap();
    std::fs::write(file.dir.path().join("runs/b"), "").unwrap();
    assert!(file.problems(&[])[0].contains("which is a file"));
}

#[test]
fn a_byte_order_mark_and_other_encodings_are_handled() {
    let file = written(format!("\u{feff}{SOUND}").as_bytes());
    assert_eq!(file.load(&[]).unwrap().experiments().count(), 2);
    let found = written(b"version: 1\nrun_dir: caf\xe9\n").problems(&[]);
    assert_eq!(found, ["m.yaml:2:13: byte 0xE9 is not UTF-8; save it as UTF-8"]);
    assert_eq!(
        written(b"# nothing yet\n").problems(&[]),
        [
            "m.yaml:1:1: the manifest is empty, expected a map with `version`, `data` and `experiments`"
        ]
    );
    let missing = written(b"run_dir: out\n").problems(&[]);
    let expected =
        ["version", "data", "experiments"].map(|key| format!("m.yaml:1:1: `{key}` is missing"));
    assert_eq!(missing, expected);
}

#[test]
fn the_nearest_of_epochs_and_updates_counts_and_is_noted() {
    let length = |manifest: &Manifest, name: &str| {
        let train = &manifest.experiment(name).unwrap().train;
        (train.epochs, train.updates)
    };
    let notes = |manifest: &Manifest| -> Vec<String> {
        manifest.notes.iter().map(ToString::to_string).collect()
    };
    let inherited = [("hidden: [8]", "updates: 664")];
    let manifest = changed(&inherited).load(&["train.epochs=2"]).unwrap();
    assert_eq!(length(&manifest, "a"), (2, None));
    assert_eq!(
        notes(&manifest),
        [
            "`train.epochs: 2` of `--set` takes the place of `train.updates: 664` of `stages`, in `a`, `b`"
        ]
    );
    let own = [inherited[0], ("  b: {}", "  b: {train: {epochs: 3}}")];
    let manifest = changed(&own).load(&[]).unwrap();
    assert_eq!((length(&manifest, "a"), length(&manifest, "b")), ((60, Some(664)), (3, None)));
    let manifest = changed(&own).load(&["train.updates=9"]).unwrap();
    assert_eq!(length(&manifest, "b").1, Some(9));
    assert_eq!(
        notes(&manifest),
        [
            "`train.updates: 9` of `--set` takes the place of `train.epochs: 3` of the experiment, in `b`"
        ]
    );
    // Null counts as not set, so there is nothing to replace.
    let manifest = changed(&[inherited[0], ("  b: {}", "  b: {train: {patience: null}}")]);
    assert_eq!(manifest.load(&[]).unwrap().notes, []);
}

#[test]
fn epochs_or_patience_and_updates_at_one_level_are_a_mistake() {
    for key in ["epochs", "patience"] {
        let file = changed(&[("hidden: [8]", &format!("{key}: 3, updates: 5"))]);
        let expected = format!(
            "m.yaml:11:11: `train.{key}` does not go together with `train.updates` (m.yaml:11:"
        );
        let found = file.problems(&[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&expected), "{found:?}");
    }
    let found = changed(&[]).problems(&["train.epochs=2", "train.updates=3"]);
    assert!(found[0].starts_with("--set train.epochs=2: `train.epochs` does not"), "{found:?}");
    assert!(found[0].contains("(--set train.updates=3)"), "{found:?}");
}

#[test]
fn a_setting_without_effect_is_noted() {
    let file = changed(&[
        ("test: 0.2}", "test: 0.2, column: split}"),
        ("  a: {}", "  a: {train: {model: popularity, dropout: 0.2}}"),
        ("  b: {}", "  b: {score: {decision: {policy: gain, brand_share: 0.5, user_loss: 0.1}}}"),
    ]);
    let manifest = file.load(&["train.threads=1"]).unwrap();
    assert_eq!(manifest.experiment("a").unwrap().train.model, ModelKind::Popularity);
    let notes: Vec<String> = manifest.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "`holdout.test` has no effect beside `holdout.column`",
            "`train.dropout` has no effect beside `train.model`, in `a`",
            "`score.decision.user_loss` has no effect beside `score.decision.brand_share`, in `b`",
        ]
    );
}

#[test]
fn conflicting_settings_are_mistakes() {
    let file = changed(&[
        ("hidden: [8]", "output: sketch, sparse_gradient: 0, features: [x, x]"),
        (
            "experiments:",
            "  report: {f1_buckets: [0.5, 0.5], tiers: {head: 0.9, tail: 0.2}}\nexperiments:",
        ),
    ]);
    assert_eq!(
        file.problems(&[]),
        [
            "m.yaml:12:30: `stages.report.f1_buckets`: 0.5 appears twice",
            "m.yaml:12:43: `stages.report.tiers`: head 0.9 and tail 0.2 overlap; their sum must be at most 1",
            "m.yaml:11:57: `train.features`: `x` appears twice",
            "m.yaml:11:19: `train.output`: `sketch` needs `sparse_gradient` above 0 and no `soft_f1`",
        ]
    );
}

#[test]
fn a_stage_key_is_set_in_the_selected_experiments_only() {
    let file = changed(&[]);
    let sets = ["train.epochs=3".to_owned(), "experiments.b.score.top_k=5".to_owned()];
    let manifest = Manifest::load(&file.path, &sets, &["a".to_owned()]).unwrap();
    let set = |name: &str| {
        let experiment = manifest.experiment(name).unwrap();
        (experiment.train.epochs, experiment.score.top_k)
    };
    assert_eq!((set("a"), set("b")), ((3, 20), (60, 5)));
    let all = file.load(&["train.epochs=3"]).unwrap();
    assert!(all.experiments().all(|experiment| experiment.train.epochs == 3));
}

#[test]
fn a_set_can_name_the_selected_experiments_itself() {
    let selected = ["a".to_owned(), "b".to_owned()];
    let expected = ["experiments.a.train.epochs=3", "experiments.b.train.epochs=3"];
    assert_eq!(name_experiments("train.epochs=3", &selected), expected);
    assert_eq!(name_experiments("train.epochs=3", &[]), ["train.epochs=3"]);
    assert_eq!(name_experiments("report.seed=3", &selected), ["report.seed=3"]);
    assert_eq!(name_experiments("training=3", &selected), ["training=3"]);
}

#[test]
fn a_set_may_start_with_report_and_index_a_list() {
    let file = changed(&[]);
    let manifest = file.load(&["report.seed=3", "data.features.1.ids=own"]).unwrap();
    assert_eq!(manifest.report.seed, 3);
    assert_eq!(manifest.data.features[1].options().ids, IdSpace::Own);
}

/// Else the `gamma` of `bfce` would be left over, which `bce` does not have.
#[test]
fn maps_are_merged_by_key_and_replaced_if_their_kind_changes() {
    let file = changed(&[
        ("hidden: [8]", "dropout: 0.3, loss: {kind: bfce, gamma: 3, alpha: 0.5}"),
        ("  a: {}", "  a: {train: {seed: 8, loss: {kind: bfce, gamma: 1}}}"),
        ("  b: {}", "  b: {train: {loss: {kind: bce}}}"),
    ]);
    let manifest = file.load(&[]).unwrap();
    let [a, b] = ["a", "b"].map(|name| manifest.experiment(name).unwrap().train.clone());
    assert_eq!((a.seed, a.dropout, b.seed, b.dropout), (8, 0.3, 7, 0.3));
    assert_eq!(a.loss, Loss::Bfce { gamma: 1.0, alpha: Some(0.5) });
    assert_eq!(b.loss, Loss::Bce {});
}

#[test]
fn paths_are_relative_to_the_manifest_and_those_of_a_set_to_the_working_directory() {
    let file = changed(&[("test: 0.2}", "test: 0.2}\nrun_dir: out")]);
    let manifest = file.load(&[]).unwrap();
    assert_eq!(manifest.run_dir, file.dir.path().join("out"));
    assert_eq!(manifest.experiment("a").unwrap().sql(), file.dir.path().join("q.sql"));
    let moved = file.load(&["run_dir=elsewhere"]).unwrap();
    assert_eq!(moved.run_dir, PathBuf::from("elsewhere"));
}

#[test]
fn the_first_experiment_is_the_baseline_unless_one_is_named() {
    assert_eq!(changed(&[]).load(&[]).unwrap().baseline, "a");
    assert_eq!(changed(&[]).load(&["baseline=b"]).unwrap().baseline, "b");
    let found = changed(&[]).load(&[]).unwrap().experiment("c").unwrap_err().to_string();
    assert!(found.contains("no experiment `c` in `") && found.contains("did you mean"), "{found}");
}

#[test]
fn all_are_also_compared_with_persistence_unless_others_are_named() {
    let also = |sets: &[&str]| {
        let manifest = changed(&[]).load(sets).unwrap();
        manifest.also_against().map(|e| e.name.clone()).collect::<Vec<_>>()
    };
    assert!(also(&[]).is_empty());
    let history = [
        "data.features=[x, {column: h, ids: brands}]",
        "experiments.b.train={model: persistence, history: h}",
    ];
    assert_eq!(also(&history), ["b"]);
    assert!(also(&[&history[..], &["baseline=b"]].concat()).is_empty());
    assert!(also(&[&history[..], &["report.also_against=[]"]].concat()).is_empty());
    assert_eq!(also(&["report.also_against=[b, a]"]), ["b"], "not the baseline itself");
    assert_eq!(
        changed(&[]).problems(&["report.also_against=[a, bb]"]),
        [
            "--set report.also_against=[a, bb]: `stages.report.also_against`: no experiment `bb`; did you mean `b`?"
        ]
    );
}

#[test]
fn what_changes_no_result_is_marked_in_the_schema() {
    let schema = Manifest::schema();
    let mut marked = Vec::new();
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            if property.get(CHANGES_NO_RESULT).is_some() {
                marked.push(format!("{name}.{key}"));
            }
        }
    }
    marked.sort();
    assert_eq!(
        marked,
        [
            "Data.memory_limit",
            "Data.scratch_limit",
            "SampleParams.memory_limit",
            "SampleParams.scratch_limit",
            "SampleParams.threads",
            "ScoreParams.threads",
            "TrainParams.checkpoint_minutes",
            "TrainParams.threads",
        ]
    );
    let left = what_changes_results(&ScoreParams::default());
    let keys: Vec<&String> = left.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["decision", "calibration", "memory", "top_k"]);
}

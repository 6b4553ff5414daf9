//! Plans and the parts of results, over a manifest with an experiment of each kind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::hashes::Hashes;
use super::plan::{Stage, StagePlan};
use super::record::{Accepted, Output, Parts, Record};
use crate::Manifest;

const MANIFEST: &str = "\
version: 1
data:
  tables: {users: users.csv, interactions: interactions.csv, brands: brands.csv}
  users: {table: users}
  interactions: {sql: interactions.sql}
  brands: {table: brands}
  features: [age, {column: past, ids: brands}]
stages:
  sample: {sql: draw.sql, params: {n_users: 5, unused: 1}}
experiments:
  bau: {}
  refit: {train: {refit: true}, score: {calibration: prior}}
  neighbours: {score: {memory: {}}}
  pretrained: {train: {pretrained: old.arrow}}
  persistence: {train: {model: persistence, history: past}}
";

const QUERY: &str = "-- $seed = 7: of the draw\nselect user_id from users limit $n_users + $seed\n";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in [
            ("pipeline.yaml", MANIFEST),
            ("draw.sql", QUERY),
            ("interactions.sql", "select * from interactions"),
            ("users.csv", "user_id\n1\n"),
            ("interactions.csv", "user_id\n1\n"),
            ("brands.csv", "brand_id\n1\n"),
            ("old.arrow", "a model"),
        ] {
            folder.write(name, text);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn manifest(&self, sets: &[&str]) -> Manifest {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        Manifest::load(&self.path("pipeline.yaml"), &sets, &[]).unwrap()
    }

    fn plan(&self, stage: Stage, experiment: &str) -> StagePlan {
        self.plan_with(stage, experiment, &[])
    }

    fn plan_with(&self, stage: Stage, experiment: &str, sets: &[&str]) -> StagePlan {
        let manifest = self.manifest(sets);
        manifest.plan(stage, manifest.experiment(experiment).ok())
    }

    /// The sampling stage of `bau` with all that it reads.
    fn sample_plan(&self) -> StagePlan {
        for table in ["brands", "features", "train_users", "train_interactions"] {
            self.write(&format!("runs/holdout/{table}.arrow"), table);
        }
        self.plan(Stage::Sample, "bau")
    }

    /// Takes the manifest for the program's file.
    fn parts(&self, plan: &StagePlan) -> Result<Parts, crate::ipc::Error> {
        Parts::of(plan, &self.path("pipeline.yaml"), &mut Hashes::default())
    }
}

fn names(plan: &StagePlan) -> Vec<&str> {
    plan.inputs.iter().map(|input| input.name.as_str()).collect()
}

#[test]
fn each_stage_of_each_kind_of_experiment_reads_its_inputs() {
    let folder = Folder::new();
    let cases: [(Stage, &str, &[&str]); 10] = [
        (Stage::Holdout, "", &["users:0", "interactions:0", "brands:0", "interactions.sql"]),
        (Stage::Sample, "bau", &["sql", "brands", "features", "train_users", "train_interactions"]),
        (Stage::Train, "bau", &["brands", "features", "examples", "valid"]),
        (Stage::Train, "pretrained", &["brands", "features", "pretrained"]),
        (Stage::Train, "persistence", &["brands", "features"]),
        (Stage::Score, "bau", &["model", "brands", "valid", "test"]),
        (Stage::Score, "refit", &["model", "brands", "valid", "test", "judged_model", "examples"]),
        (Stage::Score, "neighbours", &["model", "brands", "valid", "test", "features", "examples"]),
        (Stage::Score, "pretrained", &["model", "brands", "valid", "test"]),
        (Stage::Score, "persistence", &["model", "brands", "valid", "test"]),
    ];
    for (stage, experiment, expected) in cases {
        assert_eq!(names(&folder.plan(stage, experiment)), expected, "{stage} of {experiment}");
    }
}

#[test]
fn the_report_reads_what_each_experiment_made_and_can_do_without_it() {
    let plan = Folder::new().plan(Stage::Report, "");
    // A persistence model says which feature holds the brands that test users had before.
    let mut expected = vec!["brands".to_owned(), "test".to_owned()];
    for experiment in ["bau", "refit", "neighbours", "pretrained", "persistence"] {
        let tables = ["scores", "valid_scores", "histogram", "thresholds", "trade_off", "history"];
        expected.extend(tables.map(|table| format!("{experiment}/{table}")));
        if !["pretrained", "persistence"].contains(&experiment) {
            expected.push(format!("{experiment}/sql"));
        }
    }
    assert_eq!(names(&plan), expected);
    assert!(plan.inputs[1..].iter().all(|input| input.is_optional && !input.is_in_params));
    assert!(!plan.inputs[0].is_optional);
    assert_eq!(plan.records.len(), 1 + 3 * 5, "of the holdout and of each experiment's stages");
}

#[test]
fn a_stage_reads_the_files_that_the_stages_before_it_write() {
    let folder = Folder::new();
    let path = |stage, name: &str| {
        let plan = folder.plan(stage, "refit");
        let input = plan.inputs.iter().find(|input| input.name == name).unwrap();
        input.path.strip_prefix(folder.0.path()).unwrap().display().to_string()
    };
    assert_eq!(path(Stage::Sample, "sql"), "draw.sql");
    assert_eq!(path(Stage::Sample, "train_users"), "runs/holdout/train_users.arrow");
    assert_eq!(path(Stage::Train, "examples"), "runs/refit/sample/examples.arrow");
    assert_eq!(path(Stage::Score, "judged_model"), "runs/refit/train/judged_model.arrow");
    assert_eq!(path(Stage::Report, "refit/history"), "runs/refit/train/history.arrow");
    assert_eq!(folder.plan(Stage::Train, "bau").dir, folder.path("runs/bau/train"));
}

/// A change of any of these leaves all results fresh.
#[test]
fn what_changes_no_result_is_in_no_plan() {
    let folder = Folder::new();
    let sets = [
        "data.memory_limit=1GiB",
        "data.scratch_limit=1GiB",
        "sample.memory_limit=1GiB",
        "sample.scratch_limit=1GiB",
        "sample.threads=3",
        "train.threads=3",
        "train.checkpoint_minutes=1",
        "score.threads=3",
    ];
    let params = |sets: &[&str]| -> Vec<Value> {
        let of_experiment = Stage::OF_EXPERIMENT.map(|stage| (stage, "bau"));
        let all = [(Stage::Holdout, ""), (Stage::Report, "")].into_iter().chain(of_experiment);
        all.map(|(stage, name)| folder.plan_with(stage, name, sets).params).collect()
    };
    assert_eq!(params(&sets), params(&[]));
    for (set, n_changed) in [
        ("holdout.seed=8", 1),
        ("sample.params.n_users=6", 2),
        ("train.epochs=3", 2),
        ("score.top_k=3", 2),
        ("report.seed=8", 1),
    ] {
        let changed = params(&[set]).into_iter().zip(params(&[])).filter(|(new, old)| new != old);
        assert_eq!(changed.count(), n_changed, "{set}: of its stage and of the report");
    }
}

#[test]
fn writing_out_a_default_changes_no_plan() {
    let folder = Folder::new();
    let plain = folder.plan(Stage::Train, "bau").params;
    let written = ["train.seed=7", "train.epochs=6e1", "train.decay=cosine"];
    assert_eq!(folder.plan_with(Stage::Train, "bau", &written).params, plain);
    let path = format!("data.tables.users={{path: {}}}", folder.path("users.csv").display());
    assert_eq!(
        folder.plan_with(Stage::Holdout, "", &[&path]).params,
        folder.plan(Stage::Holdout, "").params
    );
}

#[test]
fn a_model_that_learns_nothing_has_only_the_parameters_that_it_reads() {
    let folder = Folder::new();
    let params = |experiment| folder.plan(Stage::Train, experiment).params;
    assert_eq!(params("pretrained"), json!({"pretrained": true}));
    assert_eq!(params("persistence"), json!({"model": "persistence", "history": "past"}));
}

#[test]
fn comments_of_a_query_and_unused_parameters_change_no_fingerprint() {
    let folder = Folder::new();
    let plan = folder.sample_plan();
    assert_eq!(plan.params["params"], json!({"n_users": 5, "seed": 7}));
    assert!(plan.inputs[0].is_in_params);
    let before = folder.parts(&plan).unwrap().fingerprint();
    folder.write("draw.sql", QUERY.replace("select", "-- all of them\nSELECT"));
    assert_eq!(folder.parts(&folder.sample_plan()).unwrap().fingerprint(), before);
    folder.write("draw.sql", QUERY.replace("+ $seed", "+ 2 * $seed"));
    let after = folder.parts(&folder.sample_plan()).unwrap();
    assert_ne!(after.fingerprint(), before);
}

/// If they were taken for empty texts, two such queries would have one fingerprint.
#[test]
fn a_query_that_cannot_be_read_counts_by_its_bytes() {
    let folder = Folder::new();
    folder.manifest(&[]);
    let mut seen = BTreeSet::new();
    for bytes in [&b""[..], b"select \xff", b"select \xfe"] {
        folder.write("draw.sql", bytes);
        let plan = folder.sample_plan();
        assert_eq!(plan.inputs[0].is_in_params, bytes.is_empty());
        seen.insert(folder.parts(&plan).unwrap().fingerprint());
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_query_without_permission_to_read_it_is_reported_with_its_path() {
    let folder = Folder::new();
    let plan = folder.sample_plan();
    let expected = format!("{}: ", plan.inputs[0].path.display());
    let manifest = folder.manifest(&[]);
    let error = || {
        let plan = manifest.plan(Stage::Sample, manifest.experiment("bau").ok());
        folder.parts(&plan).unwrap_err().to_string()
    };
    fs::set_permissions(folder.path("draw.sql"), fs::Permissions::from_mode(0o000)).unwrap();
    // Permissions do not bind root, as whom containers often test.
    if fs::File::open(folder.path("draw.sql")).is_err() {
        assert!(error().starts_with(&expected), "{}", error());
    }
    fs::remove_file(folder.path("draw.sql")).unwrap();
    assert!(error().starts_with(&expected), "{}", error());
    fs::create_dir(folder.path("draw.sql")).unwrap();
    assert!(error().starts_with(&expected), "{}", error());
}

#[test]
fn an_optional_input_may_be_missing_and_is_new_when_it_is_there() {
    let folder = Folder::new();
    folder.sample_plan();
    let plan = folder.plan(Stage::Report, "");
    let before = folder.parts(&plan).unwrap();
    assert_eq!(before.inputs["bau/scores"], None);
    folder.write("runs/bau/score/scores.arrow", "scores");
    let after = folder.parts(&plan).unwrap();
    let changes: Vec<String> =
        after.changes_since(&before).iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["input `bau/scores` is new"]);
}

#[test]
fn what_is_accepted_is_an_input_of_the_report() {
    let folder = Folder::new();
    folder.sample_plan();
    let plan = folder.plan(Stage::Report, "");
    let before = folder.parts(&plan).unwrap();
    assert!(!before.inputs.contains_key("accepted"));
    let accepted = Accepted { when: "today".into(), because: "a test".into(), changes: Vec::new() };
    let record = Record { accepted: vec![accepted], ..record(before.clone()) };
    record.save(&folder.path("runs/bau/train/stage.json")).unwrap();
    let changes = folder.parts(&plan).unwrap().changes_since(&before);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].to_string(), "other changes are accepted");
}

fn record(parts: Parts) -> Record {
    Record {
        stage: "train".to_owned(),
        experiment: Some("bau".to_owned()),
        fingerprint: parts.fingerprint(),
        parts,
        outputs: [].into(),
        secs: 0.0,
        peak_memory_bytes: None,
        summary: Value::Null,
        accepted: Vec::new(),
    }
}

/// Read back from a record, a fraction may differ in its last digit.
#[test]
fn a_record_that_was_saved_has_the_parameters_of_its_plan() {
    let folder = Folder::new();
    let plan = folder.sample_plan();
    let parts = folder.parts(&plan).unwrap();
    let path = folder.path("runs/bau/sample/stage.json");
    let written = Record { stage: "sample".into(), ..record(parts) };
    written.save(&path).unwrap();
    let read = Record::of(&plan).unwrap();
    assert!(read.has_params_of(&plan));
    assert_eq!(read.parts.changes_since(&written.parts), []);
    let other = folder.plan_with(Stage::Sample, "bau", &["sample.params.n_users=6"]);
    assert!(!read.has_params_of(&other));
    assert!(Record::of(&folder.plan(Stage::Train, "bau")).is_none(), "it has not run");
}

#[test]
fn damage_of_an_output_is_reported() {
    let folder = Folder::new();
    let parts = folder.parts(&folder.sample_plan()).unwrap();
    folder.write("made/model.arrow", "a model");
    let blake3 = blake3::hash(b"a model").to_string();
    let output = Output { content: blake3.clone(), blake3, n_bytes: 7, n_rows: 1 };
    let record = Record { outputs: [("model.arrow".into(), output)].into(), ..record(parts) };
    let damage = || {
        let found = record.damage(&folder.path("made"), &mut Hashes::default());
        found.map(|found| found.replace(&folder.0.path().display().to_string(), "DIR"))
    };
    assert_eq!(damage(), None);
    folder.write("made/model.arrow", "b model");
    let expected = "`DIR/made/model.arrow` was changed after it was written";
    assert_eq!(damage().as_deref(), Some(expected));
    folder.write("made/model.arrow", "a");
    let expected = "`DIR/made/model.arrow` has 1 byte, 7 were written";
    assert_eq!(damage().as_deref(), Some(expected));
    fs::remove_file(folder.path("made/model.arrow")).unwrap();
    assert_eq!(damage().as_deref(), Some("`DIR/made/model.arrow` is gone"));
}

#[test]
fn a_shared_parameter_that_no_query_uses_is_warned_of() {
    let warnings = Folder::new().manifest(&[]).warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].ends_with("parameter `unused` is not used"), "{warnings:?}");
}

#[test]
fn a_plan_does_not_depend_on_the_folder_of_the_manifest() {
    let (one, other) = (Folder::new(), Folder::new());
    for stage in [Stage::Holdout, Stage::Sample, Stage::Train, Stage::Score, Stage::Report] {
        assert_eq!(one.plan(stage, "bau").params, other.plan(stage, "bau").params, "{stage}");
    }
}

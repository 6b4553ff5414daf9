//! The stage over hand-written tables, in a temporary directory.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field};
use contract::columns::{ListBuilder, nullable_f64s, texts};
use contract::ipc::{self, Writer};
use contract::record::{Parts, Record};
use contract::tables::{BRANDS, Contract, HISTOGRAM, HISTORY, PER_BRAND, SCORES, THRESHOLDS};
use serde_json::{Value, json};
use tempfile::TempDir;

const N_BRANDS: u32 = 4;
const N_USERS: i64 = 60;

const MANIFEST: &str = "
version: 1
data:
  tables: {users: users.csv}
  users: {table: users}
  interactions: {table: users}
  brands: {table: users}
  features: [x]
stages:
  sample: {sql: all.sql}
  score: {top_k: 5}
  report: {bootstrap_draws: 200, top_brands: 2}
baseline: bau
experiments:
  bau: {}
  good: {train: {hidden: [512], loss: {kind: mse}, learning_rate: 0.002}}
  never_run: {}
";

/// A pipeline in which `bau` and `good` were scored and `never_run` was not.
///
/// Every user has brand 0; one in three has brand 1, one in six brand 2, none brand 3.
/// `bau` predicts brand 0 for every second user and nothing else; `good` is always right.
fn pipeline() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("pipeline.yaml"), MANIFEST).unwrap();
    fs::write(dir.path().join("users.csv"), "user_id\n").unwrap();
    fs::write(dir.path().join("all.sql"), "select 1\n").unwrap();
    let runs = dir.path().join("runs");
    write(
        &runs.join("holdout/brands.arrow"),
        &BRANDS,
        vec![
            u32s(0..N_BRANDS),
            Arc::new(Int64Array::from(vec![70, 71, 72, 73])),
            Arc::new(StringArray::from(vec!["<b>\"&", "pipe | star *", "plain", "empty"])),
            Arc::new(UInt64Array::from(vec![4000, 2000, 1000, 1])),
            Arc::new(StringArray::from(vec!["head", "torso", "tail", "tail"])),
        ],
    );
    write_experiment(&runs.join("bau"), |user| if user % 2 == 0 { vec![0] } else { vec![] });
    write_experiment(&runs.join("good"), labels);
    write_record(&runs.join("bau"), "sample", &json!({"rows": 1000}));
    write_record(&runs.join("bau"), "train", &json!({"rows": 1000, "updates": 5}));
    write_record(&runs.join("good"), "train", &json!({"rows": 900, "updates": 4}));
    dir
}

fn labels(user: i64) -> Vec<u32> {
    let mut labels = vec![0];
    labels.extend((user % 3 == 0).then_some(1));
    labels.extend((user % 6 == 0).then_some(2));
    labels
}

fn write_experiment(dir: &Path, predicted: impl Fn(i64) -> Vec<u32>) {
    let list = |of: &dyn Fn(i64) -> Vec<u32>| -> ArrayRef {
        let mut lists = ListBuilder::default();
        (0..N_USERS).for_each(|user| lists.push(&of(user)));
        lists.finish()
    };
    let mut probs = ListBuilder::default();
    (0..N_USERS).for_each(|_| probs.push(&[0.9_f32, 0.5, 0.4, 0.1]));
    let scores = vec![
        Arc::new(Int64Array::from_iter_values(0..N_USERS)) as ArrayRef,
        list(&labels),
        list(&predicted),
        list(&|_| vec![0, 1, 2, 3]),
        probs.finish(),
    ];
    write(&dir.join("score/scores.arrow"), &SCORES, scores);
    // Brand 0: all 60 are positive; 1: 20 of 60; 2: 10 of 60. The valid row is not looked at.
    let histogram = vec![
        Arc::new(StringArray::from(vec!["valid", "test", "test", "test", "test"])) as ArrayRef,
        u32s([0, 0, 1, 1, 2]),
        u32s([0, 600, 600, 500, 700]),
        Arc::new(UInt64Array::from(vec![9, 60, 20, 0, 10])),
        Arc::new(UInt64Array::from(vec![9, 0, 0, 40, 50])),
    ];
    write(&dir.join("score/histogram.arrow"), &HISTOGRAM, histogram);
    let constant =
        |value: f64| Arc::new(Float64Array::from(vec![value; N_BRANDS as usize])) as ArrayRef;
    let thresholds = vec![u32s(0..N_BRANDS), constant(1.0), constant(0.0), constant(0.25)];
    write(&dir.join("score/thresholds.arrow"), &THRESHOLDS, thresholds);
    let one = |value: Option<f64>| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let history = vec![
        u32s([1]),
        one(Some(0.25)),
        one(Some(0.5)),
        one(Some(0.125)),
        one(None),
        one(Some(7.0)),
        one(Some(8.0)),
    ];
    write(&dir.join("train/history.arrow"), &HISTORY, history);
}

fn u32s(values: impl IntoIterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

fn write(path: &Path, contract: &'static Contract, columns: Vec<ArrayRef>) {
    let fields = contract.columns.iter().zip(&columns);
    let fields: Vec<Field> = fields
        .map(|(column, array)| {
            let is_nullable = column.kind.data_type() == DataType::Float64;
            Field::new(column.name, array.data_type().clone(), is_nullable)
        })
        .collect();
    let mut writer = Writer::create(path, contract, fields, HashMap::new()).unwrap();
    writer.write(columns).unwrap();
    writer.finish().unwrap().commit().unwrap();
}

fn write_record(experiment: &Path, stage: &str, summary: &Value) {
    let record = Record {
        stage: stage.to_owned(),
        experiment: None,
        fingerprint: String::new(),
        parts: Parts {
            contract: 1,
            binary: String::new(),
            params: Value::Null,
            inputs: BTreeMap::new(),
        },
        outputs: BTreeMap::new(),
        secs: 12.5,
        peak_memory_bytes: None,
        summary: summary.clone(),
    };
    let dir = experiment.join(stage);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("stage.json"), serde_json::to_string(&record).unwrap()).unwrap();
}

fn run(dir: &TempDir, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_report-stage"));
    command.arg("--manifest").arg(dir.path().join("pipeline.yaml")).args(more).output().unwrap()
}

fn run_well(dir: &TempDir, more: &[&str]) -> String {
    let output = run(dir, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn read(dir: &TempDir, file: &str) -> String {
    fs::read_to_string(dir.path().join("runs/report").join(file)).unwrap()
}

fn report(dir: &TempDir) -> Value {
    serde_json::from_str(&read(dir, "report.json")).unwrap()
}

#[track_caller]
fn near(found: &Value, expected: f64) {
    assert!((found.as_f64().unwrap() - expected).abs() < 1e-12, "{found}, expected {expected}");
}

/// `good` is right everywhere: F1 1 for brands 0, 1 and 2. `bau` finds 30 of the 60 users of
/// brand 0, F1 2·30/(30 + 60) = 2/3, and never predicts brands 1, 2, so its macro F1 is 2/9.
#[test]
fn the_figures_follow_from_the_tables() {
    let dir = pipeline();
    let stdout = run_well(&dir, &[]);
    let report = report(&dir);
    let [bau, good, never_run] = &report["experiments"].as_array().unwrap()[..] else {
        panic!("{report}")
    };

    near(&bau["item"]["macro_f1"], 2.0 / 9.0);
    near(&good["item"]["macro_f1"], 1.0);
    assert_eq!(good["item"]["n_defined"], 3);
    assert_eq!(bau["buckets"], json!({"0.5": 1, "0.1": 1, "0.05": 1}));
    near(&good["delta"]["item_f1"]["abs"], 7.0 / 9.0);
    near(&good["delta"]["item_f1"]["rel"], 3.5); // (7/9) / (2/9)
    assert_eq!(good["verdict"], "better at both levels");
    assert_eq!(
        bau["verdict"],
        "the baseline; not working: no score passes its threshold for 3 of 4 brands"
    );
    assert_eq!(never_run["status"], "missing");
    assert_eq!(never_run["verdict"], "no scores: the experiment did not finish or was not run");

    assert_eq!((&report["n_brands"], &report["n_test_users"]), (&json!(4), &json!(60)));
    assert_eq!(report["answer"]["best"], "good");
    assert_eq!(
        report["answer"]["text"][2],
        "The baseline itself is not working: no score passes its threshold for 3 of 4 brands."
    );
    assert_eq!((&bau["train_rows"], &bau["updates"]), (&json!(1000), &json!(5)));
    assert_eq!(bau["secs"], json!({"sample": 12.5, "train": 12.5, "score": null}));
    let differs =
        json!({"train.hidden": [512], "train.loss": {"kind": "mse"}, "train.learning_rate": 0.002});
    assert_eq!(good["differs"], differs);
    assert_eq!(report["top_brands"][0]["f1"]["good"], 1.0);
    assert!(
        report["notes"][0].as_str().unwrap().ends_with("`bau` 5, `good` 4."),
        "{}",
        report["notes"]
    );
    assert!(stdout.contains("better at both levels") && stdout.contains("report.html"), "{stdout}");
}

#[test]
fn the_report_has_every_key_that_scripts_rely_on() {
    let dir = pipeline();
    run_well(&dir, &[]);
    let report = report(&dir);
    for key in ["version", "baseline", "n_brands", "n_test_users", "experiments"] {
        assert!(report.get(key).is_some(), "{key}");
    }
    let pointers = [
        "name",
        "status",
        "buckets/0.5",
        "buckets/0.1",
        "buckets/0.05",
        "item/macro_f1",
        "item/macro_precision",
        "item/macro_recall",
        "item/n_defined",
        "item/by_tier/head/macro_f1",
        "item/by_tier/torso/macro_f1",
        "item/by_tier/tail/macro_f1",
        "user/f1",
        "user/precision",
        "user/recall",
        "user/precision_at/1",
        "user/precision_at/5",
        "user/recall_at/5",
        "user/ndcg_at/5",
        "micro/f1",
        "micro/precision",
        "micro/recall",
        "map",
        "delta/item_f1/abs",
        "delta/item_f1/rel",
        "delta/item_f1/ci95",
        "delta/user_f1/abs",
        "delta/user_f1/rel",
        "delta/user_f1/ci95",
        "train_rows",
        "secs/sample",
        "secs/train",
        "secs/score",
        "verdict",
    ];
    for experiment in report["experiments"].as_array().unwrap() {
        for pointer in pointers {
            assert!(
                experiment.pointer(&format!("/{pointer}")).is_some(),
                "{pointer} of {}",
                experiment["name"]
            );
        }
        assert!(experiment.pointer("/user/precision_at/10").is_none(), "the list has 5 brands");
    }
}

#[test]
fn the_baseline_does_not_differ_from_itself() {
    let dir = pipeline();
    run_well(&dir, &[]);
    let bau = &report(&dir)["experiments"][0];
    for metric in ["item_f1", "user_f1", "micro_f1"] {
        assert_eq!(bau["delta"][metric], json!({"abs": 0.0, "rel": 0.0, "ci95": [0.0, 0.0]}));
    }
    assert_eq!((&bau["outcomes"], &bau["differs"]), (&Value::Null, &json!({})));
}

#[test]
fn without_a_baseline_all_changes_are_null() {
    let dir = pipeline();
    run_well(&dir, &["--set", "baseline=never_run"]);
    let report = report(&dir);
    let good = &report["experiments"][1];
    assert_eq!(good["delta"]["item_f1"], json!({"abs": null, "rel": null, "ci95": null}));
    assert_eq!(good["verdict"], "not compared: the baseline has no scores");
    assert_eq!(report["answer"]["best"], Value::Null);
    assert!(
        read(&dir, "report.md")
            .contains("The baseline `never_run` has no scores, so nothing is compared")
    );
}

#[test]
fn names_of_brands_are_data_everywhere() {
    let dir = pipeline();
    run_well(&dir, &[]);
    let (html, markdown) = (read(&dir, "report.html"), read(&dir, "report.md"));
    assert!(html.contains("&lt;b&gt;&quot;&amp;") && !html.contains("<b>"), "{html}");
    assert!(
        markdown.contains(r#"\<b\>"\&"#) && markdown.contains(r"pipe \| star \*"),
        "{markdown}"
    );
}

#[test]
fn per_brand_figures_are_null_where_undefined() {
    let dir = pipeline();
    run_well(&dir, &[]);
    let table = ipc::read(&dir.path().join("runs/report/per_brand.arrow"), &PER_BRAND).unwrap();
    assert_eq!(table.n_rows(), 8, "two experiments of four brands");
    let bau = &table.batches[0];
    assert_eq!(texts(bau, "experiment").value(0), "bau");
    assert_eq!(nullable_f64s(bau, "f1"), [Some(2.0 / 3.0), Some(0.0), Some(0.0), None]);
    assert_eq!(nullable_f64s(bau, "precision"), [Some(1.0), None, None, None]);
    assert_eq!(nullable_f64s(bau, "threshold"), [Some(0.25); 4]);
    // Brand 2: 10 of 60 users in one bin, all tied.
    assert_eq!(
        nullable_f64s(bau, "average_precision"),
        [Some(1.0), Some(1.0), Some(1.0 / 6.0), None]
    );
}

#[test]
fn a_second_run_writes_the_same_bytes() {
    let dir = pipeline();
    let files = ["report.json", "report.md", "report.html", "per_brand.arrow"];
    let bytes = || files.map(|file| fs::read(dir.path().join("runs/report").join(file)).unwrap());
    run_well(&dir, &[]);
    let first = bytes();
    run_well(&dir, &[]);
    assert!(first == bytes());
}

#[test]
fn without_any_scores_the_error_names_the_command() {
    let dir = pipeline();
    for experiment in ["bau", "good"] {
        fs::remove_dir_all(dir.path().join("runs").join(experiment)).unwrap();
    }
    let output = run(&dir, &[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr.starts_with("report-stage: no experiment has scores, so there is nothing to report\nhint: run `make pipeline MANIFEST="), "{stderr}");
    assert!(!dir.path().join("runs/report/report.json").exists());
}

#[test]
fn experiments_scored_on_other_users_are_refused() {
    let dir = pipeline();
    let path = dir.path().join("runs/good/score/scores.arrow");
    let none = || {
        let mut lists = ListBuilder::<u32>::default();
        lists.push(&[]);
        lists.finish()
    };
    let mut probs = ListBuilder::<f32>::default();
    probs.push(&[]);
    let columns = vec![
        Arc::new(Int64Array::from(vec![1])) as ArrayRef,
        none(),
        none(),
        none(),
        probs.finish(),
    ];
    write(&path, &SCORES, columns);
    let output = run(&dir, &[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(
        stderr,
        "report-stage: experiment `good` was scored on other test users than `bau`: found 1 users, expected the same 60 \
         with the same labels\nhint: rerun `make pipeline`\n"
    );
}

#[test]
fn a_brand_that_is_not_there_is_a_broken_table() {
    let dir = pipeline();
    write_experiment(&dir.path().join("runs/good"), |_| vec![9]);
    let stderr = String::from_utf8(run(&dir, &[]).stderr).unwrap();
    assert!(
        stderr.contains(
            "scores.arrow: `predicted` of row 0 has brand 9, expected one of 4 brands\nhint:"
        ),
        "{stderr}"
    );
}

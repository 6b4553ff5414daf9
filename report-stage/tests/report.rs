//! The stage over hand-written tables.

mod fixture;

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, StringArray, UInt64Array};
use arrow::datatypes::Field;
use contract::Stage;
use contract::columns::{ListBuilder, nullable_f64s, texts};
use contract::ipc::{self, Writer};
use contract::tables::{HISTOGRAM, HISTOGRAM_MORE, PER_BRAND, SCORES, TRADE_OFF};
use serde_json::{Value, json};
use tempfile::TempDir;

use fixture::{
    labels, pipeline, read, run, run_well, u32s, write, write_brands, write_experiment,
    write_record, write_scores,
};

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
    assert_eq!(good["verdict"], "better at both levels (one seed)");
    assert_eq!(
        bau["verdict"],
        "the baseline; not working: no score passes its threshold for 3 of 4 brands"
    );
    assert_eq!(never_run["status"], "missing");
    assert_eq!(never_run["verdict"], "no scores: it has not run");

    assert_eq!((&report["n_brands"], &report["n_test_users"]), (&json!(4), &json!(60)));
    // The valid users have the same labels and decisions in the fixture.
    near(&good["valid"]["item"]["macro_f1"], 1.0);
    assert_eq!(report["n_valid_users"], 60);
    assert_eq!(report["answer"]["best"], "good");
    let updates = "It was trained for 4 gradient updates, `bau` for 5.";
    assert!(good["fairness"].as_array().unwrap().contains(&json!(updates)), "{good}");
    assert_eq!(bau["fairness"], json!([]));
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

/// Against `good` instead of the baseline: `bau` has 1 instead of 3 brands at an F1 of 0.5, in every
/// draw that has a user of each brand, and `good` itself is not compared with itself.
#[test]
fn a_second_baseline_has_changes_of_its_own() {
    let dir = pipeline();
    let stdout = run_well(&dir, &["--set", "report.also_against=[good]"]);
    let report = report(&dir);
    let [bau, good, _] = &report["experiments"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(report["also_against"], json!(["good"]));
    near(&bau["against"]["good"]["item_f1"]["abs"], -7.0 / 9.0);
    let buckets = &bau["against"]["good"]["buckets"]["0.5"];
    near(&buckets["abs"], -2.0);
    let [low, high] = [0, 1].map(|end| buckets["ci95"][end].as_f64().unwrap());
    assert!(low < -1.5 && high > -2.5 && high < 0.0, "{buckets}");
    assert_eq!(good["against"], json!({}));
    assert_eq!(bau["delta"]["item_f1"]["abs"], 0.0, "the baseline is still `bau`");
    assert!(read(&dir, "report.md").contains("Changes against `good`"));
    assert!(!stdout.contains("Against `good`"), "`good` is the best itself: {stdout}");

    write_experiment(&dir.path().join("runs/never_run"), |user| {
        if user % 2 == 1 { vec![0] } else { vec![] }
    });
    let stdout = run_well(&dir, &["--set", "report.also_against=[never_run]"]);
    assert!(stdout.contains("\nAgainst `never_run`: item macro F1 +0.7778 ["), "{stdout}");
}

#[test]
fn a_single_threshold_that_a_few_users_decide_is_marked() {
    let dir = pipeline();
    let by_fold = |folds: [f64; 5]| {
        let summary = json!({"threshold": 0.9, "threshold_by_fold": folds});
        write_record(&dir, "good", Stage::Score, &summary);
        run_well(&dir, &[]);
        report(&dir)["experiments"][1]["fairness"].to_string()
    };
    let steady = by_fold([0.9, 0.88, 0.9, 0.93, 0.9]);
    assert!(!steady.contains("unstable"), "{steady}");
    let unstable = by_fold([0.9, 0.9, 0.2, 0.9, 0.95]);
    let words = "unstable: 0.900 by all valid users, between 0.200 and 0.950";
    assert!(unstable.contains(words), "{unstable}");
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
        assert_eq!(
            bau["delta"][metric],
            json!({
                "abs": 0.0, "rel": 0.0, "ci95": [0.0, 0.0], "spread": null, "n_seeds": 1, "n_agree": 1
            })
        );
    }
    assert_eq!((&bau["outcomes"], &bau["differs"]), (&Value::Null, &json!({})));
}

#[test]
fn without_a_baseline_all_changes_are_null() {
    let dir = pipeline();
    run_well(&dir, &["--set", "baseline=never_run"]);
    let report = report(&dir);
    let good = &report["experiments"][1];
    assert_eq!(
        good["delta"]["item_f1"],
        json!({
            "abs": null, "rel": null, "ci95": null, "spread": null, "n_seeds": 0, "n_agree": 0
        })
    );
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
    let files = ["report.json", "report.md", "report.html", "per_brand.arrow", "per_brand.csv"];
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
fn experiments_scored_on_different_users_are_rejected() {
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
        "report-stage: experiment `good` was scored on other test users than `bau`: found 1 user, expected the same 60 \
         with the same labels\nhint: run `make pipeline` again\n"
    );
}

/// A report of two experiments and what it says on the terminal, in Markdown and as JSON.
fn nothing_to_judge(n_users: i64, of_user: fn(i64) -> Vec<u32>, reason: &str) -> Value {
    let dir = pipeline();
    for experiment in ["bau", "good"] {
        let dir = dir.path().join("runs").join(experiment);
        write_scores(&dir, n_users, of_user, |_| vec![0]);
    }
    let stdout = run_well(&dir, &[]);
    let sentence = format!("Nothing to judge: {reason}.");
    let markdown = read(&dir, "report.md");
    assert!(stdout.contains(&sentence) && markdown.contains(&sentence), "{stdout}\n{markdown}");
    // The definitions, which say what such words mean, are folded.
    let (open, _) = markdown.split_once("<details>").unwrap();
    for text in [&*stdout, open] {
        assert!(!text.contains("no clear change") && text.contains("nothing to judge"), "{text}");
    }
    let report = report(&dir);
    assert_eq!(report["notes"][0], sentence);
    assert_eq!(report["answer"]["text"][0], sentence);
    assert_eq!((&report["answer"]["best"], &report["selected"]), (&Value::Null, &Value::Null));
    for experiment in &report["experiments"].as_array().unwrap()[..2] {
        assert_eq!(experiment["verdict"], "nothing to judge");
        assert_eq!(experiment["outcomes"], Value::Null);
    }
    report
}

#[test]
fn without_labels_no_figure_is_shown_and_nothing_is_judged() {
    let reason = "no test user has a label of a predicted brand";
    let report = nothing_to_judge(60, |_| vec![], reason);
    let good = &report["experiments"][1];
    assert_eq!(good["item"]["macro_f1"], Value::Null);
    assert_eq!(
        good["delta"]["item_f1"],
        json!({
            "abs": null, "rel": null, "ci95": null, "spread": null, "n_seeds": 0, "n_agree": 0
        })
    );
}

#[test]
fn nothing_is_judged_with_one_test_user() {
    let report = nothing_to_judge(1, labels, "there is only one test user");
    near(&report["experiments"][1]["item"]["macro_f1"], 1.0 / 3.0); // brand 0 of 0, 1 and 2
}

#[test]
fn few_test_users_get_a_note() {
    let dir = pipeline();
    let stdout = run_well(&dir, &[]);
    let note = "With only 60 test users, the intervals mean little.";
    assert!(stdout.contains(note) && read(&dir, "report.md").contains(note), "{stdout}");
}

#[test]
fn labels_that_are_left_out_are_reported() {
    let dir = pipeline();
    run_well(&dir, &[]);
    assert_eq!(report(&dir)["left_out"], Value::Null, "the table does not say");
    let none = json!({"brands": 0, "train": 0, "valid": 0, "test": 0});
    let some = json!({"brands": 2, "train": 0, "valid": 1, "test": 18});
    let left_out = json!({"without_training_users": some, "not_kept": none});
    write_brands(&dir, HashMap::from([("left_out".to_owned(), left_out.to_string())]));
    let stdout = run_well(&dir, &[]);
    assert_eq!(report(&dir)["left_out"], left_out);
    let note = "No figure counts these: 19 labels of 2 brands without training users are left out \
                (1 of valid, 18 of test users).";
    let html = read(&dir, "report.html");
    for text in [&stdout, &read(&dir, "report.md"), &html] {
        assert!(text.contains(note), "{text}");
    }
}

#[test]
fn a_brand_out_of_range_is_rejected() {
    let dir = pipeline();
    write_experiment(&dir.path().join("runs/good"), |_| vec![9]);
    let stderr = String::from_utf8(run(&dir, &[]).stderr).unwrap();
    assert!(
        stderr.contains(
            "scores.arrow: row 0: `predicted` has brand 9, expected a position below the number of brands, 4\nhint:"
        ),
        "{stderr}"
    );
}

/// Bin 600 holds logits from 2.406 to 2.434. Two rows of a bin, as score-stage writes them, then one
/// whose logit lies outside its bin.
#[test]
fn logits_of_a_histogram_must_lie_in_their_bin() {
    let dir = pipeline();
    let path = dir.path().join("runs/good/score/histogram.arrow");
    let columns = HISTOGRAM.columns.iter().chain(HISTOGRAM_MORE);
    let fields: Vec<Field> =
        columns.map(|c| Field::new(c.name, c.kind.data_type(), false)).collect();
    let write = |low: f32| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["test"; 2])),
            u32s([0, 0]),
            u32s([600, 600]),
            Arc::new(UInt64Array::from(vec![40, 20])),
            Arc::new(UInt64Array::from(vec![0, 0])),
            Arc::new(Float32Array::from(vec![low, 2.42])),
            Arc::new(Float32Array::from(vec![2.41, 2.43])),
        ];
        let mut writer = Writer::create(&path, &HISTOGRAM, fields.clone(), HashMap::new()).unwrap();
        writer.write(columns).unwrap();
        writer.finish().unwrap().commit().unwrap();
    };
    write(2.41);
    run_well(&dir, &[]);
    assert_eq!(report(&dir)["experiments"][1]["map"], 1.0);
    write(-2.41);
    let output = run(&dir, &[]);
    assert_eq!(output.status.code(), Some(5));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = "logits from -2.41 to 2.41 in bin 600 of brand 0, expected logits of that bin";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn an_unknown_kind_of_alternative_is_rejected() {
    let dir = pipeline();
    let one = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let columns = vec![
        Arc::new(StringArray::from(vec!["luck"])) as ArrayRef,
        one(0.5),
        one(0.5),
        one(0.5),
        Arc::new(UInt64Array::from(vec![1])),
    ];
    write(&dir.path().join("runs/good/score/trade_off.arrow"), &TRADE_OFF, columns);
    let output = run(&dir, &[]);
    assert_eq!(output.status.code(), Some(5));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = "trade_off.arrow: kind `luck`, expected `threshold` or `brand_share`\nhint:";
    assert!(stderr.contains(expected), "{stderr}");
}

/// Brand 1 has 20 of the 60 users, brand 0 all; `good` finds those that `bau` misses.
#[test]
fn brands_are_better_where_their_own_interval_says_so() {
    let dir = pipeline();
    run_well(&dir, &[]);
    let report = report(&dir);
    let good = &report["experiments"][1];
    let expected = json!({"better": 3, "worse": 0, "no_clear_change": 0, "higher": 3, "lower": 0});
    assert_eq!(good["delta"]["brands"], expected);
    assert_eq!(good["delta"]["by_tier"]["torso"]["ci95"], json!([1.0, 1.0]));
    assert_eq!(good["item"]["by_volume"][0]["from"], 3000);
    assert_eq!(report["selected"], "good");
    let table = ipc::read(&dir.path().join("runs/report/per_brand.arrow"), &PER_BRAND).unwrap();
    let changes = nullable_f64s(&table.batches[1], "f1_change");
    assert_eq!(changes, [Some(1.0 - 2.0 / 3.0), Some(1.0), Some(1.0), None]);
}

#[test]
fn the_csv_has_the_rows_of_the_table() {
    let dir = pipeline();
    run_well(&dir, &[]);
    let csv = read(&dir, "per_brand.csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 9, "a header and two experiments of four brands");
    assert!(lines[0].starts_with("experiment,brand_idx,brand_id,name,volume,tier,tp,fp,fn,"));
    assert!(
        lines[1].starts_with(r#"bau,0,70,"<b>""&",4000,head,30,0,30,1.0,0.5,0.6666666666666666,"#),
        "{}",
        lines[1]
    );
    assert!(lines[4].contains("empty,1,tail,0,0,0,,,,"), "undefined is empty: {}", lines[4]);
}

#[test]
fn an_experiment_that_stopped_says_where() {
    let dir = pipeline();
    fs::remove_dir_all(dir.path().join("runs/good/score")).unwrap();
    run_well(&dir, &[]);
    let report = report(&dir);
    assert_eq!(report["experiments"][1]["verdict"], "no scores: it stopped at sample");
    assert!(read(&dir, "report.html").contains("no scores: it stopped at sample"));
}

/// The settings of `good` change after it was trained.
#[test]
fn scores_of_other_settings_are_marked() {
    let dir = pipeline();
    run_well(&dir, &["--set", "experiments.good.train.learning_rate=0.003"]);
    let report = report(&dir);
    assert_eq!(report["experiments"][0]["outdated"], Value::Null);
    assert_eq!(report["experiments"][1]["outdated"], "`train` ran with other settings");
    assert!(read(&dir, "report.md").contains("`good` are not up to date"));
}

#[test]
fn a_report_of_one_experiment_compares_nothing() {
    let dir = pipeline();
    fs::remove_dir_all(dir.path().join("runs/good")).unwrap();
    run_well(&dir, &[]);
    assert_eq!(report(&dir)["selected"], Value::Null);
    let html = read(&dir, "report.html");
    assert!(html.contains("Nothing is compared with the baseline."));
    assert!(!html.contains("NaN") && !html.contains("inf"), "no chart divides by nothing");
}

/// Shown on hover and behind a link; columns of single experiments are explained by their caption.
#[test]
fn every_column_of_numbers_links_to_its_definition() {
    let dir = pipeline();
    run_well(&dir, &[]);
    let html = read(&dir, "report.html");
    let columns: Vec<&str> = html.split("<th scope=\"col\" class=\"number\">").skip(1).collect();
    assert!(columns.len() > 60, "{}", columns.len());
    for column in columns {
        let heading = &column[..column.find("</th>").unwrap()];
        let is_defined = heading.starts_with("<a href=\"#term-") && heading.contains("title=\"");
        assert!(is_defined || heading.starts_with("<code>"), "{heading}");
    }
}

#[test]
fn compare_prints_what_differs_and_writes_nothing() {
    let dir = pipeline();
    let said = run_well(&dir, &["compare", "bau", "good"]);
    for part in [
        "good against bau: better at both levels (one seed)",
        "train.hidden: [256, 256] -> [512]",
        "+0.7778 (+350.0%)",
        "brands: 3 better, 0 worse, 0 with no clear change",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let back = run_well(&dir, &["compare", "good", "bau", "--json"]);
    let back: Value = serde_json::from_str(&back).unwrap();
    assert_eq!(
        back["experiments"][1]["verdict"],
        "worse at both levels (one seed); not working: no score passes its threshold for 3 of 4 brands"
    );
    assert!(!dir.path().join("runs/report").exists());

    let missing = run(&dir, &["compare", "bau", "never_run"]);
    assert_eq!(missing.status.code(), Some(5));
    let stderr = String::from_utf8(missing.stderr).unwrap();
    assert!(
        stderr.contains(
            "experiment `never_run`: no scores: it has not run\nhint: run `make pipeline"
        ),
        "{stderr}"
    );
    assert_eq!(run(&dir, &["compare", "bau", "god"]).status.code(), Some(2));
}

//! `pipeline init`, `predict`, `audience` and `bundle`: from tables as people have them to predictions that
//! people use.

mod workspace;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Float64Array, LargeStringArray, ListArray, RecordBatch,
};
use arrow::datatypes::{Float32Type, Float64Type, UInt32Type};
use contract::ipc;
use contract::tables::{AUDIENCE, BRANDS, PREDICTED_BRANDS, PREDICTED_USERS, SCORES};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use workspace::Workspace;

fn scored(experiments: &[&str]) -> Workspace {
    let work = Workspace::tiny();
    let run = work.pipeline(&[&["run"], experiments].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    work
}

fn predict(work: &Workspace, args: &[&str]) -> String {
    let run = work.pipeline(&[&["predict"], args].concat());
    assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    run.stderr
}

fn refused(work: &Workspace, args: &[&str], code: i32, parts: &[&str]) {
    let run = work.pipeline(&[&["predict"], args].concat());
    assert_eq!(run.code, code, "{args:?}: {}", run.stderr);
    for part in parts {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}

/// Hidden files and folders beside the outputs.
fn unfinished(work: &Workspace) -> Vec<String> {
    work.files_below(".").into_iter().filter(|file| file.starts_with('.')).collect()
}

/// User, brand, name, probability and rank of each row.
type Row = (String, String, String, String, u32);

fn csv_rows(work: &Workspace, file: &str) -> Vec<Row> {
    let text = String::from_utf8(work.bytes(file)).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("user_id,brand_id,brand_name,prob,rank"));
    let row = |line: &str| {
        // The only commas within a field are those of `Acme, Inc.`
        let line = line.replace("\"Acme, Inc.\"", "Acme; Inc.");
        let fields: Vec<String> = line.split(',').map(|f| f.replace(';', ",")).collect();
        let [user, brand, name, prob, rank] = &fields[..] else { panic!("{line}") };
        (user.clone(), brand.clone(), name.clone(), prob.clone(), rank.parse().unwrap())
    };
    lines.map(row).collect()
}

fn long_rows(batches: &[RecordBatch]) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches {
        let text = |i: usize, row: usize| batch.column(i).as_string::<i32>().value(row).to_owned();
        let probs = batch.column(3).as_primitive::<Float32Type>();
        let ranks = batch.column(4).as_primitive::<UInt32Type>();
        for row in 0..batch.num_rows() {
            let prob = probs.value(row).to_string();
            rows.push((text(0, row), text(1, row), text(2, row), prob, ranks.value(row)));
        }
    }
    rows
}

fn parquet(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

fn in_parquet(work: &Workspace, file: &str) -> Vec<RecordBatch> {
    parquet(&work.dir.join(file))
}

#[test]
fn all_formats_and_layouts_hold_the_same_predictions() {
    let work = scored(&["bau"]);
    predict(&work, &["bau", "--output", "p.csv"]);
    let expected = csv_rows(&work, "p.csv");
    assert!(expected.len() > 20);
    predict(&work, &["bau", "--output", "p.parquet"]);
    assert_eq!(long_rows(&in_parquet(&work, "p.parquet")), expected);
    predict(&work, &["bau", "--output", "p.arrow"]);
    let table = ipc::read(&work.dir.join("p.arrow"), &PREDICTED_BRANDS).unwrap();
    assert_eq!(long_rows(&table.batches), expected);
    predict(&work, &["bau", "--output", "parts/", "--part-users", "7"]);
    let of_part = |i: usize| long_rows(&in_parquet(&work, &format!("parts/part-{i:05}.parquet")));
    assert_eq!((0..6).flat_map(of_part).collect::<Vec<_>>(), expected);
    predict(&work, &["bau", "--output", "parts", "--format", "csv"]);
    assert_eq!(csv_rows(&work, "parts/part-00000.csv"), expected);
    assert_eq!(fs::read_dir(work.dir.join("parts")).unwrap().count(), 1);

    predict(&work, &["bau", "--output", "w.arrow", "--wide"]);
    let table = ipc::read(&work.dir.join("w.arrow"), &PREDICTED_USERS).unwrap();
    let mut rows = Vec::new();
    let batch = &table.batches[0];
    assert_eq!(batch.num_rows(), 36, "a user without a brand has a row, too");
    for row in 0..batch.num_rows() {
        let list = |i: usize| batch.column(i).as_list::<i32>().value(row);
        let (ids, names, probs) = (list(1), list(2), list(3));
        for i in 0..ids.len() {
            rows.push((
                batch.column(0).as_string::<i32>().value(row).to_owned(),
                ids.as_string::<i32>().value(i).to_owned(),
                names.as_string::<i32>().value(i).to_owned(),
                probs.as_primitive::<Float32Type>().value(i).to_string(),
                i as u32 + 1,
            ));
        }
    }
    assert_eq!(rows, expected);
    predict(&work, &["bau", "--output", "w.csv", "--wide"]);
    let text = String::from_utf8(work.bytes("w.csv")).unwrap();
    assert!(text.starts_with("user_id,brand_ids,brand_names,probs\nu01,[],[],[]\n"), "{text}");
    assert!(text.contains(r#"u04,"[""acme"#), "{text}");
    assert_eq!(unfinished(&work), [""; 0]);
}

/// The features are made from the raw table as the holdout stage made them, own history included.
#[test]
fn test_users_get_the_predictions_of_the_score_stage() {
    let work = scored(&["bau", "persistence"]);
    for experiment in ["bau", "persistence"] {
        let dir = work.dir.join("runs");
        let brands = ipc::read(&dir.join("holdout/brands.arrow"), &BRANDS).unwrap();
        let brands = contract::ids::id_texts(&*brands.whole_column("brand_id").unwrap());
        let scores = ipc::read(&dir.join(experiment).join("score/scores.arrow"), &SCORES).unwrap();
        let users = contract::ids::id_texts(&*scores.whole_column("user_id").unwrap());
        let predicted = contract::columns::u32_lists(&scores.batches[0], "predicted");
        let mut expected: Vec<(String, String)> = Vec::new();
        for (user, list) in users.iter().zip(predicted.iter()) {
            expected.extend(list.iter().map(|&b| (user.clone(), brands[b as usize].clone())));
        }
        predict(&work, &[experiment, "--output", "p.csv"]);
        let found = csv_rows(&work, "p.csv").into_iter().map(|(user, brand, ..)| (user, brand));
        let mut found: Vec<_> = found.filter(|(user, _)| users.contains(user)).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{experiment}");
    }
}

/// The tiny users as pandas writes them: `LargeUtf8` ids and lists of doubles in parquet.
fn write_as_pandas(work: &Workspace, file: &str) {
    let text = String::from_utf8(work.bytes("users.json")).unwrap();
    let users: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: LargeStringArray = users.iter().map(|user| user["user_id"].as_str()).collect();
    let vector = |user: &Value| {
        let values = user["embedding"].as_array().unwrap().iter();
        Some(values.map(Value::as_f64).collect::<Vec<_>>())
    };
    let vectors = ListArray::from_iter_primitive::<Float64Type, _, _>(users.iter().map(vector));
    let ages: Float64Array = users.iter().map(|user| user["age"].as_f64()).collect();
    let columns: [(&str, ArrayRef); 3] =
        [("user_id", Arc::new(ids)), ("embedding", Arc::new(vectors)), ("age", Arc::new(ages))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = File::create(work.dir.join(file)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn users_are_read_from_any_table_that_training_takes() {
    let work = scored(&["bau"]);
    predict(&work, &["bau", "--output", "p.csv"]);
    let expected = work.bytes("p.csv");
    write_as_pandas(&work, "pandas.parquet");
    fs::create_dir(work.dir.join("folder")).unwrap();
    let text = String::from_utf8(work.bytes("users.json")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    work.write("folder/a.json", &lines[..20].join("\n"));
    work.write("folder/b.json", &format!("[{}]", lines[20..].join(",\n")));
    work.write("mine.sql", "select user_id, age, embedding, past from users");
    for users in ["users", "users.json", "pandas.parquet", "folder", "folder/*.json", "mine.sql"] {
        predict(&work, &["bau", "--users", users, "--output", "q.csv"]);
        assert!(work.bytes("q.csv") == expected, "{users}");
        let model = ["--model", "runs/bau/train/model.arrow"];
        if !["users", "mine.sql"].contains(&users) {
            let args =
                ["--users", users, "--output", "q.csv", "--brands", "runs/holdout/brands.arrow"];
            let run = work.run("score-stage", &[&["predict"], &model[..], &args[..]].concat());
            assert_eq!(run.code, 0, "{}", run.stderr);
            assert!(work.bytes("q.csv") == expected, "score-stage, {users}");
        }
    }
    // A query that fails leaves nothing behind.
    let in_runs = || fs::read_dir(work.dir.join("runs")).unwrap().count();
    let before = in_runs();
    work.write("half.sql", "select user_id, age, embedding, past, 1 / (age - age) from users");
    refused(&work, &["bau", "--users", "half.sql", "--output", "q.csv"], 5, &["ivide by zero"]);
    assert_eq!(in_runs(), before);
    // A view of the manifest, and a table of it with options.
    work.edit("pipeline.yaml", "  users: {table: users}", "  users: {sql: mine.sql}");
    predict(&work, &["bau", "--output", "q.csv"]);
    assert!(work.bytes("q.csv") == expected);
    work.edit("pipeline.yaml", "  users: {sql: mine.sql}", "  users: {table: users}");
    work.edit(
        "pipeline.yaml",
        "users: users.json",
        "users: users.json\n    odd: {path: odd, format: json}",
    );
    work.write("odd", &text);
    let args = ["bau", "--users", "odd", "--output", "q.csv"];
    refused(&work, &args, 2, &["`--users odd` is a table of the manifest, and there is a file"]);
    fs::rename(work.dir.join("odd"), work.dir.join("odder")).unwrap();
    work.edit("pipeline.yaml", "{path: odd,", "{path: odder,");
    predict(&work, &args);
    assert!(work.bytes("q.csv") == expected);
}

#[test]
fn what_training_refuses_is_refused_in_the_same_words() {
    let work = scored(&["bau", "persistence"]);
    let text = String::from_utf8(work.bytes("users.json")).unwrap();
    let good = r#"{"user_id": "z", "split": "train", "embedding": [1.0, 2.0], "age": 20, "past": ["acme"]}"#;
    for (from, to, message) in [
        (
            "2.0]",
            "null]",
            "users: column `embedding`: user `z`: found null, expected finite numbers",
        ),
        (
            "20",
            "null",
            "users: column `age`: user `z`: found null, expected a value for every user",
        ),
        ("2.0]", "2.0, 3.0]", "user `z`: found a vector of 3, expected 2 as"),
        ("\"z\"", "null", "users: column `user_id` holds 1 null, expected none"),
        ("\"z\"", "\"y\"", "users: `user_id` `y` appears twice, expected once"),
    ] {
        let other = good.replace("\"z\"", "\"y\"");
        let bad = good.replace(from, to);
        work.write("users.json", &format!("{}\n{other}\n{bad}\n", text.trim_end()));
        let args = ["bau", "--users", "users.json", "--output", "p.csv"];
        refused(&work, &args, 5, &[message, "users.json: "]);
        let training = work.run("sample-stage", &["holdout"]);
        let words = message.split(" as").next().unwrap();
        assert!(training.stderr.contains(words), "{words}: {}", training.stderr);
        assert_eq!(unfinished(&work), [""; 0]);
    }
    let args = ["persistence", "--users", "new.json", "--output", "p.csv"];
    let unknown = good.replace("[\"acme\"]", "[\"acme\", \"nobody\"]");
    work.write("new.json", &unknown);
    let said = predict(&work, &args);
    let note =
        "note: users: column `past`: 1 id of 2 are of no brand that is predicted, and left out";
    assert!(said.contains(note), "{said}");
    work.write("new.json", &good.replace("acme", "nobody"));
    let said = predict(&work, &args);
    let note =
        "note: users: column `past`: 1 id of 1 are of no brand that is predicted, and left out";
    assert!(said.contains(note), "{said}");
}

/// Rows by user: how many, and the least probability.
fn by_user(rows: &[Row]) -> BTreeMap<String, (usize, f32)> {
    let mut users = BTreeMap::new();
    for (user, _, _, prob, rank) in rows {
        let (n, least) = users.entry(user.clone()).or_insert((0, 1.0));
        *n += 1;
        assert_eq!(*rank as usize, *n);
        let prob: f32 = prob.parse().unwrap();
        assert!(prob <= *least, "best first");
        *least = prob;
    }
    users
}

#[test]
fn options_choose_which_brands_are_written() {
    let work = scored(&["bau", "bau_expected_f1"]);
    predict(&work, &["bau", "--output", "p.csv"]);
    let all = csv_rows(&work, "p.csv");
    assert!(by_user(&all).values().all(|&(_, least)| least >= 0.5));
    predict(&work, &["bau", "--output", "p.csv", "--min-prob", "0.9"]);
    let sure = csv_rows(&work, "p.csv");
    let is_sure = |row: &&Row| row.3.parse::<f32>().unwrap() >= 0.9;
    assert_eq!(sure, all.iter().filter(is_sure).cloned().collect::<Vec<_>>());
    assert!(sure.len() < all.len());

    predict(&work, &["bau", "--output", "p.parquet", "--top-k", "2"]);
    let batches = in_parquet(&work, "p.parquet");
    let top = long_rows(&batches);
    assert!(by_user(&top).values().all(|&(n, _)| n == 2) && top.len() == 72);
    let are_predicted = batches[0].column_by_name("is_predicted").unwrap().as_boolean();
    for (row, is_predicted) in top.iter().zip(are_predicted) {
        assert_eq!(is_predicted, Some(row.3.parse::<f32>().unwrap() >= 0.5), "{row:?}");
    }
    let n_rows = |whom: &str| {
        predict(&work, &["bau_expected_f1", "--output", "p.csv", "--for", whom]);
        csv_rows(&work, "p.csv").len()
    };
    assert_ne!(n_rows("users"), n_rows("brands"));
    refused(&work, &["bau", "--output", "p.csv", "--min-prob", "2"], 2, &["a number from 0 to 1"]);
    refused(&work, &["bau", "--output", "p.xls"], 2, &["ends in .parquet, .csv or .arrow"]);
    refused(&work, &["ba", "--output", "p.csv"], 2, &["no experiment `ba`", "`bau`"]);
}

/// A line of users.
fn new_user(i: u32) -> String {
    let (x, age) = (f64::from(i % 17) / 8.0 - 1.0, 20 + i % 50);
    json!({"user_id": format!("n{i}"), "embedding": [x, -x], "age": age}).to_string()
}

/// 1,000 users, `new.json`.
fn write_many_users(work: &Workspace) {
    work.write("new.json", &(0..1000).map(new_user).collect::<Vec<_>>().join("\n"));
}

/// 1,000 users in parts of 10 by three machines, two of them at once; the last was forgotten.
#[test]
fn machines_share_the_users_and_the_output_is_that_of_one() {
    let work = scored(&["bau"]);
    write_many_users(&work);
    let common = ["predict", "bau", "--users", "new.json", "--part-users", "10"];
    let said = work.pipeline(&[&common[..], &["--output", "one.csv"]].concat());
    assert_eq!(said.code, 0, "{}", said.stderr);

    let machine = |place: &str| {
        let args = [&common[..], &["--output", "all.csv", "--machine", place]].concat();
        let said = work.pipeline(&args);
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert!(!work.dir.join("all.csv").exists());
        said.stdout
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| machine("2/3"));
        assert!(machine("1/3").contains("parts 1 to 33 of 100 are done"));
        assert!(second.join().unwrap().contains("parts 34 to 66 of 100 are done"));
    });
    let said = work.pipeline(&[&common[..], &["--output", "all.csv"]].concat());
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("going on after part 66 of 100"), "{}", said.stderr);
    assert_eq!(work.bytes("all.csv"), work.bytes("one.csv"));
    assert!(!work.dir.join(".all.csv.parts").exists());

    let said = work.pipeline(&[&common[..], &["--output", "all.csv", "--machine", "4/3"]].concat());
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert!(said.stderr.contains("such as 2/5"), "{}", said.stderr);
}

/// 1,000 users in parts of 10, killed several times.
#[test]
fn a_killed_job_goes_on_where_it_was_and_ends_with_the_same_bytes() {
    let work = scored(&["bau"]);
    write_many_users(&work);
    for (output, file) in [("p.csv", "p.csv"), ("p", "p/part-00099.parquet")] {
        let args = ["predict", "bau", "--users", "new.json", "--part-users", "10", "--output"];
        let whole = work.pipeline(&[&args[..], &["whole.csv"]].concat());
        assert_eq!(whole.code, 0, "{}", whole.stderr);
        let args = [&args[..], &[output]].concat();
        let mut n_killed = 0;
        for until in ["part 3 of", "part 20 of", "part 41 of", "part 77 of"] {
            let said = work.killed("pipeline", &args, until);
            let is_going_on = said.stderr.contains("going on after part");
            assert_eq!(is_going_on, n_killed > 0, "{}", said.stderr);
            let is_killed = work.dir.join(format!(".{output}.parts")).exists();
            assert_ne!(is_killed, work.dir.join(output).exists());
            n_killed += u32::from(is_killed);
            if !is_killed {
                break; // it ended before the kill
            }
        }
        assert!(n_killed > 0);
        let run = work.pipeline(&args);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let last = work.bytes(file);
        if file == output {
            assert!(last == work.bytes("whole.csv"));
        } else {
            let found = long_rows(&in_parquet(&work, file));
            let users: Vec<Row> = csv_rows(&work, "whole.csv");
            let of_last = |row: &Row| row.0.starts_with("n99") && row.0.len() == 4;
            assert_eq!(found, users.into_iter().filter(of_last).collect::<Vec<_>>());
        }
        assert_eq!(unfinished(&work), [""; 0]);
    }
    // Other users: the parts of before are of no use.
    let args = ["bau", "--users", "new.json", "--part-users", "10", "--output", "p.csv"];
    work.killed("pipeline", &[&["predict"], &args[..]].concat(), "part 3 of");
    work.write("new.json", &(0..1000).rev().map(new_user).collect::<Vec<_>>().join("\n"));
    let said = predict(&work, &args);
    assert!(!said.contains("going on"), "{said}");
    assert_eq!(csv_rows(&work, "p.csv").last().unwrap().0, "n0");
}

#[test]
fn a_bundle_predicts_anywhere_as_the_experiment_does() {
    let work = scored(&["bau", "persistence"]);
    let set = ["--set", "score.memory={weight: 0.3}"];
    let run = work.pipeline(&[&["run", "bau"], &set[..]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    for (experiment, set) in [("bau", &set[..]), ("persistence", &[])] {
        predict(&work, &[&[experiment, "--output", "p.csv"], set].concat());
        let bundle = work.pipeline(&[&["bundle", experiment, "--output", "bundle"], set].concat());
        assert_eq!(bundle.code, 0, "{}", bundle.stderr);
        let again = work.bytes("bundle/bundle.json");
        work.pipeline(&[&["bundle", experiment, "--output", "bundle/"], set].concat());
        assert!(work.bytes("bundle/bundle.json") == again);

        let elsewhere = Workspace::tiny();
        fs::remove_file(elsewhere.dir.join("pipeline.yaml")).unwrap();
        let copied = elsewhere.dir.join("copied");
        fs::create_dir(&copied).unwrap();
        let files = work.files_below("bundle");
        assert_eq!(files.len(), if experiment == "bau" { 6 } else { 5 });
        for file in &files {
            fs::copy(work.dir.join(file), copied.join(Path::new(file).file_name().unwrap()))
                .unwrap();
        }
        let args = ["--bundle", "copied", "--users", "users.json", "--output", "p.csv"];
        predict(&elsewhere, &args);
        assert!(elsewhere.bytes("p.csv") == work.bytes("p.csv"));
        for file in files {
            let file = format!("copied/{}", Path::new(&file).file_name().unwrap().display());
            let whole = elsewhere.bytes(&file);
            for at in [whole.len() / 3, whole.len() / 2, whole.len() - 20] {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                fs::write(elsewhere.dir.join(&file), bytes).unwrap();
                refused(&elsewhere, &args, 5, &[&file, "copy"]);
            }
            fs::remove_file(elsewhere.dir.join(&file)).unwrap();
            refused(&elsewhere, &args, 5, &[&file, "there is no such file"]);
            fs::write(elsewhere.dir.join(&file), whole).unwrap();
        }
    }
}

#[test]
fn what_does_not_belong_together_is_refused_with_the_command_that_repairs_it() {
    let work = scored(&["bau"]);
    let retrain = work.run("train-stage", &["--experiment", "bau", "--set", "train.epochs=2"]);
    assert_eq!(retrain.code, 0, "{}", retrain.stderr);
    let repair = "hint: score the model first, with `pipeline run bau --stage score`";
    refused(
        &work,
        &["bau", "--output", "p.csv"],
        5,
        &["fitted for another model", ", not for ", repair],
    );
    let bundle = work.pipeline(&["bundle", "bau", "--output", "bundle"]);
    assert_eq!(bundle.code, 5);
    assert!(
        bundle.stderr.contains(repair) && !work.dir.join("bundle").exists(),
        "{}",
        bundle.stderr
    );
    let set = ["--set", "train.epochs=2"];
    assert_eq!(work.pipeline(&[&["run", "bau", "--stage", "score"], &set[..]].concat()).code, 0);
    let said = predict(&work, &["bau", "--output", "p.csv"]);
    assert!(
        said.contains("train of bau was run with other settings than the manifest has now"),
        "{said}"
    );
    assert!(
        !predict(&work, &[&["bau", "--output", "p.csv"], &set[..]].concat()).contains("warning")
    );

    fs::remove_dir_all(work.dir.join("runs/bau/score")).unwrap();
    refused(
        &work,
        &["bau", "--output", "p.csv"],
        5,
        &["there are no thresholds", "pipeline run bau"],
    );
    let bundle = work.pipeline(&["bundle", "bau", "--output", "bundle"]);
    assert!(
        bundle.code == 5 && bundle.stderr.contains("hint: run `pipeline run bau`"),
        "{}",
        bundle.stderr
    );
}

#[test]
fn a_record_that_is_gone_is_an_error_of_an_experiment() {
    let work = scored(&["bau"]);
    for stage in ["bau/train", "bau/score", "holdout"] {
        let record = work.dir.join(format!("runs/{stage}/stage.json"));
        let text = fs::read(&record).unwrap();
        fs::remove_file(&record).unwrap();
        let parts = ["no record lists it, so its bytes cannot be verified", "pipeline run bau"];
        refused(&work, &["bau", "--output", "p.csv"], 5, &parts);
        fs::write(&record, "{}").unwrap();
        refused(&work, &["bau", "--output", "p.csv"], 5, &["stage.json: cannot be parsed"]);
        fs::write(&record, text).unwrap();
    }
    predict(&work, &["bau", "--output", "p.csv"]);
}

/// Runs `pipeline audience --json`.
fn audience(work: &Workspace, args: &[&str]) -> Value {
    let run = work.pipeline(&[&["audience"], args, &["--json"]].concat());
    assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap()
}

/// Users and probabilities of each brand in an Arrow file, best first.
fn members(work: &Workspace, file: &str) -> BTreeMap<String, Vec<(String, f32)>> {
    let mut members: BTreeMap<String, Vec<(String, f32)>> = BTreeMap::new();
    for batch in ipc::read(&work.dir.join(file), &AUDIENCE).unwrap().batches {
        let text = |i: usize, row: usize| batch.column(i).as_string::<i32>().value(row).to_owned();
        let probs = batch.column(3).as_primitive::<Float32Type>();
        let ranks = batch.column(4).as_primitive::<UInt32Type>();
        for row in 0..batch.num_rows() {
            let users = members.entry(text(0, row)).or_default();
            users.push((text(2, row), probs.value(row)));
            assert_eq!(ranks.value(row) as usize, users.len());
        }
    }
    for users in members.values() {
        assert!(users.is_sorted_by(|a, b| a.1 >= b.1));
    }
    members
}

#[test]
fn an_audience_by_threshold_is_the_predictions_sorted_by_brand() {
    let work = scored(&["bau"]);
    predict(&work, &["bau", "--output", "p.csv"]);
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (user, brand, ..) in csv_rows(&work, "p.csv") {
        expected.entry(brand).or_default().push(user);
    }
    let args = ["bau", "--output", "a.arrow", "--part-users", "5"];
    let said = audience(&work, &args);
    let found = members(&work, "a.arrow");
    let users = found.iter().map(|(brand, users)| {
        let mut users: Vec<String> = users.iter().map(|(user, _)| user.clone()).collect();
        users.sort();
        (brand.clone(), users)
    });
    assert_eq!(users.collect::<BTreeMap<_, _>>(), expected);
    let dry = audience(&work, &["bau", "-n"]);
    assert_eq!((&said["output"], &dry["output"]), (&json!("a.arrow"), &Value::Null));
    for (said, dry) in
        said["brands"].as_array().unwrap().iter().zip(dry["brands"].as_array().unwrap())
    {
        assert_eq!(said["n_users"], dry["n_users"], "36 users are counted exactly");
        let brand = found.get(said["brand_id"].as_str().unwrap()).map_or(0, Vec::len);
        assert_eq!(said["n_users"], brand);
    }
    assert_eq!(unfinished(&work), [""; 0]);
}

/// A campaign must not go to the users of another brand.
#[test]
fn a_name_of_two_brands_is_refused_with_their_ids() {
    let work = Workspace::tiny();
    work.edit("brands.csv", "mill & sons,Mill & Sons", "mill & sons,\"Acme, Inc.\"");
    assert_eq!(work.pipeline(&["run", "bau"]).code, 0);
    let run = work.pipeline(&["audience", "bau", "Acme, Inc.", "-n"]);
    assert_eq!(run.code, 2, "{}", run.stdout);
    let expected =
        "2 brands have the name `Acme, Inc.`; say which by its id: `acme`, `mill & sons`";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    assert_eq!(audience(&work, &["bau", "acme", "-n"])["brands"].as_array().unwrap().len(), 1);
}

#[test]
fn sizes_of_audiences_are_kept_and_what_they_promise_is_their_mean_probability() {
    let work = scored(&["bau_expected_f1"]);
    let of = |size: &[&str]| {
        let dry = audience(&work, &[&["bau_expected_f1", "acme", "-n"], size].concat());
        let args = [&["bau_expected_f1", "Acme, Inc.", "--output", "a.arrow"], size].concat();
        let written = audience(&work, &args);
        let users = members(&work, "a.arrow").remove("acme").unwrap_or_default();
        for said in [&dry["brands"][0], &written["brands"][0]] {
            assert_eq!(said["n_users"], users.len());
            let mean = users.iter().map(|(_, p)| f64::from(*p)).sum::<f64>() / users.len() as f64;
            let promised = said["expected_precision"].as_f64().unwrap();
            assert!((promised - mean).abs() < 1e-6, "{promised} {mean}");
        }
        users
    };
    let five = of(&["--size", "5"]);
    assert_eq!(five.len(), 5);
    let nine = of(&["--share", "0.25"]);
    assert_eq!(nine[..5], five);
    assert_eq!(nine.len(), 9, "of 36");
    let everyone = of(&["--size", "100"]);
    assert_eq!(everyone.len(), 36);
    let mean = |n: usize| everyone[..n].iter().map(|(_, p)| f64::from(*p)).sum::<f64>() / n as f64;
    let n = (5..20).find(|&n| mean(n) - mean(n + 1) > 1e-4).expect("probabilities differ");
    let between = f64::midpoint(mean(n), mean(n + 1)).to_string();
    assert_eq!(of(&["--min-precision", &between]).len(), n);

    for (args, part) in [
        (
            &["bau_expected_f1", "acm", "-n"][..],
            "no brand that is predicted has the id or the name `acm`; did you mean `acme`?",
        ),
        (&["bau_expected_f1", "-n", "--share", "2"], "a number above 0, at most 1"),
        (&["bau_expected_f1", "-n", "--size", "2", "--share", "0.1"], "cannot be used with"),
        (&["bau_expected_f1"], "--output"),
    ] {
        let run = work.pipeline(&[&["audience"], args].concat());
        assert!(run.code == 2 && run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}

#[test]
fn a_bundle_and_a_folder_have_the_same_audiences() {
    let work = scored(&["bau"]);
    audience(&work, &["bau", "--size", "4", "--output", "a.arrow"]);
    let expected = members(&work, "a.arrow");
    assert_eq!(expected.len(), 4);
    assert_eq!(work.pipeline(&["bundle", "bau", "--output", "bundle"]).code, 0);
    let users = ["--bundle", "bundle", "--users", "users.json"];
    audience(
        &work,
        &[&users[..], &["--size", "4", "--output", "folder", "--format", "arrow"]].concat(),
    );
    let files = work.files_below("folder");
    assert!(files.contains(&"folder/audience-acme.arrow".to_owned()), "{files:?}");
    let mut found = BTreeMap::new();
    for file in &files {
        found.extend(members(&work, file));
    }
    assert_eq!((found, files.len()), (expected.clone(), 4));
    let one = [&users[..], &["mill & sons", "--size", "4", "--output", "b.arrow"]].concat();
    audience(&work, &one);
    assert_eq!(members(&work, "b.arrow").get("mill & sons"), expected.get("mill & sons"));
    let table = work.pipeline(&["audience", "bau", "-n"]);
    assert!(table.stdout.starts_with("brand ") && table.stdout.contains("4 audiences of 36 users"));
}

/// The tiny data set under other names, the ids of users being numbers in one table and text in another.
#[test]
fn init_writes_a_manifest_that_runs() {
    let work = Workspace::tiny();
    for file in ["pipeline.yaml", "everyone.sql"] {
        fs::remove_file(work.dir.join(file)).unwrap();
    }
    let users = String::from_utf8(work.bytes("users.json")).unwrap();
    let users = users.replace("\"user_id\": \"u", "\"Customer ID\": \"");
    work.write("people.json", &users);
    let log = String::from_utf8(work.bytes("interactions.csv")).unwrap();
    let log = log.replace("user_id,brand_id", "customer_id,Merchant").replace("\nu", "\n9");
    work.write("log.csv", &log);
    work.write("people.json", &users.replace("\"Customer ID\": \"", "\"Customer ID\": \"9"));
    let brands = String::from_utf8(work.bytes("brands.csv")).unwrap();
    work.write("shops.csv", &brands.replacen("brand_id,name", "merchant,Title", 1));
    let args = ["init", "--users", "people.json", "--interactions", "log.csv"];
    let with_brands = [&args[..], &["--brands", "shops.csv"]].concat();
    let run = work.pipeline(&with_brands);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("ids are numbers in one table and text in another"),
        "{}",
        run.stderr
    );
    let manifest = String::from_utf8(work.bytes("pipeline.yaml")).unwrap();
    assert!(manifest.contains("features: [embedding, age]"), "{manifest}");
    assert!(manifest.contains("holdout: {column: split}"), "{manifest}");
    let run = work.pipeline(&["run"]);
    assert_eq!(run.code, 0, "{manifest}\n{}", run.stderr);
    assert_eq!(work.report()["n_brands"], 4);
    let again = work.pipeline(&with_brands);
    assert!(
        again.code == 2 && again.stderr.contains("is there already; `--force`"),
        "{}",
        again.stderr
    );

    let without = work.pipeline(&[&args[..], &["--force"]].concat());
    assert_eq!(without.code, 0, "{}", without.stderr);
    let run = work.pipeline(&["run", "bau", "popularity"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let odd =
        work.pipeline(&["init", "--users", "shops.csv", "--interactions", "log.csv", "--force"]);
    assert_eq!(odd.code, 5);
    assert!(
        odd.stderr.contains("table `users`: cannot tell which of its 2 columns is `user_id`"),
        "{}",
        odd.stderr
    );
}

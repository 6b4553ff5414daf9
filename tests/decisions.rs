//! How the built programs decide: policies, neighbours, averages, and that nothing is chosen on the
//! test users.

mod workspace;

use std::fs;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::take;
use arrow::ipc::writer::FileWriter;
use contract::tables::{Contract, HOLDOUT, MODEL, PREDICTIONS, SCORES, THRESHOLDS};
use workspace::Workspace;

/// An experiment for everything that chooses something.
const CHOOSING: &str = "
  chosen_gain:
    train: {members: 2, refit: true}
    score: {decision: {policy: gain}, calibration: platt, memory: {neighbours: 3}}
  chosen_by_tier:
    score: {decision: {policy: expected_f1}, calibration: isotonic, memory: {neighbours: 3, by_tier: true}}
  chosen_micro: {score: {decision: {policy: global, metric: micro}}}
  chosen_macro: {score: {decision: {policy: global, metric: macro}}}
  chosen_user: {score: {decision: {policy: global, metric: user}}}
  chosen_per_brand: {score: {decision: {policy: per_brand}, calibration: platt}}
  chosen_volume: {score: {decision: {policy: expected_volume}, calibration: prior}}
  chosen_scored: {score: {decision: {policy: expected_f1, over: scored}, calibration: platt}}
  chosen_list: {score: {decision: {policy: top_k, k: 2, by: gain}}}
  chosen_length: {score: {decision: {policy: top_k, by: gain}}}
  chosen_share: {score: {decision: {policy: gain}, calibration: platt}}
";

fn with_choosing() -> Workspace {
    let work = Workspace::tiny();
    let manifest = fs::read_to_string(work.dir.join("pipeline.yaml")).unwrap();
    work.write("pipeline.yaml", &(manifest.trim_end().to_owned() + CHOOSING));
    work
}

fn names() -> impl Iterator<Item = &'static str> {
    CHOOSING
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("chosen_"))
}

fn columns(work: &Workspace, file: &str, contract: &Contract) -> Vec<ArrayRef> {
    let table = contract::ipc::read(&work.dir.join(file), contract).unwrap();
    table.schema.fields().iter().map(|f| table.whole_column(f.name()).unwrap()).collect()
}

/// Each test user gets the labels of another: every model, epoch, threshold, weight and share stays
/// the same, bit by bit, and only the figures on the test users change.
#[test]
fn the_test_labels_choose_nothing() {
    let honest = with_choosing();
    let run = honest.pipeline(&["run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);

    let permuted = with_choosing();
    let users = fs::read_to_string(permuted.dir.join("users.json")).unwrap();
    let tests: Vec<String> = users
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|user| user["split"] == "test")
        .map(|user| user["user_id"].as_str().unwrap().to_owned())
        .collect();
    assert!(tests.len() > 5);
    let interactions = fs::read_to_string(permuted.dir.join("interactions.csv")).unwrap();
    let moved: Vec<String> = interactions
        .lines()
        .map(|line| {
            let (user, rest) = line.split_once(',').unwrap();
            let place = tests.iter().position(|test| test == user);
            let user = place.map_or(user, |place| &tests[(place + 1) % tests.len()]);
            format!("{user},{rest}")
        })
        .collect();
    permuted.write("interactions.csv", &(moved.join("\n") + "\n"));
    let run = permuted.pipeline(&["run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);

    let mut n_changed = 0;
    for name in names().chain(["bau", "bau_expected_f1"]) {
        // A file's metadata have the fingerprint of its inputs, so contents are compared.
        let thresholds = format!("runs/{name}/score/thresholds.arrow");
        let of = |work: &Workspace| columns(work, &thresholds, &THRESHOLDS);
        assert_eq!(of(&honest), of(&permuted), "{name}");
        let metadata = |work: &Workspace| {
            let table = contract::ipc::read(&work.dir.join(&thresholds), &THRESHOLDS).unwrap();
            table.metadata("decision").map(str::to_owned)
        };
        assert_eq!(metadata(&honest), metadata(&permuted), "{name}");
        let model = format!("runs/{name}/train/model.arrow");
        let of = |work: &Workspace| columns(work, &model, &MODEL);
        assert_eq!(of(&honest), of(&permuted), "{name}");
        let kept = |work: &Workspace| {
            let record: serde_json::Value =
                serde_json::from_slice(&work.bytes(&format!("runs/{name}/train/stage.json")))
                    .unwrap();
            record["summary"].clone()
        };
        assert_eq!(kept(&honest), kept(&permuted), "{name}");
        let scores = format!("runs/{name}/score/scores.arrow");
        let of = |work: &Workspace, column| {
            let table = contract::ipc::read(&work.dir.join(&scores), &SCORES).unwrap();
            table.whole_column(column).unwrap()
        };
        assert_eq!(&of(&honest, "predicted"), &of(&permuted, "predicted"), "{name}");
        n_changed += usize::from(*of(&honest, "labels") != *of(&permuted, "labels"));
    }
    assert_eq!(n_changed, names().count() + 2, "the labels did move");
    let user_f1 = |work: &Workspace| work.report()["experiments"][0]["user"]["f1"].clone();
    assert_ne!(user_f1(&honest), user_f1(&permuted));
}

/// Two valid users of one fold exchange their labels: others' decisions change, their own do not.
#[test]
fn valid_users_are_decided_without_their_own_labels() {
    let work = with_choosing();
    // A neighbour's weight is chosen once, on all valid users.
    let names: Vec<&str> =
        names().filter(|name| !["chosen_gain", "chosen_by_tier"].contains(name)).collect();
    assert_eq!(work.pipeline(&[&["run"], &names[..]].concat()).code, 0);
    let decided = || {
        let tables = names.iter().map(|name| {
            let file = format!("runs/{name}/score/valid_scores.arrow");
            let table = contract::ipc::read(&work.dir.join(file), &SCORES).unwrap();
            let predicted = table.whole_column("predicted").unwrap();
            (0..predicted.len()).map(|row| predicted.slice(row, 1)).collect::<Vec<_>>()
        });
        tables.collect::<Vec<_>>()
    };
    let before = decided();

    // Without its record the file may be another.
    fs::remove_file(work.dir.join("runs/holdout/stage.json")).unwrap();
    let path = work.dir.join("runs/holdout/valid.arrow");
    let valid = contract::ipc::read_unmapped(&path, &HOLDOUT).unwrap();
    let is_moved = |row: usize| row.is_multiple_of(5);
    let moved: Vec<usize> = (0..valid.n_rows()).filter(|&row| is_moved(row)).collect();
    assert!(moved.len() > 1, "{moved:?}");
    let from = |row| match moved.iter().position(|&moved| moved == row) {
        Some(place) => moved[(place + 1) % moved.len()],
        None => row,
    };
    let order = UInt64Array::from_iter_values((0..valid.n_rows()).map(|row| from(row) as u64));
    let columns = valid.schema.fields().iter().map(|field| {
        let column = valid.whole_column(field.name()).unwrap();
        if field.name() == "brands" { take(&column, &order, None).unwrap() } else { column }
    });
    let batch = RecordBatch::try_new(valid.schema.clone(), columns.collect()).unwrap();
    let mut writer = FileWriter::try_new(fs::File::create(&path).unwrap(), &valid.schema).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    for name in &names {
        let run = work.run("score-stage", &["--experiment", name]);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }

    let after = decided();
    let mut n_changed = 0;
    for ((before, after), name) in before.iter().zip(&after).zip(&names) {
        for row in 0..before.len() {
            let is_same = *before[row] == *after[row];
            assert!(is_same || !is_moved(row), "{name}: row {row} is decided by its own labels");
            n_changed += usize::from(!is_same);
        }
    }
    assert!(n_changed > 0, "the labels do count for others");
}

/// A second run and another number of threads give the same bytes, with neighbours and averages.
#[test]
fn decisions_are_the_same_every_time() {
    let (one, two) = (with_choosing(), with_choosing());
    assert_eq!(
        one.pipeline(&["run", "--set", "score.threads=1", "--set", "train.threads=1"]).code,
        0
    );
    assert_eq!(
        two.pipeline(&["run", "--set", "score.threads=3", "--set", "train.threads=2"]).code,
        0
    );
    for name in names() {
        for file in [
            "train/model.arrow",
            "score/thresholds.arrow",
            "score/scores.arrow",
            "score/valid_scores.arrow",
        ] {
            let path = format!("runs/{name}/{file}");
            assert!(one.bytes(&path) == two.bytes(&path), "{path}");
        }
    }
    let memory = "runs/chosen_gain/score/memory.arrow";
    assert!(one.bytes(memory) == two.bytes(memory));
}

/// `predict` decides for the test users as scoring did, also with neighbours; `--for users` and
/// `--for brands` decide differently from the same scores.
#[test]
fn predict_decides_as_scoring_did_or_for_users_or_for_brands() {
    let work = with_choosing();
    assert_eq!(work.pipeline(&["run", "chosen_gain"]).code, 0);
    let predict = |more: &[&str]| {
        let args = [
            "predict",
            "--model",
            "runs/chosen_gain/train/model.arrow",
            "--users",
            "runs/holdout/test.arrow",
            "--output",
            "new.arrow",
        ];
        let run = work.run("score-stage", &[&args[..], more].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        let table = contract::ipc::read(&work.dir.join("new.arrow"), &PREDICTIONS).unwrap();
        ["predicted", "top_brands", "top_probs"].map(|name| table.whole_column(name).unwrap())
    };
    let scores =
        contract::ipc::read(&work.dir.join("runs/chosen_gain/score/scores.arrow"), &SCORES)
            .unwrap();
    let scored =
        ["predicted", "top_brands", "top_probs"].map(|name| scores.whole_column(name).unwrap());
    assert_eq!(predict(&[]), scored);
    let (users, brands) = (predict(&["--for", "users"]), predict(&["--for", "brands"]));
    assert_ne!(&users[0], &brands[0]);
    assert_eq!(users[1..], brands[1..], "the scores are the same");
}

/// Two networks are two trainings: their updates add up, and a killed one resumes.
#[test]
fn an_average_of_networks_is_recorded_and_resumes_after_a_kill() {
    let set = ["--set", "train.members=2", "--set", "train.checkpoint_minutes=0"];
    let args = [&["--experiment", "bau"][..], &set].concat();
    let alone = Workspace::tiny();
    assert_eq!(alone.pipeline(&["run", "bau"]).code, 0);
    let single = alone.report()["experiments"][0]["updates"].as_u64().unwrap();
    let run = alone.run("train-stage", &args);
    assert!(run.stdout.contains("average of 2 networks"), "{}", run.stdout);

    let work = Workspace::tiny();
    assert_eq!(work.pipeline(&["run", "bau"]).code, 0);
    let run = work.killed("train-stage", &args, "train bau (2 of 2): epoch 5 ");
    assert!(run.stderr.contains("train bau (1 of 2): epoch 30 "), "{}", run.stderr);
    let run = work.run("train-stage", &args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains("train bau (1 of 2): epoch 30 "), "{}", run.stderr);
    let model = "runs/bau/train/model.arrow";
    assert!(work.bytes(model) == alone.bytes(model));
    let run = alone.pipeline(&["run", "bau", "--set", "train.members=2"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let bau = &alone.report()["experiments"][0];
    assert_eq!(bau["updates"].as_u64(), Some(2 * single));
    assert_eq!(bau["history"].as_array().unwrap().len(), 30, "the first network's");
}

#[test]
fn checking_the_manifest_checks_what_scoring_needs() {
    let work = Workspace::tiny();
    work.edit(
        "pipeline.yaml",
        "popularity: {train: {model: popularity}}",
        "popularity: {train: {model: popularity}, score: {memory: {}, calibration: prior}}",
    );
    work.edit("pipeline.yaml", "bau: {}", "bau: {train: {hidden: []}, score: {memory: {}}}");
    let check = work.pipeline(&["check"]);
    assert_eq!(check.code, 2);
    for part in ["`prior` undoes what a sample did", "pipeline.yaml:20:", "last hidden layer"] {
        assert!(check.stderr.contains(part), "{part}: {}", check.stderr);
    }
}

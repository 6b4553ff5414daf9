//! Experiments of a matrix, from the manifest to the ranked table, over the built programs.

use serde_json::{Value, json};

mod workspace;

use workspace::Workspace;

/// Adds an experiment to the tiny data set's manifest.
fn tiny_with(experiments: &str) -> Workspace {
    let work = Workspace::tiny();
    work.edit("pipeline.yaml", "experiments:\n", &format!("experiments:\n{experiments}"));
    work
}

fn json_of(work: &Workspace, args: &[&str]) -> Value {
    let said = work.pipeline(args);
    assert_eq!(said.code, 0, "{args:?}: {}", said.stderr);
    serde_json::from_str(&said.stdout).unwrap_or_else(|err| panic!("{err}: {}", said.stdout))
}

fn names(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

const GRID: &str = "  grid:
    matrix: {train.learning_rate: [0.001, 0.03], train.hidden: [[8], [16]], exclude: [{train.learning_rate: 0.03, train.hidden: [16]}]}
";

#[test]
fn a_matrix_runs_is_ranked_on_valid_users_and_shares_results_with_experiments_written_by_hand() {
    let work = tiny_with(GRID);
    let ranked = json_of(&work, &["sweep", "grid", "--by", "map", "--json"]);
    let rows = ranked["experiments"].as_array().unwrap();
    let mut sorted = names(&ranked["experiments"]);
    assert_eq!(ranked["best"], sorted[0]);
    sorted.sort_unstable();
    assert_eq!(sorted, ["grid-1", "grid-2", "grid-3"]);
    let map = |row: &Value| row["valid"]["map"].as_f64().unwrap();
    assert!(rows.windows(2).all(|pair| map(&pair[0]) >= map(&pair[1])), "{rows:#?}");
    for row in rows {
        let record = format!("runs/{}/score/stage.json", row["name"].as_str().unwrap());
        let record: Value = serde_json::from_slice(&work.bytes(&record)).unwrap();
        assert_eq!(map(row), record["summary"]["valid"]["map"].as_f64().unwrap());
    }
    let report = work.report();
    let of = |name: &str| {
        let experiments = report["experiments"].as_array().unwrap();
        experiments.iter().find(|e| e["name"] == name).unwrap().clone()
    };
    let values = json!({"train.learning_rate": 0.03, "train.hidden": [8]});
    assert_eq!(of("grid-3")["matrix"], json!({"name": "grid", "values": values}));
    assert_eq!(of("bau")["status"], "ok", "the baseline ran too");
    assert_eq!(of("popularity")["status"], "missing");

    let table = work.pipeline(&["sweep", "grid"]);
    let header = "experiment  learning_rate  hidden  valid macro F1  valid user F1  valid MAP";
    assert!(table.stdout.contains(header), "{}", table.stdout);
    assert!(table.stdout.contains("on the valid users, who chose it"), "{}", table.stdout);

    // A value more changes no name, and an experiment with the same settings takes over the results.
    work.edit("pipeline.yaml", "[0.001, 0.03]", "[0.001, 0.03, 0.002]");
    let hand =
        "  hand: {train: {hidden: [16], learning_rate: 0.001}, score: {top_k: 20}}\n  grid:\n";
    work.edit("pipeline.yaml", "  grid:\n", hand);
    let plan = json_of(&work, &["run", "-n", "grid", "hand", "--to", "train", "--json"]);
    let found: Vec<String> = plan["stages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|stage| stage["stage"] == "train")
        .map(|stage| format!("{}: {}", stage["experiment"], stage["why"]).replace('"', ""))
        .collect();
    assert_eq!(found[0], "hand: shared with grid-2");
    assert_eq!(found[1..4], ["grid-1: fresh", "grid-2: fresh", "grid-3: fresh"]);
    assert!(found[4].starts_with("grid-7: ") && found[4] != "grid-7: fresh", "{found:?}");

    let status = work.pipeline(&["status", "grid-[12]"]).stdout;
    assert_eq!(status.trim(), "all 7 stages are fresh", "with the holdout");
    let unknown = work.pipeline(&["explain", "grid", "train"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("`grid` in `pipeline.yaml`; it is a matrix; name one of its experiments: `grid-1`, `grid-2`"), "{}", unknown.stderr);
}

#[test]
fn a_sweep_of_the_command_line_is_in_the_report_with_its_base() {
    let work = Workspace::tiny();
    let sweep = ["--sweep", "train.hidden=[4],[6]", "--sweep", "train.dropout=0,0.5"];
    let run = work.pipeline(&[&["run", "persistence"][..], &sweep].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let scored: Vec<String> = work.report()["experiments"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["status"] == "ok")
        .map(|e| e["name"].as_str().unwrap().to_owned())
        .collect();
    let cells = (1..5).map(|i| format!("persistence-{i}"));
    let expected: Vec<String> =
        ["bau", "persistence"].map(str::to_owned).into_iter().chain(cells).collect();
    assert_eq!(scored, expected);
    // Again it is only printed; without the sweep its experiments are gone.
    let ranked = json_of(&work, &[&["sweep", "persistence", "--json"][..], &sweep].concat());
    assert_eq!(names(&ranked["experiments"]).len(), 5);
    assert!(work.pipeline(&["history"]).stdout.contains("0 ran, 0 failed"));
    let without = work.pipeline(&["sweep", "persistence"]);
    assert_eq!(without.code, 2);
    assert!(without.stderr.contains("`persistence` has no matrix\nhint: "), "{}", without.stderr);
    let several = work.pipeline(&["run", "--sweep", "train.epochs=1,2"]);
    assert_eq!(several.code, 2);
    assert!(several.stderr.contains("`--sweep` varies one experiment"), "{}", several.stderr);
}

/// What goes on has the bytes of a training without a pause.
#[test]
fn halving_ends_the_worse_half_and_leaves_the_bytes_of_the_others_as_they_are() {
    let matrix = |halving: bool| {
        format!(
            "  half: {{halving: {halving}, matrix: {{train.learning_rate: [0.0001, 0.001, 0.01, 0.05]}}}}\n"
        )
    };
    let (halved, whole) = (tiny_with(&matrix(true)), tiny_with(&matrix(false)));
    let ranked = json_of(&halved, &["sweep", "half", "--json"]);
    assert_eq!(whole.pipeline(&["run", "half"]).code, 0);
    // 18 examples in batches of 5 are 4 updates an epoch, 120 in all.
    let ended = |name: &str| {
        let rows = ranked["experiments"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        row["ended"]["updates"].as_u64()
    };
    let cells: Vec<String> = (1..5).map(|i| format!("half-{i}")).collect();
    let mut n_updates: Vec<Option<u64>> = cells.iter().map(|cell| ended(cell)).collect();
    n_updates.sort_unstable();
    assert_eq!(n_updates, [None, Some(30), Some(30), Some(60)]);
    for cell in &cells {
        let model = format!("runs/{cell}/train/model.arrow");
        if ended(cell).is_none() {
            assert!(halved.bytes(&model) == whole.bytes(&model), "{cell}");
        } else {
            assert!(!halved.dir.join(&model).exists(), "{cell} was ended");
        }
    }
    let status = halved.pipeline(&["status", "half"]).stdout;
    assert_eq!(status.matches("rank 2 of 2").count(), 2, "of train and score: {status}");
    assert!(status.contains("ended at 30 of 120 updates, valid MAP "), "{status}");
    let report = String::from_utf8(halved.bytes("runs/report/report.md")).unwrap();
    assert!(report.contains("ended at 60 of 120 updates"), "{report}");

    // Nothing is left to do, and what was ended stays so.
    let again = halved.pipeline(&["run", "half"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(!again.stderr.contains(": running ("), "{}", again.stderr);
    let history = json_of(&halved, &["history", "--json"]);
    let last = history.as_array().unwrap().last().unwrap();
    let n_ended =
        last["stages"].as_array().unwrap().iter().filter(|s| s["outcome"] == "ended early");
    assert_eq!(n_ended.count(), 3);
}

#[test]
fn a_stage_that_ran_alone_is_in_the_history() {
    let work = Workspace::tiny();
    assert_eq!(work.pipeline(&["run", "bau"]).code, 0);
    assert_eq!(work.run("train-stage", &["--experiment", "bau"]).code, 0);
    let failed = work.run(
        "train-stage",
        &[
            "--experiment",
            "bau",
            "--set",
            "train.learning_rate=1",
            "--set",
            "train.loss={kind: mse}",
            "--set",
            "train.features=[past]",
        ],
    );
    let history = work.pipeline(&["history"]).stdout;
    assert!(history.contains("train-stage --experiment bau"), "{history}");
    let runs = json_of(&work, &["history", "--json"]);
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len(), 3, "{history}");
    assert_eq!((&runs[1]["program"], &runs[1]["outcome"]), (&json!("train-stage"), &json!("done")));
    assert_eq!(runs[1]["stages"][0]["reason"], "it was run alone");
    let outcome = if failed.code == 0 { "done" } else { "failed" };
    assert_eq!(runs[2]["outcome"], outcome);
    let why = work.pipeline(&["explain", "bau", "score", "--run", "last"]).stdout;
    assert!(why.starts_with("score of bau in run "), "the last run that reached it: {why}");
}

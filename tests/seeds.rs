//! Experiments that are trained once for each of several seeds.

mod workspace;

use serde_json::Value;
use workspace::Workspace;

fn seeded(seeds: &str) -> Workspace {
    let work = Workspace::tiny();
    work.edit("pipeline.yaml", "baseline: bau", &format!("seeds: {seeds}\nbaseline: bau"));
    work
}

fn experiment<'a>(report: &'a Value, name: &str) -> &'a Value {
    let experiments = report["experiments"].as_array().unwrap();
    experiments.iter().find(|e| e["name"] == name).unwrap()
}

#[test]
fn every_experiment_that_learns_is_trained_once_for_each_seed() {
    let work = seeded("[7, 8]");
    let said = work.pipeline(&["run"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    for file in [
        "runs/bau/sample/examples.arrow", // one sample for both
        "runs/bau/train/model.arrow",     // of the first seed
        "runs/bau/seed-8/score/scores.arrow",
        "runs/popularity/train/model.arrow", // nothing is learned
    ] {
        assert!(work.dir.join(file).exists(), "{file}");
    }
    let model = |folder: &str| work.bytes(&format!("runs/{folder}/train/model.arrow"));
    assert_ne!(model("bau"), model("bau/seed-8"));

    let report = work.report();
    assert_eq!(report["method"]["seeds"], serde_json::json!([7, 8]));
    let ours = experiment(&report, "bau_expected_f1");
    let seeds = ours["seeds"].as_array().unwrap();
    assert_eq!(seeds.iter().map(|s| s["seed"].as_u64().unwrap()).collect::<Vec<_>>(), [7, 8]);
    let f1 = |figures: &Value| figures["user"]["f1"].as_f64().unwrap();
    let mean = f64::midpoint(f1(&seeds[0]), f1(&seeds[1]));
    assert!((f1(ours) - mean).abs() < 1e-12, "{} {mean}", f1(ours));
    let delta = &ours["delta"]["user_f1"];
    assert!(delta["n_seeds"] == 2 && delta["spread"].is_number(), "{delta}");
    assert!(!ours["verdict"].as_str().unwrap().contains("one seed"));
    // What is not trained stands beside both seeds of the baseline.
    assert_eq!(experiment(&report, "popularity")["seeds"], serde_json::json!([]));
    assert_eq!(experiment(&report, "popularity")["delta"]["user_f1"]["n_seeds"], 2);
    // The report is the same however often it is made.
    let before = work.bytes("runs/report/per_brand.csv");
    assert_eq!(work.pipeline(&["run"]).code, 0);
    assert_eq!(work.bytes("runs/report/per_brand.csv"), before);
}

/// A seed that ran before, alone or among others, is not trained again.
#[test]
fn a_seed_is_trained_once() {
    let work = Workspace::tiny();
    assert_eq!(work.pipeline(&["run", "bau", "--set", "train.seed=8"]).code, 0);
    let said = work.pipeline(&["run", "bau", "--set", "seeds=[7,8]"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("train of bau (seed 8): restored"), "{}", said.stderr);
    assert!(said.stderr.contains("train of bau (seed 7): running"), "{}", said.stderr);
    let one = work.pipeline(&["run", "bau", "--set", "train.seed=7"]);
    assert!(
        one.stderr.contains("train of bau: fresh"),
        "the first seed is in its place: {}",
        one.stderr
    );
    assert!(experiment(&work.report(), "bau")["seeds"].as_array().unwrap().is_empty());
}

#[test]
fn with_one_seed_the_verdict_says_so() {
    let work = Workspace::tiny();
    assert_eq!(work.pipeline(&["run"]).code, 0);
    let report = work.report();
    let verdict = |name: &str| experiment(&report, name)["verdict"].as_str().unwrap().to_owned();
    assert!(verdict("bau_expected_f1").contains(" (one seed)"), "{}", verdict("bau_expected_f1"));
    assert!(!verdict("bau").contains("seed"), "{}", verdict("bau"));
}

#[test]
fn each_seed_may_have_a_sample_of_its_own() {
    let work = seeded("[7, 8]");
    work.edit(
        "everyone.sql",
        "from interactions",
        "from interactions\nwhere draw(interactions.user_id, $seed, 0) < 0.7",
    );
    work.edit("pipeline.yaml", "{sql: everyone.sql}", "{sql: everyone.sql, seeds: [1, 2]}");
    let said = work.pipeline(&["run", "bau"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let examples = |folder: &str| work.bytes(&format!("runs/{folder}/sample/examples.arrow"));
    assert_ne!(examples("bau"), examples("bau/seed-8"));
}

#[test]
fn stages_run_alone_for_all_seeds_or_for_one() {
    let work = seeded("[7, 8]");
    assert_eq!(work.pipeline(&["run", "bau", "--to", "sample"]).code, 0);
    let said = work.run("train-stage", &["--experiment", "bau", "--seed", "8"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.starts_with("train of bau (seed 8): "), "{}", said.stdout);
    assert!(!work.dir.join("runs/bau/train/model.arrow").exists());
    let said = work.run("train-stage", &["--experiment", "bau"]);
    assert!(said.stdout.contains("train of bau (seed 7): "), "{}", said.stdout);
    assert!(work.dir.join("runs/bau/train/model.arrow").exists());
    let said = work.run("score-stage", &["--experiment", "bau", "--seed", "9"]);
    assert_eq!(said.code, 2);
    assert!(
        said.stderr.contains("`--seed 9`: ") && said.stderr.contains("[7, 8]"),
        "{}",
        said.stderr
    );
    let said = work.pipeline(&["explain", "bau", "score"]);
    assert!(said.stdout.contains("score of bau (seed 7): stale"), "{}", said.stdout);
    assert!(said.stdout.contains("score of bau (seed 8): stale"), "{}", said.stdout);
}

#[test]
fn results_of_other_seeds_are_cleaned() {
    let work = seeded("[7, 8]");
    assert_eq!(work.pipeline(&["run", "bau"]).code, 0);
    work.edit("pipeline.yaml", "seeds: [7, 8]", "seeds: [7]");
    let said = work.pipeline(&["clean", "--yes"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(!work.dir.join("runs/bau/seed-8").exists(), "{}", said.stdout);
    assert!(work.dir.join("runs/bau/train/model.arrow").exists());
    assert!(work.dir.join("runs/bau/sample/examples.arrow").exists());
}

#[test]
fn seeds_that_cannot_be_are_refused() {
    for (seeds, expected) in [
        ("[]", "`seeds`"),
        ("[7, 7]", "`seeds`: 7 appears twice"),
        ("[-1]", "`seeds.0`"),
        ("7", "`seeds`"),
    ] {
        let said = seeded(seeds).pipeline(&["check"]);
        assert_eq!(said.code, 2, "{seeds}");
        assert!(said.stderr.contains(expected), "{seeds}: {}", said.stderr);
    }
    let work = seeded("[7, 8]");
    let said = work.pipeline(&["run", "bau", "--set", "train.seed=9"]);
    assert_eq!(said.code, 2);
    assert!(said.stderr.contains("`--set seeds=[8]`"), "{}", said.stderr);
    let said = work.pipeline(&["check", "--set", "sample.seeds=[1]"]);
    assert!(
        said.stderr.contains("found 1, expected as many as `seeds` lists, 2"),
        "{}",
        said.stderr
    );
}

/// A seed that failed: the others are compared, each with the same one of the baseline.
#[test]
fn a_seed_without_scores_is_left_out_and_reported() {
    let work = seeded("[7, 8, 9]");
    assert_eq!(work.pipeline(&["run"]).code, 0);
    let changes = |report: &Value| {
        let f1 = |name: &str, seed: usize| {
            experiment(report, name)["seeds"][seed]["item"]["macro_f1"].as_f64().unwrap()
        };
        (1..3).map(|seed| f1("bau_expected_f1", seed) - f1("bau", seed)).sum::<f64>() / 2.0
    };
    let expected = changes(&work.report());
    std::fs::remove_dir_all(work.dir.join("runs/bau_expected_f1/score")).unwrap();
    assert_eq!(work.run("report-stage", &[]).code, 0);
    let report = work.report();
    let ours = experiment(&report, "bau_expected_f1");
    assert_eq!(ours["delta"]["item_f1"]["n_seeds"], 2);
    let found = ours["delta"]["item_f1"]["abs"].as_f64().unwrap();
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    assert_eq!(ours["outdated"], "seed 7 has no scores");
}

#[test]
fn explain_prints_every_seed() {
    let work = seeded("[7, 8]");
    assert_eq!(work.pipeline(&["run", "bau"]).code, 0);
    let said = work.pipeline(&["explain", "bau", "train", "--json"]);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found.as_array().map(Vec::len), Some(2), "{}", said.stdout);
    let said = work.pipeline(&["explain", "bau", "train", "--run", "last"]);
    assert!(
        said.stdout.contains("(seed 7)") && said.stdout.contains("(seed 8)"),
        "{}",
        said.stdout
    );
}

//! `pipeline predict` and `pipeline audience` say when new users differ from those that the experiment
//! was judged on, and say nothing of a fresh sample of the same population.

mod workspace;

use std::fmt::Write as _;
use std::fs;

use contract::splitmix::mix;
use serde_json::{Value, json};
use workspace::{Said, Workspace};

const N_BRANDS: u64 = 12;

/// A number from 0 to 1 that depends on the user and its purpose alone.
fn uniform(user: u64, purpose: u64) -> f64 {
    (mix(mix(user) ^ mix(purpose + 1_000_000)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// What a user of a population has; `shift` moves the first number of the vector, by its standard
/// deviations, and with it the chances of half of the brands.
fn user(id: u64, shift: f64) -> (Value, Vec<u64>) {
    let normal = |purpose| 3.46 * (uniform(id, purpose) - 0.5); // of variance 1
    let (x, y) = (normal(0) + shift, normal(1));
    let age = 20 + (uniform(id, 2) * 50.0) as u64;
    let past: Vec<String> = (0..N_BRANDS)
        .filter(|&brand| uniform(id, 100 + brand) < 0.3 / (brand + 1) as f64)
        .map(|brand| format!("b{brand}"))
        .collect();
    let has = |&brand: &u64| {
        let z = if brand % 2 == 0 { x } else { y };
        let rate = 1.0 / (1.0 + (1.0 + 0.3 * brand as f64 - 1.5 * z).exp());
        uniform(id, 200 + brand) < rate
    };
    let brands = (0..N_BRANDS).filter(has).collect();
    let id = format!("u{id}");
    (json!({"user_id": id, "vector": [x, y], "age": age, "past": past}), brands)
}

fn users(ids: std::ops::Range<u64>, shift: f64) -> String {
    ids.map(|id| user(id, shift).0.to_string() + "\n").collect()
}

const MANIFEST: &str = "
version: 1
run_dir: runs
data:
  tables: {users: users.json, interactions: interactions.csv, brands: brands.csv}
  users: {table: users}
  interactions: {table: interactions}
  brands: {table: brands}
  features: [vector, age, {column: past, ids: brands}]
holdout: {valid: 0.2, test: 0.4, seed: 7}
stages:
  sample: {sql: everyone.sql}
  train: {hidden: [8], loss: {kind: bce}, epochs: 8, batch_size: 64, learning_rate: 0.01}
  score: {calibration: platt, decision: {policy: expected_f1}}
  report: {bootstrap_draws: 200}
baseline: bau
experiments:
  bau: {}
";

fn scored() -> Workspace {
    let work = Workspace::tiny();
    work.write("pipeline.yaml", MANIFEST);
    work.write("users.json", &users(0..4000, 0.0));
    let mut log = "user_id,brand_id\n".to_owned();
    for id in 0..4000 {
        for brand in user(id, 0.0).1 {
            let _ = writeln!(log, "u{id},b{brand}");
        }
    }
    work.write("interactions.csv", &log);
    let brands = (0..N_BRANDS).fold("brand_id,name\n".to_owned(), |text, brand| {
        text + &format!("b{brand},Brand {brand}\n")
    });
    work.write("brands.csv", &brands);
    let run = work.pipeline(&["run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    work
}

fn predict(work: &Workspace, args: &[&str]) -> Said {
    work.pipeline(&[&["predict", "bau", "--output", "p.csv"], args].concat())
}

fn drift(said: &Said) -> Value {
    let json: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}", said.stderr));
    json["drift"].clone()
}

fn moved<'a>(drift: &'a Value, of: &str, name: &str) -> Vec<&'a Value> {
    let all = drift[of].as_array().unwrap().iter();
    all.filter(|one| one["has_moved"] == true).map(|one| &one[name]).collect()
}

#[test]
fn a_fresh_sample_says_nothing_and_a_shifted_one_says_what_moved() {
    let work = scored();
    for (sample, ids) in [(0, 10_000..14_000), (1, 20_000..20_300), (2, 30_000..38_000)] {
        work.write("new.json", &users(ids, 0.0));
        let said = predict(&work, &["--users", "new.json", "--json", "--fail-on-drift"]);
        assert_eq!(said.code, 0, "{sample}: {}", said.stderr);
        assert!(!said.stderr.contains("warning"), "{sample}: {}", said.stderr);
        let drift = drift(&said);
        assert_eq!((&drift["unchecked"], &drift["n_moved"]), (&Value::Null, &json!(0)));
        assert_eq!(drift["features"].as_array().unwrap().len(), 2 + 1 + 1 + 12, "{drift}");
        assert_eq!(drift["brands"].as_array().unwrap().len(), 12);
    }

    work.write("new.json", &users(10_000..14_000, 1.0));
    let said = predict(&work, &["--users", "new.json"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let line = "  feature `vector`: 1 of its 2 numbers moved, most of all number 0: mean 0.9";
    assert!(said.stderr.contains(line), "{}", said.stderr);
    assert!(said.stderr.contains("  brand `b10` (Brand 10): predicted for"), "{}", said.stderr);
    let said = predict(&work, &["--users", "new.json", "--json", "--fail-on-drift"]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stderr.contains("which `--fail-on-drift` makes a failure"), "{}", said.stderr);
    assert!(work.bytes("p.csv").len() > 1000, "it is written all the same");
    let drift = drift(&said);
    let places = moved(&drift, "features", "place");
    assert_eq!(places, [&json!(0)], "the first number of the vector alone: {drift:#}");
    let brands = moved(&drift, "brands", "brand_id");
    assert!(brands.contains(&&json!("b10")) && !brands.contains(&&json!("b11")), "{brands:?}");

    // An audience is checked by features and probabilities.
    let args = ["audience", "bau", "--users", "new.json", "-n", "--json", "--fail-on-drift"];
    let said = work.pipeline(&args);
    assert_eq!(said.code, 1, "{}", said.stderr);
    let audience: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(moved(&audience["drift"], "features", "place"), [&json!(0)]);
    assert_eq!(audience["drift"]["brands"][0]["predicted_now"], Value::Null);
    // So is a decision that is not the experiment's.
    let said = predict(&work, &["--users", "new.json", "--json", "--for", "users"]);
    let brands = self::drift(&said)["brands"].clone();
    assert!(brands[0]["predicted_now"].is_null() && brands[0]["expected_now"].as_f64().is_some());
}

#[test]
fn a_killed_job_counts_the_same_users() {
    let work = scored();
    work.write("new.json", &users(10_000..12_000, 0.3));
    let args = ["predict", "bau", "--users", "new.json", "--part-users", "100", "--json"];
    let whole = work.pipeline(&[&args[..], &["--output", "p.csv"]].concat());
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    let expected = drift(&whole);
    assert_eq!(expected["n_users"], 2000);
    let args = [&args[..], &["--output", "q.csv"]].concat();
    let killed = work.killed("pipeline", &args, "part 3 of");
    assert!(work.dir.join(".q.csv.parts").exists(), "{}", killed.stderr);
    let said = work.pipeline(&args);
    assert!(said.stderr.contains("going on after part"), "{}", said.stderr);
    assert_eq!(drift(&said), expected);
    // Parts of another size: the same users, the same counts; means may differ in the last digits.
    let said = work.pipeline(&["predict", "bau", "--users", "new.json", "--json", "--output", "p"]);
    assert_eq!(drift(&said)["brands"], expected["brands"]);
}

#[test]
fn without_a_reference_drift_is_not_checked_and_predictions_are_the_same() {
    let work = scored();
    work.write("new.json", &users(10_000..10_500, 1.0));
    assert_eq!(work.pipeline(&["bundle", "bau", "--output", "bundle"]).code, 0);
    let args = ["predict", "--bundle", "bundle", "--users", "new.json", "--output", "p.csv"];
    let said = work.pipeline(&args);
    assert!(said.code == 0 && said.stderr.contains("feature `vector`"), "{}", said.stderr);
    let predictions = work.bytes("p.csv");

    // As an earlier version wrote it.
    let score = work.dir.join("runs/bau/score");
    let text = fs::read_to_string(score.join("stage.json")).unwrap();
    let mut record: Value = serde_json::from_str(&text).unwrap();
    record["outputs"].as_object_mut().unwrap().remove("reference.arrow").unwrap();
    fs::write(score.join("stage.json"), record.to_string()).unwrap();
    fs::remove_file(score.join("reference.arrow")).unwrap();
    assert_eq!(work.pipeline(&["bundle", "bau", "--output", "bundle"]).code, 0);
    assert!(!work.dir.join("bundle/reference.arrow").exists());
    for args in [&args[..], &["predict", "bau", "--users", "new.json", "--output", "p.csv"]] {
        let said = work.pipeline(args);
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert!(said.stderr.contains("note: drift is not checked: there is no"), "{}", said.stderr);
        assert!(work.bytes("p.csv") == predictions);
        let said = work.pipeline(&[args, &["--fail-on-drift"]].concat());
        assert_eq!(said.code, 5, "{}", said.stderr);
        assert!(said.stderr.contains("drift cannot be checked"), "{}", said.stderr);
    }
}

//! Labels as of a date, histories, and tests by time, on purchases made up here: what the stage makes is
//! compared with plain loops over the rows.

mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{Date32Type, Int64Type};
use contract::columns::{f32_lists, texts, u32_lists, u32s};
use contract::ipc::{self, Table};
use contract::manifest::time::Moment;
use contract::splitmix::hash;
use contract::tables::{BRANDS, Contract, EXAMPLES, FEATURES, HOLDOUT, TRAIN_INTERACTIONS};
use workspace::Workspace;

const N_USERS: u64 = 40;
const N_BRANDS: u64 = 8;

/// A purchase: user, brand, day since 2024-01-01, events.
type Purchase = (u64, u64, i64, u64);

/// Purchases of a year: each user has some favourite brands.
fn purchases() -> Vec<Purchase> {
    let purchase = |i: u64| {
        let [a, b, c] = [1, 2, 3].map(|draw| hash(hash(i) ^ draw));
        let user = a % N_USERS;
        let brand = if b.is_multiple_of(3) { c % N_BRANDS } else { (user + c % 2) % N_BRANDS };
        (user, brand, (hash(c) % 366) as i64, 1 + b % 3)
    };
    (0..1500).map(purchase).collect()
}

const MANIFEST: &str = "version: 1
run_dir: runs
data:
  tables: {users: users.csv, purchases: purchases.csv, brands: brands.csv}
  users: {table: users}
  interactions: {table: purchases, time: day}
  brands: {table: brands}
  features: [age]
  keep_brands: {min_volume: 0}
labels: {as_of: 2024-07-01, horizon: 30d}
history: {name: past, weights: [count, {decayed: 30d}, since_last]}
holdout: {by: time, valid: {as_of: 2024-08-01}, test: {as_of: 2024-09-01}}
stages:
  sample: {sql: everyone.sql}
  train: {hidden: [8], loss: {kind: bce}, epochs: 5, batch_size: 16, own_history: past, features: [age, past]}
  report: {bootstrap_draws: 100}
baseline: persistence
experiments:
  persistence: {train: {model: persistence, history: past}}
  net: {score: {decision: {policy: expected_f1}, calibration: platt}}
";

fn day_of(day: i64) -> String {
    let first = Moment::parse("2024-01-01").unwrap().seconds();
    Moment::of_seconds(first + day * 86_400).to_string()
}

fn workspace(purchases: &[Purchase]) -> Workspace {
    let work = Workspace::tiny();
    let mut users = "user_id,age\n".to_owned();
    for user in 0..N_USERS {
        let _ = writeln!(users, "{user},{}", 20 + user);
    }
    work.write("users.csv", &users);
    let mut brands = "brand_id,name\n".to_owned();
    for brand in 0..N_BRANDS {
        let _ = writeln!(brands, "b{brand},Brand {brand}");
    }
    work.write("brands.csv", &brands);
    write_purchases(&work, purchases);
    work.write("pipeline.yaml", MANIFEST);
    work
}

fn write_purchases(work: &Workspace, purchases: &[Purchase]) {
    let mut rows = "user_id,brand_id,day,events\n".to_owned();
    for (user, brand, day, events) in purchases {
        let _ = writeln!(rows, "{user},b{brand},{},{events}", day_of(*day));
    }
    work.write("purchases.csv", &rows);
}

/// Runs the holdout stage alone, with arguments of `--set`.
fn holdout(work: &Workspace, sets: &[&str]) -> workspace::Said {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    work.run("sample-stage", &std::iter::once("holdout").chain(sets).collect::<Vec<_>>())
}

fn table(work: &Workspace, file: &str, contract: &Contract) -> Table {
    ipc::read(&work.dir.join(format!("runs/holdout/{file}.arrow")), contract).unwrap()
}

/// Names of brands by position.
fn brand_ids(work: &Workspace) -> Vec<String> {
    let brands = table(work, "brands", &BRANDS);
    let ids = brands.batches.iter().flat_map(|batch| texts(batch, "brand_id").iter());
    ids.map(|id| id.unwrap().to_owned()).collect()
}

/// What a table says of users: by user and date, the columns whose names start with `past` as numbers
/// by brand, or the labels.
type ByUser = BTreeMap<(i64, String), BTreeMap<String, Vec<u32>>>;

fn keys(batch: &RecordBatch) -> Vec<(i64, String)> {
    let users = batch.column_by_name("user_id").unwrap().as_primitive::<Int64Type>();
    let dates = batch.column_by_name("as_of").unwrap().as_primitive::<Date32Type>();
    let date = |days: i32| Moment::of_seconds(i64::from(days) * 86_400).to_string();
    users.values().iter().copied().zip(dates.values().iter().map(|&days| date(days))).collect()
}

/// Bits of the numbers of the history's features, by brand.
fn histories(work: &Workspace, file: &str, contract: &Contract) -> ByUser {
    let (found, ids) = (table(work, file, contract), brand_ids(work));
    let mut all = ByUser::new();
    for batch in &found.batches {
        for (row, key) in keys(batch).into_iter().enumerate() {
            let of_user = all.entry(key).or_default();
            for name in ["past", "past_decayed_30d", "past_since_last"] {
                let brands = u32_lists(batch, name).get(row);
                let numbers = f32_lists(batch, &format!("{name}_weights")).get(row);
                assert!(brands.is_sorted() && brands.len() == numbers.len());
                for (brand, number) in brands.iter().zip(numbers) {
                    let id = ids[*brand as usize].clone();
                    of_user.entry(id).or_default().push(number.to_bits());
                }
            }
        }
    }
    all
}

fn labels(work: &Workspace, file: &str) -> BTreeMap<i64, BTreeSet<String>> {
    let (found, ids) = (table(work, file, &HOLDOUT), brand_ids(work));
    let of_batch = |batch: &RecordBatch| -> Vec<(i64, BTreeSet<String>)> {
        let lists = u32_lists(batch, "brands");
        let users = keys(batch).into_iter().enumerate();
        let names = |row: usize| lists.get(row).iter().map(|&b| ids[b as usize].clone()).collect();
        users.map(|(row, (user, _))| (user, names(row))).collect()
    };
    found.batches.iter().flat_map(of_batch).collect()
}

/// Day since 2024-01-01 of a date.
fn day(date: &str) -> i64 {
    let seconds = |text: &str| Moment::parse(text).unwrap().seconds();
    (seconds(date) - seconds("2024-01-01")) / 86_400
}

#[test]
fn histories_and_labels_are_those_of_their_date() {
    let purchases = purchases();
    let work = workspace(&purchases);
    let said = holdout(&work, &["labels.gap=3d", "holdout.test.as_of=2024-09-10"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    for (file, contract, date) in [
        ("features", &FEATURES, "2024-07-01"),
        ("valid", &HOLDOUT, "2024-08-01"),
        ("test", &HOLDOUT, "2024-09-10"),
    ] {
        let as_of = day(date);
        let found = histories(&work, file, contract);
        assert_eq!(found.len(), N_USERS as usize);
        for user in 0..N_USERS {
            let mut expected: BTreeMap<String, (f64, f64, i64)> = BTreeMap::new();
            for &(_, brand, day, events) in
                purchases.iter().filter(|p| p.0 == user && p.2 < as_of - 3)
            {
                let (count, decayed, last) =
                    expected.entry(format!("b{brand}")).or_insert((0.0, 0.0, day));
                *count += events as f64;
                *decayed += events as f64 * 0.5_f64.powf((as_of - day) as f64 / 30.0);
                *last = day.max(*last);
            }
            let found = &found[&(user as i64, date.to_owned())];
            assert!(found.keys().eq(expected.keys()), "{file}, user {user}");
            for (brand, (count, decayed, last)) in expected {
                let numbers: Vec<f64> =
                    found[&brand].iter().map(|bits| f64::from(f32::from_bits(*bits))).collect();
                assert_eq!(numbers[0], count);
                assert!((numbers[1] - decayed).abs() < 1e-5, "{numbers:?} {decayed}");
                assert_eq!(numbers[2], (as_of - last) as f64);
            }
        }
        if file != "features" {
            for (user, found) in labels(&work, file) {
                let is_label =
                    |p: &&Purchase| p.0 == user as u64 && p.2 >= as_of && p.2 < as_of + 30;
                let expected = purchases.iter().filter(is_label).map(|p| format!("b{}", p.1));
                assert_eq!(found, expected.collect::<BTreeSet<_>>(), "{file}, user {user}");
            }
        }
    }
}

/// Changes, adds and deletes rows at or after a day, as drawn by `seed`.
fn changed(purchases: &[Purchase], from: i64, seed: u64) -> Vec<Purchase> {
    let mut changed = Vec::new();
    for (i, &(user, brand, day, events)) in purchases.iter().enumerate() {
        let draw = hash(hash(seed) ^ i as u64);
        if day < from || draw.is_multiple_of(4) {
            changed.push((user, brand, day, events));
            continue;
        }
        let later = from + (hash(draw) % (366 - from) as u64) as i64;
        match draw % 4 {
            1 => changed.push((user, (brand + draw % 5) % N_BRANDS, later, 1 + draw % 9)),
            2 => {
                let other = (draw >> 8) % N_USERS;
                changed.extend([(user, brand, day, events), (other, brand, from, events)]);
            }
            _ => {} // deleted
        }
    }
    changed
}

/// The brands' positions follow from the labels of training, so histories are compared by id.
#[test]
fn nothing_at_or_after_the_date_less_the_gap_changes_a_feature() {
    let purchases = purchases();
    let work = workspace(&purchases);
    let sets = ["labels.gap=2d", "holdout.test.as_of=2024-09-10"];
    assert_eq!(holdout(&work, &sets).code, 0);
    let files = [
        ("features", &FEATURES, "2024-07-01"),
        ("valid", &HOLDOUT, "2024-08-01"),
        ("test", &HOLDOUT, "2024-09-10"),
    ];
    let before = files.map(|(file, contract, _)| histories(&work, file, contract));
    for seed in 0..6 {
        let (i, (_, _, date)) = (seed as usize % 3, files[seed as usize % 3]);
        write_purchases(&work, &changed(&purchases, day(date) - 2, seed));
        let said = holdout(&work, &sets);
        assert_eq!(said.code, 0, "{}", said.stderr);
        for (j, (file, contract, _)) in files.iter().enumerate().take(i + 1) {
            assert!(before[j] == histories(&work, file, contract), "seed {seed}, {date}: {file}");
        }
    }
}

/// Rows after the test's date change neither what is trained on nor a byte of it.
#[test]
fn what_comes_after_the_date_of_the_test_changes_no_byte_of_what_is_trained_on() {
    let purchases = purchases();
    let work = workspace(&purchases);
    assert_eq!(holdout(&work, &[]).code, 0);
    let files = ["features", "valid", "train_interactions", "train_users"];
    let bytes = || files.map(|file| work.bytes(&format!("runs/holdout/{file}.arrow")));
    // The metadata holds the fingerprint of all inputs, so rows are compared.
    let rows = || {
        files.map(|file| {
            let contract = match file {
                "features" => FEATURES,
                "valid" => HOLDOUT,
                "train_users" => contract::tables::TRAIN_USERS,
                _ => contract::tables::TRAIN_INTERACTIONS,
            };
            let columns = |batch: &RecordBatch| batch.columns().to_vec();
            table(&work, file, &contract).batches.iter().map(columns).collect::<Vec<_>>()
        })
    };
    let (first_bytes, first) = (bytes(), rows());
    assert_eq!(holdout(&work, &[]).code, 0);
    assert!(first_bytes == bytes(), "the same bytes every time");
    let as_of_test = histories(&work, "test", &HOLDOUT);
    write_purchases(&work, &changed(&purchases, day("2024-09-01"), 3));
    assert_eq!(holdout(&work, &[]).code, 0);
    let second = rows();
    for (i, file) in files.iter().enumerate() {
        assert!(first[i] == second[i], "{file}");
    }
    assert!(as_of_test == histories(&work, "test", &HOLDOUT));
}

#[test]
fn a_test_by_time_runs_to_the_report() {
    let work = workspace(&purchases());
    let said = work.pipeline(&["run"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let report = work.report();
    assert_eq!(report["n_test_users"], N_USERS);
    // Who bought before: predicted, and nobody else.
    let past = histories(&work, "test", &HOLDOUT);
    let n_past: usize = past.values().map(BTreeMap::len).sum();
    let persistence = &report["experiments"][0];
    let counted = persistence["micro"]["precision"].as_f64().unwrap() * n_past as f64;
    assert!((counted - counted.round()).abs() < 1e-9, "{counted}");
    assert_eq!(report["experiments"][1]["status"], "ok");
}

/// The report splits the decisions by what the history of the test users says.
#[test]
fn the_report_shows_repeats_and_new_brands_apart() {
    let work = workspace(&purchases());
    assert_eq!(work.pipeline(&["run"]).code, 0);
    let report = work.report();
    let (had, labels) = (histories(&work, "test", &HOLDOUT), labels(&work, "test"));
    let is_repeat =
        |user: i64, brand: &String| had[&(user, "2024-09-01".to_owned())].contains_key(brand);
    let n_repeats: usize = labels
        .iter()
        .map(|(&user, brands)| brands.iter().filter(|brand| is_repeat(user, brand)).count())
        .sum();
    let n_labels: usize = labels.values().map(BTreeSet::len).sum();
    for experiment in report["experiments"].as_array().unwrap() {
        let (repeat, new) = (&experiment["repeat"], &experiment["new"]);
        assert_eq!(repeat["n_labels"], n_repeats);
        assert_eq!(new["n_labels"], n_labels - n_repeats);
    }
    // Persistence predicts every repeat and nothing else.
    let persistence = &report["experiments"][0];
    assert_eq!(persistence["repeat"]["micro"]["recall"], 1.0);
    assert_eq!(persistence["new"]["n_predicted"], 0);
    let csv = String::from_utf8(work.bytes("runs/report/per_brand.csv")).unwrap();
    assert!(csv.lines().next().unwrap().contains("repeat_f1,new_precision"), "{csv}");
    let html = String::from_utf8(work.bytes("runs/report/report.html")).unwrap();
    assert!(html.contains("Users who had the brand before"));
}

#[test]
fn a_backtest_moves_all_dates_and_puts_the_reports_together() {
    let work = workspace(&purchases());
    let said = work.pipeline(&["backtest", "net", "--as-of", "2024-10-01", "2024-08-15", "--json"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let dates: Vec<_> = found["dates"].as_array().unwrap().iter().map(|d| &d["as_of"]).collect();
    assert_eq!(dates, ["2024-08-15", "2024-10-01"]);
    let mean = |pointer: &str| {
        let of = |date: &serde_json::Value| date.pointer(pointer).unwrap().as_f64().unwrap();
        found["dates"].as_array().unwrap().iter().map(of).sum::<f64>() / 2.0
    };
    for pointer in ["/figures/item/macro_f1", "/baseline/user/f1", "/delta/item_f1/abs"] {
        let of_mean = found["mean"].pointer(pointer).unwrap().as_f64().unwrap();
        assert!((of_mean - mean(pointer)).abs() < 1e-12, "{pointer}");
    }
    // 62 and 31 days before the test's own date of 1 September.
    let moved = "runs/backtest/2024-10-01/holdout/features.arrow";
    let features = ipc::read(&work.dir.join(moved), &FEATURES).unwrap();
    assert!(features.batches.iter().flat_map(keys).all(|(_, date)| date == "2024-07-31"));
    let html = String::from_utf8(work.bytes("runs/backtest/net.html")).unwrap();
    assert!(html.contains("Backtest of"), "{html}");
    let again = work.pipeline(&["backtest", "net", "--as-of", "2024-08-15"]);
    assert!(!again.stderr.contains(": running"), "{}", again.stderr);
    let near = work.pipeline(&["backtest", "net", "--as-of", "2024-08-15", "2024-09-01"]);
    assert_eq!(near.code, 2, "{}", near.stderr);
    assert!(near.stderr.contains("end at 2024-09-14, after 2024-09-01"), "{}", near.stderr);
}

/// As of the test's date the histories are those of the test users, so the same brands are predicted.
#[test]
fn new_users_are_predicted_from_their_histories_as_of_a_date() {
    let work = workspace(&purchases());
    assert_eq!(work.pipeline(&["run"]).code, 0);
    let predicted = |args: &[&str]| {
        let args = [&["predict", "persistence", "--output", "p.csv"], args].concat();
        let said = work.pipeline(&args);
        assert_eq!(said.code, 0, "{}", said.stderr);
        let text = String::from_utf8(work.bytes("p.csv")).unwrap();
        let row = |line: &str| {
            let mut fields = line.split(',').map(|field| field.trim_matches('"').to_owned());
            (fields.next().unwrap().parse::<i64>().unwrap(), fields.next().unwrap())
        };
        text.lines().skip(1).map(row).collect::<BTreeSet<_>>()
    };
    let expected: BTreeSet<(i64, String)> = histories(&work, "test", &HOLDOUT)
        .into_iter()
        .flat_map(|((user, _), brands)| brands.into_keys().map(move |brand| (user, brand)))
        .collect();
    assert_eq!(predicted(&["--as-of", "2024-09-01"]), expected);
    work.write("some.csv", "user_id,age\n3,30\n9000,31\n5,40\n");
    let of_some: BTreeSet<_> =
        expected.iter().filter(|(user, _)| [3, 5].contains(user)).cloned().collect();
    assert_eq!(predicted(&["--as-of", "2024-09-01", "--users", "some.csv"]), of_some);
    work.write("few.csv", "user_id,brand_id,day\n5,b1,2024-05-01\n5,b2,2025-05-01\n");
    let args = ["--as-of", "2024-09-01", "--users", "some.csv", "--interactions", "few.csv"];
    assert_eq!(predicted(&args), BTreeSet::from([(5, "b1".to_owned())]));
    // Without a date all that has happened counts.
    let all = predicted(&["--users", "some.csv"]);
    assert!(all.is_superset(&of_some));
}

#[test]
fn several_dates_of_training_give_an_example_for_each_user_and_date() {
    let purchases = purchases();
    let work = workspace(&purchases);
    work.edit("pipeline.yaml", "as_of: 2024-07-01", "as_of: [2024-06-01, 2024-05-01, 2024-07-01]");
    let said = work.pipeline(&["run"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let features = table(&work, "features", &FEATURES);
    assert_eq!(features.n_rows(), 3 * N_USERS as usize);
    let dates: Vec<String> = features.batches.iter().flat_map(keys).map(|(_, date)| date).collect();
    assert!(dates.is_sorted(), "{dates:?}");
    // A volume counts a user once for each date.
    let brands = table(&work, "brands", &BRANDS);
    let volumes = brands.batches.iter().flat_map(|b| contract::columns::u64s(b, "volume").to_vec());
    let of_dates = ["2024-05-01", "2024-06-01", "2024-07-01"].map(|date| {
        let window = day(date)..day(date) + 30;
        let bought = purchases.iter().filter(|p| window.contains(&p.2)).map(|p| (p.0, p.1));
        bought.collect::<BTreeSet<_>>().len() as u64
    });
    assert_eq!(volumes.sum::<u64>(), of_dates.iter().sum::<u64>());
    // The report's sample counts examples; a query that loses the date is told so.
    work.write(
        "undated.sql",
        "select user_id, array_agg(brand_id) as brands from interactions group by user_id",
    );
    let said = work.pipeline(&["run", "net", "--set", "sample.sql=undated.sql"]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stderr.contains("column `as_of` is missing"), "{}", said.stderr);
}

#[test]
fn valid_users_may_be_drawn_at_the_last_date_of_training() {
    let work = workspace(&purchases());
    let sets = ["labels.as_of=[2024-06-01, 2024-07-01]", "holdout.valid=0.25"];
    let said = holdout(&work, &sets);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let users = |file: &str, contract: &Contract| -> Vec<(i64, String)> {
        table(&work, file, contract).batches.iter().flat_map(keys).collect()
    };
    let (train, valid) = (users("features", &FEATURES), users("valid", &HOLDOUT));
    assert_eq!((train.len(), valid.len()), (2 * 30, 10));
    assert!(valid.iter().all(|(_, date)| date == "2024-07-01"));
    let held_out: BTreeSet<i64> = valid.iter().map(|&(user, _)| user).collect();
    assert!(train.iter().all(|(user, _)| !held_out.contains(user)), "at no date");
    assert_eq!(users("test", &HOLDOUT).len(), N_USERS as usize);
}

#[test]
fn a_date_may_have_a_time_of_day() {
    let work = workspace(&purchases());
    let as_of = "labels.as_of=2024-07-01T12:00:00";
    let said = holdout(&work, &[as_of, "holdout.valid.as_of=2024-08-02"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let features = table(&work, "features", &FEATURES);
    let kind = features.schema.field_with_name("as_of").unwrap().data_type().to_string();
    assert!(kind.starts_with("Timestamp"), "{kind}");
    // Purchases of the day itself, which stand for its midnight, are known at noon.
    let known = |as_of: i64| {
        purchases().iter().filter(|p| p.2 < as_of).map(|p| (p.0, p.1)).collect::<BTreeSet<_>>()
    };
    let lists = features
        .batches
        .iter()
        .map(|batch| u32_lists(batch, "past").iter().map(<[u32]>::len).sum::<usize>());
    assert_eq!(lists.sum::<usize>(), known(day("2024-07-01") + 1).len());
}

/// What an example shows are labels of its own user at its own date.
#[test]
fn every_shipped_query_draws_users_at_their_dates() {
    let work = workspace(&purchases());
    work.edit("pipeline.yaml", "as_of: 2024-07-01", "as_of: [2024-05-01, 2024-07-01]");
    assert_eq!(holdout(&work, &[]).code, 0);
    let mut labels: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for batch in table(&work, "train_interactions", &TRAIN_INTERACTIONS).batches {
        for (user, brand) in u32s(&batch, "user_row").iter().zip(u32s(&batch, "brand_idx")) {
            labels.entry(*user).or_default().insert(*brand);
        }
    }
    let queries = workspace::root().join("sample-stage/sql");
    for query in std::fs::read_dir(queries).unwrap().map(|entry| entry.unwrap().path()) {
        let set = format!("sample.sql={}", query.display());
        let said = work.run("sample-stage", &["sample", "--experiment", "net", "--set", &set]);
        assert_eq!(said.code, 0, "{}: {}", query.display(), said.stderr);
        let path = work.dir.join("runs/net/sample/examples.arrow");
        let examples = ipc::read(&path, &EXAMPLES).unwrap();
        let mut users = BTreeSet::new();
        for batch in &examples.batches {
            for (row, user) in u32s(batch, "user_row").iter().enumerate() {
                users.insert(*user);
                let shown = u32_lists(batch, "brands").get(row);
                let known = labels.get(user);
                let is_label = |brand: &u32| known.is_some_and(|known| known.contains(brand));
                assert!(shown.iter().all(is_label), "{}, row {user}", query.display());
            }
        }
        // Both dates are drawn from.
        let n_users = N_USERS as u32;
        assert!(
            users.iter().any(|&user| user < n_users) && users.iter().any(|&user| user >= n_users)
        );
    }
}

#[test]
fn only_new_brands_or_only_repeats_can_be_labels() {
    let purchases = purchases();
    let work = workspace(&purchases);
    let all = |only: &str| {
        let only = format!("labels.only={only}");
        assert_eq!(holdout(&work, &[&only]).code, 0);
        labels(&work, "test")
    };
    let (new, repeat, all) = (all("new"), all("repeat"), all("all"));
    let had = histories(&work, "test", &HOLDOUT);
    for (user, brands) in all {
        let had = &had[&(user, "2024-09-01".to_owned())];
        let (repeats, news): (BTreeSet<_>, BTreeSet<_>) =
            brands.into_iter().partition(|brand| had.contains_key(brand));
        assert_eq!(new[&user], news);
        assert_eq!(repeat[&user], repeats);
    }
}

/// Users are in the table once for each change; user 0 appears in August.
#[test]
fn a_users_table_with_dates_is_read_as_of_the_date() {
    let work = workspace(&purchases());
    let mut users = "user_id,age,since\n0,99,2024-08-01\n".to_owned();
    for user in 1..N_USERS {
        let _ = writeln!(users, "{user},{},2024-01-01\n{user},{},2024-07-15", 20 + user, 60 + user);
    }
    work.write("users.csv", &users);
    work.edit("pipeline.yaml", "{table: users}", "{table: users, time: since}");
    let said = holdout(&work, &[]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let ages = |file: &str, contract: &Contract| -> Vec<f32> {
        let found = table(&work, file, contract);
        let batches = found.batches.iter();
        batches.flat_map(|batch| contract::columns::dense(batch, "age").0.to_vec()).collect()
    };
    let expected = |first: u64| (1..N_USERS).map(move |user| (first + user) as f32);
    assert!(ages("features", &FEATURES).into_iter().eq(expected(20)));
    assert!(ages("valid", &HOLDOUT).into_iter().eq(std::iter::once(99.0).chain(expected(60))));
}

#[test]
fn times_are_dates_timestamps_text_and_days_from_an_origin() {
    let purchases = purchases();
    let work = workspace(&purchases);
    assert_eq!(holdout(&work, &[]).code, 0);
    let expected = histories(&work, "test", &HOLDOUT);
    let views = [
        ("cast(day as timestamp)", ""),
        ("cast(day as varchar)", ""),
        ("arrow_cast(day, 'Date64')", ""),
        ("arrow_cast(day, 'Timestamp(Nanosecond, None)')", ""),
        ("arrow_cast(day, 'Timestamp(Second, Some(\"UTC\"))')", ""),
        ("arrow_cast(day, 'Timestamp(Millisecond, Some(\"+00:00\"))')", ""),
        ("arrow_cast(day, 'Int32') - 19723", "2024-01-01"),
    ];
    for (time, origin) in views {
        let sql = format!("select user_id, brand_id, events, {time} as at_time from purchases");
        work.write("view.sql", &sql);
        let source = match origin {
            "" => "at_time".to_owned(),
            origin => format!("{{column: at_time, origin: {origin}}}"),
        };
        let set = format!(
            "data.interactions={{sql: {}, time: {source}}}",
            work.dir.join("view.sql").display()
        );
        let said = holdout(&work, &[&set]);
        assert_eq!(said.code, 0, "{time}: {}", said.stderr);
        assert!(expected == histories(&work, "test", &HOLDOUT), "{time}");
    }
}

#[test]
fn mistakes_about_time_are_told() {
    let work = workspace(&purchases());
    let problem = |set: &str| {
        let said = work.pipeline(&["check", "--set", set]);
        assert_eq!(said.code, 2, "{set}: {}", said.stderr);
        said.stderr
    };
    for (set, expected) in [
        (
            "holdout.test.as_of=2024-08-15",
            "labels of `holdout.valid.as_of` 2024-08-01 end at 2024-08-31",
        ),
        ("holdout.valid.as_of=2024-07-15", "labels of `labels.as_of` 2024-07-01 end at 2024-07-31"),
        ("labels.as_of=2024-02-30", "there is no day or time `2024-02-30`"),
        ("labels.horizon=0d", "must be longer than 0"),
        ("labels.horizon=null", "needs `labels.horizon`"),
        ("labels.horizon=soon", "expected a string like `30d` or `6w`"),
        ("labels=null", "`data.interactions.time` has no effect without `labels`"),
        ("history.name=age", "`age` is a feature of users already"),
        ("history.weights=[count, count]", "appears twice"),
        ("holdout.by=users", "needs `by: time`"),
        ("data.brands.time=day", "brands have no time"),
    ] {
        let found = problem(set);
        assert!(found.contains(expected), "{set}: {found}");
    }
    let said = holdout(
        &work,
        &["labels.as_of=2025-01-05", "holdout.by=users", "holdout.valid=0.2", "holdout.test=0.2"],
    );
    assert_eq!(said.code, 5, "{}", said.stderr);
    assert!(said.stderr.contains("none is at or after 2025-01-05"), "{}", said.stderr);
}

#[test]
fn a_users_view_over_the_interactions_is_warned_of() {
    let work = workspace(&purchases());
    work.write("users.sql", "select user_id, count(*) as age from purchases group by user_id");
    work.edit("pipeline.yaml", "users: {table: users}", "users: {sql: users.sql}");
    let said = holdout(&work, &[]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("reads the table `purchases`"), "{}", said.stderr);
}

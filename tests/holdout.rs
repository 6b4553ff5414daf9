//! The holdout stage with little memory: the same bytes, from disk.

mod workspace;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use contract::splitmix::hash;
use workspace::{Said, Workspace};

/// More than two batches of users, and more labels than are sorted in memory at least.
const N_USERS: u64 = 70_000;
const N_BRANDS: u64 = 20;

const MANIFEST: &str = "version: 1
run_dir: runs
data:
  tables: {users: users.csv, purchases: purchases.csv, brands: brands.csv}
  users: {table: users}
  interactions: {table: purchases}
  brands: {table: brands}
  features: [age, {column: country, categories: {top: 2}}]
stages:
  sample: {sql: everyone.sql}
experiments: {bau: {}}
";

/// Users in no order, and two purchases of each, some of them twice.
fn workspace() -> Workspace {
    let work = Workspace::tiny();
    let mut users = "user_id,age,country,note\n".to_owned();
    let mut purchases = "user_id,brand_id,events\n".to_owned();
    for i in 0..N_USERS {
        let user = i * 7_919 % N_USERS; // 7919 is a prime
        let country = ["de", "fr", "it", ""][(hash(user) % 4) as usize];
        let _ = writeln!(users, "u{user},{},{country},note {i}", 20 + hash(user) % 60);
        for draw in 0..2 {
            let [a, b] = [1, 2].map(|key| hash(hash(i) ^ (draw + key)));
            let user = hash(i / 2) % N_USERS;
            let _ = writeln!(purchases, "u{user},b{},0.{}", b % N_BRANDS, 1 + a % 9);
        }
    }
    let mut brands = "brand_id,name\n".to_owned();
    for brand in 0..N_BRANDS {
        let _ = writeln!(brands, "b{brand},Brand {brand}");
    }
    work.write("users.csv", &users);
    work.write("purchases.csv", &purchases);
    work.write("brands.csv", &brands);
    work.write("pipeline.yaml", MANIFEST);
    work
}

fn holdout(work: &Workspace, sets: &[&str]) -> Said {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    work.run("sample-stage", &std::iter::once("holdout").chain(sets).collect::<Vec<_>>())
}

#[test]
fn little_memory_gives_the_same_bytes_from_disk() {
    let work = workspace();
    let all = |sets: &[&str]| -> BTreeMap<String, Vec<u8>> {
        let said = holdout(&work, sets);
        assert_eq!(said.code, 0, "{}", said.stderr);
        work.tables().into_iter().map(|file| (file.clone(), work.bytes(&file))).collect()
    };
    let in_memory = all(&[]);
    assert_eq!(in_memory.len(), 6);
    let on_disk = all(&["data.memory_limit=12MiB"]);
    for (file, bytes) in &in_memory {
        assert!(on_disk[file] == *bytes, "{file}");
    }
    assert!(!work.dir.join("runs/holdout/.scratch").exists());
}

#[test]
fn what_does_not_fit_into_memory_counts_against_the_limit_of_the_disk() {
    let work = workspace();
    let said = holdout(&work, &["data.memory_limit=12MiB", "data.scratch_limit=1MiB"]);
    assert_eq!(said.code, 5, "{}", said.stderr);
    assert!(said.stderr.contains("`data.scratch_limit`\nhint: "), "{}", said.stderr);
    assert_eq!(work.files_below("runs/holdout"), Vec::<String>::new(), "nothing is left");
}

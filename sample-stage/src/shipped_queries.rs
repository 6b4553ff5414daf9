//! Every query of `sql/`, on hand-written rows and on a small population.
//!
//! Draws are from `reference/draw.py`'s formula: `draw(1..=5, 7, 0)` is .44, .51, .61, .78,
//! .54, and `draw(0..=2, 7, 1)` is .96, .79, .42.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::ipc::Table;
use contract::manifest::SampleParams;
use contract::scratch::Scratch;
use contract::statistics::{Prevalence, SampleStatistics};
use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use datafusion::assert_batches_eq;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::order::Ordered;
use crate::query::Query;
use crate::room::tests::room;
use crate::sample::{Sampler, Training};
use crate::{session, statistics};
use contract::splitmix::hash;

pub const ALL: [&str; 8] = [
    "everyone",
    "uniform",
    "clone_small_brands",
    "clone_without_high_volume",
    "clone_masking_high_volume",
    "balance_by_volume",
    "top_users_per_brand",
    "ml_ros",
];

pub fn path(query: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("sql/{query}.sql"))
}

fn table(batches: Vec<RecordBatch>) -> Table {
    Table { schema: batches[0].schema(), batches, path: "a test".into() }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, false)),
    )
    .unwrap()
}

/// Labels of users 1 to `n_users` as (user, brand, events), in order; brand names by volume.
fn training(n_users: i64, names: &[String], labels: &[(i64, u32, f64)]) -> Training {
    let volumes: Vec<u64> = (0..names.len() as u32)
        .map(|brand| labels.iter().filter(|label| label.1 == brand).count() as u64)
        .collect();
    assert!(volumes.is_sorted_by(|a, b| a >= b), "{volumes:?}");
    let tier = |place: usize| ["head", "torso", "tail"][place * 3 / names.len()];
    let brands = batch(vec![
        ("brand_idx", Arc::new(UInt32Array::from_iter_values(0..names.len() as u32))),
        ("brand_id", Arc::new(names.iter().map(Some).collect::<StringArray>())),
        ("name", Arc::new(names.iter().map(Some).collect::<StringArray>())),
        ("volume", Arc::new(UInt64Array::from(volumes))),
        ("tier", Arc::new((0..names.len()).map(|i| Some(tier(i))).collect::<StringArray>())),
    ]);
    let mut brands = table(vec![brands]);
    let metadata = ["valid", "test"]
        .map(|split| (format!("n_brands_without_positives_in_{split}"), "0".to_owned()));
    brands.schema = Arc::new(brands.schema.as_ref().clone().with_metadata(metadata.into()));
    let users = || batch(vec![("user_id", Arc::new(Int64Array::from_iter_values(1..=n_users)))]);
    let interactions = labels.chunks(labels.len().div_ceil(3)).map(|part| {
        let name = |label: &(i64, u32, f64)| names[label.1 as usize].clone();
        batch(vec![
            ("user_id", Arc::new(Int64Array::from_iter_values(part.iter().map(|l| l.0)))),
            (
                "user_row",
                Arc::new(UInt32Array::from_iter_values(part.iter().map(|l| l.0 as u32 - 1))),
            ),
            ("brand_idx", Arc::new(UInt32Array::from_iter_values(part.iter().map(|l| l.1)))),
            ("brand_id", Arc::new(part.iter().map(|l| Some(name(l))).collect::<StringArray>())),
            ("events", Arc::new(Float64Array::from_iter_values(part.iter().map(|l| l.2)))),
        ])
    });
    Training {
        brands,
        features: table(vec![users()]),
        users: table(vec![users()]),
        interactions: table(interactions.collect()),
    }
}

/// Five users, the last without a brand; brands a, b, c, d with 4, 2, 1 and 1 users.
fn five_users() -> Training {
    let labels = [
        (1, 0, 5.0),
        (2, 0, 5.0),
        (2, 1, 1.0),
        (3, 0, 1.0),
        (3, 1, 3.0),
        (3, 2, 1.0),
        (4, 0, 1.0),
        (4, 3, 1.0),
    ];
    training(5, &["a", "b", "c", "d"].map(str::to_owned), &labels)
}

/// The query's rows over [`five_users`], with sorted lists, as a printed table.
async fn rows(query: &str, columns: &str, params: Value) -> Vec<RecordBatch> {
    let dir = tempfile::tempdir().unwrap();
    let scratch = Scratch::create(dir.path()).unwrap();
    let limits = session::Limits {
        memory: 1 << 30,
        scratch_bytes: 1 << 30,
        threads: Some(2),
        scratch: scratch.path(),
        hash_joins: true,
        engine: &Engine::Local,
    };
    let session = session::limited(limits).unwrap();
    five_users().register(&session, &Engine::Local).unwrap();
    let params = serde_json::from_value(params).unwrap();
    let frame = Query::read(&path(query)).unwrap().plan(&session, &params).await.unwrap();
    session.register_table("sample", frame.into_view()).unwrap();
    let sorted = format!("select {columns} from sample order by 1, 2");
    session.sql(&sorted).await.unwrap().collect().await.unwrap()
}

const LISTS: &str = "user_id, array_sort(brands) as brands";
const CLONES: &str = "user_id, is_clone, array_sort(brands) as brands";

#[tokio::test]
async fn everyone_is_every_user_once_with_or_without_brands() {
    let expected = [
        "+---------+-----------+",
        "| user_id | brands    |",
        "+---------+-----------+",
        "| 1       | [a]       |",
        "| 2       | [a, b]    |",
        "| 3       | [a, b, c] |",
        "| 4       | [a, d]    |",
        "| 5       |           |",
        "+---------+-----------+",
    ];
    assert_batches_eq!(expected, &rows("everyone", LISTS, json!({})).await);
    // More users than there are: all of them.
    assert_batches_eq!(expected, &rows("uniform", LISTS, json!({"n_users": 9})).await);
}

#[tokio::test]
async fn uniform_is_the_users_with_the_lowest_draws() {
    let expected = [
        "+---------+--------+",
        "| user_id | brands |",
        "+---------+--------+",
        "| 1       | [a]    |",
        "| 2       | [a, b] |",
        "| 5       |        |",
        "+---------+--------+",
    ];
    assert_batches_eq!(expected, &rows("uniform", LISTS, json!({"n_users": 3})).await);
}

/// c and d are small, so users 3 and 4 are the candidates; of three draws the first two, above
/// one half, go to user 4, the last to user 3.
#[tokio::test]
async fn clones_of_small_brand_users_are_drawn_with_replacement() {
    let expected = [
        "+---------+----------+-----------+",
        "| user_id | is_clone | brands    |",
        "+---------+----------+-----------+",
        "| 1       | false    | [a]       |",
        "| 2       | false    | [a, b]    |",
        "| 3       | false    | [a, b, c] |",
        "| 3       | true     | [a, b, c] |",
        "| 4       | false    | [a, d]    |",
        "| 4       | true     | [a, d]    |",
        "| 4       | true     | [a, d]    |",
        "| 5       | false    |           |",
        "+---------+----------+-----------+",
    ];
    for small in ["small_volume_max", "small_outside_top", "small_quantile"] {
        let value = json!({"small_volume_max": 1, "small_outside_top": 2, "small_quantile": 0.5});
        let params = json!({"n_clones": 3, small: value[small]});
        assert_batches_eq!(expected, &rows("clone_small_brands", CLONES, params).await);
    }
}

/// Two of the five users are drawn, and 4 clones for each; without a number of users, all are.
#[tokio::test]
async fn the_number_of_clones_follows_that_of_the_users() {
    for query in ALL.into_iter().filter(|query| query.starts_with("clone_")) {
        for (params, expected) in [
            (json!({"small_quantile": 1.0}), 5 + 20),
            (json!({"small_quantile": 1.0, "n_users": 2}), 2 + 8),
            (json!({"small_quantile": 1.0, "n_clones": 3}), 5 + 3),
        ] {
            let rows = rows(query, CLONES, params).await;
            assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), expected, "{query}");
        }
    }
}

#[tokio::test]
async fn without_a_small_brand_there_is_no_clone() {
    for query in ALL.into_iter().filter(|query| query.starts_with("clone_")) {
        let params = json!({"n_clones": 3, "small_volume_max": 0});
        let rows = rows(query, CLONES, params).await;
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 5, "{query}");
    }
}

/// As above; a is of high volume. The original of user 3 keeps it.
#[tokio::test]
async fn clones_lose_their_high_volume_brands_and_originals_keep_them() {
    let expected = [
        "+---------+----------+-----------+",
        "| user_id | is_clone | brands    |",
        "+---------+----------+-----------+",
        "| 1       | false    | [a]       |",
        "| 2       | false    | [a, b]    |",
        "| 3       | false    | [a, b, c] |",
        "| 3       | true     | [b, c]    |",
        "| 4       | false    | [a, d]    |",
        "| 4       | true     | [d]       |",
        "| 4       | true     | [d]       |",
        "| 5       | false    |           |",
        "+---------+----------+-----------+",
    ];
    for high in ["high_volume_min", "high_volume_top", "high_volume_quantile"] {
        let value =
            json!({"high_volume_min": 3, "high_volume_top": 1, "high_volume_quantile": 0.75});
        let params = json!({"n_clones": 3, high: value[high]});
        assert_batches_eq!(expected, &rows("clone_without_high_volume", CLONES, params).await);
    }
}

/// As above; a and b are of high volume. User 4 does not have b, and it is left out all the same.
#[tokio::test]
async fn masking_clones_say_nothing_about_high_volume_brands() {
    let expected = [
        "+---------+----------+-----------+---------+",
        "| user_id | is_clone | brands    | ignored |",
        "+---------+----------+-----------+---------+",
        "| 1       | false    | [a]       |         |",
        "| 2       | false    | [a, b]    |         |",
        "| 3       | false    | [a, b, c] |         |",
        "| 3       | true     | [c]       | [a, b]  |",
        "| 4       | false    | [a, d]    |         |",
        "| 4       | true     | [d]       | [a, b]  |",
        "| 4       | true     | [d]       | [a, b]  |",
        "| 5       | false    |           |         |",
        "+---------+----------+-----------+---------+",
    ];
    let columns = format!("{CLONES}, array_sort(ignored_brands) as ignored");
    let params = json!({"n_clones": 3, "high_volume_top": 2});
    assert_batches_eq!(expected, &rows("clone_masking_high_volume", &columns, params).await);
}

/// Toward 2 users a brand. Copies are rounded down after adding the draw: user 1, whose rarest
/// brand has 4 users, gets 2/4 + .44; user 2 gets 2/2 + .51; users 3 and 4 get 2/1 + .61 and
/// .78; user 5, without a brand, as those of the largest, 2/4 + .54.
#[tokio::test]
async fn balancing_copies_users_by_their_rarest_brand() {
    let expected = [
        "+---------+----------+-----------+",
        "| user_id | is_clone | brands    |",
        "+---------+----------+-----------+",
        "| 2       | false    | [a, b]    |",
        "| 3       | false    | [a, b, c] |",
        "| 3       | true     | [a, b, c] |",
        "| 4       | false    | [a, d]    |",
        "| 4       | true     | [a, d]    |",
        "| 5       | false    |           |",
        "+---------+----------+-----------+",
    ];
    let params = json!({"target_volume": 2});
    assert_batches_eq!(expected, &rows("balance_by_volume", CLONES, params).await);
    let params = json!({"target_volume": 2, "max_copies": 1});
    let capped = rows("balance_by_volume", CLONES, params).await;
    assert_eq!(capped.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
    // The median is 1.5: users 2, 3 and 4 get 1.5/2 + .51, 1.5 + .61 and 1.5 + .78, the others
    // 1.5/4 + .44 and + .54.
    let params = json!({"target_quantile": 0.5});
    let median = rows("balance_by_volume", CLONES, params).await;
    assert_eq!(median.iter().map(RecordBatch::num_rows).sum::<usize>(), 5);
}

/// The best user of a is 1 by draw (users 1 and 2 have 5 events each), of b 3 by events, of c
/// and d the only one. Users are taken once, with all their brands.
#[tokio::test]
async fn top_users_are_those_with_most_events_of_each_brand() {
    let expected = [
        "+---------+-----------+",
        "| user_id | brands    |",
        "+---------+-----------+",
        "| 1       | [a]       |",
        "| 3       | [a, b, c] |",
        "| 4       | [a, d]    |",
        "+---------+-----------+",
    ];
    let params = json!({"n_users_per_brand": 1});
    assert_batches_eq!(expected, &rows("top_users_per_brand", LISTS, params).await);
    let params = json!({"n_users_per_brand": 1, "volume_min": 2});
    let fewer = rows("top_users_per_brand", LISTS, params).await;
    assert_eq!(fewer.iter().map(RecordBatch::num_rows).sum::<usize>(), 2, "no user of d alone");
}

/// Ratios 1, 2, 4, 4 with mean 2.75: c and d are minorities. Each misses 4/2.75 - 1 = .45 users,
/// less than its equal share of .5·5/2 clones, so it gets one.
#[tokio::test]
async fn ml_ros_clones_users_of_minority_brands() {
    let expected = [
        "+---------+----------+-----------+",
        "| user_id | is_clone | brands    |",
        "+---------+----------+-----------+",
        "| 1       | false    | [a]       |",
        "| 2       | false    | [a, b]    |",
        "| 3       | false    | [a, b, c] |",
        "| 3       | true     | [a, b, c] |",
        "| 4       | false    | [a, d]    |",
        "| 4       | true     | [a, d]    |",
        "| 5       | false    |           |",
        "+---------+----------+-----------+",
    ];
    for share in [json!(0.5), json!(1)] {
        let params = json!({"clone_share": share});
        assert_batches_eq!(expected, &rows("ml_ros", CLONES, params).await);
    }
    // No share, no clone.
    let params = json!({"clone_share": 0});
    let none = rows("ml_ros", CLONES, params).await;
    assert_eq!(none.iter().map(RecordBatch::num_rows).sum::<usize>(), 5);
}

/// 40 brands whose volumes fall as 1/rank, from 40 % of the users to 1 %.
pub fn population(n_users: i64) -> Training {
    let n_brands = 40_u32;
    let mut labels = Vec::new();
    for brand in 0..n_brands {
        // Exactly so many users, at places that a hash decides.
        let mut users: Vec<i64> = (1..=n_users).collect();
        users.sort_by_key(|&user| hash(user as u64 ^ (u64::from(brand) << 32)));
        let volume = n_users as usize * 2 / 5 / (brand as usize + 1);
        labels.extend(
            users[..volume]
                .iter()
                .map(|&user| (user, brand, (hash(user as u64 + u64::from(brand)) % 4) as f64)),
        );
    }
    labels.sort_by_key(|label| (label.0, label.1));
    let names: Vec<String> = (0..n_brands).map(|brand| format!("b{brand}")).collect();
    training(n_users, &names, &labels)
}

struct Sample {
    statistics: SampleStatistics,
    prevalence: Prevalence,
    /// Of the stored columns
    bytes: Vec<Vec<ArrayRef>>,
}

async fn sample(
    query: &str,
    params: &Value,
    training: &Training,
    threads: usize,
    hash: bool,
) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let scratch = Scratch::create(dir.path()).unwrap();
    let params: SampleParams = serde_json::from_value(json!({"params": params})).unwrap();
    let query = Query::read(&path(query)).unwrap();
    let sampler = Sampler::new(query, &Engine::Local, training, &params).unwrap();
    let drawn = sampler.attempt(&scratch, Some(threads), hash).await.unwrap();
    let room = room(&scratch, 1 << 30, 0);
    let examples = Ordered::new(&room, drawn.batches.clone()).unwrap();
    let brands = statistics::Brands::new(&training.brands).unwrap();
    let n_users = training.users.n_rows();
    let before = statistics::before(&brands, n_users, &training.interactions);
    let measured = statistics::measure(&brands, n_users, before, &examples);
    let (statistics, prevalence) = measured.unwrap();
    let mut bytes = Vec::new();
    examples
        .write(|columns| {
            bytes.push(columns);
            Ok(())
        })
        .unwrap();
    Sample { statistics, prevalence, bytes }
}

pub fn settings(query: &str) -> Value {
    match query {
        "uniform" => json!({"n_users": 5000}),
        "top_users_per_brand" => json!({"n_users_per_brand": 300}),
        query if query.starts_with("clone_") => {
            json!({"n_users": 5000, "n_clones": 20_000, "high_volume_top": 4})
        }
        _ => json!({}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_the_same_for_any_number_of_threads_and_kind_of_join() {
    let population = population(20_000);
    for query in ALL {
        let params = settings(query);
        let one = sample(query, &params, &population, 1, true).await;
        for (threads, hash_joins) in [(2, true), (7, true), (3, false)] {
            let other = sample(query, &params, &population, threads, hash_joins).await;
            assert!(one.bytes == other.bytes, "{query} with {threads} threads");
            assert_eq!(one.statistics, other.statistics, "{query}");
            assert_eq!(one.prevalence, other.prevalence, "{query}");
        }
    }
}

/// The promises of each strategy, on 20,000 users with 40 brands of volume 8,000 / rank, 34,214
/// labels in all.
#[tokio::test(flavor = "multi_thread")]
async fn samples_keep_their_strategies_promises() {
    let population = population(20_000);
    let mut samples = BTreeMap::new();
    for query in ALL {
        samples.insert(query, sample(query, &settings(query), &population, 2, true).await);
    }
    let get = |query: &str| &samples[query];
    let positives = |sample: &Sample, brand: usize| {
        sample.prevalence.after[brand].unwrap() * sample.statistics.rows as f64
    };

    let everyone = get("everyone");
    assert_eq!(everyone.statistics.labels, 34_214);
    assert_eq!(everyone.statistics.before, everyone.statistics.after);
    assert_eq!(everyone.prevalence.before[1], 0.2);
    assert_eq!(everyone.prevalence.after[1], Some(0.2));

    // 5,000 users of 20,000 without replacement: prevalence .2 has a deviation of .005.
    let uniform = get("uniform");
    assert_eq!((uniform.statistics.rows, uniform.statistics.users), (5000, 5000));
    assert!((uniform.prevalence.after[1].unwrap() - 0.2).abs() < 0.02);

    // Candidates are the users with any of the 20 smaller brands; a clone of one shows at
    // least one of those. All clones are of the sample's own users.
    let clones = get("clone_small_brands");
    let counts = &clones.statistics;
    assert_eq!((counts.rows, counts.users, counts.clones), (25_000, 5000, 20_000));
    let small: f64 = (20..40).map(|brand| positives(clones, brand)).sum();
    assert!(small >= 20_000.0, "{small}");
    assert!(counts.after.mean_imbalance_ratio < counts.before.mean_imbalance_ratio);

    // High-volume brands are shown by originals only, which are those of `uniform`.
    let without = get("clone_without_high_volume");
    assert_eq!(without.statistics.rows, 25_000);
    for brand in 0..4 {
        let originals = uniform.prevalence.after[brand].unwrap() * 5000.0;
        assert!((positives(without, brand) - originals).abs() < 1e-6, "brand {brand}");
    }
    assert!((positives(without, 30) - positives(clones, 30)).abs() < 1e-6);

    // Masked, their prevalence is that of the originals.
    let masking = get("clone_masking_high_volume");
    assert_eq!(masking.statistics.ignored_cells, 4 * 20_000);
    for brand in 0..4 {
        assert!(
            (masking.prevalence.after[brand].unwrap() - uniform.prevalence.after[brand].unwrap())
                .abs()
                < 1e-12
        );
    }

    // The target is the median volume, 390. Smaller brands come up to it at least, by a
    // deviation of 10 from rounding; of the largest brand far fewer than 8,000 are left.
    let balanced = get("balance_by_volume");
    for brand in 20..40 {
        assert!(positives(balanced, brand) > 350.0, "{brand}: {}", positives(balanced, brand));
    }
    assert!(positives(balanced, 0) < 6000.0, "{}", positives(balanced, 0));

    // Every brand has its 300 top users, or all it has; a user is there once.
    let top = get("top_users_per_brand");
    assert_eq!((top.statistics.rows, top.statistics.clones), (top.statistics.users, 0));
    for brand in 0..40 {
        let volume = everyone.prevalence.before[brand] * 20_000.0;
        assert!(positives(top, brand) > volume.min(300.0) - 0.5, "{brand}");
    }

    // A quarter more rows at most, one a minority brand more by rounding up.
    let ros = get("ml_ros").statistics.clone();
    assert!(ros.clones > 0 && ros.clones <= 5000 + 40, "{}", ros.clones);
    assert!(ros.after.mean_imbalance_ratio < ros.before.mean_imbalance_ratio);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_number_of_threads_is_accepted() {
    let five = five_users();
    let one = sample("uniform", &json!({}), &five, 1, true).await;
    let many = sample("uniform", &json!({}), &five, 1_000_000, true).await;
    assert!(one.bytes == many.bytes);
}

/// The grain that each header states.
#[test]
fn every_query_says_its_grain_and_what_it_reads_and_writes() {
    for query in ALL {
        let text = std::fs::read_to_string(path(query)).unwrap();
        for line in ["-- Grain:  ", "-- Reads:  ", "-- Writes: "] {
            assert!(text.contains(line), "{query} lacks `{line}`");
        }
    }
    let files = std::fs::read_dir(path("everyone").parent().unwrap()).unwrap().count();
    assert_eq!(files, ALL.len(), "every shipped query is tested");
}

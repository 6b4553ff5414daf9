//! Every shipped query and many made-up ones give the same rows on three workers as in one process.

use std::path::Path;

use contract::scratch::Scratch;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Engine;
use super::channel::Token;
use super::cluster::Cluster;
use super::worker::serve;
use crate::query::Query;
use crate::sample::Training;
use crate::session::{self, Limits};
use crate::settings;
use crate::shipped_queries::{ALL, path, population, settings};

const MEMORY: u64 = 1 << 30;
const N_WORKERS: usize = 3;
const N_RANDOM: usize = 200;

/// Three workers in this process, each with a port of its own.
async fn workers(scratch: &Path) -> Vec<String> {
    let mut addresses = Vec::new();
    for _ in 0..N_WORKERS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap().to_string());
        let runtime = settings::runtime(MEMORY, MEMORY, scratch).build_arc().unwrap();
        let token = Token::of_environment().unwrap();
        tokio::spawn(serve(listener, runtime, MEMORY, token));
    }
    addresses
}

struct Lab {
    training: Training,
    engines: [Engine; 2],
    scratch: Scratch,
    _dir: tempfile::TempDir,
}

impl Lab {
    async fn start(n_users: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(dir.path()).unwrap();
        let workers = workers(scratch.path()).await;
        let cluster = Cluster::connect(&workers, scratch.path()).await.unwrap();
        let engines = [Engine::Local, Engine::Distributed(cluster)];
        Self { training: population(n_users), engines, scratch, _dir: dir }
    }

    /// The rows of a query as text, sorted, on both engines.
    async fn rows(&self, query: &Query, params: &Value) -> [Result<Vec<String>, String>; 2] {
        let [local, distributed] = &self.engines;
        [self.rows_on(local, query, params).await, self.rows_on(distributed, query, params).await]
    }

    async fn rows_on(
        &self,
        engine: &Engine,
        query: &Query,
        params: &Value,
    ) -> Result<Vec<String>, String> {
        let limits = Limits {
            memory: MEMORY,
            scratch_bytes: MEMORY,
            threads: Some(2),
            scratch: self.scratch.path(),
            hash_joins: true,
            engine,
        };
        let session = session::limited(limits).unwrap();
        self.training.register(&session, engine).unwrap();
        let params = serde_json::from_value(params.clone()).unwrap();
        let frame = query.plan(&session, &params).await.map_err(|err| err.to_string())?;
        let batches = frame.collect().await.map_err(|err| err.to_string())?;
        let mut rows = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cell = |column: &ArrayRef| array_value_to_string(column, row).unwrap();
                rows.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join(" | "));
            }
        }
        rows.sort();
        Ok(rows)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shipped_queries_give_the_same_rows() {
    let lab = Lab::start(20_000).await;
    for name in ALL {
        let query = Query::read(&path(name)).unwrap();
        let [local, distributed] = lab.rows(&query, &settings(name)).await;
        let local = local.unwrap();
        assert!(local.len() > 100, "{name}");
        assert_eq!(local, distributed.unwrap(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn made_up_queries_give_the_same_rows() {
    let lab = Lab::start(1000).await;
    let dir = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::deterministic();
    let (mut n_rows, mut n_empty, mut n_refused) = (0, 0, 0);
    for i in 0..N_RANDOM {
        let text = query().new_tree(&mut runner).unwrap().current();
        let file = dir.path().join(format!("{i}.sql"));
        std::fs::write(&file, &text).unwrap();
        let [local, distributed] = lab.rows(&Query::read(&file).unwrap(), &json!({})).await;
        let local = local.unwrap_or_else(|err| panic!("{err}\n{text}"));
        n_rows += local.len();
        n_empty += usize::from(local.is_empty());
        match distributed {
            Ok(distributed) => assert_eq!(local, distributed, "{text}"),
            // A plan that does not survive being sent is an error, never other rows.
            Err(err) => {
                assert!(err.contains("Internal error"), "{err}\n{text}");
                n_refused += 1;
            }
        }
    }
    assert!(n_refused <= N_RANDOM / 100, "{n_refused} refused");
    assert!(n_rows > 50 * N_RANDOM && n_empty < N_RANDOM / 2, "{n_rows} rows, {n_empty} empty");
}

/// A chain of tables `t0`, `t1`, … with the columns `user_id`, `brand_id` and `n`, each made of those
/// before, and what is selected of the last.
fn query() -> impl Strategy<Value = String> {
    let steps = prop::collection::vec(step(), 0..5);
    (source(), steps, last()).prop_map(|(source, steps, last)| {
        let mut text = format!("with t0 as ({source})");
        for (i, step) in steps.iter().enumerate() {
            let step = step.replace('@', &format!("t{i}"));
            text += &format!(",\nt{} as ({step})", i + 1);
        }
        text + "\n" + &last.replace('@', &format!("t{}", steps.len()))
    })
}

fn source() -> impl Strategy<Value = String> {
    let of = prop::sample::select(vec![
        "select user_id, brand_id, cast(events as bigint) as n from interactions",
        "select u.user_id, b.brand_id, cast(b.volume as bigint) as n from users u cross join brands b \
         where draw(u.user_id, #, 0) < 0.02",
        "select user_id, cast(null as varchar) as brand_id, unnest(range(0, user_id % 4)) as n \
         from users",
        "select u.user_id, i.brand_id, cast(i.events as bigint) as n from users u left join \
         interactions i on u.user_id = i.user_id and i.events > 2",
        // A table of one row, and one of none.
        "select max(user_id) as user_id, min(brand_id) as brand_id, count(*) as n from interactions",
        "select user_id, brand_id, cast(1 as bigint) as n from interactions where user_id < 0",
        // Most rows are of one user.
        "select case when draw(user_id, #, 1) < 0.9 then 1 else user_id end as user_id, brand_id, \
         cast(1 as bigint) as n from interactions",
    ]);
    (of, 0..9_u32).prop_map(|(of, seed): (&str, u32)| of.replace('#', &seed.to_string()))
}

fn step() -> impl Strategy<Value = String> {
    let of = prop::sample::select(vec![
        "select * from @ where draw(user_id, #, 2) < 0.6",
        "select user_id, brand_id, case when n % 3 = 0 then null else n end as n from @",
        "select user_id, case when user_id % 5 = # then null else brand_id end as brand_id, n from @",
        "select a.user_id, b.brand_id, a.n + b.n as n from @ a join @ b on a.user_id = b.user_id \
         where draw(a.user_id, #, 3) < 0.1",
        "select a.user_id, b.brand_id, cast(b.volume as bigint) as n from @ a left join brands b on \
         a.brand_id = b.brand_id and b.volume > # * 10",
        "select user_id, max(brand_id) as brand_id, sum(n) as n from @ group by user_id",
        "select user_id, unnest(array_agg(distinct brand_id order by brand_id)) as brand_id, \
         cast(# as bigint) as n from @ group by user_id",
        "select user_id, unnest(case when user_id % 2 = 0 then make_array(brand_id, 'x') else \
         arrow_cast(make_array(), 'List(Utf8)') end) as brand_id, n from @",
        "select * from @ union all select * from @ where draw(user_id, #, 4) < 0.3",
        "select user_id, brand_id, n from @ order by draw(user_id, #, 5), user_id, brand_id, n \
         limit 1#",
        "select user_id, brand_id, row_number() over (partition by user_id order by brand_id, n) as n \
         from @",
        "select distinct user_id, brand_id, n from @",
        "select user_id, brand_id, n from @ where user_id in (select user_id from interactions where \
         events > 3)",
        "select user_id, brand_id, cast(count(*) over (partition by brand_id) as bigint) as n from @",
    ]);
    (of, 0..9_u32).prop_map(|(of, seed): (&str, u32)| of.replace('#', &seed.to_string()))
}

fn last() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "select * from @".to_owned(),
        "select user_id, array_agg(brand_id order by brand_id) as brands, sum(n) as n from @ \
         group by user_id"
            .to_owned(),
        "select user_id, array_sort(array_agg(named_struct('b', brand_id, 'n', n))) as rows, \
         min(n) as low from @ group by user_id"
            .to_owned(),
        "select brand_id, count(*) as n, count(distinct user_id) as users from @ group by brand_id"
            .to_owned(),
    ])
}

/// What a user should know: the worker and what is wrong with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = workers(dir.path()).await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    all.push(gone.clone());
    let Err(err) = Cluster::connect(&all, dir.path()).await else { panic!("{gone} is not there") };
    let message = err.to_string();
    assert!(message.contains("1 of 4 workers cannot be used"), "{message}");
    assert!(message.contains(&format!("worker {gone}: cannot connect: ")), "{message}");
    assert_eq!(super::cluster::lost(&all).await, [gone]);
}

//! Queries that a user may write and that cannot be run, or only with care: deep ones, those that
//! make much from little, those with a clause or a column that nothing reads.

mod workspace;

use std::fs;

use workspace::{Said, Workspace};

const GOOD: &str = "select user_id, array_agg(brand_id) as brands from interactions";

/// The tiny data set, split into training and other users.
fn held_out() -> Workspace {
    let work = Workspace::tiny();
    assert_eq!(work.run("sample-stage", &["holdout"]).code, 0);
    work.edit("pipeline.yaml", "sql: everyone.sql", "sql: my.sql");
    work
}

fn sampled(work: &Workspace, query: &str, set: &[&str]) -> Said {
    work.write("my.sql", query);
    let set = set.iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["sample", "--experiment", "bau"].into_iter().chain(set).collect();
    work.run("sample-stage", &args)
}

fn where_all(n: usize) -> String {
    let terms: Vec<String> = (0..n).map(|i| format!("user_id <> 'x{i}'")).collect();
    format!("{GOOD} where {} group by user_id", terms.join(" and "))
}

#[test]
fn an_ignored_clause_is_an_error_with_its_place() {
    let work = held_out();
    let query = "select user_id, array_agg(brand_id) as brands\nfrom interactions tablesample (10)\ngroup by user_id";
    let run = sampled(&work, query, &[]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    let expected = "my.sql:2:6: `TABLESAMPLE (10)` is not supported in queries\n\
                    hint: draw rows with `where draw(user_id, $seed, 0) < 0.1`";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}

/// As scripts write them.
#[test]
fn deep_queries_run() {
    let work = held_out();
    let arm = |i: usize| format!("when user_id = 'x{i}' then {i}");
    let arms = (0..1000).map(arm).collect::<Vec<_>>().join(" ");
    let cte = |i: usize| format!("c{} as (select * from c{i} where user_id <> 'x{i}')", i + 1);
    let ctes: Vec<String> = (0..100).map(cte).collect();
    for query in [
        where_all(400),
        where_all(400).replace(" and ", " or "),
        format!("{GOOD} group by user_id having max({}) > 0", vec!["events"; 400].join(" + ")),
        format!("{GOOD} group by user_id having max(case {arms} else 1 end) > 0"),
        format!(
            "with c0 as (select * from interactions), {} {} group by user_id",
            ctes.join(", "),
            GOOD.replace("interactions", "c100")
        ),
    ] {
        let run = sampled(&work, &query, &[]);
        assert_eq!(run.code, 0, "{}…\n{}", &query[..200], run.stderr);
    }
}

#[test]
fn a_query_that_is_too_deep_is_an_error_and_not_an_abort() {
    let work = held_out();
    let run = sampled(&work, &where_all(3000), &[]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    let expected = "my.sql: the query is 3,0";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    assert!(run.stderr.contains("levels deep, expected at most 2,000\nhint: "), "{}", run.stderr);
    for n in [1500, 3000] {
        work.write("my.sql", &where_all(n));
        for command in [&["status"][..], &["graph"], &["run", "-n"], &["explain", "bau", "sample"]]
        {
            let run = work.pipeline(command);
            assert_eq!(run.code, 0, "{command:?} with {n} terms: {}", run.stderr);
        }
    }
    let nested = format!("{GOOD} where {}true{} group by user_id", "(".repeat(60), ")".repeat(60));
    let run = sampled(&work, &nested, &[]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("my.sql: brackets and subqueries are nested more than 50 deep"));
}

/// Texts that double and double again: no function makes much at once, and no pool counts them.
#[test]
fn memory_beyond_the_pool_ends_the_stage_with_a_message() {
    let work = held_out();
    let step = |from: &str| {
        format!("select user_id, brand_id, concat({}) as t from {from}", vec!["t"; 40].join(", "))
    };
    let query = format!(
        "with a as (select user_id, brand_id, repeat(user_id, 1000) as t from interactions), \
         b as ({}), c as ({}), d as ({}) \
         select user_id, array_agg(brand_id) as brands, max(length(t)) as weight from d group by 1",
        step("a"),
        step("b"),
        step("c")
    );
    let run = sampled(&work, &query, &["sample.memory_limit=64MiB"]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    let expected = "sample-stage: my.sql: the query needs more memory than `sample.memory_limit` allows\nhint: ";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    let again = sampled(&work, &format!("{GOOD} group by user_id"), &[]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(!work.dir.join("runs/bau/sample/.scratch").exists());
}

#[test]
fn a_function_beyond_its_bound_is_an_error() {
    let work = held_out();
    let query = format!(
        "select *, cardinality(range(0, 1000000000 + length(user_id))) as weight from ({GOOD} group by user_id)"
    );
    let run = sampled(&work, &query, &["sample.memory_limit=512MiB"]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("my.sql: `range` would make "), "{}", run.stderr);
}

#[test]
fn scratch_is_bounded_for_queries_and_views() {
    let work = held_out();
    let all = "interactions a, interactions b, interactions c, interactions d";
    for query in [
        format!("select a.user_id, make_array(b.brand_id) as brands from {all}"),
        format!(
            "select a.user_id, array_agg(b.brand_id) as brands from {all} \
             group by a.user_id, b.user_id, c.user_id, d.user_id, c.brand_id, d.brand_id"
        ),
    ] {
        let run =
            sampled(&work, &query, &["sample.memory_limit=32MiB", "sample.scratch_limit=1MiB"]);
        assert_eq!(run.code, 5, "{}", run.stderr);
        assert!(
            run.stderr.contains("my.sql: ")
                && run.stderr.contains("`sample.scratch_limit`\nhint: "),
            "{}",
            run.stderr
        );
        assert_eq!(fs::read_dir(work.dir.join("runs/bau/sample")).unwrap().count(), 0);
    }
    work.write(
        "view.sql",
        &format!(
            "select user_id, brand_id, events from (select a.user_id, a.brand_id, a.events, \
             row_number() over (order by a.user_id, b.user_id, c.user_id, d.brand_id) as place \
             from {all}) as numbered where place < 10"
        ),
    );
    work.edit("pipeline.yaml", "{table: interactions}", "{sql: view.sql}");
    let set = ["--set", "data.memory_limit=32MiB", "--set", "data.scratch_limit=1MiB"];
    let run = work.run("sample-stage", &[&["holdout"], &set[..]].concat());
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("cannot read interactions (view.sql): "), "{}", run.stderr);
    assert!(run.stderr.contains("`data.scratch_limit`\nhint: "), "{}", run.stderr);
}

#[test]
fn limits_change_no_result() {
    let work = Workspace::tiny();
    assert_eq!(work.pipeline(&["run", "bau", "--to", "sample"]).code, 0);
    let set = [
        "data.memory_limit=1GiB",
        "data.scratch_limit=1GiB",
        "stages.sample.memory_limit=1GiB",
        "stages.sample.scratch_limit=1GiB",
    ];
    let set: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
    let explained = work.pipeline(&[&["explain", "bau", "sample"], &set[..]].concat());
    assert!(explained.stdout.contains("fresh"), "{}", explained.stdout);
}

#[test]
fn an_unused_column_is_warned_of_with_the_nearest_name() {
    let work = held_out();
    let query = "select user_id, array_agg(brand_id) as brands, 5.0 as wieght, 1 as age from interactions group by user_id";
    let run = sampled(&work, query, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for expected in [
        "warning: my.sql: column `wieght` is not used; did you mean `weight`?\n",
        "warning: my.sql: column `age` is not used\n",
    ] {
        assert_eq!(run.stderr.matches(expected).count(), 1, "{}", run.stderr);
    }
}

#[test]
fn an_unused_shared_parameter_is_warned_of_with_the_nearest_name() {
    let work = Workspace::tiny();
    work.write("my.sql", &format!("{GOOD} where draw(user_id, 7, 0) < $share group by user_id"));
    work.edit("pipeline.yaml", "sql: everyone.sql", "sql: my.sql, params: {share: 1, shear: 2}");
    let check = work.pipeline(&["check"]);
    assert_eq!(check.code, 0, "{}", check.stderr);
    let expected =
        "warning: pipeline.yaml: `stages.sample.params`: parameter `shear` is not used\n";
    assert_eq!(check.stderr, expected);
    work.edit("pipeline.yaml", "share: 1, shear: 2", "shear: 1");
    let check = work.pipeline(&["check"]);
    assert!(
        check.stderr.contains("`shear` is not used; did you mean `share`?"),
        "{}",
        check.stderr
    );
    work.edit("pipeline.yaml", "bau: {}", "bau: {sample: {sql: everyone.sql}}");
    work.edit("pipeline.yaml", "shear: 1", "share: 1");
    assert_eq!(work.pipeline(&["check"]).stderr, "", "one experiment's query uses it");
}

#[test]
fn a_byte_order_mark_of_a_query_is_ignored() {
    let work = held_out();
    let query = format!(
        "\u{feff}-- $share = 1: of the users\n{GOOD} where draw(user_id, 7, 0) < $share group by user_id"
    );
    let run = sampled(&work, &query, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    work.write("view.sql", "\u{feff}select * from interactions");
    work.edit("pipeline.yaml", "{table: interactions}", "{sql: view.sql}");
    let run = work.run("sample-stage", &["holdout"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn functions_of_the_current_date_are_rejected_with_a_remedy() {
    let work = held_out();
    let query = |day: &str| format!("{GOOD} group by user_id having {day} > date '2000-01-01'");
    for day in ["current_date", "today()", "now()", "current_timestamp"] {
        let run = sampled(&work, &query(day), &[]);
        assert_eq!(run.code, 5, "{}", run.stderr);
        assert!(
            run.stderr.contains("give the date as a parameter: `cast($today as date)`"),
            "{}",
            run.stderr
        );
    }
    let query = format!("-- $today = 2026-01-31\n{}", query("cast($today as date)"));
    let run = sampled(&work, &query, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

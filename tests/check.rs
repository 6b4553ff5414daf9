//! `pipeline check` on the columns of a user's own tables, and `pipeline sample`.

mod workspace;

use std::fs;

use workspace::{Said, Workspace};

fn check(work: &Workspace) -> Said {
    work.pipeline(&["check"])
}

/// Line of the manifest that starts like this, and the column of what follows.
fn place(work: &Workspace, line: &str, value: &str) -> String {
    let text = String::from_utf8(work.bytes("pipeline.yaml")).unwrap();
    let (i, found) =
        text.lines().enumerate().find(|(_, text)| text.trim_start().starts_with(line)).unwrap();
    format!("pipeline.yaml:{}:{}: ", i + 1, found.find(value).unwrap() + 1)
}

#[test]
fn all_problems_of_the_columns_are_shown_at_once_with_their_places() {
    let work = Workspace::tiny();
    let said = check(&work);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{}", said.stderr);

    let users = String::from_utf8(work.bytes("users.json")).unwrap();
    let users = users.replace("\"embedding\"", "\"embeding\"").replace("\"age\": ", "\"age\": \"x");
    let users = users.replace(", \"past\"", "\", \"past\"");
    work.write("users.json", &users);
    let log = String::from_utf8(work.bytes("interactions.csv")).unwrap();
    work.write("interactions.csv", &log.replace("\nu", "\n9"));
    work.write("brands.csv", "Brand_ID,name\nacme,Acme\n");
    let said = check(&work);
    assert_eq!(said.code, 5, "{}", said.stderr);
    let expected = [
        place(&work, "features:", "embedding")
            + "users: column `embedding` is missing; did you mean \
            `embeding`?\n    hint: use `users: {sql: users.sql}` to rename it: `select \"embeding\" as \
            embedding, ... from users`",
        place(&work, "features:", "age") + "users: column `age` is `Utf8`, expected a number",
        place(&work, "brands: {table", "{table")
            + "brands: column `brand_id` is missing; did you mean \
            `Brand_ID`?",
        place(&work, "interactions: {table", "{table")
            + "interactions: the ids of `user_id` are whole \
            numbers, those of users are text, so none matches",
    ];
    for problem in expected {
        assert!(said.stderr.contains(&problem), "{problem}\n{}", said.stderr);
    }
    assert!(said.stderr.contains("the tables have 4 problems"), "{}", said.stderr);
    let set = work.pipeline(&["check", "--set", "holdout.column=splitt"]);
    let message =
        "--set holdout.column=splitt: users: column `splitt` is missing; did you mean `split`?";
    assert!(set.stderr.contains(message), "{}", set.stderr);
    assert!(!work.dir.join("runs/.check").exists());
}

#[test]
fn a_table_that_cannot_be_read_does_not_hide_the_problems_of_others() {
    let work = Workspace::tiny();
    work.write("interactions.csv", "user_id,brand_id\nu1,\"acme\n");
    work.write("brands.csv", "id,name\nacme,Acme\n");
    work.write("users.sql", "select user_id, agee as age from users");
    work.edit("pipeline.yaml", "users: {table: users}", "users: {sql: users.sql}");
    let said = check(&work);
    assert_eq!(said.code, 5, "{}", said.stderr);
    assert!(said.stderr.contains("a quote is never closed"), "{}", said.stderr);
    assert!(said.stderr.contains("brands: column `brand_id` is missing"), "{}", said.stderr);
    // The query may need the table, so it is checked once that can be read.
    work.write("interactions.csv", "user_id,brand_id\nu01,acme\n");
    let said = check(&work);
    assert!(said.stderr.contains("users.sql"), "{}", said.stderr);
    assert!(said.stderr.contains("agee"), "{}", said.stderr);
    work.write("users.sql", "select user_id, age from users");
    let said = check(&work);
    let message =
        "users: column `embedding` is missing; there are `user_id`, `age`\n    hint: let ";
    assert!(said.stderr.contains(message), "{}", said.stderr);
}

#[test]
fn a_shipped_query_is_named_without_a_file() {
    let work = Workspace::tiny();
    let with_file = work.pipeline(&["run", "bau"]);
    assert_eq!(with_file.code, 0, "{}", with_file.stderr);
    let examples = work.bytes("runs/bau/sample/examples.arrow");
    fs::remove_file(work.dir.join("everyone.sql")).unwrap();
    assert_eq!(work.pipeline(&["check"]).code, 2, "the file is not there");
    work.edit("pipeline.yaml", "sql: everyone.sql", "sql: everyone");
    let run = work.pipeline(&["run", "bau"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(work.bytes("runs/bau/sample/examples.arrow") == examples);
    assert!(!run.stderr.contains("train of bau: running"), "it is the same query: {}", run.stderr);

    let sample = work.pipeline(&["sample", "bau", "--show", "3"]);
    assert_eq!(sample.code, 0, "{}", sample.stderr);
    assert!(sample.stdout.contains("3 of 18 examples\n"), "{}", sample.stdout);
    assert!(sample.stdout.contains("Mill & Sons"), "{}", sample.stdout);
    let uniform = ["sample", "bau", "--set", "sample={sql: uniform, params: {n_users: 5}}"];
    let sample = work.pipeline(&uniform);
    assert!(sample.stdout.contains("5 of 5 examples\n"), "{}{}", sample.stdout, sample.stderr);
    let sample = work.pipeline(&["sample", "popularity"]);
    assert_eq!(sample.code, 2, "{}", sample.stderr);

    work.edit("pipeline.yaml", "sql: everyone", "sql: evryone");
    let said = check(&work);
    let message = "evryone`; write `everyone` for the query of this name that is shipped";
    assert!(said.code == 2 && said.stderr.contains(message), "{}", said.stderr);
}

#[test]
fn a_blank_brand_name_is_warned_of() {
    let work = Workspace::tiny();
    work.edit("brands.csv", "mill & sons,Mill & Sons", "mill & sons,\" \"");
    let said = work.run("sample-stage", &["holdout"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let message = "warning: brands: the `name` of 1 brand is blank, so it is named by its id; the first is \
        `mill & sons`";
    assert!(said.stderr.contains(message), "{}", said.stderr);
}

/// Countries by user, of which one is no category.
fn with_countries(work: &Workspace, file: &str, countries: [&str; 3]) {
    let users = String::from_utf8(work.bytes("users.json")).unwrap();
    let lines = users.lines().enumerate().map(|(i, line)| {
        line.replacen('{', &format!("{{\"country\": \"{}\", ", countries[i % 3]), 1) + "\n"
    });
    let text: String = lines.collect();
    work.write(file, &text);
}

#[test]
fn text_becomes_categories_that_new_users_have_too() {
    let work = Workspace::tiny();
    let features = "data.features=[embedding, age, {column: past, ids: brands}, split]";
    let said = work.pipeline(&["check", "--set", features]);
    let hint =
        "hint: if its values are categories, write `{column: split, categories: {top: 100}}`";
    assert!(said.code == 5 && said.stderr.contains(hint), "{}", said.stderr);
    with_countries(&work, "new.json", ["de", "fr", "de"]);
    with_countries(&work, "unknown.json", ["at", "", "ch"]);
    with_countries(&work, "users.json", ["de", "fr", "it"]);
    for categories in ["{top: 2}", "[de, fr]"] {
        work.write(
            "features.txt",
            &format!(
                "data.features=[embedding, age, {{column: past, ids: brands}}, {{column: country, categories: \
                 {categories}}}]"
            ),
        );
        let set = String::from_utf8(work.bytes("features.txt")).unwrap();
        let set = ["--set", &set, "--set", "train.features=[age, country]"];
        assert_eq!(work.pipeline(&[&["check"][..], &set[..2]].concat()).code, 0);
        let run = work.pipeline(&[&["run", "bau"], &set[..]].concat());
        assert_eq!(run.code, 0, "{categories}: {}", run.stderr);
        let log = String::from_utf8(work.bytes("runs/holdout/log.txt")).unwrap();
        let note = "12 values of 36 are none of its 2 categories, and count as missing";
        assert!(log.contains(note), "{log}");

        let predict = |users: &str, output: &str| {
            let args = ["predict", "bau", "--users", users, "--output", output, "--top-k", "4"];
            work.pipeline(&[&args[..], &set[..]].concat())
        };
        let said = predict("users.json", "p.csv");
        assert!(said.code == 0 && said.stderr.contains(note), "{}", said.stderr);
        assert_eq!(predict("new.json", "q.csv").code, 0);
        let rows = |file: &str| -> Vec<String> {
            let text = String::from_utf8(work.bytes(file)).unwrap();
            text.lines().map(str::to_owned).collect()
        };
        // Users of `de` and `fr` have what they had; of those without a category some differ.
        let (before, after) = (rows("p.csv"), rows("q.csv"));
        let number = |row: &str| row[1..3].parse::<usize>().unwrap();
        for (a, b) in before.iter().zip(&after).skip(1) {
            assert!(a == b || number(a) % 3 == 0, "{a} {b}");
        }
        assert_ne!(before, after);
        // The holdout's own table has ids in place of the text.
        let said = predict("runs/holdout/test.arrow", "t.csv");
        assert_eq!(said.code, 0, "{}", said.stderr);
        let test = rows("t.csv");
        assert!(test.len() > 10 && test.iter().all(|row| before.contains(row)));

        let said = predict("unknown.json", "u.csv");
        let message =
            "none of its 36 values is one of the 2 categories that the model knows, such as `de`";
        assert!(said.code == 5 && said.stderr.contains(message), "{}", said.stderr);
        let bundle = [&["bundle", "bau", "--output", "bundle"], &set[..]].concat();
        assert_eq!(work.pipeline(&bundle).code, 0);
        let args = ["predict", "--bundle", "bundle", "--users", "users.json", "--output", "b.csv"];
        let said = work.pipeline(&[&args[..], &["--top-k", "4"]].concat());
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert_eq!(rows("b.csv"), before);
    }
}

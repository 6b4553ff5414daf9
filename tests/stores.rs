//! Tables, predictions and the report in an object store: an S3 server on loopback.

mod s3_server;
mod web_server;
mod workspace;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::csv::reader::Format;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::{csv, json};
use contract::manifest::TableSource;
use contract::raw_files;
use parquet::arrow::ArrowWriter;
use s3_server::{FAILING, NOBODY, OWNER, READER, Server, environment};
use serde_json::Value;
use workspace::{Said, Workspace};

/// The tiny data set in a store: users as json in a folder, interactions as parquet in folders with a
/// key, brands as compressed csv.
struct Lab {
    work: Workspace,
    server: Server,
}

const TABLES: [(&str, &str); 3] = [
    ("users: users.json", "users: s3://lab/users/"),
    ("interactions: interactions.csv", "interactions: s3://lab/interactions/*/*.parquet"),
    ("brands: brands.csv", "brands: s3://lab/brands.csv.gz"),
];

impl Lab {
    fn start() -> Self {
        let (work, server) = (Workspace::tiny(), Server::start());
        let users = String::from_utf8(work.bytes("users.json")).unwrap();
        let lines: Vec<&str> = users.lines().collect();
        let (first, second) = lines.split_at(lines.len() / 2);
        server.put("users/a.json", first.join("\n"));
        server.put("users/b.json", second.join("\n"));
        server.put("users/_SUCCESS", "");
        server.put("interactions/part=1/x.parquet", parquet(&work));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&work.bytes("brands.csv")).unwrap();
        server.put("brands.csv.gz", gzip.finish().unwrap());
        for (from, to) in TABLES {
            work.edit("pipeline.yaml", from, to);
        }
        Self { work, server }
    }

    fn pipeline(&self, key: (&str, &str), args: &[&str]) -> Said {
        self.work.with_envs(&self.server.env(key)).pipeline(args)
    }

    fn run(&self) {
        let said = self.pipeline(READER, &["run", "bau"]);
        assert_eq!(said.code, 0, "{}", said.stderr);
    }

    /// What the holdout stage says that its inputs are.
    fn inputs(&self) -> BTreeMap<String, Value> {
        let record: Value =
            serde_json::from_slice(&self.work.bytes("runs/holdout/stage.json")).unwrap();
        serde_json::from_value(record["parts"]["inputs"].clone()).unwrap()
    }
}

/// The interactions as parquet.
fn parquet(work: &Workspace) -> Vec<u8> {
    let open = || File::open(work.dir.join("interactions.csv")).unwrap();
    let (schema, _) = Format::default().with_header(true).infer_schema(open(), None).unwrap();
    let schema = Arc::new(schema);
    let rows = csv::ReaderBuilder::new(schema.clone()).with_header(true).build(open()).unwrap();
    as_parquet(&schema, rows)
}

/// The users as parquet.
fn users_as_parquet(work: &Workspace) -> Vec<u8> {
    let open = || BufReader::new(File::open(work.dir.join("users.json")).unwrap());
    let (schema, _) = json::reader::infer_json_schema(open(), None).unwrap();
    let schema = Arc::new(schema);
    as_parquet(&schema, json::ReaderBuilder::new(schema.clone()).build(open()).unwrap())
}

fn as_parquet(
    schema: &SchemaRef,
    rows: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.clone(), None).unwrap();
    for batch in rows {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.close().unwrap();
    bytes
}

/// Content of the tables that all experiments share.
fn holdout(work: &Workspace) -> BTreeMap<String, Value> {
    let record: Value = serde_json::from_slice(&work.bytes("runs/holdout/stage.json")).unwrap();
    let outputs = record["outputs"].as_object().unwrap();
    outputs.iter().map(|(name, output)| (name.clone(), output["content"].clone())).collect()
}

#[test]
fn tables_in_a_store_give_the_same_results_as_files() {
    let lab = Lab::start();
    lab.run();
    let local = Workspace::tiny();
    assert_eq!(local.pipeline(&["run", "bau"]).code, 0);
    assert_eq!(holdout(&lab.work), holdout(&local));
    // Nothing has changed: what the store says of the objects is enough to know.
    let said = lab.pipeline(READER, &["run", "bau", "-n"]);
    assert!(said.stdout.contains("up to date") || said.code == 0, "{}{}", said.stdout, said.stderr);
    let explained = lab.pipeline(READER, &["explain", "bau", "holdout"]);
    assert!(explained.stdout.contains("fresh"), "{}{}", explained.stdout, explained.stderr);
    let line = "table `users` is s3://lab/users/a.json and 1 more: a change is noticed by the ETag";
    assert!(explained.stdout.contains(line), "{}", explained.stdout);
    // A stage that reads results only needs no store.
    let train = lab.work.run("train-stage", &["--experiment", "bau"]);
    assert_eq!(train.code, 0, "{}", train.stderr);
}

#[test]
fn a_changed_object_is_noticed_and_a_new_one_too() {
    let lab = Lab::start();
    lab.run();
    let before = lab.inputs();
    let users = fs::read_to_string(lab.server.path("users/a.json")).unwrap();
    lab.server.put("users/a.json", users.replacen("\"age\": 21", "\"age\": 31", 1));
    let said = lab.pipeline(READER, &["explain", "bau", "holdout"]);
    assert!(said.stdout.contains("stale") && said.stdout.contains("users:0"), "{}", said.stdout);
    lab.run();
    let after = lab.inputs();
    assert_ne!(before["users:0"], after["users:0"]);
    assert_eq!(before["users:1"], after["users:1"]);
    lab.server.put("interactions/part=2/y.parquet", parquet(&lab.work));
    let said = lab.pipeline(READER, &["explain", "bau", "holdout"]);
    assert!(said.stdout.contains("interactions:1"), "{}", said.stdout);
}

/// What is wrong with a table, by the environment: the first line names the URL and what was found.
#[test]
fn an_error_names_the_url_what_was_found_and_what_to_do() {
    let lab = Lab::start();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reader = lab.server.env(READER);
    let without = |names: &[&str]| -> Vec<(String, String)> {
        reader.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect()
    };
    let with = |name: &str, value: &str, mut env: Vec<(String, String)>| {
        env.push((name.to_owned(), value.to_owned()));
        env
    };
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let nobody_s_home = with("HOME", "/nonexistent", without(&keys));
    let cases = [
        (
            "users/",
            lab.server.env(NOBODY),
            "s3://lab/users/: access is denied (`AccessDenied`",
            "s3:ListBucket",
        ),
        (
            "users/a.json",
            lab.server.env(NOBODY),
            "s3://lab/users/a.json: access is denied",
            "s3:GetObject",
        ),
        ("gone.csv", reader.clone(), "s3://lab/gone.csv: there is no object of this name", ""),
        ("gone*.csv", reader.clone(), "s3://lab/gone*.csv: no object matches the pattern", ""),
        ("/../other/users.csv", reader.clone(), "there is no bucket `other`", "AWS_ENDPOINT_URL"),
        (
            "users/",
            environment(address(&reader), ("AKIAUNKNOWN", "hush")),
            "s3://lab/users/: the store refuses the credentials (`NotSignedUp`",
            "AWS_ACCESS_KEY_ID",
        ),
        (
            "users/",
            environment(address(&reader), (READER.0, "hush")),
            "s3://lab/users/: the store refuses the credentials (`SignatureDoesNotMatch`",
            "AWS_ACCESS_KEY_ID",
        ),
        (
            "users/",
            environment(closed, READER),
            "s3://lab/users/: Connection refused (os error 111) after 3 retries",
            "AWS_ENDPOINT_URL",
        ),
        (
            "users/",
            with("AWS_EC2_METADATA_DISABLED", "true", nobody_s_home.clone()),
            "s3://lab/users/: no credentials were found",
            "AWS_PROFILE",
        ),
        (
            "users/",
            with("AWS_METADATA_ENDPOINT", &format!("http://{closed}"), nobody_s_home),
            "s3://lab/users/: no credentials were found",
            "AWS_PROFILE",
        ),
        (
            "users/",
            with("AWS_PROFILE", "lab", reader.clone()),
            "s3://lab/users/: there is no profile `lab`",
            "AWS_PROFILE",
        ),
        ("users/", without(&["AWS_ALLOW_HTTP"]), "the endpoint is `http://`", "AWS_ALLOW_HTTP"),
    ];
    let manifest = fs::read_to_string(lab.work.dir.join("pipeline.yaml")).unwrap();
    for (key, env, found, hint) in cases {
        let url = match key.strip_prefix("/../") {
            Some(other) => format!("s3://{other}"),
            None => format!("s3://lab/{key}"),
        };
        lab.work.write("pipeline.yaml", &manifest.replace("s3://lab/users/", &url));
        let said = lab.work.with_envs(&env).pipeline(&["run", "bau"]);
        assert_ne!(said.code, 0);
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(all.contains(found), "{found}:\n{all}");
        assert!(all.contains(hint), "{hint}:\n{all}");
        assert!(!all.contains("hush"), "{all}");
    }
}

fn address(env: &[(String, String)]) -> SocketAddr {
    let (_, url) = env.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL").unwrap();
    url.trim_start_matches("http://").parse().unwrap()
}

#[test]
fn a_profile_of_the_home_folder_gives_keys_and_region() {
    let lab = Lab::start();
    let folder = lab.work.dir.join("home/.aws");
    fs::create_dir_all(&folder).unwrap();
    let (id, secret) = READER;
    let keys = format!("[lab]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(folder.join("credentials"), keys).unwrap();
    let url = format!("http://{}", address(&lab.server.env(READER)));
    let config = format!("[profile lab]\nregion = us-east-1\nendpoint_url = {url}\n");
    fs::write(folder.join("config"), config).unwrap();
    let home = lab.work.dir.join("home").display().to_string();
    let env = [("HOME", home.as_str()), ("AWS_PROFILE", "lab"), ("AWS_ALLOW_HTTP", "true")];
    let env: Vec<_> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let said = lab.work.with_envs(&env).pipeline(&["check"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
}

#[test]
fn a_connection_that_breaks_is_resumed_and_one_that_always_breaks_is_an_error() {
    let lab = Lab::start();
    // Large enough that an answer is in several pieces.
    let users = fs::read_to_string(lab.server.path("users/a.json")).unwrap();
    let padding = format!("{{\"padding\": \"{}\", ", "x".repeat(500_000));
    lab.server.put("users/a.json", users.replacen('{', &padding, 1));
    let env = lab.server.env_breaking(100_000, 3);
    let said = lab.work.with_envs(&env).pipeline(&["run", "bau"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let env = lab.server.env_breaking(3_000, i64::MAX);
    let said = lab.work.with_envs(&env).pipeline(&["check"]);
    assert_ne!(said.code, 0);
    assert!(said.stderr.contains("table `users`: s3://lab/users/a.json: "), "{}", said.stderr);
    assert!(said.stderr.contains("the network"), "{}", said.stderr);
}

/// `DataFusion` passes on what the store says as text.
#[test]
fn a_store_that_fails_in_the_middle_of_a_query_is_named() {
    let lab = Lab::start();
    fs::remove_dir_all(lab.server.path("interactions/part=1")).unwrap();
    lab.server.put(&format!("interactions/part=1/{FAILING}"), parquet(&lab.work));
    let said = lab.pipeline(READER, &["run", "bau"]);
    let expected = format!(
        "table `interactions`: s3://lab/interactions/part=1/{FAILING}: the store answers 500 Internal \
         Server Error after 3 retries"
    );
    assert!(said.code == 1 && said.stderr.contains(&expected), "{}", said.stderr);
}

#[test]
fn new_users_and_predictions_may_be_in_a_store() {
    let lab = Lab::start();
    lab.run();
    lab.server.put("new/users.parquet", users_as_parquet(&lab.work));
    let local = ["predict", "bau", "--users", "users.json", "--output", "out.parquet"];
    let said = lab.pipeline(READER, &local);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let arguments = ["predict", "bau", "--users", "s3://lab/new/users.parquet", "--output"];
    let predict = |key, output: &str| lab.pipeline(key, &[&arguments[..], &[output]].concat());

    let said = predict(READER, "s3://lab/out/users.parquet");
    assert_eq!(said.code, 1, "{}", said.stdout);
    let expected = "s3://lab/out/users.parquet: access is denied (`AccessDenied`";
    assert!(
        said.stderr.contains(expected) && said.stderr.contains("s3:PutObject"),
        "{}",
        said.stderr
    );
    assert!(!lab.server.path("out/users.parquet").exists());

    let said = predict(OWNER, "s3://lab/out/users.parquet");
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("s3://lab/out/users.parquet"), "{}", said.stdout);
    assert!(said.stderr.contains("going on after part 1 of 1"), "{}", said.stderr);
    assert_eq!(
        fs::read(lab.server.path("out/users.parquet")).unwrap(),
        lab.work.bytes("out.parquet")
    );
    assert!(!lab.work.files_below("runs").iter().any(|file| file.contains("upload")));

    // A folder: parts of an earlier run are replaced, files of others are not.
    let said = predict(OWNER, "s3://lab/parts/");
    assert_eq!(said.code, 0, "{}", said.stderr);
    lab.server.put("parts/part-00001.parquet", "of an earlier run");
    let said = predict(OWNER, "s3://lab/parts/");
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(!lab.server.path("parts/part-00001.parquet").exists());
    lab.server.put("parts/notes.txt", "of others");
    let said = predict(OWNER, "s3://lab/parts/");
    assert!(said.stderr.contains("holds `notes.txt`"), "{}", said.stderr);

    let said = predict(OWNER, "s3://lab/new/users.parquet");
    assert!(said.stderr.contains("which is read; name another file"), "{}", said.stderr);
    let audience = ["audience", "bau", "--output", "s3://lab/audience.csv"];
    let said = lab.pipeline(OWNER, &audience);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(fs::read_to_string(lab.server.path("audience.csv")).unwrap().contains("brand"));
}

#[test]
fn the_report_is_published_to_a_store_or_a_folder() {
    let lab = Lab::start();
    let said = lab.pipeline(OWNER, &["publish", "s3://lab/reports/today"]);
    assert!(said.stderr.contains("there is no report"), "{}", said.stderr);
    lab.run();
    let said = lab.pipeline(OWNER, &["publish", "s3://lab/reports/today"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.ends_with("s3://lab/reports/today/report.html\n"), "{}", said.stdout);
    let page = lab.work.bytes("runs/report/report.html");
    assert_eq!(fs::read(lab.server.path("reports/today/report.html")).unwrap(), page);
    // Large enough to be sent in parts.
    let large: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
    fs::write(lab.work.dir.join("runs/report/per_brand.csv"), &large).unwrap();
    assert_eq!(lab.pipeline(OWNER, &["publish", "s3://lab/reports/today"]).code, 0);
    assert!(fs::read(lab.server.path("reports/today/per_brand.csv")).unwrap() == large);
    let url = format!("file://{}/published", lab.work.dir.display());
    assert_eq!(lab.pipeline(OWNER, &["publish", &url]).code, 0);
    assert_eq!(lab.work.bytes("published/report.html"), page);
    let said = lab.pipeline(OWNER, &["publish", "https://host/reports"]);
    assert!(said.stderr.contains("a web server is only read"), "{}", said.stderr);
}

#[test]
fn no_secret_is_in_a_record_or_a_log() {
    let lab = Lab::start();
    lab.run();
    assert_eq!(lab.pipeline(OWNER, &["publish", "s3://lab/reports"]).code, 0);
    let files = lab.work.files_below("runs");
    assert!(files.iter().any(|file| file.ends_with("run.json")), "{files:?}");
    for file in files {
        let bytes = lab.work.bytes(&file);
        for secret in [READER.0, READER.1, OWNER.0, OWNER.1] {
            let is_in = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_in, "{file} has {secret}");
        }
    }
    for url in ["https://me:hush@host/users.json", "https://host/users.json?sig=hush"] {
        let said =
            lab.pipeline(READER, &["run", "bau", "--set", &format!("data.tables.users={url}")]);
        assert_eq!(said.code, 2, "{}", said.stderr);
        assert!(said.stderr.contains("a URL must not"), "{}", said.stderr);
    }
}

#[test]
fn a_table_of_delta_lake_is_refused_also_by_the_name_of_a_file() {
    let lab = Lab::start();
    lab.server.put("delta/_delta_log/00000.json", "{}");
    lab.server.put("delta/part=1/x.parquet", parquet(&lab.work));
    let manifest = fs::read_to_string(lab.work.dir.join("pipeline.yaml")).unwrap();
    for path in ["delta/", "delta/*/*.parquet", "delta/part=1/x.parquet"] {
        let changed =
            manifest.replace("s3://lab/interactions/*/*.parquet", &format!("s3://lab/{path}"));
        lab.work.write("pipeline.yaml", &changed);
        let said = lab.pipeline(READER, &["check"]);
        assert!(said.stderr.contains("a table of Delta Lake"), "{path}: {}", said.stderr);
    }
}

#[test]
fn a_file_url_is_a_local_path() {
    let work = Workspace::tiny();
    let path = work.dir.join("users.json").display().to_string();
    let find = |path: String| raw_files::find(&TableSource::Path(path).options()).unwrap();
    assert_eq!(find(format!("file://{path}")).files, find(path.clone()).files);
    work.edit("pipeline.yaml", "users: users.json", &format!("users: file://{path}"));
    assert_eq!(work.pipeline(&["check"]).code, 0);
}

#[test]
fn a_file_of_a_web_server_is_read_to_notice_a_change_if_it_has_no_tag() {
    let work = Workspace::tiny();
    let file = Arc::new(Mutex::new(work.bytes("brands.csv")));
    let url = format!("http://{}/brands.csv", web_server::start(file.clone()));
    work.edit("pipeline.yaml", "brands: brands.csv", &format!("brands: {url}"));
    let said = work.pipeline(&["run", "bau"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let said = work.pipeline(&["explain", "bau", "holdout"]);
    let line = format!("table `brands` is {url}: a change is noticed by reading it");
    assert!(said.stdout.contains("fresh") && said.stdout.contains(&line), "{}", said.stdout);
    file.lock().unwrap().extend(b"new,New\n");
    let said = work.pipeline(&["explain", "bau", "holdout"]);
    assert!(said.stdout.contains("input `brands:0` has changed"), "{}", said.stdout);
    let folder = url.replace("brands.csv", "");
    work.edit("pipeline.yaml", &url, &folder);
    let said = work.pipeline(&["run", "bau"]);
    assert!(said.stderr.contains("cannot be listed on a web server"), "{}", said.stderr);
}

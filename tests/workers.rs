//! Queries on three workers, each a process of its own: the same results, and what is said when
//! something is wrong. Needs a build with `ENGINE=distributed`.

mod workspace;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use workspace::{Said, Workspace, binary};

const TOKEN: &str = "PIPELINE_WORKER_TOKEN";

/// A worker on loopback, killed at the end.
struct Worker {
    child: Child,
    address: String,
}

impl Worker {
    /// `None` in a build without workers.
    fn start(program: &Path, dir: &Path, token: &str) -> Option<Self> {
        Self::start_by(Command::new(program), dir, token)
    }

    /// A worker that sees nothing of a folder.
    fn start_without(hidden: &Path, program: &Path, dir: &Path, token: &str) -> Option<Self> {
        let mut command = in_namespace();
        let script = "mount -t tmpfs none \"$0\" && exec \"$@\"";
        command.args(["sh", "-c", script]).arg(hidden).arg(program);
        Self::start_by(command, dir, token)
    }

    fn start_by(mut command: Command, dir: &Path, token: &str) -> Option<Self> {
        let mut child = command
            .args(["worker", "--listen", "127.0.0.1:0", "--memory", "256MiB", "--scratch"])
            .arg(dir)
            .env(TOKEN, token)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        if first.contains("runs queries in one process") {
            child.wait().unwrap();
            return None;
        }
        let address = first.strip_prefix("worker: listening on ");
        let address = address.unwrap_or_else(|| panic!("{first}")).to_owned();
        thread::spawn(move || lines.for_each(drop));
        Some(Self { child, address })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command with mounts of its own.
fn in_namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount"]);
    command
}

const MANIFEST: &str = "version: 1
run_dir: runs
data:
  tables: {users: data/users.parquet, interactions: data/interactions.parquet, brands: data/brands.parquet}
  users: {table: users}
  interactions: {table: interactions}
  brands: {table: brands}
  features: [embedding]
holdout: {valid: 2000, test: 2000, seed: 7}
stages:
  sample: {sql: clone_small_brands}
  train: {hidden: [8], epochs: 1}
baseline: bau
experiments: {bau: {}}
";

/// Users enough that every worker reads a part of them.
fn population() -> Workspace {
    let work = Workspace::tiny();
    work.write("pipeline.yaml", MANIFEST);
    let args =
        ["--output", "data", "--users", "20000", "--brands", "60", "--labels", "4", "--dim", "8"];
    let said = work.run("demo-data", &args);
    assert_eq!(said.code, 0, "{}", said.stderr);
    work
}

/// A population and three workers.
struct Lab {
    work: Workspace,
    workers: Vec<Worker>,
}

impl Lab {
    fn start() -> Option<Self> {
        let work = population();
        let worker = |i| {
            let dir = work.dir.join(format!("worker-{i}"));
            Worker::start(&binary("sample-stage"), &dir, "a secret")
        };
        let workers = (0..3).map(worker).collect::<Option<Vec<Worker>>>();
        if workers.is_none() {
            skip("this build has no workers; make test ENGINE=distributed");
        }
        Some(Self { workers: workers?, work })
    }

    fn engine(&self) -> String {
        let workers: Vec<&str> = self.workers.iter().map(|worker| &*worker.address).collect();
        format!("engine={{kind: distributed, workers: ['{}']}}", workers.join("', '"))
    }

    fn pipeline(&self, token: &str, args: &[&str]) -> Said {
        let engine = self.engine();
        let args = [args, &["--set", &engine]].concat();
        self.work.with_env(TOKEN, Path::new(token)).pipeline(&args)
    }
}

#[expect(clippy::print_stderr, reason = "who runs the tests should know")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Content of the tables that stages wrote.
fn contents(work: &Workspace) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for stage in ["holdout", "bau/sample", "bau/score"] {
        let record = work.bytes(&format!("runs/{stage}/stage.json"));
        let record: Value = serde_json::from_slice(&record).unwrap();
        for (name, output) in record["outputs"].as_object().unwrap() {
            found.insert(format!("{stage}/{name}"), output["content"].clone());
        }
    }
    found
}

fn local() -> Workspace {
    let local = population();
    let said = local.pipeline(&["run", "bau"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    local
}

/// Tables of json and csv, which workers read as the parquet files that the stage makes of them.
#[test]
fn results_are_the_same_on_workers_and_fresh_on_either() {
    let Some(lab) = Lab::start() else { return };
    let said = lab.pipeline("a secret", &["run", "bau"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(contents(&lab.work), contents(&local()));
    let left = lab.work.files_below("runs").into_iter().filter(|file| file.contains("scratch"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
    // Where it ran changes no result.
    let said = lab.work.pipeline(&["status", "bau"]);
    let is_fresh = !["stale", "waiting", "kept"].iter().any(|state| said.stdout.contains(state));
    assert!(is_fresh, "{}", said.stdout);
}

#[test]
fn what_is_wrong_with_a_worker_is_said() {
    let Some(mut lab) = Lab::start() else { return };
    let said = lab.pipeline("another", &["run", "bau"]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    let expected = format!("{}: the {TOKEN} of this worker is another one", lab.workers[0].address);
    assert!(said.stderr.contains(&expected), "{}", said.stderr);

    let gone = lab.workers.pop().unwrap();
    let engine = lab.engine().replace("']", &format!("', '{}']", gone.address));
    let address = gone.address.clone();
    drop(gone);
    let args = ["run", "bau", "--set", &engine];
    assert!(!lab.work.dir.join("runs/holdout/brands.arrow").exists());
    let said = lab.work.with_env(TOKEN, Path::new("a secret")).pipeline(&args);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("1 of 3 workers cannot be used"), "{}", said.stderr);
    let expected = format!("running the stage again without {address}");
    assert!(said.stderr.contains(&expected), "{}", said.stderr);
    let log = String::from_utf8(lab.work.bytes("runs/holdout/log.txt")).unwrap();
    assert!(log.contains(&format!("worker {address}: cannot connect")), "{log}");
}

/// As where a shared file system is not mounted. It also shows that queries run on the workers.
#[test]
fn workers_that_do_not_see_the_tables_are_an_error_that_says_so() {
    let Some(mut lab) = Lab::start() else { return };
    if !in_namespace().arg("true").status().is_ok_and(|status| status.success()) {
        return skip("this system allows no namespaces");
    }
    let program = binary("sample-stage");
    let stages = [("data", "holdout"), ("runs", "bau/sample")];
    for (hidden, stage) in stages {
        fs::create_dir_all(lab.work.dir.join(hidden)).unwrap();
        for (i, worker) in lab.workers.iter_mut().enumerate() {
            let scratch = lab.work.dir.join(format!("without-{hidden}-{i}"));
            let hidden = lab.work.dir.join(hidden);
            *worker = Worker::start_without(&hidden, &program, &scratch, "a secret").unwrap();
        }
        let said = lab.pipeline("a secret", &["run", "bau"]);
        assert_eq!(said.code, 1, "{}", said.stderr);
        let hint = format!("hint: this may be on a worker ({}", lab.workers[0].address);
        for expected in ["No such file or directory", &hint] {
            assert!(said.stderr.contains(expected), "{expected}\n---\n{}", said.stderr);
        }
        assert!(!lab.work.dir.join(format!("runs/{stage}/stage.json")).exists());
    }
}

/// A program of another build, though only by one byte at its end.
#[test]
fn a_worker_of_another_build_is_refused() {
    let Some(lab) = Lab::start() else { return };
    let other: PathBuf = lab.work.dir.join("sample-stage");
    let mut bytes = fs::read(binary("sample-stage")).unwrap();
    bytes.push(0);
    fs::write(&other, bytes).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let worker = Worker::start(&other, &lab.work.dir.join("other"), "a secret").unwrap();
    let engine = format!("engine={{kind: distributed, workers: ['{}']}}", worker.address);
    let args = ["run", "bau", "--set", &engine];
    let said = lab.work.with_env(TOKEN, Path::new("a secret")).pipeline(&args);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(
        said.stderr.contains(&format!("worker {}: found build `", worker.address)),
        "{}",
        said.stderr
    );
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    if Lab::start().is_none() {
        return;
    }
    let work = Workspace::tiny();
    let said = work.pipeline(&["worker", "--listen", "0.0.0.0:0"]);
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert!(said.stderr.contains(&format!("hint: set {TOKEN}")), "{}", said.stderr);
    let said = work.pipeline(&["worker", "--listen", "nowhere"]);
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert!(said.stderr.contains("expected `HOST:PORT`"), "{}", said.stderr);
}

/// A worker that is killed leads to the same results on the others, or to an error after which a run
/// without it makes them; never to other rows.
#[test]
fn a_worker_killed_at_any_moment_changes_no_row() {
    const MOMENTS: u64 = 20;

    let expected = contents(&local());
    for moment in 0..MOMENTS {
        let Some(mut lab) = Lab::start() else { return };
        let killed = lab.workers.remove(1);
        let engine = lab.engine().replace("']", &format!("', '{}']", killed.address));
        let id = killed.child.id().to_string();
        let killer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30 * moment));
            let sent = Command::new("kill").args(["-KILL", &id]).status().unwrap();
            assert!(sent.success());
        });
        let runner = lab.work.with_env(TOKEN, Path::new("a secret"));
        let said = runner.pipeline(&["run", "bau", "--set", &engine]);
        killer.join().unwrap();
        if said.code != 0 {
            assert!(said.stderr.contains("worker"), "{}", said.stderr);
            let said = lab.pipeline("a secret", &["run", "bau"]);
            assert_eq!(said.code, 0, "{}", said.stderr);
        }
        assert_eq!(contents(&lab.work), expected, "killed after {} ms", 30 * moment);
    }
}

#[test]
fn a_build_without_workers_says_how_to_get_them() {
    let work = Workspace::tiny();
    if Worker::start(&binary("sample-stage"), &work.dir.join("worker"), "").is_some() {
        return; // it has them
    }
    let engine = "engine={kind: distributed, workers: ['127.0.0.1:7070']}";
    let said = work.pipeline(&["run", "bau", "--set", engine]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stderr.contains("make build ENGINE=distributed"), "{}", said.stderr);
}

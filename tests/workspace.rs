//! A temporary folder with a manifest and its data, in which the built programs run.

#![allow(dead_code, reason = "each program of tests uses a part")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests is a folder of the project")
        .to_path_buf()
}

/// What a program said.
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A folder of its own, removed at the end.
pub struct Workspace {
    pub dir: PathBuf,
    _temporary: TempDir,
}

impl Workspace {
    /// The hand-made data set.
    pub fn tiny() -> Self {
        let fixture = root().join("tests/fixtures/tiny");
        let work = Self::empty();
        for entry in fs::read_dir(&fixture).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, work.dir.join(path.file_name().unwrap())).unwrap();
        }
        work
    }

    /// A manifest of the project.
    pub fn of_manifest(manifest: &str) -> Self {
        let work = Self::empty();
        fs::copy(root().join(manifest), work.dir.join("pipeline.yaml")).unwrap();
        work
    }

    fn empty() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().to_path_buf();
        fs::copy(root().join("sample-stage/sql/everyone.sql"), dir.join("everyone.sql")).unwrap();
        Self { dir, _temporary: temporary }
    }

    /// The same with an environment variable.
    pub fn with_env(&self, name: &str, value: &Path) -> Runner<'_> {
        Runner { work: self, env: vec![(name.to_owned(), value.to_path_buf())] }
    }

    /// The same with several environment variables.
    pub fn with_envs(&self, variables: &[(String, String)]) -> Runner<'_> {
        let env = variables.iter().map(|(name, value)| (name.clone(), value.into())).collect();
        Runner { work: self, env }
    }

    /// Replaces the first `from` of a file, which must be there.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.dir.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.join(file), text).unwrap();
    }

    pub fn bytes(&self, file: &str) -> Vec<u8> {
        fs::read(self.dir.join(file)).unwrap_or_else(|err| panic!("{file}: {err}"))
    }

    pub fn report(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes("runs/report/report.json")).unwrap()
    }

    /// All Arrow files of the results, relative to the folder.
    pub fn tables(&self) -> BTreeSet<String> {
        self.files_ending("arrow")
    }

    /// Files that a program did not finish.
    pub fn partial_files(&self) -> BTreeSet<String> {
        self.files_ending("partial")
    }

    fn files_ending(&self, extension: &str) -> BTreeSet<String> {
        let ends = |file: &String| Path::new(file).extension().is_some_and(|e| e == extension);
        self.files().into_iter().filter(ends).collect()
    }

    fn files(&self) -> BTreeSet<String> {
        self.files_below("runs").into_iter().collect()
    }

    /// All files in a folder and below it, in order.
    pub fn files_below(&self, folder: &str) -> Vec<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.dir.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(
                        path.strip_prefix(&self.dir).unwrap().to_string_lossy().into_owned(),
                    );
                }
            }
        }
        found.into_iter().collect()
    }

    pub fn pipeline(&self, args: &[&str]) -> Said {
        self.run("pipeline", args)
    }

    /// Runs a program in the folder; its manifest there is the default.
    pub fn run(&self, program: &str, args: &[&str]) -> Said {
        Runner { work: self, env: Vec::new() }.run(program, args)
    }

    /// Starts a program, waits until stderr holds `until`, and sends it an interrupt.
    pub fn interrupted(&self, program: &str, args: &[&str], until: &str) -> Said {
        self.signalled("-INT", program, args, until)
    }

    /// Starts a program, waits until stderr holds `until`, and kills it.
    pub fn killed(&self, program: &str, args: &[&str], until: &str) -> Said {
        self.signalled("-KILL", program, args, until)
    }

    fn signalled(&self, signal: &str, program: &str, args: &[&str], until: &str) -> Said {
        let mut child = Command::new(binary(program))
            .args(args)
            .current_dir(&self.dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = String::new();
        let mut is_sent = false;
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            stderr.push_str(&line);
            stderr.push('\n');
            if !is_sent && line.contains(until) {
                let sent =
                    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
                assert!(sent.success());
                is_sent = true;
            }
        }
        let code = child.wait().unwrap().code().unwrap_or(-1);
        Said { code, stdout: String::new(), stderr }
    }
}

/// Runs programs in a workspace with an environment.
pub struct Runner<'a> {
    work: &'a Workspace,
    env: Vec<(String, PathBuf)>,
}

impl Runner<'_> {
    pub fn pipeline(&self, args: &[&str]) -> Said {
        self.run("pipeline", args)
    }

    fn run(&self, program: &str, args: &[&str]) -> Said {
        let output = Command::new(binary(program))
            .args(args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.work.dir)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// The built program, beside the folder of this test's own.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "{} is not built; run `make build` first", path.display());
    path
}

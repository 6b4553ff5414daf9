//! Nothing is lost and nothing half written, at whatever moment a program is killed.

mod workspace;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use workspace::{Workspace, binary};

const KILLS: u32 = 50;

/// Half of the times the runner is killed, else one of its stages; then `pipeline run` ends with the
/// bytes of an undisturbed run.
#[test]
fn a_killed_run_is_made_whole_by_the_next() {
    let undisturbed = small();
    assert_eq!(undisturbed.pipeline(&["run"]).code, 0);
    let expected = results(&undisturbed);
    assert!(expected.len() > 12, "{} tables", expected.len());

    let work = small();
    let (mut n_stages_killed, mut n_left_alone) = (0, 0);
    for kill in 0..KILLS {
        let runs = work.dir.join("runs");
        if runs.exists() {
            fs::remove_dir_all(&runs).unwrap();
        }
        let mut runner = start(&work);
        // Spread over the run in an order that looks like none: multiples of a number prime to 97.
        std::thread::sleep(Duration::from_millis(u64::from(kill * 37 % 97) * 4));
        let stage = if kill % 2 == 0 { None } else { child_of(runner.id()) };
        if let Some(stage) = stage {
            n_stages_killed += u32::from(kill_now(stage));
            runner.wait().unwrap();
        } else {
            let at_work = child_of(runner.id());
            let _ = runner.kill();
            runner.wait().unwrap();
            if let Some(stage) = at_work {
                n_left_alone += 1;
                assert!(ends(stage), "a killed runner leaves nothing at work");
            }
        }

        let again = work.pipeline(&["run"]);
        assert_eq!(again.code, 0, "after kill {kill}:\n{}", again.stderr);
        for (file, bytes) in &expected {
            assert!(work.bytes(file) == *bytes, "after kill {kill}: {file} differs");
        }
        assert!(work.partial_files().is_empty(), "{:?}", work.partial_files());
        assert_eq!(work.pipeline(&["status"]).stdout.matches("stale").count(), 0);
    }
    assert!(n_stages_killed > 5 && n_left_alone > 5, "{n_stages_killed}, {n_left_alone}");
}

/// The tiny data set with so little training that a run takes half a second.
fn small() -> Workspace {
    let work = Workspace::tiny();
    work.edit("pipeline.yaml", "epochs: 30", "epochs: 3");
    work
}

/// Every table but the training's history, which holds times, and the report's, which follows it.
fn results(work: &Workspace) -> Vec<(String, Vec<u8>)> {
    let is_compared = |file: &String| {
        !file.contains(".kept") && !file.ends_with("history.arrow") && !file.contains("report")
    };
    let files = work.tables().into_iter().filter(is_compared);
    files.map(|file| (file.clone(), work.bytes(&file))).collect()
}

fn start(work: &Workspace) -> Child {
    Command::new(binary("pipeline"))
        .arg("run")
        .current_dir(&work.dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A process that another has started, if there is one now.
fn child_of(parent: u32) -> Option<u32> {
    let is_child = |process: &u32| {
        let stat = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat"));
        let stat = stat.unwrap_or_default();
        // After the name, in brackets: the state and the parent.
        let mut rest = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        rest.next().is_some_and(|state| state != "Z") && rest.next() == Some(&parent.to_string())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_child)
}

/// Whether a process is gone within two seconds.
fn ends(process: u32) -> bool {
    let stat = Path::new("/proc").join(process.to_string()).join("stat");
    (0..200).any(|_| {
        let text = fs::read_to_string(&stat).unwrap_or_default();
        let is_over =
            text.is_empty() || text.rsplit(')').next().unwrap_or_default().starts_with(" Z");
        if !is_over {
            std::thread::sleep(Duration::from_millis(10));
        }
        is_over
    })
}

fn kill_now(process: u32) -> bool {
    Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap().success()
}

//! No result is lost or half written, whenever a program is killed or a file cannot be written.

mod workspace;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use workspace::{Workspace, binary};

const KILLS: u32 = 50;

/// Every second time the runner is killed, otherwise one of its stages; then `pipeline run` ends with
/// the bytes of an undisturbed run. The settings alternate. Half of the runs find the results of the
/// other setting, the others find none. The second setting writes a checkpoint after each update.
#[test]
fn a_killed_run_is_made_whole_by_the_next() {
    const SETTINGS: [&str; 2] = ["epochs: 3", "checkpoint_minutes: 0, epochs: 20"];
    let undisturbed = small();
    let expected = SETTINGS.map(|setting| {
        let _ = fs::remove_dir_all(undisturbed.dir.join("runs"));
        undisturbed.edit("pipeline.yaml", "epochs: 3", setting);
        assert_eq!(undisturbed.pipeline(&["run"]).code, 0);
        results(&undisturbed)
    });
    assert!(expected[0].len() > 12, "{} tables", expected[0].len());

    let work = small();
    let (mut n_stages_killed, mut n_left_alone, mut n_resumed) = (0, 0, 0);
    // How long a run takes, by what it finds and its setting. Learned from each run that ends before it
    // is killed: a time measured on a busy machine would put most kills after the end on an idle one.
    let mut took = [[Duration::from_secs(2); 2]; 2];
    let mut last = SETTINGS[0];
    for kill in 0..KILLS {
        // Runner and stage, nothing and earlier results, one setting and the other in turn. Runs that
        // find results find those of the other setting.
        let (has_earlier, which) = (kill % 4 >= 2, ((kill + kill / 4) % 2) as usize);
        let runs = work.dir.join("runs");
        // Kept results would be restored.
        let old = if has_earlier { runs.join(".kept") } else { runs };
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
        work.edit("pipeline.yaml", last, SETTINGS[which]);
        assert!(!has_earlier || last != SETTINGS[which], "kill {kill} finds nothing to do");
        last = SETTINGS[which];
        let took = &mut took[usize::from(has_earlier)][which];
        // Spread over the run in no apparent order: multiples of a number coprime to 97.
        let moment = *took * (kill * 37 % 97) / 97;
        let mut runner = start(&work);
        let started = Instant::now();
        // Most kills wait until a stage is running; the others also hit the runner between stages.
        let waits = kill % 8 >= 3;
        let mut running = None;
        while runner.try_wait().unwrap().is_none() {
            if started.elapsed() >= moment {
                running = child_of(runner.id());
                if running.is_some() || !waits {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if runner.try_wait().unwrap().is_some() {
            *took = started.elapsed();
        } else if let Some(stage) = running.filter(|_| kill % 2 == 1) {
            n_stages_killed += u32::from(kill_now(stage));
            runner.wait().unwrap();
        } else {
            runner.kill().unwrap();
            runner.wait().unwrap();
            if let Some(stage) = running {
                n_left_alone += 1;
                assert!(ends(stage), "a killed runner leaves no stage running");
            }
        }

        let again = work.pipeline(&["run"]);
        assert_eq!(again.code, 0, "after kill {kill}:\n{}", again.stderr);
        let logs = work.files_below("runs").into_iter().filter(|file| file.ends_with("log.txt"));
        let resumed = |log: String| {
            String::from_utf8_lossy(&work.bytes(&log)).contains("resuming from a checkpoint")
        };
        n_resumed += u32::from(logs.into_iter().any(resumed));
        for (file, bytes) in &expected[which] {
            assert!(work.bytes(file) == *bytes, "after kill {kill}: {file} differs");
        }
        assert!(work.partial_files().is_empty(), "{:?}", work.partial_files());
        assert_eq!(work.pipeline(&["status"]).stdout.matches("stale").count(), 0);
    }
    assert!(n_stages_killed > 5 && n_left_alone > 5, "{n_stages_killed}, {n_left_alone}");
    assert!(n_resumed > 0, "no training went on from a checkpoint");
}

/// A limit on the size of files stands for a full disk: the write that passes it fails.
#[test]
fn a_full_disk_is_an_error_that_leaves_earlier_results_whole() {
    let undisturbed = small();
    undisturbed.edit("pipeline.yaml", "report: {", "score: {top_k: 2}\n  report: {");
    undisturbed.edit("pipeline.yaml", "epochs: 3,", "epochs: 4,");
    assert_eq!(undisturbed.pipeline(&["run"]).code, 0);
    let expected = results(&undisturbed);

    let mut failed_stages = BTreeSet::new();
    for kib in [1, 2, 4, 6, 8, 12, 16, 64] {
        let work = small();
        // Every second time there are earlier results, of other settings.
        let has_earlier = kib % 4 == 0;
        if has_earlier {
            assert_eq!(work.pipeline(&["run"]).code, 0);
        }
        let earlier = results(&work);
        work.edit("pipeline.yaml", "report: {", "score: {top_k: 2}\n  report: {");
        work.edit("pipeline.yaml", "epochs: 3,", "epochs: 4,");
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" run -j 1", kib * 2);
        let mut limited = Command::new("sh");
        limited.args(["-c", &script]).arg(binary("pipeline")).current_dir(&work.dir);
        let run = limited.output().unwrap();
        let stderr = String::from_utf8_lossy(&run.stderr).into_owned();
        if !run.status.success() {
            assert_eq!(run.status.code(), Some(1), "{stderr}");
            assert!(stderr.contains("File too large"), "{kib} KiB: {stderr}");
            let failed = stderr.split("pipeline: failed: ").nth(1).unwrap_or("runner");
            failed_stages
                .insert(failed.split(' ').next().unwrap().trim_end_matches(';').to_owned());
        }
        assert!(work.partial_files().is_empty(), "{kib} KiB: {:?}", work.partial_files());
        // Each file is the earlier one or the later one.
        for (file, bytes) in &earlier {
            let now = work.bytes(file);
            let later = expected.iter().any(|(other, later)| other == file && *later == now);
            assert!(now == *bytes || later, "{kib} KiB: {file} is neither");
        }
        let again = work.pipeline(&["run"]);
        assert_eq!(again.code, 0, "{kib} KiB: {}", again.stderr);
        for (file, bytes) in &expected {
            assert!(work.bytes(file) == *bytes, "{kib} KiB: {file} differs");
        }
    }
    assert!(failed_stages.len() > 1, "{failed_stages:?}");
}

#[test]
fn a_read_only_folder_is_an_error_that_leaves_earlier_results_whole() {
    let work = small();
    assert_eq!(work.pipeline(&["run"]).code, 0);
    let before = results(&work);
    work.edit("pipeline.yaml", "epochs: 3,", "epochs: 4,");
    let folder = work.dir.join("runs/bau/train");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    // Permissions do not bind root, unless its capabilities are dropped.
    let is_bound = File::create(folder.join("try")).is_err();
    let mut command = if is_bound {
        Command::new(binary("pipeline"))
    } else {
        fs::remove_file(folder.join("try")).unwrap();
        let mut command = Command::new("setpriv");
        command.arg("--bounding-set=-dac_override,-dac_read_search").arg(binary("pipeline"));
        command
    };
    let Ok(run) = command.args(["run", "bau"]).current_dir(&work.dir).output() else {
        eprintln!("skipped: root needs `setpriv` to make a folder read-only, and there is none");
        return;
    };
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("bau/train/") && stderr.contains("Permission denied"), "{stderr}");
    for (file, bytes) in &before {
        assert!(work.bytes(file) == *bytes, "{file} differs");
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let again = work.pipeline(&["run"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains("train of bau: running (`epochs`: 3 -> 4)"), "{}", again.stderr);
}

/// The tiny data set with so little training that a run takes half a second.
fn small() -> Workspace {
    let work = Workspace::tiny();
    work.edit("pipeline.yaml", "epochs: 30", "epochs: 3");
    work
}

/// Every table but the training's history, which holds times.
fn results(work: &Workspace) -> Vec<(String, Vec<u8>)> {
    let is_compared = |file: &String| !file.contains(".kept") && !file.ends_with("history.arrow");
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

/// A running child of a process, if there is one.
fn child_of(parent: u32) -> Option<u32> {
    let is_child = |process: &u32| {
        let stat = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat"));
        let stat = stat.unwrap_or_default();
        // After the name in parentheses: the state and the parent.
        let mut rest = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        rest.next().is_some_and(|state| state != "Z") && rest.next() == Some(&parent.to_string())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_child)
}

/// Whether a process ends within two seconds.
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

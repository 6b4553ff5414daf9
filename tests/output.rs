//! What becomes of a program whose output nobody reads, or whose disk is full.

mod workspace;

use std::fs::File;
use std::process::{Command, Output, Stdio};

use workspace::{Workspace, binary};

/// The end of a pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn run(work: &Workspace, program: &str, args: &[&str], out: Stdio, err: Stdio) -> Output {
    let mut command = Command::new(binary(program));
    command.args(args).current_dir(&work.dir).stdout(out).stderr(err);
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn results_that_cannot_be_written_are_exit_code_1() {
    let work = Workspace::tiny();
    assert_eq!(work.pipeline(&["run"]).code, 0);
    let commands: [(&str, &[&str]); 13] = [
        ("pipeline", &["schema"]),
        ("pipeline", &["check"]),
        ("pipeline", &["status"]),
        ("pipeline", &["history", "--json"]),
        ("pipeline", &["graph"]),
        ("pipeline", &["explain", "bau", "train"]),
        ("pipeline", &["compare", "bau", "popularity"]),
        ("pipeline", &["completions", "bash"]),
        ("pipeline", &["run", "-n"]),
        ("pipeline", &["--help"]),
        ("report-stage", &["schema"]),
        ("report-stage", &["--version"]),
        ("sample-stage", &["holdout"]),
    ];
    for (program, args) in commands {
        let output = run(&work, program, args, full_disk(), Stdio::piped());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{program} {args:?}: {stderr}");
        assert!(stderr.contains("cannot write to stdout: "), "{program} {args:?}: {stderr}");
        let output = run(&work, program, args, closed_pipe(), Stdio::piped());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{program} {args:?}: {stderr}");
        assert!(!stderr.contains("stdout"), "{program} {args:?}: {stderr}");
    }
}

#[test]
fn a_run_continues_when_its_output_is_closed() {
    for (out, err) in [
        (closed_pipe as fn() -> Stdio, closed_pipe as fn() -> Stdio),
        (Stdio::null, full_disk),
        (closed_pipe, full_disk),
    ] {
        let work = Workspace::tiny();
        let output = run(&work, "pipeline", &["run"], out(), err());
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(work.report()["experiments"].as_array().unwrap().len(), 4);
        let log = work.bytes("runs/bau/train/log.txt");
        assert!(String::from_utf8(log).unwrap().contains("epoch 30"), "the log is whole");
    }
}

#[test]
fn a_stage_continues_too_and_errors_keep_their_exit_codes() {
    let work = Workspace::tiny();
    assert_eq!(work.pipeline(&["run", "bau"]).code, 0);
    let train = ["--experiment", "bau"];
    for err in [closed_pipe as fn() -> Stdio, full_disk] {
        let output = run(&work, "train-stage", &train, closed_pipe(), err());
        assert_eq!(output.status.code(), Some(0));
        let output = run(&work, "train-stage", &["--experiment", "bua"], full_disk(), err());
        assert_eq!(output.status.code(), Some(2));
        let output = run(&work, "pipeline", &["run", "--no-such"], full_disk(), err());
        assert_eq!(output.status.code(), Some(2));
    }
}

/// A terminal would obey these: clear the screen, write backwards.
#[test]
fn control_characters_in_the_data_are_escaped_everywhere() {
    let work = Workspace::tiny();
    let brands = work.bytes("brands.csv");
    let brands = String::from_utf8(brands).unwrap();
    let second = brands.lines().nth(1).unwrap();
    let (id, _) = second.split_once(',').unwrap();
    work.edit("brands.csv", second, &format!("{id},=1+1\u{1b}[2J\u{202e}"));
    let run = work.pipeline(&["run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let text = |file: &str| String::from_utf8(work.bytes(file)).unwrap();
    let is_raw = |c: char| c.is_control() && !matches!(c, '\n' | '\t') || c == '\u{202e}';
    let pages = ["html", "md", "json"].map(|kind| text(&format!("runs/report/report.{kind}")));
    let csv = text("runs/report/per_brand.csv");
    for shown in pages.iter().chain([&csv, &run.stdout, &run.stderr]) {
        assert!(!shown.contains(is_raw), "{shown}");
    }
    assert!(pages.iter().all(|page| page.contains("u001b[2J") || page.contains("u001b\\[2J")));
    assert!(csv.contains(",'=1+1\\u001b[2J\\u202e,"), "{csv}");
    assert_eq!(work.report()["top_brands"][0]["name"], "=1+1\u{1b}[2J\u{202e}");
    // An error that quotes the data.
    let repeated = format!("{id}\u{1b}[31m,x\n{id}\u{1b}[31m,y\n");
    work.write("brands.csv", &format!("{brands}{repeated}"));
    let run = work.pipeline(&["run"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("u001b[31m") && !run.stderr.contains('\u{1b}'), "{}", run.stderr);
    assert!(!text("runs/holdout/log.txt").contains('\u{1b}'));
}

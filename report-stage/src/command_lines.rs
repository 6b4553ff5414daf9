//! The commands that the report and its messages print, ready for a shell.

use std::path::Path;

use contract::cli::ManifestArgs;
use contract::commands;

/// The command that runs what is stale and makes the report.
pub fn run_all(args: &ManifestArgs) -> String {
    command("make pipeline", "pipeline run", args)
}

/// The command that runs what is stale of one experiment and makes the report.
pub fn run_one(experiment: &str, args: &ManifestArgs) -> String {
    command(
        &format!("make pipeline EXPERIMENT={experiment}"),
        &format!("pipeline run {experiment}"),
        args,
    )
}

/// Commands that make the report, or parts of it, again; each with a comment.
pub fn all(args: &ManifestArgs) -> Vec<String> {
    let rows = [
        (
            command("make pipeline", "pipeline run", args),
            "run what is stale, then make this report",
        ),
        (
            command("make train EXPERIMENT=NAME", "train-stage --experiment NAME", args),
            "run one stage of one experiment again",
        ),
        (command("make report", "report-stage", args), "make this report again"),
        (line("pipeline compare A B", options(args)), "print what differs between two experiments"),
    ];
    rows.map(|(command, what)| format!("{command}    # {what}")).to_vec()
}

/// By `make` where it can pass the settings on, otherwise by the program itself.
fn command(make: &str, program: &str, args: &ManifestArgs) -> String {
    // The Makefile splits SET at blanks, expands `$` and puts each part in single quotes.
    let is_for_make = |set: &String| !set.contains([' ', '\t', '\'', '$']);
    if commands::is_in_repository() && args.set.iter().all(is_for_make) {
        line(make, make_variables(args))
    } else {
        line(program, options(args))
    }
}

fn line(command: &str, words: Vec<String>) -> String {
    [vec![command.to_owned()], words].concat().join(" ")
}

fn make_variables(args: &ManifestArgs) -> Vec<String> {
    let mut words = Vec::new();
    if !is_default(&args.manifest) {
        words.push(format!("MANIFEST={}", quoted(&args.manifest.display().to_string())));
    }
    if !args.set.is_empty() {
        words.push(format!("SET={}", quoted(&args.set.join(" "))));
    }
    words
}

fn options(args: &ManifestArgs) -> Vec<String> {
    let mut words = Vec::new();
    if !is_default(&args.manifest) {
        words.push(format!("--manifest {}", quoted(&args.manifest.display().to_string())));
    }
    words.extend(args.set.iter().map(|set| format!("--set {}", quoted(set))));
    words
}

fn is_default(manifest: &Path) -> bool {
    manifest == Path::new("pipeline.yaml")
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/=".contains(c);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(manifest: &str, set: &[&str]) -> ManifestArgs {
        ManifestArgs {
            manifest: manifest.into(),
            set: set.iter().map(|&set| set.to_owned()).collect(),
        }
    }

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        assert_eq!(run_all(&args("pipeline.yaml", &[])), "make pipeline");
        assert_eq!(
            run_all(&args("my data/p.yaml", &["report.seed=3", "train.epochs=2"])),
            "make pipeline MANIFEST='my data/p.yaml' SET='report.seed=3 train.epochs=2'"
        );
    }

    #[test]
    fn settings_that_make_cannot_pass_on_go_to_the_program() {
        assert_eq!(
            run_one("bau", &args("p.yaml", &["report.seed=3", "train.loss={kind: bce}"])),
            "pipeline run bau --manifest p.yaml --set report.seed=3 --set 'train.loss={kind: bce}'"
        );
    }

    #[test]
    fn every_command_names_the_manifest_and_the_settings() {
        let commands = all(&args("p.yaml", &["report.seed=3"]));
        let expected = [
            "make pipeline MANIFEST=p.yaml SET=report.seed=3    #",
            "make train EXPERIMENT=NAME MANIFEST=p.yaml SET=report.seed=3    #",
            "make report MANIFEST=p.yaml SET=report.seed=3    #",
            "pipeline compare A B --manifest p.yaml --set report.seed=3    #",
        ];
        for (command, expected) in commands.iter().zip(expected) {
            assert!(command.starts_with(expected), "{command}");
        }
    }
}

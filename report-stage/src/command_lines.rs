//! The commands that the report and its messages print, ready for a shell.

use std::path::Path;

use contract::cli::ManifestArgs;

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
        ("make pipeline", "pipeline run", "run what is stale, then make this report"),
        (
            "make train EXPERIMENT=NAME",
            "train-stage --experiment NAME",
            "run one stage of one experiment again",
        ),
        ("make report", "report-stage", "make this report again"),
    ];
    let rows = rows.map(|(make, program, what)| (command(make, program, args), what));
    let compare = format!("pipeline compare A B{}", options(args));
    let rows = rows.into_iter().chain([(compare, "print what differs between two experiments")]);
    rows.map(|(command, what)| format!("{command}    # {what}")).collect()
}

/// By `make` where it can pass the settings on, else by the program itself.
fn command(make: &str, program: &str, args: &ManifestArgs) -> String {
    // The Makefile splits SET at blanks, expands `$` and puts each part in single quotes.
    let is_for_make = |set: &String| !set.contains([' ', '\t', '\'', '$']);
    if args.set.iter().all(is_for_make) {
        format!("{make}{}", make_variables(args))
    } else {
        format!("{program}{}", options(args))
    }
}

/// Each with a blank before it, and nothing where the default holds.
fn make_variables(args: &ManifestArgs) -> String {
    let mut words = String::new();
    if !is_default(&args.manifest) {
        words += &format!(" MANIFEST={}", quoted(&args.manifest.display().to_string()));
    }
    if !args.set.is_empty() {
        words += &format!(" SET={}", quoted(&args.set.join(" ")));
    }
    words
}

/// Each with a blank before it, and nothing where the default holds.
fn options(args: &ManifestArgs) -> String {
    let mut words = String::new();
    if !is_default(&args.manifest) {
        words += &format!(" --manifest {}", quoted(&args.manifest.display().to_string()));
    }
    for set in &args.set {
        words += &format!(" --set {}", quoted(set));
    }
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

//! Commands that messages suggest: by make where the programs were built, by name where they are
//! installed.

use std::path::Path;
use std::sync::LazyLock;

/// Whether this program is where cargo builds it.
pub fn is_in_repository() -> bool {
    static IS_IN_TARGET: LazyLock<bool> =
        LazyLock::new(|| std::env::current_exe().is_ok_and(|path| is_in_target(&path)));
    *IS_IN_TARGET
}

fn is_in_target(path: &Path) -> bool {
    path.ancestors().any(|folder| folder.file_name().is_some_and(|name| name == "target"))
}

/// The command that runs what is stale.
pub fn run() -> &'static str {
    if is_in_repository() { "make pipeline" } else { "pipeline run" }
}

/// The command that runs a stage of an experiment.
pub fn stage(stage: &str, experiment: &str) -> String {
    if is_in_repository() {
        format!("make {stage} EXPERIMENT={experiment}")
    } else {
        format!("{stage}-stage --experiment {experiment}")
    }
}

/// The command that makes the programs.
pub fn build() -> &'static str {
    if is_in_repository() { "make build" } else { "make install" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_the_build_folder_is_in_the_repository() {
        assert!(is_in_target(Path::new("/home/me/brands/target/release/pipeline")));
        assert!(is_in_target(Path::new("/home/me/brands/target/release/deps/tests-1")));
        assert!(!is_in_target(Path::new("/home/me/.local/bin/pipeline")));
        assert!(!is_in_target(Path::new("/usr/bin/targets/pipeline")));
    }

    /// Tests are built by cargo.
    #[test]
    fn commands_are_those_of_the_repository_here() {
        assert_eq!((run(), build()), ("make pipeline", "make build"));
        assert_eq!(stage("score", "bau"), "make score EXPERIMENT=bau");
    }
}

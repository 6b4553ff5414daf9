//! The stages of a manifest, in the order they run, and which of them needs which.

use std::path::PathBuf;

use anyhow::Result;
use contract::manifest::{Experiment, Manifest};
use contract::plan::{Stage, StageId, StagePlan};

use crate::program;

/// A stage that a run may come to.
#[derive(Clone)]
pub struct Node {
    pub plan: StagePlan,
    /// The program that runs it
    pub binary: PathBuf,
    /// Whether its matrix ends trainings early
    pub is_halved: bool,
    /// Updates after which the training pauses
    pub pause_after: Option<u64>,
}

/// All stages of the selected experiments in the order they run; of all experiments if none is
/// selected.
///
/// # Errors
///
/// If this program's folder is not known.
pub fn nodes(manifest: &Manifest, selected: &[String]) -> Result<Vec<Node>> {
    let node = |stage: Stage, experiment: Option<&Experiment>| -> Result<Node> {
        let is_halved = experiment.is_some_and(|experiment| manifest.is_halved(experiment));
        Ok(Node {
            plan: manifest.plan(stage, experiment),
            binary: program::path(stage)?,
            is_halved: is_halved && stage == Stage::Train,
            pause_after: None,
        })
    };
    let mut nodes = vec![node(Stage::Holdout, None)?];
    for experiment in manifest.experiments() {
        if selected.is_empty() || selected.contains(&experiment.name) {
            for training in manifest.trainings(experiment) {
                for stage in Stage::OF_EXPERIMENT {
                    // Seeds may share a sample.
                    let id = StageId::in_experiment(stage, &training);
                    let is_listed = nodes.iter().any(|node| node.plan.id == id);
                    if (stage != Stage::Sample || experiment.needs_sample()) && !is_listed {
                        nodes.push(node(stage, Some(&training))?);
                    }
                }
            }
        }
    }
    nodes.push(node(Stage::Report, None)?);
    Ok(nodes)
}

/// Whether a stage runs after another: it reads what the other writes, or what follows from that.
pub fn needs(id: &StageId, other: &StageId) -> bool {
    match (id.stage, other.stage) {
        (Stage::Holdout, _) | (_, Stage::Report) => false,
        (Stage::Report, _) | (_, Stage::Holdout) => true,
        (stage, earlier) => {
            let is_of_seed = other.seed.is_none() || other.seed == id.seed;
            earlier < stage && id.experiment == other.experiment && is_of_seed
        }
    }
}

/// Whether a stage cannot run once another has failed. The report can run without an experiment, which
/// it then shows as missing.
pub fn fails_with(id: &StageId, failed: &StageId) -> bool {
    let is_optional = id.stage == Stage::Report && failed.experiment.is_some();
    needs(id, failed) && !is_optional
}

/// The needs that do not follow from others, each from the stage that is needed to the one that needs
/// it.
pub fn edges<'a>(ids: &[&'a StageId]) -> Vec<(&'a StageId, &'a StageId)> {
    let mut edges = Vec::new();
    for &id in ids {
        for &other in ids.iter().filter(|other| needs(id, other)) {
            let follows = ids.iter().any(|between| needs(id, between) && needs(between, other));
            if !follows {
                edges.push((other, id));
            }
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A manifest with an experiment of every kind: one with a sample, one that also reads its sample
    /// in later stages, and one without a sample.
    const MANIFEST: &str = "\
version: 1
data:
  tables: {users: t.csv}
  users: {table: users}
  interactions: {table: users}
  brands: {table: users}
  features: [x]
holdout: {valid: 0.1, test: 0.2}
stages:
  sample: {sql: q.sql}
  train: {hidden: [8]}
experiments:
  a: {}
  b: {train: {refit: true}, score: {memory: {}}}
  c: {train: {model: popularity}}
";

    fn all() -> Vec<Node> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("t.csv", "user_id,x\n1,2\n"), ("q.sql", "select 1"), ("m", MANIFEST)]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        nodes(&Manifest::load(&dir.path().join("m"), &[], &[]).unwrap(), &[]).unwrap()
    }

    fn of(stage: Stage, experiment: &str) -> StageId {
        StageId::of(stage, experiment)
    }

    fn texts(ids: &[&StageId]) -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    }

    /// The plan says which files a stage reads, the graph which stages it waits for.
    #[test]
    fn a_stage_needs_every_stage_whose_files_it_reads() {
        let nodes = all();
        let mut n_read = 0;
        for node in &nodes {
            for input in &node.plan.inputs {
                let is_maker = |other: &&Node| input.path.starts_with(&other.plan.dir);
                if let Some(maker) = nodes.iter().find(is_maker) {
                    assert!(needs(&node.plan.id, &maker.plan.id), "{}: {input:?}", node.plan.id);
                    n_read += 1;
                }
            }
        }
        assert!(n_read > 20, "{n_read}");
    }

    #[test]
    fn stages_are_listed_after_those_that_they_need() {
        let nodes = all();
        let ids: Vec<&StageId> = nodes.iter().map(|node| &node.plan.id).collect();
        assert_eq!(
            texts(&ids),
            [
                "holdout",
                "sample of a",
                "train of a",
                "score of a",
                "sample of b",
                "train of b",
                "score of b",
                "train of c",
                "score of c",
                "report"
            ]
        );
        for (place, id) in ids.iter().enumerate() {
            assert!(ids[place..].iter().all(|later| !needs(id, later)), "{id}");
        }
    }

    #[test]
    fn experiments_do_not_need_each_other() {
        for stage in Stage::OF_EXPERIMENT {
            for other in Stage::OF_EXPERIMENT {
                assert!(!needs(&of(stage, "a"), &of(other, "b")), "{stage} {other}");
            }
        }
    }

    #[test]
    fn only_needs_that_do_not_follow_from_others_are_edges() {
        let nodes = all();
        let ids: Vec<&StageId> = nodes
            .iter()
            .map(|n| &n.plan.id)
            .filter(|id| id.experiment.as_deref() != Some("b"))
            .collect();
        let shown: Vec<String> =
            edges(&ids).iter().map(|(from, to)| format!("{from} -> {to}")).collect();
        assert_eq!(
            shown,
            [
                "holdout -> sample of a",
                "sample of a -> train of a",
                "train of a -> score of a",
                "holdout -> train of c",
                "train of c -> score of c",
                "score of a -> report",
                "score of c -> report"
            ]
        );
    }

    #[test]
    fn a_failure_stops_later_stages_of_its_experiment_and_not_the_report() {
        let nodes = all();
        let stopped_by = |failed: &StageId| {
            let ids = nodes.iter().map(|node| &node.plan.id);
            texts(&ids.filter(|id| fails_with(id, failed)).collect::<Vec<_>>())
        };
        assert_eq!(stopped_by(&of(Stage::Sample, "a")), ["train of a", "score of a"]);
        assert_eq!(stopped_by(&of(Stage::Score, "a")), [""; 0]);
        assert_eq!(
            stopped_by(&StageId::shared(Stage::Holdout)),
            texts(&nodes[1..].iter().map(|n| &n.plan.id).collect::<Vec<_>>())
        );
        assert_eq!(stopped_by(&StageId::shared(Stage::Report)), [""; 0]);
    }
}

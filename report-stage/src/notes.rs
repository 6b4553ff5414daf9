//! What a reader must know to read the figures right, a sentence or two each.

use contract::Manifest;
use contract::manifest::{Experiment as Settings, ModelKind};
use contract::statistics::LeftOut;

use crate::experiment::Experiment;
use crate::format;
use crate::load::Brands;
use crate::records::StageTrace;
use crate::test_users::TestUsers;

/// A note where epochs, thresholds and everything else were chosen without a label.
const NOTHING_IN_VALID: &str = "No valid user has a label of a predicted brand, so nothing that was \
     chosen on the valid users (epoch, calibration, thresholds) means anything.";

/// All notes, the most important first.
///
/// * `nothing`: why nothing can be judged, if so.
/// * `stages`: every stage with a record.
pub fn notes(
    experiments: &[Experiment],
    manifest: &Manifest,
    nothing: Option<&str>,
    brands: &Brands,
    test: &TestUsers,
    stages: &[StageTrace],
) -> Vec<String> {
    let mut notes = Vec::new();
    let baseline = &manifest.baseline;
    notes.extend(nothing.map(|why| format!("Nothing to judge: {why}.")));
    if experiments.iter().any(|e| e.name == *baseline && !e.is_ok()) {
        notes.push(format!("The baseline `{baseline}` has no scores, so no change can be shown."));
    }
    notes.extend(other_updates(experiments, baseline));
    for e in experiments {
        if let Some(reason) = &e.outdated {
            notes.push(format!("The figures of `{}` are not up to date: {reason}.", e.name));
        }
    }
    notes.extend(test.warning());
    notes.extend(no_persistence(manifest));
    notes.extend(brands.are_unseen_in_valid.then(|| NOTHING_IN_VALID.to_owned()));
    let left_out = brands.left_out.as_ref().and_then(LeftOut::message);
    notes.extend(left_out.map(|what| format!("No figure counts these: {what}.")));
    let is_shown = |stage: &&StageTrace| {
        let name = stage.id.experiment.as_ref();
        name.is_none_or(|name| experiments.iter().any(|e| e.name == *name))
    };
    notes.extend(stages.iter().filter(is_shown).flat_map(StageTrace::vouched));
    notes
}

/// Whether the rule that a history gives without training is missing.
fn no_persistence(manifest: &Manifest) -> Option<String> {
    let history = manifest.histories().next()?;
    let is_persistence = |e: &Settings| e.train.model == ModelKind::Persistence;
    let is_missing = !manifest.experiments().any(is_persistence);
    is_missing.then(|| {
        format!(
            "The users have a history (`{history}`), but no experiment predicts from it without training. \
             That is the rule to beat: `persistence: {{train: {{model: persistence, history: {history}}}}}`."
        )
    })
}

/// Which experiments were not trained for as many updates as the baseline, if any.
fn other_updates(experiments: &[Experiment], baseline: &str) -> Option<String> {
    let updates = |e: &Experiment| e.updates.filter(|&n_updates| n_updates > 0);
    let scored = experiments.iter().filter(|e| e.is_ok());
    let trained = scored.filter_map(|e| Some((e, updates(e)?)));
    let mut trained: Vec<(&Experiment, u64)> = trained.collect();
    trained.sort_by_key(|(e, _)| e.name != baseline);
    let &(reference, n_updates) = trained.first()?;
    trained.retain(|&(e, updates)| e.name == reference.name || updates != n_updates);
    let of_experiment =
        |(e, updates): &(&Experiment, u64)| format!("`{}` {}", e.name, format::count(*updates));
    let list: Vec<String> = trained.iter().map(of_experiment).collect();
    (list.len() > 1).then(|| {
        format!(
            "Not all experiments were trained for the same number of gradient updates, so part of a difference may \
             come from the length of training: {}.",
            list.join(", ")
        )
    })
}

//! Which experiments are better, in names and in sentences.

use schemars::JsonSchema;
use serde::Serialize;

use crate::compare::{self, Outcomes};
use crate::format;
use crate::report::Experiment;

/// Which experiments are better, by the rule of `definitions`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Answer {
    /// Of those that beat the baseline, the one with the highest item macro F1
    pub best: Option<String>,
    /// Better at one level at least, worse at none
    pub beats_baseline: Vec<String>,
    /// Better at one level, worse at the other
    pub trade_offs: Vec<String>,
    /// Without scores
    pub missing: Vec<String>,
    /// The same in sentences
    pub text: Vec<String>,
    /// The first of them
    #[serde(skip)]
    pub headline: String,
    /// Those that give no figures
    #[serde(skip)]
    pub remarks: Vec<String>,
}

/// Judges the experiments.
///
/// * `baseline`: its name.
/// * `nothing`: why nothing can be judged, if so.
pub fn answer(experiments: &[Experiment], baseline: &str, nothing: Option<&str>) -> Answer {
    let names = |wanted: fn(Outcomes) -> bool| -> Vec<String> {
        let rivals = experiments.iter().filter(|e| !e.is_truth);
        let found = rivals.filter(|e| e.outcomes.is_some_and(wanted));
        found.map(|e| e.name.clone()).collect()
    };
    let mut answer = Answer {
        best: None,
        beats_baseline: names(Outcomes::beats_baseline),
        trade_offs: names(Outcomes::is_trade_off),
        missing: experiments.iter().filter(|e| !e.is_ok()).map(|e| e.name.clone()).collect(),
        ..Answer::default()
    };
    let mut best: Option<&Experiment> = None;
    for candidate in experiments.iter().filter(|e| answer.beats_baseline.contains(&e.name)) {
        // Of equals the first in the manifest wins.
        if best.is_none_or(|best| candidate.figures.item.macro_f1 > best.figures.item.macro_f1) {
            best = Some(candidate);
        }
    }
    answer.best = best.map(|e| e.name.clone());
    let base = experiments.iter().find(|e| e.name == baseline).filter(|e| e.is_ok());
    let is_compared = experiments.iter().any(|e| e.outcomes.is_some());
    answer.headline = match nothing {
        Some(why) => format!("Nothing to judge: {why}."),
        None => headline(base, best, is_compared, baseline),
    };
    answer.remarks = remarks(&answer, base);
    answer.text = vec![answer.headline.clone()];
    answer.text.extend(base.zip(best).map(|(base, best)| figures(base, best)));
    answer.text.extend(answer.remarks.clone());
    answer
}

fn headline(
    base: Option<&Experiment>,
    best: Option<&Experiment>,
    is_compared: bool,
    baseline: &str,
) -> String {
    match (base, best) {
        (None, _) => format!(
            "The baseline `{baseline}` has no scores, so nothing is compared with it: all changes are missing."
        ),
        (Some(_), None) if !is_compared => {
            format!("Only the baseline `{baseline}` has scores, so nothing is compared.")
        }
        (Some(_), None) => format!(
            "No experiment beats the baseline `{baseline}`: none is better at one level without being worse at the other."
        ),
        (Some(_), Some(best)) => {
            format!("`{}` beats the baseline `{baseline}`: {}.", best.name, best.verdict)
        }
    }
}

fn figures(base: &Experiment, best: &Experiment) -> String {
    let line = |what: &str, ours, base, delta: &compare::Judged| {
        let change = format::change(delta.abs, delta.rel);
        let interval = format::interval(delta.ci95)
            .map_or_else(String::new, |i| format!(", 95% interval {i}"));
        format!(
            "{what} {} against {}: {change}{interval}.",
            format::metric(ours),
            format::metric(base)
        )
    };
    let (ours, theirs) = (&best.figures, &base.figures);
    let brands = best.delta.brands.map_or_else(String::new, |brands| {
        format!(
            " {} brands are better, {} worse, {} show no clear change.",
            format::count(brands.better),
            format::count(brands.worse),
            format::count(brands.no_clear_change)
        )
    });
    format!(
        "{} {}{brands}",
        line("Item macro F1", ours.item.macro_f1, theirs.item.macro_f1, &best.delta.item_f1),
        line("User F1", ours.user.f1, theirs.user.f1, &best.delta.user_f1),
    )
}

fn remarks(answer: &Answer, base: Option<&Experiment>) -> Vec<String> {
    let mut text = Vec::new();
    if let Some(warning) = base.and_then(|base| base.warning.as_ref()) {
        text.push(format!("The baseline itself is {warning}."));
    }
    let others: Vec<String> = answer
        .beats_baseline
        .iter()
        .filter(|name| Some(*name) != answer.best.as_ref())
        .cloned()
        .collect();
    for (intro, names) in [
        ("Also beating the baseline, with a lower item macro F1: ", &others),
        ("Better at one level but worse at the other: ", &answer.trade_offs),
        ("Without scores, so not compared: ", &answer.missing),
    ] {
        if !names.is_empty() {
            text.push(format!("{intro}{}.", listed(names)));
        }
    }
    text
}

/// What a reader must know to read the figures right.
pub fn notes(experiments: &[Experiment], baseline: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if experiments.iter().any(|e| e.name == baseline && !e.is_ok()) {
        notes.push(format!("The baseline `{baseline}` has no scores; no change can be shown."));
    }
    let trained = experiments.iter().filter(|e| e.is_ok()).filter_map(|e| Some((e, e.updates?)));
    let mut trained: Vec<(&Experiment, u64)> = trained.collect();
    trained.sort_by_key(|(e, _)| e.name != baseline);
    if let Some(&(reference, first)) = trained.first() {
        trained.retain(|&(e, updates)| e.name == reference.name || updates != first);
        let list: Vec<String> = trained
            .iter()
            .map(|(e, updates)| format!("`{}` {}", e.name, format::count(*updates)))
            .collect();
        if list.len() > 1 {
            notes.push(format!(
                "Not all experiments were trained for as many gradient updates as the others, so part of a \
                 difference may be the length of training: {}.",
                list.join(", ")
            ));
        }
    }
    for e in experiments {
        if let Some(reason) = &e.outdated {
            notes.push(format!("The figures of `{}` are not up to date: {reason}.", e.name));
        }
    }
    notes
}

/// Names as code, in a sentence.
pub fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

//! Which experiments are better, in names and in sentences.

use schemars::JsonSchema;
use serde::Serialize;

use crate::compare::Judged;
use crate::experiment::Experiment;
use crate::format;
use crate::verdict::Outcomes;

/// Which experiments are better, by name and in sentences.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Answer {
    /// The experiment with the highest item macro F1 of those that beat the baseline
    pub best: Option<String>,
    /// Experiments that are better at one level at least and worse at none
    pub beats_baseline: Vec<String>,
    /// Experiments that are better at one level and worse at the other
    pub trade_offs: Vec<String>,
    /// Experiments without scores
    pub missing: Vec<String>,
    /// The answer in sentences
    pub text: Vec<String>,
    /// The first sentence
    #[serde(skip)]
    pub headline: String,
    /// The sentences without figures, but for the headline
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
        // Of equal ones the first in the manifest wins.
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
        (None, _) => {
            format!("The baseline `{baseline}` has no scores, so nothing is compared with it.")
        }
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
    let line = |what: &str, ours, base, delta: &Judged| {
        let from = format::from(delta.abs);
        let interval = format::interval(delta.ci95)
            .map_or_else(String::new, |i| format!(", 95% interval {i}"));
        format!(
            "{what} is {}, {from} {}: {}{interval}.",
            format::metric(ours),
            format::metric(base),
            format::change(delta.abs, delta.rel)
        )
    };
    let (ours, theirs) = (&best.figures, &base.figures);
    let item = line("Item macro F1", ours.item.macro_f1, theirs.item.macro_f1, &best.delta.item_f1);
    let user = line("User F1", ours.user.f1, theirs.user.f1, &best.delta.user_f1);
    let brands = best.delta.brands.map_or_else(String::new, |brands| {
        format!(
            " Brands: {} better, {} worse, {} with no clear change.",
            format::count(brands.better),
            format::count(brands.worse),
            format::count(brands.no_clear_change)
        )
    });
    format!("{item} {user}{brands}")
}

fn remarks(answer: &Answer, base: Option<&Experiment>) -> Vec<String> {
    let mut text = Vec::new();
    if let Some(warning) = base.and_then(|base| base.warning.as_ref()) {
        text.push(format!("The baseline itself is {warning}."));
    }
    let is_other = |name: &&String| Some(*name) != answer.best.as_ref();
    let others: Vec<String> = answer.beats_baseline.iter().filter(is_other).cloned().collect();
    for (intro, names) in [
        ("Also better than the baseline, with a lower item macro F1: ", &others),
        ("Better at one level but worse at the other: ", &answer.trade_offs),
        ("No scores, so not compared: ", &answer.missing),
    ] {
        if !names.is_empty() {
            text.push(format!("{intro}{}.", format::names(names)));
        }
    }
    text
}

//! Which experiments are better, in names and in sentences.

use schemars::JsonSchema;
use serde::Serialize;

use crate::compare::{Delta, Judged};
use crate::experiment::Experiment;
use crate::format;
use crate::verdict::Outcomes;

/// Which experiments are better, by name and in sentences.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Answer {
    /// Chosen on the valid users: the highest item macro F1 of those that are not behind the baseline
    /// in item macro F1 or user F1; see [`best_on_valid`]
    pub best: Option<String>,
    /// Experiments that are better at one level at least and worse at none
    pub beats_baseline: Vec<String>,
    /// Experiments that are better at one level and worse at the other
    pub trade_offs: Vec<String>,
    /// Experiments without scores
    pub missing: Vec<String>,
    /// The answer in sentences
    pub text: Vec<String>,
    /// `best` against each other experiment that all are compared with, a sentence each
    pub against: Vec<String>,
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
    let best = best_on_valid(experiments, baseline).filter(|_| nothing.is_none());
    let mut answer = Answer {
        best: best.map(|e| e.name.clone()),
        beats_baseline: names(Outcomes::beats_baseline),
        trade_offs: names(Outcomes::is_trade_off),
        missing: experiments.iter().filter(|e| !e.is_ok()).map(|e| e.name.clone()).collect(),
        ..Answer::default()
    };
    let base = experiments.iter().find(|e| e.name == baseline).filter(|e| e.is_ok());
    let is_compared = experiments.iter().any(|e| e.outcomes.is_some());
    answer.headline = match nothing {
        Some(why) => format!("Nothing to judge: {why}."),
        None if is_compared && experiments.iter().all(|e| e.valid.is_none()) => {
            "No experiment is chosen: there are no figures on valid users.".to_owned()
        }
        None => headline(base, best, is_compared, baseline),
    };
    answer.against = best.map(against).unwrap_or_default();
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
        (Some(_), None) => {
            format!("No experiment is better than the baseline `{baseline}` on the valid users.")
        }
        (Some(_), Some(best)) => {
            let beats = match best.outcomes {
                Some(outcomes) if outcomes.beats_baseline() => "beats",
                _ => "does not beat",
            };
            let Experiment { name, verdict, .. } = best;
            format!(
                "`{name}`, chosen on the valid users, {beats} the baseline `{baseline}`: {verdict}."
            )
        }
    }
}

/// The experiment to use, chosen without the test users: the highest item macro F1 on valid of those
/// that are better than the baseline there at one level and not worse at the other. Of equal ones the
/// first in the manifest wins.
fn best_on_valid<'a>(experiments: &'a [Experiment], baseline: &str) -> Option<&'a Experiment> {
    let levels = |e: &Experiment| {
        let valid = e.valid.as_ref()?;
        Some([valid.item.macro_f1?, valid.user.f1?])
    };
    let base = levels(experiments.iter().find(|e| e.name == baseline)?)?;
    let is_better = |ours: [f64; 2]| ours != base && ours.iter().zip(base).all(|(a, b)| *a >= b);
    let rivals = experiments.iter().filter(|e| e.name != baseline && !e.is_truth);
    let better = rivals.filter_map(|e| Some((e, levels(e).filter(|&ours| is_better(ours))?)));
    better.rev().max_by(|(_, a), (_, b)| a[0].total_cmp(&b[0])).map(|(e, _)| e)
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

/// An experiment against each other one of `also_against`, a sentence each.
pub fn against(e: &Experiment) -> Vec<String> {
    let level = |name: &str, judged: &Judged| {
        let interval = format::interval(judged.ci95).unwrap_or_default();
        format!("{name} {} {interval}", format::change(judged.abs, None))
    };
    let sentence = |(rival, delta): (&String, &Delta)| {
        let [item, user] =
            [level("item macro F1", &delta.item_f1), level("user F1", &delta.user_f1)];
        format!("Against `{rival}`: {item}, {user}.")
    };
    e.against.iter().map(sentence).collect()
}

fn remarks(answer: &Answer, base: Option<&Experiment>) -> Vec<String> {
    let mut text = Vec::new();
    if let Some(warning) = base.and_then(|base| base.warning.as_ref()) {
        text.push(format!("The baseline itself is {warning}."));
    }
    let is_other = |name: &&String| Some(*name) != answer.best.as_ref();
    let others: Vec<String> = answer.beats_baseline.iter().filter(is_other).cloned().collect();
    let also = match answer.best {
        Some(_) => "Also better than the baseline on the test users: ",
        None => "Better than the baseline on the test users: ",
    };
    for (intro, names) in [
        (also, &others),
        ("Better at one level but worse at the other: ", &answer.trade_offs),
        ("No scores, so not compared: ", &answer.missing),
    ] {
        if !names.is_empty() {
            text.push(format!("{intro}{}.", format::names(names)));
        }
    }
    text
}

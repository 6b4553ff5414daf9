//! The answer in a few figures, which a reader sees first.

use contract::words::plural;
use serde::Serialize;

use crate::compare::{BrandOutcomes, Judged};
use crate::definitions::{meaning, term_id};
use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Tone};
use crate::page::overview;
use crate::page::view::{View, tone};
use crate::report::Report;

/// The answer.
#[derive(Debug, Default, Serialize)]
pub struct Card {
    /// One sentence
    pub headline: String,
    /// Id of the term that the headline links to
    pub term_id: Option<String>,
    /// The best experiment beside the baseline, four at most; empty if none is better
    pub facts: Vec<Fact>,
    /// What was chosen and judged on which users, and how many trainings stand behind it
    pub basis: Vec<String>,
    /// Whether the figures of the card itself are of other settings than the manifest's
    pub outdated: Vec<String>,
    /// The answer in sentences, for Markdown; the headline first
    pub text: Vec<String>,
    /// Of the remarks and warnings, which are folded
    pub summary: String,
    /// Sentences that the facts do not say
    pub remarks: Vec<String>,
    /// What a reader must know
    pub warnings: Vec<String>,
    /// All experiments in one picture; empty where nothing is compared
    pub chart: Vec<Block>,
}

/// A figure.
#[derive(Debug, Default, Serialize)]
pub struct Fact {
    pub label: String,
    /// Id of the term that the label links to
    pub term_id: String,
    /// Meaning of that term
    pub meaning: &'static str,
    pub value: String,
    /// What the value is compared with
    pub detail: String,
    /// `None` where no interval says that the change is clear
    pub tone: Option<Tone>,
}

pub fn card(view: &View) -> Card {
    let report = view.report;
    let named = |name: &str| report.experiments.iter().find(|e| e.name == name);
    let best = report.answer.best.as_deref().and_then(named);
    let facts = best.zip(named(&report.baseline));
    let of_best = best
        .into_iter()
        .flat_map(|best| best.fairness.iter().map(|note| format!("Of `{}`: {note}", best.name)));
    let warnings: Vec<String> = report.notes.iter().cloned().chain(of_best).collect();
    Card {
        headline: report.answer.headline.clone(),
        term_id: Some(term_id("best")),
        facts: facts.map(|(best, base)| self::facts(report, best, base)).unwrap_or_default(),
        basis: basis(report),
        outdated: outdated(report),
        text: report.answer.text.clone(),
        summary: summary(report, warnings.len()),
        remarks: report.answer.remarks.clone(),
        warnings,
        chart: overview::drawing(view).into_iter().collect(),
    }
}

fn basis(report: &Report) -> Vec<String> {
    let test = format::count(report.n_test_users);
    let users = match report.n_valid_users {
        Some(n) => format!(
            "Chosen on {} (the valid users), judged on {test} others (the test users).",
            plural(n, "user")
        ),
        None => format!("Judged on {}.", plural(report.n_test_users, "test user")),
    };
    let seeds = match &report.method.seeds[..] {
        [] | [_] => "Trained with one seed: intervals cover other users, not another training. A small change may be an \
                     accident of this seed."
            .to_owned(),
        seeds => format!(
            "Means over {} trainings; intervals cover other users and other seeds.",
            seeds.len()
        ),
    };
    let is_compared = report.experiments.iter().any(|e| e.outcomes.is_some());
    let nothing = (!is_compared).then(|| "Nothing is compared with the baseline.".to_owned());
    let against = report.answer.against.iter().cloned();
    nothing.into_iter().chain(against).chain([users, seeds]).collect()
}

/// * `n_notes`: what a reader must know.
fn summary(report: &Report, n_notes: usize) -> String {
    let answer = &report.answer;
    let is_other = |name: &&String| Some(*name) != answer.best.as_ref();
    let n_others = answer.beats_baseline.iter().filter(is_other).count();
    let parts = [
        (n_others > 0).then(|| format!("{} also better", plural(n_others as u64, "other"))),
        (!answer.trade_offs.is_empty())
            .then(|| plural(answer.trade_offs.len() as u64, "trade-off")),
        (!answer.missing.is_empty())
            .then(|| format!("{} without scores", format::count(answer.missing.len() as u64))),
        (n_notes > 0).then(|| plural(n_notes as u64, "note")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Which experiments were made with other settings than the manifest's.
fn outdated(report: &Report) -> Vec<String> {
    let outdated = || report.experiments.iter().filter_map(|e| Some((e, e.outdated.as_ref()?)));
    if outdated().count() > 2 {
        let names = format::names(outdated().map(|(e, _)| &e.name));
        return vec![format!("Not up to date, as the panels say: {names}.")];
    }
    outdated().map(|(e, why)| format!("`{}` is not up to date: {why}.", e.name)).collect()
}

fn fact(label: impl Into<String>, term: &str) -> Fact {
    let (term_id, meaning) = (term_id(term), meaning(term));
    Fact { label: label.into(), term_id, meaning, ..Fact::default() }
}

fn facts(report: &Report, best: &Experiment, base: &Experiment) -> Vec<Fact> {
    let (ours, theirs, delta) = (&best.figures, &base.figures, &best.delta);
    let mut facts = vec![
        changed(
            "Item macro F1",
            "item level",
            [ours.item.macro_f1, theirs.item.macro_f1],
            &delta.item_f1,
        ),
        changed("User F1", "user level", [ours.user.f1, theirs.user.f1], &delta.user_f1),
    ];
    facts.extend(delta.brands.map(brands));
    facts.extend(buckets(report, best, base));
    facts
}

/// A fact has no room for more.
const MAX_BUCKETS: usize = 3;

/// Brands that reach each F1, as one fact.
fn buckets(report: &Report, best: &Experiment, base: &Experiment) -> Option<Fact> {
    let lows: Vec<&str> =
        best.figures.buckets.keys().take(MAX_BUCKETS).map(String::as_str).collect();
    let counts = |e: &Experiment| {
        let counts = e.figures.buckets.values().take(MAX_BUCKETS);
        let counts = counts.map(|&n| format::maybe_count(n));
        counts.collect::<Vec<_>>().join(" / ")
    };
    (!lows.is_empty()).then(|| Fact {
        value: counts(best),
        detail: format!("of {} brands; baseline {}", format::count(report.n_brands), counts(base)),
        ..fact(format!("F1 ≥ {}", lows.join(" / ")), "F1 bucket")
    })
}

fn changed(label: &str, term: &str, [ours, theirs]: [Option<f64>; 2], delta: &Judged) -> Fact {
    let interval = format::interval(delta.ci95).unwrap_or_default();
    Fact {
        value: format::change(delta.abs, None),
        detail: format!(
            "{}, {} {}{}; 95% {interval}",
            format::metric(ours),
            format::from(delta.abs),
            format::metric(theirs),
            format::relative(delta.rel)
        ),
        tone: tone(delta),
        ..fact(label, term)
    }
}

fn brands(brands: BrandOutcomes) -> Fact {
    let count = format::count;
    Fact {
        value: format!("{} better", count(brands.better)),
        detail: format!(
            "{} worse, {} with no clear change",
            count(brands.worse),
            count(brands.no_clear_change)
        ),
        ..fact("Brands", "brands better, worse")
    }
}

//! The answer in a few figures, which a reader sees first.

use serde::Serialize;

use crate::compare::{BrandOutcomes, Judged};
use crate::definitions::{meaning, term_id};
use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::Tone;
use crate::page::view::tone;
use crate::report::Report;

/// The answer.
#[derive(Debug, Serialize)]
pub struct Card {
    /// One sentence
    pub headline: String,
    /// The best experiment beside the baseline; empty if none is better
    pub facts: Vec<Fact>,
    /// The answer in sentences, for Markdown; the headline first
    pub text: Vec<String>,
    /// Sentences that the facts do not say
    pub remarks: Vec<String>,
    /// What a reader must know
    pub warnings: Vec<String>,
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

pub fn card(report: &Report) -> Card {
    let named = |name: &str| report.experiments.iter().find(|e| e.name == name);
    let best = report.answer.best.as_deref().and_then(named);
    let facts = best.zip(named(&report.baseline));
    Card {
        headline: report.answer.headline.clone(),
        facts: facts.map(|(best, base)| self::facts(report, best, base)).unwrap_or_default(),
        text: report.answer.text.clone(),
        remarks: report.answer.remarks.clone(),
        warnings: report.notes.clone(),
    }
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
    facts.extend(ours.buckets.iter().map(|(low, &n)| {
        let change = delta.buckets[low];
        Fact {
            value: format!("{} of {}", format::maybe_count(n), format::count(report.n_brands)),
            detail: format!(
                "{} {}: {}",
                format::from(change.abs),
                format::maybe_count(theirs.buckets[low]),
                format::count_change(change.abs, change.rel)
            ),
            ..fact(format!("Brands with an F1 ≥ {low}"), "F1 bucket")
        }
    }));
    facts
}

fn changed(label: &str, term: &str, [ours, theirs]: [Option<f64>; 2], delta: &Judged) -> Fact {
    let interval = format::interval(delta.ci95).unwrap_or_default();
    Fact {
        value: format::change(delta.abs, None),
        detail: format!(
            "{}, {} {}{}; 95% interval {interval}",
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
            "{} worse, {} with no clear change; F1 is higher for {}, lower for {}",
            count(brands.worse),
            count(brands.no_clear_change),
            count(brands.higher),
            count(brands.lower)
        ),
        ..fact("Brands", "brands better, worse")
    }
}

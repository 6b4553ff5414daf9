//! The answer in a few figures.

use serde::Serialize;

use crate::compare::Judged;
use crate::definitions::{meaning, term_id};
use crate::format;
use crate::page::tone;
use crate::report::{Experiment, Report};

/// What a reader sees first.
#[derive(Debug, Serialize)]
pub struct Card {
    /// One sentence
    pub headline: String,
    /// The best experiment beside the baseline; empty if none is better
    pub facts: Vec<Fact>,
    /// The answer in sentences, the headline first
    pub text: Vec<String>,
    /// Sentences that the facts do not say
    pub remarks: Vec<String>,
    /// What a reader must know
    pub warnings: Vec<String>,
}

/// A figure.
#[derive(Debug, Default, Serialize)]
pub struct Fact {
    /// What it is
    pub label: String,
    /// Where its definition stands
    pub term_id: String,
    /// Its definition
    pub meaning: &'static str,
    /// The figure
    pub value: String,
    /// What it is compared with
    pub detail: String,
    /// `better` or `worse`, where an interval says so
    pub tone: Option<&'static str>,
}

/// The card of a report.
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
    let changed = |label: &str, term, ours, theirs, delta: &Judged| {
        let interval = format::interval(delta.ci95).unwrap_or_default();
        Fact {
            value: format::change(delta.abs, None),
            detail: format!(
                "{} after {}{}; 95% interval {interval}",
                format::metric(ours),
                format::metric(theirs),
                format::relative(delta.rel)
            ),
            tone: tone(delta),
            ..fact(label, term)
        }
    };
    let (ours, theirs) = (&best.figures, &base.figures);
    let delta = &best.delta;
    let mut facts = vec![
        changed(
            "Item macro F1",
            "item level",
            ours.item.macro_f1,
            theirs.item.macro_f1,
            &delta.item_f1,
        ),
        changed("User F1", "user level", ours.user.f1, theirs.user.f1, &delta.user_f1),
    ];
    if let Some(brands) = delta.brands {
        let count = format::count;
        facts.push(Fact {
            value: format!("{} better", count(brands.better)),
            detail: format!(
                "{} worse, {} show no clear change; F1 is higher for {}, lower for {}",
                count(brands.worse),
                count(brands.no_clear_change),
                count(brands.higher),
                count(brands.lower)
            ),
            ..fact("Brands", "brands better, worse")
        });
    }
    facts.extend(ours.buckets.iter().map(|(low, &n)| {
        let change = delta.buckets[low];
        Fact {
            value: format::maybe_count(n),
            detail: format!(
                "after {} of {}; {}",
                format::maybe_count(theirs.buckets[low]),
                format::count(report.n_brands),
                format::count_change(change.abs, change.rel)
            ),
            ..fact(format!("Brands at F1 ≥ {low}"), "F1 bucket")
        }
    }));
    facts
}

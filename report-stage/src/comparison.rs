//! The figures of an experiment beside the baseline's, line by line: what the terminal and the page
//! both show.

use contract::brands::Tier;

use crate::compare::{Change, Delta, Judged};
use crate::experiment::Experiment;
use crate::figures::{AtK, Figures, SHOWN_KS};
use crate::format;

/// A figure of two experiments.
pub struct Line {
    pub name: String,
    /// The term that defines it
    pub term: &'static str,
    /// Whether it is a part of the line above
    pub is_part: bool,
    /// Whether it is a whole number
    pub is_count: bool,
    pub change: Judged,
    value: Value,
}

type Value = Box<dyn Fn(&Figures) -> Option<f64>>;

impl Line {
    pub fn value(&self, figures: &Figures) -> Option<f64> {
        (self.value)(figures)
    }

    /// The interval of the change in words.
    pub fn interval(&self) -> Option<String> {
        let words = if self.is_count { format::count_interval } else { format::interval };
        words(self.change.ci95)
    }
}

/// All lines of an experiment.
///
/// * `base`: the baseline's figures; without them no change is known.
pub fn lines(e: &Experiment, base: Option<&Figures>) -> Vec<Line> {
    let delta = &e.delta;
    let mut lines = vec![metric("item macro F1", "item level", delta.item_f1, |f| f.item.macro_f1)];
    lines.extend(Tier::ALL.map(|tier| {
        let of = move |f: &Figures| f.item.by_tier.get(tier).macro_f1;
        part(metric(tier.name(), "head, torso, tail", *delta.by_tier.get(tier), of))
    }));
    lines.push(metric("user F1", "user level", delta.user_f1, |f| f.user.f1));
    let precision =
        metric("precision", "user level", plain(delta.user_precision), |f| f.user.precision);
    let recall = metric("recall", "user level", plain(delta.user_recall), |f| f.user.recall);
    lines.extend([precision, recall].map(part));
    lines.extend(rankings(delta));
    lines.push(metric("micro F1", "micro F1", delta.micro_f1, |f| f.micro.f1));
    lines.push(metric("MAP", "MAP", plain(delta.map), |f| f.map));
    lines.extend(e.figures.buckets.keys().map(|low| {
        let (name, change) = (format!("brands at F1 ≥ {low}"), delta.buckets[low]);
        let low = low.clone();
        let of = move |f: &Figures| f.buckets.get(&low).copied().flatten();
        count(name, "F1 bucket", change, of)
    }));
    lines.extend(others(e, base));
    lines
}

fn rankings(delta: &Delta) -> Vec<Line> {
    type Get = fn(&Figures) -> &AtK;
    let kinds: [(&str, Get, _); 3] = [
        ("P", |f| &f.user.precision_at, &delta.precision_at),
        ("R", |f| &f.user.recall_at, &delta.recall_at),
        ("nDCG", |f| &f.user.ndcg_at, &delta.ndcg_at),
    ];
    let mut lines = Vec::new();
    for (name, get, changes) in kinds {
        for (&k, &change) in changes.iter().filter(|(k, _)| SHOWN_KS.contains(k)) {
            let of = move |f: &Figures| get(f).get(&k).copied().flatten();
            lines.push(part(metric(format!("{name}@{k}"), "P@k, R@k, nDCG@k", plain(change), of)));
        }
    }
    lines
}

/// Figures whose change is not among the experiment's.
fn others(e: &Experiment, base: Option<&Figures>) -> Vec<Line> {
    let never = count("brands never predicted", "never predicted", Judged::default(), |f| {
        f.n_never_predicted
    });
    let without =
        count("users without a correct brand", "no correct brand", Judged::default(), |f| {
            f.user.n_without_hit
        });
    let term = "predictions per user";
    let predictions = metric(term, term, Judged::default(), |f| f.predictions_per_user);
    let changed = |line: Line| {
        let both = base.and_then(|base| line.value(base)).zip(line.value(&e.figures));
        let abs = both.map(|(base, ours)| ours - base);
        let rel = both.and_then(|(base, ours)| (base > 0.0).then(|| (ours - base) / base));
        Line { change: plain(Change { abs, rel }), ..line }
    };
    [never, without, predictions].map(changed).into()
}

fn metric(
    name: impl Into<String>,
    term: &'static str,
    change: Judged,
    value: impl Fn(&Figures) -> Option<f64> + 'static,
) -> Line {
    let value = Box::new(value);
    Line { name: name.into(), term, is_part: false, is_count: false, change, value }
}

fn count(
    name: impl Into<String>,
    term: &'static str,
    change: Judged,
    value: impl Fn(&Figures) -> Option<u64> + 'static,
) -> Line {
    Line { is_count: true, ..metric(name, term, change, move |f| value(f).map(|n| n as f64)) }
}

fn part(line: Line) -> Line {
    Line { is_part: true, ..line }
}

/// A change without an interval.
fn plain(Change { abs, rel }: Change) -> Judged {
    Judged { abs, rel, ..Judged::default() }
}

//! The changes against the baseline as a forest of intervals.

use contract::words::plural;

use crate::chart::{Chart, Key, Panel, Place};
use crate::compare::{Judged, LEVEL};
use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Section};
use crate::page::view::View;
use crate::scale::Scale;
use crate::verdict::Outcome;

const ROW: f64 = 20.0;
const NAMES: f64 = 190.0;
const WIDTH: f64 = 250.0;
const TOP: f64 = 26.0;

pub fn section(view: &View) -> Section {
    let rivals: Vec<&Experiment> =
        view.experiments().into_iter().filter(|e| e.outcomes.is_some() && !e.is_truth).collect();
    let block = if rivals.is_empty() {
        Block::text("Nothing is compared with the baseline.")
    } else {
        Block::Chart(forest(view, &rivals))
    };
    Section { id: "changes", title: "Changes against the baseline", blocks: vec![block] }
}

fn forest(view: &View, rivals: &[&Experiment]) -> Chart {
    let mut item = panel(rivals, NAMES, "Item macro F1", |e| &e.delta.item_f1);
    let user = panel(rivals, NAMES + WIDTH + 40.0, "User F1", |e| &e.delta.user_f1);
    for (row, e) in rivals.iter().enumerate() {
        item.text("name", (-8.0, (row as f64 + 0.5) * ROW + 4.0), "end", &e.name);
    }
    let n = |outcome: Outcome, of: fn(&Experiment) -> &Judged| {
        rivals.iter().filter(|e| of(e).outcome() == outcome).count()
    };
    Chart {
        title: "Change of item macro F1 and user F1 by experiment".to_owned(),
        description: format!(
            "{} against {}. At item level {} better, {} worse; at user level {} better, {} worse. The figures are in the table of experiments.",
            plural(rivals.len() as u64, "experiment"),
            view.report.baseline,
            n(Outcome::Better, |e| &e.delta.item_f1),
            n(Outcome::Worse, |e| &e.delta.item_f1),
            n(Outcome::Better, |e| &e.delta.user_f1),
            n(Outcome::Worse, |e| &e.delta.user_f1),
        ),
        width: NAMES + 2.0 * WIDTH + 60.0,
        height: TOP + ROW * rivals.len() as f64 + 44.0,
        panels: vec![item, user],
        keys: vec![
            Key::dot(
                "better",
                format!("better: the whole {:.0}% interval lies above 0", 100.0 * LEVEL),
            ),
            Key::dot("worse", "worse: the whole interval lies below 0"),
            Key::dot("unclear", "no clear change: the interval contains 0"),
        ],
    }
}

/// The intervals of one level, a row for each experiment.
fn panel(rivals: &[&Experiment], left: f64, title: &str, of: fn(&Experiment) -> &Judged) -> Panel {
    let ends = rivals.iter().filter_map(|e| of(e).ci95).flatten().chain([0.0]);
    let n_rows = rivals.len() as f64;
    let place = Place { left, top: TOP, width: WIDTH, height: ROW * n_rows };
    let rows = Scale::Linear(n_rows, 0.0);
    let mut panel = Panel::new(place, title, (Scale::around(ends), "change"), (rows, ""));
    panel.y.ticks.clear();
    panel.line("zero", [(0.0, 0.0), (0.0, n_rows)]);
    for (row, e) in rivals.iter().enumerate() {
        let y = row as f64 + 0.5;
        let judged = of(e);
        let Judged { abs: Some(abs), ci95: Some([low, high]), .. } = *judged else { continue };
        let class = match judged.outcome() {
            Outcome::Better => "better",
            Outcome::Worse => "worse",
            Outcome::NoClearChange | Outcome::NotSettled | Outcome::Undefined => "unclear",
        };
        panel.line(class, [(low, y), (high, y)]);
        let interval = format::interval(judged.ci95).unwrap_or_default();
        let change = format::change(judged.abs, judged.rel);
        panel.dot(class, (abs, y), format!("{}: {change}, {interval}", e.name));
    }
    panel
}

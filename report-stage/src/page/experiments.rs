//! All experiments beside the baseline, and a forest of their changes.

use crate::chart::{Chart, Key, Panel, Place, Scale};
use crate::compare::{Judged, LEVEL};
use crate::format;
use crate::page::{Block, Cell, Section, Table, View, count, metric, number, prose, tone, words};
use crate::report::Experiment;
use crate::settings;

/// The table of all experiments.
pub fn table(view: &View) -> Section {
    let columns = vec![
        words("Experiment"),
        number("Item macro F1").of("item level"),
        number("Change, 95% interval").of("change"),
        number("User F1").of("user level"),
        number("Change, 95% interval").of("change"),
        prose("Verdict").of("verdict"),
        prose("What differs from the baseline"),
    ];
    let cells = |e: &Experiment| {
        let differs = if view.is_baseline(e) {
            Cell::number(format::DASH.to_owned(), "the baseline itself")
        } else {
            Cell::text(settings::words(&e.differs))
        };
        vec![
            metric(e, e.figures.item.macro_f1),
            view.judged(e, &e.delta.item_f1),
            metric(e, e.figures.user.f1),
            view.judged(e, &e.delta.user_f1),
            Cell::text(&e.verdict),
            differs,
        ]
    };
    let quality_columns = vec![
        words("Experiment"),
        number("Micro F1").of("micro F1"),
        number("Change, 95% interval").of("change"),
        number("Item precision").of("item level"),
        number("over brands").of("item level"),
        number("Item recall").of("item level"),
        number("over brands").of("support"),
        number("F1 defined for").of("F1"),
        number("F1 undefined for").of("F1"),
        number("MAP").of("MAP"),
    ];
    let quality = |e: &Experiment| {
        let item = &e.figures.item;
        vec![
            metric(e, e.figures.micro.f1),
            view.judged(e, &e.delta.micro_f1),
            metric(e, item.macro_precision),
            count(e, item.n_precision),
            metric(e, item.macro_recall),
            count(e, item.n_recall),
            count(e, item.n_defined),
            count(e, e.figures.n_undefined),
            view.metric_and_change(e, e.figures.map, e.delta.map),
        ]
    };
    let all = Table {
        caption:
            "All experiments; changes against the baseline, in brackets as a share of its value"
                .to_owned(),
        columns,
        rows: view.rows(cells),
    };
    let item = Table {
        caption: "All cells together, and means over brands with how many".to_owned(),
        columns: quality_columns,
        rows: view.rows(quality),
    };
    Section {
        id: "experiments",
        title: "Experiments",
        blocks: vec![Block::Table(all), Block::Table(item)],
    }
}

const ROW: f64 = 20.0;
const NAMES: f64 = 190.0;
const WIDTH: f64 = 250.0;
const TOP: f64 = 26.0;

/// The changes as a forest of intervals.
pub fn changes(view: &View) -> Section {
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
    let height = ROW * rivals.len() as f64;
    let panel = |left: f64, title: &str, of: fn(&Experiment) -> &Judged| {
        let ends = rivals.iter().filter_map(|e| of(e).ci95).flatten().chain([0.0]);
        let place = Place { left, top: TOP, width: WIDTH, height };
        let rows = Scale::Linear(rivals.len() as f64, 0.0);
        let mut panel = Panel::new(place, title, (Scale::around(ends), "change"), (rows, ""));
        panel.y.ticks.clear();
        panel.line("zero", [(0.0, 0.0), (0.0, rivals.len() as f64)]);
        for (row, e) in rivals.iter().enumerate() {
            let y = row as f64 + 0.5;
            let Judged { abs: Some(abs), ci95: Some([low, high]), .. } = *of(e) else { continue };
            let class = tone(of(e)).unwrap_or("unclear");
            panel.line(class, [(low, y), (high, y)]);
            let interval = format::interval(Some([low, high])).unwrap_or_default();
            let change = format::change(Some(abs), of(e).rel);
            panel.dot(class, (abs, y), format!("{}: {change}, {interval}", e.name));
        }
        panel
    };
    let mut item = panel(NAMES, "Item macro F1", |e| &e.delta.item_f1);
    let user = panel(NAMES + WIDTH + 40.0, "User F1", |e| &e.delta.user_f1);
    for (row, e) in rivals.iter().enumerate() {
        item.text("name", (-8.0, (row as f64 + 0.5) * ROW + 4.0), "end", &e.name);
    }
    let n = |is: &dyn Fn(&Experiment) -> bool| rivals.iter().filter(|e| is(e)).count();
    Chart {
        title: "Change of item macro F1 and user F1 by experiment".to_owned(),
        description: format!(
            "{} experiments against {}: at item level {} are better and {} worse, at user level {} better and {} worse. The figures are in the table of experiments.",
            rivals.len(),
            view.report.baseline,
            n(&|e| tone(&e.delta.item_f1) == Some("better")),
            n(&|e| tone(&e.delta.item_f1) == Some("worse")),
            n(&|e| tone(&e.delta.user_f1) == Some("better")),
            n(&|e| tone(&e.delta.user_f1) == Some("worse")),
        ),
        width: NAMES + 2.0 * WIDTH + 60.0,
        height: TOP + height + 44.0,
        panels: vec![item, user],
        keys: vec![
            Key::dot(
                "better",
                format!("better: the whole {:.0}% interval lies above 0", 100.0 * LEVEL),
            ),
            Key::dot("worse", "worse: the whole interval lies below 0"),
            Key::dot("unclear", "no clear change: the interval holds 0"),
        ],
    }
}

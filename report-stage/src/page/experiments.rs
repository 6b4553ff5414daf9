//! All experiments beside the baseline.

use crate::experiment::Experiment;
use crate::page::blocks::{Block, Cell, Column, Section, Table};
use crate::page::view::{IS_BASELINE, View, count, metric};
use crate::settings;

pub fn section(view: &View) -> Section {
    Section {
        id: "experiments",
        title: "Experiments",
        blocks: vec![Block::Table(verdicts(view)), Block::Table(other_figures(view))],
    }
}

fn verdicts(view: &View) -> Table {
    let cells = |e: &Experiment| {
        let differs = if view.is_baseline(e) {
            Cell::dash(IS_BASELINE)
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
    Table {
        caption: "All experiments. Changes are against the baseline, in brackets as a percentage of its value"
            .to_owned(),
        columns: vec![
            Column::words("Experiment"),
            Column::number("Item macro F1").of("item level"),
            Column::number("Change, 95% interval").of("change"),
            Column::number("User F1").of("user level"),
            Column::number("Change, 95% interval").of("change"),
            Column::prose("Verdict").of("verdict"),
            Column::prose("What differs from the baseline"),
        ],
        rows: view.rows(cells),
    }
}

fn other_figures(view: &View) -> Table {
    let cells = |e: &Experiment| {
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
    Table {
        caption: "Micro F1, and means over brands with the number of brands".to_owned(),
        columns: vec![
            Column::words("Experiment"),
            Column::number("Micro F1").of("micro F1"),
            Column::number("Change, 95% interval").of("change"),
            Column::number("Item precision").of("item level"),
            Column::number("over brands").of("item level"),
            Column::number("Item recall").of("item level"),
            Column::number("over brands").of("support"),
            Column::number("F1 defined for").of("F1"),
            Column::number("F1 undefined for").of("F1"),
            Column::number("MAP").of("MAP"),
        ],
        rows: view.rows(cells),
    }
}

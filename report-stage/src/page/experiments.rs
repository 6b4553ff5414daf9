//! All experiments beside the baseline.

use crate::compare::Judged;
use crate::experiment::Experiment;
use crate::figures::Figures;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Section, Table};
use crate::page::view::{IS_BASELINE, View, count, metric};
use crate::settings;

pub fn section(view: &View) -> Section {
    Section {
        id: "experiments",
        title: "Experiments",
        blocks: [Block::Table(verdicts(view)), Block::Table(other_figures(view))]
            .into_iter()
            .chain((view.report.method.seeds.len() > 1).then(|| Block::Table(spreads(view))))
            .collect(),
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
        caption: format!(
            "All experiments{}. Changes are against the baseline, in brackets as a percentage of its value",
            view.report.method.over_seeds()
        ),
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

/// Each seed's change, where there are several.
fn spreads(view: &View) -> Table {
    let range = |e: &Experiment, value: fn(&Figures) -> Option<f64>| {
        let values = || e.seeds.iter().filter_map(|seed| value(&seed.figures));
        let ends = values().reduce(f64::min).zip(values().reduce(f64::max));
        ends.map_or_else(
            || Cell::dash("it takes no training"),
            |(low, high)| {
                let [low, high] = [low, high].map(|end| format::metric(Some(end)));
                Cell::text(format!("{low} to {high}"))
            },
        )
    };
    let agreement = |judged: &Judged| match judged.n_seeds {
        0 => Cell::dash("nothing is compared"),
        n => Cell::text(format!("{} of {n}", judged.n_agree)),
    };
    let cells = |e: &Experiment| {
        let [item, user] = [&e.delta.item_f1, &e.delta.user_f1];
        vec![
            range(e, |figures| figures.item.macro_f1),
            metric(e, item.spread),
            agreement(item),
            range(e, |figures| figures.user.f1),
            metric(e, user.spread),
            agreement(user),
        ]
    };
    let of_level = |level: &str| {
        [
            Column::number(format!("{level}, from seed to seed")).of("seeds"),
            Column::number("Spread of the change").of("seeds"),
            Column::number("Seeds that agree").of("verdict"),
        ]
    };
    Table {
        caption: "What the seeds of training change".to_owned(),
        columns: std::iter::once(Column::words("Experiment"))
            .chain(of_level("Item macro F1"))
            .chain(of_level("User F1"))
            .collect(),
        rows: view.rows(cells),
    }
}

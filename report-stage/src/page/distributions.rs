//! How many brands reach which F1.

use contract::brands::Tier;

use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Row, RowClass, Section, Table, Width};
use crate::page::f1;
use crate::page::view::{UNDEFINED, View, count, tone, why};

pub fn section(view: &View) -> Section {
    let floor = &view.report.floor;
    let floor = Block::text(format!(
        "The trivial floor needs no model: predicting every brand for every user reaches an item macro F1 of {} and a \
         user F1 of {}. The ceiling is what the best thresholds for the test users themselves would reach: a bound, \
         not a result.",
        format::metric(floor.macro_f1),
        format::metric(floor.user_f1),
    ));
    let tables = [buckets(view), never_predicted(view), f1::bands(view)].map(Block::Table);
    Section {
        id: "distributions",
        title: "Distributions",
        width: Width::Half,
        blocks: vec![
            f1::drawing(view),
            Block::fold(
                "Brands at each F1 from the trivial floor to the ceiling, and brands never predicted",
                std::iter::once(floor).chain(tables).collect(),
            ),
        ],
        ..Section::default()
    }
}

/// Brands at each F1, between the trivial floor and the ceiling.
fn buckets(view: &View) -> Table {
    let report = view.report;
    let mut columns = vec![Column::words("Experiment")];
    let bounds = report.floor.buckets.keys();
    columns.extend(bounds.map(|low| Column::number(format!("F1 ≥ {low}")).of("F1 bucket")));
    let cells = |e: &Experiment| {
        let reached = e.figures.buckets.iter().map(|(low, &n)| {
            let change = &e.delta.buckets[low];
            let detail = change.abs.filter(|_| !view.is_baseline(e)).map(|_| {
                let interval = format::count_interval(change.ci95).unwrap_or_default();
                format!("{} {interval}", format::count_change(change.abs, None))
            });
            Cell { tone: detail.as_ref().and_then(|_| tone(change)), ..count(e, n).with(detail) }
        });
        reached.collect()
    };
    let floor = Cell::term("trivial floor", "trivial floor")
        .with(Some("every brand for every user".to_owned()));
    let mut rows = vec![bound(floor, report.floor.buckets.values())];
    rows.extend(view.rows(cells));
    let shown = view.selected().or(view.baseline());
    rows.extend(shown.map(|e| {
        let detail = "each brand's best threshold on the test users".to_owned();
        let name = Cell::term(format!("ceiling of {}", e.name), "ceiling").with(Some(detail));
        bound(name, e.figures.ceiling.buckets.values())
    }));
    Table {
        caption: format!(
            "Number of brands that reach each F1, of {}",
            format::count(report.n_brands)
        ),
        columns,
        rows,
    }
}

fn bound<'a>(name: Cell, values: impl Iterator<Item = &'a Option<u64>>) -> Row {
    let values = values.map(|&n| Cell::number(format::maybe_count(n), UNDEFINED));
    Row { class: Some(RowClass::Bound), cells: std::iter::once(name).chain(values).collect() }
}

fn never_predicted(view: &View) -> Table {
    let mut columns = vec![
        Column::words("Experiment"),
        Column::number("Never predicted").of("never predicted"),
        Column::number("of those with support").of("support"),
    ];
    columns.extend(Tier::ALL.map(|tier| Column::number(tier.name()).of("head, torso, tail")));
    columns.push(Column::number("Predictions per user").of("predictions per user"));
    let cells = |e: &Experiment| {
        let never = &e.figures.never_predicted;
        let mut cells = vec![count(e, e.figures.n_never_predicted), count(e, never.n_with_support)];
        cells.extend(Tier::ALL.map(|tier| count(e, *never.by_tier.get(tier))));
        cells.push(Cell::number(format::mean(e.figures.predictions_per_user), why(e)));
        cells
    };
    Table {
        caption: format!(
            "Number of brands that are predicted for no test user, of {}; test users have {} labels on average",
            format::count(view.report.n_brands),
            format::mean(view.report.labels_per_user)
        ),
        columns,
        rows: view.rows(cells),
    }
}

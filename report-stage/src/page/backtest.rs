//! The page of a backtest: an experiment and the baseline at several dates.

use crate::backtest::{Backtest, Change, Tested};
use crate::chart::{Chart, Key, Panel, Place, Tick};
use crate::definitions::definitions;
use crate::figures::Figures;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Row, RowClass, Section, Table};
use crate::page::card::Card;
use crate::page::{Page, definitions};
use crate::scale::Scale;

const UNDEFINED: &str = "undefined";

/// Lays the backtest out.
pub fn lay_out(found: &Backtest) -> Page {
    let n = found.dates.len();
    let horizon = found.horizon.as_deref().unwrap_or("open end");
    let deltas = found.mean.delta;
    let headline = if found.experiment == found.baseline {
        format!("`{}` at {n} dates", found.experiment)
    } else {
        format!(
            "`{}` against `{}` at {n} dates: {}",
            found.experiment,
            found.baseline,
            words(deltas.item_f1, "item F1")
        )
    };
    Page {
        title: format!("Backtest of `{}`", found.experiment),
        subtitle: format!(
            "At each date trained on what was known then, tested on the labels of the {horizon} from it on."
        ),
        card: Card {
            headline: headline.clone(),
            basis: vec![
                "The interval of a mean change covers other users and other dates.".to_owned(),
            ],
            text: vec![headline, format!("{}.", words(deltas.user_f1, "User F1"))],
            chart: Vec::new(),
            ..Card::default()
        },
        sections: vec![
            Section {
                id: "experiments",
                title: "By date",
                blocks: vec![
                    Block::Grid {
                        blocks: vec![
                            Block::Chart(levels(found, "Item macro F1", |f| f.item.macro_f1)),
                            Block::Chart(levels(found, "User F1", |f| f.user.f1)),
                            Block::Chart(changes(found, "Change of item macro F1", |t| {
                                t.delta.item_f1
                            })),
                            Block::Chart(changes(found, "Change of user F1", |t| t.delta.user_f1)),
                        ],
                    },
                    Block::Table(table(found)),
                ],
                ..Section::default()
            },
            definitions::section(&definitions()),
        ],
    }
}

fn words(change: Change, of: &str) -> String {
    let interval = format::interval(change.ci95).unwrap_or_default();
    format!("{of} {} {interval}", format::points(change.abs)).trim_end().to_owned()
}

/// A figure of both at each date.
fn levels(found: &Backtest, title: &str, of: fn(&Figures) -> Option<f64>) -> Chart {
    let line = |of_date: fn(&Tested) -> &Figures| -> Vec<(f64, f64)> {
        let dates = found.dates.iter().enumerate();
        dates.filter_map(|(i, date)| Some((i as f64, of(of_date(date))?))).collect()
    };
    let (ours, base) = (line(|date| &date.figures), line(|date| &date.baseline));
    let y = Scale::from_zero(ours.iter().chain(&base).map(|&(_, value)| value));
    let mut panel = panel(found, y);
    for (class, name, line) in [("base", &found.baseline, base), ("main", &found.experiment, ours)]
    {
        for &point in &line {
            panel.dot(class, point, format!("{name}: {}", format::metric(Some(point.1))));
        }
        panel.line(class, line);
    }
    Chart {
        title: title.to_owned(),
        description: format!(
            "{title} of {} and {} at each date; the table has the numbers.",
            found.experiment, found.baseline
        ),
        keys: vec![
            Key::line("main", format!("`{}`", found.experiment)),
            Key::line("base", format!("`{}`", found.baseline)),
        ],
        ..Chart::of(panel)
    }
}

/// The change at each date, with its interval over users.
fn changes(found: &Backtest, title: &str, of: fn(&Tested) -> Change) -> Chart {
    let all: Vec<Change> = found.dates.iter().map(of).collect();
    let ends = all.iter().flat_map(|change| change.ci95.into_iter().flatten().chain(change.abs));
    let mut panel = panel(found, Scale::around_zero(ends));
    panel.line("guide", [(0.0, 0.0), (found.dates.len().saturating_sub(1) as f64, 0.0)]);
    for (i, change) in all.iter().enumerate() {
        let Some(abs) = change.abs else { continue };
        let x = i as f64;
        let text = words(*change, "change");
        if let Some([low, high]) = change.ci95 {
            panel.named_line("main", [(x, low), (x, high)], &text);
        }
        panel.dot("main", (x, abs), text);
    }
    Chart {
        title: title.to_owned(),
        description: format!(
            "{title} from {} to {} at each date, with its interval over users.",
            found.baseline, found.experiment
        ),
        ..Chart::of(panel)
    }
}

/// A frame with the dates below it.
fn panel(found: &Backtest, y: Scale) -> Panel {
    let last = found.dates.len().saturating_sub(1).max(1) as f64;
    let room = 0.12 * last;
    let mut panel =
        Panel::new(Place::SMALL, "", (Scale::Linear(-room, last + room), "as of"), (y, ""));
    // Of many dates some are named, so that their names do not touch.
    let step = found.dates.len().div_ceil(4).max(1);
    let named = found.dates.iter().enumerate().step_by(step);
    panel.x.ticks =
        named.map(|(i, date)| Tick { at: panel.x(i as f64), text: date.as_of.clone() }).collect();
    panel
}

fn table(found: &Backtest) -> Table {
    let mut columns = vec![Column::words("As of"), Column::number("Test users")];
    columns.extend([
        Column::number("Item F1").of("item level"),
        Column::number("of the baseline").of("item level"),
        Column::number("change").of("change"),
        Column::number("User F1").of("user level"),
        Column::number("of the baseline").of("user level"),
        Column::number("change").of("change"),
    ]);
    let bounds: Vec<&String> = found.mean.figures.buckets.keys().collect();
    columns.extend(bounds.iter().map(|low| Column::number(format!("F1 ≥ {low}")).of("F1 bucket")));
    let number = |text: String| Cell::number(text, UNDEFINED);
    let change =
        |change: Change| number(format::points(change.abs)).with(format::interval(change.ci95));
    let cells = |ours: &Figures, base: &Figures, deltas: crate::backtest::Deltas| {
        let mut cells = vec![
            number(format::metric(ours.item.macro_f1)),
            number(format::metric(base.item.macro_f1)),
            change(deltas.item_f1),
            number(format::metric(ours.user.f1)),
            number(format::metric(base.user.f1)),
            change(deltas.user_f1),
        ];
        let both = ours.buckets.iter().zip(base.buckets.values());
        cells.extend(both.map(|((_, &n), &of_base)| {
            number(format::maybe_count(n))
                .with(Some(format!("baseline {}", format::maybe_count(of_base))))
        }));
        cells
    };
    let row = |date: &Tested| {
        let mut row = vec![Cell::text(&date.as_of), number(format::count(date.n_test_users))];
        row.extend(cells(&date.figures, &date.baseline, date.delta));
        Row::of(row)
    };
    let mut rows: Vec<Row> = found.dates.iter().map(row).collect();
    let mean = &found.mean;
    let mut last = vec![Cell::text("mean"), Cell::dash("a mean of numbers of users says nothing")];
    last.extend(cells(&mean.figures, &mean.baseline, mean.delta));
    rows.push(Row { class: Some(RowClass::Bound), cells: last });
    Table {
        caption: format!(
            "`{}` and the baseline `{}` at each date",
            found.experiment, found.baseline
        ),
        columns,
        rows,
    }
}

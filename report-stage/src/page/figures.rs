//! An experiment's figures beside the baseline's, as a table of its panel.

use crate::comparison::{self, Line};
use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Cell, Column, Row, Table};
use crate::page::view::{NOT_COMPARED, UNDEFINED, View, tone};

pub fn table(view: &View, e: &Experiment) -> Table {
    let base = view.baseline().filter(|base| base.name != e.name);
    let row = |line: &Line| {
        let text = |value: Option<f64>| {
            let text = if line.is_count {
                format::maybe_count(value.map(|n| n as u64))
            } else {
                format::metric(value)
            };
            Cell::number(text, UNDEFINED)
        };
        let name = if line.is_part { format!("· {}", line.name) } else { line.name.clone() };
        let mut cells = vec![Cell::term(name, line.term)];
        cells.extend(base.map(|base| text(line.value(&base.figures))));
        cells.push(text(line.value(&e.figures)));
        if base.is_some() {
            cells.push(change(line));
        }
        cells.extend(e.valid.as_ref().map(|valid| text(line.value(valid))));
        Row::of(cells)
    };
    let mut columns = vec![Column::words("Figure")];
    columns.extend(base.map(|base| Column { is_code: true, ..Column::number(&base.name) }));
    columns.push(Column { is_code: true, ..Column::number(&e.name) });
    if base.is_some() {
        columns.push(Column::number("Change, 95% interval").of("change").class("one-line"));
    }
    if e.valid.is_some() {
        columns.push(Column::number("On valid").of("valid figures"));
    }
    Table {
        caption: format!("Figures on the test users{}", view.report.method.over_seeds()),
        columns,
        rows: comparison::lines(e, base.map(|base| &base.figures)).iter().map(row).collect(),
    }
}

fn change(line: &Line) -> Cell {
    let judged = &line.change;
    let text = if line.is_count {
        format::count_change(judged.abs, judged.rel)
    } else {
        format::change(judged.abs, judged.rel)
    };
    let cell = Cell::number(text, NOT_COMPARED);
    Cell { tone: tone(judged), ..cell.with(line.interval()) }
}

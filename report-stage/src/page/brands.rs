//! Brand by brand: the largest brands in every experiment, and all of them to search.

use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Row, Section, Table};
use crate::page::explorer;
use crate::page::view::{View, metric};
use crate::report::TopBrand;

pub fn section(view: &View) -> Section {
    let mut blocks = vec![Block::Explorer(explorer::explorer(view))];
    if !view.report.top_brands.is_empty() {
        let summary = "The largest brands in every experiment";
        blocks.push(Block::fold(summary, vec![Block::Table(largest(view))]));
    }
    Section { id: "brands", title: "Brand by brand", blocks, ..Section::default() }
}

fn largest(view: &View) -> Table {
    let experiments = view.experiments();
    let mut columns = brand_columns();
    let of_experiment = |e: &&Experiment| Column { is_code: true, ..Column::number(&e.name) };
    columns.extend(experiments.iter().map(of_experiment));
    let top = &view.report.top_brands;
    let row = |brand: &TopBrand| {
        let mut cells = vec![
            Cell::text(&brand.name),
            Cell::text(brand.tier),
            Cell::text(format::count(brand.volume)),
            Cell::text(format::count(brand.support)),
        ];
        cells.extend(experiments.iter().map(|e| metric(e, brand.f1[&e.name])));
        Row::of(cells)
    };
    Table {
        caption: format!("F1 of the largest brands, {} by volume", top.len()),
        columns,
        rows: top.iter().map(row).collect(),
    }
}

/// The columns that say which brand a row is about.
fn brand_columns() -> Vec<Column> {
    vec![
        Column::words("Brand"),
        Column::words("Tier").of("head, torso, tail"),
        Column::number("Volume").of("volume"),
        Column::number("Support").of("support"),
    ]
}

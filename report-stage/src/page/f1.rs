//! The F1 of all brands in each experiment: the shape of the distribution.

use crate::chart::{Chart, Key, Panel, Place};
use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Section, Table};
use crate::page::view::{NOT_SCORED, View, count};
use crate::scale::Scale;

pub fn section(view: &View) -> Section {
    let baseline = view.baseline().map(|e| reaching(view, e));
    let charts = view.scored().into_iter().map(|e| chart(view, e, baseline.as_deref()));
    let charts = Block::Charts {
        caption: "Number of brands that reach each F1. The scale is of square roots, so that small numbers stay \
                  visible beside large ones"
            .to_owned(),
        charts: charts.collect(),
    };
    Section {
        id: "f1",
        title: "F1 of the brands",
        blocks: vec![charts, Block::fold("The same as a table", vec![Block::Table(bands(view))])],
    }
}

fn chart(view: &View, e: &Experiment, baseline: Option<&[(f64, f64)]>) -> Chart {
    let place = Place { left: 46.0, top: 22.0, width: 182.0, height: 110.0 };
    let y = (Scale::Sqrt(view.report.n_brands as f64), "brands");
    let mut panel = Panel::new(place, &e.name, (Scale::Linear(0.0, 1.0), "F1 at least"), y);
    if let Some(baseline) = baseline.filter(|_| !view.is_baseline(e)) {
        panel.line("base", baseline.iter().copied());
    }
    let class = if view.is_baseline(e) { "base" } else { "main" };
    panel.line(class, reaching(view, e));
    let of_bucket = |(low, &n): (&String, &Option<u64>)| {
        format!("{} with an F1 of at least {low}", format::maybe_count(n))
    };
    let buckets: Vec<String> = e.figures.buckets.iter().map(of_bucket).collect();
    Chart {
        title: format!("Brands by F1 in {}", e.name),
        description: format!(
            "Of {} brands: {}.",
            format::count(view.report.n_brands),
            buckets.join(", ")
        ),
        width: 240.0,
        height: 172.0,
        panels: vec![panel],
        keys: vec![Key::line("main", "the experiment"), Key::line("base", "the baseline")],
    }
}

/// How many brands have at least each F1, in steps of a fiftieth.
fn reaching(view: &View, e: &Experiment) -> Vec<(f64, f64)> {
    let mut f1s: Vec<f64> = view.brand_figures(e).iter().filter_map(|brand| brand.f1).collect();
    f1s.sort_by(f64::total_cmp);
    let n_from = |low: f64| f1s.len() - f1s.partition_point(|&f1| f1 < low);
    (0..=50).map(|i| f64::from(i) / 50.0).map(|low| (low, n_from(low) as f64)).collect()
}

fn bands(view: &View) -> Table {
    let titles = view.scored().first().map(|e| &e.figures.f1_bands);
    let mut columns = vec![Column::words("Experiment"), Column::number("undefined").of("F1")];
    for (i, band) in titles.into_iter().flatten().enumerate() {
        let title = match i {
            0 => "0".to_owned(),
            1 => "above 0".to_owned(),
            _ => format!("from {}", band.from),
        };
        columns.push(Column::number(title).of("F1"));
    }
    let n_bands = columns.len() - 2;
    let cells = |e: &Experiment| {
        let mut cells = vec![count(e, e.figures.n_undefined)];
        if e.is_ok() {
            cells.extend(e.figures.f1_bands.iter().map(|band| Cell::text(format::count(band.n))));
        } else {
            cells.extend(vec![Cell::dash(NOT_SCORED); n_bands]);
        }
        cells
    };
    Table {
        caption: "Number of brands by F1; each brand is in one column".to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

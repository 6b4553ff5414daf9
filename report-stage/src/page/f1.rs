//! The F1 of all brands in each experiment: how many reach each value.

use crate::chart::{Canvas, Chart, Key, LETTER, NamedPoint, Panel, Place};
use crate::experiment::Experiment;
use crate::format;
use crate::labels::{Frame, Label};
use crate::page::blocks::{Block, Cell, Column, Table};
use crate::page::view::{NOT_SCORED, View, count};
use crate::scale::Scale;

const WIDE: Canvas = Canvas { width: 650.0, height: 400.0 };
const NARROW: Canvas = Canvas { width: 366.0, height: 330.0 };

/// Values of F1 that are counted at: small ones closely, as many brands are there.
const N_STEPS: u32 = 48;

/// All experiments: those that matter in colour and with their names, the others grey.
pub fn drawing(view: &View) -> Block {
    Block::Drawing { wide: chart(view, WIDE), narrow: chart(view, NARROW) }
}

fn chart(view: &View, canvas: Canvas) -> Chart {
    let place =
        Place { left: 48.0, top: 8.0, width: canvas.width - 58.0, height: canvas.height - 50.0 };
    let mut frame =
        Frame { width: place.width, height: place.height, letter: LETTER, ..Frame::default() };
    let all: Vec<(&Experiment, Vec<(f64, f64)>)> =
        view.scored().into_iter().map(|e| (e, reaching(view, e))).collect();
    let y = (most(all.iter().map(|(_, line)| line)), "brands with at least this F1");
    let mut panel = Panel::new(place, "", (F1, "F1 of a brand"), y);
    // What matters is drawn last, so above the rest.
    let mut order: Vec<&(&Experiment, Vec<(f64, f64)>)> = all.iter().collect();
    order.sort_by_key(|(e, _)| class(view, e) != "other");
    for (e, line) in &order {
        panel.named_line(class(view, e), line.iter().copied(), &e.name);
        frame.lines.extend(line.windows(2).map(|ends| {
            [(panel.x(ends[0].0), panel.y(ends[0].1)), (panel.x(ends[1].0), panel.y(ends[1].1))]
        }));
    }
    let named: Vec<_> = order.iter().filter(|(e, _)| class(view, e) != "other").collect();
    let points: Vec<NamedPoint> = named
        .iter()
        .map(|(e, line)| {
            let others: Vec<&[(f64, f64)]> = named
                .iter()
                .filter(|(other, _)| other.name != e.name)
                .map(|(_, line)| line.as_slice())
                .collect();
            let (x, y) = freest(line, &others);
            let (x, y) = (panel.x(x), panel.y(y));
            let class = if class(view, e) == "main" { "label strong" } else { "label" };
            NamedPoint { class, label: Label { x, y, text: e.name.clone() } }
        })
        .collect();
    panel.name(&frame, &points);
    let of_line = |(e, _): &&(&Experiment, Vec<(f64, f64)>)| format!("{}: {}", e.name, buckets(e));
    let mut keys =
        vec![Key::line("main", "chosen on valid, or nearest to it"), Key::line("base", "baseline")];
    if order.iter().any(|(e, _)| e.is_truth) {
        keys.push(Key::line("truth", "bound"));
    }
    if order.iter().any(|(e, _)| class(view, e) == "other") {
        keys.push(Key::line("other", "each other experiment"));
    }
    Chart {
        title: "How many brands reach each F1".to_owned(),
        description: format!(
            "Of {} brands, those with at least an F1. {}.",
            format::count(view.report.n_brands),
            named.iter().map(|line| of_line(line)).collect::<Vec<_>>().join("; ")
        ),
        width: canvas.width,
        height: canvas.height,
        panels: vec![panel],
        keys,
    }
}

const F1: Scale = Scale::Sqrt(1.0);

/// An experiment beside the baseline.
pub fn of_experiment(view: &View, e: &Experiment) -> Chart {
    let pair = view.pair_with(e);
    let lines: Vec<Vec<(f64, f64)>> = pair.iter().map(|(_, e)| reaching(view, e)).collect();
    let y = (most(lines.iter()), "");
    let mut panel = Panel::new(Place::SMALL, "", (F1, "F1 of a brand"), y);
    for ((class, e), line) in pair.into_iter().zip(lines) {
        panel.named_line(class, line, &e.name);
    }
    Chart {
        title: "Brands with at least this F1".to_owned(),
        description: format!("{}: {}.", e.name, buckets(e)),
        ..Chart::of(panel)
    }
}

fn class(view: &View, e: &Experiment) -> &'static str {
    if view.is_baseline(e) {
        "base"
    } else if view.report.selected.as_ref() == Some(&e.name) {
        "main"
    } else if e.is_truth {
        "truth"
    } else {
        "other"
    }
}

fn buckets(e: &Experiment) -> String {
    let of_bucket = |(low, &n): (&String, &Option<u64>)| {
        format!("{} with an F1 of at least {low}", format::maybe_count(n))
    };
    e.figures.buckets.iter().map(of_bucket).collect::<Vec<_>>().join(", ")
}

/// How many brands have at least each F1 above 0.
fn reaching(view: &View, e: &Experiment) -> Vec<(f64, f64)> {
    let mut f1s: Vec<f64> = view.brand_figures(e).iter().filter_map(|brand| brand.f1).collect();
    f1s.sort_by(f64::total_cmp);
    let n_from = |low: f64| f1s.len() - f1s.partition_point(|&f1| f1 < low);
    let lows = (1..=N_STEPS).map(|i| (f64::from(i) / f64::from(N_STEPS)).powi(2));
    lows.map(|low| (low, n_from(low) as f64)).collect()
}

/// From 0 to the largest number of brands.
fn most<'a>(lines: impl Iterator<Item = &'a Vec<(f64, f64)>>) -> Scale {
    Scale::from_zero(lines.flatten().map(|&(_, n)| n))
}

/// The point of a line that is farthest above or below all others, away from both ends.
fn freest(line: &[(f64, f64)], others: &[&[(f64, f64)]]) -> (f64, f64) {
    let gap = |i: usize| {
        let gaps = others.iter().map(|other| (other[i].1 - line[i].1).abs());
        gaps.fold(f64::INFINITY, f64::min)
    };
    let middle = line.len() / 8..line.len() * 3 / 4;
    let best = middle.clone().max_by(|&a, &b| gap(a).total_cmp(&gap(b)));
    line[best.unwrap_or(middle.start)]
}

/// The same as a table; each brand is in one column.
pub fn bands(view: &View) -> Table {
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

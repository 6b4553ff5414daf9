//! Brand by brand: F1 by volume, the largest brands, those that changed most, and all.

use crate::bands::{VolumeBand, volume_bands};
use crate::chart::{Chart, Key, Panel, Place};
use crate::compare::{Judged, LEVEL};
use crate::evaluate::median;
use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Row, Section, Table};
use crate::page::explorer;
use crate::page::view::{View, metric, tone};
use crate::report::TopBrand;
use crate::scale::Scale;

/// Brands shown that gained most, and as many that lost most.
const N_MOVERS: usize = 25;

pub fn section(view: &View) -> Section {
    let medians = Block::fold("The lines as a table", vec![Block::Table(by_volume(view))]);
    let mut blocks = vec![Block::Chart(scatter(view)), medians];
    if !view.report.top_brands.is_empty() {
        blocks.push(Block::Table(largest(view)));
    }
    if let Some(pair) = view.baseline().zip(view.selected()) {
        let tables = [Direction::Gained, Direction::Lost].map(|way| movers(view, pair, way));
        blocks.extend(tables.into_iter().flatten().map(Block::Table));
    }
    blocks.push(Block::Explorer(explorer::explorer(view)));
    Section { id: "brands", title: "Brand by brand", blocks }
}

fn scatter(view: &View) -> Chart {
    let list = &view.brands.list;
    let pair = view.pair();
    let volumes = Scale::log(list.iter().map(|brand| brand.volume.max(1) as f64));
    let panel = |(i, &(class, e)): (usize, &(&'static str, &Experiment))| {
        let place = Place { left: 50.0 + 350.0 * i as f64, top: 24.0, width: 305.0, height: 240.0 };
        let f1_axis = (Scale::Linear(0.0, 1.0), if i == 0 { "F1" } else { "" });
        let mut panel = Panel::new(place, &e.name, (volumes, "volume, training users"), f1_axis);
        let brands = list.iter().zip(view.brand_figures(e));
        let at =
            brands.filter_map(|(brand, of_brand)| Some((brand.volume.max(1) as f64, of_brand.f1?)));
        panel.dots(if class == "base" { "base-cloud" } else { "main-cloud" }, at);
        for &(class, e) in &pair {
            panel.line(class, medians(view, e));
        }
        panel
    };
    Chart {
        title: "F1 of every brand against its volume".to_owned(),
        description: "One dot for each brand; the lines are medians by volume band. Brands with undefined F1 are left out. The figures are in the table of all brands and in per_brand.csv.".to_owned(),
        width: 720.0,
        height: 312.0,
        panels: pair.iter().enumerate().map(panel).collect(),
        keys: pair
            .iter()
            .map(|(class, e)| Key::line(class, format!("median of `{}`", e.name)))
            .collect(),
    }
}

/// Median F1 by volume band, at the median volume of the band's brands.
fn medians(view: &View, e: &Experiment) -> Vec<(f64, f64)> {
    let figures = view.brand_figures(e);
    let bands = volume_bands(&view.brands.list);
    let points = bands.iter().filter_map(|band| {
        let volumes = band.members.iter().map(|&b| view.brands.list[b].volume.max(1) as f64);
        let of_band = band.members.iter().filter_map(|&b| figures[b].f1);
        Some((median_of(volumes.collect())?, median_of(of_band.collect())?))
    });
    points.collect()
}

/// Medians of each volume band, for the two experiments shown.
fn by_volume(view: &View) -> Table {
    let pair = view.pair();
    let mut columns = vec![Column::words("Volume"), Column::number("Brands").of("volume")];
    for (_, e) in &pair {
        columns.push(Column::number(format!("Median F1, {}", e.name)).of("F1"));
        let title = format!("Predicted over found, {}", e.name);
        columns.push(Column::number(title).of("audience ratio"));
    }
    let row = |band: &VolumeBand| {
        let mut cells = vec![
            Cell::text(format!("from {}", format::count(band.from))),
            Cell::text(format::count(band.members.len() as u64)),
        ];
        for (_, e) in &pair {
            let of_band = || band.members.iter().map(|&brand| view.counts(e)[brand]);
            let with_support = of_band().filter(|c| c.support() > 0);
            let ratios = with_support.map(|c| c.predicted() as f64 / c.support() as f64);
            let figures = view.brand_figures(e);
            let f1s = band.members.iter().filter_map(|&brand| figures[brand].f1);
            cells.push(metric(e, median_of(f1s.collect())));
            cells.push(metric(e, median_of(ratios.collect())));
        }
        Row::of(cells)
    };
    Table {
        caption: "Medians by volume band".to_owned(),
        columns,
        rows: volume_bands(&view.brands.list).iter().map(row).collect(),
    }
}

fn median_of(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    median(&values)
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

#[derive(Clone, Copy)]
enum Direction {
    Gained,
    Lost,
}

impl Direction {
    fn sign(self) -> f64 {
        match self {
            Self::Gained => 1.0,
            Self::Lost => -1.0,
        }
    }
}

/// The brands that changed most in one direction; `None` if there is none.
fn movers(
    view: &View,
    pair @ (base, main): (&Experiment, &Experiment),
    direction: Direction,
) -> Option<Table> {
    let (_, changes) = view.trial(main).scored.as_ref()?.delta.as_ref()?;
    let order = most_moved(changes, direction);
    let (word, end) = match direction {
        Direction::Gained => ("gained", "lower"),
        Direction::Lost => ("lost", "upper"),
    };
    let mut columns = brand_columns();
    columns.extend([base, main].map(|e| Column { is_code: true, ..Column::number(&e.name) }));
    columns.push(Column::number("Change of F1, 95% interval").of("brands better, worse"));
    (!order.is_empty()).then(|| Table {
        caption: format!(
            "Brands that {word} most in {} against {}, ordered by the {end} end of the {:.0}% interval. A change without ▲ or ▼ is not clear",
            main.name,
            base.name,
            100.0 * LEVEL
        ),
        columns,
        rows: order.into_iter().map(|brand| mover(view, brand, pair, &changes[brand])).collect(),
    })
}

/// The `brand_idx` of the brands that moved most, by the end of the interval that is nearer to 0: a
/// brand of three users does not lead by luck.
fn most_moved(changes: &[Judged], direction: Direction) -> Vec<usize> {
    let sign = direction.sign();
    let surely = |brand: usize| {
        let [low, high] = changes[brand].ci95?;
        Some(if sign > 0.0 { low } else { -high })
    };
    let moved = |brand: usize| changes[brand].abs.unwrap_or_default() * sign;
    let mut order: Vec<usize> =
        (0..changes.len()).filter(|&b| moved(b) > 0.0 && surely(b).is_some()).collect();
    order.sort_by(|&a, &b| {
        let by = |brand| (surely(brand).unwrap_or(-1.0), moved(brand));
        by(b).0.total_cmp(&by(a).0).then(by(b).1.total_cmp(&by(a).1)).then(a.cmp(&b))
    });
    order.truncate(N_MOVERS);
    order
}

fn mover(
    view: &View,
    brand_idx: usize,
    (base, main): (&Experiment, &Experiment),
    change: &Judged,
) -> Row {
    let brand = &view.brands.list[brand_idx];
    let f1_of = |e: &Experiment| metric(e, view.brand_figures(e)[brand_idx].f1);
    let support = view.counts(main)[brand_idx].support();
    let judged = Cell { tone: tone(change), ..Cell::text(format::points(change.abs)) };
    Row::of(vec![
        Cell::text(&brand.name),
        Cell::text(brand.tier.name()),
        Cell::text(format::count(brand.volume)),
        Cell::text(format::count(support)),
        f1_of(base),
        f1_of(main),
        judged.with(format::interval(change.ci95)),
    ])
}

//! Brand by brand.

use metrics::f1;

use crate::bands::{VolumeBand, volume_bands};
use crate::chart::{Chart, Key, Panel, Place, Scale};
use crate::compare::{Judged, LEVEL};
use crate::evaluate::median;
use crate::format;
use crate::page::explorer;
use crate::page::{Block, Cell, Column, Row, Section, Table, View, metric, number, tone, words};
use crate::report::Experiment;

/// Brands that gained most and those that lost most, of each.
const N_MOVERS: usize = 25;

/// F1 by volume, the largest brands, those that changed most, and all.
pub fn section(view: &View) -> Section {
    let medians = Block::fold("The lines as a table", vec![Block::Table(by_volume(view))]);
    let mut blocks = vec![Block::Chart(scatter(view)), medians];
    if !view.report.top_brands.is_empty() {
        blocks.push(Block::Table(largest(view)));
    }
    if let Some((base, main)) = view.baseline().zip(view.selected()) {
        let tables = movers(view, base, main).filter(|table| !table.rows.is_empty());
        blocks.extend(tables.map(Block::Table));
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
        let brands = list.iter().zip(view.counts(e));
        let at = brands.filter_map(|(brand, &c)| Some((brand.volume.max(1) as f64, f1(c)?)));
        panel.dots(if class == "base" { "base-cloud" } else { "main-cloud" }, at);
        for &(class, e) in &pair {
            panel.line(class, medians(view, e));
        }
        panel
    };
    Chart {
        title: "F1 of every brand against its volume".to_owned(),
        description: "One dot a brand; the lines are medians by band of volume. Brands without F1 are left out. The figures are in the table of all brands and in per_brand.csv.".to_owned(),
        width: 720.0,
        height: 312.0,
        panels: pair.iter().enumerate().map(panel).collect(),
        keys: pair
            .iter()
            .map(|(class, e)| Key::line(class, format!("median of `{}`", e.name)))
            .collect(),
    }
}

/// Median F1 by band of volume, at the middle of the band's brands.
fn medians(view: &View, e: &Experiment) -> Vec<(f64, f64)> {
    let counts = view.counts(e);
    let bands = volume_bands(&view.brands.list);
    let points = bands.iter().filter_map(|band| {
        let volumes = band.members.iter().map(|&b| view.brands.list[b].volume.max(1) as f64);
        let f1s = band.members.iter().filter_map(|&b| f1(counts[b]));
        Some((median_of(volumes.collect())?, median_of(f1s.collect())?))
    });
    points.collect()
}

/// Medians of each band of volume, for the two experiments shown.
fn by_volume(view: &View) -> Table {
    let pair = view.pair();
    let mut columns = vec![words("Volume"), number("Brands").of("volume")];
    for (_, e) in &pair {
        columns.push(number(format!("Median F1, {}", e.name)).of("F1"));
        columns.push(number(format!("Predicted over found, {}", e.name)).of("audience ratio"));
    }
    let row = |band: &VolumeBand| {
        let mut cells = vec![
            Cell::text(format!("from {}", format::count(band.from))),
            Cell::text(format::count(band.members.len() as u64)),
        ];
        for (_, e) in &pair {
            let of_band = || band.members.iter().map(|&brand| view.counts(e)[brand]);
            let there = of_band().filter(|c| c.support() > 0);
            let ratios = there.map(|c| c.predicted() as f64 / c.support() as f64);
            cells.push(metric(e, median_of(of_band().filter_map(f1).collect())));
            cells.push(metric(e, median_of(ratios.collect())));
        }
        Row { class: "", cells }
    };
    Table {
        caption: "Medians by band of volume".to_owned(),
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
    let mut columns = vec![
        words("Brand"),
        words("Tier").of("head, torso, tail"),
        number("Volume").of("volume"),
        number("Support").of("support"),
    ];
    columns.extend(experiments.iter().map(|e| Column { is_code: true, ..number(&e.name) }));
    let top = &view.report.top_brands;
    let row = |brand: &crate::report::TopBrand| {
        let mut cells = vec![
            Cell::text(&brand.name),
            Cell::text(brand.tier),
            Cell::text(format::count(brand.volume)),
            Cell::text(format::count(brand.support)),
        ];
        cells.extend(experiments.iter().map(|e| metric(e, brand.f1[&e.name])));
        Row { class: "", cells }
    };
    Table {
        caption: format!("F1 of the {} brands with most training users", top.len()),
        columns,
        rows: top.iter().map(row).collect(),
    }
}

/// The brands that gained most and those that lost most.
fn movers<'a>(
    view: &'a View,
    base: &'a Experiment,
    main: &'a Experiment,
) -> impl Iterator<Item = Table> + use<'a> {
    let scored = view.trial(main).scored.as_ref();
    let changes = scored.and_then(|scored| scored.delta.as_ref()).map(|(_, changes)| changes);
    let changes: &[Judged] = changes.map_or(&[], Vec::as_slice);
    [("gained", "lower", 1.0), ("lost", "upper", -1.0)].into_iter().map(move |(word, end, sign)| {
        // A change that is sure to be large: a brand of three users does not lead by luck.
        let sure = |brand: usize| {
            let [low, high] = changes[brand].ci95?;
            Some(if sign > 0.0 { low } else { -high })
        };
        let moved = |brand: usize| changes[brand].abs.unwrap_or_default() * sign;
        let mut order: Vec<usize> =
            (0..changes.len()).filter(|&b| moved(b) > 0.0 && sure(b).is_some()).collect();
        order.sort_by(|&a, &b| {
            let by = |brand| (sure(brand).unwrap_or(-1.0), moved(brand));
            by(b).0.total_cmp(&by(a).0).then(by(b).1.total_cmp(&by(a).1)).then(a.cmp(&b))
        });
        order.truncate(N_MOVERS);
        Table {
            caption: format!(
                "The {} brands that {word} most in {} against {}, ordered by the {end} end of the {:.0}% interval; without ▲ or ▼ there is no clear change",
                order.len(),
                main.name,
                base.name,
                100.0 * LEVEL
            ),
            columns: vec![
                words("Brand"),
                words("Tier").of("head, torso, tail"),
                number("Volume").of("volume"),
                number("Support").of("support"),
                Column { is_code: true, ..number(&base.name) },
                Column { is_code: true, ..number(&main.name) },
                number("Change of F1, 95% interval").of("brands better, worse"),
            ],
            rows: order.into_iter().map(|b| mover(view, b, (base, main), &changes[b])).collect(),
        }
    })
}

fn mover(
    view: &View,
    brand_idx: usize,
    (base, main): (&Experiment, &Experiment),
    change: &Judged,
) -> Row {
    let brand = &view.brands.list[brand_idx];
    let f1_of = |e: &Experiment| metric(e, f1(view.counts(e)[brand_idx]));
    let support = view.counts(main)[brand_idx].support();
    let judged = Cell { tone: tone(change), ..Cell::text(format::points(change.abs)) };
    Row {
        class: "",
        cells: vec![
            Cell::text(&brand.name),
            Cell::text(brand.tier.name()),
            Cell::text(format::count(brand.volume)),
            Cell::text(format::count(support)),
            f1_of(base),
            f1_of(main),
            judged.with(format::interval(change.ci95)),
        ],
    }
}

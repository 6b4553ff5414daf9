//! Probabilities against labels, audiences against users who have the brand.

use crate::calibration::{Band, Calibration};
use crate::chart::{Chart, Key, Panel, Place};
use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Row, Section, Table};
use crate::page::view::{View, count, why};
use crate::scale::Scale;
use crate::settings;

pub fn section(view: &View) -> Section {
    let pair: Vec<(&Experiment, &Calibration)> =
        view.pair().into_iter().filter_map(|(_, e)| Some((e, e.calibration.as_ref()?))).collect();
    let mut blocks = vec![
        Block::text(
            "The labels that the probabilities expect against the labels found, before and after calibration; then the \
             users predicted to have a brand against the users who have it.",
        ),
        Block::Table(table(view)),
    ];
    if !pair.is_empty() {
        blocks.push(Block::Chart(reliability(&pair)));
        blocks.push(Block::Chart(audiences(view)));
    }
    let known = view.experiments().into_iter();
    let tables = known.filter_map(|e| Some(Block::Table(bands(e, e.calibration.as_ref()?))));
    blocks.push(Block::fold("Reliability of every experiment", tables.collect()));
    Section { id: "calibration", title: "Calibration and audience size", blocks }
}

fn table(view: &View) -> Table {
    let titles = [
        ("Expected over found, before", "expected labels"),
        ("after", "expected labels"),
        ("Error by brand, before", "calibration error"),
        ("after", "calibration error"),
        ("Error by band, before", "calibration error"),
        ("after", "calibration error"),
        ("Predicted over found", "audience ratio"),
        ("Median of brands", "audience ratio"),
        ("Within half to twice", "audience ratio"),
        ("over brands", "support"),
    ];
    let mut columns = vec![Column::words("Experiment")];
    columns.extend(titles.map(|(title, term)| Column::number(title).of(term)));
    columns.push(Column::words("Chosen on valid").of("chosen on valid"));
    let cells = |e: &Experiment| {
        let of = |value: fn(&Calibration) -> Option<f64>| {
            let value = e.calibration.as_ref().and_then(value);
            Cell::number(format::metric(value), why(e))
        };
        let brands = |value: fn(&Calibration) -> u64| count(e, e.calibration.as_ref().map(value));
        let chosen = e.chosen.as_object().filter(|chosen| !chosen.is_empty());
        vec![
            of(|c| c.before.expected_ratio),
            of(|c| c.after.expected_ratio),
            of(|c| c.before.brand_error),
            of(|c| c.after.brand_error),
            of(|c| c.before.band_error),
            of(|c| c.after.band_error),
            of(|c| c.audience.total_ratio),
            of(|c| c.audience.median_ratio),
            brands(|c| c.audience.n_within_double),
            brands(|c| c.audience.n_brands),
            chosen.map_or(Cell::dash("nothing was left to choose"), |chosen| {
                Cell::text(settings::words(chosen))
            }),
        ]
    };
    Table {
        caption: "Probabilities and audiences on the test users".to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

fn reliability(pair: &[(&Experiment, &Calibration)]) -> Chart {
    let sides = pair.iter().flat_map(|(_, c)| [&c.before, &c.after]);
    let values = sides.flat_map(|side| points(&side.bands)).flat_map(|(x, y)| [x, y]);
    let scale = Scale::log(values);
    let panel = |(i, (e, c)): (usize, &(&Experiment, &Calibration))| {
        let place = Place { left: 70.0 + 360.0 * i as f64, top: 24.0, width: 275.0, height: 240.0 };
        let mut panel =
            Panel::new(place, &e.name, (scale, "mean probability"), (scale, "share of labels"));
        diagonal(&mut panel, scale);
        for (class, side) in [("base", &c.before), ("main", &c.after)] {
            panel.line(class, points(&side.bands));
            for (x, y) in points(&side.bands) {
                let [expected, found] = [x, y].map(format::probability);
                panel.dot(class, (x, y), format!("{expected} expected, {found} found"));
            }
        }
        panel
    };
    Chart {
        title: "Reliability: mean probability against the share of labels".to_owned(),
        description: "One dot for each band of probability. On the diagonal, as many labels are found as the probabilities expect. The figures of every band are in the tables below.".to_owned(),
        width: 720.0,
        height: 312.0,
        panels: pair.iter().enumerate().map(panel).collect(),
        keys: vec![
            Key::line("base", "before calibration"),
            Key::line("main", "after calibration"),
            Key::line("guide", "as many labels found as expected"),
        ],
    }
}

/// Mean probability and share of labels of each band, where a logarithmic scale can show them.
fn points(bands: &[Band]) -> Vec<(f64, f64)> {
    let both = bands.iter().filter_map(|band| band.expected.zip(band.found));
    both.filter(|&(expected, found)| expected > 0.0 && found > 0.0).collect()
}

/// Marks where both axes have the same value.
fn diagonal(panel: &mut Panel, scale: Scale) {
    let ends = [scale.low(), scale.high()];
    panel.line("guide", ends.map(|end| (end, end)));
}

/// Where a brand that is never predicted is drawn: a logarithmic scale has no 0.
const NOBODY: f64 = 0.5;

fn audiences(view: &View) -> Chart {
    let counts = |e: &Experiment| {
        let with_support = view.counts(e).iter().filter(|c| c.support() > 0);
        with_support
            .map(|c| (c.support() as f64, (c.predicted() as f64).max(NOBODY)))
            .collect::<Vec<_>>()
    };
    let pair = view.pair();
    let scale = Scale::log(pair.iter().flat_map(|(_, e)| counts(e)).flat_map(|(x, y)| [x, y]));
    let panel = |(i, (class, e)): (usize, &(&'static str, &Experiment))| {
        let place = Place { left: 70.0 + 360.0 * i as f64, top: 24.0, width: 275.0, height: 240.0 };
        let mut panel =
            Panel::new(place, &e.name, (scale, "users who have it"), (scale, "users predicted"));
        diagonal(&mut panel, scale);
        panel.dots(if *class == "base" { "base-cloud" } else { "main-cloud" }, counts(e));
        panel
    };
    Chart {
        title: "Audience size: users predicted against users who have the brand".to_owned(),
        description: "One dot for each brand with support; brands that are never predicted are at the lower edge. The ratios are in the table above, those of every brand in per_brand.csv.".to_owned(),
        width: 720.0,
        height: 312.0,
        panels: pair.iter().enumerate().map(panel).collect(),
        keys: vec![Key::line("guide", "as many users predicted as have the brand")],
    }
}

fn bands(e: &Experiment, of: &Calibration) -> Table {
    let titles = ["Pairs, before", "Expected", "Found", "Pairs, after", "Expected", "Found"];
    let mut columns = vec![Column::words("Probability from")];
    columns.extend(titles.map(|title| Column::number(title).of("band of probability")));
    let row = |(before, after): (&Band, &Band)| {
        let mut cells = vec![Cell::text(before.from.to_string())];
        for band in [before, after] {
            cells.push(Cell::text(format::count(band.cells)));
            for value in [band.expected, band.found] {
                let cell =
                    value.map_or(Cell::dash("no pair"), |value| Cell::text(format!("{value:.4}")));
                cells.push(cell);
            }
        }
        Row::of(cells)
    };
    Table {
        caption: format!(
            "Reliability of {}: pairs of a test user and a brand by probability, their mean probability (expected) and the share of them that are labels (found)",
            e.name
        ),
        columns,
        rows: of.before.bands.iter().zip(&of.after.bands).map(row).collect(),
    }
}

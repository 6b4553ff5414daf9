//! Probabilities against labels, audiences against users who have the brand.

use crate::calibration::{Band, Calibration};
use crate::chart::{Chart, Key, Panel, Place, Scale};
use crate::format::{self, DASH};
use crate::page::{Block, Cell, Column, Row, Section, Table, View, count, number, words};
use crate::report::Experiment;
use crate::settings;

/// Ratios and errors of all experiments, curves of the two shown in full.
pub fn section(view: &View) -> Section {
    let pair: Vec<(&Experiment, &Calibration)> =
        view.pair().into_iter().filter_map(|(_, e)| Some((e, e.calibration.as_ref()?))).collect();
    let mut blocks = vec![
        Block::text(
            "Labels that the probabilities expect against those found, before and after calibration; then users \
             predicted against users who have the brand.",
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
        ("Within half to double", "audience ratio"),
        ("over brands", "support"),
    ];
    let mut columns = vec![words("Experiment")];
    columns.extend(titles.map(|(title, term)| number(title).of(term)));
    columns.push(words("Chosen on valid").of("chosen on valid"));
    let cells = |e: &Experiment| {
        let of = |value: fn(&Calibration) -> Option<f64>| {
            let value = e.calibration.as_ref().and_then(value);
            Cell::number(format::metric(value), super::why(e))
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
            chosen.map_or(Cell::number(DASH.to_owned(), "nothing was left open"), |chosen| {
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
    let points = |bands: &[Band]| -> Vec<(f64, f64)> {
        let both = bands.iter().filter_map(|band| band.expected.zip(band.found));
        both.filter(|&(expected, found)| expected > 0.0 && found > 0.0).collect()
    };
    let all = pair.iter().flat_map(|(_, c)| [&c.before, &c.after]);
    let all = all.flat_map(|side| points(&side.bands)).flat_map(|(x, y)| [x, y]);
    let scale = Scale::log(all);
    let panel = |(i, (e, c)): (usize, &(&Experiment, &Calibration))| {
        let place = Place { left: 70.0 + 360.0 * i as f64, top: 24.0, width: 275.0, height: 240.0 };
        let mut panel =
            Panel::new(place, &e.name, (scale, "mean probability"), (scale, "share of labels"));
        let Scale::Log(low, high) = scale else { unreachable!("made above") };
        panel.line("guide", [(low, low), (high, high)]);
        for (class, side) in [("base", &c.before), ("main", &c.after)] {
            panel.line(class, points(&side.bands));
            for (x, y) in points(&side.bands) {
                let figures = format!(
                    "{} expected, {} found",
                    format::probability(x),
                    format::probability(y)
                );
                panel.dot(class, (x, y), figures);
            }
        }
        panel
    };
    Chart {
        title: "Reliability: probabilities against the share that are labels".to_owned(),
        description: "Bands of probability; on the diagonal a probability can be taken at its word. The figures of every band are in the tables below.".to_owned(),
        width: 720.0,
        height: 312.0,
        panels: pair.iter().enumerate().map(panel).collect(),
        keys: vec![
            Key::line("base", "before calibration"),
            Key::line("main", "after calibration"),
            Key::line("guide", "as many labels as expected"),
        ],
    }
}

/// Predicted users below one are drawn at this.
const NOBODY: f64 = 0.5;

fn audiences(view: &View) -> Chart {
    let counts = |e: &Experiment| {
        let there = view.counts(e).iter().filter(|c| c.support() > 0);
        there.map(|c| (c.support() as f64, (c.predicted() as f64).max(NOBODY))).collect::<Vec<_>>()
    };
    let pair = view.pair();
    let scale = Scale::log(pair.iter().flat_map(|(_, e)| counts(e)).flat_map(|(x, y)| [x, y]));
    let panel = |(i, (class, e)): (usize, &(&'static str, &Experiment))| {
        let place = Place { left: 70.0 + 360.0 * i as f64, top: 24.0, width: 275.0, height: 240.0 };
        let mut panel =
            Panel::new(place, &e.name, (scale, "users who have it"), (scale, "users predicted"));
        let Scale::Log(low, high) = scale else { unreachable!("made above") };
        panel.line("guide", [(low, low), (high, high)]);
        panel.dots(if *class == "base" { "base-cloud" } else { "main-cloud" }, counts(e));
        panel
    };
    Chart {
        title: "Audience size: users predicted against users who have the brand".to_owned(),
        description: "One dot a brand that a test user has; at the lower edge brands that are never predicted. The ratios are in the table above, every brand's in per_brand.csv.".to_owned(),
        width: 720.0,
        height: 312.0,
        panels: pair.iter().enumerate().map(panel).collect(),
        keys: vec![Key::line("guide", "as many predicted as there are")],
    }
}

fn bands(e: &Experiment, of: &Calibration) -> Table {
    let titles = ["Cells, before", "Expected", "Found", "Cells, after", "Expected", "Found"];
    let columns: Vec<Column> = [
        vec![words("Probability from")],
        titles.map(|title| number(title).of("band of probability")).to_vec(),
    ]
    .concat();
    let row = |(before, after): (&Band, &Band)| {
        let mut cells = vec![Cell::text(before.from.to_string())];
        for band in [before, after] {
            cells.push(Cell::text(format::count(band.cells)));
            for value in [band.expected, band.found] {
                let text = value.map_or(DASH.to_owned(), |value| format!("{value:.4}"));
                cells.push(Cell::number(text, "no cell"));
            }
        }
        Row { class: "", cells }
    };
    Table {
        caption: format!(
            "Reliability of {}: pairs of a test user and a brand by probability, its mean, and the share of them that are labels",
            e.name
        ),
        columns,
        rows: of.before.bands.iter().zip(&of.after.bands).map(row).collect(),
    }
}

//! How many brands reach which F1.

use metrics::f1;

use crate::chart::{Chart, Key, Panel, Place, Scale};
use crate::compare::Change;
use crate::format::{self, DASH};
use crate::page::{Block, Cell, Row, Section, Table, UNDEFINED, View, count, number, words};
use crate::report::Experiment;
use contract::brands::Tier;

/// Brands at each F1, between the trivial floor and the ceiling.
pub fn table(view: &View) -> Section {
    let report = view.report;
    let bounds: Vec<&String> = report.floor.buckets.keys().collect();
    let mut columns = vec![words("Experiment")];
    columns.extend(bounds.iter().map(|low| number(format!("F1 ≥ {low}")).of("F1 bucket")));
    let cells = |e: &Experiment| {
        let reached = e.figures.buckets.iter().map(|(low, &n)| {
            let Change { abs, rel } = e.delta.buckets[low];
            let detail =
                abs.filter(|_| !view.is_baseline(e)).map(|_| format::count_change(abs, rel));
            count(e, n).with(detail)
        });
        reached.collect()
    };
    let bound = |name: Cell, values: Vec<Option<u64>>| {
        let values = values.into_iter().map(|n| Cell::number(format::maybe_count(n), UNDEFINED));
        Row { class: "bound", cells: std::iter::once(name).chain(values).collect() }
    };
    let floor = Cell::term("trivial floor", "trivial floor")
        .with(Some("every brand for every user".to_owned()));
    let mut rows = vec![bound(floor, report.floor.buckets.values().copied().collect())];
    rows.extend(view.rows(cells));
    let shown = view.selected().or(view.baseline());
    rows.extend(shown.map(|e| {
        let detail = "each brand's best threshold on the test users".to_owned();
        let name = Cell::term(format!("ceiling of {}", e.name), "ceiling").with(Some(detail));
        bound(name, e.figures.ceiling.buckets.values().copied().collect())
    }));
    let distributions = Table {
        caption: format!("Brands that reach each F1, of {}", format::count(report.n_brands)),
        columns,
        rows,
    };
    Section {
        id: "distributions",
        title: "Distributions",
        blocks: vec![
            Block::text(format!(
                "The trivial floor reaches an item macro F1 of {} and a user F1 of {} without any model. \
                 The ceiling is what the best thresholds for the test users themselves would reach: a bound, not a result.",
                format::metric(report.floor.macro_f1),
                format::metric(report.floor.user_f1),
            )),
            Block::Table(distributions),
            Block::Table(never_predicted(view)),
        ],
    }
}

fn never_predicted(view: &View) -> Table {
    let mut columns = vec![
        words("Experiment"),
        number("Never predicted").of("never predicted"),
        number("of those with support").of("support"),
    ];
    columns.extend(Tier::ALL.map(|tier| number(tier.name()).of("head, torso, tail")));
    columns.push(number("Predictions per user").of("predictions per user"));
    let cells = |e: &Experiment| {
        let never = &e.figures.never_predicted;
        let mut cells = vec![count(e, e.figures.n_never_predicted), count(e, never.n_with_support)];
        cells.extend(Tier::ALL.map(|tier| count(e, *never.by_tier.get(tier))));
        cells.push(Cell::number(format::mean(e.figures.predictions_per_user), super::why(e)));
        cells
    };
    Table {
        caption: format!(
            "Brands that no test user is predicted to have, of {}; test users have {} labels on average",
            format::count(view.report.n_brands),
            format::mean(view.report.labels_per_user)
        ),
        columns,
        rows: view.rows(cells),
    }
}

/// The shape of each distribution.
pub fn shapes(view: &View) -> Section {
    let baseline = view.baseline().map(|e| reaching(view, e));
    let scored = || view.experiments().into_iter().filter(|e| e.is_ok());
    let chart = |e: &Experiment| {
        let place = Place { left: 34.0, top: 22.0, width: 190.0, height: 110.0 };
        let y = (Scale::Sqrt(view.report.n_brands as f64), "brands");
        let mut panel = Panel::new(place, &e.name, (Scale::Linear(0.0, 1.0), "F1 at least"), y);
        if let Some(baseline) = baseline.as_ref().filter(|_| !view.is_baseline(e)) {
            panel.line("base", baseline.iter().copied());
        }
        let class = if view.is_baseline(e) { "base" } else { "main" };
        panel.line(class, reaching(view, e));
        let buckets: Vec<String> = e
            .figures
            .buckets
            .iter()
            .map(|(low, &n)| format!("{} at F1 {low} or more", format::maybe_count(n)))
            .collect();
        Chart {
            title: format!("Brands by F1 in {}", e.name),
            description: format!("Of {} brands: {}.", view.report.n_brands, buckets.join(", ")),
            width: 240.0,
            height: 172.0,
            panels: vec![panel],
            keys: vec![Key::line("main", "the experiment"), Key::line("base", "the baseline")],
        }
    };
    let charts = Block::Charts {
        caption: "Brands that reach at least each F1; the scale is of square roots, so that few brands are seen beside many"
            .to_owned(),
        charts: scored().map(chart).collect(),
    };
    Section {
        id: "f1",
        title: "F1 of the brands",
        blocks: vec![charts, Block::fold("The same as a table", vec![Block::Table(bands(view))])],
    }
}

/// How many brands have at least each F1, at steps of a fiftieth.
fn reaching(view: &View, e: &Experiment) -> Vec<(f64, f64)> {
    let mut f1s: Vec<f64> = view.counts(e).iter().filter_map(|&c| f1(c)).collect();
    f1s.sort_by(f64::total_cmp);
    let n_from = |low: f64| f1s.len() - f1s.partition_point(|&f1| f1 < low);
    (0..=50).map(|i| f64::from(i) / 50.0).map(|low| (low, n_from(low) as f64)).collect()
}

fn bands(view: &View) -> Table {
    let titles = view.experiments().into_iter().find(|e| e.is_ok()).map(|e| &e.figures.f1_bands);
    let mut columns = vec![words("Experiment"), number("undefined").of("F1")];
    for (i, band) in titles.into_iter().flatten().enumerate() {
        let title = match i {
            0 => "0".to_owned(),
            1 => "above 0".to_owned(),
            _ => format!("from {}", band.from),
        };
        columns.push(number(title).of("F1"));
    }
    let n_bands = columns.len() - 2;
    let cells = |e: &Experiment| {
        let mut cells = vec![count(e, e.figures.n_undefined)];
        if e.is_ok() {
            cells.extend(e.figures.f1_bands.iter().map(|band| Cell::text(format::count(band.n))));
        } else {
            cells.extend(vec![Cell::number(DASH.to_owned(), super::NOT_SCORED); n_bands]);
        }
        cells
    };
    Table {
        caption: "Brands by F1, each in one column".to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

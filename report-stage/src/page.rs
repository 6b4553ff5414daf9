//! The report as headings, sentences and tables: what its Markdown and HTML both show.

use contract::statistics::Spread;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use crate::calibration::Calibration;
use crate::compare::{Change, Judged, Outcome, outcome};
use crate::evaluate::AtK;
use crate::format::{self, DASH};
use crate::load::Tier;
use crate::report::{Experiment, Report};

/// Lengths of a list of best brands that have a column; `report.json` has all.
const SHOWN_KS: [usize; 3] = [1, 5, 20];

/// All that a reader sees, in order.
#[derive(Debug, Serialize)]
pub struct Page {
    /// The first heading
    pub title: String,
    /// What was measured on
    pub subtitle: String,
    /// The answer first
    pub answer: Vec<String>,
    /// The rest
    pub sections: Vec<Section>,
}

/// A heading and what stands below it.
#[derive(Debug, Default, Serialize)]
pub struct Section {
    /// For links
    pub id: &'static str,
    /// The heading
    pub title: &'static str,
    /// Sentences in which `code` is marked so
    pub paragraphs: Vec<String>,
    /// Tables
    pub tables: Vec<Table>,
    /// Words, as sentences, and what they mean
    pub terms: Vec<(String, String)>,
    /// Shell commands
    pub commands: Vec<String>,
    /// Too long for Markdown in a pull request
    pub is_html_only: bool,
}

/// A table; the first cell of a row names the row.
#[derive(Debug, Serialize)]
pub struct Table {
    /// What it shows
    pub caption: String,
    /// Headings
    pub columns: Vec<Column>,
    /// As many cells each as there are columns
    pub rows: Vec<Row>,
}

/// A column's heading.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// Its text
    pub title: String,
    /// Whether it is a name of the manifest
    pub is_code: bool,
    /// Whether it holds numbers, which stand to the right
    pub is_number: bool,
}

/// A row.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    /// `baseline`, `missing`, `floor` or nothing
    pub class: &'static str,
    /// From the left
    pub cells: Vec<Cell>,
}

/// One cell. Its text is data and may hold any character; its detail is ours.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cell {
    /// What it says
    pub text: String,
    /// Less important, after the text
    pub detail: Option<String>,
    /// Why the text is a dash
    pub why: Option<&'static str>,
    /// `better` or `worse`, where an interval says so
    pub tone: Option<&'static str>,
    /// Whether it is a name of the manifest
    pub is_code: bool,
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    fn number(text: String, why: &'static str) -> Self {
        let is_dash = text == DASH;
        Self { text, why: is_dash.then_some(why), ..Self::default() }
    }

    fn with(self, detail: Option<String>) -> Self {
        Self { detail, ..self }
    }
}

const UNDEFINED: &str = "undefined or not known";
const NOT_COMPARED: &str = "not compared";
const NOT_SCORED: &str = "no scores";

fn words(title: &str) -> Column {
    Column { title: title.to_owned(), is_code: false, is_number: false }
}

fn number(title: impl Into<String>) -> Column {
    Column { title: title.into(), is_code: false, is_number: true }
}

/// Lays the report out.
///
/// * `commands`: what reproduces it.
pub fn lay_out(report: &Report, commands: Vec<String>) -> Page {
    let mut answer = report.answer.text.clone();
    answer.extend(report.notes.iter().map(|note| format!("Note: {note}")));
    Page {
        title: format!("Experiments against `{}`", report.baseline),
        subtitle: format!(
            "{} test users, {} of them with at least one of {} brands; {} labels per user.",
            format::count(report.n_test_users),
            format::count(report.n_users_with_labels),
            format::count(report.n_brands),
            format::mean(report.labels_per_user),
        ),
        answer,
        sections: vec![
            experiments(report),
            distributions(report),
            tiers(report),
            top_brands(report),
            user_level(report),
            never_predicted(report),
            calibration(report),
            reliability(report),
            sample(report),
            training(report),
            history(report),
            method(report),
            definitions(report),
            files(commands),
        ],
    }
}

/// The baseline first, then the manifest's order.
fn baseline_first(report: &Report) -> Vec<&Experiment> {
    let (baseline, others): (Vec<_>, Vec<_>) =
        report.experiments.iter().partition(|e| e.name == report.baseline);
    baseline.into_iter().chain(others).collect()
}

/// One row an experiment, the baseline first.
fn rows(report: &Report, cells: impl Fn(&Experiment) -> Vec<Cell>) -> Vec<Row> {
    let row = |e: &Experiment| {
        let is_baseline = e.name == report.baseline;
        let (class, detail) = match (e.is_ok(), is_baseline) {
            (false, true) => ("missing", Some("baseline, no scores")),
            (false, false) => ("missing", Some("no scores")),
            (true, true) => ("baseline", Some("baseline")),
            (true, false) => ("", None),
        };
        let name = Cell { is_code: true, ..Cell::text(&e.name) }.with(detail.map(str::to_owned));
        Row { class, cells: [vec![name], cells(e)].concat() }
    };
    baseline_first(report).into_iter().map(row).collect()
}

fn why(experiment: &Experiment) -> &'static str {
    if experiment.is_ok() { UNDEFINED } else { NOT_SCORED }
}

fn metric(experiment: &Experiment, value: Option<f64>) -> Cell {
    Cell::number(format::metric(value), why(experiment))
}

/// A metric and its change, which the baseline does not have.
fn metric_and_change(
    report: &Report,
    experiment: &Experiment,
    value: Option<f64>,
    change: Change,
) -> Cell {
    let is_baseline = experiment.name == report.baseline;
    let detail =
        change.abs.filter(|_| !is_baseline).map(|_| format::change(change.abs, change.rel));
    metric(experiment, value).with(detail)
}

fn judged(report: &Report, experiment: &Experiment, delta: &Judged) -> Cell {
    if experiment.name == report.baseline {
        return Cell::number(DASH.to_owned(), "the baseline itself");
    }
    let tone = match outcome(delta.ci95) {
        Outcome::Better => Some("better"),
        Outcome::Worse => Some("worse"),
        Outcome::NoClearChange | Outcome::Undefined => None,
    };
    let cell = Cell::number(format::change(delta.abs, delta.rel), NOT_COMPARED);
    Cell { tone, ..cell }.with(format::interval(delta.ci95))
}

fn count(experiment: &Experiment, n: Option<u64>) -> Cell {
    Cell::number(format::maybe_count(n), why(experiment))
}

fn experiments(report: &Report) -> Section {
    let columns = vec![
        words("Experiment"),
        number("Item macro F1"),
        number("Change, 95% interval"),
        number("User F1"),
        number("Change, 95% interval"),
        number("Micro F1"),
        number("Change, 95% interval"),
        words("Verdict"),
    ];
    let cells = |e: &Experiment| {
        vec![
            metric(e, e.figures.item.macro_f1),
            judged(report, e, &e.delta.item_f1),
            metric(e, e.figures.user.f1),
            judged(report, e, &e.delta.user_f1),
            metric(e, e.figures.micro.f1),
            judged(report, e, &e.delta.micro_f1),
            Cell::text(&e.verdict),
        ]
    };
    let quality_columns = vec![
        words("Experiment"),
        number("Precision"),
        number("over brands"),
        number("Recall"),
        number("over brands"),
        number("F1 defined for"),
        number("F1 undefined for"),
        number("MAP"),
    ];
    let quality = |e: &Experiment| {
        let item = &e.figures.item;
        vec![
            metric(e, item.macro_precision),
            count(e, item.n_precision),
            metric(e, item.macro_recall),
            count(e, item.n_recall),
            count(e, item.n_defined),
            count(e, e.figures.n_undefined),
            metric_and_change(report, e, e.figures.map, e.delta.map),
        ]
    };
    Section {
        id: "experiments",
        title: "Experiments",
        tables: vec![
            Table {
                caption: "All experiments; changes against the baseline, in brackets as a share of its value"
                    .to_owned(),
                columns,
                rows: rows(report, cells),
            },
            Table {
                caption: "Item level: means over brands, and over how many".to_owned(),
                columns: quality_columns,
                rows: rows(report, quality),
            },
        ],
        ..Section::default()
    }
}

fn distributions(report: &Report) -> Section {
    let bounds: Vec<&String> = report.floor.buckets.keys().collect();
    let mut columns = vec![words("Experiment")];
    columns.extend(bounds.iter().map(|low| number(format!("F1 ≥ {low}"))));
    columns.extend(bounds.iter().map(|low| number(format!("ceiling ≥ {low}"))));
    let cells = |e: &Experiment| {
        let reached = e.figures.buckets.iter().map(|(low, &n)| {
            let Change { abs, rel } = e.delta.buckets[low];
            let detail =
                abs.filter(|_| e.name != report.baseline).map(|_| format::count_change(abs, rel));
            count(e, n).with(detail)
        });
        reached.chain(e.figures.ceiling.buckets.values().map(|&n| count(e, n))).collect()
    };
    let floor_cells =
        report.floor.buckets.values().map(|&n| Cell::number(format::maybe_count(n), UNDEFINED));
    let mut floor =
        vec![Cell::text("trivial floor").with(Some("every brand for every user".to_owned()))];
    floor.extend(floor_cells);
    floor.extend(bounds.iter().map(|_| Cell::number(DASH.to_owned(), "there is no model")));
    let mut all = vec![Row { class: "floor", cells: floor }];
    all.extend(rows(report, cells));
    Section {
        id: "distributions",
        title: "Distributions",
        paragraphs: vec![format!(
            "The trivial floor reaches an item macro F1 of {} and a user F1 of {} without any model. \
             The ceiling is what the best thresholds for the test users themselves would reach: a bound, not a result.",
            format::metric(report.floor.macro_f1),
            format::metric(report.floor.user_f1),
        )],
        tables: vec![Table {
            caption: format!("Brands that reach each F1, of {}", format::count(report.n_brands)),
            columns,
            rows: all,
        }],
        ..Section::default()
    }
}

fn tiers(report: &Report) -> Section {
    let mut columns = vec![words("Experiment")];
    for tier in Tier::ALL {
        columns.push(number(format!(
            "{}, of {}",
            tier.name(),
            format::count(*report.tiers.get(tier))
        )));
        columns.push(number("over brands"));
    }
    let cells = |e: &Experiment| {
        let of_tier = |tier| {
            let figures = e.figures.item.by_tier.get(tier);
            let change = *e.delta.by_tier.get(tier);
            [metric_and_change(report, e, figures.macro_f1, change), count(e, figures.n_defined)]
        };
        Tier::ALL.into_iter().flat_map(of_tier).collect()
    };
    Section {
        id: "tiers",
        title: "Head, torso and tail",
        tables: vec![Table {
            caption: "Item macro F1 by volume of the brand, and over how many of the tier's brands"
                .to_owned(),
            columns,
            rows: rows(report, cells),
        }],
        ..Section::default()
    }
}

fn top_brands(report: &Report) -> Section {
    let experiments = baseline_first(report);
    let mut columns = vec![words("Brand"), words("Tier"), number("Volume"), number("Support")];
    columns.extend(experiments.iter().map(|e| Column { is_code: true, ..number(&e.name) }));
    let rows = report
        .top_brands
        .iter()
        .map(|brand| {
            let mut cells = vec![
                Cell::text(&brand.name),
                Cell::text(brand.tier),
                Cell::text(format::count(brand.volume)),
                Cell::text(format::count(brand.support)),
            ];
            cells.extend(experiments.iter().map(|e| metric(e, brand.f1[&e.name])));
            Row { class: "", cells }
        })
        .collect();
    Section {
        id: "top-brands",
        title: "Top brands",
        tables: vec![Table {
            caption: format!(
                "F1 of the {} brands with most training users",
                report.top_brands.len()
            ),
            columns,
            rows,
        }],
        ..Section::default()
    }
}

fn user_level(report: &Report) -> Section {
    let mut columns = vec![
        words("Experiment"),
        number("F1"),
        number("Precision"),
        number("over users"),
        number("Recall"),
    ];
    let is_measured =
        |k: &usize| report.experiments.iter().any(|e| e.figures.user.recall_at.contains_key(k));
    let ks: Vec<usize> = SHOWN_KS.into_iter().filter(is_measured).collect();
    for name in ["P", "R", "NDCG"] {
        columns.extend(ks.iter().map(|k| number(format!("{name}@{k}"))));
    }
    let cells = |e: &Experiment| {
        let (user, delta) = (&e.figures.user, &e.delta);
        let f1_change = Change { abs: delta.user_f1.abs, rel: delta.user_f1.rel };
        let mut cells = vec![
            metric_and_change(report, e, user.f1, f1_change),
            metric_and_change(report, e, user.precision, delta.user_precision),
            count(e, user.n_with_predictions),
            metric_and_change(report, e, user.recall, delta.user_recall),
        ];
        let rankings = [
            (&user.precision_at, &delta.precision_at),
            (&user.recall_at, &delta.recall_at),
            (&user.ndcg_at, &delta.ndcg_at),
        ];
        for (values, changes) in rankings {
            let at = |k: &usize| {
                let change = changes.get(k).copied().unwrap_or_default();
                metric_and_change(report, e, at_k(values, *k), change)
            };
            cells.extend(ks.iter().map(at));
        }
        cells
    };
    Section {
        id: "user-level",
        title: "User level",
        paragraphs: vec![format!(
            "Means over the {} test users with at least one label; precision over those of them with a prediction.",
            format::count(report.n_users_with_labels)
        )],
        tables: vec![Table {
            caption: "Decisions and rankings per user".to_owned(),
            columns,
            rows: rows(report, cells),
        }],
        ..Section::default()
    }
}

fn at_k(values: &AtK, k: usize) -> Option<f64> {
    values.get(&k).copied().flatten()
}

fn never_predicted(report: &Report) -> Section {
    let mut columns =
        vec![words("Experiment"), number("Never predicted"), number("of those with support")];
    columns.extend(Tier::ALL.map(|tier| number(tier.name())));
    columns.push(number("Predictions per user"));
    let cells = |e: &Experiment| {
        let never = &e.figures.never_predicted;
        let mut cells = vec![count(e, e.figures.n_never_predicted), count(e, never.n_with_support)];
        cells.extend(Tier::ALL.map(|tier| count(e, *never.by_tier.get(tier))));
        cells.push(Cell::number(format::mean(e.figures.predictions_per_user), why(e)));
        cells
    };
    Section {
        id: "never-predicted",
        title: "Never predicted",
        paragraphs: vec![format!(
            "Test users have {} labels on average.",
            format::mean(report.labels_per_user)
        )],
        tables: vec![Table {
            caption: format!(
                "Brands that no test user is predicted to have, of {}",
                format::count(report.n_brands)
            ),
            columns,
            rows: rows(report, cells),
        }],
        ..Section::default()
    }
}

fn calibration(report: &Report) -> Section {
    let titles = [
        "Expected over found, before",
        "after",
        "Error by brand, before",
        "after",
        "Error by band, before",
        "after",
        "Predicted over found",
        "Median of brands",
        "Within half to double",
        "over brands",
    ];
    let mut columns = [vec![words("Experiment")], titles.map(number).to_vec()].concat();
    columns.push(words("Chosen on valid"));
    let cells = |e: &Experiment| {
        let of = |value: fn(&Calibration) -> Option<f64>| {
            Cell::number(format::metric(e.calibration.as_ref().and_then(value)), why(e))
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
            Cell::text(chosen.map_or(DASH.to_owned(), settings)),
        ]
    };
    Section {
        id: "calibration",
        title: "Calibration and audience size",
        paragraphs: vec![
            "Labels that the probabilities expect against those found, before and after calibration; then users predicted against users who have the brand."
                .to_owned(),
        ],
        tables: vec![Table {
            caption: "Probabilities and audiences on the test users".to_owned(),
            columns,
            rows: rows(report, cells),
        }],
        ..Section::default()
    }
}

fn reliability(report: &Report) -> Section {
    let titles = ["Cells", "Expected", "Found", "Cells", "Expected", "Found"];
    let mut columns = [vec![words("Probability from")], titles.map(number).to_vec()].concat();
    for (column, when) in [(1, "before"), (4, "after")] {
        columns[column].title = format!("Cells, {when}");
    }
    let table = |e: &Experiment, of: &Calibration| Table {
        caption: format!("Reliability of {}", e.name),
        columns: columns.clone(),
        rows: of
            .before
            .bands
            .iter()
            .zip(&of.after.bands)
            .map(|(before, after)| {
                let mut cells = vec![Cell::text(before.from.to_string())];
                for band in [before, after] {
                    cells.push(Cell::text(format::count(band.cells)));
                    let share = |value: Option<f64>| {
                        value.map_or(DASH.to_owned(), |value| format!("{value:.4}"))
                    };
                    cells.push(Cell::number(share(band.expected), "no cell"));
                    cells.push(Cell::number(share(band.found), "no cell"));
                }
                Row { class: "", cells }
            })
            .collect(),
    };
    let known = baseline_first(report).into_iter();
    Section {
        id: "reliability",
        title: "Reliability",
        paragraphs: vec![
            "Pairs of a test user and a brand by their probability: its mean, and the share of them that are labels."
                .to_owned(),
        ],
        tables: known.filter_map(|e| Some(table(e, e.calibration.as_ref()?))).collect(),
        is_html_only: true,
        ..Section::default()
    }
}

fn sample(report: &Report) -> Section {
    let titles = [
        "Rows",
        "Users",
        "Clones",
        "No label",
        "Head labels",
        "Torso labels",
        "Tail labels",
        "Imbalance ratio",
        "SCUMBLE",
        "Brands without",
    ];
    let columns = [vec![words("Experiment")], titles.map(number).to_vec()].concat();
    let line = |spread: &Spread, users: u64, clones: u64, without: Option<u64>| {
        let tiers = spread.positives_by_tier;
        let counts = [
            spread.rows,
            users,
            clones,
            spread.rows_without_label,
            tiers.head,
            tiers.torso,
            tiers.tail,
        ];
        let mut cells: Vec<Cell> =
            counts.map(|n| Cell::number(format::count(n), UNDEFINED)).to_vec();
        cells.push(Cell::number(format::mean(spread.mean_imbalance_ratio), UNDEFINED));
        cells.push(Cell::number(format::metric(spread.scumble), UNDEFINED));
        cells.push(Cell::number(format::maybe_count(without), "in no sample"));
        cells
    };
    let samples = || report.experiments.iter().filter_map(|e| e.sample.as_ref());
    let mut rows: Vec<Row> = Vec::new();
    if let Some(any) = samples().next() {
        let before = line(&any.before, any.before.rows, 0, None);
        rows.push(Row {
            class: "floor",
            cells: [vec![Cell::text("training users")], before].concat(),
        });
    }
    let sampled = |e: &Experiment| {
        let Some(s) = &e.sample else {
            return vec![Cell::number(DASH.to_owned(), "has no sample"); titles.len()];
        };
        line(&s.after, s.users, s.clones, Some(s.brands_without_positives.train))
    };
    rows.extend(self::rows(report, sampled));
    let paragraphs = samples().next().map(|any| {
        let without = any.brands_without_positives;
        format!(
            "What each sampling query made of the training users: labels by tier, mean imbalance ratio, SCUMBLE, and brands without a positive. Of {} brands, those without a positive among the valid users: {}; among the test users: {}.",
            format::count(report.n_brands), format::count(without.valid), format::count(without.test)
        )
    });
    Section {
        id: "sample",
        title: "Samples",
        paragraphs: paragraphs.into_iter().collect(),
        tables: vec![Table {
            caption: "Training users and the examples drawn from them".to_owned(),
            columns,
            rows,
        }],
        ..Section::default()
    }
}

fn training(report: &Report) -> Section {
    let columns = ["Training rows", "Updates", "Kept after", "Sample, s", "Train, s", "Score, s"];
    let mut columns: Vec<Column> = columns.map(number).to_vec();
    columns.insert(0, words("Experiment"));
    columns.push(words("What differs from the baseline"));
    let cells = |e: &Experiment| {
        let unknown = "not recorded";
        let differs =
            if e.name == report.baseline { DASH.to_owned() } else { settings(&e.differs) };
        vec![
            Cell::number(format::maybe_count(e.train_rows), unknown),
            Cell::number(format::maybe_count(e.updates), unknown),
            Cell::number(format::maybe_count(e.updates_kept), unknown),
            Cell::number(format::secs(e.secs.sample), unknown),
            Cell::number(format::secs(e.secs.train), unknown),
            Cell::number(format::secs(e.secs.score), unknown),
            Cell::text(differs),
        ]
    };
    Section {
        id: "training",
        title: "Training",
        tables: vec![Table {
            caption: "What each experiment took, and how it is set".to_owned(),
            columns,
            rows: rows(report, cells),
        }],
        ..Section::default()
    }
}

fn settings(differs: &serde_json::Map<String, Value>) -> String {
    if differs.is_empty() {
        return "nothing".to_owned();
    }
    differs
        .iter()
        .map(|(key, value)| format!("{key}: {}", flow(value)))
        .collect::<Vec<_>>()
        .join("; ")
}

/// As YAML on one line, as the manifest writes it.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Number(number) if number.is_f64() => {
            number.as_f64().expect("just asked").to_string()
        }
        other => other.to_string(),
    }
}

fn history(report: &Report) -> Section {
    let columns = ["Train loss", "Valid loss", "Valid macro F1", "Valid user F1"];
    let mut columns: Vec<Column> = columns.map(number).to_vec();
    columns.insert(0, words("Epoch"));
    let table = |e: &Experiment| Table {
        caption: format!("Training of {}", e.name),
        columns: columns.clone(),
        rows: e
            .history
            .iter()
            .map(|epoch| {
                let cells = vec![
                    Cell::text(epoch.epoch.to_string()),
                    Cell::text(format!("{:.5}", epoch.train_loss)),
                    Cell::text(format!("{:.5}", epoch.valid_loss)),
                    metric(e, epoch.valid_macro_f1),
                    metric(e, epoch.valid_user_f1),
                ];
                Row { class: "", cells }
            })
            .collect(),
    };
    let trained = baseline_first(report).into_iter().filter(|e| !e.history.is_empty());
    Section {
        id: "history",
        title: "Training history",
        paragraphs: vec![
            "Losses of different kinds cannot be compared with each other.".to_owned(),
        ],
        tables: trained.map(table).collect(),
        is_html_only: true,
        ..Section::default()
    }
}

fn method(report: &Report) -> Section {
    let method = &report.method;
    let by_chance = format!("{:.1}", method.n_intervals as f64 * (1.0 - method.level));
    Section {
        id: "method",
        title: "Method",
        paragraphs: vec![
            format!(
                "Thresholds and calibration were fitted on valid users; every figure is of test users. \
                 Intervals are the central 95% of the change over {} bootstrap draws of the test users \
                 (percentiles; seed {}), each draw taking the same users for the experiment and the baseline.",
                format::count(method.bootstrap_draws as u64),
                method.seed,
            ),
            format!(
                "{} compared with the baseline at item level, at user level and by micro F1: {} intervals, \
                 of which about {by_chance} would exclude 0 by chance if nothing had changed. They are not corrected for that.",
                experiments_were(method.n_compared),
                format::count(method.n_intervals as u64),
            ),
            "The intervals tell how much the figures would change with other test users, not with another \
             seed of training or sampling: where a claim is close, run three seeds."
                .to_owned(),
            format!(
                "A dash ({DASH}) is a figure that is undefined or not known. F1 has three decimals, changes have \
                 four; a change is followed by its share of the baseline's value."
            ),
        ],
        ..Section::default()
    }
}

fn experiments_were(n: usize) -> String {
    match n {
        1 => "1 experiment was".to_owned(),
        n => format!("{} experiments were", format::count(n as u64)),
    }
}

fn definitions(report: &Report) -> Section {
    let terms: &IndexMap<String, String> = &report.definitions;
    Section {
        id: "definitions",
        title: "Definitions",
        terms: terms.iter().map(|(term, text)| (term.clone(), text.clone())).collect(),
        ..Section::default()
    }
}

fn files(commands: Vec<String>) -> Section {
    let terms = [
        ("`report.json`", "all figures, for programs"),
        ("`report.md`", "this report for a pull request"),
        ("`report.html`", "this report for a browser"),
        (
            "`per_brand.arrow`",
            "counts, precision, recall and F1 of every brand in every experiment",
        ),
    ];
    Section {
        id: "files",
        title: "Files, and how to make them again",
        terms: terms.map(|(file, what)| (file.to_owned(), what.to_owned())).to_vec(),
        commands,
        ..Section::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_read_as_the_manifest_writes_them() {
        let differs = json!({"train.hidden": [512, 512], "train.loss": {"kind": "bfce", "gamma": 2.0}, "sample.sql": "a.sql"});
        assert_eq!(
            settings(differs.as_object().unwrap()),
            "train.hidden: [512, 512]; train.loss: {kind: bfce, gamma: 2}; sample.sql: a.sql"
        );
        assert_eq!(settings(&serde_json::Map::new()), "nothing");
    }
}

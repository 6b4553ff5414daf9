//! How the figures came about.

use indexmap::IndexMap;

use crate::answer::listed;
use crate::definitions::term_id;
use crate::format::{self, DASH};
use crate::page::{Block, Cell, Column, Row, Section, Table, Term, View, number, words};
use crate::records::StageTrace;
use crate::report::{Experiment, Report};
use crate::settings;

/// Rules, seeds, intervals, and what was left out.
pub fn method(view: &View) -> Section {
    let report = view.report;
    let method = &report.method;
    let by_chance = format!("{:.1}", method.n_intervals as f64 * (1.0 - method.level));
    let mut blocks = vec![
        Block::text(format!(
            "Every figure is of test users, and no label of theirs is used to train, calibrate or decide: thresholds \
             are set by the manifest, chosen on valid users, or expected from probabilities.{}",
            expecting(view)
        )),
        Block::text(format!(
            "Intervals are the central 95% of the change over {} bootstrap draws of the test users \
             (percentiles; seed {}), each draw taking the same users for the experiment and the baseline. \
             Intervals of single brands, tiers and bands of volume are of the first {} draws.",
            format::count(method.bootstrap_draws as u64),
            method.seed,
            format::count(method.bootstrap_draws.min(metrics::MAX_BRAND_DRAWS) as u64),
        )),
        Block::text(format!(
            "{} compared with the baseline at item level, at user level, by micro F1, by tier and by band of volume: {} intervals, \
             of which about {by_chance} would exclude 0 by chance if nothing had changed. They are not corrected for that, \
             nor are those of single brands: if nothing had changed, up to {} of {} brands would be called better and as many worse.",
            experiments_were(method.n_compared),
            format::count(method.n_intervals as u64),
            format::count((report.n_brands as f64 * (1.0 - method.level) / 2.0).round() as u64),
            format::count(report.n_brands),
        )),
        Block::text(
            "The intervals tell how much the figures would change with as many other test users, not with another \
             seed of training or sampling: where a claim is close, run three seeds. Where most brands have only one or \
             two test users the interval of item macro F1 is somewhat too narrow: simulated on such data it covered \
             82% to 93% instead of 95%.",
        ),
        Block::text(format!(
            "A dash ({DASH}) is a figure that is undefined or not known. F1 has three decimals, changes have \
             four; a change is followed by its share of the baseline's value."
        )),
    ];
    let left_out = left_out(view);
    if !left_out.is_empty() {
        blocks.push(Block::text(format!("Left out: {}.", left_out.join("; "))));
    }
    Section { id: "method", title: "Method", blocks }
}

/// Experiments whose thresholds are expected over the test users' own probabilities.
fn expecting(view: &View) -> String {
    let is_over_scored = |e: &&Experiment| e.settings["score"]["decision"]["over"] == "scored";
    let names: Vec<String> =
        view.experiments().into_iter().filter(is_over_scored).map(|e| e.name.clone()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        " With `over: scored` these are the test users' own, without their labels: {}.",
        listed(&names)
    )
}

fn experiments_were(n: usize) -> String {
    match n {
        1 => "1 experiment was".to_owned(),
        n => format!("{} experiments were", format::count(n as u64)),
    }
}

fn left_out(view: &View) -> Vec<String> {
    let report = view.report;
    let mut left_out = Vec::new();
    let n_without = report.n_test_users - report.n_users_with_labels;
    if n_without > 0 {
        let users = if n_without == 1 { "user" } else { "users" };
        let n = format::count(n_without);
        left_out.push(format!("{n} test {users} without a label, from user level"));
    }
    let undefined = view.baseline().and_then(|e| e.figures.n_undefined).filter(|&n| n > 0);
    left_out.extend(undefined.map(|n| {
        let n = format::count(n);
        format!("{n} brands whose F1 is undefined in the baseline, from its item level")
    }));
    left_out.extend(
        report
            .experiments
            .iter()
            .filter(|e| !e.is_ok())
            .map(|e| format!("`{}` ({})", e.name, e.verdict)),
    );
    left_out
}

/// What the words mean.
pub fn definitions(report: &Report) -> Section {
    let words: &IndexMap<String, String> = &report.definitions;
    let term = |(term, text): (&String, &String)| Term {
        id: term_id(term),
        word: term.clone(),
        text: text.clone(),
    };
    Section {
        id: "definitions",
        title: "Definitions",
        blocks: vec![Block::Terms { terms: words.iter().map(term).collect() }],
    }
}

/// What it was made from, the files beside it, and how to make them again.
pub fn provenance(report: &Report) -> Section {
    let from = &report.provenance;
    let short = |hash: &str| hash.chars().take(12).collect::<String>();
    let unknown = "not recorded";
    let hash = |hash: Option<&String>| {
        Cell::number(hash.map_or(DASH.to_owned(), |hash| short(hash)), unknown)
    };
    let code = |title: &str| Column { is_number: false, ..words(title) };
    let mut sources = vec![Row {
        class: "",
        cells: vec![Cell::text(&from.manifest), hash(from.manifest_blake3.as_ref())],
    }];
    sources.extend(from.data.iter().map(|(name, blake3)| Row {
        class: "",
        cells: vec![Cell::text(name), hash(blake3.as_ref())],
    }));
    let sources = Table {
        caption: "The manifest and the raw data, with the first digits of their BLAKE3".to_owned(),
        columns: vec![code("File"), code("BLAKE3")],
        rows: sources,
    };
    let stage = |stage: &StageTrace| Row {
        class: "",
        cells: vec![
            Cell::code(stage.id.experiment.as_deref().unwrap_or("all")),
            Cell::text(stage.id.stage.name()),
            Cell::text(short(&stage.fingerprint)),
            Cell::text(short(&stage.program)),
            Cell::text(format::count(stage.rows)),
            Cell::text(format::mebibytes(stage.bytes)),
            Cell::number(
                stage.peak_memory_bytes.map_or(DASH.to_owned(), format::mebibytes),
                unknown,
            ),
        ],
    };
    let stages = Table {
        caption: "Every stage: the fingerprint of all it was made of, its program, what it wrote and took"
            .to_owned(),
        columns: vec![
            words("Experiment"),
            words("Stage"),
            words("Fingerprint"),
            words("Program"),
            number("Rows").of("written"),
            number("MiB written").of("written"),
            number("Peak memory, MiB").of("written"),
        ],
        rows: from.stages.iter().map(stage).collect(),
    };
    let mut holdout = from.holdout.as_object().cloned().unwrap_or_default();
    holdout.retain(|_, value| !value.is_null());
    Section {
        id: "provenance",
        title: "Provenance, files, and how to make them again",
        blocks: vec![
            Block::text(format!(
                "Made by version {} of this project. Holdout: `{}`. Every experiment's seeds are in its settings, in `report.json`.",
                from.version,
                settings::words(&holdout)
            )),
            Block::Table(sources),
            Block::Commands { lines: from.commands.clone() },
            Block::Terms { terms: files() },
            Block::fold("Every stage's fingerprint", vec![Block::Table(stages)]),
        ],
    }
}

fn files() -> Vec<Term> {
    let files = [
        ("report.html", "this report for a browser"),
        ("report.md", "this report for a pull request"),
        ("report.json", "all figures, for programs"),
        (
            "per_brand.csv",
            "counts, precision, recall, F1, change and threshold of every brand in every experiment",
        ),
        ("per_brand.arrow", "the same with types"),
    ];
    let term = |(file, what): (&str, &str)| Term {
        id: term_id(file),
        word: format!("`{file}`"),
        text: what.to_owned(),
    };
    files.map(term).to_vec()
}

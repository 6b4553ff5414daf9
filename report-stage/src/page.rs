//! The report as headings, sentences, tables and charts: what its Markdown and HTML both show.

use std::collections::HashMap;

use metrics::Counts;
use serde::Serialize;

use crate::chart::Chart;
use crate::compare::{Change, Judged, Outcome, outcome};
use crate::definitions::{meaning, term_id};
use crate::format::{self, DASH};
use crate::load::Brands;
use crate::report::{Experiment, Report, Trial};

mod brands; // brand by brand
mod calibration; // probabilities and audiences
mod card; // the answer
mod distributions; // brands by F1
mod experiments; // all experiments, and the forest of their changes
mod explorer; // the table of all brands that can be searched
mod head_to_tail; // by tier and volume
mod method; // formulas, rules, provenance
mod sample; // what the queries did
mod thresholds; // thresholds and precision against recall
mod trade_off; // item level against user level
mod training; // updates, times, curves
mod users; // user level

/// All that a reader sees, in order.
#[derive(Debug, Serialize)]
pub struct Page {
    /// The first heading
    pub title: String,
    /// What was measured on
    pub subtitle: String,
    /// The answer first
    pub card: card::Card,
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
    /// In order
    pub blocks: Vec<Block>,
}

/// A part of a section. In sentences, what stands between backticks is code.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Block {
    /// A paragraph
    Text {
        /// Sentences
        text: String,
    },
    /// A table
    Table(Table),
    /// A chart
    Chart(Chart),
    /// Small charts of the same kind, side by side
    Charts {
        /// What all of them show
        caption: String,
        /// One an experiment
        charts: Vec<Chart>,
    },
    /// Words and what they mean
    Terms {
        /// In order
        terms: Vec<Term>,
    },
    /// Shell commands
    Commands {
        /// One a line
        lines: Vec<String>,
    },
    /// Lines of code
    Code {
        /// In order
        lines: Vec<CodeLine>,
    },
    /// What only some readers want to open
    Fold {
        /// What is inside
        summary: String,
        /// In order
        blocks: Vec<Block>,
    },
    /// The table of all brands
    Explorer(explorer::Explorer),
}

impl Block {
    fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    fn fold(summary: impl Into<String>, blocks: Vec<Self>) -> Self {
        Self::Fold { summary: summary.into(), blocks }
    }
}

/// A word and its meaning.
#[derive(Clone, Debug, Serialize)]
pub struct Term {
    /// For links
    pub id: String,
    /// The word, as a sentence
    pub word: String,
    /// As sentences
    pub text: String,
}

/// A line of code.
#[derive(Debug, Serialize)]
pub struct CodeLine {
    /// `+`, `-` or a blank
    pub sign: char,
    /// Without its end
    pub text: String,
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
#[derive(Clone, Debug, Default, Serialize)]
pub struct Column {
    /// Its text
    pub title: String,
    /// Where its definition stands
    pub term_id: Option<String>,
    /// Its definition
    pub meaning: Option<&'static str>,
    /// Whether it is a name of the manifest
    pub is_code: bool,
    /// Whether it holds numbers, which stand to the right
    pub is_number: bool,
    /// Whether it holds sentences, which need room
    pub is_prose: bool,
}

impl Column {
    /// Links the heading to a word of the definitions.
    fn of(self, term: &str) -> Self {
        Self { term_id: Some(term_id(term)), meaning: Some(meaning(term)), ..self }
    }
}

/// A row.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    /// `baseline`, `best`, `missing`, `bound` or nothing
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
    /// `better` or `worse` where an interval says so; of a heat map `up-1` to `down-3`
    pub tone: Option<&'static str>,
    /// Whether it is a name of the manifest
    pub is_code: bool,
    /// Where its definition stands, of a row that a word names
    pub term_id: Option<String>,
    /// Its definition
    pub meaning: Option<&'static str>,
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Names a row by a word of the definitions.
    fn term(text: impl Into<String>, term: &str) -> Self {
        let (term_id, meaning) = (Some(term_id(term)), Some(meaning(term)));
        Self { term_id, meaning, ..Self::text(text) }
    }

    fn code(text: impl Into<String>) -> Self {
        Self { is_code: true, ..Self::text(text) }
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
    Column { title: title.to_owned(), ..Column::default() }
}

fn prose(title: &str) -> Column {
    Column { is_prose: true, ..words(title) }
}

fn number(title: impl Into<String>) -> Column {
    Column { title: title.into(), is_number: true, ..Column::default() }
}

/// Everything that a section may show.
struct View<'a> {
    report: &'a Report,
    brands: &'a Brands,
    trials: HashMap<&'a str, &'a Trial<'a>>,
}

/// Lays the report out.
pub fn lay_out(report: &Report, brands: &Brands, trials: &[Trial]) -> Page {
    let trials = trials.iter().map(|trial| (trial.settings.name.as_str(), trial)).collect();
    let view = View { report, brands, trials };
    Page {
        title: format!("Experiments against `{}`", report.baseline),
        subtitle: format!(
            "{} test users, {} of them with at least one of {} brands; {} labels per user.",
            format::count(report.n_test_users),
            format::count(report.n_users_with_labels),
            format::count(report.n_brands),
            format::mean(report.labels_per_user),
        ),
        card: card::card(report),
        sections: vec![
            experiments::table(&view),
            distributions::table(&view),
            experiments::changes(&view),
            head_to_tail::section(&view),
            distributions::shapes(&view),
            brands::section(&view),
            users::section(&view),
            trade_off::section(&view),
            thresholds::section(&view),
            calibration::section(&view),
            training::section(&view),
            sample::section(&view),
            method::method(&view),
            method::definitions(report),
            method::provenance(report),
        ],
    }
}

impl View<'_> {
    /// The baseline first, then the manifest's order, what is no rival last.
    fn experiments(&self) -> Vec<&Experiment> {
        let mut all: Vec<&Experiment> = self.report.experiments.iter().collect();
        all.sort_by_key(|e| (e.name != self.report.baseline, e.is_truth));
        all
    }

    fn is_baseline(&self, experiment: &Experiment) -> bool {
        experiment.name == self.report.baseline
    }

    /// The baseline, if it has scores.
    fn baseline(&self) -> Option<&Experiment> {
        self.report.experiments.iter().find(|e| self.is_baseline(e) && e.is_ok())
    }

    /// The experiment shown beside the baseline.
    fn selected(&self) -> Option<&Experiment> {
        let name = self.report.selected.as_ref()?;
        self.report.experiments.iter().find(|e| e.name == *name)
    }

    /// The baseline and the experiment shown beside it, as far as they are there, with the classes
    /// of their marks.
    fn pair(&self) -> Vec<(&'static str, &Experiment)> {
        let pair = [self.baseline().map(|e| ("base", e)), self.selected().map(|e| ("main", e))];
        pair.into_iter().flatten().collect()
    }

    /// The experiment's part that is not in `report.json`.
    fn trial(&self, experiment: &Experiment) -> &Trial<'_> {
        self.trials[experiment.name.as_str()]
    }

    /// Decisions against labels, by `brand_idx`; none without scores.
    fn counts(&self, experiment: &Experiment) -> &[Counts] {
        let scored = self.trial(experiment).scored.as_ref();
        scored.map_or(&[], |scored| &scored.evaluation.counts)
    }

    /// One row an experiment.
    fn rows(&self, cells: impl Fn(&Experiment) -> Vec<Cell>) -> Vec<Row> {
        let row = |e: &Experiment| {
            let is_best = self.report.answer.best.as_ref() == Some(&e.name);
            let (class, detail) = match (e.is_ok(), self.is_baseline(e)) {
                (false, true) => ("missing", Some("baseline, no scores")),
                (false, false) => ("missing", Some("no scores")),
                (true, true) => ("baseline", Some("baseline")),
                (true, false) if e.is_truth => ("bound", Some("the truth, no rival")),
                (true, false) if is_best => ("best", Some("best")),
                (true, false) => ("", None),
            };
            let detail = match (&e.outdated, detail) {
                (Some(_), Some(detail)) => Some(format!("{detail}, not up to date")),
                (Some(_), None) => Some("not up to date".to_owned()),
                (None, detail) => detail.map(str::to_owned),
            };
            Row { class, cells: [vec![Cell::code(&e.name).with(detail)], cells(e)].concat() }
        };
        self.experiments().into_iter().map(row).collect()
    }

    /// A metric and its change, which the baseline does not have.
    fn metric_and_change(&self, e: &Experiment, value: Option<f64>, change: Change) -> Cell {
        let detail = change.abs.filter(|_| !self.is_baseline(e));
        metric(e, value).with(detail.map(|_| format::change(change.abs, change.rel)))
    }

    /// A change and its interval.
    fn judged(&self, e: &Experiment, delta: &Judged) -> Cell {
        if self.is_baseline(e) {
            return Cell::number(DASH.to_owned(), "the baseline itself");
        }
        let cell = Cell::number(format::change(delta.abs, delta.rel), NOT_COMPARED);
        Cell { tone: tone(delta), ..cell }.with(format::interval(delta.ci95))
    }
}

/// What the interval says of a change.
fn tone(delta: &Judged) -> Option<&'static str> {
    match outcome(delta.ci95) {
        Outcome::Better => Some("better"),
        Outcome::Worse => Some("worse"),
        Outcome::NoClearChange | Outcome::Undefined => None,
    }
}

fn why(experiment: &Experiment) -> &'static str {
    if experiment.is_ok() { UNDEFINED } else { NOT_SCORED }
}

fn metric(experiment: &Experiment, value: Option<f64>) -> Cell {
    Cell::number(format::metric(value), why(experiment))
}

fn count(experiment: &Experiment, n: Option<u64>) -> Cell {
    Cell::number(format::maybe_count(n), why(experiment))
}

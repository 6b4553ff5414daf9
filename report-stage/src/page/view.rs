//! What a section may show: the report, and cells and rows that many sections share.

use std::collections::HashMap;

use metrics::Counts;

use crate::compare::{Change, Judged};
use crate::experiment::Experiment;
use crate::format;
use crate::load::Brands;
use crate::page::blocks::{Cell, Flag, FlagKind, Row, RowClass, Tone};
use crate::report::Report;
use crate::trial::{BrandFigures, Trial};
use crate::verdict::{Outcome, Outcomes};

/// Why a figure is missing.
pub const UNDEFINED: &str = "undefined or not known";
pub const NOT_COMPARED: &str = "not compared";
pub const NOT_RECORDED: &str = "not recorded";
pub const NOT_SCORED: &str = "no scores";
pub const IS_BASELINE: &str = "the baseline itself";

/// Marks an experiment whose change may have another explanation.
pub const UNLIKE: &str = "≠";

/// Everything that a section may show.
pub struct View<'a> {
    pub report: &'a Report,
    pub brands: &'a Brands,
    trials: HashMap<&'a str, &'a Trial<'a>>,
}

impl<'a> View<'a> {
    pub fn new(report: &'a Report, brands: &'a Brands, trials: &'a [Trial]) -> Self {
        let trials = trials.iter().map(|trial| (trial.settings.name.as_str(), trial)).collect();
        Self { report, brands, trials }
    }
}

impl View<'_> {
    /// The baseline first, then the manifest's order, the truth last.
    pub fn experiments(&self) -> Vec<&Experiment> {
        let mut all: Vec<&Experiment> = self.report.experiments.iter().collect();
        all.sort_by_key(|e| (e.name != self.report.baseline, e.is_truth));
        all
    }

    /// The experiments with scores, in the same order.
    pub fn scored(&self) -> Vec<&Experiment> {
        self.experiments().into_iter().filter(|e| e.is_ok()).collect()
    }

    /// What is compared with the baseline, without the truth.
    pub fn rivals(&self) -> Vec<&Experiment> {
        let rivals = self.experiments().into_iter();
        rivals.filter(|e| e.outcomes.is_some() && !e.is_truth).collect()
    }

    pub fn is_baseline(&self, experiment: &Experiment) -> bool {
        experiment.name == self.report.baseline
    }

    /// The baseline, if it has scores.
    pub fn baseline(&self) -> Option<&Experiment> {
        self.report.experiments.iter().find(|e| self.is_baseline(e) && e.is_ok())
    }

    /// The experiment shown beside the baseline.
    pub fn selected(&self) -> Option<&Experiment> {
        let name = self.report.selected.as_ref()?;
        self.report.experiments.iter().find(|e| e.name == *name)
    }

    /// The baseline, if it has scores, and an experiment, with the classes of their marks; the
    /// baseline alone if it is the experiment.
    pub fn pair_with<'b>(&'b self, e: &'b Experiment) -> Vec<(&'static str, &'b Experiment)> {
        let base = self.baseline().filter(|base| base.name != e.name).map(|base| ("base", base));
        base.into_iter().chain([("main", e)]).collect()
    }

    /// What was found of the experiment and is not in `report.json`.
    pub fn trial(&self, experiment: &Experiment) -> &Trial<'_> {
        self.trials[experiment.name.as_str()]
    }

    /// Decisions against labels with the first seed, by `brand_idx`; empty without scores.
    pub fn counts(&self, experiment: &Experiment) -> &[Counts] {
        let scored = self.trial(experiment).scored.as_ref();
        scored.map_or(&[], |scored| &scored.evaluation.counts)
    }

    /// What was measured of each brand over all seeds, by `brand_idx`; empty without scores.
    pub fn brand_figures(&self, experiment: &Experiment) -> &[BrandFigures] {
        let scored = self.trial(experiment).scored.as_ref();
        scored.map_or(&[], |scored| &scored.brands)
    }

    /// One row for each experiment, whose name links to its panel.
    ///
    /// * `cells`: those after the name.
    pub fn rows(&self, cells: impl Fn(&Experiment) -> Vec<Cell>) -> Vec<Row> {
        let row = |e: &Experiment| {
            let (class, what) = self.class(e);
            let name = Cell {
                href: Some(format!("#{}", panel_id(&e.name))),
                flags: flags(e),
                ..Cell::code(&e.name).with(what.map(str::to_owned))
            };
            Row { class, cells: [vec![name], cells(e)].concat() }
        };
        self.experiments().into_iter().map(row).collect()
    }

    /// How an experiment is set apart, and in which words.
    pub fn class(&self, e: &Experiment) -> (Option<RowClass>, Option<&'static str>) {
        let is_best = self.report.answer.best.as_ref() == Some(&e.name);
        match (e.is_ok(), self.is_baseline(e)) {
            (false, true) => (Some(RowClass::Missing), Some("baseline, no scores")),
            (false, false) => (Some(RowClass::Missing), Some("no scores")),
            (true, true) => (Some(RowClass::Baseline), Some("baseline")),
            (true, false) if e.is_truth => (Some(RowClass::Bound), Some("the truth: a bound")),
            (true, false) if is_best => (Some(RowClass::Best), Some("chosen on valid")),
            (true, false) => (None, None),
        }
    }

    /// The verdict in a few words; the whole one is in the experiment's panel.
    pub fn short_verdict(&self, e: &Experiment) -> String {
        let words = match e.outcomes {
            _ if e.is_truth && e.is_ok() => return "a bound, not a rival".to_owned(),
            _ if self.is_baseline(e) && e.is_ok() => "the baseline".to_owned(),
            None => return e.verdict.clone(),
            Some(outcomes) => short_words(outcomes, e),
        };
        let is_alone = self.report.method.seeds.len() > 1
            && e.delta.item_f1.n_seeds == 1
            && !e.history.is_empty();
        let seed = if is_alone { " (one seed)" } else { "" };
        let warning = if e.warning.is_some() { "; not working" } else { "" };
        format!("{words}{seed}{warning}")
    }

    /// A metric and its change, which the baseline does not have.
    pub fn metric_and_change(&self, e: &Experiment, value: Option<f64>, change: Change) -> Cell {
        let detail = change.abs.filter(|_| !self.is_baseline(e));
        metric(e, value).with(detail.map(|_| format::change(change.abs, change.rel)))
    }

    /// A change against the baseline and its interval.
    pub fn judged(&self, e: &Experiment, delta: &Judged) -> Cell {
        if self.is_baseline(e) { Cell::dash(IS_BASELINE) } else { judged(delta) }
    }
}

/// A change and its interval.
pub fn judged(delta: &Judged) -> Cell {
    let cell = Cell::number(format::change(delta.abs, delta.rel), NOT_COMPARED);
    Cell { tone: tone(delta), ..cell }.with(format::interval(delta.ci95))
}

fn short_words(outcomes: Outcomes, e: &Experiment) -> String {
    let level = |outcome: Outcome, judged: &Judged, level: &str| match outcome {
        Outcome::Better => format!("better for {level}"),
        Outcome::Worse => format!("worse for {level}"),
        Outcome::NoClearChange => format!("{level} unclear"),
        Outcome::NotSettled => {
            format!("{level} not settled ({}/{})", judged.n_agree, judged.n_seeds)
        }
        Outcome::Undefined => format!("{level} undefined"),
    };
    match (outcomes.item, outcomes.user) {
        (Outcome::Better, Outcome::Better) => "better for both".to_owned(),
        (Outcome::Worse, Outcome::Worse) => "worse for both".to_owned(),
        (Outcome::NoClearChange, Outcome::NoClearChange) => "no clear change".to_owned(),
        (item, user) => format!(
            "{}, {}",
            level(item, &e.delta.item_f1, "brands"),
            level(user, &e.delta.user_f1, "users")
        ),
    }
}

/// The id of an experiment's panel.
pub fn panel_id(name: &str) -> String {
    format!("experiment-{name}")
}

/// What a reader of an experiment's figures must not miss.
pub fn flags(e: &Experiment) -> Vec<Flag> {
    let outdated = e.outdated.as_ref().map(|why| Flag {
        kind: FlagKind::Warning,
        text: "not up to date",
        title: format!("The figures are of other settings or inputs than the manifest's: {why}."),
    });
    let fairness = (!e.fairness.is_empty()).then(|| Flag {
        kind: FlagKind::Note,
        text: UNLIKE,
        title: e.fairness.join(" ").replace('`', ""),
    });
    outdated.into_iter().chain(fairness).collect()
}

/// The tone of a change; `None` where the interval contains 0.
pub fn tone(delta: &Judged) -> Option<Tone> {
    match delta.outcome() {
        Outcome::Better => Some(Tone::Better),
        Outcome::Worse => Some(Tone::Worse),
        Outcome::NoClearChange | Outcome::NotSettled | Outcome::Undefined => None,
    }
}

/// Why a figure of an experiment is missing.
pub fn why(experiment: &Experiment) -> &'static str {
    if experiment.is_ok() { UNDEFINED } else { NOT_SCORED }
}

pub fn metric(experiment: &Experiment, value: Option<f64>) -> Cell {
    Cell::number(format::metric(value), why(experiment))
}

pub fn count(experiment: &Experiment, n: Option<u64>) -> Cell {
    Cell::number(format::maybe_count(n), why(experiment))
}

//! `pipeline sweep`: runs the experiments of a matrix and ranks them by a figure of the valid users.

use std::cmp::{Ordering, Reverse};

use anyhow::Result;
use clap::{Args, ValueEnum};
use contract::cli::ManifestArgs;
use contract::exit::{EXIT_DONE, UsageError};
use contract::manifest::{Experiment, Matrix, shown};
use contract::plan::StageId;
use contract::record::Record;
use contract::rungs::{Ended, Rungs};
use contract::{Manifest, Stage, print_line};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::run::{Selected, execute, select};
use super::status::forecasts;
use crate::args::{How, RunArgs, Selection};
use crate::forecast::Forecast;
use crate::freshness::State;
use crate::graph::{Node, nodes};
use crate::listing;

/// Arguments of `pipeline sweep`.
#[derive(Args)]
pub struct SweepArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Experiment with a matrix; with `--sweep`, the experiment to vary
    experiment: String,
    /// Vary a key, as in `train.learning_rate=0.001,0.003`; may be repeated
    #[arg(long, value_name = "KEY=VALUE,...")]
    sweep: Vec<String>,
    /// Figure of the valid users that ranks the experiments
    #[arg(long, value_name = "FIGURE", default_value = "macro_f1")]
    by: Figure,
    #[command(flatten)]
    how: How,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A figure of the valid users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
enum Figure {
    /// Mean F1 of the brands
    MacroF1,
    /// Mean F1 of the users
    UserF1,
    /// Mean over brands of the average precision
    Map,
}

impl Figure {
    const ALL: [Self; 3] = [Self::MacroF1, Self::UserF1, Self::Map];

    fn words(self) -> &'static str {
        match self {
            Self::MacroF1 => "macro F1",
            Self::UserF1 => "user F1",
            Self::Map => "MAP",
        }
    }
}

/// A ranked sweep.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ranked {
    /// Name of the matrix
    matrix: String,
    /// The figure of the valid users that ranks: `macro_f1`, `user_f1` or `map`
    by: Figure,
    /// The first of `experiments`; null if none has the figure
    best: Option<String>,
    /// The best first; those without figures last
    experiments: Vec<Row>,
}

/// An experiment of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct Row {
    name: String,
    /// Swept values by key; of an experiment that a sweep varies, its own
    values: IndexMap<String, Value>,
    /// Figures of the valid users, means over seeds; null if a stage has not run
    valid: Option<Valid>,
    /// Mean time of a training
    train_secs: Option<f64>,
    /// Where its trainings were ended, as others were better
    ended: Option<EndedAt>,
}

/// Where the trainings of an experiment were ended early.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
struct EndedAt {
    /// Updates done
    updates: u64,
    /// Updates of a whole training
    planned: u64,
    /// MAP on the valid users then, the mean over seeds
    map: Option<f64>,
    /// From 1, by that MAP
    rank: usize,
    /// Experiments that were compared
    among: usize,
}

impl EndedAt {
    /// * `of_seeds`: of each training.
    fn mean(of_seeds: &[Rungs]) -> Option<Self> {
        let first = of_seeds.first()?;
        let Ended { updates, rank, among } = *first.ended.as_ref()?;
        let map = of_seeds.iter().map(|rungs| rungs.map.get(&updates).copied().flatten());
        let map: Option<Vec<f64>> = map.collect();
        let map = map.and_then(|map| mean(&map));
        Some(Self { updates, planned: first.planned, map, rank, among })
    }

    fn words(&self) -> String {
        let Self { updates, planned, map, rank, among } = *self;
        Ended { updates, rank, among }.in_words(planned, map)
    }
}

/// Figures of the valid users, as the score stage records them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Valid {
    macro_f1: Option<f64>,
    user_f1: Option<f64>,
    map: Option<f64>,
}

impl Valid {
    fn figure(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::MacroF1 => self.macro_f1,
            Figure::UserF1 => self.user_f1,
            Figure::Map => self.map,
        }
    }

    /// Means over seeds; a figure that one of them lacks is undefined.
    fn mean(of_seeds: &[Self]) -> Self {
        let mean_of = |figure| {
            let values: Option<Vec<f64>> = of_seeds.iter().map(|s| s.figure(figure)).collect();
            values.and_then(|values| mean(&values))
        };
        let [macro_f1, user_f1, map] = Figure::ALL.map(mean_of);
        Self { macro_f1, user_f1, map }
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Runs what is stale of a matrix and prints its experiments, the best first. The result is the exit
/// code of the run.
///
/// # Errors
///
/// If the experiment has no matrix; else those of a run.
pub fn sweep(args: &SweepArgs) -> Result<u8> {
    let SweepArgs { manifest, experiment, sweep, by, how, json } = args;
    let run = RunArgs {
        manifest: manifest.clone(),
        selection: Selection::of(experiment),
        sweep: sweep.clone(),
        failed: false,
        how: how.clone(),
        json: *json && how.dry_run,
        is_sweep: true,
    };
    let selected = select(&run)?;
    let Some(matrix) = selected.manifest.matrix(experiment).cloned() else {
        let what = format!(
            "`{experiment}` has no matrix\nhint: give it one in the manifest, or vary it just this \
             once, as in `--sweep train.learning_rate=0.001,0.003`"
        );
        return Err(UsageError(what).into());
    };
    let code = execute(&run, &selected)?;
    if how.dry_run {
        return Ok(EXIT_DONE);
    }
    let ranked = ranked(&selected, &matrix, *by)?;
    if *json {
        print_line!("{:#}", json!(ranked));
    } else {
        ranked.print(&matrix);
    }
    Ok(code)
}

fn ranked(selected: &Selected, matrix: &Matrix, by: Figure) -> Result<Ranked> {
    let Selected { manifest, .. } = selected;
    let base = matrix.has_base.then_some(&matrix.name);
    let names: Vec<String> = base.into_iter().chain(&matrix.cells).cloned().collect();
    let nodes = nodes(manifest, &names)?;
    let mut found = Found::default();
    for (node, forecast) in nodes.iter().zip(forecasts(manifest, &nodes)) {
        match forecast {
            Forecast::Known(State::Fresh { .. }) => found.fresh.push(node),
            Forecast::Known(State::Ended { rungs, .. }) => found.ended.push((node, *rungs)),
            _ => {}
        }
    }
    let mut experiments = Vec::new();
    for name in &names {
        experiments.push(row(manifest, manifest.experiment(name)?, matrix, &found));
    }
    sort(&mut experiments, by);
    let first = experiments.first().filter(|row| row.figure(by).is_some());
    let best = first.map(|row| row.name.clone());
    Ok(Ranked { matrix: matrix.name.clone(), by, best, experiments })
}

/// The largest figure first, then those that were ended, the last one first, then those without a
/// figure; equal ones stay in order.
fn sort(rows: &mut [Row], by: Figure) {
    let ended = |row: &Row| row.ended.map(|ended| (ended.updates, Reverse(ended.rank)));
    rows.sort_by(|a, b| match (a.figure(by), b.figure(by)) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => ended(b).cmp(&ended(a)),
    });
}

/// What was found of the stages.
#[derive(Default)]
struct Found<'a> {
    /// Those whose results are up to date
    fresh: Vec<&'a Node>,
    /// Those that were ended early
    ended: Vec<(&'a Node, Rungs)>,
}

fn row(manifest: &Manifest, experiment: &Experiment, matrix: &Matrix, found: &Found) -> Row {
    let Found { fresh, ended } = found;
    let trainings = manifest.trainings(experiment);
    let ended: Vec<Rungs> = ended
        .iter()
        .filter(|(node, _)| node.plan.id.experiment.as_ref() == Some(&experiment.name))
        .map(|(_, rungs)| rungs.clone())
        .collect();
    let records = |stage: Stage| -> Option<Vec<Record>> {
        let record = |training: &Experiment| {
            let id = StageId::in_experiment(stage, training);
            Record::of(&fresh.iter().find(|node| node.plan.id == id)?.plan)
        };
        trainings.iter().map(record).collect()
    };
    let valid_of = |record: &Record| serde_json::from_value(record.summary["valid"].clone()).ok();
    let valid = records(Stage::Score)
        .and_then(|records| records.iter().map(valid_of).collect::<Option<Vec<Valid>>>());
    let secs = records(Stage::Train)
        .map(|records| records.iter().map(|record| record.secs).collect::<Vec<f64>>());
    Row {
        name: experiment.name.clone(),
        values: values(experiment, matrix),
        valid: valid.map(|of_seeds| Valid::mean(&of_seeds)),
        train_secs: secs.and_then(|secs| mean(&secs)),
        ended: EndedAt::mean(&ended),
    }
}

/// What an experiment has at the matrix's keys.
fn values(experiment: &Experiment, matrix: &Matrix) -> IndexMap<String, Value> {
    if let Some(cell) = experiment.matrix.as_ref().filter(|cell| cell.name == matrix.name) {
        return cell.values.clone();
    }
    let Experiment { sample, train, score, .. } = experiment;
    let settings = json!({"sample": sample, "train": train, "score": score});
    let value = |key: &String| {
        let found = settings.pointer(&format!("/{}", key.replace('.', "/")));
        (key.clone(), found.cloned().unwrap_or_default())
    };
    matrix.axes.keys().map(value).collect()
}

impl Row {
    fn figure(&self, by: Figure) -> Option<f64> {
        self.valid.and_then(|valid| valid.figure(by))
    }
}

impl Ranked {
    fn print(&self, matrix: &Matrix) {
        let figures = Figure::ALL.map(|figure| format!("valid {}", figure.words()));
        let keys = matrix.axes.keys().map(|key| key.split_once('.').map_or(&**key, |(_, key)| key));
        let mut header = vec!["", "experiment"];
        header.extend(keys);
        header.extend(figures.iter().map(String::as_str));
        header.extend(["training", ""]);
        let mut table = listing::table(&header);
        for row in &self.experiments {
            let is_best = self.best.as_ref() == Some(&row.name);
            let mut cells = vec![if is_best { "*" } else { "" }.to_owned(), row.name.clone()];
            cells.extend(row.values.values().map(shown));
            cells.extend(Figure::ALL.map(|figure| match row.figure(figure) {
                Some(value) => format!("{value:.4}"),
                None => "-".to_owned(),
            }));
            cells.push(row.train_secs.map_or("-".to_owned(), |secs| format!("{secs:.1} s")));
            cells.push(row.ended.map_or(String::new(), |ended| ended.words()));
            table.add_row(cells);
        }
        listing::print(&table);
        print_line!("{}", self.conclusion());
    }

    fn conclusion(&self) -> String {
        let by = self.by.words();
        match &self.best {
            Some(best) => format!(
                "* `{best}` has the highest {by} on the valid users, who chose it; the report judges \
                 it on the test users"
            ),
            None => format!("no experiment has a {by} on the valid users"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, macro_f1: Option<f64>, map: Option<f64>) -> Row {
        let valid = Some(Valid { macro_f1, user_f1: None, map });
        let values = IndexMap::new();
        Row { name: name.to_owned(), values, valid, train_secs: None, ended: None }
    }

    fn names(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| &*row.name).collect()
    }

    #[test]
    fn the_highest_figure_is_first_and_none_last() {
        let mut rows = [
            row("a", Some(0.1), Some(0.3)),
            row("b", None, Some(0.4)),
            row("c", Some(0.2), None),
            row("d", Some(0.2), Some(0.1)),
        ];
        sort(&mut rows, Figure::MacroF1);
        assert_eq!(names(&rows), ["c", "d", "a", "b"]);
        sort(&mut rows, Figure::Map);
        assert_eq!(names(&rows), ["b", "a", "d", "c"]);
    }

    #[test]
    fn what_was_ended_last_comes_first_of_those_without_figures() {
        let ended = |name: &str, updates: u64, rank: usize| Row {
            valid: None,
            ended: Some(EndedAt { updates, planned: 664, map: Some(0.123_44), rank, among: 4 }),
            ..row(name, None, None)
        };
        let mut rows = [
            ended("a", 166, 3),
            Row { valid: None, ..row("b", None, None) },
            ended("c", 332, 2),
            ended("d", 166, 4),
            row("e", Some(0.1), None),
        ];
        sort(&mut rows, Figure::MacroF1);
        assert_eq!(names(&rows), ["e", "c", "a", "d", "b"]);
        assert_eq!(
            rows[2].ended.unwrap().words(),
            "ended at 166 of 664 updates, valid MAP 0.1234, rank 3 of 4"
        );
    }

    /// (0.1 + 0.2) / 2 = 0.15
    #[test]
    fn a_figure_is_the_mean_over_seeds_if_all_have_it() {
        let of_seeds = [
            Valid { macro_f1: Some(0.1), user_f1: Some(0.4), map: None },
            Valid { macro_f1: Some(0.2), user_f1: None, map: None },
        ];
        let mean = Valid::mean(&of_seeds);
        assert!((mean.macro_f1.unwrap() - 0.15).abs() < 1e-12);
        assert_eq!((mean.user_f1, mean.map), (None, None));
    }

    #[test]
    fn the_conclusion_says_who_chose() {
        let mut ranked = Ranked {
            matrix: "grid".to_owned(),
            by: Figure::UserF1,
            best: Some("grid-2".to_owned()),
            experiments: Vec::new(),
        };
        assert_eq!(
            ranked.conclusion(),
            "* `grid-2` has the highest user F1 on the valid users, who chose it; the report judges \
             it on the test users"
        );
        ranked.best = None;
        assert_eq!(ranked.conclusion(), "no experiment has a user F1 on the valid users");
    }
}

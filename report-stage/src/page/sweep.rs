//! The experiments of a matrix: which values are good on the valid users.

use contract::manifest::shown;
use serde_json::Value;

use crate::chart::{Chart, Panel, Place};
use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Row, Section, Table};
use crate::page::view::View;
use crate::scale::Scale;

/// Experiments of a matrix, in the manifest's order.
struct Sweep<'a> {
    name: &'a str,
    /// Each key with its values
    axes: Vec<(&'a str, Vec<&'a Value>)>,
    experiments: Vec<&'a Experiment>,
}

/// `None` where no experiment is of a matrix.
pub fn section(view: &View) -> Option<Section> {
    let sweeps = sweeps(&view.report.experiments);
    if sweeps.is_empty() {
        return None;
    }
    let mut blocks = vec![Block::text(
        "Figures of the valid users, as the best values are chosen on them; the test users judge what was \
         chosen. The tables have means over the experiments that share a value.",
    )];
    for sweep in &sweeps {
        if let [rows, columns] = sweep.axes.as_slice() {
            blocks.push(Block::Chart(sweep.heat_map(rows, columns)));
        }
        blocks.push(Block::Table(sweep.means()));
    }
    Some(Section { id: "sweeps", title: "Sweeps", blocks, ..Section::default() })
}

fn sweeps(experiments: &[Experiment]) -> Vec<Sweep<'_>> {
    let mut sweeps: Vec<Sweep> = Vec::new();
    for experiment in experiments {
        let Some(cell) = &experiment.matrix else { continue };
        let place = sweeps.iter().position(|sweep| sweep.name == cell.name).unwrap_or_else(|| {
            let axes = cell.values.keys().map(|key| (key.as_str(), Vec::new())).collect();
            sweeps.push(Sweep { name: &cell.name, axes, experiments: Vec::new() });
            sweeps.len() - 1
        });
        let sweep = &mut sweeps[place];
        sweep.experiments.push(experiment);
        for ((_, values), value) in sweep.axes.iter_mut().zip(cell.values.values()) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }
    sweeps
}

/// Item macro F1 on the valid users.
fn macro_f1(experiment: &Experiment) -> Option<f64> {
    experiment.valid.as_ref()?.item.macro_f1
}

/// The value that a matrix sets at its key of this place.
fn value_of(experiment: &Experiment, axis: usize) -> Option<&Value> {
    experiment.matrix.as_ref()?.values.get_index(axis).map(|(_, value)| value)
}

const CELL: Place = Place { left: 0.0, top: 0.0, width: 104.0, height: 34.0 };
/// Room for the values of the first key.
const NAMES: f64 = 150.0;
const TOP: f64 = 42.0;

/// From the lowest figure to the highest.
const SHADES: [&str; 5] = ["heat-1", "heat-2", "heat-3", "heat-4", "heat-5"];

impl Sweep<'_> {
    fn heat_map(&self, rows: &(&str, Vec<&Value>), columns: &(&str, Vec<&Value>)) -> Chart {
        let (n_rows, n_columns) = (rows.1.len() as f64, columns.1.len() as f64);
        let (width, height) = (n_columns * CELL.width, n_rows * CELL.height);
        let place = Place { left: NAMES, top: TOP, width, height };
        let (x, y) = (Scale::Linear(0.0, n_columns), Scale::Linear(n_rows, 0.0));
        let mut panel = Panel::new(place, "", (x, ""), (y, ""));
        panel.x.ticks.clear();
        panel.y.ticks.clear();
        panel.text("name", (0.0, -26.0), "start", columns.0);
        panel.text("name", (-8.0, -26.0), "end", rows.0);
        for (i, value) in columns.1.iter().enumerate() {
            let at = (i as f64 + 0.5) * CELL.width;
            panel.text("name", (at, -8.0), "middle", shown(value));
        }
        for (i, value) in rows.1.iter().enumerate() {
            let at = (i as f64 + 0.5) * CELL.height + 4.0;
            panel.text("name", (-8.0, at), "end", shown(value));
        }
        let shade = self.shade();
        for experiment in &self.experiments {
            let place_of = |axis: usize, values: &[&Value]| {
                let value = value_of(experiment, axis)?;
                values.iter().position(|other| *other == value).map(|place| place as f64)
            };
            let Some((row, column)) = place_of(0, &rows.1).zip(place_of(1, &columns.1)) else {
                continue;
            };
            let figure = macro_f1(experiment);
            if let Some(figure) = figure {
                let corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)];
                let corners = corners.map(|(x, y)| (column + x, row + y));
                panel.line(SHADES[shade(figure)], corners);
            }
            let middle = ((column + 0.5) * CELL.width, (row + 0.5) * CELL.height);
            panel.text("name", (middle.0, middle.1), "middle", format::metric(figure));
            let name = experiment.name.clone();
            panel.text("small", (middle.0, middle.1 + 12.0), "middle", name);
        }
        Chart {
            title: format!("Item macro F1 of {} on the valid users", self.name),
            description: format!(
                "One cell for each experiment, by {} and {}; darker is better.",
                rows.0, columns.0
            ),
            width: NAMES + width.max(360.0) + 20.0,
            height: TOP + height + 12.0,
            panels: vec![panel],
            keys: Vec::new(),
        }
    }

    /// The shade of a figure among those of all experiments.
    fn shade(&self) -> impl Fn(f64) -> usize {
        let figures = || self.experiments.iter().filter_map(|e| macro_f1(e));
        let low = figures().fold(f64::INFINITY, f64::min);
        let high = figures().fold(f64::NEG_INFINITY, f64::max);
        let last = SHADES.len() - 1;
        move |figure| {
            let share = if high > low { (figure - low) / (high - low) } else { 1.0 };
            ((share * SHADES.len() as f64) as usize).min(last)
        }
    }

    /// Means over the experiments that share a value.
    fn means(&self) -> Table {
        let columns = vec![
            Column::words("Key"),
            Column::words("Value"),
            Column::number("Experiments"),
            Column::number("Item macro F1").of("item level"),
            Column::number("User F1").of("user level"),
        ];
        let mut rows = Vec::new();
        for (axis, (key, values)) in self.axes.iter().enumerate() {
            for value in values {
                let with_value: Vec<&&Experiment> = self
                    .experiments
                    .iter()
                    .filter(|e| e.valid.is_some() && value_of(e, axis) == Some(value))
                    .collect();
                let mean = |of: fn(&Experiment) -> Option<f64>| {
                    let found: Vec<f64> = with_value.iter().filter_map(|e| of(e)).collect();
                    let n = found.len() as f64;
                    (n > 0.0).then(|| found.iter().sum::<f64>() / n)
                };
                let user_f1 = |e: &Experiment| e.valid.as_ref().and_then(|valid| valid.user.f1);
                let figure =
                    |value| Cell::number(format::metric(value), crate::page::view::NOT_SCORED);
                rows.push(Row::of(vec![
                    Cell::code(*key),
                    Cell::code(shown(value)),
                    Cell::text(with_value.len().to_string()),
                    figure(mean(macro_f1)),
                    figure(mean(user_f1)),
                ]));
            }
        }
        let caption = format!("Means of `{}` on the valid users, by value", self.name);
        Table { caption, columns, rows }
    }
}

//! What the stage says on the terminal: the experiments in one table, and where the report is.

use std::path::Path;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::format;
use crate::report::{Experiment, Report};

/// The experiments, then the answer, then the files.
pub fn render(report: &Report, dir: &Path) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    let mut titles = vec!["experiment", "item F1", "change", "user F1", "change"]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    titles.extend(report.floor.buckets.keys().map(|low| format!("≥ {low}")));
    titles.push("verdict".to_owned());
    let n_columns = titles.len();
    table.set_header(titles);
    for experiment in &report.experiments {
        table.add_row(row(report, experiment).into_iter().enumerate().map(|(i, text)| {
            let is_number = i > 0 && i + 1 < n_columns;
            Cell::new(text).set_alignment(if is_number {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            })
        }));
    }
    let answer = report.answer.text.first().map_or("", String::as_str);
    let files = ["report.html", "report.md", "report.json", "per_brand.arrow"]
        .map(|file| dir.join(file).display().to_string());
    format!("{table}\n{answer}\n\n{}", files.join("\n"))
}

fn row(report: &Report, e: &Experiment) -> Vec<String> {
    let is_baseline = e.name == report.baseline;
    let change = |delta: &crate::compare::Judged| {
        if is_baseline { format::DASH.to_owned() } else { format::change(delta.abs, delta.rel) }
    };
    let mut cells = vec![
        e.name.clone(),
        format::metric(e.figures.item.macro_f1),
        change(&e.delta.item_f1),
        format::metric(e.figures.user.f1),
        change(&e.delta.user_f1),
    ];
    cells.extend(e.figures.buckets.values().map(|&n| format::maybe_count(n)));
    cells.push(e.verdict.clone());
    cells
}

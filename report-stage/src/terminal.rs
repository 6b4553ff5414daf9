//! What the program prints: a table of the experiments and the paths of the report, or what differs
//! between two experiments.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, TableComponent, presets};

use crate::backtest::{Backtest, Change, Deltas, Mean};
use crate::compare::Judged;
use crate::comparison::{self, Line};
use crate::experiment::Experiment;
use crate::figures::Figures;
use crate::format;
use crate::report::Report;
use crate::settings;

/// The experiments, then the answer, the notes and the files.
pub fn render(report: &Report, dir: &Path) -> String {
    let mut titles = vec!["experiment", "item F1", "change", "user F1", "change"]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    titles.extend(report.floor.buckets.keys().map(|low| format!("≥ {low}")));
    titles.push(format!("verdict{}", report.method.over_seeds()));
    let is_number = 1..titles.len() - 1;
    let rows = report.experiments.iter().map(|experiment| row(report, experiment));
    let table = table(titles, rows, &is_number);
    let answer = report.answer.text.first().map_or("", String::as_str);
    let files = ["report.html", "report.md", "report.json", "per_brand.csv", "per_brand.arrow"]
        .map(|file| dir.join(file).display().to_string());
    let answer = [&[answer.to_owned()], &report.answer.against[..]].concat().join("\n");
    format!("{table}\n{answer}\n{}\n{}", notes(report), files.join("\n"))
}

/// A backtest: a line for each date, then their mean.
pub fn backtest(found: &Backtest, files: &[PathBuf]) -> String {
    let titles = [
        "as of",
        "users",
        "item F1",
        "baseline",
        "change",
        "95% interval",
        "user F1",
        "baseline",
        "change",
        "95% interval",
    ];
    let cells = |name: &str, users: String, ours: &Figures, base: &Figures, deltas: Deltas| {
        let interval = |change: Change| format::interval(change.ci95).unwrap_or_default();
        vec![
            name.to_owned(),
            users,
            format::metric(ours.item.macro_f1),
            format::metric(base.item.macro_f1),
            format::points(deltas.item_f1.abs),
            interval(deltas.item_f1),
            format::metric(ours.user.f1),
            format::metric(base.user.f1),
            format::points(deltas.user_f1.abs),
            interval(deltas.user_f1),
        ]
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for date in &found.dates {
        let users = format::count(date.n_test_users);
        rows.push(cells(&date.as_of, users, &date.figures, &date.baseline, date.delta));
    }
    let Mean { figures, baseline, delta } = &found.mean;
    rows.push(cells("mean", String::new(), figures, baseline, *delta));
    let table = table(titles.map(str::to_owned).to_vec(), rows.into_iter(), &(1..titles.len()));
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    format!(
        "{} against {}, at each date trained on what was known then\n{table}\n{}",
        found.experiment,
        found.baseline,
        files.join("\n")
    )
}

/// The notes, a line each.
fn notes(report: &Report) -> String {
    let notes = report.notes.iter().map(|note| format!("note: {note}\n"));
    notes.collect::<Vec<_>>().concat()
}

fn table(
    titles: Vec<String>,
    rows: impl Iterator<Item = Vec<String>>,
    is_number: &Range<usize>,
) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .remove_style(TableComponent::HorizontalLines)
        .remove_style(TableComponent::MiddleIntersections)
        .remove_style(TableComponent::LeftBorderIntersections)
        .remove_style(TableComponent::RightBorderIntersections)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(titles);
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(i, text)| {
            let right = is_number.contains(&i);
            let alignment = if right { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(alignment)
        }));
    }
    table
}

/// What differs between the baseline and the other experiment of a report of two.
pub fn compare(report: &Report) -> String {
    let named = |is_baseline: bool| {
        report.experiments.iter().find(|e| (e.name == report.baseline) == is_baseline)
    };
    let base = named(true).expect("a report has its baseline");
    let Some(ours) = named(false) else {
        return format!("{} is compared with itself, so nothing differs", base.name);
    };
    let mut text = format!("{} against {}: {}\n", ours.name, base.name, ours.verdict);
    text += &notes(report);
    for (key, value) in &ours.differs {
        let before = settings::leaf(&base.settings, key);
        let _ = writeln!(text, "  {key}: {} -> {}", settings::flow(&before), settings::flow(value));
    }
    let rows: Vec<Vec<String>> = changes(ours, base);
    if rows.is_empty() {
        text.push_str("no figure differs\n");
        return text;
    }
    let titles = ["", &base.name, &ours.name, "change", "95% interval"].map(str::to_owned);
    let _ = write!(text, "{}", table(titles.to_vec(), rows.into_iter(), &(1..5)));
    if let Some(brands) = ours.delta.brands {
        let [better, worse, unclear] =
            [brands.better, brands.worse, brands.no_clear_change].map(format::count);
        let _ = write!(
            text,
            "\nbrands: {better} better, {worse} worse, {unclear} with no clear change"
        );
    }
    text
}

/// A row for each figure that differs.
fn changes(ours: &Experiment, base: &Experiment) -> Vec<Vec<String>> {
    let row = |line: Line| {
        let values = [base, ours].map(|e| line.value(&e.figures));
        let Judged { abs, rel, .. } = line.change;
        let (text, change): (fn(Option<f64>) -> String, _) = if line.is_count {
            (|n| format::maybe_count(n.map(|n| n as u64)), format::count_change(abs, rel))
        } else {
            (format::metric, format::change(abs, rel))
        };
        let indent = if line.is_part { "  " } else { "" };
        let name = format!("{indent}{}", line.name);
        let [base, ours] = values.map(text);
        let interval = line.interval().unwrap_or_default();
        (values[0] != values[1]).then(|| vec![name, base, ours, change, interval])
    };
    comparison::lines(ours, Some(&base.figures)).into_iter().filter_map(row).collect()
}

fn row(report: &Report, e: &Experiment) -> Vec<String> {
    let is_baseline = e.name == report.baseline;
    let change = |delta: &Judged| {
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

//! What the program prints: a table of the experiments and the paths of the report, or what differs
//! between two experiments.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, TableComponent, presets};
use contract::brands::Tier;

use crate::compare::{Change, Judged};
use crate::experiment::Experiment;
use crate::figures::{AtK, Figures, SHOWN_KS};
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
    format!("{table}\n{answer}\n{}\n{}", notes(report), files.join("\n"))
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
    let (a, b, delta) = (&base.figures, &ours.figures, &ours.delta);
    let mut rows = Vec::new();
    let mut metric = |what: &str, a: Option<f64>, b: Option<f64>, change: Judged| {
        if a != b {
            rows.push(vec![
                what.to_owned(),
                format::metric(a),
                format::metric(b),
                format::change(change.abs, change.rel),
                format::interval(change.ci95).unwrap_or_default(),
            ]);
        }
    };
    let plain = |Change { abs, rel }| Judged { abs, rel, ..Judged::default() };
    metric("item macro F1", a.item.macro_f1, b.item.macro_f1, delta.item_f1);
    for tier in Tier::ALL {
        let of = |figures: &Figures| figures.item.by_tier.get(tier).macro_f1;
        metric(&format!("  {}", tier.name()), of(a), of(b), *delta.by_tier.get(tier));
    }
    metric("user F1", a.user.f1, b.user.f1, delta.user_f1);
    metric("  precision", a.user.precision, b.user.precision, plain(delta.user_precision));
    metric("  recall", a.user.recall, b.user.recall, plain(delta.user_recall));
    for (name, a, b, changes) in [
        ("P", &a.user.precision_at, &b.user.precision_at, &delta.precision_at),
        ("R", &a.user.recall_at, &b.user.recall_at, &delta.recall_at),
        ("nDCG", &a.user.ndcg_at, &b.user.ndcg_at, &delta.ndcg_at),
    ] {
        for (k, &change) in changes.iter().filter(|(k, _)| SHOWN_KS.contains(k)) {
            let at = |values: &AtK| values.get(k).copied().flatten();
            metric(&format!("  {name}@{k}"), at(a), at(b), plain(change));
        }
    }
    metric("micro F1", a.micro.f1, b.micro.f1, delta.micro_f1);
    metric("MAP", a.map, b.map, plain(delta.map));
    let mut count = |what: String, a: Option<u64>, b: Option<u64>| {
        if a != b {
            let change = a.zip(b).map(|(a, b)| b as f64 - a as f64);
            let rel = change.zip(a).filter(|&(_, a)| a > 0).map(|(change, a)| change / a as f64);
            let change = format::count_change(change, rel);
            rows.push(vec![
                what,
                format::maybe_count(a),
                format::maybe_count(b),
                change,
                String::new(),
            ]);
        }
    };
    for (low, &n) in &b.buckets {
        count(format!("brands at F1 ≥ {low}"), a.buckets[low], n);
    }
    count("brands never predicted".to_owned(), a.n_never_predicted, b.n_never_predicted);
    count("users without a correct brand".to_owned(), a.user.n_without_hit, b.user.n_without_hit);
    rows
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

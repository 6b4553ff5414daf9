//! Samples: the training users before and after each query, and the queries.

use contract::statistics::Spread;
use serde_json::{Map, Value};
use similar::{ChangeTag, TextDiff};

use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Cell, CodeLine, Column, Row, RowClass, Section, Table};
use crate::page::view::{UNDEFINED, View};
use crate::settings;

pub fn section(view: &View) -> Section {
    let samples = || view.report.experiments.iter().filter_map(|e| e.sample.as_ref());
    let mut blocks = Vec::new();
    if let Some(any) = samples().next() {
        let without = any.brands_without_positives;
        blocks.push(Block::text(format!(
            "What each sampling query made of the training users: labels by tier, mean imbalance ratio, SCUMBLE, and \
             brands that no example has. Of {} brands, {} have no valid user and {} no test user.",
            format::count(view.report.n_brands), format::count(without.valid), format::count(without.test)
        )));
    }
    blocks.push(Block::Table(table(view)));
    blocks.extend(queries(view));
    Section { id: "sample", title: "Samples", blocks }
}

fn table(view: &View) -> Table {
    let titles = [
        ("Rows", "training rows"),
        ("Users", "training rows"),
        ("Clones", "training rows"),
        ("No label", "training rows"),
        ("Head labels", "head, torso, tail"),
        ("Torso labels", "head, torso, tail"),
        ("Tail labels", "head, torso, tail"),
        ("Imbalance ratio", "mean imbalance ratio"),
        ("SCUMBLE", "SCUMBLE"),
        ("Brands without", "training rows"),
    ];
    let mut columns = vec![Column::words("Experiment")];
    columns.extend(titles.map(|(title, term)| Column::number(title).of(term)));
    let mut rows: Vec<Row> = Vec::new();
    if let Some(any) = view.report.experiments.iter().find_map(|e| e.sample.as_ref()) {
        let before = figures(&any.before, any.before.rows, 0, None);
        let cells = [vec![Cell::text("training users")], before].concat();
        rows.push(Row { class: Some(RowClass::Bound), cells });
    }
    let after = |e: &Experiment| match &e.sample {
        Some(s) => figures(&s.after, s.users, s.clones, Some(s.brands_without_positives.train)),
        None => vec![Cell::dash("has no sample"); titles.len()],
    };
    rows.extend(view.rows(after));
    Table { caption: "Training users and the examples drawn from them".to_owned(), columns, rows }
}

fn figures(spread: &Spread, users: u64, clones: u64, without: Option<u64>) -> Vec<Cell> {
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
    let mut cells: Vec<Cell> = counts.map(|n| Cell::text(format::count(n))).to_vec();
    cells.push(Cell::number(format::mean(spread.mean_imbalance_ratio), UNDEFINED));
    cells.push(Cell::number(format::metric(spread.scumble), UNDEFINED));
    cells.push(Cell::number(format::maybe_count(without), "not a sample"));
    cells
}

/// A query, and the experiments that sample with it.
struct Query<'a> {
    text: &'a str,
    users: Vec<&'a Experiment>,
}

/// The baseline's query, then every other one as what differs from it.
fn queries(view: &View) -> Vec<Block> {
    let mut queries: Vec<Query> = Vec::new();
    for e in view.experiments() {
        let Some(text) = view.trial(e).query.as_deref() else { continue };
        match queries.iter_mut().find(|query| query.text == text) {
            Some(query) => query.users.push(e),
            None => queries.push(Query { text, users: vec![e] }),
        }
    }
    let baseline = queries.iter().find(|query| query.users.iter().any(|e| view.is_baseline(e)));
    let baseline = baseline.map(|query| query.text);
    queries.iter().map(|query| fold(query, baseline)).collect()
}

fn fold(Query { text, users }: &Query, baseline: Option<&str>) -> Block {
    let names = format::names(users.iter().map(|e| &e.name));
    let (summary, before) = match baseline {
        Some(baseline) if baseline != *text => {
            (format!("Query of {names}: what differs from the baseline's query"), baseline)
        }
        _ => (format!("Query of {names}"), *text),
    };
    let params = users.iter().filter_map(|e| {
        let params: &Map<String, Value> = e.settings["sample"]["params"].as_object()?;
        let text = || format!("`{}`: `{}`", e.name, settings::words(params));
        (!params.is_empty()).then(|| Block::text(text()))
    });
    let mut blocks: Vec<Block> = params.collect();
    blocks.push(Block::Code { lines: difference(before, text) });
    Block::fold(summary, blocks)
}

fn difference(before: &str, after: &str) -> Vec<CodeLine> {
    let diff = TextDiff::from_lines(before, after);
    let line = |change: similar::Change<&str>| CodeLine {
        sign: match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        },
        text: change.value().trim_end().to_owned(),
    };
    diff.iter_all_changes().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_removed_and_added_lines() {
        let lines = difference("select 1\nfrom a\n", "select 1\nfrom b\n");
        let lines: Vec<String> =
            lines.iter().map(|line| format!("{}{}", line.sign, line.text)).collect();
        assert_eq!(lines, [" select 1", "-from a", "+from b"]);
    }
}

//! Samples: the training users before and after each query, and the queries.

use contract::statistics::{SampleStatistics, Spread};
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
    blocks.extend(
        view.experiments().into_iter().find(|e| view.is_baseline(e)).and_then(|e| query(view, e)),
    );
    Section {
        id: "sample",
        title: "Samples",
        closed: Some("rows, clones and labels by tier of every sample"),
        blocks,
        ..Section::default()
    }
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
        ("Missing brands", "training rows"),
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

/// What an experiment's sample made of the training users, and its query; empty for a model without.
pub fn of_experiment(view: &View, e: &Experiment) -> Vec<Block> {
    e.sample.as_ref().map(|sample| Block::Table(effect(view, e, sample))).into_iter().collect()
}

type Get = fn(&SampleStatistics) -> u64;

fn effect(view: &View, e: &Experiment, sample: &SampleStatistics) -> Table {
    let base =
        view.experiments().into_iter().find(|base| view.is_baseline(base) && base.name != e.name);
    let base = base.and_then(|base| Some((&base.name, base.sample.as_ref()?)));
    let before = &sample.before;
    let lines: [(&str, &str, u64, Get); 8] = [
        ("rows", "training rows", before.rows, |s| s.rows),
        ("users", "training rows", before.rows, |s| s.users),
        ("clones", "training rows", 0, |s| s.clones),
        ("rows without label", "training rows", before.rows_without_label, |s| {
            s.rows_without_label
        }),
        ("head labels", "head, torso, tail", before.positives_by_tier.head, |s| {
            s.after.positives_by_tier.head
        }),
        ("torso labels", "head, torso, tail", before.positives_by_tier.torso, |s| {
            s.after.positives_by_tier.torso
        }),
        ("tail labels", "head, torso, tail", before.positives_by_tier.tail, |s| {
            s.after.positives_by_tier.tail
        }),
        ("missing brands", "training rows", 0, |s| s.brands_without_positives.train),
    ];
    let row = |(name, term, before, of): (&str, &str, u64, Get)| {
        let mut cells = vec![Cell::term(name, term), Cell::text(format::count(before))];
        cells.extend(base.map(|(_, base)| Cell::text(format::count(of(base)))));
        cells.push(Cell::text(format::count(of(sample))));
        Row::of(cells)
    };
    let mut columns =
        vec![Column::words("Sample"), Column::number("Training users").of("training rows")];
    columns.extend(base.map(|(name, _)| Column { is_code: true, ..Column::number(name) }));
    columns.push(Column { is_code: true, ..Column::number(&e.name) });
    Table {
        caption: "What the sample did to the training users".to_owned(),
        columns,
        rows: lines.into_iter().map(row).collect(),
    }
}

/// An experiment's query: the baseline's as it is, another one as what differs from it. `None` if it
/// is the baseline's own.
pub fn query(view: &View, e: &Experiment) -> Option<Block> {
    let text = view.trial(e).query.as_deref()?;
    let base =
        view.experiments().into_iter().find(|base| view.is_baseline(base) && base.name != e.name);
    let base = base.and_then(|base| view.trial(base).query.as_deref());
    let (summary, before) = match base {
        Some(base) if base == text => return None,
        Some(base) => {
            (format!("Query of `{}`: what differs from the baseline's query", e.name), base)
        }
        None => (format!("Query of `{}`", e.name), text),
    };
    let params: Option<&Map<String, Value>> = e.settings["sample"]["params"].as_object();
    let params = params.filter(|params| !params.is_empty());
    let mut blocks: Vec<Block> = params
        .map(|params| Block::text(format!("Parameters: `{}`.", settings::words(params))))
        .into_iter()
        .collect();
    blocks.push(Block::Code { lines: difference(before, text) });
    Some(Block::fold(summary, blocks))
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

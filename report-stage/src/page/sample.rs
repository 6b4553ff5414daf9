//! What the sampling queries did to the training users.

use contract::statistics::Spread;
use similar::{ChangeTag, TextDiff};

use crate::format::{self, DASH};
use crate::page::{Block, Cell, CodeLine, Row, Section, Table, UNDEFINED, View, number, words};
use crate::report::Experiment;
use crate::settings;

/// Before and after each query, and the queries.
pub fn section(view: &View) -> Section {
    let samples = || view.report.experiments.iter().filter_map(|e| e.sample.as_ref());
    let mut blocks = Vec::new();
    if let Some(any) = samples().next() {
        let without = any.brands_without_positives;
        blocks.push(Block::text(format!(
            "What each sampling query made of the training users: labels by tier, mean imbalance ratio, SCUMBLE, and brands without a positive. Of {} brands, those without a positive among the valid users: {}; among the test users: {}.",
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
    let mut columns = vec![words("Experiment")];
    columns.extend(titles.map(|(title, term)| number(title).of(term)));
    let line = |spread: &Spread, users: u64, clones: u64, without: Option<u64>| {
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
        let mut cells: Vec<Cell> =
            counts.map(|n| Cell::number(format::count(n), UNDEFINED)).to_vec();
        cells.push(Cell::number(format::mean(spread.mean_imbalance_ratio), UNDEFINED));
        cells.push(Cell::number(format::metric(spread.scumble), UNDEFINED));
        cells.push(Cell::number(format::maybe_count(without), "in no sample"));
        cells
    };
    let mut rows: Vec<Row> = Vec::new();
    if let Some(any) = view.report.experiments.iter().find_map(|e| e.sample.as_ref()) {
        let before = line(&any.before, any.before.rows, 0, None);
        rows.push(Row {
            class: "bound",
            cells: [vec![Cell::text("training users")], before].concat(),
        });
    }
    let sampled = |e: &Experiment| {
        let Some(s) = &e.sample else {
            return vec![Cell::number(DASH.to_owned(), "has no sample"); titles.len()];
        };
        line(&s.after, s.users, s.clones, Some(s.brands_without_positives.train))
    };
    rows.extend(view.rows(sampled));
    Table { caption: "Training users and the examples drawn from them".to_owned(), columns, rows }
}

/// The baseline's query, then every other one as what differs from it.
fn queries(view: &View) -> Vec<Block> {
    let query = |e: &Experiment| {
        let params = e.settings["sample"]["params"].as_object().cloned().unwrap_or_default();
        view.trial(e).query.clone().map(|text| (text, params))
    };
    let experiments = view.experiments();
    let baseline = experiments.iter().find(|e| view.is_baseline(e)).and_then(|e| query(e));
    let mut shown: Vec<(String, Vec<&Experiment>)> = Vec::new();
    for e in experiments {
        if let Some((text, _)) = query(e) {
            match shown.iter_mut().find(|(known, _)| *known == text) {
                Some((_, users)) => users.push(e),
                None => shown.push((text, vec![e])),
            }
        }
    }
    let fold = |(text, users): (String, Vec<&Experiment>)| {
        let names: Vec<String> = users.iter().map(|e| e.name.clone()).collect();
        let names = crate::answer::listed(&names);
        let mut blocks: Vec<Block> = users
            .iter()
            .filter_map(|e| query(e).map(|(_, params)| (e, params)))
            .filter(|(_, params)| !params.is_empty())
            .map(|(e, params)| Block::text(format!("`{}`: `{}`", e.name, settings::words(&params))))
            .collect();
        let (summary, lines) = match &baseline {
            Some((base, _)) if *base != text => (
                format!("Query of {names}: what differs from the baseline's"),
                difference(base, &text),
            ),
            _ => (format!("Query of {names}"), difference(&text, &text)),
        };
        blocks.push(Block::Code { lines });
        Block::fold(summary, blocks)
    };
    shown.into_iter().map(fold).collect()
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
    fn a_difference_shows_lines_gone_and_lines_come() {
        let lines = difference("select 1\nfrom a\n", "select 1\nfrom b\n");
        let lines: Vec<String> =
            lines.iter().map(|line| format!("{}{}", line.sign, line.text)).collect();
        assert_eq!(lines, [" select 1", "-from a", "+from b"]);
    }
}

//! Brands that users had before, and brands that are new to them.

use crate::experiment::Experiment;
use crate::figures::{Figures, Part};
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Section, Table};
use crate::page::view::{View, count, metric};

/// `None` if it is not known which brands users had before.
pub fn section(view: &View) -> Option<Section> {
    let known = view.scored().into_iter().find_map(|e| e.figures.repeat.as_ref())?;
    let labels = view.scored().into_iter().find_map(|e| e.figures.new.as_ref());
    let [repeats, news] =
        [Some(known), labels].map(|part| format::maybe_count(part.and_then(|part| part.n_labels)));
    Some(Section {
        id: "repeats",
        title: "Brands that users had before, and new ones",
        short: Some("Repeat and new"),
        closed: Some("F1, precision and recall of either"),
        blocks: vec![
            Block::text(format!(
                "Each pair of a test user and a brand counts in one table: whether the user had the brand \
                 before. Of the labels, {repeats} are repeats and {news} are new."
            )),
            Block::Table(table(view, "Users who had the brand before", |f| f.repeat.as_ref())),
            Block::Table(table(view, "Users who had not", |f| f.new.as_ref())),
        ],
        ..Section::default()
    })
}

fn table(view: &View, caption: &str, part: fn(&Figures) -> Option<&Part>) -> Table {
    let mut columns = vec![
        Column::words("Experiment"),
        Column::number("Item F1").of("repeat, new"),
        Column::number("Precision").of("repeat, new"),
        Column::number("Recall").of("repeat, new"),
        Column::number("User F1").of("repeat, new"),
        Column::number("Micro F1").of("micro F1"),
        Column::number("Predicted").of("repeat, new"),
    ];
    let bounds = view.report.floor.buckets.keys();
    columns.extend(bounds.map(|low| Column::number(format!("F1 ≥ {low}")).of("F1 bucket")));
    let cells = |e: &Experiment| {
        let known = part(&e.figures).cloned().unwrap_or_default();
        let Part { item, user, micro, n_predicted, buckets, .. } = known;
        let mut cells: Vec<Cell> = vec![
            metric(e, item.macro_f1),
            metric(e, item.macro_precision),
            metric(e, item.macro_recall),
            metric(e, user.f1),
            metric(e, micro.f1),
            count(e, n_predicted),
        ];
        let of_bound = |low: &String| count(e, buckets.get(low).copied().flatten());
        cells.extend(view.report.floor.buckets.keys().map(of_bound));
        cells
    };
    Table { caption: caption.to_owned(), columns, rows: view.rows(cells) }
}

//! The report as Markdown that reads well in a pull request.

use std::fmt::Write as _;

use contract::output::{visible, visible_line};

use crate::page::Page;
use crate::page::blocks::{Block, Cell, Column, Table};

/// Ids of the sections that are open; a reader unfolds the others.
const OPEN: [&str; 3] = ["experiments", "distributions", "tiers"];

/// Ids of the sections whose folds have tables of all experiments.
const WITH_FOLDS: [&str; 3] = ["experiments", "distributions", "brands"];

/// Writes the page as GitHub-flavoured Markdown. Charts and panels are left to the HTML, as are
/// most folds: a pull request has no room for them.
pub fn render(page: &Page) -> String {
    let mut text = format!("# {}\n\n{}\n", page.title, page.subtitle);
    for paragraph in &page.card.text {
        let _ = write!(text, "\n{paragraph}\n");
    }
    let _ = write!(text, "\n{}\n", page.card.basis.join(" "));
    for warning in &page.card.warnings {
        let _ = write!(text, "\nNote: {warning}\n");
    }
    for section in &page.sections {
        let mut body = String::new();
        for block in &section.blocks {
            let blocks = match block {
                Block::Fold { blocks, .. } if WITH_FOLDS.contains(&section.id) => blocks,
                block => std::slice::from_ref(block),
            };
            for block in blocks {
                write_block(&mut body, block);
            }
        }
        if body.is_empty() {
            continue;
        }
        let _ = if OPEN.contains(&section.id) {
            write!(text, "\n## {}\n{body}", section.title)
        } else {
            let title = section.title;
            write!(text, "\n<details>\n<summary>{title}</summary>\n{body}\n</details>\n")
        };
    }
    visible(&text).into_owned()
}

fn write_block(text: &mut String, block: &Block) {
    match block {
        Block::Text { text: paragraph } => {
            let _ = write!(text, "\n{paragraph}\n");
        }
        Block::Table(table) | Block::Cards(table) => write_table(text, table),
        Block::Terms { terms } => {
            text.push('\n');
            for term in terms {
                let _ = writeln!(text, "- **{}**: {}", term.word, term.text);
            }
        }
        Block::Commands { lines } => {
            let _ = write!(text, "\n```sh\n{}\n```\n", lines.join("\n"));
        }
        Block::Chart(_)
        | Block::Drawing { .. }
        | Block::Grid { .. }
        | Block::Split { .. }
        | Block::Keys { .. }
        | Block::Warning { .. }
        | Block::Panels { .. }
        | Block::Code { .. }
        | Block::Fold { .. }
        | Block::Explorer(_) => {}
    }
}

fn write_table(text: &mut String, table: &Table) {
    let titles =
        table.columns.iter().map(|Column { title, is_code, .. }| code_or_data(title, *is_code));
    let rules =
        table.columns.iter().map(|column| if column.is_number { "---:" } else { "---" }.to_owned());
    let _ = write!(text, "\n{}\n\n{}{}", table.caption, line(titles), line(rules));
    for row in &table.rows {
        text.push_str(&line(row.cells.iter().map(cell)));
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn cell(Cell { text, detail, is_code, tone, flags, .. }: &Cell) -> String {
    let text = code_or_data(text, *is_code);
    let text = match tone {
        Some(tone) => format!("{} {text}", tone.arrow()),
        None => text,
    };
    let more = detail.as_deref().into_iter().chain(flags.iter().map(|flag| flag.text));
    let more: Vec<&str> = more.collect();
    if more.is_empty() { text } else { format!("{text} · {}", more.join(", ")) }
}

/// Names of the manifest consist of letters, digits, `_` and `-`, so they are safe as code.
fn code_or_data(text: &str, is_code: bool) -> String {
    if is_code { format!("`{text}`") } else { escape(text) }
}

/// Escapes a text, so that nothing in it is markup, and puts it on one line.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in visible_line(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '|' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::blocks::Row;

    #[test]
    fn data_is_never_markup() {
        assert_eq!(escape("a|b\n<b>\"&*"), "a\\|b\\\\u000a\\<b\\>\"\\&\\*");
        assert_eq!(escape("Anna-Lena 3"), "Anna-Lena 3");
    }

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let column = |title: &str, is_code, is_number| Column {
            title: title.to_owned(),
            is_code,
            is_number,
            ..Column::default()
        };
        let cells = vec![
            Cell { text: "Acme | Sons".to_owned(), ..Cell::default() },
            Cell {
                text: "0.500".to_owned(),
                detail: Some("+0.1000".to_owned()),
                ..Cell::default()
            },
        ];
        let table = Table {
            caption: "F1".to_owned(),
            columns: vec![column("Brand", false, false), column("big_1", true, true)],
            rows: vec![Row::of(cells)],
        };
        let mut text = String::new();
        write_table(&mut text, &table);
        assert_eq!(
            text,
            "\nF1\n\n| Brand | `big_1` |\n| --- | ---: |\n| Acme \\| Sons | 0.500 · +0.1000 |\n"
        );
    }
}

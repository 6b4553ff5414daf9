//! What a page is made of. HTML and Markdown render these.

use serde::Serialize;

use crate::chart::Chart;
use crate::definitions::{meaning, term_id};
use crate::format::DASH;

/// A heading and the blocks below it.
#[derive(Debug, Default, Serialize)]
pub struct Section {
    /// For links
    pub id: &'static str,
    pub title: &'static str,
    pub blocks: Vec<Block>,
}

/// A part of a section. In sentences, text between backticks is shown as code.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Block {
    /// A paragraph
    Text {
        text: String,
    },
    Table(Table),
    Chart(Chart),
    /// Small charts of the same kind, side by side
    Charts {
        /// What all of them show
        caption: String,
        charts: Vec<Chart>,
    },
    /// A glossary
    Terms {
        terms: Vec<Term>,
    },
    /// Shell commands
    Commands {
        lines: Vec<String>,
    },
    /// Program text, or a difference of two
    Code {
        lines: Vec<CodeLine>,
    },
    /// What only some readers want to open
    Fold {
        summary: String,
        blocks: Vec<Block>,
    },
    /// The table of all brands
    Explorer(Explorer),
}

impl Block {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    pub fn fold(summary: impl Into<String>, blocks: Vec<Self>) -> Self {
        Self::Fold { summary: summary.into(), blocks }
    }
}

/// A term and its meaning.
#[derive(Clone, Debug, Serialize)]
pub struct Term {
    /// For links
    pub id: String,
    pub word: String,
    pub text: String,
}

/// A line of code.
#[derive(Debug, Serialize)]
pub struct CodeLine {
    /// `+`, `-` or a blank
    pub sign: char,
    /// Without the line end
    pub text: String,
}

/// A table; the first cell of a row names the row.
#[derive(Debug, Serialize)]
pub struct Table {
    pub caption: String,
    pub columns: Vec<Column>,
    /// Each with as many cells as there are columns
    pub rows: Vec<Row>,
}

/// A column's heading.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Column {
    pub title: String,
    /// Id of the term that the heading links to
    pub term_id: Option<String>,
    /// Meaning of that term
    pub meaning: Option<&'static str>,
    /// Whether the title is a name of the manifest
    pub is_code: bool,
    /// Whether the column holds numbers, which are aligned to the right
    pub is_number: bool,
    /// Whether the column holds sentences, which need room
    pub is_prose: bool,
}

impl Column {
    pub fn words(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    pub fn prose(title: impl Into<String>) -> Self {
        Self { is_prose: true, ..Self::words(title) }
    }

    pub fn number(title: impl Into<String>) -> Self {
        Self { is_number: true, ..Self::words(title) }
    }

    /// Links the heading to a term of the definitions.
    pub fn of(self, term: &str) -> Self {
        Self { term_id: Some(term_id(term)), meaning: Some(meaning(term)), ..self }
    }
}

/// A row of a table.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    /// `None` for an ordinary row
    pub class: Option<RowClass>,
    /// From the left
    pub cells: Vec<Cell>,
}

/// How a row is set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowClass {
    Baseline,
    /// The best experiment
    Best,
    /// An experiment without scores
    Missing,
    /// A bound, not a result
    Bound,
}

impl Row {
    /// An ordinary row.
    pub fn of(cells: Vec<Cell>) -> Self {
        Self { class: None, cells }
    }
}

/// One cell. Its text is data and may hold any character; its detail is ours.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cell {
    pub text: String,
    /// Shown smaller, after the text
    pub detail: Option<String>,
    /// Why the text is a dash
    pub why: Option<&'static str>,
    pub tone: Option<Tone>,
    /// Whether the text is a name of the manifest
    pub is_code: bool,
    /// Id of the term that the text links to
    pub term_id: Option<String>,
    /// Meaning of that term
    pub meaning: Option<&'static str>,
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Names a row by a term of the definitions.
    pub fn term(text: impl Into<String>, term: &str) -> Self {
        let (term_id, meaning) = (Some(term_id(term)), Some(meaning(term)));
        Self { term_id, meaning, ..Self::text(text) }
    }

    pub fn code(text: impl Into<String>) -> Self {
        Self { is_code: true, ..Self::text(text) }
    }

    /// * `why`: the reason if the text is a dash.
    pub fn number(text: String, why: &'static str) -> Self {
        let is_dash = text == DASH;
        Self { text, why: is_dash.then_some(why), ..Self::default() }
    }

    /// Nothing to show.
    pub fn dash(why: &'static str) -> Self {
        Self::number(DASH.to_owned(), why)
    }

    pub fn with(self, detail: Option<String>) -> Self {
        Self { detail, ..self }
    }
}

/// Arrow and colour of a clear change. In a heat map they are stronger for larger changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Tone {
    #[serde(rename = "better")]
    Better,
    #[serde(rename = "worse")]
    Worse,
    #[serde(rename = "up-1")]
    Up1,
    #[serde(rename = "up-2")]
    Up2,
    #[serde(rename = "up-3")]
    Up3,
    #[serde(rename = "down-1")]
    Down1,
    #[serde(rename = "down-2")]
    Down2,
    #[serde(rename = "down-3")]
    Down3,
}

impl Tone {
    /// For text that has no colours.
    pub fn arrow(self) -> char {
        match self {
            Self::Better | Self::Up1 | Self::Up2 | Self::Up3 => '▲',
            Self::Worse | Self::Down1 | Self::Down2 | Self::Down3 => '▼',
        }
    }
}

/// The table of all brands: its data, and what is shown first.
#[derive(Debug, Serialize)]
pub struct Explorer {
    /// JSON for the script: columns of the brands and of each experiment
    pub data: String,
    pub n_brands: u64,
    /// Names of the experiments with scores
    pub experiments: Vec<String>,
    /// The experiment that is shown first
    pub shown: String,
    /// The experiment that it is compared with first
    pub compared: String,
}

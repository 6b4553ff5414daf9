//! What a page is made of. HTML and Markdown render these.

use serde::Serialize;

use crate::chart::{Chart, Key};
use crate::definitions::{meaning, term_id};
use crate::format::DASH;

/// A heading and the blocks below it.
#[derive(Debug, Default, Serialize)]
pub struct Section {
    /// For links
    pub id: &'static str,
    pub title: &'static str,
    /// In the list of contents, where the title is too long for it
    pub short: Option<&'static str>,
    pub width: Width,
    /// What a closed section holds; `None` for one that is open
    pub closed: Option<&'static str>,
    pub blocks: Vec<Block>,
}

/// How much of a wide window a section takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Width {
    #[default]
    Full,
    /// Beside another half
    Half,
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
    /// A table that a phone shows as one card for each row
    Cards(Table),
    Chart(Chart),
    /// The same chart for a wide window and for a phone
    Drawing {
        wide: Chart,
        narrow: Chart,
    },
    /// What a reader must not miss
    Warning {
        text: String,
    },
    /// What the marks of several charts mean, and what else holds for all of them
    Keys {
        list: Vec<Key>,
        note: Option<&'static str>,
    },
    /// A narrow and a wide column
    Split {
        left: Vec<Block>,
        right: Vec<Block>,
    },
    /// Blocks side by side, as many as there is room for
    Grid {
        blocks: Vec<Block>,
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
    /// One panel for each experiment, all closed
    Panels {
        panels: Vec<ExperimentPanel>,
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

/// All about one experiment, behind a line that says how it did.
#[derive(Debug, Serialize)]
pub struct ExperimentPanel {
    /// For links
    pub id: String,
    pub name: String,
    pub class: Option<RowClass>,
    /// The verdict in a few words
    pub verdict: String,
    pub flags: Vec<Flag>,
    pub blocks: Vec<Block>,
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
    /// Shown below a group instead of the title
    pub short: Option<String>,
    /// Heading of neighbouring columns
    pub group: Option<&'static str>,
    /// Of the style sheet, for the column's cells
    pub class: Option<&'static str>,
    /// Id of the term that the heading links to
    pub term_id: Option<String>,
    /// Meaning of that term
    pub meaning: Option<&'static str>,
    /// Whether the title is a name of the manifest
    pub is_code: bool,
    /// Whether the column holds numbers, which are aligned to the right
    pub is_number: bool,
}

impl Column {
    pub fn words(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    pub fn number(title: impl Into<String>) -> Self {
        Self { is_number: true, ..Self::words(title) }
    }

    /// Puts the column into a group, where its heading is short.
    pub fn in_group(self, group: &'static str, short: impl Into<String>) -> Self {
        Self { group: Some(group), short: Some(short.into()), ..self }
    }

    pub fn class(self, class: &'static str) -> Self {
        Self { class: Some(class), ..self }
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
    /// Shown on hover
    pub title: Option<String>,
    /// What the text links to
    pub href: Option<String>,
    pub flags: Vec<Flag>,
    /// What the column is sorted by, where that is not the text
    pub sort: Option<f64>,
    pub bar: Option<Bar>,
    /// Why the text is a dash
    pub why: Option<&'static str>,
    pub tone: Option<Tone>,
    /// Whether the text is a name of the manifest
    pub is_code: bool,
    /// Id of the term that the text links to
    pub term_id: Option<String>,
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Names a row by a term of the definitions.
    pub fn term(text: impl Into<String>, term: &str) -> Self {
        Self { term_id: Some(term_id(term)), ..Self::text(text) }
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

    /// Sorts the column by this value.
    pub fn sorted_by(self, sort: Option<f64>) -> Self {
        Self { sort, ..self }
    }
}

/// A mark beside a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flag {
    pub kind: FlagKind,
    pub text: &'static str,
    /// The whole sentence, shown on hover
    pub title: String,
}

/// How loud a mark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlagKind {
    /// The figures are not what the manifest asks for
    Warning,
    /// Something else may explain the figures
    Note,
}

/// A bar in a cell, in percent of its width.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Bar {
    /// From the left edge
    Share { to: f64 },
    /// From the middle, with its interval
    Change { from: f64, to: f64, low: f64, high: f64, tone: Option<Tone> },
}

impl Bar {
    /// A share of the largest value of its column.
    pub fn share(value: Option<f64>, largest: f64) -> Option<Self> {
        let share = value? / largest;
        share.is_finite().then(|| Self::Share { to: percent(share) })
    }

    /// A change beside the largest of its column, to either side; what is larger is cut.
    pub fn change(
        value: Option<f64>,
        ci95: Option<[f64; 2]>,
        largest: f64,
        tone: Option<Tone>,
    ) -> Option<Self> {
        let at = |value: f64| percent(0.5 + 0.5 * value / largest);
        let ([low, high], value) = (ci95?, value?);
        let ends = [at(0.0), at(value)];
        (largest > 0.0).then(|| Self::Change {
            from: ends[0].min(ends[1]),
            to: ends[0].max(ends[1]),
            low: at(low),
            high: at(high),
            tone,
        })
    }
}

/// A share as a percentage with one decimal.
fn percent(share: f64) -> f64 {
    (share.clamp(0.0, 1.0) * 1000.0).round() / 10.0
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The middle is 50; a change of a half of the largest reaches half-way to its edge.
    #[test]
    fn bars_of_changes_start_in_the_middle() {
        let bar =
            |value, ci95| Bar::change(Some(value), Some(ci95), 0.2, Some(Tone::Worse)).unwrap();
        let expected =
            Bar::Change { from: 25.0, to: 50.0, low: 20.0, high: 30.0, tone: Some(Tone::Worse) };
        assert_eq!(bar(-0.1, [-0.12, -0.08]), expected);
        let Bar::Change { from, to, high, .. } = bar(0.5, [0.4, 0.6]) else { panic!() };
        assert_eq!((from, to, high), (50.0, 100.0, 100.0), "cut at the edge");
        assert_eq!(Bar::change(Some(0.0), Some([0.0, 0.0]), 0.0, None), None, "nothing changes");
        assert_eq!(Bar::change(None, None, 0.2, None), None);
    }

    #[test]
    fn bars_of_shares_end_at_their_share_of_the_largest() {
        assert_eq!(Bar::share(Some(30.0), 120.0), Some(Bar::Share { to: 25.0 }));
        assert_eq!(Bar::share(Some(0.0), 0.0), None);
    }
}

//! What each term means.

use crate::definitions::term_id;
use crate::page::blocks::{Block, Section, Term};
use crate::report::Report;

pub fn section(report: &Report) -> Section {
    let term = |(term, text): (&String, &String)| Term {
        id: term_id(term),
        word: term.clone(),
        text: text.clone(),
    };
    Section {
        id: "definitions",
        title: "Definitions",
        closed: Some("what every term means"),
        blocks: vec![Block::Terms { terms: report.definitions.iter().map(term).collect() }],
        ..Section::default()
    }
}

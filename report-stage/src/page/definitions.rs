//! What each term means.

use indexmap::IndexMap;

use crate::definitions::term_id;
use crate::page::blocks::{Block, Section, Term};

pub fn section(definitions: &IndexMap<String, String>) -> Section {
    let term = |(term, text): (&String, &String)| Term {
        id: term_id(term),
        word: term.clone(),
        text: text.clone(),
    };
    Section {
        id: "definitions",
        title: "Definitions",
        closed: Some("what every term means"),
        blocks: vec![Block::Terms { terms: definitions.iter().map(term).collect() }],
        ..Section::default()
    }
}

//! What the report was made from, the files beside it, and how to make them again.

use crate::definitions::term_id;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Row, Section, Table, Term};
use crate::page::view::NOT_RECORDED;
use crate::records::{Provenance, StageTrace};
use crate::report::Report;
use crate::settings;

/// The files beside the report.
const FILES: [(&str, &str); 5] = [
    ("report.html", "this report for a browser"),
    ("report.md", "this report for a pull request"),
    ("report.json", "all figures, for programs"),
    (
        "per_brand.csv",
        "counts, precision, recall, F1, change and threshold of every brand in every experiment",
    ),
    ("per_brand.arrow", "the same with types"),
];

pub fn section(report: &Report) -> Section {
    let from = &report.provenance;
    let mut holdout = from.holdout.as_object().cloned().unwrap_or_default();
    holdout.retain(|_, value| !value.is_null());
    let file = |(file, what): (&str, &str)| Term {
        id: term_id(file),
        word: format!("`{file}`"),
        text: what.to_owned(),
    };
    Section {
        id: "provenance",
        title: "Provenance, files, and how to make them again",
        short: Some("Provenance"),
        closed: Some("manifest and data, commands, fingerprints"),
        blocks: vec![
            Block::text(format!(
                "Made by version {} of this project. Holdout: `{}`. The seeds of every experiment are in its settings in `report.json`.",
                from.version,
                settings::words(&holdout)
            )),
            Block::Table(sources(from)),
            Block::Commands { lines: from.commands.clone() },
            Block::Terms { terms: FILES.map(file).to_vec() },
            Block::fold("Every stage's fingerprint", vec![Block::Table(stages(from))]),
        ],
        ..Section::default()
    }
}

fn sources(from: &Provenance) -> Table {
    let manifest = [(&from.manifest, &from.manifest_blake3)];
    let row = |(name, blake3): (&String, &Option<String>)| {
        let hash =
            blake3.as_deref().map_or(Cell::dash(NOT_RECORDED), |hash| Cell::text(short(hash)));
        Row::of(vec![Cell::text(name), hash])
    };
    Table {
        caption: "The manifest and the raw data, with the first digits of their BLAKE3 hashes"
            .to_owned(),
        columns: vec![Column::words("File"), Column::words("BLAKE3")],
        rows: manifest.into_iter().chain(&from.data).map(row).collect(),
    }
}

fn stages(from: &Provenance) -> Table {
    let row = |stage: &StageTrace| {
        let peak = stage.peak_memory_bytes.map(format::mebibytes);
        Row::of(vec![
            Cell::code(stage.id.experiment.as_deref().unwrap_or("all")),
            Cell::text(stage.id.stage.name()),
            Cell::text(short(&stage.fingerprint)),
            Cell::text(short(&stage.program)),
            Cell::text(format::count(stage.rows)),
            Cell::text(format::mebibytes(stage.bytes)),
            peak.map_or(Cell::dash(NOT_RECORDED), Cell::text),
        ])
    };
    Table {
        caption: "Every stage: the hash of everything its results depend on, the hash of its program, what it wrote, and \
                  its memory"
            .to_owned(),
        columns: vec![
            Column::words("Experiment"),
            Column::words("Stage"),
            Column::words("Fingerprint"),
            Column::words("Program"),
            Column::number("Rows").of("written"),
            Column::number("MiB written").of("written"),
            Column::number("Peak memory, MiB").of("written"),
        ],
        rows: from.stages.iter().map(row).collect(),
    }
}

/// The first digits of a hash.
fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

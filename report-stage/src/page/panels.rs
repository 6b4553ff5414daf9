//! A panel for each experiment: did it help, where, and why.

use crate::answer;
use crate::chart::{Chart, Key};
use crate::experiment::Experiment;
use crate::page::blocks::{Block, ExperimentPanel, FlagKind, Section};
use crate::page::view::{UNLIKE, View, flags, panel_id};
use crate::page::{
    calibration, f1, figures, head_to_tail, movers, sample, thresholds, trade_off, training,
};
use crate::settings;

pub fn section(view: &View) -> Section {
    let panels = view.experiments().into_iter().map(|e| panel(view, e)).collect();
    Section {
        id: "panels",
        title: "Each experiment: did it help, where, and why",
        short: Some("Each experiment"),
        blocks: vec![Block::Panels { panels }],
        ..Section::default()
    }
}

fn panel(view: &View, e: &Experiment) -> ExperimentPanel {
    ExperimentPanel {
        id: panel_id(&e.name),
        name: e.name.clone(),
        class: view.class(e).0,
        verdict: view.short_verdict(e),
        flags: flags(e),
        blocks: blocks(view, e),
    }
}

fn blocks(view: &View, e: &Experiment) -> Vec<Block> {
    let mut blocks = vec![Block::text(format!("{}.", sentence(&e.verdict)))];
    let warnings = flags(e).into_iter().filter(|flag| flag.kind == FlagKind::Warning);
    blocks.extend(warnings.map(|flag| Block::Warning { text: flag.title }));
    if !view.is_baseline(e) {
        let differs = format!("Differs from the baseline in `{}`.", settings::words(&e.differs));
        blocks.push(Block::text(differs));
    }
    blocks.extend(answer::against(e).into_iter().map(Block::text));
    blocks.extend(e.fairness.iter().map(|note| Block::text(format!("{UNLIKE} {note}"))));
    if e.is_ok() {
        blocks.push(Block::Keys { list: keys(view, e), note: first_seed(view) });
        let left = std::iter::once(Block::Table(figures::table(view, e)));
        let left = left.chain(sample::of_experiment(view, e)).collect();
        let right = charts(view, e).into_iter().map(Block::Chart).collect();
        blocks.push(Block::Split { left, right: vec![Block::Grid { blocks: right }] });
        blocks.extend(movers::blocks(view, e));
    } else {
        blocks.extend(sample::of_experiment(view, e));
        blocks.extend(training::curve(e).map(Block::Chart));
    }
    if !view.is_baseline(e) {
        blocks.extend(sample::query(view, e));
    }
    blocks
}

fn charts(view: &View, e: &Experiment) -> Vec<Chart> {
    let charts = [
        head_to_tail::of_experiment(view, e),
        Some(f1::of_experiment(view, e)),
        Some(movers::by_volume(view, e)),
        thresholds::of_experiment(view, e),
        trade_off::of_experiment(view, e),
        calibration::audiences(view, e),
        calibration::reliability(e),
        training::curve(e),
    ];
    charts.into_iter().flatten().collect()
}

/// What the lines of a panel's charts are, unless a chart says otherwise.
fn keys(view: &View, e: &Experiment) -> Vec<Key> {
    let key = |(class, e): (&'static str, &Experiment)| {
        let what = if view.is_baseline(e) { ", the baseline" } else { "" };
        Key::line(class, format!("`{}`{what}", e.name))
    };
    view.pair_with(e).into_iter().map(key).collect()
}

fn first_seed(view: &View) -> Option<&'static str> {
    let words = "Figures, tiers and brands are means over the seeds; precision and recall, trade-off, audiences, \
                 calibration and training are of the first seed";
    (view.report.method.seeds.len() > 1).then_some(words)
}

/// With a capital letter.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

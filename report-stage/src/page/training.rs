//! Training: updates and times, and curves of the figures on the valid users.

use crate::chart::{Chart, Key, Panel, Place};
use crate::experiment::Experiment;
use crate::format;
use crate::load::Epoch;
use crate::page::blocks::{Block, Cell, Column, Row, Section, Table};
use crate::page::view::{NOT_RECORDED, View, metric};
use crate::scale::Scale;

pub fn section(view: &View) -> Section {
    let trained: Vec<&Experiment> =
        view.experiments().into_iter().filter(|e| !e.history.is_empty()).collect();
    let mut blocks = vec![Block::Table(effort(view))];
    if !trained.is_empty() {
        let mut epochs =
            vec![Block::text("Losses of different kinds cannot be compared with each other.")];
        epochs.extend(trained.iter().map(|e| Block::Table(history(e))));
        blocks.push(Block::fold("Every epoch as a table", epochs));
    }
    Section {
        id: "training",
        title: "Training",
        closed: Some("updates and times of each experiment, every epoch"),
        blocks,
        ..Section::default()
    }
}

fn effort(view: &View) -> Table {
    let titles = [
        ("Training rows", "training rows"),
        ("Updates", "updates"),
        ("Kept after", "updates"),
        ("Sample, s", "seconds"),
        ("Train, s", "seconds"),
        ("Score, s", "seconds"),
    ];
    let mut columns = vec![Column::words("Experiment")];
    columns.extend(titles.map(|(title, term)| Column::number(title).of(term)));
    let cells = |e: &Experiment| {
        let numbers = [e.train_rows, e.updates, e.updates_kept].map(format::maybe_count);
        let secs = [e.secs.sample, e.secs.train, e.secs.score].map(format::secs);
        let texts = numbers.into_iter().chain(secs);
        texts.map(|text| Cell::number(text, NOT_RECORDED)).collect()
    };
    Table {
        caption: "Size and wall time of each experiment".to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

fn figures(epoch: &Epoch) -> [Option<f64>; 3] {
    [epoch.valid_macro_f1, epoch.valid_user_f1, epoch.valid_map]
}

/// Gradient updates at the end of an epoch, or its number where they are not known.
fn progress(epoch: &Epoch) -> f64 {
    epoch.updates.map_or(f64::from(epoch.epoch), |updates| updates as f64)
}

/// Figures on the valid users during training; `None` for a model that is not trained.
pub fn curve(e: &Experiment) -> Option<Chart> {
    if e.history.is_empty() {
        return None;
    }
    let axis = if has_updates(e) { "updates" } else { "epoch" };
    let scale = Scale::from_zero(e.history.iter().flat_map(figures).flatten());
    let ends = Scale::from_zero(e.history.iter().map(progress));
    let mut panel = Panel::new(Place::SMALL, "", (ends, axis), (scale, ""));
    if let Some(kept) = kept(e) {
        panel.line("guide", [(kept, scale.low()), (kept, scale.high())]);
    }
    for (i, class) in ["main", "base", "third"].into_iter().enumerate() {
        let points =
            e.history.iter().filter_map(|epoch| Some((progress(epoch), figures(epoch)[i]?)));
        let points: Vec<(f64, f64)> = points.collect();
        if let &[point] = &points[..] {
            panel.dot(class, point, format::metric(Some(point.1)));
        }
        panel.line(class, points);
    }
    let last = e.history.last().map(figures).unwrap_or_default().map(format::metric);
    Some(Chart {
        title: "Training, on the valid users".to_owned(),
        description: format!(
            "{} on the valid users, at the thresholds that training uses, after the last epoch ({}): macro F1 {}, user F1 {}, \
             mean average precision {}. The vertical line marks the model that was kept. Of several networks that are \
             averaged, only the first is shown, without that line.",
            e.name,
            e.history.len(),
            last[0],
            last[1],
            last[2]
        ),
        keys: vec![
            Key::line("main", "item macro F1"),
            Key::line("base", "user F1"),
            Key::line("third", "MAP"),
        ],
        ..Chart::of(panel)
    })
}

fn has_updates(e: &Experiment) -> bool {
    e.history.iter().all(|epoch| epoch.updates.is_some())
}

/// Updates that the model in use had seen, if they are a place on the curve. With several networks
/// they are not: the updates of all are counted together, and only the first network is drawn.
fn kept(e: &Experiment) -> Option<f64> {
    let is_alone = e.settings["train"]["members"].as_u64().is_none_or(|members| members == 1);
    let last = e.history.iter().map(progress).fold(0.0, f64::max);
    let kept = e.updates_kept.filter(|_| has_updates(e) && is_alone)? as f64;
    (kept <= last).then_some(kept)
}

fn history(e: &Experiment) -> Table {
    let columns =
        ["Updates", "Train loss", "Valid loss", "Valid macro F1", "Valid user F1", "Valid MAP"];
    let mut columns: Vec<Column> =
        columns.map(|title| Column::number(title).of("figures on valid")).to_vec();
    columns.insert(0, Column::words("Epoch"));
    let row = |epoch: &Epoch| {
        let mut cells = vec![
            Cell::text(epoch.epoch.to_string()),
            Cell::number(format::maybe_count(epoch.updates), NOT_RECORDED),
            Cell::text(format!("{:.5}", epoch.train_loss)),
            Cell::text(format!("{:.5}", epoch.valid_loss)),
        ];
        cells.extend(figures(epoch).map(|value| metric(e, value)));
        Row::of(cells)
    };
    Table {
        caption: format!("Training of {}", e.name),
        columns,
        rows: e.history.iter().map(row).collect(),
    }
}

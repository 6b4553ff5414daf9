//! Item level against user level: what the same probabilities would give with other decisions.

use contract::words::plural;

use crate::chart::{Chart, Key, Panel, Place};
use crate::evaluate::per_user;
use crate::experiment::Experiment;
use crate::format;
use crate::load::{Alternative, AlternativeKind};
use crate::page::blocks::{Block, Cell, Column, Row, Section, Table};
use crate::page::view::{UNDEFINED, View, metric};
use crate::scale::Scale;

/// Dots closer than this share a label.
const NEAR: f64 = 14.0;

pub fn section(view: &View) -> Section {
    let scored = view.scored();
    Section {
        id: "trade-off",
        title: "Trade-off between users and brands",
        blocks: vec![
            Block::text(
                "Each line is one model's probabilities under all decisions of a kind. Moving along the line trades users \
                 for brands; only another model moves the line. The lines show what the test users would have got; nothing \
                 is chosen from them.",
            ),
            Block::Chart(chart(view, &scored)),
            Block::Table(dots(&scored)),
            Block::fold("The lines as a table", vec![Block::Table(lines(view))]),
        ],
    }
}

fn user_f1(e: &Experiment) -> Option<f64> {
    e.figures.user.f1
}

fn item_f1(e: &Experiment) -> Option<f64> {
    e.figures.item.macro_f1
}

fn chart(view: &View, scored: &[&Experiment]) -> Chart {
    let pair = view.pair();
    let alternatives = || pair.iter().flat_map(|(_, e)| &e.trade_off);
    let users = scored.iter().filter_map(|e| user_f1(e));
    let users = users.chain(alternatives().filter_map(|point| point.user_f1));
    let items = scored.iter().filter_map(|e| item_f1(e));
    let items = items.chain(alternatives().filter_map(|point| point.macro_f1));
    let place = Place { left: 52.0, top: 8.0, width: 640.0, height: 340.0 };
    let x = (Scale::from_zero(users), "user F1");
    let y = (Scale::from_zero(items), "item macro F1");
    let mut panel = Panel::new(place, "", x, y);
    let keys = draw_lines(&mut panel, &pair);
    draw_dots(&mut panel, view, scored);
    let names: Vec<&str> = pair.iter().map(|(_, e)| e.name.as_str()).collect();
    Chart {
        title: "Item macro F1 against user F1".to_owned(),
        description: format!(
            "Dots: the decisions of {}. Lines: what the probabilities of {} would give with other decisions. Up is better for brands, right is better for users.",
            plural(scored.len() as u64, "experiment"),
            names.join(" and ")
        ),
        width: 720.0,
        height: 396.0,
        panels: vec![panel],
        keys,
    }
}

/// Draws the alternatives of the two experiments shown, and returns the legend.
fn draw_lines(panel: &mut Panel, pair: &[(&'static str, &Experiment)]) -> Vec<Key> {
    let mut keys = Vec::new();
    for &(class, e) in pair {
        for kind in [AlternativeKind::Threshold, AlternativeKind::BrandShare] {
            let (line, what) = match (kind, class) {
                (AlternativeKind::Threshold, class) => (class, "one threshold, varied"),
                (AlternativeKind::BrandShare, "base") => {
                    ("base-fine", "policy `gain`, brand share varied")
                }
                (AlternativeKind::BrandShare, _) => {
                    ("main-fine", "policy `gain`, brand share varied")
                }
            };
            let of_kind = e.trade_off.iter().filter(|point| point.kind == kind);
            let points: Vec<(f64, f64)> =
                of_kind.filter_map(|point| point.user_f1.zip(point.macro_f1)).collect();
            if points.len() > 1 {
                panel.line(line, points);
                keys.push(Key::line(line, format!("`{}`: {what}", e.name)));
            }
        }
    }
    keys
}

/// Draws a dot for each experiment and its number in the table; dots close together share a label.
fn draw_dots(panel: &mut Panel, view: &View, scored: &[&Experiment]) {
    let mut labels: Vec<(f64, f64, String)> = Vec::new();
    for (place, e) in scored.iter().enumerate() {
        let Some((x, y)) = user_f1(e).zip(item_f1(e)) else { continue };
        let class = if view.is_baseline(e) {
            "base"
        } else if view.report.selected.as_ref() == Some(&e.name) {
            "main"
        } else {
            "other"
        };
        let [user, item] = [x, y].map(|value| format::metric(Some(value)));
        panel.dot(class, (x, y), format!("{}: user F1 {user}, item macro F1 {item}", e.name));
        let (x, y, number) = (panel.x(x) + 7.0, panel.y(y) + 4.0, (place + 1).to_string());
        let is_near = |label: &&mut (f64, f64, String)| {
            (label.0 - x).abs() < NEAR && (label.1 - y).abs() < NEAR
        };
        match labels.iter_mut().find(is_near) {
            Some((.., text)) => text.extend([", ", &number]),
            None => labels.push((x, y, number)),
        }
    }
    for (x, y, text) in labels {
        panel.text("label", (x, y), "start", text);
    }
}

fn dots(scored: &[&Experiment]) -> Table {
    let row = |(place, e): (usize, &&Experiment)| {
        Row::of(vec![
            Cell::text((place + 1).to_string()),
            Cell::code(&e.name),
            metric(e, user_f1(e)),
            metric(e, item_f1(e)),
        ])
    };
    Table {
        caption: "The numbered dots".to_owned(),
        columns: vec![
            Column::words("Number"),
            Column::words("Experiment"),
            Column::number("User F1").of("user level"),
            Column::number("Item macro F1").of("item level"),
        ],
        rows: scored.iter().enumerate().map(row).collect(),
    }
}

fn lines(view: &View) -> Table {
    let n_users = view.report.n_test_users as usize;
    let row = |e: &Experiment, point: &Alternative| {
        let kind = match point.kind {
            AlternativeKind::Threshold => "threshold",
            AlternativeKind::BrandShare => "brand share",
        };
        Row::of(vec![
            Cell::code(&e.name),
            Cell::text(kind),
            Cell::text(format::probability(point.value)),
            metric(e, point.user_f1),
            metric(e, point.macro_f1),
            Cell::number(format::mean(per_user(point.n_predicted, n_users)), UNDEFINED),
        ])
    };
    let pair = view.pair();
    let rows = pair.iter().flat_map(|(_, e)| e.trade_off.iter().map(|point| row(e, point)));
    Table {
        caption: "What other decisions would have given the test users".to_owned(),
        columns: vec![
            Column::words("Experiment"),
            Column::words("Decision"),
            Column::number("Value").of("other decisions"),
            Column::number("User F1").of("user level"),
            Column::number("Item macro F1").of("item level"),
            Column::number("Predictions per user").of("predictions per user"),
        ],
        rows: rows.collect(),
    }
}

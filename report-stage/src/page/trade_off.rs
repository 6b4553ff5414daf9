//! Item level against user level: what the same probabilities would give, decided otherwise.

use crate::chart::{Chart, Key, Panel, Place, Scale};
use crate::evaluate::per_user;
use crate::format;
use crate::load::Alternative;
use crate::page::{Block, Cell, Row, Section, Table, View, number, words};
use crate::report::Experiment;

/// Labels closer than this would be written over each other.
const NEAR: f64 = 14.0;

/// The curve, and the figures of all experiments on it.
pub fn section(view: &View) -> Section {
    let scored: Vec<&Experiment> = view.experiments().into_iter().filter(|e| e.is_ok()).collect();
    let values = |of: fn(&Experiment) -> Option<f64>| scored.iter().filter_map(move |e| of(e));
    let (user, item) =
        (|e: &Experiment| e.figures.user.f1, |e: &Experiment| e.figures.item.macro_f1);
    let curves = || view.pair().into_iter().flat_map(|(_, e)| &e.trade_off);
    let xs = values(user).chain(curves().filter_map(|point| point.user_f1));
    let ys = values(item).chain(curves().filter_map(|point| point.macro_f1));
    let place = Place { left: 52.0, top: 8.0, width: 640.0, height: 340.0 };
    let mut panel = Panel::new(
        place,
        "",
        (Scale::from_zero(xs), "user F1"),
        (Scale::from_zero(ys), "item macro F1"),
    );
    let mut keys = Vec::new();
    for (class, e) in view.pair() {
        for (kind, line, what) in [
            ("threshold", if class == "base" { "base" } else { "main" }, "one threshold, swept"),
            (
                "brand_share",
                if class == "base" { "base-fine" } else { "main-fine" },
                "policy `gain`, brand share swept",
            ),
        ] {
            let of_kind = e.trade_off.iter().filter(|point| point.kind == kind);
            let points: Vec<(f64, f64)> =
                of_kind.filter_map(|point| point.user_f1.zip(point.macro_f1)).collect();
            if points.len() > 1 {
                panel.line(line, points);
                keys.push(Key::line(line, format!("`{}`: {what}", e.name)));
            }
        }
    }
    let mut labels: Vec<(f64, f64, String)> = Vec::new();
    for (place, e) in scored.iter().enumerate() {
        let Some((x, y)) = user(e).zip(item(e)) else { continue };
        let class = if view.is_baseline(e) {
            "base"
        } else if view.report.selected.as_ref() == Some(&e.name) {
            "main"
        } else {
            "other"
        };
        let [user_f1, item_f1] = [x, y].map(|value| format::metric(Some(value)));
        panel.dot(class, (x, y), format!("{}: user F1 {user_f1}, item macro F1 {item_f1}", e.name));
        // Dots that lie on each other share a label.
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
    let numbered = scored.iter().enumerate().map(|(place, e)| Row {
        class: "",
        cells: vec![
            Cell::text((place + 1).to_string()),
            Cell::code(&e.name),
            super::metric(e, user(e)),
            super::metric(e, item(e)),
        ],
    });
    let table = Table {
        caption: "The numbered dots".to_owned(),
        columns: vec![
            words("Number"),
            words("Experiment"),
            number("User F1").of("user level"),
            number("Item macro F1").of("item level"),
        ],
        rows: numbered.collect(),
    };
    let chart = Chart {
        title: "Item macro F1 against user F1".to_owned(),
        description: format!(
            "The decisions taken by {} experiments as dots; as lines what the probabilities of {} would give under other decisions. Up is better for brands, right is better for users.",
            scored.len(),
            view.pair().iter().map(|(_, e)| e.name.as_str()).collect::<Vec<_>>().join(" and ")
        ),
        width: 720.0,
        height: 396.0,
        panels: vec![panel],
        keys,
    };
    Section {
        id: "trade-off",
        title: "Trade-off between users and items",
        blocks: vec![
            Block::text(
                "Each line is one model's probabilities under all decisions of a kind: moving along it trades users for \
                 brands, only another model moves the line. The lines show what test users would have got; nothing is \
                 chosen from them.",
            ),
            Block::Chart(chart),
            Block::Table(table),
            Block::fold("The lines as a table", vec![Block::Table(lines(view))]),
        ],
    }
}

fn lines(view: &View) -> Table {
    let n_users = view.report.n_test_users as usize;
    let row = |e: &Experiment, point: &Alternative| Row {
        class: "",
        cells: vec![
            Cell::code(&e.name),
            Cell::text(point.kind.replace('_', " ")),
            Cell::text(format::probability(point.value)),
            super::metric(e, point.user_f1),
            super::metric(e, point.macro_f1),
            Cell::number(format::mean(per_user(point.n_predicted, n_users)), super::UNDEFINED),
        ],
    };
    let pair = view.pair();
    let rows = pair.iter().flat_map(|(_, e)| e.trade_off.iter().map(|point| row(e, point)));
    Table {
        caption: "What other decisions would have given the test users".to_owned(),
        columns: vec![
            words("Experiment"),
            words("Decision"),
            number("Value").of("other decisions"),
            number("User F1").of("user level"),
            number("Item macro F1").of("item level"),
            number("Predictions per user").of("predictions per user"),
        ],
        rows: rows.collect(),
    }
}

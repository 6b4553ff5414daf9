//! Item level against user level: where each experiment stands, and what the same probabilities would
//! give with other decisions.

use contract::words::plural;

use crate::chart::{Canvas, Chart, Key, LETTER, NamedPoint, Panel, Place};
use crate::evaluate::per_user;
use crate::experiment::Experiment;
use crate::format;
use crate::labels::{Frame, Label};
use crate::load::{Alternative, AlternativeKind};
use crate::page::blocks::{Block, Cell, Column, Row, Section, Table, Width};
use crate::page::view::{UNDEFINED, View, metric};
use crate::scale::Scale;

const WIDE: Canvas = Canvas { width: 650.0, height: 400.0 };
const NARROW: Canvas = Canvas { width: 366.0, height: 360.0 };

pub fn section(view: &View) -> Section {
    let shown = view.selected().or(view.baseline());
    let mut blocks = Vec::new();
    if let Some(shown) = shown {
        blocks.push(Block::Drawing {
            wide: chart(view, shown, WIDE),
            narrow: chart(view, shown, NARROW),
        });
        let table = lines(view, &view.pair_with(shown));
        blocks.push(Block::fold(
            "What the lines are, and their values",
            vec![
                Block::text(
                    "Each line is one model's probabilities under all decisions of a kind. Moving along the line trades \
                     users for brands; only another model moves the line. The lines show what the test users would have \
                     got with the first seed's model; nothing is chosen from them.",
                ),
                Block::Table(table),
            ],
        ));
    }
    Section {
        id: "trade-off",
        title: "Trade-off between users and brands",
        short: Some("Trade-off"),
        width: Width::Half,
        blocks,
        ..Section::default()
    }
}

fn at(e: &Experiment) -> Option<(f64, f64)> {
    e.figures.user.f1.zip(e.figures.item.macro_f1)
}

fn points(e: &Experiment, kind: AlternativeKind) -> Vec<(f64, f64)> {
    let of_kind = e.trade_off.iter().filter(|point| point.kind == kind);
    of_kind.filter_map(|point| point.user_f1.zip(point.macro_f1)).collect()
}

const KINDS: [AlternativeKind; 2] = [AlternativeKind::Threshold, AlternativeKind::BrandShare];

/// All decisions of an experiment: the one taken and the others.
fn decisions(e: &Experiment) -> impl Iterator<Item = (f64, f64)> {
    at(e).into_iter().chain(KINDS.into_iter().flat_map(|kind| points(e, kind)))
}

/// An empty frame that holds the points.
fn frame(place: Place, points: &[(f64, f64)]) -> Panel {
    let x = Scale::around(points.iter().map(|&(x, _)| x));
    let y = Scale::around(points.iter().map(|&(_, y)| y));
    Panel::new(place, "", (x, "user F1: better for users →"), (y, "item macro F1 →"))
}

/// Draws the alternatives; what lies outside the frame is left out. Returns where lines are.
fn draw_lines(panel: &mut Panel, pair: &[(&'static str, &Experiment)]) -> Vec<[(f64, f64); 2]> {
    let mut drawn = Vec::new();
    for &(class, e) in pair {
        for kind in KINDS {
            let line = match (kind, class) {
                (AlternativeKind::Threshold, class) => class,
                (AlternativeKind::BrandShare, "base") => "base-fine",
                (AlternativeKind::BrandShare, _) => "main-fine",
            };
            let inside = points(e, kind).into_iter().filter(|&point| panel.holds(point));
            let inside: Vec<(f64, f64)> = inside.collect();
            drawn.extend(
                inside
                    .windows(2)
                    .map(|ends| [ends[0], ends[1]].map(|(x, y)| (panel.x(x), panel.y(y)))),
            );
            panel.named_line(line, inside, format!("{}: {}", e.name, what(kind)));
        }
    }
    drawn
}

fn what(kind: AlternativeKind) -> &'static str {
    match kind {
        AlternativeKind::Threshold => "one threshold",
        AlternativeKind::BrandShare => "policy gain",
    }
}

fn keys(pair: &[(&'static str, &Experiment)]) -> Vec<Key> {
    let of = |&(class, e): &(&'static str, &Experiment)| {
        let fine = if class == "base" { "base-fine" } else { "main-fine" };
        KINDS
            .into_iter()
            .zip([class, fine])
            .filter_map(|(kind, class)| {
                let is_drawn = points(e, kind).len() > 1;
                is_drawn.then(|| Key::line(class, format!("`{}`: {}", e.name, what(kind))))
            })
            .collect::<Vec<_>>()
    };
    pair.iter().flat_map(of).collect()
}

/// Draws an experiment's decisions, and returns where.
fn draw_dot(panel: &mut Panel, class: &'static str, e: &Experiment) -> Option<(f64, f64)> {
    let at = at(e)?;
    let [user, item] = [at.0, at.1].map(|value| format::metric(Some(value)));
    let title = format!("{}: user F1 {user}, item macro F1 {item}", e.name);
    Some(if panel.holds(at) {
        panel.dot(class, at, title);
        (panel.x(at.0), panel.y(at.1))
    } else {
        panel.beyond(at, title)
    })
}

/// All experiments, and the lines of the baseline and of the one shown beside it.
fn chart(view: &View, shown: &Experiment, canvas: Canvas) -> Chart {
    let place =
        Place { left: 48.0, top: 8.0, width: canvas.width - 58.0, height: canvas.height - 50.0 };
    let scored = view.scored();
    let pair = view.pair_with(shown);
    let held = held(&scored, &pair);
    let mut panel = frame(place, &held);
    let lines = draw_lines(&mut panel, &pair);
    let mut named = Vec::new();
    for e in &scored {
        let class = match () {
            () if view.is_baseline(e) => "base",
            () if e.name == shown.name => "main",
            () if e.is_truth => "truth",
            () => "other",
        };
        let Some((x, y)) = draw_dot(&mut panel, class, e) else { continue };
        let text = match at(e).filter(|_| e.is_truth) {
            Some((user, item)) => format!("{} (bound): {item:.3}, {user:.3}", e.name),
            None => e.name.clone(),
        };
        let class = match class {
            "main" => "label strong",
            "truth" => "label quiet",
            _ => "label",
        };
        named.push(NamedPoint { class, label: Label { x, y, text } });
    }
    named.sort_by_key(|point| point.class == "label");
    let frame = Frame {
        width: place.width,
        height: place.height,
        letter: LETTER,
        texts: Vec::new(),
        lines,
    };
    panel.name(&frame, &named);
    Chart {
        title: format!("Item macro F1 against user F1{}", first_seed(view)),
        description: format!(
            "Dots: the decisions of {}. Lines: what the probabilities of {} would give with other decisions. Up is better for brands, right is better for users.",
            plural(scored.len() as u64, "experiment"),
            pair.iter().map(|(_, e)| e.name.as_str()).collect::<Vec<_>>().join(" and ")
        ),
        width: canvas.width,
        height: canvas.height,
        panels: vec![panel],
        keys: keys(&pair),
    }
}

/// The dots are means over the seeds, the lines are not.
fn first_seed(view: &View) -> &'static str {
    if view.report.method.seeds.len() > 1 { "; lines of the first seed" } else { "" }
}

/// What the axes hold: all decisions taken and, of the others, those that lose little at both levels.
/// The truth does not stretch the axes.
fn held(scored: &[&Experiment], pair: &[(&'static str, &Experiment)]) -> Vec<(f64, f64)> {
    const KEPT: f64 = 0.7;

    let mut held: Vec<(f64, f64)> =
        scored.iter().filter(|e| !e.is_truth).filter_map(|e| at(e)).collect();
    let highest = held.iter().fold((0.0, 0.0), |(x, y): (f64, f64), at| (x.max(at.0), y.max(at.1)));
    let others = pair.iter().filter(|(_, e)| !e.is_truth).flat_map(|(_, e)| decisions(e));
    held.extend(others.filter(|(x, y)| *x >= KEPT * highest.0 && *y >= KEPT * highest.1));
    held
}

/// An experiment beside the baseline; `None` without other decisions.
pub fn of_experiment(view: &View, e: &Experiment) -> Option<Chart> {
    let pair = view.pair_with(e);
    if e.trade_off.len() < 2 {
        return None;
    }
    let held: Vec<(f64, f64)> = pair.iter().flat_map(|(_, e)| decisions(e)).collect();
    let mut panel = frame(Place::SMALL, &held);
    draw_lines(&mut panel, &pair);
    for (class, e) in &pair {
        draw_dot(&mut panel, class, e);
    }
    Some(Chart {
        title: "What other decisions would give".to_owned(),
        description: format!(
            "Item macro F1 against user F1. Dots: as decided. Lines: what the probabilities of {} would give with one \
             threshold for all brands, and with the policy gain.",
            pair.iter().map(|(_, e)| e.name.as_str()).collect::<Vec<_>>().join(" and ")
        ),
        ..Chart::of(panel)
    })
}

fn lines(view: &View, pair: &[(&'static str, &Experiment)]) -> Table {
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

//! All experiments in one picture: the change for brands across, the change for users up.

use contract::words::plural;

use crate::chart::{Canvas, Chart, LETTER, NamedPoint, Panel, Place};
use crate::compare::{Judged, LEVEL};
use crate::experiment::Experiment;
use crate::format;
use crate::labels::{Area, Frame, Label};
use crate::page::blocks::Block;
use crate::page::view::View;
use crate::scale::Scale;
use crate::verdict::Outcome;

const WIDE: Canvas = Canvas { width: 880.0, height: 410.0 };
const NARROW: Canvas = Canvas { width: 366.0, height: 460.0 };

/// Room for an arrow in a corner.
const EDGE: f64 = 20.0;

/// `None` where nothing is compared.
pub fn drawing(view: &View) -> Option<Block> {
    let rivals = view.rivals();
    (!rivals.is_empty()).then(|| Block::Drawing {
        wide: chart(view, &rivals, WIDE),
        narrow: chart(view, &rivals, NARROW),
    })
}

fn chart(view: &View, rivals: &[&Experiment], canvas: Canvas) -> Chart {
    let levels: [fn(&Experiment) -> Judged; 2] = [|e| e.delta.item_f1, |e| e.delta.user_f1];
    let [x, y] = levels.map(|of| {
        let ends = rivals.iter().filter_map(|e| of(e).ci95).flatten();
        Scale::around_zero(ends)
    });
    let place =
        Place { left: 58.0, top: 10.0, width: canvas.width - 68.0, height: canvas.height - 54.0 };
    let x = (x, "change of item macro F1: better for brands →");
    let y = (y, "change of user F1: better for users →");
    let mut panel = Panel::new(place, "", x, y).of_changes();
    let mut frame =
        Frame { width: place.width, height: place.height, letter: LETTER, ..Frame::default() };
    quadrants(&mut panel, &mut frame, [x.0, y.0]);
    let labels = draw(&mut panel, &mut frame, view, rivals);
    panel.name(&frame, &labels);
    Chart {
        title: format!(
            "Did it help brands, did it help users? Changes against {} with their {:.0}% intervals",
            view.report.baseline,
            100.0 * LEVEL
        ),
        description: format!(
            "Change of item macro F1 across and of user F1 up, against {}, with 95% intervals. {}: {} \
             better at both levels, {} better at one and worse at the other, {} better at none. The \
             figures are in the table of experiments.",
            view.report.baseline,
            plural(rivals.len() as u64, "experiment"),
            count(rivals, |item, user| [item, user] == [Outcome::Better; 2]),
            count(rivals, |item, user| {
                [item, user].contains(&Outcome::Better) && [item, user].contains(&Outcome::Worse)
            }),
            count(rivals, |item, user| ![item, user].contains(&Outcome::Better)),
        ),
        width: canvas.width,
        height: canvas.height,
        panels: vec![panel],
        keys: Vec::new(),
    }
}

fn count(rivals: &[&Experiment], is: fn(Outcome, Outcome) -> bool) -> usize {
    let outcomes = rivals.iter().filter_map(|e| e.outcomes);
    outcomes.filter(|outcomes| is(outcomes.item, outcomes.user)).count()
}

/// Colours the quadrants and names each that is large enough for its name.
fn quadrants(panel: &mut Panel, frame: &mut Frame, [x, y]: [Scale; 2]) {
    panel.area("gain", [0.0, x.high()], [0.0, y.high()]);
    panel.area("loss", [x.low(), 0.0], [y.low(), 0.0]);
    let (zero_x, zero_y) = (panel.x(0.0), panel.y(0.0));
    for (is_right, is_top, words) in [
        (true, true, ["better for both", ""]),
        (true, false, ["better for brands,", "worse for users"]),
        (false, true, ["better for users,", "worse for brands"]),
        (false, false, ["worse for both", ""]),
    ] {
        let lines: Vec<&str> = words.into_iter().filter(|line| !line.is_empty()).collect();
        let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let (width, height) =
            (longest as f64 * frame.letter + 6.0 + EDGE, lines.len() as f64 * 14.0 + 8.0);
        let room = (
            if is_right { frame.width - zero_x } else { zero_x },
            if is_top { zero_y } else { frame.height - zero_y },
        );
        if room.0 < width || room.1 < height {
            continue;
        }
        let left = if is_right { frame.width - width } else { 0.0 };
        let top = if is_top { 0.0 } else { frame.height - height };
        let (at, anchor) = if is_right { (frame.width - EDGE, "end") } else { (6.0, "start") };
        for (i, line) in lines.into_iter().enumerate() {
            panel.text("quadrant", (at, top + 15.0 + 14.0 * i as f64), anchor, line);
        }
        frame.texts.push(Area { left, top, width, height });
    }
    panel.line("zero", [(x.low(), 0.0), (x.high(), 0.0)]);
    panel.line("zero", [(0.0, y.low()), (0.0, y.high())]);
    let ends = [(0.0, zero_y), (frame.width, zero_y)];
    frame.lines.extend([ends, [(zero_x, 0.0), (zero_x, frame.height)]]);
}

/// Draws the crosses and dots. Returns the labels, the most important first.
fn draw(
    panel: &mut Panel,
    frame: &mut Frame,
    view: &View,
    rivals: &[&Experiment],
) -> Vec<NamedPoint> {
    let mut labels = Vec::new();
    for e in rivals {
        let [item, user] = [e.delta.item_f1, e.delta.user_f1];
        let (Some(x), Some(y)) = (item.abs, user.abs) else { continue };
        let (low, high) = (item.ci95.unwrap_or([x; 2]), user.ci95.unwrap_or([y; 2]));
        for ends in [low.map(|x| (x, y)), high.map(|y| (x, y))] {
            panel.line("cross", ends);
            frame.lines.push(ends.map(|(x, y)| (panel.x(x), panel.y(y))));
        }
    }
    for e in view.scored() {
        let is_best = view.report.answer.best.as_ref() == Some(&e.name);
        let change = e.delta.item_f1.abs.zip(e.delta.user_f1.abs);
        let (class, text_class, text, at) = match change {
            _ if view.is_baseline(e) => {
                ("base", "label", format!("{} (baseline)", e.name), Some((0.0, 0.0)))
            }
            Some(at) if e.is_truth => ("truth", "label quiet", truth(e), Some(at)),
            at if e.outdated.is_some() => {
                ("outdated", "label warn", format!("{}, not up to date", e.name), at)
            }
            at if is_best => ("main", "label strong", format!("{} (chosen)", e.name), at),
            at => ("other", "label", e.name.clone(), at),
        };
        let Some(at) = at else { continue };
        let title = title(e);
        let (x, y) = if panel.holds(at) {
            panel.dot(class, at, title);
            (panel.x(at.0), panel.y(at.1))
        } else {
            panel.beyond(at, title)
        };
        labels.push(NamedPoint { class: text_class, label: Label { x, y, text } });
    }
    labels.sort_by_key(|point: &NamedPoint| match point.class {
        "label strong" | "label warn" => 0,
        "label quiet" => 1,
        _ => 2,
    });
    labels
}

fn truth(e: &Experiment) -> String {
    let [item, user] =
        [&e.delta.item_f1, &e.delta.user_f1].map(|judged| format::points(judged.abs));
    format!("{} (bound): {item}, {user}", e.name)
}

fn title(e: &Experiment) -> String {
    let level = |name: &str, judged: &Judged| {
        let interval = format::interval(judged.ci95).unwrap_or_default();
        format!("{name} {} {interval}", format::change(judged.abs, judged.rel))
    };
    format!(
        "{}: {}; {}",
        e.name,
        level("item macro F1", &e.delta.item_f1),
        level("user F1", &e.delta.user_f1)
    )
}

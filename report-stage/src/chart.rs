//! Charts: numbers to positions on a canvas, which `templates/chart.svg` draws.
//!
//! All charts share their axes, number formats and classes; the style sheet has the colours.

use std::fmt::Write as _;

use serde::Serialize;

use crate::format;
use crate::labels::{self, Frame, Label};
use crate::scale::Scale;

/// A drawing of one or more panels.
#[derive(Debug, Default, Serialize)]
pub struct Chart {
    pub title: String,
    /// What the chart shows, for readers who do not see it
    pub description: String,
    /// In units of the view box
    pub width: f64,
    /// In units of the view box
    pub height: f64,
    pub panels: Vec<Panel>,
    /// The legend
    pub keys: Vec<Key>,
}

impl Chart {
    /// A chart of one panel, as large as the panel needs. Title and description are still to come.
    pub fn of(panel: Panel) -> Self {
        let width = panel.left + panel.width + 10.0;
        let height = panel.top + panel.height + if panel.x.label.is_empty() { 22.0 } else { 40.0 };
        Self { width, height, panels: vec![panel], ..Self::default() }
    }
}

/// A class of marks and its meaning.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// As of [`Mark`]
    pub class: &'static str,
    /// Text between backticks is shown as code
    pub text: String,
}

impl Key {
    pub fn line(class: &'static str, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }
}

/// One frame with its axes and marks.
#[derive(Debug, Serialize)]
pub struct Panel {
    /// Shown above the frame
    pub title: String,
    /// Left edge of the frame
    pub left: f64,
    /// Upper edge of the frame
    pub top: f64,
    /// Width of the frame
    pub width: f64,
    /// Height of the frame
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
    /// From back to front
    pub marks: Vec<Mark>,
    #[serde(skip)]
    scales: [Scale; 2],
}

/// Ticks along an edge.
#[derive(Debug, Serialize)]
pub struct Axis {
    pub label: String,
    /// Distance of the label from the axis, so that it clears the text of the ticks
    pub label_at: f64,
    pub ticks: Vec<Tick>,
}

/// A labelled position.
#[derive(Debug, Serialize)]
pub struct Tick {
    /// Distance from the left or upper edge of the frame
    pub at: f64,
    pub text: String,
}

/// Something drawn in a frame; `class` is one of the style sheet's, positions are from the left and
/// the upper edge.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mark {
    /// A path, with `d` as in SVG; its title is shown on hover
    Line { class: &'static str, d: String, title: Option<String> },
    /// A rectangle
    Area { class: &'static str, x: f64, y: f64, width: f64, height: f64 },
    /// A dot; its title is shown on hover
    Dot { class: &'static str, x: f64, y: f64, title: String },
    /// An arrow at the edge of the frame toward a value beyond it
    Beyond { x: f64, y: f64, degrees: f64, title: String },
    /// Text; `anchor` is `start`, `middle` or `end`
    Text { class: &'static str, x: f64, y: f64, anchor: &'static str, text: String },
}

/// Width of a letter.
pub const LETTER: f64 = 6.3;

/// Height of a line of text.
const LINE: f64 = 11.0;

/// Distance between ticks of a large linear axis, about.
const TICK: f64 = 58.0;

/// The size of a chart, in units of the view box.
#[derive(Clone, Copy, Debug)]
pub struct Canvas {
    pub width: f64,
    pub height: f64,
}

/// The name of a point and the class of its text.
#[derive(Clone, Debug)]
pub struct NamedPoint {
    pub class: &'static str,
    pub label: Label,
}

/// The frame of a panel, in units of the view box.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Place {
    /// Of a chart that fits a phone; on a desktop there are several side by side.
    pub const SMALL: Self = Self { left: 46.0, top: 10.0, width: 284.0, height: 176.0 };
}

impl Panel {
    /// An empty frame.
    pub fn new(place: Place, title: impl Into<String>, x: (Scale, &str), y: (Scale, &str)) -> Self {
        let Place { mut left, top, mut width, height } = place;
        let axis = |(scale, label): (Scale, &str), length: f64, at: &dyn Fn(f64) -> f64| {
            let tick =
                |value: f64| Tick { at: tenth(at(scale.share(value))), text: format::tick(value) };
            let ticks: Vec<Tick> =
                scale.ticks((length / TICK).max(4.0)).into_iter().map(tick).collect();
            let longest = ticks.iter().map(|tick| tick.text.chars().count()).max().unwrap_or(0);
            let label_at = tenth(LETTER * longest as f64 + 12.0);
            Axis { label: label.to_owned(), label_at, ticks }
        };
        let y_axis = axis(y, height, &|share| (1.0 - share) * height);
        if !y.1.is_empty() {
            // The label is beside the ticks, however long they are.
            let missing = (y_axis.label_at + LINE - left).max(0.0);
            (left, width) = (left + missing, width - missing);
        }
        Self {
            title: title.into(),
            left,
            top,
            width,
            height,
            x: axis(x, width, &|share| share * width),
            y: y_axis,
            marks: Vec::new(),
            scales: [x.0, y.0],
        }
    }

    /// Distance of a value from the left edge of the frame.
    pub fn x(&self, value: f64) -> f64 {
        tenth(self.scales[0].share(value) * self.width)
    }

    /// Distance of a value from the upper edge of the frame.
    pub fn y(&self, value: f64) -> f64 {
        tenth((1.0 - self.scales[1].share(value)) * self.height)
    }

    /// Draws straight lines between points; nothing for fewer than two.
    pub fn line(&mut self, class: &'static str, points: impl IntoIterator<Item = (f64, f64)>) {
        self.path(class, points, None);
    }

    /// As [`Self::line`], with a title that is shown on hover.
    pub fn named_line(
        &mut self,
        class: &'static str,
        points: impl IntoIterator<Item = (f64, f64)>,
        title: impl Into<String>,
    ) {
        self.path(class, points, Some(title.into()));
    }

    fn path(
        &mut self,
        class: &'static str,
        points: impl IntoIterator<Item = (f64, f64)>,
        title: Option<String>,
    ) {
        let points: Vec<(f64, f64)> =
            points.into_iter().map(|(x, y)| (self.x(x), self.y(y))).collect();
        self.stroke(class, &points, title);
    }

    /// Draws straight lines between positions of the frame, not between values.
    pub fn stroke(&mut self, class: &'static str, points: &[(f64, f64)], title: Option<String>) {
        if points.len() < 2 {
            return;
        }
        let mut d = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            let _ = write!(d, "{command}{} {}", tenth(*x), tenth(*y));
        }
        self.marks.push(Mark::Line { class, d, title });
    }

    /// Fills the rectangle between two values of each axis.
    pub fn area(&mut self, class: &'static str, x: [f64; 2], y: [f64; 2]) {
        let ([x0, x1], [y0, y1]) = (x.map(|x| self.x(x)), y.map(|y| self.y(y)));
        self.marks.push(Mark::Area {
            class,
            x: x0.min(x1),
            y: y0.min(y1),
            width: tenth((x1 - x0).abs()),
            height: tenth((y1 - y0).abs()),
        });
    }

    /// Draws a dot with a title.
    pub fn dot(&mut self, class: &'static str, (x, y): (f64, f64), title: impl Into<String>) {
        self.marks.push(Mark::Dot { class, x: self.x(x), y: self.y(y), title: title.into() });
    }

    /// Marks a value that lies outside the frame by an arrow at its edge. Returns its position.
    pub fn beyond(&mut self, (x, y): (f64, f64), title: impl Into<String>) -> (f64, f64) {
        const EDGE: f64 = 7.0;

        let (wanted_x, wanted_y) = (self.x(x), self.y(y));
        let x = wanted_x.clamp(EDGE, self.width - EDGE);
        let y = wanted_y.clamp(EDGE, self.height - EDGE);
        let degrees = (wanted_y - y).atan2(wanted_x - x).to_degrees().round();
        self.marks.push(Mark::Beyond { x: tenth(x), y: tenth(y), degrees, title: title.into() });
        (x, y)
    }

    /// Writes the names of points where there is room for them, the first ones best.
    pub fn name(&mut self, frame: &Frame, points: &[NamedPoint]) {
        let labels: Vec<Label> = points.iter().map(|point| point.label.clone()).collect();
        for (placed, point) in labels::place(frame, &labels).into_iter().zip(points) {
            let Some(placed) = placed else { continue };
            if let Some(leader) = placed.leader {
                self.stroke("leader", &leader, None);
            }
            self.text(point.class, (placed.x, placed.y), placed.anchor, &point.label.text);
        }
    }

    /// Whether a point lies in the frame.
    pub fn holds(&self, (x, y): (f64, f64)) -> bool {
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        is_share(self.scales[0].share(x)) && is_share(self.scales[1].share(y))
    }

    /// Gives the ticks of both axes the sign that changes have.
    pub fn of_changes(mut self) -> Self {
        for tick in self.x.ticks.iter_mut().chain(&mut self.y.ticks) {
            if tick.text != "0" && !tick.text.starts_with('−') {
                tick.text.insert(0, '+');
            }
        }
        self
    }

    /// Writes text at a position of the frame, not at a value.
    pub fn text(
        &mut self,
        class: &'static str,
        (x, y): (f64, f64),
        anchor: &'static str,
        text: impl Into<String>,
    ) {
        let text = text.into();
        self.marks.push(Mark::Text { class, x: tenth(x), y: tenth(y), anchor, text });
    }
}

/// Rounds to a tenth of a unit, finer than an eye sees.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `0.125` takes more room than the frame leaves.
    #[test]
    fn the_label_of_long_ticks_is_inside_the_chart() {
        let place = Place { left: 40.0, top: 0.0, width: 200.0, height: 355.0 };
        let scale = Scale::Linear(0.0, 0.14);
        let panel = Panel::new(place, "", (scale, ""), (scale, "F1"));
        assert!(panel.y.ticks.iter().any(|tick| tick.text.len() > 4));
        assert!(panel.left >= panel.y.label_at + LINE);
        assert!((panel.left + panel.width - 240.0).abs() < 1e-9);
        assert!(Panel::new(place, "", (scale, ""), (scale, "")).left <= 40.0);
    }

    #[test]
    fn values_fall_into_the_frame() {
        let place = Place { left: 0.0, top: 0.0, width: 200.0, height: 100.0 };
        let mut panel =
            Panel::new(place, "", (Scale::Log(1.0, 100.0), "x"), (Scale::Linear(0.0, 1.0), ""));
        assert_eq!((panel.x(1.0), panel.x(10.0), panel.x(100.0)), (0.0, 100.0, 200.0));
        assert_eq!((panel.x(0.0), panel.y(0.25)), (0.0, 75.0), "a logarithm begins at its low end");
        panel.line("a", [(1.0, 0.0)]);
        panel.line("a", [(1.0, 0.0), (100.0, 1.0)]);
        let [Mark::Line { d, .. }] = &panel.marks[..] else { panic!("{:?}", panel.marks) };
        assert_eq!(d, "M0 100L200 0");
    }

    /// 3 lies at 300 of 200 units, 0.5 in the middle of the height: an arrow to the right.
    #[test]
    fn what_lies_outside_is_an_arrow_at_the_edge() {
        let place = Place { left: 0.0, top: 0.0, width: 200.0, height: 100.0 };
        let unit = Scale::Linear(0.0, 1.0);
        let mut panel = Panel::new(place, "", (Scale::Linear(0.0, 2.0), "x"), (unit, ""));
        assert!(panel.holds((2.0, 0.5)) && !panel.holds((3.0, 0.5)));
        assert_eq!(panel.beyond((3.0, 0.5), "far"), (193.0, 50.0));
        let [Mark::Beyond { x, y, degrees, .. }] = panel.marks[..] else { panic!() };
        assert_eq!((x, y, degrees), (193.0, 50.0, 0.0));
        panel.beyond((1.0, -1.0), "below");
        let [_, Mark::Beyond { degrees, .. }] = panel.marks[..] else { panic!() };
        assert_eq!(degrees, 90.0, "down, as y grows downwards");
    }

    #[test]
    fn ticks_of_changes_have_signs() {
        let place = Place { left: 0.0, top: 0.0, width: 200.0, height: 100.0 };
        let scale = Scale::Linear(-0.1, 0.1);
        let panel = Panel::new(place, "", (scale, "x"), (scale, "y")).of_changes();
        let texts: Vec<&str> = panel.x.ticks.iter().map(|tick| tick.text.as_str()).collect();
        assert_eq!(texts, ["−0.1", "−0.05", "0", "+0.05", "+0.1"]);
    }
}

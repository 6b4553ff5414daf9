//! Charts: numbers to positions on a canvas, which `templates/chart.svg` draws.
//!
//! All charts share their axes, number formats and classes; the style sheet has the colours.

use std::fmt::Write as _;

use serde::Serialize;

use crate::format;
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

/// A class of marks and its meaning.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// As of [`Mark`]
    pub class: &'static str,
    /// `line` or `dot`
    pub shape: &'static str,
    /// Text between backticks is shown as code
    pub text: String,
}

impl Key {
    pub fn line(class: &'static str, text: impl Into<String>) -> Self {
        Self { class, shape: "line", text: text.into() }
    }

    pub fn dot(class: &'static str, text: impl Into<String>) -> Self {
        Self { class, shape: "dot", text: text.into() }
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
    /// A path, with `d` as in SVG
    Line { class: &'static str, d: String },
    /// Dots without names, as one path: each is a line of length 0 with round ends
    Dots { class: &'static str, d: String },
    /// A dot; its title is shown on hover
    Dot { class: &'static str, x: f64, y: f64, title: String },
    /// Text; `anchor` is `start`, `middle` or `end`
    Text { class: &'static str, x: f64, y: f64, anchor: &'static str, text: String },
}

/// Width of a digit in a tick's text.
const LETTER: f64 = 6.2;

/// The frame of a panel, in units of the view box.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Panel {
    /// An empty frame.
    pub fn new(place: Place, title: impl Into<String>, x: (Scale, &str), y: (Scale, &str)) -> Self {
        let Place { left, top, width, height } = place;
        let axis = |(scale, label): (Scale, &str), at: &dyn Fn(f64) -> f64| {
            let tick =
                |value: f64| Tick { at: tenth(at(scale.share(value))), text: format::tick(value) };
            let ticks: Vec<Tick> = scale.ticks().into_iter().map(tick).collect();
            let longest = ticks.iter().map(|tick| tick.text.chars().count()).max().unwrap_or(0);
            let label_at = tenth(LETTER * longest as f64 + 12.0);
            Axis { label: label.to_owned(), label_at, ticks }
        };
        Self {
            title: title.into(),
            left,
            top,
            width,
            height,
            x: axis(x, &|share| share * width),
            y: axis(y, &|share| (1.0 - share) * height),
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
        let mut d = String::new();
        let mut n_points = 0;
        for (x, y) in points {
            let command = if n_points == 0 { 'M' } else { 'L' };
            let _ = write!(d, "{command}{} {}", self.x(x), self.y(y));
            n_points += 1;
        }
        if n_points > 1 {
            self.marks.push(Mark::Line { class, d });
        }
    }

    /// Draws many dots.
    pub fn dots(&mut self, class: &'static str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut d = String::new();
        for (x, y) in points {
            let _ = write!(d, "M{} {}h0", self.x(x), self.y(y));
        }
        if !d.is_empty() {
            self.marks.push(Mark::Dots { class, d });
        }
    }

    /// Draws a dot with a title.
    pub fn dot(&mut self, class: &'static str, (x, y): (f64, f64), title: impl Into<String>) {
        self.marks.push(Mark::Dot { class, x: self.x(x), y: self.y(y), title: title.into() });
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

    #[test]
    fn values_fall_into_the_frame() {
        let place = Place { left: 0.0, top: 0.0, width: 200.0, height: 100.0 };
        let mut panel =
            Panel::new(place, "", (Scale::Log(1.0, 100.0), "x"), (Scale::Linear(0.0, 1.0), "y"));
        assert_eq!((panel.x(1.0), panel.x(10.0), panel.x(100.0)), (0.0, 100.0, 200.0));
        assert_eq!((panel.x(0.0), panel.y(0.25)), (0.0, 75.0), "a logarithm begins at its low end");
        panel.line("a", [(1.0, 0.0)]);
        panel.line("a", [(1.0, 0.0), (100.0, 1.0)]);
        panel.dots("b", []);
        let [Mark::Line { d, .. }] = &panel.marks[..] else { panic!("{:?}", panel.marks) };
        assert_eq!(d, "M0 100L200 0");
    }
}

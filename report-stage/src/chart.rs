//! Small charts: numbers to positions on a canvas, which `templates/chart.svg` draws.
//!
//! All charts share their axes, number formats and classes; colours are the style sheet's.

use std::fmt::Write as _;

use serde::Serialize;

use crate::format;

/// A drawing of one or more panels.
#[derive(Debug, Default, Serialize)]
pub struct Chart {
    /// What is drawn
    pub title: String,
    /// What can be seen, for those who cannot see it
    pub description: String,
    /// In units of the view box
    pub width: f64,
    /// In units of the view box
    pub height: f64,
    /// Side by side or below each other
    pub panels: Vec<Panel>,
    /// What the marks mean
    pub keys: Vec<Key>,
}

/// A class of marks and what it means.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// As [`Mark`]'s
    pub class: &'static str,
    /// `line` or `dot`
    pub shape: &'static str,
    /// Words; a name of the manifest stands between backticks
    pub text: String,
}

impl Key {
    /// Of lines.
    pub fn line(class: &'static str, text: impl Into<String>) -> Self {
        Self { class, shape: "line", text: text.into() }
    }

    /// Of dots.
    pub fn dot(class: &'static str, text: impl Into<String>) -> Self {
        Self { class, shape: "dot", text: text.into() }
    }
}

/// One frame with its axes and marks.
#[derive(Debug, Serialize)]
pub struct Panel {
    /// Above the frame
    pub title: String,
    /// Left edge
    pub left: f64,
    /// Upper edge
    pub top: f64,
    /// Of the frame
    pub width: f64,
    /// Of the frame
    pub height: f64,
    /// Below
    pub x: Axis,
    /// At the left
    pub y: Axis,
    /// From back to front
    pub marks: Vec<Mark>,
    #[serde(skip)]
    scales: [Scale; 2],
}

/// Ticks along an edge.
#[derive(Debug, Serialize)]
pub struct Axis {
    /// What is measured
    pub label: String,
    /// Of the label from the axis; beyond the ticks' texts
    pub label_at: f64,
    /// Positions in the frame
    pub ticks: Vec<Tick>,
}

/// A labelled position.
#[derive(Debug, Serialize)]
pub struct Tick {
    /// From the left or upper edge of the frame
    pub at: f64,
    /// Its value
    pub text: String,
}

/// Something drawn in a frame.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mark {
    /// A path
    Line {
        /// For the style sheet
        class: &'static str,
        /// As in SVG
        d: String,
    },
    /// Dots without names, as one path: each is a line of no length with round ends
    Dots {
        /// For the style sheet
        class: &'static str,
        /// As in SVG
        d: String,
    },
    /// A dot with a name
    Dot {
        /// For the style sheet
        class: &'static str,
        /// From the left edge
        x: f64,
        /// From the upper edge
        y: f64,
        /// Shown on hover
        title: String,
    },
    /// Words
    Text {
        /// For the style sheet
        class: &'static str,
        /// From the left edge
        x: f64,
        /// From the upper edge
        y: f64,
        /// `start`, `middle` or `end`
        anchor: &'static str,
        /// The words
        text: String,
    },
}

/// From values to a share of an edge.
#[derive(Clone, Copy, Debug)]
pub enum Scale {
    /// Equal steps
    Linear(f64, f64),
    /// Equal factors; both ends are above 0
    Log(f64, f64),
    /// Square roots from 0: small counts stay visible beside large ones
    Sqrt(f64),
}

impl Scale {
    /// Linear from 0, or from the lowest value if it is below, to a round number.
    pub fn from_zero(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) =
            values.into_iter().fold((0.0, 0.0), |(a, b): (f64, f64), v| (a.min(v), b.max(v)));
        let high = if high > low { high } else { low + 1.0 };
        let step = step(high - low);
        Self::Linear((low / step).floor() * step, (high / step).ceil() * step)
    }

    /// Linear over the values, with a little room.
    pub fn around(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = values
            .into_iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if low > high {
            return Self::Linear(0.0, 1.0);
        }
        let room = if high > low { (high - low) * 0.06 } else { 0.5 };
        Self::Linear(low - room, high + room)
    }

    /// Logarithmic over the positive values.
    pub fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let positive = values.into_iter().filter(|&v| v > 0.0);
        let (low, high) =
            positive.fold((f64::INFINITY, 0.0), |(a, b): (f64, f64), v| (a.min(v), b.max(v)));
        if low > high {
            return Self::Log(1.0, 10.0);
        }
        Self::Log(low / 1.2, high * 1.2)
    }

    /// Position of a value, in `[0, 1]` for values on the scale.
    fn share(self, value: f64) -> f64 {
        match self {
            Self::Linear(low, high) => (value - low) / (high - low),
            Self::Log(low, high) => (value.max(low) / low).ln() / (high / low).ln(),
            Self::Sqrt(high) => (value.max(0.0) / high.max(1.0)).sqrt(),
        }
    }

    /// Values to label.
    fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear(low, high) => {
                let step = step(high - low);
                let first = (low / step - 1e-9).ceil() as i64;
                let last = (high / step + 1e-9).floor() as i64;
                (first..=last).map(|i| i as f64 * step).collect()
            }
            Self::Log(low, high) => {
                let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
                let is_wide = high / low > 300.0;
                let mantissas: &[f64] = if is_wide { &[1.0] } else { &[1.0, 3.0] };
                exponents
                    .flat_map(|e| mantissas.iter().map(move |m| m * 10_f64.powi(e)))
                    .filter(|v| (low..=high).contains(v))
                    .collect()
            }
            Self::Sqrt(high) => {
                let shares = [0.0, 0.01, 0.1, 0.4, 1.0].map(|share| share * high.max(1.0));
                let mut ticks: Vec<f64> = shares.iter().map(|&v| round_down(v)).collect();
                ticks.dedup();
                ticks
            }
        }
    }
}

/// A round step, of which four or five make the span.
fn step(span: f64) -> f64 {
    let rough = span / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|f| f * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

/// To one leading digit and a zero or five, as 480 to 450.
fn round_down(value: f64) -> f64 {
    if value < 1.0 {
        return 0.0;
    }
    let unit = 10_f64.powf(value.log10().floor()) / 2.0;
    (value / unit.max(1.0)).floor() * unit.max(1.0)
}

/// Width of a digit in a tick's text.
const LETTER: f64 = 6.2;

/// Where a panel stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Left edge of the frame
    pub left: f64,
    /// Upper edge of the frame
    pub top: f64,
    /// Of the frame
    pub width: f64,
    /// Of the frame
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

    /// Position of a value.
    pub fn x(&self, value: f64) -> f64 {
        tenth(self.scales[0].share(value) * self.width)
    }

    /// Position of a value.
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

    /// Draws a dot with a name.
    pub fn dot(&mut self, class: &'static str, (x, y): (f64, f64), title: impl Into<String>) {
        self.marks.push(Mark::Dot { class, x: self.x(x), y: self.y(y), title: title.into() });
    }

    /// Writes at a position of the frame, not at a value.
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

/// Finer than an eye sees.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(scale: Scale) -> Vec<String> {
        scale.ticks().into_iter().map(format::tick).collect()
    }

    #[test]
    fn ticks_are_round_numbers_on_the_scale() {
        assert_eq!(values(Scale::Linear(0.0, 1.0)), ["0", "0.25", "0.5", "0.75", "1"]);
        assert_eq!(values(Scale::Linear(-0.03, 0.05)), ["−0.02", "0", "0.02", "0.04"]);
        assert_eq!(values(Scale::Log(4.0, 5000.0)), ["10", "100", "1k"]);
        assert_eq!(values(Scale::Log(0.008, 0.2)), ["0.01", "0.03", "0.1"]);
        assert_eq!(values(Scale::Sqrt(600.0)), ["0", "6", "60", "200", "600"]);
        assert_eq!(values(Scale::Sqrt(0.0)), ["0", "1"]);
    }

    #[test]
    fn scales_hold_their_values() {
        assert!(
            matches!(Scale::from_zero([0.31, 0.12]), Scale::Linear(0.0, high) if (high - 0.4).abs() < 1e-12)
        );
        assert!(matches!(Scale::from_zero([]), Scale::Linear(0.0, 1.0)));
        assert!(
            matches!(Scale::log([0.0, 2.0, 8.0]), Scale::Log(low, high) if low < 2.0 && high > 8.0)
        );
        assert!(matches!(Scale::log([0.0]), Scale::Log(1.0, 10.0)));
        assert!(matches!(Scale::around([]), Scale::Linear(0.0, 1.0)));
    }

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

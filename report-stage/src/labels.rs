//! Labels of points that overlap neither each other nor a point: beside the point where there is
//! room, else farther off with a line to it.

/// A point and its label.
#[derive(Clone, Debug)]
pub struct Label {
    pub x: f64,
    pub y: f64,
    pub text: String,
}

/// Where a label is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub x: f64,
    /// Of the text's base line
    pub y: f64,
    pub anchor: &'static str,
    /// From the point to the label, if that is not beside it
    pub leader: Option<[(f64, f64); 2]>,
}

/// What labels share their frame with.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub width: f64,
    pub height: f64,
    /// Width of a letter
    pub letter: f64,
    /// Text that is written already
    pub texts: Vec<Area>,
    /// Lines that a label should not cover
    pub lines: Vec<[(f64, f64); 2]>,
}

/// A rectangle.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// Height of a label.
const HEIGHT: f64 = 13.0;
/// Half the width of a point with some room around it.
const POINT: f64 = 5.5;
/// Distances of a label from its point, the nearest first.
const DISTANCES: [f64; 14] =
    [8.0, 13.0, 20.0, 28.0, 37.0, 47.0, 58.0, 70.0, 84.0, 100.0, 118.0, 138.0, 160.0, 184.0];
/// From this distance on, a line leads to the label.
const FAR: f64 = 14.0;
/// Directions in which room is looked for, in degrees; what reads best comes first.
const DIRECTIONS: [f64; 16] = [
    0.0, 180.0, 90.0, 270.0, 30.0, 330.0, 150.0, 210.0, 60.0, 300.0, 120.0, 240.0, 15.0, 345.0,
    165.0, 195.0,
];

/// Places labels, the first ones best; `None` where there is no room at all.
pub fn place(frame: &Frame, labels: &[Label]) -> Vec<Option<Placed>> {
    let mut taken = frame.texts.clone();
    let mut leaders: Vec<[(f64, f64); 2]> = Vec::new();
    let mut all = Vec::new();
    for (own, label) in labels.iter().enumerate() {
        let others =
            || labels.iter().enumerate().filter(|&(i, _)| i != own).map(|(_, other)| other);
        let mut best: Option<(f64, Placed, Area)> = None;
        for (rank, distance) in DISTANCES.into_iter().enumerate() {
            for (order, degrees) in DIRECTIONS.into_iter().enumerate() {
                let (placed, area) = candidate(frame, label, distance, degrees);
                let is_inside = area.left >= 0.0
                    && area.top >= 0.0
                    && area.left + area.width <= frame.width
                    && area.top + area.height <= frame.height;
                let is_free = is_inside
                    && !taken.iter().any(|other| area.overlaps(other))
                    && !others().any(|other| area.overlaps(&Area::around(other)))
                    && !leaders.iter().any(|leader| area.is_crossed_by(leader));
                if !is_free {
                    continue;
                }
                let mut cost = distance + order as f64 * 0.3 + rank as f64;
                cost +=
                    9.0 * frame.lines.iter().filter(|line| area.is_crossed_by(line)).count() as f64;
                if let Some(leader) = &placed.leader {
                    let covers = |area: &Area| area.is_crossed_by(leader);
                    cost += 60.0 * taken.iter().filter(|area| covers(area)).count() as f64;
                    cost +=
                        25.0 * others().filter(|other| covers(&Area::around(other))).count() as f64;
                    cost +=
                        40.0 * leaders.iter().filter(|other| crosses(leader, other)).count() as f64;
                }
                if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                    best = Some((cost, placed, area));
                }
            }
        }
        let best = best.map(|(_, placed, area)| {
            taken.push(area);
            leaders.extend(placed.leader);
            placed
        });
        all.push(best);
    }
    all
}

/// The label at a distance and in a direction, and the rectangle that it covers.
fn candidate(frame: &Frame, label: &Label, distance: f64, degrees: f64) -> (Placed, Area) {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let width = frame.letter * label.text.chars().count() as f64;
    let (x, middle) = (label.x + distance * cos, label.y - distance * sin);
    let (anchor, left) = match cos {
        cos if cos > 0.2 => ("start", x),
        cos if cos < -0.2 => ("end", x - width),
        _ => ("middle", x - width / 2.0),
    };
    let area = Area { left, top: middle - HEIGHT / 2.0, width, height: HEIGHT };
    let leader = (distance >= FAR).then(|| {
        let from = (label.x + (POINT - 1.0) * cos, label.y - (POINT - 1.0) * sin);
        let to_y = if anchor == "middle" { middle + sin.signum() * HEIGHT / 2.0 } else { middle };
        let to_x = match anchor {
            "start" => x - 2.0,
            "end" => x + 2.0,
            _ => x,
        };
        [from, (to_x, to_y)]
    });
    (Placed { x, y: middle + 4.0, anchor, leader }, area)
}

impl Area {
    fn around(label: &Label) -> Self {
        let (left, top) = (label.x - POINT, label.y - POINT);
        Self { left, top, width: 2.0 * POINT, height: 2.0 * POINT }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.left + other.width
            && other.left < self.left + self.width
            && self.top < other.top + other.height
            && other.top < self.top + self.height
    }

    fn holds(&self, (x, y): (f64, f64)) -> bool {
        (self.left..=self.left + self.width).contains(&x)
            && (self.top..=self.top + self.height).contains(&y)
    }

    fn is_crossed_by(&self, line: &[(f64, f64); 2]) -> bool {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        let diagonals =
            [[(self.left, self.top), (right, bottom)], [(self.left, bottom), (right, self.top)]];
        line.iter().any(|&end| self.holds(end)) || diagonals.iter().any(|d| crosses(line, d))
    }
}

/// Whether two line segments cross.
fn crosses([a, b]: &[(f64, f64); 2], [c, d]: &[(f64, f64); 2]) -> bool {
    let side = |p: &(f64, f64), q: &(f64, f64), r: &(f64, f64)| {
        (q.0 - p.0) * (r.1 - p.1) - (q.1 - p.1) * (r.0 - p.0)
    };
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn areas(frame: &Frame, labels: &[Label], placed: &[Option<Placed>]) -> Vec<Area> {
        let area = |(label, placed): (&Label, &Option<Placed>)| {
            let placed = placed.as_ref().unwrap();
            let width = frame.letter * label.text.chars().count() as f64;
            let left = match placed.anchor {
                "start" => placed.x,
                "end" => placed.x - width,
                _ => placed.x - width / 2.0,
            };
            Area { left, top: placed.y - 4.0 - HEIGHT / 2.0, width, height: HEIGHT }
        };
        labels.iter().zip(placed).map(area).collect()
    }

    /// Twenty points on a spot of 40 by 20, with names of 12 letters.
    #[test]
    fn labels_of_a_crowd_overlap_neither_each_other_nor_a_point() {
        let frame = Frame { width: 600.0, height: 400.0, letter: 6.0, ..Frame::default() };
        let label = |i: usize| Label {
            x: 300.0 + (i % 5) as f64 * 10.0,
            y: 200.0 + (i / 5) as f64 * 7.0,
            text: format!("experiment{i:02}"),
        };
        let labels: Vec<Label> = (0..20).map(label).collect();
        let placed = place(&frame, &labels);
        let areas = areas(&frame, &labels, &placed);
        for (i, area) in areas.iter().enumerate() {
            assert!(area.left >= 0.0 && area.left + area.width <= frame.width, "{area:?}");
            for (j, other) in areas.iter().enumerate().filter(|&(j, _)| j != i) {
                assert!(!area.overlaps(other), "{i} over {j}");
                assert!(!area.overlaps(&Area::around(&labels[j])), "{i} over the point of {j}");
            }
        }
        assert!(placed.iter().flatten().any(|placed| placed.leader.is_some()));
    }

    #[test]
    fn a_label_alone_is_right_of_its_point() {
        let frame = Frame { width: 200.0, height: 50.0, letter: 6.0, ..Frame::default() };
        let label = |x| Label { x, y: 25.0, text: "alone".to_owned() };
        let expected = Placed { x: 28.0, y: 29.0, anchor: "start", leader: None };
        assert_eq!(place(&frame, &[label(20.0)]), [Some(expected)]);
        let at_the_edge = place(&frame, &[label(195.0)]);
        assert_eq!(at_the_edge[0].as_ref().unwrap().anchor, "end");
        let narrow = Frame { width: 20.0, ..frame };
        assert_eq!(place(&narrow, &[label(10.0)]), [None]);
    }
}

//! Item macro F1 by tier and by volume.

use crate::chart::{Chart, Key, Panel, Place, Scale};
use crate::compare::{Judged, Outcome, outcome};
use crate::evaluate::VolumeItem;
use crate::format;
use crate::page::{Block, Cell, Column, Section, Table, View, number, words};
use crate::report::Experiment;
use contract::brands::Tier;

/// A group of brands.
struct Group {
    title: String,
    n_brands: u64,
    of: Of,
}

/// How a group is made.
#[derive(Clone, Copy)]
enum Of {
    Tier(Tier),
    /// A band of volume, by its place
    Volume(usize),
}

impl Group {
    fn term(&self) -> &'static str {
        match self.of {
            Of::Tier(_) => "head, torso, tail",
            Of::Volume(_) => "volume",
        }
    }

    /// An experiment's macro F1.
    fn value(&self, e: &Experiment) -> Option<f64> {
        match self.of {
            Of::Tier(tier) => e.figures.item.by_tier.get(tier).macro_f1,
            Of::Volume(i) => e.figures.item.by_volume.get(i)?.macro_f1,
        }
    }

    /// Its change against the baseline.
    fn change(&self, e: &Experiment) -> Judged {
        match self.of {
            Of::Tier(tier) => *e.delta.by_tier.get(tier),
            Of::Volume(i) => e.delta.by_volume.get(i).copied().unwrap_or_default(),
        }
    }
}

/// Changes by tier and volume, and the selected experiment beside the baseline.
pub fn section(view: &View) -> Section {
    let groups = groups(view);
    let mut columns = vec![words("Experiment"), number("All brands").of("item level")];
    columns.extend(groups.iter().map(|group| Column {
        title: format!("{}, {} brands", group.title, format::count(group.n_brands)),
        ..number("").of(group.term())
    }));
    let cells = |e: &Experiment| {
        let mut cells = vec![cell(view, e, e.figures.item.macro_f1, &e.delta.item_f1)];
        let of_group = |group: &Group| cell(view, e, group.value(e), &group.change(e));
        cells.extend(groups.iter().map(of_group));
        cells
    };
    let table = Table {
        caption: "Change of item macro F1 by tier and by volume, and its value; the baseline's row has values. \
                  Only changes whose 95% interval excludes 0 are marked"
            .to_owned(),
        columns,
        rows: view.rows(cells),
    };
    let mut blocks = vec![Block::Table(table)];
    blocks.extend(dumbbell(view, &groups).map(Block::Chart));
    Section { id: "tiers", title: "Head to tail", blocks }
}

fn groups(view: &View) -> Vec<Group> {
    let tier = |tier: Tier| Group {
        title: tier.name().to_owned(),
        n_brands: *view.report.tiers.get(tier),
        of: Of::Tier(tier),
    };
    let bands = view.experiments().into_iter().find(|e| e.is_ok());
    let bands = bands.map(|e| e.figures.item.by_volume.as_slice()).unwrap_or_default();
    let band = |(i, band): (usize, &VolumeItem)| Group {
        title: match (band.from, band.below) {
            (from, None) => format!("volume from {}", format::count(from)),
            (0, Some(below)) => format!("below {}", format::count(below)),
            (from, Some(below)) => {
                format!("{} to {}", format::count(from), format::count(below - 1))
            }
        },
        n_brands: band.n_brands,
        of: Of::Volume(i),
    };
    Tier::ALL.into_iter().map(tier).chain(bands.iter().enumerate().map(band)).collect()
}

fn cell(view: &View, e: &Experiment, value: Option<f64>, change: &Judged) -> Cell {
    if view.is_baseline(e) || change.abs.is_none() {
        return super::metric(e, value);
    }
    let cell = Cell::text(format::points(change.abs)).with(Some(format::metric(value)));
    Cell { tone: shade(change), ..cell }
}

/// How strongly a clear change is coloured.
fn shade(change: &Judged) -> Option<&'static str> {
    let abs = change.abs?.abs();
    let strength = usize::from(abs >= 0.03) + usize::from(abs >= 0.1);
    match outcome(change.ci95) {
        Outcome::Better => Some(["up-1", "up-2", "up-3"][strength]),
        Outcome::Worse => Some(["down-1", "down-2", "down-3"][strength]),
        Outcome::NoClearChange | Outcome::Undefined => None,
    }
}

const ROW: f64 = 24.0;
const NAMES: f64 = 210.0;
const WIDTH: f64 = 420.0;

fn dumbbell(view: &View, groups: &[Group]) -> Option<Chart> {
    let (base, main) = view.baseline().zip(view.selected())?;
    let height = ROW * groups.len() as f64;
    let values = groups.iter().flat_map(|g| [g.value(base), g.value(main)]).flatten();
    let place = Place { left: NAMES, top: 8.0, width: WIDTH, height };
    let rows = Scale::Linear(groups.len() as f64, 0.0);
    let mut panel = Panel::new(place, "", (Scale::from_zero(values), "item macro F1"), (rows, ""));
    panel.y.ticks.clear();
    for (row, group) in groups.iter().enumerate() {
        let y = row as f64 + 0.5;
        let title = format!("{} ({})", group.title, format::count(group.n_brands));
        panel.text("name", (-8.0, y * ROW + 4.0), "end", title);
        let (from, to) = (group.value(base), group.value(main));
        if let (Some(from), Some(to)) = (from, to) {
            panel.line("main", [(from, y), (to, y)]);
        }
        let mark = |value: Option<f64>, e: &Experiment| {
            value.map(|value| (value, format!("{}: {}", e.name, format::metric(Some(value)))))
        };
        if let Some((value, title)) = mark(from, base) {
            panel.dot("base", (value, y), title);
        }
        if let Some((value, title)) = mark(to, main) {
            panel.dot("main", (value, y), title);
        }
    }
    Some(Chart {
        title: format!("Item macro F1 by tier and volume: {} and {}", base.name, main.name),
        description: format!(
            "From the baseline {} to {}, for each tier and band of volume; the figures are in the table above.",
            base.name, main.name
        ),
        width: NAMES + WIDTH + 20.0,
        height: height + 52.0,
        panels: vec![panel],
        keys: vec![
            Key::dot("base", format!("`{}`, the baseline", base.name)),
            Key::dot("main", format!("`{}`", main.name)),
        ],
    })
}

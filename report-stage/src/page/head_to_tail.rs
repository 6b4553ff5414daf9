//! Item macro F1 by tier and by volume.

use contract::brands::Tier;
use contract::words::plural;

use crate::chart::{Chart, Key, Panel, Place};
use crate::compare::Judged;
use crate::experiment::Experiment;
use crate::figures::VolumeItem;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Section, Table, Tone};
use crate::page::view::{View, metric};
use crate::scale::Scale;
use crate::verdict::Outcome;

/// A group of brands.
struct Group {
    title: String,
    n_brands: u64,
    of: Of,
}

/// What the brands of a group have in common.
#[derive(Clone, Copy)]
enum Of {
    Tier(Tier),
    /// Volume band, by its position
    Volume(usize),
}

impl Group {
    fn term(&self) -> &'static str {
        match self.of {
            Of::Tier(_) => "head, torso, tail",
            Of::Volume(_) => "volume",
        }
    }

    /// Macro F1 of an experiment.
    fn value(&self, e: &Experiment) -> Option<f64> {
        match self.of {
            Of::Tier(tier) => e.figures.item.by_tier.get(tier).macro_f1,
            Of::Volume(i) => e.figures.item.by_volume.get(i)?.macro_f1,
        }
    }

    /// Change of the macro F1 against the baseline.
    fn change(&self, e: &Experiment) -> Judged {
        match self.of {
            Of::Tier(tier) => *e.delta.by_tier.get(tier),
            Of::Volume(i) => e.delta.by_volume.get(i).copied().unwrap_or_default(),
        }
    }
}

pub fn section(view: &View) -> Section {
    let groups = groups(view);
    let mut columns =
        vec![Column::words("Experiment"), Column::number("All brands").of("item level")];
    columns.extend(groups.iter().map(|group| {
        let title = format!("{}, {}", group.title, plural(group.n_brands, "brand"));
        Column::number(title).of(group.term())
    }));
    let cells = |e: &Experiment| {
        let mut cells = vec![cell(view, e, e.figures.item.macro_f1, &e.delta.item_f1)];
        let of_group = |group: &Group| cell(view, e, group.value(e), &group.change(e));
        cells.extend(groups.iter().map(of_group));
        cells
    };
    let table = Table {
        caption: "Change of item macro F1 by tier and by volume, and its value below; the baseline's row has values \
                  only. A change is marked if its 95% interval excludes 0"
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
    let scored = view.scored();
    let bands = scored.first().map(|e| e.figures.item.by_volume.as_slice()).unwrap_or_default();
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
        return metric(e, value);
    }
    let cell = Cell::text(format::points(change.abs)).with(Some(format::metric(value)));
    Cell { tone: shade(change), ..cell }
}

/// A stronger colour for a larger change; `None` where it is not clear.
fn shade(change: &Judged) -> Option<Tone> {
    let abs = change.abs?.abs();
    let strength = usize::from(abs >= 0.03) + usize::from(abs >= 0.1);
    match change.outcome() {
        Outcome::Better => Some([Tone::Up1, Tone::Up2, Tone::Up3][strength]),
        Outcome::Worse => Some([Tone::Down1, Tone::Down2, Tone::Down3][strength]),
        Outcome::NoClearChange | Outcome::NotSettled | Outcome::Undefined => None,
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
            "From the baseline {} to {}, for each tier and volume band. The figures are in the table above.",
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

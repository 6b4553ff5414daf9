//! Item macro F1 by tier and by volume.

use contract::brands::Tier;
use contract::words::plural;

use crate::chart::{Chart, Panel, Place};
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
    let mut columns = vec![
        Column::words("Experiment"),
        Column::number("All brands").of("item level").class("heat"),
    ];
    columns.extend(groups.iter().map(|group| {
        let title = format!("{}, {}", group.title, plural(group.n_brands, "brand"));
        Column::number(title).of(group.term()).class("heat")
    }));
    let cells = |e: &Experiment| {
        let mut cells = vec![cell(view, e, e.figures.item.macro_f1, &e.delta.item_f1)];
        let of_group = |group: &Group| cell(view, e, group.value(e), &group.change(e));
        cells.extend(groups.iter().map(of_group));
        cells
    };
    let table = Table {
        caption: "Change of item macro F1 by tier and by volume, and its value in grey; the baseline's row has values \
                  only. A change is coloured if its 95% interval excludes 0"
            .to_owned(),
        columns,
        rows: view.rows(cells),
    };
    Section {
        id: "tiers",
        title: "Head to tail",
        blocks: vec![Block::Table(table)],
        ..Section::default()
    }
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
    Cell {
        tone: shade(change),
        title: format::interval(change.ci95).map(|interval| format!("95% interval {interval}")),
        ..Cell::text(format::points(change.abs))
            .with(Some(format::metric(value)))
            .sorted_by(change.abs)
    }
}

/// A stronger colour for a larger change; `None` where it is not clear.
pub fn shade(change: &Judged) -> Option<Tone> {
    let abs = change.abs?.abs();
    let strength = usize::from(abs >= 0.03) + usize::from(abs >= 0.1);
    match change.outcome() {
        Outcome::Better => Some([Tone::Up1, Tone::Up2, Tone::Up3][strength]),
        Outcome::Worse => Some([Tone::Down1, Tone::Down2, Tone::Down3][strength]),
        Outcome::NoClearChange | Outcome::NotSettled | Outcome::Undefined => None,
    }
}

const ROW: f64 = 19.0;
const NAMES: f64 = 104.0;
/// Left of the names.
const MARGIN: f64 = 12.0;
const WIDTH: f64 = 204.0;

/// Where an experiment changed the brands' F1, with intervals; `None` where nothing is compared.
pub fn of_experiment(view: &View, e: &Experiment) -> Option<Chart> {
    e.outcomes?;
    let groups = groups(view);
    let all = ("all brands".to_owned(), e.delta.item_f1);
    let of_groups = groups.iter().map(|group| {
        let title = group.title.trim_start_matches("volume ");
        (format!("{title} ({})", format::count(group.n_brands)), group.change(e))
    });
    let rows: Vec<(String, Judged)> = std::iter::once(all).chain(of_groups).collect();
    let height = ROW * rows.len() as f64;
    let place = Place { left: MARGIN + NAMES, top: 10.0, width: WIDTH, height };
    let ends = rows.iter().filter_map(|(_, judged)| judged.ci95).flatten();
    let x = (Scale::around_zero(ends), "change of item macro F1");
    let y = Scale::Linear(rows.len() as f64, 0.0);
    let mut panel = Panel::new(place, "", x, (y, "")).of_changes();
    panel.y.ticks.clear();
    panel.line("zero", [(0.0, 0.0), (0.0, rows.len() as f64)]);
    for (row, (title, judged)) in rows.iter().enumerate() {
        let y = row as f64 + 0.5;
        panel.text("name", (-8.0, y * ROW + 4.0), "end", title.clone());
        let Judged { abs: Some(abs), ci95: Some([low, high]), .. } = *judged else { continue };
        let class = match judged.outcome() {
            Outcome::Better => "better",
            Outcome::Worse => "worse",
            Outcome::NoClearChange | Outcome::NotSettled | Outcome::Undefined => "unclear",
        };
        panel.line(class, [(low, y), (high, y)]);
        let interval = format::interval(judged.ci95).unwrap_or_default();
        let change = format::change(judged.abs, judged.rel);
        panel.dot(class, (abs, y), format!("{title}: {change}, {interval}"));
    }
    Some(Chart {
        title: "Where: change by tier and by volume".to_owned(),
        description: format!(
            "Change of the item macro F1 of {} against the baseline, with 95% intervals, for all brands, each tier and \
             each volume band. The figures are in the section Head to tail.",
            e.name
        ),
        ..Chart::of(panel)
    })
}

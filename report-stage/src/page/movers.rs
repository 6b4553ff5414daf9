//! Which brands an experiment gained and lost, and the F1 of brands by volume.

use crate::bands::volume_bands;
use crate::chart::{Chart, Panel, Place};
use crate::compare::{Judged, LEVEL};
use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Row, Table};
use crate::page::view::{View, metric, tone};
use crate::scale::Scale;

/// Brands shown that gained most, and as many that lost most.
const N_MOVERS: usize = 10;

#[derive(Clone, Copy)]
enum Direction {
    Gained,
    Lost,
}

impl Direction {
    fn sign(self) -> f64 {
        match self {
            Self::Gained => 1.0,
            Self::Lost => -1.0,
        }
    }
}

/// How many brands are better or worse, and those that changed most; empty where nothing is compared.
pub fn blocks(view: &View, e: &Experiment) -> Vec<Block> {
    let Some(brands) = e.delta.brands.filter(|_| !view.is_baseline(e)) else { return Vec::new() };
    let counted = Block::text(format!(
        "Brands: {} better, {} worse, {} with no clear change; F1 is higher for {}, lower for {}. Ordered by the end of \
         the {:.0}% interval that is nearer to 0; a change without ▲ or ▼ is not clear.",
        format::count(brands.better),
        format::count(brands.worse),
        format::count(brands.no_clear_change),
        format::count(brands.higher),
        format::count(brands.lower),
        100.0 * LEVEL
    ));
    let tables = [Direction::Gained, Direction::Lost].map(|way| movers(view, e, way));
    let tables = tables.into_iter().flatten().map(Block::Table).collect();
    vec![counted, Block::Grid { blocks: tables }]
}

/// The brands that changed most in one direction; `None` if there is none.
fn movers(view: &View, e: &Experiment, direction: Direction) -> Option<Table> {
    let base = view.baseline()?;
    let (_, changes) = view.trial(e).scored.as_ref()?.delta.as_ref()?;
    let order = most_moved(changes, direction);
    let word = match direction {
        Direction::Gained => "gained",
        Direction::Lost => "lost",
    };
    let row = |brand: usize| {
        let of = &view.brands.list[brand];
        let f1_of = |e: &Experiment| metric(e, view.brand_figures(e)[brand].f1);
        let change = &changes[brand];
        let judged = Cell { tone: tone(change), ..Cell::text(format::points(change.abs)) };
        Row::of(vec![
            Cell::text(&of.name).with(Some(of.tier.name().to_owned())),
            Cell::text(format::count(of.volume)),
            f1_of(base),
            f1_of(e),
            judged.with(format::interval(change.ci95)),
        ])
    };
    (!order.is_empty()).then(|| Table {
        caption: format!("Brands that {word} most"),
        columns: vec![
            Column::words("Brand"),
            Column::number("Volume").of("volume"),
            Column { is_code: true, ..Column::number(&base.name) },
            Column { is_code: true, ..Column::number(&e.name) },
            Column::number("Change of F1, 95% interval")
                .of("brands better, worse")
                .class("one-line"),
        ],
        rows: order.into_iter().map(row).collect(),
    })
}

/// The `brand_idx` of the brands that moved most, by the end of the interval that is nearer to 0: a
/// brand of three users does not lead by luck.
fn most_moved(changes: &[Judged], direction: Direction) -> Vec<usize> {
    let sign = direction.sign();
    let surely = |brand: usize| {
        let [low, high] = changes[brand].ci95?;
        Some(if sign > 0.0 { low } else { -high })
    };
    let moved = |brand: usize| changes[brand].abs.unwrap_or_default() * sign;
    let mut order: Vec<usize> =
        (0..changes.len()).filter(|&b| moved(b) > 0.0 && surely(b).is_some()).collect();
    order.sort_by(|&a, &b| {
        let by = |brand| (surely(brand).unwrap_or(-1.0), moved(brand));
        by(b).0.total_cmp(&by(a).0).then(by(b).1.total_cmp(&by(a).1)).then(a.cmp(&b))
    });
    order.truncate(N_MOVERS);
    order
}

/// The F1 of brands by volume: medians, and the middle half of the experiment's brands.
pub fn by_volume(view: &View, e: &Experiment) -> Chart {
    let list = &view.brands.list;
    let volumes = Scale::log(list.iter().map(|brand| brand.volume.max(1) as f64));
    let x = (volumes, "volume, training users");
    let mut panel = Panel::new(Place::SMALL, "", x, (Scale::Linear(0.0, 1.0), "F1"));
    for (class, e) in view.pair_with(e) {
        let quarters = quarters(view, e);
        if class == "main" {
            for &(volume, [lower, _, upper]) in &quarters {
                panel.line("range", [(volume, lower), (volume, upper)]);
            }
        }
        panel.line(class, quarters.iter().map(|&(volume, [_, median, _])| (volume, median)));
    }
    Chart {
        title: "F1 of brands by volume".to_owned(),
        description: format!(
            "{}: median F1 of each volume band, and the middle half of its brands as bars. Brands with undefined F1 are \
             left out. The figures of every brand are in the table of all brands and in per_brand.csv.",
            e.name
        ),
        ..Chart::of(panel)
    }
}

/// Quartiles of the F1 of each volume band, at the median volume of its brands.
fn quarters(view: &View, e: &Experiment) -> Vec<(f64, [f64; 3])> {
    let figures = view.brand_figures(e);
    let bands = volume_bands(&view.brands.list);
    let of_band = |members: &[usize]| {
        let volumes = members.iter().map(|&b| view.brands.list[b].volume.max(1) as f64);
        let f1s = members.iter().filter_map(|&b| figures[b].f1);
        Some((quartiles(volumes.collect())?[1], quartiles(f1s.collect())?))
    };
    bands.iter().filter_map(|band| of_band(&band.members)).collect()
}

/// Each is a value of the list; `None` if that is empty.
fn quartiles(mut values: Vec<f64>) -> Option<[f64; 3]> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some([0.25, 0.5, 0.75].map(|share| values[(share * last as f64).round() as usize]))
}

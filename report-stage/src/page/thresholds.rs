//! Where thresholds lie, and precision against recall by tier.

use contract::brands::{ByTier, Tier};

use crate::chart::{Chart, Panel, Place};
use crate::experiment::Experiment;
use crate::format::{self, DASH};
use crate::page::blocks::{Block, Cell, Column, Section, Table};
use crate::page::view::{View, count, metric, why};
use crate::precision_recall::TierCurve;
use crate::scale::Scale;

pub fn section(view: &View) -> Section {
    let blocks = vec![
        Block::text(
            "A brand is predicted where its probability reaches the brand's threshold. Under the policies `gain` and \
             `top_k` the other brands of the user count too, so the threshold is only the brand's part of the decision. \
             The panel of each experiment has its curves of precision against recall. With several seeds, all are of the \
             first.",
        ),
        Block::Table(thresholds(view)),
        Block::Table(ceilings(view)),
    ];
    Section {
        id: "thresholds",
        title: "Thresholds, precision and recall",
        short: Some("Thresholds"),
        closed: Some(
            "median threshold, precision and recall by tier; what the best thresholds would reach",
        ),
        blocks,
        ..Section::default()
    }
}

fn thresholds(view: &View) -> Table {
    let mut columns = vec![Column::words("Experiment")];
    for tier in Tier::ALL {
        columns.push(Column::number(format!("Threshold, {}", tier.name())).of("threshold"));
        columns.push(Column::number("Precision").of("precision and recall of a tier"));
        columns.push(Column::number("Recall").of("precision and recall of a tier"));
    }
    let cells = |e: &Experiment| {
        let of_tier = |tier| {
            let curve = e.precision_recall.as_ref().map(|tiers| tiers.get(tier));
            let at = curve.and_then(|curve| curve.thresholds);
            let taken = curve.and_then(|curve| curve.taken);
            let threshold = at.map_or(DASH.to_owned(), |at| format::probability(at.median));
            let quarters = at.map(|at| [at.lower, at.upper].map(format::probability));
            let range = quarters.filter(|[lower, upper]| lower != upper);
            let range = range.map(|[lower, upper]| format!("{lower} to {upper}"));
            [
                Cell::number(threshold, why(e)).with(range),
                Cell::number(format::metric(taken.map(|[_, precision]| precision)), why(e)),
                Cell::number(format::metric(taken.map(|[recall, _]| recall)), why(e)),
            ]
        };
        Tier::ALL.into_iter().flat_map(of_tier).collect()
    };
    Table {
        caption: "For each tier: median threshold, with the range of the middle half of the brands where thresholds differ; precision and recall of all predictions"
            .to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

/// Precision against recall of each tier, with the decisions taken; `None` where they are not known.
pub fn of_experiment(view: &View, e: &Experiment) -> Option<Chart> {
    e.precision_recall.as_ref()?;
    let pair: Vec<(&'static str, &Experiment, &ByTier<TierCurve>)> = view
        .pair_with(e)
        .into_iter()
        .filter_map(|(class, e)| Some((class, e, e.precision_recall.as_ref()?)))
        .collect();
    let panels = Tier::ALL.into_iter().enumerate().map(|(i, tier)| {
        let left = 48.0 + 99.0 * i as f64;
        let place = Place { left, top: 24.0, width: 84.0, height: 162.0 };
        let unit = Scale::Linear(0.0, 1.0);
        let label = if i == 0 { "precision" } else { "" };
        let mut panel = Panel::new(place, tier.name(), (unit, "recall"), (unit, label));
        panel.x.ticks.retain(|tick| matches!(tick.text.as_str(), "0" | "0.5" | "1"));
        if i > 0 {
            panel.y.ticks.iter_mut().for_each(|tick| tick.text.clear());
        }
        for (class, e, tiers) in &pair {
            let of_tier = tiers.get(tier);
            panel.line(class, thinned(&of_tier.curve));
            if let Some([recall, precision]) = of_tier.taken {
                let [r, p] = [recall, precision].map(|value| format::metric(Some(value)));
                panel.dot(
                    class,
                    (recall, precision),
                    format!("{}: recall {r}, precision {p}", e.name),
                );
            }
        }
        panel
    });
    Some(Chart {
        title: "Precision against recall by tier".to_owned(),
        description: format!(
            "{}. Lines: all pairs of a test user and a brand of the tier, predicted from the most probable one down. Dots: \
             the decisions taken. A dot off its line shows the effect of a threshold for each brand and, under gain and \
             top_k, of the user's other brands. The figures of the dots are in the section Thresholds, those of the lines in report.json.",
            e.name
        ),
        width: 340.0,
        height: 226.0,
        panels: panels.collect(),
        ..Chart::default()
    })
}

/// Points of a curve in steps of recall that an eye can tell apart.
fn thinned(curve: &[[f64; 2]]) -> Vec<(f64, f64)> {
    const STEP: f64 = 0.03;

    let mut points: Vec<(f64, f64)> = Vec::new();
    for (i, &[recall, precision]) in curve.iter().enumerate() {
        let is_end = i + 1 == curve.len();
        if is_end || points.last().is_none_or(|last| recall - last.0 >= STEP) {
            points.push((recall, precision));
        }
    }
    points
}

fn ceilings(view: &View) -> Table {
    let mut columns =
        vec![Column::words("Experiment"), Column::number("Item macro F1").of("ceiling")];
    let buckets = view.report.floor.buckets.keys();
    columns.extend(buckets.map(|low| Column::number(format!("F1 ≥ {low}")).of("ceiling")));
    let cells = |e: &Experiment| {
        let ceiling = &e.figures.ceiling;
        let mut cells = vec![metric(e, ceiling.macro_f1)];
        cells.extend(ceiling.buckets.values().map(|&n| count(e, n)));
        cells
    };
    Table {
        caption:
            "Each brand at its best threshold on the test users themselves: a bound, not a result"
                .to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

//! Where thresholds lie, and precision against recall by tier.

use contract::brands::Tier;

use crate::chart::{Chart, Key, Panel, Place};
use crate::experiment::Experiment;
use crate::format::{self, DASH};
use crate::page::blocks::{Block, Cell, Column, Row, Section, Table};
use crate::page::view::{UNDEFINED, View, count, metric, why};
use crate::scale::Scale;

pub fn section(view: &View) -> Section {
    let mut blocks = vec![Block::text(
        "A brand is predicted where its probability reaches the brand's threshold. Under the policies `gain` and \
         `top_k` the other brands of the user count too, so the threshold is only the brand's part of the decision.",
    )];
    blocks.push(Block::Table(thresholds(view)));
    if let Some(chart) = curves(view) {
        blocks.push(Block::Chart(chart));
        blocks.push(Block::fold("The lines as a table", vec![Block::Table(at_recalls(view))]));
    }
    blocks.push(Block::fold(
        "What the best thresholds would reach",
        vec![Block::Table(ceilings(view))],
    ));
    Section { id: "thresholds", title: "Thresholds, precision and recall", blocks }
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
            let range = at.map(|at| {
                format!("{} to {}", format::probability(at.lower), format::probability(at.upper))
            });
            [
                Cell::number(threshold, why(e)).with(range),
                Cell::number(format::metric(taken.map(|[_, precision]| precision)), why(e)),
                Cell::number(format::metric(taken.map(|[recall, _]| recall)), why(e)),
            ]
        };
        Tier::ALL.into_iter().flat_map(of_tier).collect()
    };
    Table {
        caption: "Each tier: median threshold with the range of the middle half of the brands, and precision and recall of all predictions"
            .to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

fn curves(view: &View) -> Option<Chart> {
    let pair: Vec<_> =
        view.pair().into_iter().filter(|(_, e)| e.precision_recall.is_some()).collect();
    if pair.is_empty() {
        return None;
    }
    let panels = Tier::ALL.into_iter().enumerate().map(|(i, tier)| {
        let place = Place { left: 50.0 + 236.0 * i as f64, top: 24.0, width: 184.0, height: 184.0 };
        let unit = Scale::Linear(0.0, 1.0);
        let mut panel = Panel::new(place, tier.name(), (unit, "recall"), (unit, "precision"));
        for (class, e) in &pair {
            let Some(tiers) = &e.precision_recall else { continue };
            let of_tier = tiers.get(tier);
            panel.line(class, of_tier.curve.iter().map(|&[recall, precision]| (recall, precision)));
            if let Some([recall, precision]) = of_tier.taken {
                let title = format!(
                    "{}: recall {}, precision {}",
                    e.name,
                    format::metric(Some(recall)),
                    format::metric(Some(precision))
                );
                panel.dot(class, (recall, precision), title);
            }
        }
        panel
    });
    let keys = pair.iter().flat_map(|(class, e)| {
        [
            Key::line(class, format!("`{}`, most probable pairs first", e.name)),
            Key::dot(class, format!("`{}`, as decided", e.name)),
        ]
    });
    Some(Chart {
        title: "Precision against recall by tier".to_owned(),
        description: "Lines: all pairs of a test user and a brand of the tier, predicted from the most probable one down. Dots: the decisions taken. A dot off its line shows the effect of a threshold for each brand and, under gain and top_k, of the user's other brands. The figures of the dots are in the table above.".to_owned(),
        width: 720.0,
        height: 256.0,
        panels: panels.collect(),
        keys: keys.collect(),
    })
}

/// Precision of each line in steps of a tenth of recall.
fn at_recalls(view: &View) -> Table {
    let pair = view.pair();
    let lines: Vec<(String, &[[f64; 2]])> = pair
        .iter()
        .filter_map(|(_, e)| Some((e, e.precision_recall.as_ref()?)))
        .flat_map(|(e, tiers)| {
            let line = |tier: Tier| {
                (format!("{}, {}", e.name, tier.name()), tiers.get(tier).curve.as_slice())
            };
            Tier::ALL.map(line)
        })
        .collect();
    let term = "precision and recall of a tier";
    let mut columns = vec![Column::words("Recall")];
    columns.extend(lines.iter().map(|(title, _)| Column::number(title).of(term)));
    let row = |tenth: u32| {
        let wanted = f64::from(tenth) / 10.0;
        let at = |curve: &[[f64; 2]]| {
            let reached = curve.iter().find(|[recall, _]| *recall >= wanted - 1e-9);
            Cell::number(format::metric(reached.map(|[_, precision]| *precision)), UNDEFINED)
        };
        let mut cells = vec![Cell::text(wanted.to_string())];
        cells.extend(lines.iter().map(|(_, curve)| at(curve)));
        Row::of(cells)
    };
    Table {
        caption: "Precision where each recall is first reached".to_owned(),
        columns,
        rows: (1..=10).map(row).collect(),
    }
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

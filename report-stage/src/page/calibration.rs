//! Probabilities against labels, audiences against users who have the brand.

use metrics::Counts;

use crate::calibration::{Band, Calibration, Reliability};
use crate::chart::{Chart, Key, Panel, Place};
use crate::experiment::Experiment;
use crate::format;
use crate::page::blocks::{Block, Cell, Column, Row, Section, Table};
use crate::page::view::{View, count, why};
use crate::scale::Scale;
use crate::settings;

pub fn section(view: &View) -> Section {
    let known = view.experiments().into_iter();
    let tables = known.filter_map(|e| Some(Block::Table(bands(e, e.calibration.as_ref()?))));
    let blocks = vec![
        Block::text(
            "The labels that the probabilities expect against the labels found, before and after calibration; then the \
             users predicted to have a brand against the users who have it. With several seeds, those of the first.",
        ),
        Block::Table(table(view)),
        Block::fold("Reliability of every experiment", tables.collect()),
    ];
    Section {
        id: "calibration",
        title: "Calibration and audience size",
        short: Some("Calibration"),
        closed: Some("labels expected and found, audiences predicted and found, by experiment"),
        blocks,
        ..Section::default()
    }
}

fn table(view: &View) -> Table {
    let titles = [
        ("Expected over found, before", "expected labels"),
        ("after", "expected labels"),
        ("Error by brand, before", "calibration error"),
        ("after", "calibration error"),
        ("Error by band, before", "calibration error"),
        ("after", "calibration error"),
        ("Predicted over found", "audience ratio"),
        ("Median of brands", "audience ratio"),
        ("Within half to twice", "audience ratio"),
        ("over brands", "support"),
    ];
    let mut columns = vec![Column::words("Experiment")];
    columns.extend(titles.map(|(title, term)| Column::number(title).of(term)));
    columns.push(Column::words("Chosen on valid").of("chosen on valid"));
    let cells = |e: &Experiment| {
        let of = |value: fn(&Calibration) -> Option<f64>| {
            let value = e.calibration.as_ref().and_then(value);
            Cell::number(format::metric(value), why(e))
        };
        let brands = |value: fn(&Calibration) -> u64| count(e, e.calibration.as_ref().map(value));
        let chosen = e.chosen.as_object().filter(|chosen| !chosen.is_empty());
        vec![
            of(|c| c.before.expected_ratio),
            of(|c| c.after.expected_ratio),
            of(|c| c.before.brand_error),
            of(|c| c.after.brand_error),
            of(|c| c.before.band_error),
            of(|c| c.after.band_error),
            of(|c| c.audience.total_ratio),
            of(|c| c.audience.median_ratio),
            brands(|c| c.audience.n_within_double),
            brands(|c| c.audience.n_brands),
            chosen.map_or(Cell::dash("nothing was left to choose"), |chosen| {
                Cell::text(settings::words(chosen))
            }),
        ]
    };
    Table {
        caption: "Probabilities and audiences on the test users".to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

/// Mean probability against the share of labels; `None` where they are not known.
pub fn reliability(e: &Experiment) -> Option<Chart> {
    let c = e.calibration.as_ref()?;
    let values = [&c.before, &c.after].into_iter().flat_map(|side| points(&side.bands));
    let scale = Scale::log(values.flat_map(|(x, y)| [x, y]));
    let (x, y) = ((scale, "mean probability"), (scale, "share of labels"));
    let place = Place { left: 58.0, width: 272.0, ..Place::SMALL };
    let mut panel = Panel::new(place, "", x, y);
    diagonal(&mut panel, scale);
    for (class, side) in [("third", &c.before), ("main", &c.after)] {
        panel.line(class, points(&side.bands));
        for (x, y) in points(&side.bands) {
            let [expected, found] = [x, y].map(format::probability);
            panel.dot(class, (x, y), format!("{expected} expected, {found} found"));
        }
    }
    let ratio = |side: &Reliability| format::mean(side.expected_ratio);
    Some(Chart {
        title: format!("Calibration: {} labels expected for each found", ratio(&c.after)),
        description: format!(
            "Mean probability against the share of labels, {}, a dot for each band of probability. On the diagonal, as many labels \
             are found as the probabilities expect: {} for each found before calibration, {} after. The figures of every \
             band are in the section Calibration.",
            e.name,
            ratio(&c.before),
            ratio(&c.after)
        ),
        keys: vec![
            Key::line("third", "before calibration"),
            Key::line("main", "after"),
            Key::line("guide", "as expected"),
        ],
        ..Chart::of(panel)
    })
}

/// Mean probability and share of labels of each band, where a logarithmic scale can show them.
fn points(bands: &[Band]) -> Vec<(f64, f64)> {
    let both = bands.iter().filter_map(|band| band.expected.zip(band.found));
    both.filter(|&(expected, found)| expected > 0.0 && found > 0.0).collect()
}

/// Marks where both axes have the same value.
fn diagonal(panel: &mut Panel, scale: Scale) {
    let ends = [scale.low(), scale.high()];
    panel.line("guide", ends.map(|end| (end, end)));
}

/// Brands of similar support that share a point.
const N_GROUPS: usize = 12;

/// Users predicted divided by users who have the brand, by how many have it; `None` without brands.
pub fn audiences(view: &View, e: &Experiment) -> Option<Chart> {
    let pair: Vec<(&'static str, Vec<[f64; 4]>)> =
        view.pair_with(e).into_iter().map(|(class, e)| (class, ratios(view.counts(e)))).collect();
    let all = || pair.iter().flat_map(|(_, groups)| groups);
    all().next()?;
    let supports = Scale::log(all().map(|group| group[0]));
    let high = all().map(|group| group[3]).fold(2.0, f64::max).min(8.0);
    let y = (Scale::Linear(0.0, high), "predicted ÷ found");
    let mut panel = Panel::new(Place::SMALL, "", (supports, "test users who have the brand"), y);
    panel.line("guide", [(supports.low(), 1.0), (supports.high(), 1.0)]);
    for (class, groups) in &pair {
        if *class == "main" {
            for &[support, lower, _, upper] in groups {
                panel.line("range", [(support, lower.min(high)), (support, upper.min(high))]);
            }
        }
        panel
            .line(class, groups.iter().map(|&[support, _, median, _]| (support, median.min(high))));
    }
    let within = e.calibration.as_ref().map(|c| &c.audience);
    let within = within.map_or_else(String::new, |audience| {
        format!(
            " {} of {} brands are predicted for half to twice as many users as have them.",
            format::count(audience.n_within_double),
            format::count(audience.n_brands)
        )
    });
    Some(Chart {
        title: "Audience size: predicted over found".to_owned(),
        description: format!(
            "{}: users predicted divided by users who have the brand. Lines: medians of groups of brands with similar \
             support; bars: the middle half of the brands. Cut at {high:.0}.{within}",
            e.name
        ),
        ..Chart::of(panel)
    })
}

/// Of each group of brands with similar support: the median support, and the quartiles of users
/// predicted divided by users who have the brand.
fn ratios(counts: &[Counts]) -> Vec<[f64; 4]> {
    let mut brands: Vec<(f64, f64)> = counts
        .iter()
        .filter(|c| c.support() > 0)
        .map(|c| (c.support() as f64, c.predicted() as f64 / c.support() as f64))
        .collect();
    brands.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let group = |group: &[(f64, f64)]| {
        let mut of_group: Vec<f64> = group.iter().map(|&(_, ratio)| ratio).collect();
        of_group.sort_by(f64::total_cmp);
        let at = |share: f64| of_group[(share * (of_group.len() - 1) as f64).round() as usize];
        [group[group.len() / 2].0, at(0.25), at(0.5), at(0.75)]
    };
    brands.chunks(brands.len().div_ceil(N_GROUPS).max(1)).map(group).collect()
}

fn bands(e: &Experiment, of: &Calibration) -> Table {
    let titles = ["Pairs, before", "Expected", "Found", "Pairs, after", "Expected", "Found"];
    let mut columns = vec![Column::words("Probability from")];
    columns.extend(titles.map(|title| Column::number(title).of("band of probability")));
    let row = |(before, after): (&Band, &Band)| {
        let mut cells = vec![Cell::text(before.from.to_string())];
        for band in [before, after] {
            cells.push(Cell::text(format::count(band.cells)));
            for value in [band.expected, band.found] {
                let cell =
                    value.map_or(Cell::dash("no pair"), |value| Cell::text(format!("{value:.4}")));
                cells.push(cell);
            }
        }
        Row::of(cells)
    };
    Table {
        caption: format!(
            "Reliability of {}: pairs of a test user and a brand by probability, their mean probability (expected) and the share of them that are labels (found)",
            e.name
        ),
        columns,
        rows: of.before.bands.iter().zip(&of.after.bands).map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thirteen brands make seven groups of two: supports 1 and 2 are the first.
    #[test]
    fn audiences_are_grouped_by_support() {
        let of = |support: u64| Counts { tp: support, fp: support, fn_: 0 };
        let mut counts: Vec<Counts> = (1..=13).map(of).collect();
        counts.push(Counts { tp: 0, fp: 5, fn_: 0 }); // nobody has it
        let groups = ratios(&counts);
        assert_eq!(groups.len(), 7);
        assert_eq!(groups[0], [2.0, 2.0, 2.0, 2.0]);
        assert!(ratios(&[]).is_empty());
    }
}

//! All experiments beside the baseline, a line each.

use contract::brands::Tier;

use crate::compare::Judged;
use crate::experiment::Experiment;
use crate::figures::Figures;
use crate::format;
use crate::page::blocks::{Bar, Block, Cell, Column, Section, Table};
use crate::page::differs;
use crate::page::head_to_tail::shade;
use crate::page::view::{IS_BASELINE, NOT_COMPARED, UNLIKE, View, count, judged, metric, tone};

const BRANDS: &str = "Brands, item level";
const USERS: &str = "Users";
const TIERS: &str = "Item F1 by tier";
const REACHED: &str = "Brands with F1";

pub fn section(view: &View) -> Section {
    let mut folds = vec![Block::Table(on_valid(view)), Block::Table(other_figures(view))];
    if view.report.method.seeds.len() > 1 {
        folds.push(Block::Table(spreads(view)));
    }
    folds.extend(view.report.also_against.iter().map(|rival| Block::Table(against(view, rival))));
    Section {
        id: "experiments",
        title: "Experiments",
        blocks: vec![
            Block::Cards(overview(view)),
            Block::fold(
                "Figures on the valid users; micro F1, precision, recall, MAP; what the seeds change",
                folds,
            ),
        ],
        ..Section::default()
    }
}

/// The largest change of a level among the rivals, to which the bars are drawn.
fn largest(view: &View, of: fn(&Experiment) -> &Judged) -> f64 {
    let rivals = view.rivals().into_iter();
    rivals.filter_map(|e| Some(of(e).abs?.abs())).fold(0.0, f64::max)
}

fn overview(view: &View) -> Table {
    let largest_item = largest(view, |e| &e.delta.item_f1);
    let largest_user = largest(view, |e| &e.delta.user_f1);
    let n_brands = view.report.n_brands as f64;
    let cells = |e: &Experiment| {
        let full = view.is_baseline(e) || e.outcomes.is_none();
        let verdict =
            Cell { title: (!full).then(|| e.verdict.clone()), ..Cell::text(view.short_verdict(e)) };
        let [item, user] = [&e.delta.item_f1, &e.delta.user_f1];
        let mut cells = vec![
            verdict,
            metric(e, e.figures.item.macro_f1).sorted_by(e.figures.item.macro_f1),
            change(view, e, item, largest_item),
            metric(e, e.figures.user.f1).sorted_by(e.figures.user.f1),
            change(view, e, user, largest_user),
        ];
        cells.extend(Tier::ALL.map(|tier| of_tier(view, e, e.delta.by_tier.get(tier))));
        cells.extend(e.figures.buckets.values().map(|&n| Cell {
            bar: Bar::share(n.map(|n| n as f64), n_brands),
            ..count(e, n).sorted_by(n.map(|n| n as f64))
        }));
        cells.push(if view.is_baseline(e) {
            Cell::dash(IS_BASELINE)
        } else {
            let text = differs::short(&e.differs);
            Cell { title: Some(text.clone()), ..Cell::text(text) }
        });
        cells
    };
    Table { caption: caption(view), columns: columns(view), rows: view.rows(cells) }
}

fn caption(view: &View) -> String {
    let method = &view.report.method;
    let seeds = match method.seeds.len() {
        0 | 1 => ". One seed: another training may change small differences".to_owned(),
        _ => method.over_seeds(),
    };
    let is_unlike = view.report.experiments.iter().any(|e| !e.fairness.is_empty());
    let unlike = if is_unlike {
        format!(". {UNLIKE}: something else may explain the change, as the panel says")
    } else {
        String::new()
    };
    format!(
        "Changes against `{}` and their 95% intervals{seeds}. A name opens the experiment's panel{unlike}",
        view.report.baseline
    )
}

fn columns(view: &View) -> Vec<Column> {
    let mut columns = vec![
        Column::words("Experiment"),
        Column::words("Verdict").of("verdict").class("verdict"),
        Column::number("Item macro F1").of("item level").in_group(BRANDS, "F1").class("item"),
        Column::number("Change, 95% interval")
            .of("change")
            .in_group(BRANDS, "change")
            .class("item-change"),
        Column::number("User F1").of("user level").in_group(USERS, "F1").class("user"),
        Column::number("Change, 95% interval")
            .of("change")
            .in_group(USERS, "change")
            .class("user-change"),
    ];
    columns.extend(Tier::ALL.map(|tier| {
        Column::number(format!("Change, {}", tier.name()))
            .of("head, torso, tail")
            .in_group(TIERS, tier.name())
            .class("tier")
    }));
    columns.extend(view.report.floor.buckets.keys().map(|low| {
        Column::number(format!("F1 ≥ {low}"))
            .of("F1 bucket")
            .in_group(REACHED, format!("≥ {low}"))
            .class("bucket")
    }));
    let differs = Column::words("What differs from the baseline").class("differs");
    columns.push(Column { short: Some("Differs in".to_owned()), ..differs });
    columns
}

fn change(view: &View, e: &Experiment, judged: &Judged, largest: f64) -> Cell {
    if view.is_baseline(e) {
        return Cell::dash(IS_BASELINE);
    }
    let tone = tone(judged);
    Cell {
        tone,
        title: format::interval(judged.ci95).map(|interval| format!("95% interval {interval}")),
        bar: Bar::change(judged.abs, judged.ci95, largest, tone),
        detail: judged.rel.map(format::percent),
        ..Cell::number(format::change(judged.abs, None), NOT_COMPARED).sorted_by(judged.abs)
    }
}

fn of_tier(view: &View, e: &Experiment, judged: &Judged) -> Cell {
    if view.is_baseline(e) {
        return Cell::dash(IS_BASELINE);
    }
    Cell {
        tone: shade(judged),
        title: format::interval(judged.ci95).map(|interval| format!("95% interval {interval}")),
        ..Cell::number(format::points(judged.abs), NOT_COMPARED).sorted_by(judged.abs)
    }
}

/// A figure: its name, its term and where it is found.
type Level = (&'static str, &'static str, fn(&Figures) -> Option<f64>);

/// What is chosen on, beside what judges.
fn on_valid(view: &View) -> Table {
    let levels: [Level; 3] = [
        ("Item macro F1", "item level", |f| f.item.macro_f1),
        ("User F1", "user level", |f| f.user.f1),
        ("MAP", "MAP", |f| f.map),
    ];
    let cells = |e: &Experiment| {
        let both = |(_, _, of): Level| {
            [metric(e, e.valid.as_ref().and_then(of)), metric(e, of(&e.figures))]
        };
        levels.into_iter().flat_map(both).collect()
    };
    let mut columns = vec![Column::words("Experiment")];
    for (title, term, _) in levels {
        columns.push(Column::number(format!("{title}, valid")).of("valid figures"));
        columns.push(Column::number(format!("{title}, test")).of(term));
    }
    Table {
        caption: "On the valid users, who choose, beside the test users, who judge".to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

/// All experiments beside one that is not the baseline.
fn against(view: &View, rival: &str) -> Table {
    let cells = |e: &Experiment| {
        let n_cells = 2 + e.figures.buckets.len();
        let Some(delta) = e.against.get(rival) else {
            let why = if e.name == rival { "the rival itself" } else { NOT_COMPARED };
            return (0..n_cells).map(|_| Cell::dash(why)).collect();
        };
        let levels = [judged(&delta.item_f1), judged(&delta.user_f1)];
        let buckets = delta.buckets.values().map(|change| {
            let text = format::count_change(change.abs, None);
            Cell { tone: tone(change), ..Cell::number(text, NOT_COMPARED) }
                .with(format::count_interval(change.ci95))
        });
        levels.into_iter().chain(buckets).collect()
    };
    let mut columns = vec![
        Column::words("Experiment"),
        Column::number("Change of item macro F1").of("item level"),
        Column::number("Change of user F1").of("user level"),
    ];
    let bounds = view.report.floor.buckets.keys();
    columns.extend(bounds.map(|low| Column::number(format!("of F1 ≥ {low}")).of("F1 bucket")));
    Table {
        caption: format!("Changes against `{rival}`, with 95% intervals"),
        columns,
        rows: view.rows(cells),
    }
}

fn other_figures(view: &View) -> Table {
    let cells = |e: &Experiment| {
        let item = &e.figures.item;
        vec![
            metric(e, e.figures.micro.f1),
            view.judged(e, &e.delta.micro_f1),
            metric(e, item.macro_precision),
            count(e, item.n_precision),
            metric(e, item.macro_recall),
            count(e, item.n_recall),
            count(e, item.n_defined),
            count(e, e.figures.n_undefined),
            view.metric_and_change(e, e.figures.map, e.delta.map),
        ]
    };
    Table {
        caption: "Micro F1, and means over brands with the number of brands".to_owned(),
        columns: vec![
            Column::words("Experiment"),
            Column::number("Micro F1").of("micro F1"),
            Column::number("Change, 95% interval").of("change"),
            Column::number("Item precision").of("item level"),
            Column::number("over brands").of("item level"),
            Column::number("Item recall").of("item level"),
            Column::number("over brands").of("support"),
            Column::number("F1 defined for").of("F1"),
            Column::number("F1 undefined for").of("F1"),
            Column::number("MAP").of("MAP"),
        ],
        rows: view.rows(cells),
    }
}

/// Each seed's change, where there are several.
fn spreads(view: &View) -> Table {
    let range = |e: &Experiment, value: fn(&Figures) -> Option<f64>| {
        let values = || e.seeds.iter().filter_map(|seed| value(&seed.figures));
        let ends = values().reduce(f64::min).zip(values().reduce(f64::max));
        ends.map_or_else(
            || Cell::dash("it takes no training"),
            |(low, high)| {
                let [low, high] = [low, high].map(|end| format::metric(Some(end)));
                Cell::text(format!("{low} to {high}"))
            },
        )
    };
    let agreement = |judged: &Judged| match judged.n_seeds {
        0 => Cell::dash("nothing is compared"),
        n => Cell::text(format!("{} of {n}", judged.n_agree)),
    };
    let cells = |e: &Experiment| {
        let [item, user] = [&e.delta.item_f1, &e.delta.user_f1];
        vec![
            range(e, |figures| figures.item.macro_f1),
            metric(e, item.spread),
            agreement(item),
            range(e, |figures| figures.user.f1),
            metric(e, user.spread),
            agreement(user),
        ]
    };
    let of_level = |level: &str| {
        [
            Column::number(format!("{level}, from seed to seed")).of("seeds"),
            Column::number("Spread of the change").of("seeds"),
            Column::number("Seeds that agree").of("verdict"),
        ]
    };
    Table {
        caption: "What the seeds of training change".to_owned(),
        columns: std::iter::once(Column::words("Experiment"))
            .chain(of_level("Item macro F1"))
            .chain(of_level("User F1"))
            .collect(),
        rows: view.rows(cells),
    }
}

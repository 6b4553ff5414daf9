//! User level: decisions and rankings per user.

use crate::experiment::Experiment;
use crate::figures::{AtK, SHOWN_KS};
use crate::format;
use crate::page::blocks::{Block, Column, Section, Table};
use crate::page::view::{View, count, metric};

pub fn section(view: &View) -> Section {
    Section {
        id: "users",
        title: "User level",
        closed: Some("precision, recall, the worst served, rankings"),
        blocks: vec![
            Block::text(format!(
                "Means over the {} test users with at least one label; precision over those of them with a prediction.",
                format::count(view.report.n_users_with_labels)
            )),
            Block::Table(decisions(view)),
            Block::Table(rankings(view)),
        ],
        ..Section::default()
    }
}

fn decisions(view: &View) -> Table {
    let cells = |e: &Experiment| {
        let (user, delta) = (&e.figures.user, &e.delta);
        let without = user.n_without_hit.zip(user.n_users).filter(|&(_, all)| all > 0);
        let share =
            without.map(|(n, all)| format!("{:.1}% of users", 100.0 * n as f64 / all as f64));
        vec![
            view.metric_and_change(e, user.f1, delta.user_f1.change()),
            view.metric_and_change(e, user.precision, delta.user_precision),
            count(e, user.n_with_predictions),
            view.metric_and_change(e, user.recall, delta.user_recall),
            metric(e, user.median_f1),
            metric(e, user.worst_tenth_f1),
            count(e, user.n_without_hit).with(share),
        ]
    };
    Table {
        caption: "Decisions per user".to_owned(),
        columns: vec![
            Column::words("Experiment"),
            Column::number("F1").of("user level"),
            Column::number("Precision").of("user level"),
            Column::number("over users").of("user level"),
            Column::number("Recall").of("user level"),
            Column::number("Median F1").of("median"),
            Column::number("Worst tenth").of("worst tenth"),
            Column::number("No correct brand").of("no correct brand"),
        ],
        rows: view.rows(cells),
    }
}

fn rankings(view: &View) -> Table {
    let is_measured = |k: &usize| {
        view.report.experiments.iter().any(|e| e.figures.user.recall_at.contains_key(k))
    };
    let ks: Vec<usize> = SHOWN_KS.into_iter().filter(is_measured).collect();
    let mut columns = vec![Column::words("Experiment")];
    for name in ["P", "R", "nDCG"] {
        let column = |k: &usize| Column::number(format!("{name}@{k}")).of("P@k, R@k, nDCG@k");
        columns.extend(ks.iter().map(column));
    }
    let cells = |e: &Experiment| {
        let (user, delta) = (&e.figures.user, &e.delta);
        let rankings = [
            (&user.precision_at, &delta.precision_at),
            (&user.recall_at, &delta.recall_at),
            (&user.ndcg_at, &delta.ndcg_at),
        ];
        let mut cells = Vec::new();
        for (values, changes) in rankings {
            let at = |k: &usize| {
                let change = changes.get(k).copied().unwrap_or_default();
                view.metric_and_change(e, at_k(values, *k), change)
            };
            cells.extend(ks.iter().map(at));
        }
        cells
    };
    Table {
        caption: "Rankings: the most probable brands of each user, whatever the decision"
            .to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

fn at_k(values: &AtK, k: usize) -> Option<f64> {
    values.get(&k).copied().flatten()
}

//! User level: decisions and rankings per user.

use crate::evaluate::AtK;
use crate::format;
use crate::page::{Block, Section, Table, View, count, metric, number, words};
use crate::report::{Experiment, SHOWN_KS};

/// The tables of user level.
pub fn section(view: &View) -> Section {
    let columns = vec![
        words("Experiment"),
        number("F1").of("user level"),
        number("Precision").of("user level"),
        number("over users").of("user level"),
        number("Recall").of("user level"),
        number("Median F1").of("median"),
        number("Worst tenth").of("worst tenth"),
        number("No correct brand").of("no correct brand"),
    ];
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
    let decisions =
        Table { caption: "Decisions per user".to_owned(), columns, rows: view.rows(cells) };
    Section {
        id: "users",
        title: "User level",
        blocks: vec![
            Block::text(format!(
                "Means over the {} test users with at least one label; precision over those of them with a prediction.",
                format::count(view.report.n_users_with_labels)
            )),
            Block::Table(decisions),
            Block::Table(rankings(view)),
        ],
    }
}

fn rankings(view: &View) -> Table {
    let is_measured = |k: &usize| {
        view.report.experiments.iter().any(|e| e.figures.user.recall_at.contains_key(k))
    };
    let ks: Vec<usize> = SHOWN_KS.into_iter().filter(is_measured).collect();
    let mut columns = vec![words("Experiment")];
    for name in ["P", "R", "nDCG"] {
        columns.extend(ks.iter().map(|k| number(format!("{name}@{k}")).of("P@k, R@k, nDCG@k")));
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
        caption: "The most probable brands of each user, whatever is decided".to_owned(),
        columns,
        rows: view.rows(cells),
    }
}

fn at_k(values: &AtK, k: usize) -> Option<f64> {
    values.get(&k).copied().flatten()
}

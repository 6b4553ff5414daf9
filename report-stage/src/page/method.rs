//! How the figures were made: rules, seeds, intervals, and what was left out.

use contract::words::plural;

use crate::experiment::Experiment;
use crate::format::{self, DASH};
use crate::page::blocks::{Block, Section};
use crate::page::view::View;

pub fn section(view: &View) -> Section {
    let report = view.report;
    let method = &report.method;
    let by_chance = format!("{:.1}", method.n_intervals as f64 * (1.0 - method.level));
    let half_by_chance = (report.n_brands as f64 * (1.0 - method.level) / 2.0).round() as u64;
    let mut blocks = vec![
        Block::text(format!(
            "All figures are measured on the test users. No label of theirs is used to train, calibrate or decide: thresholds \
             are set in the manifest, chosen on the valid users, or derived from probabilities.{}",
            derived(view)
        )),
        Block::text(format!(
            "An interval is the measured change, plus and minus what it would vary with other test users (by the jackknife, \
             which leaves out one user after another) and with other seeds of training (from the changes at each seed, by \
             Student's t distribution). The number of brands in an F1 bucket hardly moves with a single user, so there the \
             users' part comes from {} bootstrap draws (seed {}), each of the same users for the experiment and the baseline; \
             intervals of single brands are the central 95% of these draws.",
            format::count(method.bootstrap_draws as u64),
            method.seed,
        )),
        Block::text(format!(
            "Compared with the baseline: {}, by item macro F1, user F1 and micro F1, by macro F1 of each tier and volume \
             band, and by F1 buckets. That makes {}, of which about {by_chance} would exclude 0 by chance if nothing had changed. They are not \
             corrected for their number, nor are those of single brands: if nothing had changed, up to {} of {} would be \
             called better, and as many worse.",
            plural(method.n_compared as u64, "experiment"),
            plural(method.n_intervals as u64, "interval"),
            format::count(half_by_chance),
            plural(report.n_brands, "brand"),
        )),
        Block::text(match &method.seeds[..] {
            [] | [_] => "Every experiment was trained with one seed, so intervals say how much a change would vary with as many \
                         other test users, not with another training. A small change may be an accident of this seed: list \
                         three in the manifest, such as `seeds: [7, 8, 9]`."
                .to_owned(),
            seeds => format!(
                "Every experiment was trained with {} seeds ({}). Figures are means over them, counts rounded; curves, \
                 thresholds, calibration, trade-offs and the counts of single brands are those of the first.",
                seeds.len(),
                seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
            ),
        }),
        Block::text(format!(
            "A dash ({DASH}) stands for a figure that is undefined or not known. F1 has three decimals, a change has four; \
             the percentage after a change is relative to the baseline's value."
        )),
    ];
    let left_out = left_out(view);
    if !left_out.is_empty() {
        blocks.push(Block::text(format!("Left out: {}.", left_out.join("; "))));
    }
    Section { id: "method", title: "Method", blocks, ..Section::default() }
}

/// Which experiments derive their thresholds from the test users' own probabilities.
fn derived(view: &View) -> String {
    let is_over_scored = |e: &&Experiment| e.settings["score"]["decision"]["over"] == "scored";
    let experiments = view.experiments();
    let names: Vec<&String> =
        experiments.into_iter().filter(is_over_scored).map(|e| &e.name).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        " With `over: scored` these are the probabilities of the test users themselves, without their labels: {}.",
        format::names(names)
    )
}

fn left_out(view: &View) -> Vec<String> {
    let report = view.report;
    let mut left_out = Vec::new();
    let n_without = report.n_test_users - report.n_users_with_labels;
    if n_without > 0 {
        let users = plural(n_without, "test user");
        left_out.push(format!("{users} without a label, from user level"));
    }
    let undefined = view.baseline().and_then(|e| e.figures.n_undefined).filter(|&n| n > 0);
    left_out.extend(undefined.map(|n| {
        let brands = plural(n, "brand");
        format!("{brands} with undefined F1 in the baseline, from its item level")
    }));
    left_out.extend(
        report
            .experiments
            .iter()
            .filter(|e| !e.is_ok())
            .map(|e| format!("`{}` ({})", e.name, e.verdict)),
    );
    left_out
}

//! The report as headings, sentences, tables and charts: what its Markdown and HTML both show.

use contract::words::plural;
use serde::Serialize;

use crate::format;
use crate::load::Brands;
use crate::report::Report;
use crate::trial::Trial;

use blocks::Section;
use view::View;

pub mod blocks; // what a page is made of
mod view; // what a section may show

pub mod backtest; // an experiment at several dates
mod brands; // brand by brand
mod calibration; // probabilities and audiences
mod card; // the answer
mod definitions; // what each term means
mod differs; // settings that differ, in a few words
mod distributions; // brands that reach each F1
mod experiments; // all experiments, a line each
mod explorer; // the table of all brands that can be searched
mod f1; // the F1 of all brands
mod figures; // an experiment's figures beside the baseline's
mod head_to_tail; // by tier and volume
mod method; // rules, seeds, intervals
mod movers; // brands gained and lost
mod overview; // all experiments in one picture
mod panels; // a panel for each experiment
mod provenance; // what the report was made from
mod repeats; // brands that users had before, and new ones
mod sample; // what the queries did
mod sweep; // the experiments of a matrix
mod thresholds; // thresholds and precision against recall
mod trade_off; // item level against user level
mod training; // updates, times, curves
mod users; // user level

/// All that a reader sees, in order.
#[derive(Debug, Serialize)]
pub struct Page {
    pub title: String,
    /// What the figures are measured on
    pub subtitle: String,
    /// The answer
    pub card: card::Card,
    pub sections: Vec<Section>,
}

/// Lays the report out.
pub fn lay_out(report: &Report, brands: &Brands, trials: &[Trial]) -> Page {
    let view = View::new(report, brands, trials);
    let mut page = Page {
        title: format!("Experiments compared with `{}`", report.baseline),
        subtitle: format!(
            "{}, {} with at least one of {}; {} labels per user.",
            plural(report.n_test_users, "test user"),
            if report.n_users_with_labels == report.n_test_users {
                "all".to_owned()
            } else {
                format!("{} of them", format::count(report.n_users_with_labels))
            },
            plural(report.n_brands, "brand"),
            format::mean(report.labels_per_user),
        ),
        card: card::card(&view),
        sections: vec![
            experiments::section(&view),
            panels::section(&view),
            distributions::section(&view),
            trade_off::section(&view),
            head_to_tail::section(&view),
            brands::section(&view),
            users::section(&view),
            thresholds::section(&view),
            calibration::section(&view),
            training::section(&view),
            sample::section(&view),
            method::section(&view),
            definitions::section(&report.definitions),
            provenance::section(report),
        ],
    };
    if let Some(repeats) = repeats::section(&view) {
        let after = page.sections.iter().position(|section| section.id == "users");
        page.sections.insert(after.map_or(0, |users| users + 1), repeats);
    }
    if let Some(sweeps) = sweep::section(&view) {
        page.sections.insert(1, sweeps); // after all experiments
    }
    page
}

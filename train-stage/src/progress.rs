//! How training goes: a bar with rows a second and time left on a terminal, lines elsewhere.

use contract::manifest::TrainParams;
use indicatif::{ProgressBar, ProgressStyle};
use model::Mlp;
use train_stage::examples::Examples;
use train_stage::trainer::{Epoch, Observer};
use train_stage::validation::evaluate;

use crate::history::Row;

/// Watches training, validates after every epoch.
pub struct Progress<'a> {
    experiment: &'a str,
    params: &'a TrainParams,
    valid: &'a dyn Examples,
    bar: ProgressBar,
    history: Vec<Row>,
}

impl<'a> Progress<'a> {
    /// A bar over all epochs; it hides itself when stderr is no terminal.
    pub fn new(
        experiment: &'a str,
        params: &'a TrainParams,
        valid: &'a dyn Examples,
        n_examples: usize,
    ) -> Self {
        let bar = ProgressBar::new(u64::from(params.epochs) * n_examples as u64);
        let style = ProgressStyle::with_template(
            "{prefix} {wide_bar} {percent}% {per_sec} rows, {eta} left",
        )
        .expect("the template is sound");
        bar.set_style(style);
        bar.set_prefix(format!("train {experiment}"));
        Self { experiment, params, valid, bar, history: Vec::new() }
    }

    /// What was seen.
    pub fn into_history(self) -> Vec<Row> {
        self.bar.finish_and_clear();
        self.history
    }
}

impl Observer for Progress<'_> {
    fn batch_done(&mut self, epoch: u32, n_done: usize, n_examples: usize) {
        self.bar.set_position(u64::from(epoch - 1) * n_examples as u64 + n_done as u64);
    }

    fn epoch_done(&mut self, epoch: Epoch, mlp: &Mlp) {
        let valid = evaluate(mlp, self.params.loss, self.valid);
        let shown = |value: Option<f64>| {
            value.map_or("undefined".to_owned(), |value| format!("{value:.4}"))
        };
        let line = format!(
            "train {}: epoch {}/{}: loss {:.4}, valid loss {:.4}, macro F1 {}, user F1 {}, {:.0} rows/s",
            self.experiment,
            epoch.epoch,
            self.params.epochs,
            epoch.train_loss,
            valid.loss,
            shown(valid.macro_f1),
            shown(valid.user_f1),
            epoch.rows_per_s,
        );
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
        self.history.push(Row { epoch, valid });
    }
}

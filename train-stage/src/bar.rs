//! Shows training progress: a bar with updates per second and time left on a terminal, lines
//! elsewhere.

use std::fmt::Write as _;
use std::path::Path;

use contract::warn_line;
use indicatif::{ProgressBar, ProgressStyle};
use train_stage::checkpoint::Unusable;
use train_stage::state::Epoch;
use train_stage::trainer::Observer;

pub struct Bar {
    /// As in `train bau`
    what: String,
    bar: ProgressBar,
}

impl Bar {
    /// Hidden where stderr is not a terminal.
    pub fn new(what: String) -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template(
            "{prefix} {wide_bar} {percent}% {per_sec} updates, {eta} left",
        )
        .expect("the template is valid");
        bar.set_style(style);
        bar.set_prefix(what.clone());
        Self { what, bar }
    }

    fn line(&self, text: &str) {
        let line = format!("{}: {text}", self.what);
        if self.bar.is_hidden() {
            warn_line!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Bar {
    fn update_done(&mut self, update: u64, n_updates: u64) {
        self.bar.set_length(n_updates);
        self.bar.set_position(update);
    }

    fn epoch_done(&mut self, epoch: &Epoch) {
        let mut text = format!(
            "epoch {} ({} updates): loss {:.4}",
            epoch.epoch, epoch.updates, epoch.train_loss
        );
        if let Some(valid) = &epoch.valid {
            let shown = |value: Option<f64>| {
                value.map_or("undefined".to_owned(), |value| format!("{value:.4}"))
            };
            let _ = write!(
                text,
                ", valid loss {:.4}, macro F1 {}, user F1 {}, MAP {}",
                valid.loss,
                shown(valid.macro_f1),
                shown(valid.user_f1),
                shown(valid.mean_average_precision)
            );
        }
        self.line(&format!("{text}, {:.0} rows/s", epoch.rows_per_s));
    }

    fn resumed(&mut self, update: u64, n_updates: u64) {
        self.line(&format!("resuming from a checkpoint after update {update} of {n_updates}"));
        self.bar.reset_eta();
    }

    fn checkpoint_unusable(&mut self, file: &Path, why: &Unusable) {
        self.line(&format!("cannot resume from {}: {why}; starting over", file.display()));
    }
}

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
    /// Updates in all
    n_updates: u64,
    shown: ProgressBar,
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
        Self { what, n_updates: 0, shown: bar }
    }

    fn line(&self, text: &str) {
        let line = format!("{}: {text}", self.what);
        if self.shown.is_hidden() {
            warn_line!("{line}");
        } else {
            self.shown.println(line);
        }
    }
}

/// Epochs of a training, of which the last may be shorter.
///
/// * `epoch`: one that ended after `updates` of `n_updates`, from 1.
fn n_epochs(epoch: u32, updates: u64, n_updates: u64) -> u64 {
    let epoch = u64::from(epoch);
    if updates == n_updates { epoch } else { n_updates.div_ceil(updates / epoch) }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.shown.finish_and_clear();
    }
}

impl Observer for Bar {
    fn update_done(&mut self, update: u64, n_updates: u64) {
        self.n_updates = n_updates;
        self.shown.set_length(n_updates);
        self.shown.set_position(update);
    }

    fn epoch_done(&mut self, epoch: &Epoch) {
        let Epoch { epoch: n, updates, .. } = *epoch;
        let n_updates = self.n_updates;
        let mut text = format!(
            "epoch {n} of {} ({updates} of {n_updates} updates): loss {:.4}",
            n_epochs(n, updates, n_updates),
            epoch.train_loss
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
        self.shown.reset_eta();
    }

    fn checkpoint_unusable(&mut self, file: &Path, why: &Unusable) {
        self.line(&format!("cannot resume from {}: {why}; starting over", file.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four updates an epoch: 16 are four epochs, 18 four and a half.
    #[test]
    fn an_epoch_is_one_of_as_many_as_the_updates_make() {
        assert_eq!([n_epochs(1, 4, 16), n_epochs(3, 12, 16), n_epochs(4, 16, 16)], [4, 4, 4]);
        assert_eq!([n_epochs(1, 4, 18), n_epochs(4, 16, 18), n_epochs(5, 18, 18)], [5, 5, 5]);
        assert_eq!(n_epochs(1, 3, 3), 1);
    }
}

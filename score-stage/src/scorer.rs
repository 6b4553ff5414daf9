//! Users through the model, a batch at a time; no more logits than a batch's are ever held.

use std::time::Duration;

use contract::ipc;
use indicatif::{ProgressBar, ProgressStyle};
use metrics::{Lists, OwnedLists};
use model::{Batch, Inputs, Model, Workspace};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};

use crate::folds::{Folds, fold_of};
use crate::history::{HistoryLines, had_brands};
use crate::neighbours::blend::Blend;
use crate::neighbours::space::Seen;
use crate::split::{BATCH, Split};

/// A model, with what changes its logits before they are decided on.
#[derive(Clone, Copy)]
pub struct Scorer<'a> {
    /// The model
    pub model: &'a Model,
    /// The neighbours and their weights; `None` scores by the model alone
    pub blend: Option<Blend<'a>>,
    /// What moves the logits of brands that a user had
    pub history: History<'a>,
}

/// What moves the logits of brands that a user had before.
#[derive(Clone, Copy)]
pub enum History<'a> {
    /// Nothing
    Ignored,
    /// The same for all users; `None` where no history is known
    All(Option<&'a HistoryLines>),
    /// For the valid users, what was fitted on other folds
    ByFold(Folds<Option<&'a HistoryLines>>),
}

/// A batch of users after scoring.
pub struct Scored<'a> {
    /// Rows of the users, ascending
    pub rows: &'a [usize],
    /// `(n_users, n_brands)`, row-major
    pub logits: ArrayView2<'a, f32>,
    /// What the neighbours are looked for by
    pub seen: Seen<'a>,
    /// The brands in each user's history; all are empty where the model reads none
    pub had: OwnedLists,
}

impl Scored<'_> {
    /// Row of the first user.
    pub fn first(&self) -> usize {
        self.rows[0]
    }

    /// All logits, user after user.
    pub fn cells(&self) -> &[f32] {
        self.logits.as_slice().expect("a batch's logits are contiguous")
    }
}

impl<'a> Scorer<'a> {
    /// The same with a history.
    pub fn with(&self, history: History<'a>) -> Self {
        Self { history, ..*self }
    }

    /// Calls `each` with every batch of some users of a split, in order, and with their brands.
    ///
    /// Arguments and errors as in [`Self::for_each_batch`].
    pub fn for_each_labelled(
        &self,
        split: &Split,
        users: impl Iterator<Item = usize>,
        what: &'static str,
        mut each: impl FnMut(Scored, Lists) -> Result<(), ipc::Error>,
    ) -> Result<(), ipc::Error> {
        self.for_each_batch(&split.inputs, users, what, |scored| {
            let labels = split.labels.of_rows(scored.rows);
            each(scored, labels.as_lists())
        })
    }

    /// Calls `each` with every batch of some users, in order.
    ///
    /// * `users`: their rows, ascending.
    /// * `what`: label of the progress bar.
    ///
    /// # Errors
    ///
    /// The first error of `each`.
    pub fn for_each_batch(
        &self,
        inputs: &Inputs,
        mut users: impl Iterator<Item = usize>,
        what: &'static str,
        mut each: impl FnMut(Scored) -> Result<(), ipc::Error>,
    ) -> Result<(), ipc::Error> {
        let n_users = users.size_hint().0;
        let bar = progress_bar(n_users, what);
        let mut batch = Batch::default();
        let mut workspace = Workspace::default();
        let mut logits = Array2::zeros((BATCH.min(n_users), self.model.brand_ids.len()));
        loop {
            let rows: Vec<usize> = users.by_ref().take(BATCH).collect();
            if rows.is_empty() {
                break;
            }
            inputs.gather(rows.iter().copied(), &mut batch);
            let mut view = logits.slice_mut(s![..rows.len(), ..]);
            self.model.logits(&batch, &mut workspace, view.view_mut());
            let seen = Seen { batch: &batch, hidden: workspace.hidden.last().map(Array2::view) };
            if let Some(blend) = &self.blend {
                blend.mix_in(seen, view.view_mut());
            }
            let had = had_brands(&self.model.own_history(&batch), rows.len(), view.ncols());
            self.history.apply(&rows, had.as_lists(), view.view_mut());
            each(Scored { rows: &rows, logits: view.view(), seen, had })?;
            bar.inc(rows.len() as u64);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

impl History<'_> {
    /// * `rows`: of the users of a batch.
    fn apply(&self, rows: &[usize], had: Lists, logits: ArrayViewMut2<f32>) {
        match self {
            Self::Ignored | Self::All(None) => {}
            Self::All(lines) => HistoryLines::move_each(had, |_| *lines, logits),
            Self::ByFold(folds) => {
                let lines = |user: usize| folds[fold_of(rows[user])];
                HistoryLines::move_each(had, lines, logits);
            }
        }
    }
}

fn progress_bar(n_users: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(n_users as u64);
    let style =
        ProgressStyle::with_template("{prefix} {wide_bar} {percent}% {per_sec} users, {eta} left");
    bar.set_style(style.expect("the template is sound"));
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

//! Users through the model, a batch at a time; no more logits than a batch's are ever held.

use std::ops::Range;
use std::time::Duration;

use contract::ipc;
use indicatif::{ProgressBar, ProgressStyle};
use model::{Batch, Inputs, Model, Workspace};
use ndarray::{Array2, ArrayView2, s};

use crate::neighbours::blend::Blend;
use crate::split::BATCH;

/// A model, with the neighbours that are mixed in.
pub struct Scorer<'a> {
    /// The model
    pub model: &'a Model,
    /// The neighbours and their weights; `None` scores by the model alone
    pub blend: Option<Blend<'a>>,
}

/// A batch of users after scoring.
pub struct Scored<'a> {
    /// Row of the first user
    pub first: usize,
    /// `(n_users, n_brands)`, row-major
    pub logits: ArrayView2<'a, f32>,
    /// `(n_users, n_hidden)`: the last hidden layer, where there is one
    pub hidden: Option<ArrayView2<'a, f32>>,
}

impl Scored<'_> {
    /// Rows of the users.
    pub fn rows(&self) -> Range<usize> {
        self.first..self.first + self.logits.nrows()
    }

    /// All logits, user after user.
    pub fn cells(&self) -> &[f32] {
        self.logits.as_slice().expect("a batch's logits are contiguous")
    }
}

impl Scorer<'_> {
    /// Calls `each` with every batch of `users`, in order.
    ///
    /// * `what`: the users in words, for the progress bar.
    ///
    /// # Errors
    ///
    /// The first error of `each`.
    pub fn for_each_batch(
        &self,
        users: Range<usize>,
        inputs: &Inputs,
        what: &'static str,
        mut each: impl FnMut(Scored) -> Result<(), ipc::Error>,
    ) -> Result<(), ipc::Error> {
        let bar = progress_bar(users.len(), what);
        let mut batch = Batch::default();
        let mut workspace = Workspace::default();
        let mut logits = Array2::zeros((BATCH.min(users.len()), self.model.brand_ids.len()));
        for first in users.clone().step_by(BATCH) {
            let rows = first..(first + BATCH).min(users.end);
            let n_rows = rows.len();
            inputs.gather(rows, &mut batch);
            let mut view = logits.slice_mut(s![..n_rows, ..]);
            self.model.logits(&batch, &mut workspace, view.view_mut());
            let hidden = workspace.hidden.last().map(Array2::view);
            if let (Some(blend), Some(hidden)) = (&self.blend, hidden) {
                blend.mix_in(hidden, view.view_mut());
            }
            each(Scored { first, logits: view.view(), hidden })?;
            bar.inc(n_rows as u64);
        }
        bar.finish_and_clear();
        Ok(())
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

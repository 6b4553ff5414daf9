//! Users through the model, a batch at a time; no more logits than a batch's are ever held.

use std::ops::Range;
use std::time::Duration;

use contract::columns::{self, ListSlices};
use contract::exit::DataError;
use contract::ipc::{self, Table};
use indicatif::{ProgressBar, ProgressStyle};
use metrics::{Histogram, Lists, TradeOff, UserSweep};
use model::{Batch, Inputs, Model, Workspace};
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

use crate::decide::Decider;
use crate::memory::Blend;

/// Users whose logits are held at a time: 4,096 x 3,000 brands are 49 MB.
pub const BATCH: usize = 4096;

/// A model, and the neighbours that are asked as well.
pub struct Scorer<'a> {
    /// The model
    pub model: &'a Model,
    /// The neighbours and what they weigh
    pub blend: Option<Blend<'a>>,
}

/// A batch of users as the model sees them.
pub struct Scored<'a> {
    /// Row of the first user
    pub first: usize,
    /// `(n_users, n_brands)`
    pub logits: ArrayView2<'a, f32>,
    /// `(n_users, n_hidden)`: the last hidden layer, where there is one
    pub hidden: Option<ArrayView2<'a, f32>>,
}

impl Scorer<'_> {
    /// Calls `each` with every batch of `users`.
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
        let bar = ProgressBar::new(users.len() as u64);
        let style = ProgressStyle::with_template(
            "{prefix} {wide_bar} {percent}% {per_sec} users, {eta} left",
        );
        bar.set_style(style.expect("the template is sound"));
        bar.set_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(500));
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

/// Counts a batch's logits into a histogram, all as negatives: for what needs no labels.
pub fn count_unlabelled(logits: ArrayView2<f32>, histogram: &mut Histogram) {
    let offsets = vec![0; logits.nrows() + 1];
    let logits = logits.as_slice().expect("a batch's logits are contiguous");
    histogram.add_rows(logits, Lists { offsets: &offsets, values: &[] });
}

/// A column with each user's brands.
pub struct Labels<'a> {
    starts: Vec<usize>,
    parts: Vec<ListSlices<'a, u32>>,
}

impl<'a> Labels<'a> {
    /// The list column `name` of a table.
    ///
    /// # Errors
    ///
    /// The first user with a brand beyond `n_brands`.
    pub fn of(table: &'a Table, name: &str, n_brands: usize) -> Result<Self, DataError> {
        let mut starts = vec![0];
        let mut parts = Vec::new();
        for batch in &table.batches {
            let lists = columns::u32_lists(batch, name);
            let start: usize = starts[starts.len() - 1];
            let is_wrong = |brands: &[u32]| brands.iter().any(|&brand| brand as usize >= n_brands);
            if let Some(row) = lists.iter().position(is_wrong) {
                return Err(DataError(format!(
                    "{}: row {}: a brand of `{name}` is beyond the {n_brands} of the model",
                    table.path.display(),
                    start + row
                )));
            }
            starts.push(start + batch.num_rows());
            parts.push(lists);
        }
        Ok(Self { starts, parts })
    }

    /// The brands of `n` users from `first` on.
    pub fn lists(&self, first: usize, n: usize) -> impl Iterator<Item = &'a [u32]> {
        (first..first + n).map(|row| {
            let part = self.starts.partition_point(|&start| start <= row) - 1;
            self.parts[part].get(row - self.starts[part])
        })
    }

    /// The brands of `n` users from `first` on, as one array: offsets and values.
    fn gather(&self, first: usize, n: usize) -> (Vec<usize>, Vec<u32>) {
        let mut offsets = vec![0];
        let mut values = Vec::new();
        for labels in self.lists(first, n) {
            values.extend_from_slice(labels);
            offsets.push(values.len());
        }
        (offsets, values)
    }

    /// Counts a batch's logits into a histogram.
    pub fn count(&self, first: usize, logits: ArrayView2<f32>, histogram: &mut Histogram) {
        let (offsets, values) = self.gather(first, logits.nrows());
        let logits = logits.as_slice().expect("a batch's logits are contiguous");
        histogram.add_rows(logits, Lists { offsets: &offsets, values: &values });
    }

    /// Counts what other decisions would give a batch of users and the brands.
    pub fn trade_off(&self, decider: &Decider, scored: &Scored, trade_off: &mut TradeOff) {
        let (offsets, values) = self.gather(scored.first, scored.logits.nrows());
        let labels = Lists { offsets: &offsets, values: &values };
        trade_off.add(labels, decider.stakes(), |user, probs| {
            decider.probs(scored.logits.row(user), probs);
        });
    }

    /// Counts what a batch of users would get from many decisions.
    pub fn sweep(&self, decider: &Decider, scored: &Scored, sweep: &mut UserSweep) {
        /// Users summed by one task. Fixed, so that the sums do not depend on the threads.
        const USERS_PER_TASK: usize = 64;

        let labels: Vec<&[u32]> = self.lists(scored.first, scored.logits.nrows()).collect();
        let empty = sweep.empty();
        let parts: Vec<UserSweep> = labels
            .par_chunks(USERS_PER_TASK)
            .enumerate()
            .map(|(task, labels)| {
                let mut part = empty.clone();
                let mut probs = Vec::new();
                for (i, labels) in labels.iter().enumerate() {
                    let row = task * USERS_PER_TASK + i;
                    decider.probs(scored.logits.row(row), &mut probs);
                    part.add(&probs, labels, decider.stakes());
                }
                part
            })
            .collect();
        for part in &parts {
            sweep.merge(part);
        }
    }
}

//! Counts batches of users in a [`Histogram`], many times as fast as one after the other.

use std::ops::Range;

use rayon::prelude::*;

use crate::counter::Counter;
use crate::{Histogram, Lists};

/// Brands counted together: a stretch of each user's row that is read as a whole.
const BRANDS_PER_TASK: usize = 64;

/// Users whose logits are put into columns at a time: 512 KiB, which stay in cache.
const USERS_PER_TILE: usize = 2048;

/// From one column to the next, in logits: columns a power of two apart would all want the same
/// place in the cache.
const STRIDE: usize = USERS_PER_TILE + 16;

/// A histogram that users are added to; parts of them give the same one as all together.
pub struct HistogramBuilder {
    brands: Vec<Counter>,
}

impl HistogramBuilder {
    /// A histogram with no users.
    pub fn new(n_brands: usize) -> Self {
        Self { brands: (0..n_brands).map(|_| Counter::new()).collect() }
    }

    /// Counts a batch of users for every brand, in parallel over brands.
    ///
    /// * `logits`: `(n_users, n_brands)`, row-major.
    /// * `labels`: `n_users` lists of brand positions, each brand once.
    ///
    /// # Panics
    ///
    /// If the shapes disagree, or a label is not below `n_brands`.
    pub fn add_rows(&mut self, logits: &[f32], labels: Lists) {
        self.add_rows_but(logits, labels, None);
    }

    /// Counts a batch of users for every brand, but for some pairs of a user and a brand.
    ///
    /// * `left_out`: `n_users` lists of brand positions that are not counted, each brand once.
    ///
    /// The rest, and panics, as in [`Self::add_rows`].
    pub fn add_rows_but(&mut self, logits: &[f32], labels: Lists, left_out: Option<Lists>) {
        let n_brands = self.brands.len();
        assert_eq!(logits.len(), labels.len() * n_brands, "one logit per user and brand");
        if logits.is_empty() {
            return;
        }
        let users_of = users_by_brand(labels, n_brands);
        let left_out = left_out.map(|lists| users_by_brand(lists, n_brands));
        let tasks = self.brands.par_chunks_mut(BRANDS_PER_TASK).enumerate();
        tasks.for_each_init(Vec::new, |columns, (task, brands)| {
            let first = task * BRANDS_PER_TASK;
            let tiles = logits.chunks(USERS_PER_TILE * n_brands).zip((0..).step_by(USERS_PER_TILE));
            for (rows, first_user) in tiles {
                let users = first_user..first_user + rows.len() / n_brands;
                into_columns(rows, n_brands, first..first + brands.len(), columns);
                let columns = columns.chunks(STRIDE).map(|column| &column[..users.len()]);
                for ((counter, column), brand_idx) in brands.iter_mut().zip(columns).zip(first..) {
                    let positives = &users_of[brand_idx];
                    let left_out = left_out.as_ref().map_or(&[][..], |lists| &lists[brand_idx]);
                    count(counter, column, &users, positives, left_out);
                }
            }
        });
    }

    /// What was counted.
    pub fn build(self) -> Histogram {
        Histogram::of_brands(self.brands.into_par_iter().map(Counter::into_bins).collect())
    }
}

/// Counts some users for one brand.
///
/// * `column`: their logits.
/// * `users`: their places in the batch.
/// * `positives`, `left_out`: users of the batch, ascending.
fn count(
    counter: &mut Counter,
    column: &[f32],
    users: &Range<usize>,
    positives: &[usize],
    left_out: &[usize],
) {
    let logit = |&user: &usize| column[user - users.start];
    let positives = within(positives, users).iter();
    let left_out = within(left_out, users);
    if left_out.is_empty() {
        return counter.add(column, positives.map(logit));
    }
    let is_kept = |user: &usize| left_out.binary_search(user).is_err();
    let kept: Vec<f32> = users.clone().filter(is_kept).map(|user| logit(&user)).collect();
    counter.add(&kept, positives.filter(|user| is_kept(user)).map(logit));
}

/// The part of ascending users that lies in a range.
fn within<'a>(ascending: &'a [usize], users: &Range<usize>) -> &'a [usize] {
    let until = |end: usize| ascending.partition_point(|&user| user < end);
    &ascending[until(users.start)..until(users.end)]
}

/// Some brands' logits, a column each, [`STRIDE`] apart.
fn into_columns(rows: &[f32], n_brands: usize, brands: Range<usize>, columns: &mut Vec<f32>) {
    columns.resize(brands.len() * STRIDE, 0.0);
    for (user, row) in rows.chunks_exact(n_brands).enumerate() {
        let row = &row[brands.clone()];
        for (into, &logit) in columns[user..].iter_mut().step_by(STRIDE).zip(row) {
            *into = logit;
        }
    }
}

/// The users that have each brand, ascending.
fn users_by_brand(lists: Lists, n_brands: usize) -> Vec<Vec<usize>> {
    let mut users_of = vec![Vec::new(); n_brands];
    for (user, brands) in lists.iter().enumerate() {
        for &brand_idx in brands {
            users_of[brand_idx as usize].push(user);
        }
    }
    users_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 70 brands are several tasks of `add_rows`; 600 users are more than have bins of their own.
    #[test]
    fn a_batch_counts_as_its_cells_do() {
        let (n_users, n_brands) = (600, 70);
        let logits: Vec<f32> =
            (0..n_users * n_brands).map(|i| (i * 7919 % 10007) as f32 / 700.0 - 16.0).collect();
        let (mut offsets, mut values) = (vec![0], Vec::new());
        for user in 0..n_users {
            values.extend([user % 3, 3 + user % 67].map(|brand| brand as u32));
            offsets.push(values.len());
        }
        let labels = Lists { offsets: &offsets, values: &values };
        let mut batch = HistogramBuilder::new(n_brands);
        let (first, rest) = logits.split_at(300 * n_brands);
        batch.add_rows(first, Lists { offsets: &offsets[..301], values: &values });
        let rest_offsets: Vec<usize> = offsets[300..].iter().map(|at| at - 600).collect();
        batch.add_rows(rest, Lists { offsets: &rest_offsets, values: &values[600..] });
        let batch = batch.build();

        let mut cells = Histogram::new(n_brands);
        for (i, &logit) in logits.iter().enumerate() {
            let is_positive = labels.get(i / n_brands).contains(&((i % n_brands) as u32));
            cells.add(i % n_brands, logit, is_positive);
        }
        assert_eq!(batch, cells);
        assert_eq!((batch.support(0), batch.n_users(69)), (200, 600));
        assert!(batch.brand(0).bins.len() < 600);
    }

    /// Brand 0 is left out for user 0, who has it, and brand 1 for users 1 and 2, of whom 1 has it.
    #[test]
    fn pairs_that_are_left_out_are_not_counted() {
        let logits = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let labels = Lists { offsets: &[0, 1, 2, 2], values: &[0, 1] };
        let left_out = Lists { offsets: &[0, 1, 2, 3], values: &[0, 1, 1] };
        let mut some = HistogramBuilder::new(2);
        some.add_rows_but(&logits, labels, Some(left_out));
        let mut cells = Histogram::new(2);
        for (brand_idx, logit) in [(0, 2.0), (0, 4.0), (1, 1.0)] {
            cells.add(brand_idx, logit, false);
        }
        assert_eq!(some.build(), cells);
    }

    fn of_users(users: &[(f32, bool)], batch: usize) -> Histogram {
        let mut histogram = HistogramBuilder::new(1);
        for users in users.chunks(batch) {
            let logits: Vec<f32> = users.iter().map(|user| user.0).collect();
            let mut offsets = vec![0];
            for (_, is_positive) in users {
                offsets.push(offsets[offsets.len() - 1] + usize::from(*is_positive));
            }
            let values = vec![0; offsets[users.len()]];
            histogram.add_rows(&logits, Lists { offsets: &offsets, values: &values });
        }
        histogram.build()
    }

    /// Normal, narrow, shifted, with ties and with logits that no model should give.
    fn any_users() -> impl Strategy<Value = Vec<(f32, bool)>> {
        let scale = prop::sample::select(vec![3.0, 0.06, 0.003, 1e-6, 900.0]);
        let offset = prop::sample::select(vec![0.0, -7.0, -13.9, 14.0]);
        let odd = prop::sample::select(vec![
            -0.0,
            0.0,
            -14.0,
            14.0,
            1e9,
            -1e9,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            -7.0,
        ]);
        let user = (-1.0_f32..1.0, -1.0_f32..1.0, -1.0_f32..1.0, 0..40, odd, any::<bool>());
        (scale, offset, prop::collection::vec(user, 1..1500)).prop_map(|(scale, offset, users)| {
            let logit = |(a, b, c, kind, odd, is_positive): (f32, f32, f32, i32, f32, bool)| {
                let logit = if kind == 0 { odd } else { offset + scale * (a + b + c) };
                (logit, is_positive)
            };
            users.into_iter().map(logit).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn parts_in_any_order_and_size_add_up_to_the_whole(
            users in any_users(),
            cut in 0..6000_usize,
            batch in 1..2500_usize,
        ) {
            let whole = of_users(&users, users.len());
            let mut backwards = users.clone();
            backwards.reverse();
            prop_assert_eq!(&of_users(&backwards, batch), &whole);

            let (left, right) = users.split_at(cut.min(users.len()));
            let mut merged = of_users(left, batch);
            merged.merge(&of_users(right, 4096));
            prop_assert_eq!(&merged, &whole);

            let bins = [left, right].map(|part| of_users(part, batch).brand(0).bins.to_vec()).concat();
            prop_assert_eq!(&Histogram::from_bins(vec![bins]), &whole);

            let positives = users.iter().filter(|user| user.1).count();
            prop_assert_eq!(whole.support(0), positives as u64);
            prop_assert_eq!(whole.n_users(0), users.len() as u64);
        }
    }
}

//! Logits counted in bins, per brand: enough for threshold sweeps, average precision and
//! calibration, and small enough to keep. Histograms of parts of the users add up.

use crate::Lists;
use crate::bins::{Bin, Counter, merge, tidy};
use rayon::prelude::*;

/// Brands counted together by [`Histogram::add_rows`]: their logits of a batch of 4,096 users
/// (256 KiB) stay in cache.
const BRANDS_PER_TASK: usize = 16;

/// In logits.
const CACHE_LINE: usize = 16;

/// Users by brand, bin of the logit ([`crate::bins`]), and whether they have the brand.
///
/// It depends on the users alone, not on their order or on how they were split into parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// By brand, each ascending
    brands: Vec<Vec<Bin>>,
}

/// One brand's part of a [`Histogram`].
#[derive(Clone, Copy, Debug)]
pub struct BrandHistogram<'a> {
    /// By ascending logit; none is empty.
    pub bins: &'a [Bin],
}

impl Histogram {
    /// A histogram with no users.
    pub fn new(n_brands: usize) -> Histogram {
        Histogram { brands: vec![Vec::new(); n_brands] }
    }

    /// A histogram from bins made before, e.g. read from a file.
    ///
    /// * `brands`: bins of each brand, in any order; those of parts of the users add up.
    pub fn from_bins(brands: Vec<Vec<Bin>>) -> Histogram {
        Histogram { brands: brands.into_par_iter().map(tidy).collect() }
    }

    /// Counts one user for one brand. For many users [`Histogram::add_rows`] is faster by far.
    ///
    /// # Panics
    ///
    /// If `brand_idx >= n_brands`, as all methods that take one.
    pub fn add(&mut self, brand_idx: usize, logit: f32, is_positive: bool) {
        let user = Bin::at(logit, u64::from(is_positive), u64::from(!is_positive));
        let bins = &mut self.brands[brand_idx];
        *bins = merge(bins, &[user]);
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
    /// The rest, and panics, as in [`Histogram::add_rows`].
    pub fn add_rows_but(&mut self, logits: &[f32], labels: Lists, left_out: Option<Lists>) {
        let n_brands = self.n_brands();
        assert_eq!(logits.len(), labels.len() * n_brands, "one logit per user and brand");
        if logits.is_empty() {
            return;
        }
        let users_of = users_by_brand(labels, n_brands);
        let left_out = left_out.map(|lists| users_by_brand(lists, n_brands));
        let tasks = self.brands.par_chunks_mut(BRANDS_PER_TASK).enumerate();
        tasks.for_each_init(Counter::new, |counter, (task, brands)| {
            let first = task * BRANDS_PER_TASK;
            // Columns a power of two apart would all want the same place in the cache.
            let stride = labels.len() + CACHE_LINE;
            let mut columns = vec![0.0; brands.len() * stride];
            for (user, row) in logits.chunks_exact(n_brands).enumerate() {
                let row = &row[first..first + brands.len()];
                for (into, &logit) in columns[user..].iter_mut().step_by(stride).zip(row) {
                    *into = logit;
                }
            }
            for (i, (bins, column)) in brands.iter_mut().zip(columns.chunks(stride)).enumerate() {
                let column = &column[..labels.len()];
                let positives = &users_of[first + i];
                match left_out.as_ref().map(|left_out| &left_out[first + i]) {
                    Some(left_out) if !left_out.is_empty() => {
                        let is_kept = |user: &usize| left_out.binary_search(user).is_err();
                        let users = (0..column.len()).filter(is_kept);
                        let kept: Vec<f32> = users.map(|user| column[user]).collect();
                        let positives = positives.iter().filter(|&user| is_kept(user));
                        counter.add(bins, &kept, positives.map(|&user| column[user]));
                    }
                    _ => counter.add(bins, column, positives.iter().map(|&user| column[user])),
                }
            }
        });
    }

    /// Adds the counts of another part of the users.
    ///
    /// # Panics
    ///
    /// If the numbers of brands differ.
    pub fn merge(&mut self, other: &Histogram) {
        assert_eq!(
            self.n_brands(),
            other.n_brands(),
            "merged histograms must have the same brands"
        );
        self.brands.par_iter_mut().zip(&other.brands).for_each(|(mine, theirs)| {
            if !theirs.is_empty() {
                *mine = merge(mine, theirs);
            }
        });
    }

    /// All pairs of a user and one of some brands, as users of one brand.
    pub(crate) fn pooled_over(&self, brands: &[usize]) -> Vec<Bin> {
        pooled(brands.par_iter().map(|&brand_idx| self.brands[brand_idx].as_slice()))
    }

    /// Number of brands.
    pub fn n_brands(&self) -> usize {
        self.brands.len()
    }

    /// One brand's bins.
    pub fn brand(&self, brand_idx: usize) -> BrandHistogram<'_> {
        BrandHistogram { bins: &self.brands[brand_idx] }
    }

    /// Users counted that have the brand.
    pub fn support(&self, brand_idx: usize) -> u64 {
        self.brand(brand_idx).support()
    }

    /// Users counted for the brand, with the label or without.
    pub fn n_users(&self, brand_idx: usize) -> u64 {
        self.brand(brand_idx).n_users()
    }
}

/// The users of several brands, or parts, as those of one.
pub(crate) fn pooled<'a>(bins: impl ParallelIterator<Item = &'a [Bin]>) -> Vec<Bin> {
    let merged = |pooled: Vec<Bin>, bins: &[Bin]| {
        if pooled.is_empty() { bins.to_vec() } else { merge(&pooled, bins) }
    };
    bins.fold(Vec::new, merged).reduce(Vec::new, |pooled, part| merged(pooled, &part))
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

impl BrandHistogram<'_> {
    /// Users counted that have the brand.
    pub fn support(self) -> u64 {
        self.bins.iter().map(|bin| bin.positives).sum()
    }

    /// Users counted, with the label or without.
    pub fn n_users(self) -> u64 {
        self.bins.iter().map(Bin::users).sum()
    }
}

/// Users of one brand, for tests.
///
/// * `cells`: logits, users with the label there, users without.
#[cfg(test)]
pub(crate) fn one_brand(cells: &[(f32, u64, u64)]) -> Histogram {
    let bin =
        |&(logit, positives, negatives): &(f32, u64, u64)| Bin::at(logit, positives, negatives);
    Histogram::from_bins(vec![cells.iter().map(bin).collect()])
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
        let mut batch = Histogram::new(n_brands);
        let (first, rest) = logits.split_at(300 * n_brands);
        batch.add_rows(first, Lists { offsets: &offsets[..301], values: &values });
        let rest_offsets: Vec<usize> = offsets[300..].iter().map(|at| at - 600).collect();
        batch.add_rows(rest, Lists { offsets: &rest_offsets, values: &values[600..] });

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
        let mut some = Histogram::new(2);
        some.add_rows_but(&logits, labels, Some(left_out));
        let mut cells = Histogram::new(2);
        for (brand_idx, logit) in [(0, 2.0), (0, 4.0), (1, 1.0)] {
            cells.add(brand_idx, logit, false);
        }
        assert_eq!(some, cells);
    }

    fn of_users(users: &[(f32, bool)], batch: usize) -> Histogram {
        let mut histogram = Histogram::new(1);
        for users in users.chunks(batch) {
            let logits: Vec<f32> = users.iter().map(|user| user.0).collect();
            let mut offsets = vec![0];
            for (_, is_positive) in users {
                offsets.push(offsets[offsets.len() - 1] + usize::from(*is_positive));
            }
            let values = vec![0; offsets[users.len()]];
            histogram.add_rows(&logits, Lists { offsets: &offsets, values: &values });
        }
        histogram
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
            cut in 0..1500_usize,
            batch in 1..700_usize,
        ) {
            let whole = of_users(&users, users.len());
            let mut backwards = users.clone();
            backwards.reverse();
            prop_assert_eq!(&of_users(&backwards, batch), &whole);

            let (left, right) = users.split_at(cut.min(users.len()));
            let mut merged = of_users(left, batch);
            merged.merge(&of_users(right, 4096));
            prop_assert_eq!(&merged, &whole);

            let bins = [left, right].map(|part| of_users(part, batch).brands.remove(0)).concat();
            prop_assert_eq!(&Histogram::from_bins(vec![bins]), &whole);

            let positives = users.iter().filter(|user| user.1).count();
            prop_assert_eq!(whole.support(0), positives as u64);
            prop_assert_eq!(whole.n_users(0), users.len() as u64);
        }
    }
}

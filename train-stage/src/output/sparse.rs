//! Unbiased sparse gradients of the output layer: draws, and sums over what was drawn.
//!
//! Most entries of the gradient with respect to the logits are tiny: a user has a dozen of 3,000
//! brands, and almost all others have a probability near 0. Both products of the output layer's
//! backward pass, two thirds of the work of training, can leave most of them out: an entry of at
//! least `limit` is kept as it is; a smaller one, `g`, is kept with probability `|g| / limit` and
//! then counts `±limit`, so that the expected gradient is the whole one.

use contract::splitmix::{GOLDEN, mix};
use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

/// A value at a place: a brand of a user, or a user of a brand.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Entry {
    /// The place
    pub index: u32,
    /// The value
    pub value: f32,
}

/// Cells that are drawn together.
const LANES: usize = 16;

/// `a·b + c` in one step, in functions of several versions, where the processor has it.
macro_rules! multiply_add {
    ($a:expr, $b:expr, $c:expr) => {
        if target_cfg_f!(target_feature = "fma") { $a.mul_add($b, $c) } else { $a * $b + $c }
    };
}
pub(super) use multiply_add;

/// Appends the entries of a row that are kept.
///
/// * `share`: entries whose magnitude is below this share of the row's largest are kept at random.
/// * `seed`: differs between rows and updates.
///
pub fn select(row: &[f32], share: f32, seed: u64, entries: &mut Vec<Entry>) {
    let limit = share * largest(row);
    if limit > 0.0 {
        let first = entries.len();
        draw(row, 1.0 / limit, 0.0, start(seed), entries);
        for entry in &mut entries[first..] {
            let (chance, g) = (entry.value, row[entry.index as usize]);
            entry.value = if chance < 1.0 { limit.copysign(g) } else { g };
        }
    }
}

/// A number in [0, 1) to start systematic sampling from.
pub(super) fn start(seed: u64) -> f32 {
    // 24 bits, as many as an `f32` between 0 and 1 can tell apart.
    (mix(seed.wrapping_mul(GOLDEN)) >> 40) as f32 / (1_u64 << 24) as f32
}

/// The largest magnitude in a row.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn largest(row: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(0.0_f32, |most, g| most.max(g.abs()));
    for chunk in chunks {
        for (most, g) in lanes.iter_mut().zip(chunk) {
            *most = if g.abs() > *most { g.abs() } else { *most };
        }
    }
    lanes.iter().fold(rest, |most, &lane| most.max(lane))
}

/// Draws cells of a row: a cell of size `g` with the probability `min(|g|·scale + floor, 1)`, which
/// is appended with the cell's place.
///
/// * `start`: random, in [0, 1).
///
/// By systematic sampling in [`LANES`] lanes: a cell is drawn where its lane's running sum of
/// probabilities passes a whole number.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(super) fn draw(row: &[f32], scale: f32, floor: f32, start: f32, drawn: &mut Vec<Entry>) {
    /// Cells between which drawn ones are looked for.
    const CELLS: usize = 512;
    let chance = |g: f32| {
        let size = multiply_add!(g.abs(), scale, floor);
        if size < 1.0 { size } else { 1.0 }
    };
    let mut sums: [f32; LANES] =
        std::array::from_fn(|lane| (start + lane as f32 / LANES as f32).fract());
    for (i, cells) in row.chunks(CELLS).enumerate() {
        // A byte each, and none for those that fill up the last lanes.
        let mut is_drawn = [0_u8; CELLS];
        let chunks = cells.chunks_exact(LANES);
        let rest = chunks.remainder();
        for (cells, is_drawn) in chunks.zip(is_drawn.chunks_exact_mut(LANES)) {
            for ((&g, sum), is_drawn) in cells.iter().zip(&mut sums).zip(is_drawn) {
                let after = *sum + chance(g);
                *is_drawn = u8::from(after >= 1.0);
                *sum = if after >= 1.0 { after - 1.0 } else { after };
            }
        }
        let n_whole = cells.len() - rest.len();
        for ((&g, sum), is_drawn) in rest.iter().zip(&sums).zip(&mut is_drawn[n_whole..]) {
            *is_drawn = u8::from(*sum + chance(g) >= 1.0);
        }
        for (j, bytes) in
            is_drawn[..cells.len().next_multiple_of(8)].as_chunks().0.iter().enumerate()
        {
            let mut bytes = u64::from_le_bytes(*bytes);
            while bytes > 0 {
                let cell = 8 * j + bytes.trailing_zeros() as usize / 8;
                drawn.push(Entry { index: (i * CELLS + cell) as u32, value: chance(cells[cell]) });
                bytes &= bytes - 1;
            }
        }
    }
}

/// `sum = Σ value · rows[index]`.
///
/// * `rows`: rows as long as `sum`, one after another.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn weighted_sum(entries: &[Entry], rows: &[f32], sum: &mut [f32]) {
    /// Columns whose sums fit in registers.
    const COLUMNS: usize = 128;
    let width = sum.len();
    let n_whole = width / COLUMNS * COLUMNS;
    for start in (0..n_whole).step_by(COLUMNS) {
        let mut sums = [0.0_f32; COLUMNS];
        for entry in entries {
            let from = entry.index as usize * width + start;
            let row: &[f32; COLUMNS] =
                rows[from..from + COLUMNS].try_into().expect("as long as the range");
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum = multiply_add!(entry.value, *value, *sum);
            }
        }
        sum[start..start + COLUMNS].copy_from_slice(&sums);
    }
    let rest = &mut sum[n_whole..];
    rest.fill(0.0);
    if rest.is_empty() {
        return;
    }
    for entry in entries {
        let from = entry.index as usize * width + n_whole;
        for (sum, value) in rest.iter_mut().zip(&rows[from..from + width - n_whole]) {
            *sum += entry.value * value;
        }
    }
}

/// Entries of users, sorted to brands: those of each brand in order of the users.
#[derive(Debug, Default, Clone)]
pub struct ByBrand {
    /// Brand `b` has `entries[starts[b]..starts[b + 1]]`
    starts: Vec<usize>,
    /// Their `index` is the user
    entries: Vec<Entry>,
}

impl ByBrand {
    /// Sorts the entries of all users, the first user's first.
    pub fn fill<'a>(&mut self, n_brands: usize, users: impl Iterator<Item = &'a [Entry]> + Clone) {
        self.starts.clear();
        self.starts.resize(n_brands + 1, 0);
        for entry in users.clone().flatten() {
            self.starts[entry.index as usize + 1] += 1;
        }
        for brand in 0..n_brands {
            self.starts[brand + 1] += self.starts[brand];
        }
        self.entries.clear();
        self.entries.resize(self.starts[n_brands], Entry::default());
        // Each brand's start moves to its end, which is the start of the next brand.
        for (user, entries) in users.enumerate() {
            for entry in entries {
                let place = &mut self.starts[entry.index as usize];
                self.entries[*place] = Entry { index: user as u32, value: entry.value };
                *place += 1;
            }
        }
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }

    /// The entries of a brand, in order of users.
    pub fn of(&self, brand: usize) -> &[Entry] {
        &self.entries[self.starts[brand]..self.starts[brand + 1]]
    }
}

/// Adds up each brand's entries.
///
/// * `sums`: `(n_brands,)`, overwritten.
pub fn brand_sums(by_brand: &ByBrand, sums: &mut [f32]) {
    sums.par_iter_mut().with_min_len(256).enumerate().for_each(|(brand, sum)| {
        *sum = by_brand.of(brand).iter().map(|entry| entry.value).sum();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 37 values from 0.001 to 1, every third negative: two whole blocks of cells and five more.
    fn row() -> Vec<f32> {
        let size = |i: usize| 0.83_f32.powi(i as i32);
        (0..37).map(|i| if i % 3 == 0 { -size(i) } else { size(i) }).collect()
    }

    fn selected(row: &[f32], share: f32, seed: u64) -> Vec<Entry> {
        let mut entries = Vec::new();
        select(row, share, seed, &mut entries);
        entries
    }

    /// The largest is 1, so the limit is 0.2: 0.83^8 = 0.225 is above it, 0.83^9 = 0.187 below.
    #[test]
    fn large_entries_are_always_kept_as_they_are_and_small_ones_grow_to_the_limit() {
        let row = row();
        for seed in 0..200 {
            let entries = selected(&row, 0.2, seed);
            for (i, entry) in entries.iter().take(9).enumerate() {
                assert_eq!(*entry, Entry { index: i as u32, value: row[i] }, "{seed}");
            }
            for entry in &entries[9..] {
                assert_eq!(entry.value, 0.2_f32.copysign(row[entry.index as usize]), "{seed}");
            }
        }
    }

    /// An entry of size g is kept with chance g / 0.2 at ±0.2, so that its mean over 20,000 draws
    /// has a standard deviation of at most 0.1 / √20,000 = 0.0007.
    #[test]
    fn the_mean_of_many_draws_is_the_row() {
        const DRAWS: u64 = 20_000;
        let row = row();
        let mut sums = vec![0.0_f64; row.len()];
        for seed in 0..DRAWS {
            for entry in selected(&row, 0.2, seed) {
                sums[entry.index as usize] += f64::from(entry.value);
            }
        }
        for (i, (sum, &g)) in sums.iter().zip(&row).enumerate() {
            let mean = sum / DRAWS as f64;
            assert!((mean - f64::from(g)).abs() < 0.004, "{i}: {mean} for {g}");
        }
    }

    /// Σ min(|g| / 0.2, 1) over the row: 9 whole ones, and 0.83^9·(1 - 0.83^28)/0.17/0.2 = 5.47.
    #[test]
    fn the_number_of_entries_is_the_expected_one_on_average() {
        let counts = (0..2000).map(|seed| selected(&row(), 0.2, seed).len());
        let mean = counts.sum::<usize>() as f64 / 2000.0;
        assert!((mean - 14.47).abs() < 0.3, "{mean}");
    }

    #[test]
    fn a_row_of_zeros_has_no_entries() {
        assert!(selected(&[0.0; 20], 0.2, 1).is_empty());
    }

    /// Widths below, at and beyond the columns that stay in registers. Row r holds r + column, so
    /// 2·row 3 - row 1 is 5 + column.
    #[test]
    fn weighted_sums_are_those_of_their_rows() {
        for width in [1, 127, 128, 300] {
            let rows: Vec<f32> = (0..4)
                .flat_map(|row| (0..width).map(move |column| (row + column) as f32))
                .collect();
            let entries = [Entry { index: 3, value: 2.0 }, Entry { index: 1, value: -1.0 }];
            let mut sum = vec![7.0; width];
            weighted_sum(&entries, &rows, &mut sum);
            let expected: Vec<f32> = (0..width).map(|column| 5.0 + column as f32).collect();
            assert_eq!(sum, expected, "{width}");
        }
    }

    #[test]
    fn entries_are_sorted_to_brands_in_order_of_users() {
        let entry = |index: u32, value: f32| Entry { index, value };
        let users = [vec![entry(2, 1.0), entry(0, 2.0)], vec![], vec![entry(2, 3.0)]];
        let mut by_brand = ByBrand::default();
        for _ in 0..2 {
            by_brand.fill(4, users.iter().map(Vec::as_slice));
            assert_eq!(by_brand.of(0), [entry(0, 2.0)]);
            assert_eq!(by_brand.of(1), []);
            assert_eq!(by_brand.of(2), [entry(0, 1.0), entry(2, 3.0)]);
            assert_eq!(by_brand.of(3), []);
        }
        let mut sums = [9.0; 4];
        brand_sums(&by_brand, &mut sums);
        assert_eq!(sums, [2.0, 0.0, 4.0, 0.0]);
    }
}

//! Unbiased sparse gradients of the output layer.
//!
//! Most entries of the gradient with respect to the logits are tiny: a user has a dozen of 3,000
//! brands, and almost all others have a probability near 0. Both products of the output layer's
//! backward pass, two thirds of the work of training, can leave most of them out: an entry of at
//! least `limit` is kept as it is; a smaller one, `g`, is kept with probability `|g| / limit` and
//! then counts `±limit`, so that the expected gradient is the whole one.

use model::mlp::{GOLDEN, mix};
use multiversion::multiversion;
use rayon::prelude::*;

/// A value at a place: a brand of a user, or a user of a brand.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Entry {
    /// The place
    pub index: u32,
    /// The value
    pub value: f32,
}

/// Cells that are looked at together: most blocks hold no entry and are passed by their sum.
const LANES: usize = 16;

/// Appends the entries that are kept of a row.
///
/// * `share`: entries below this share of the row's largest, in magnitude, are kept at random.
/// * `seed`: another for each row of each update.
///
/// Entries are drawn by systematic sampling: one random number starts the running sum of
/// `|g| / limit`, and an entry is kept where the sum passes a whole number. So a row's number
/// of entries is its expected number, rounded up or down.
pub fn select(row: &[f32], share: f32, seed: u64, entries: &mut Vec<Entry>) {
    let limit = share * largest(row);
    if limit > 0.0 {
        // 24 bits, as many as an `f32` between 0 and 1 can tell apart.
        let start = (mix(seed.wrapping_mul(GOLDEN)) >> 40) as f32 / (1_u64 << 24) as f32;
        select_above(row, limit, start, entries);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn largest(row: &[f32]) -> f32 {
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

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn select_above(row: &[f32], limit: f32, start: f32, entries: &mut Vec<Entry>) {
    let inverse = 1.0 / limit;
    let mut sum = start;
    for (i, chunk) in row.chunks(LANES).enumerate() {
        let mut steps = [0.0_f32; LANES];
        for (step, g) in steps.iter_mut().zip(chunk) {
            let size = g.abs() * inverse;
            *step = if size < 1.0 { size } else { 1.0 };
        }
        // In halves, so that the sum is vectorised and the same on every machine.
        let mut halves = steps;
        for width in [8, 4, 2, 1] {
            for j in 0..width {
                halves[j] += halves[j + width];
            }
        }
        if sum + halves[0] < 1.0 {
            sum += halves[0];
            continue;
        }
        for ((j, &g), step) in chunk.iter().enumerate().zip(steps) {
            sum += step;
            if sum >= 1.0 {
                sum -= 1.0;
                let value = if step < 1.0 { limit.copysign(g) } else { g };
                entries.push(Entry { index: (i * LANES + j) as u32, value });
            }
        }
    }
}

/// `sum = Σ value · rows[index]`.
///
/// * `rows`: rows as long as `sum`, one after another.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn weighted_sum(entries: &[Entry], rows: &[f32], sum: &mut [f32]) {
    /// Columns whose sums stay in registers.
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
                *sum += entry.value * value;
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
    /// `index` is the user
    entries: Vec<Entry>,
}

impl ByBrand {
    /// Sorts the entries of users, given in order.
    pub fn fill<'a>(
        &mut self,
        n_brands: usize,
        users: impl Iterator<Item = &'a [Entry]> + Clone,
    ) {
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
        // Each brand's start moves to its end, which is the start of the next.
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

    /// The entries of a brand.
    pub fn of(&self, brand: usize) -> &[Entry] {
        &self.entries[self.starts[brand]..self.starts[brand + 1]]
    }

    /// All of them.
    pub fn n_entries(&self) -> usize {
        self.entries.len()
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

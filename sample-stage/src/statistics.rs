//! Statistics of a sample and of the training users: rows, labels, prevalence and imbalance.

use anyhow::{Context as _, Result};
use contract::brands::{ByTier, Tier};
use contract::columns::{texts, u32s, u64s};
use contract::ipc::Table;
use contract::statistics::{Prevalence, SampleStatistics, Spread, WithoutPositives};
use metrics::{Scumble, mean_imbalance_ratio};

use crate::order::{Example, Ordered};

/// The columns of `brands` that the statistics need.
pub struct Brands {
    volumes: Vec<u64>,
    tiers: Vec<Tier>,
    without_in_valid: u64,
    without_in_test: u64,
}

impl Brands {
    /// From the table `brands`.
    ///
    /// # Errors
    ///
    /// If its metadata lacks the brands without positives, or a tier has another name.
    pub fn new(table: &Table) -> Result<Self> {
        let count = |split: &str| {
            let key = format!("n_brands_without_positives_in_{split}");
            let found = table.metadata(&key).and_then(|text| text.parse().ok());
            found.with_context(|| format!("{}: no `{key}` in its metadata", table.path.display()))
        };
        let named = |name: Option<&str>| Tier::named(name?);
        let tiers = table.batches.iter().flat_map(|batch| texts(batch, "tier").iter().map(named));
        let tiers: Option<Vec<Tier>> = tiers.collect();
        Ok(Self {
            volumes: table.batches.iter().flat_map(|b| u64s(b, "volume").to_vec()).collect(),
            tiers: tiers.with_context(|| {
                format!(
                    "{}: column `tier`: expected `head`, `torso` or `tail`",
                    table.path.display()
                )
            })?,
            without_in_valid: count("valid")?,
            without_in_test: count("test")?,
        })
    }
}

/// Statistics of a sample.
///
/// * `before`: of the `n_train` training users.
/// * `examples`: summed in the order of the file, so that sums are the same every time.
///
/// # Errors
///
/// If they cannot be read.
pub fn measure(
    brands: &Brands,
    n_train: usize,
    before: Spread,
    examples: &Ordered,
) -> Result<(SampleStatistics, Prevalence)> {
    let n_brands = brands.volumes.len();
    let mut is_used = vec![false; n_train];
    examples.each_user(|user_row| is_used[user_row as usize] = true)?;
    let counts = examples.sum(|chunk| Counts::of(n_brands, chunk), Counts::plus)?;
    let Counts { rows, clones, without_label, weight, positives, weighted, ignored, ignored_cells } =
        counts.unwrap_or_else(|| Counts::new(n_brands));
    let of_sample = Scumble::new(&positives);
    let scumble = |chunk: &mut dyn Iterator<Item = Example<'_>>| {
        let mut scumble = of_sample.clone();
        chunk.for_each(|example| scumble.add(example.brands));
        scumble
    };
    let scumble = examples.sum(scumble, Scumble::plus)?.and_then(|sum| sum.mean());

    let statistics = SampleStatistics {
        rows,
        users: is_used.iter().filter(|used| **used).count() as u64,
        clones,
        labels: positives.iter().sum(),
        rows_without_label: without_label,
        ignored_cells,
        before,
        after: spread(brands, &positives, rows, without_label, scumble),
        brands_without_positives: WithoutPositives {
            train: positives.iter().filter(|&&n| n == 0).count() as u64,
            valid: brands.without_in_valid,
            test: brands.without_in_test,
        },
    };
    let after = weighted.iter().zip(&ignored).map(|(positive, left_out)| {
        let counted = weight - left_out;
        (counted > 0.0).then(|| positive / counted)
    });
    let prevalence = Prevalence {
        before: brands.volumes.iter().map(|&n| n as f64 / n_train as f64).collect(),
        after: after.collect(),
    };
    Ok((statistics, prevalence))
}

/// Counts over some examples; `(n_brands,)` each list.
struct Counts {
    rows: u64,
    clones: u64,
    without_label: u64,
    ignored_cells: u64,
    weight: f64,
    positives: Vec<u64>,
    /// Weight of the examples whose loss counts the brand as a positive
    weighted: Vec<f64>,
    /// Weight of the examples whose loss leaves the brand out
    ignored: Vec<f64>,
}

impl Counts {
    fn new(n_brands: usize) -> Self {
        Self {
            rows: 0,
            clones: 0,
            without_label: 0,
            ignored_cells: 0,
            weight: 0.0,
            positives: vec![0; n_brands],
            weighted: vec![0.0; n_brands],
            ignored: vec![0.0; n_brands],
        }
    }

    fn of<'a>(n_brands: usize, examples: impl Iterator<Item = Example<'a>>) -> Self {
        let mut counts = Self::new(n_brands);
        for example in examples {
            let weight = f64::from(example.weight);
            counts.rows += 1;
            counts.clones += u64::from(example.is_clone);
            counts.weight += weight;
            counts.without_label += u64::from(example.brands.is_empty());
            counts.ignored_cells += example.ignored_brands.len() as u64;
            for brand in example.brands {
                counts.positives[*brand as usize] += 1;
                if example.ignored_brands.binary_search(brand).is_err() {
                    counts.weighted[*brand as usize] += weight;
                }
            }
            for &brand in example.ignored_brands {
                counts.ignored[brand as usize] += weight;
            }
        }
        counts
    }

    fn plus(mut self, other: Self) -> Self {
        self.rows += other.rows;
        self.clones += other.clones;
        self.without_label += other.without_label;
        self.ignored_cells += other.ignored_cells;
        self.weight += other.weight;
        self.positives.iter_mut().zip(other.positives).for_each(|(sum, n)| *sum += n);
        self.weighted.iter_mut().zip(other.weighted).for_each(|(sum, w)| *sum += w);
        self.ignored.iter_mut().zip(other.ignored).for_each(|(sum, w)| *sum += w);
        self
    }
}

/// Statistics of the training users.
///
/// * `interactions`: their labels, rows of a user together.
pub fn before(brands: &Brands, n_train: usize, interactions: &Table) -> Spread {
    let n_train = n_train as u64;
    let mut scumble = Scumble::new(&brands.volumes);
    let mut with_label = 0;
    let mut user = None;
    let mut user_brands: Vec<u32> = Vec::new();
    for batch in &interactions.batches {
        for (&user_row, &brand) in u32s(batch, "user_row").iter().zip(u32s(batch, "brand_idx")) {
            if user != Some(user_row) {
                scumble.add(&user_brands);
                user_brands.clear();
                with_label += 1;
                user = Some(user_row);
            }
            user_brands.push(brand);
        }
    }
    scumble.add(&user_brands);
    spread(brands, &brands.volumes, n_train, n_train - with_label, scumble.mean())
}

fn spread(
    brands: &Brands,
    positives: &[u64],
    rows: u64,
    rows_without_label: u64,
    scumble: Option<f64>,
) -> Spread {
    let of_tier = |tier: Tier| {
        let pairs = brands.tiers.iter().zip(positives);
        pairs.filter(|(other, _)| **other == tier).map(|(_, n)| n).sum()
    };
    Spread {
        rows,
        rows_without_label,
        positives_by_tier: ByTier::of(of_tier),
        mean_imbalance_ratio: mean_imbalance_ratio(positives),
        scumble,
    }
}

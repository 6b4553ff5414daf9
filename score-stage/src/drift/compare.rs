//! Which differences from the reference are large and beyond chance.

use contract::drift::{BrandDrift, Drift, FeatureDrift, What};
use contract::words::{count, plural};
use metrics::drift::{Rate, is_by_chance, psi};

use super::counts::{BrandCounts, Counts};
use super::reference::{Reference, moments};
use crate::predict::brands::Brands;

/// A number has moved from this population stability index on: by convention a moderate shift.
const MIN_PSI: f64 = 0.1;

/// A share has moved if it is so many times as large or as small.
const MIN_RATIO: f64 = 1.5;

/// Users of the larger share, fewer of whom do not matter.
const MIN_HITS: f64 = 10.0;

/// Chance that anything is said to have moved of users of the same population, over all that is compared
/// (Bonferroni).
const CHANCE: f64 = 0.01;

/// Users without whom nothing can be told.
const MIN_USERS: u64 = 100;

/// What is compared, `now` with `then`.
struct Comparison<'a> {
    then: &'a Counts,
    now: &'a Counts,
    /// Chance of each test
    alpha: f64,
}

/// Compares users with the reference.
pub fn compare(reference: &Reference, now: &Counts, brands: &Brands) -> Drift {
    let then = &reference.counts;
    for (n_users, whose) in [(then.n_users, "test user"), (now.n_users, "user")] {
        if n_users < MIN_USERS {
            let found = plural(n_users, whose);
            return Drift::unchecked(format!("{found}, at least {MIN_USERS} are needed"));
        }
    }
    let of_brands = if now.n_decided > 0 { 2 } else { 1 };
    let n_tests = then.numbers.len() + then.ids.len() + of_brands * then.brands.len();
    let compare = Comparison { then, now, alpha: CHANCE / n_tests as f64 };
    let mut features: Vec<FeatureDrift> = Vec::new();
    for (i, number) in reference.measures.numbers.iter().enumerate() {
        let feature = number.feature.name.clone();
        features.push(FeatureDrift {
            feature,
            what: number.what,
            place: number.place,
            ..compare.number(i)
        });
    }
    for (i, listed) in reference.measures.ids.iter().enumerate() {
        let feature = listed.feature.name.clone();
        features.push(FeatureDrift { feature, place: listed.id, ..compare.id(i) });
    }
    let ids = brands.id_texts().into_iter();
    let brands: Vec<BrandDrift> = ids
        .zip(brands.names.iter().flatten())
        .enumerate()
        .map(|(i, (brand_id, name))| BrandDrift {
            brand_id,
            brand_name: name.to_owned(),
            ..compare.brand(i)
        })
        .collect();
    let moved_features = features.iter().filter(|feature| feature.has_moved).count();
    let moved_brands = brands.iter().filter(|brand| brand.has_moved).count();
    Drift {
        unchecked: None,
        n_reference_users: then.n_users,
        n_users: now.n_users,
        n_moved: (moved_features + moved_brands) as u64,
        features,
        brands,
    }
}

impl Comparison<'_> {
    fn number(&self, i: usize) -> FeatureDrift {
        let (then, now) = (&self.then.numbers[i], &self.now.numbers[i]);
        let psi = psi(&then.bins, &now.bins);
        let (mean_before, sd_before) = moments(self.then.n_users, then.sum, then.squares);
        let (mean_now, sd_now) = moments(self.now.n_users, now.sum, now.squares);
        FeatureDrift {
            feature: String::new(),
            what: What::Value,
            place: 0,
            mean_before,
            mean_now,
            sd_before,
            sd_now,
            psi: Some(psi),
            has_moved: psi >= MIN_PSI && !is_by_chance(&then.bins, &now.bins, self.alpha),
        }
    }

    fn id(&self, i: usize) -> FeatureDrift {
        let rate =
            |counts: &Counts| Rate { hits: counts.ids[i] as f64, users: counts.n_users as f64 };
        let (then, now) = (rate(self.then), rate(self.now));
        let sd = |share: f64| (share * (1.0 - share)).sqrt();
        FeatureDrift {
            feature: String::new(),
            what: What::HasId,
            place: 0,
            mean_before: then.share(),
            mean_now: now.share(),
            sd_before: sd(then.share()),
            sd_now: sd(now.share()),
            psi: None,
            has_moved: self.has_moved([then, now], [then.share(), now.share()]),
        }
    }

    fn brand(&self, i: usize) -> BrandDrift {
        let sums = |counts: &Counts| {
            let (sum, squares) = BrandCounts::sums(counts.brands[i]);
            (counts.n_users as f64, sum, squares)
        };
        let (then, now) = (sums(self.then), sums(self.now));
        let expected = [then.1 / then.0, now.1 / now.0];
        let mut has_moved =
            then.1 + now.1 > 0.0 && self.has_moved(Rate::of_probs([then, now]), expected);
        let predicted = |counts: &Counts| Rate {
            hits: counts.predicted[i] as f64,
            users: counts.n_decided as f64,
        };
        let before = predicted(self.then);
        let now = (self.now.n_decided > 0).then(|| predicted(self.now));
        if let Some(now) = now
            && before.users > 0.0
        {
            has_moved |= self.has_moved([before, now], [before.share(), now.share()]);
        }
        BrandDrift {
            brand_id: String::new(),
            brand_name: String::new(),
            predicted_before: before.hits / before.users.max(1.0),
            predicted_now: now.map(Rate::share),
            expected_before: expected[0],
            expected_now: expected[1],
            has_moved,
        }
    }

    /// Whether a share is another one.
    ///
    /// * `shares`: of the users, then and now.
    fn has_moved(&self, [then, now]: [Rate; 2], shares: [f64; 2]) -> bool {
        let (small, large) = (shares[0].min(shares[1]), shares[0].max(shares[1]));
        large * now.users >= MIN_HITS
            && large >= MIN_RATIO * small
            && now.p_value(then) < self.alpha
    }
}

/// Lines of one kind that people are shown.
const SHOWN: usize = 10;

/// For people: what moved. No line if nothing did.
pub fn lines(drift: &Drift) -> Vec<String> {
    if drift.n_moved == 0 {
        return Vec::new();
    }
    let mut lines = vec![format!(
        "warning: the users differ from those that the experiment was judged on ({} looked at, {} test \
         users):",
        plural(drift.n_users, "user"),
        count(drift.n_reference_users)
    )];
    let mut features = feature_lines(&drift.features);
    let mut brands: Vec<&BrandDrift> = drift.brands.iter().filter(|b| b.has_moved).collect();
    // The largest change of volume first.
    let volume = |b: &BrandDrift| (b.expected_now - b.expected_before).abs();
    brands.sort_by(|a, b| volume(b).total_cmp(&volume(a)));
    let n_more = features.len().saturating_sub(SHOWN) + brands.len().saturating_sub(SHOWN);
    features.truncate(SHOWN);
    lines.extend(features);
    lines.extend(brands.into_iter().take(SHOWN).map(brand_line));
    if n_more > 0 {
        lines.push(format!("  and {} more; `--json` shows all", count(n_more as u64)));
    }
    lines
}

/// A line for each number or id, except that numbers of a vector share one.
fn feature_lines(features: &[FeatureDrift]) -> Vec<String> {
    let mut lines = Vec::new();
    let is_same = |a: &FeatureDrift, b: &FeatureDrift| a.feature == b.feature && a.what == b.what;
    for group in features.chunk_by(is_same) {
        let moved: Vec<&FeatureDrift> = group.iter().filter(|one| one.has_moved).collect();
        let name = &group[0].feature;
        let most =
            moved.iter().max_by(|a, b| a.psi.unwrap_or(0.0).total_cmp(&b.psi.unwrap_or(0.0)));
        let Some(most) = most else { continue };
        match group[0].what {
            What::Value if group.len() > 1 => lines.push(format!(
                "  feature `{name}`: {} of its {} numbers moved, most of all number {}: {}",
                moved.len(),
                group.len(),
                most.place,
                change(most)
            )),
            What::Value => lines.push(format!("  feature `{name}`: {}", change(most))),
            What::NIds => {
                lines.push(format!("  feature `{name}`, ids in a list: {}", change(most)));
            }
            What::SumOfWeights => {
                lines.push(format!("  feature `{name}`, sum of the weights: {}", change(most)));
            }
            What::HasId => lines.extend(moved.iter().map(|one| {
                format!(
                    "  feature `{name}`: {} of the users have id {}, {} had it",
                    percent(one.mean_now),
                    one.place,
                    percent(one.mean_before)
                )
            })),
        }
    }
    lines
}

fn change(number: &FeatureDrift) -> String {
    format!(
        "mean {}, was {}; standard deviation {}, was {} (PSI {:.2})",
        digits(number.mean_now),
        digits(number.mean_before),
        digits(number.sd_now),
        digits(number.sd_before),
        number.psi.unwrap_or_default()
    )
}

fn brand_line(brand: &BrandDrift) -> String {
    let BrandDrift { brand_id, brand_name, .. } = brand;
    let name = if brand_name == brand_id { String::new() } else { format!(" ({brand_name})") };
    let predicted = brand.predicted_now.map(|now| {
        format!(
            "predicted for {} of the users, was {}; ",
            percent(now),
            percent(brand.predicted_before)
        )
    });
    format!(
        "  brand `{brand_id}`{name}: {}expected of {}, was {}",
        predicted.unwrap_or_default(),
        percent(brand.expected_now),
        percent(brand.expected_before)
    )
}

/// A share in per cent, with two digits that count.
fn percent(share: f64) -> String {
    format!("{} %", digits(100.0 * share))
}

/// A number with three digits that count.
fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let places = (2 - value.abs().log10().floor() as i32).clamp(0, 8) as usize;
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;
    use contract::features::{Feature, FeatureKind};

    use super::super::counts::NumberCounts;
    use super::super::measures::{Measures, Number};
    use super::*;

    /// Two numbers of a vector, two brands.
    fn counted(n: u64, bins: [[u64; 2]; 2], predicted: [u64; 2], expected: [f64; 2]) -> Counts {
        Counts {
            n_users: n,
            numbers: bins
                .map(|bins| NumberCounts {
                    bins: bins.to_vec(),
                    sum: bins[1] as f64,
                    squares: bins[1] as f64,
                })
                .to_vec(),
            ids: Vec::new(),
            brands: expected.map(|sum| BrandCounts::of_sums(sum, 0.2 * sum)).to_vec(),
            n_decided: n,
            predicted: predicted.to_vec(),
        }
    }

    fn compared(then: Counts, now: &Counts) -> Drift {
        let kind = FeatureKind::Dense { dim: 2 };
        let number = |place| Number {
            feature: Feature::new("x", kind),
            what: What::Value,
            place,
            edges: vec![0.0],
        };
        let measures =
            Measures { numbers: vec![number(0), number(1)], ids: Vec::new(), n_brands: 2 };
        let names = StringArray::from(vec!["Acme", "Other"]);
        let brands = Brands { ids: Arc::new(StringArray::from(vec!["1", "2"])), names };
        compare(&Reference::of_counts(measures, then), now, &brands)
    }

    /// Half the users above 0 before; now .56 (PSI .015, not large) and .7 (.17), both beyond chance. Brand
    /// 1 is predicted for 4 % after 2 %, brand 2 as before.
    #[test]
    fn what_moved_is_large_and_beyond_chance() {
        let then = counted(10_000, [[5_000, 5_000]; 2], [200, 50], [300.0, 80.0]);
        let now = counted(20_000, [[8_800, 11_200], [6_000, 14_000]], [800, 105], [620.0, 150.0]);
        let drift = compared(then, &now);
        let moved: Vec<bool> = drift.features.iter().map(|f| f.has_moved).collect();
        assert_eq!(moved, [false, true]);
        assert_eq!(drift.brands.iter().map(|b| b.has_moved).collect::<Vec<_>>(), [true, false]);
        assert_eq!(drift.n_moved, 2);
        assert_eq!(
            lines(&drift),
            [
                "warning: the users differ from those that the experiment was judged on (20,000 users looked \
             at, 10,000 test users):",
                "  feature `x`: 1 of its 2 numbers moved, most of all number 1: mean 0.700, was 0.500; \
             standard deviation 0.458, was 0.500 (PSI 0.17)",
                "  brand `1` (Acme): predicted for 4.00 % of the users, was 2.00 %; expected of 3.10 %, was \
             3.00 %",
            ]
        );
    }

    #[test]
    fn a_few_users_tell_nothing() {
        let then = counted(10_000, [[5_000, 5_000]; 2], [200, 50], [300.0, 80.0]);
        let now = counted(99, [[0, 99]; 2], [99, 99], [99.0, 99.0]);
        let drift = compared(then.clone(), &now);
        assert!(drift.unchecked.unwrap().starts_with("99 users, at least 100 are needed"));
        // 2 of 200 where 0.5 % were: 1 was expected.
        let now = counted(200, [[100, 100]; 2], [4, 2], [6.0, 1.6]);
        assert_eq!(compared(then, &now).n_moved, 0);
    }
}

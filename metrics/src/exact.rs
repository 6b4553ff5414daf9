//! Figures from bins against the same ones from a list of all users, for any scale of the logits.

use crate::{
    Counts, Curve, Histogram, HistogramBuilder, Objective, OwnedLists, average_precision, best_f1,
    counts_at, expected, f1, macro_f1, sum, tune_global,
};
use rand::{Rng as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A logit, and whether the user has the brand.
type User = (f32, bool);

/// Offset and scale: what a model may do to its logits without changing their order.
const SCALES: [(f32, f32); 6] =
    [(0.0, 1.0), (0.0, 1.0 / 50.0), (-7.0, 1.0), (-7.0, 0.005), (-7.0, 1e-3), (3.0, 1.0 / 50.0)];

/// Users whose log-odds are spread by 2 about those of a rate.
fn users(n: usize, rate: f64, seed: u64) -> Vec<User> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let centre = (rate / (1.0 - rate)).ln() - 1.0;
    let user = |_| {
        let normal: f64 = (0..12).map(|_| rng.random::<f64>() - 0.5).sum();
        let log_odds = centre + 2.0 * normal;
        (log_odds as f32, rng.random_bool(1.0 / (1.0 + (-log_odds).exp())))
    };
    (0..n).map(user).collect()
}

fn rescaled(users: &[User], (offset, scale): (f32, f32)) -> Vec<User> {
    users.iter().map(|&(logit, has)| (offset + scale * logit, has)).collect()
}

fn histogram(brands: &[Vec<User>]) -> Histogram {
    let mut histogram = HistogramBuilder::new(brands.len());
    let n_users = brands[0].len();
    for first in (0..n_users).step_by(4096) {
        let rows = first..n_users.min(first + 4096);
        let (mut logits, mut labels) = (Vec::new(), OwnedLists::default());
        for row in rows {
            logits.extend(brands.iter().map(|users| users[row].0));
            let has = (0..brands.len() as u32).filter(|&brand| brands[brand as usize][row].1);
            labels.push(&has.collect::<Vec<_>>());
        }
        histogram.add_rows(&logits, labels.as_lists());
    }
    histogram.build()
}

/// Counts if all users from each logit on are predicted, the highest logit first.
fn at_each_logit(users: &[User]) -> Vec<(f32, Counts)> {
    let mut ranked = users.to_vec();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut counts =
        Counts { tp: 0, fp: 0, fn_: users.iter().filter(|user| user.1).count() as u64 };
    let mut steps = Vec::new();
    for tied in ranked.chunk_by(|a, b| a.0 == b.0) {
        let positives = tied.iter().filter(|user| user.1).count() as u64;
        counts.tp += positives;
        counts.fn_ -= positives;
        counts.fp += tied.len() as u64 - positives;
        steps.push((tied[0].0, counts));
    }
    steps
}

fn exact_average_precision(users: &[User]) -> f64 {
    let (mut area, mut before) = (0.0, 0);
    let steps = at_each_logit(users);
    for (_, counts) in &steps {
        area += (counts.tp - before) as f64 * counts.tp as f64 / counts.predicted() as f64;
        before = counts.tp;
    }
    area / before as f64
}

/// Of equals that of the highest logit.
fn exact_best_f1(users: &[User]) -> Counts {
    let steps = at_each_logit(users);
    let mut best = Counts { tp: 0, fp: 0, fn_: steps[0].1.support() };
    for (_, counts) in steps {
        if f1(counts) > f1(best) {
            best = counts;
        }
    }
    best
}

fn exact_expected_f1(users: &[User]) -> f64 {
    let prob = |logit: f32| 1.0 / (1.0 + (-f64::from(logit)).exp());
    let all: f64 = users.iter().map(|&(logit, _)| prob(logit)).sum();
    let from = |lowest: f32| {
        let predicted = users.iter().filter(|user| user.0 >= lowest);
        let hits: f64 = predicted.clone().map(|&(logit, _)| prob(logit)).sum();
        2.0 * hits / (predicted.count() as f64 + all)
    };
    at_each_logit(users).into_iter().map(|(lowest, _)| from(lowest)).fold(0.0, f64::max)
}

/// Share of `exact` that `found` is away from it.
fn error(found: f64, exact: f64) -> f64 {
    (found / exact - 1.0).abs()
}

#[test]
fn figures_of_few_users_are_exact_at_any_scale() {
    for (seed, scale) in (0..60).flat_map(|seed| SCALES.map(|scale| (seed, scale))) {
        let n = [3, 20, 150, 256][seed as usize % 4];
        let mut users = users(n, [0.05, 0.3, 0.7][seed as usize % 3], seed);
        users[0].1 = true;
        let users = rescaled(&users, scale);
        let histogram = histogram(std::slice::from_ref(&users));
        let brand = histogram.brand(0);
        let found = average_precision(brand).unwrap();
        assert!((found - exact_average_precision(&users)).abs() < 1e-12, "{seed} {scale:?}");
        let (logit, counts) = best_f1(brand).unwrap();
        assert_eq!(counts, exact_best_f1(&users), "{seed} {scale:?}");
        let predicted = users.iter().filter(|user| f64::from(user.0) >= logit).count() as u64;
        assert_eq!(counts.predicted(), predicted);
        let found = expected(brand, &Curve::IDENTITY).unwrap().f1;
        assert!((found - exact_expected_f1(&users)).abs() < 1e-12, "{seed} {scale:?}");
    }
}

/// A threshold cannot lie within a bin, so a brand's best F1 is a little too low; those of brands
/// whose best threshold lies among the exact logits are not.
#[test]
fn figures_of_many_users_are_nearly_exact_at_any_scale() {
    for scale in SCALES {
        let (mut found, mut exact) = ([0.0; 2], [0.0; 2]);
        for (seed, rate) in [0.0007, 0.002, 0.005, 0.01, 0.03, 0.1, 0.3].into_iter().enumerate() {
            let users = rescaled(&users(30_000, rate, seed as u64), scale);
            let histogram = histogram(std::slice::from_ref(&users));
            let brand = histogram.brand(0);
            assert!(brand.bins.len() < 1500, "{}", brand.bins.len());
            let average_precisions =
                [average_precision(brand).unwrap(), exact_average_precision(&users)];
            let best = best_f1(brand).unwrap().1;
            let best_f1s = [best, exact_best_f1(&users)].map(|counts| f1(counts).unwrap());
            let off = [average_precisions, best_f1s].map(|[found, exact]| error(found, exact));
            assert!(off[0] < 1e-3 && off[1] < 4e-3, "{rate} {scale:?}: {off:?}");
            assert!(rate > 0.002 || off[1] == 0.0, "{rate} {scale:?}: {off:?}");
            found = [found[0] + average_precisions[0], found[1] + best_f1s[0]];
            exact = [exact[0] + average_precisions[1], exact[1] + best_f1s[1]];
        }
        let off = [0, 1].map(|i| error(found[i], exact[i]));
        assert!(off[0] < 2e-4 && off[1] < 1e-3, "{scale:?}: {off:?}");
    }
}

/// Brands of several rates, and one that nobody has.
fn several(n: usize) -> Vec<Vec<User>> {
    let mut brands: Vec<Vec<User>> =
        (0..5).map(|brand| users(n, [0.02, 0.1, 0.3, 0.5, 0.05][brand], brand as u64)).collect();
    brands[4].iter_mut().for_each(|user| user.1 = false);
    brands
}

/// Each user's decisions at each brand's best threshold, and all at the best single ones.
fn decisions(brands: &[Vec<User>]) -> Vec<Vec<bool>> {
    let histogram = histogram(brands);
    let curves = vec![Curve::IDENTITY; brands.len()];
    let cuts = (0..brands.len()).map(|brand| best_f1(histogram.brand(brand)).map(|best| best.0));
    let single = |objective| {
        let threshold = tune_global(&histogram, &curves, objective).unwrap();
        vec![Some(Curve::IDENTITY.logit_of(threshold)); brands.len()]
    };
    let policies = [cuts.collect(), single(Objective::MicroF1), single(Objective::MacroF1)];
    let of_policy = |cuts: Vec<Option<f64>>| {
        let cells = brands.iter().zip(cuts).flat_map(|(users, cut)| {
            let cut = cut.map_or(f32::INFINITY, |cut| cut as f32);
            users.iter().map(move |user| user.0 >= cut)
        });
        cells.collect()
    };
    policies.map(of_policy).into()
}

#[test]
fn dividing_all_logits_by_50_changes_no_decision_of_the_best_thresholds() {
    let brands = several(200);
    let narrow: Vec<Vec<User>> =
        brands.iter().map(|users| rescaled(users, (0.0, 1.0 / 50.0))).collect();
    assert_eq!(decisions(&brands), decisions(&narrow));
}

#[test]
fn the_single_threshold_is_the_best_of_all_there_are() {
    for scale in SCALES {
        let brands: Vec<Vec<User>> =
            several(200).iter().map(|users| rescaled(users, scale)).collect();
        let histogram = histogram(&brands);
        let curves = vec![Curve::IDENTITY; brands.len()];
        let counts = |threshold: f64| -> Vec<Counts> {
            let of_brand = |brand| counts_at(histogram.brand(brand), &curves[brand], threshold);
            (0..brands.len()).map(of_brand).collect()
        };
        let at_logit = |lowest: f32| -> Vec<Counts> {
            let of_brand = |users: &Vec<User>| {
                let mut counts = Counts::default();
                for &(logit, has) in users {
                    counts.tp += u64::from(has && logit >= lowest);
                    counts.fp += u64::from(!has && logit >= lowest);
                    counts.fn_ += u64::from(has && logit < lowest);
                }
                counts
            };
            brands.iter().map(of_brand).collect()
        };
        let micro: fn(&[Counts]) -> Option<f64> = |counts| f1(sum(counts));
        for (objective, value) in
            [(Objective::MicroF1, micro), (Objective::MacroF1, macro_f1 as fn(&[Counts]) -> _)]
        {
            let logits = brands.iter().flatten().map(|user| user.0);
            let best = logits.filter_map(|lowest| value(&at_logit(lowest))).fold(0.0, f64::max);
            let found = value(&counts(tune_global(&histogram, &curves, objective).unwrap()));
            assert!((found.unwrap() - best).abs() < 1e-12, "{objective:?} {scale:?}");
        }
    }
}

//! Sums of the logistic regression over bins, in a form that compilers turn into vector code.
//!
//! `libm`'s `exp` and `ln_1p` are calls, many times slower over the bins of a brand. The functions
//! here are branch-free series with a relative error of at most 1e-15.
#![expect(clippy::inline_always, reason = "these must be part of the caller's vector loop")]

use multiversion::multiversion;

/// Sums beside each other; they are added in order at the end.
const LANES: usize = 8;

/// The log-likelihood of a line and its derivatives, the second ones negative.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LogLikelihood {
    pub value: f64,
    pub by_slope: f64,
    pub by_level: f64,
    pub slope_slope: f64,
    pub slope_level: f64,
    pub level_level: f64,
}

/// The log-likelihood of `slope · offset + level` as log-odds.
///
/// * `offsets`, `positives`, `users`: of each bin.
pub(crate) fn log_likelihood(
    offsets: &[f64],
    positives: &[f64],
    users: &[f64],
    [slope, level]: [f64; 2],
) -> LogLikelihood {
    let [value, by_slope, by_level, slope_slope, slope_level, level_level] =
        sums(offsets, positives, users, slope, level);
    LogLikelihood { value, by_slope, by_level, slope_slope, slope_level, level_level }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn sums(offsets: &[f64], positives: &[f64], users: &[f64], slope: f64, level: f64) -> [f64; 6] {
    let mut lanes = [[0.0; LANES]; 6];
    let bins = offsets.chunks(LANES).zip(positives.chunks(LANES)).zip(users.chunks(LANES));
    for ((offsets, positives), users) in bins {
        // A bin without users adds nothing.
        let fill = |values: &[f64]| {
            let mut filled = [0.0; LANES];
            filled[..values.len()].copy_from_slice(values);
            filled
        };
        let (offsets, positives, users) = (fill(offsets), fill(positives), fill(users));
        for i in 0..LANES {
            let z = slope * offsets[i] + level;
            // With e = exp(-|z|) nothing overflows: ln(1 + e^z) = max(z, 0) + ln(1 + e).
            let e = exp_of_negative(z.abs());
            let inverse = 1.0 / (1.0 + e);
            let prob = if z >= 0.0 { inverse } else { e * inverse };
            let above = if z >= 0.0 { z } else { 0.0 };
            let residual = positives[i] - users[i] * prob;
            let weight = users[i] * e * inverse * inverse;
            lanes[0][i] += positives[i] * z - users[i] * (above + ln_1p(e));
            lanes[1][i] += residual * offsets[i];
            lanes[2][i] += residual;
            lanes[3][i] += weight * offsets[i] * offsets[i];
            lanes[4][i] += weight * offsets[i];
            lanes[5][i] += weight;
        }
    }
    lanes.map(|lanes| lanes.iter().sum())
}

/// Users times `p·(1 - p)` of each bin, `slope · logit + intercept` being the log-odds.
pub(crate) fn information(logits: &[f64], users: &[f64], curve: [f64; 2]) -> Vec<f64> {
    let mut weights = vec![0.0; logits.len()];
    weigh(logits, users, curve, &mut weights);
    weights
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn weigh(logits: &[f64], users: &[f64], [slope, intercept]: [f64; 2], weights: &mut [f64]) {
    for ((weight, logit), users) in weights.iter_mut().zip(logits).zip(users) {
        let e = exp_of_negative((slope * logit + intercept).abs());
        let inverse = 1.0 / (1.0 + e);
        // Keeps the weights from vanishing altogether where every p rounds to 1.
        *weight = users * (e * inverse * inverse + f64::MIN_POSITIVE);
    }
}

/// `e^-x` for `x >= 0`; 0 from 708 on, where it would be subnormal.
///
/// `-x = n·ln 2 + r`, the Taylor series in `r`, `2^n` by its bits.
#[inline(always)]
fn exp_of_negative(x: f64) -> f64 {
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    /// Adding this rounds to a whole number and leaves it in the lowest bits.
    const ROUNDING: f64 = 1.5 * (1_u64 << 52) as f64;

    let clamped = if x < 708.0 { -x } else { -708.0 };
    let shifted = clamped * std::f64::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    // 1 + r·(1 + r/2·(1 + r/3·(…)))
    let mut series = r * (1.0 / 13.0) + 1.0;
    series = series * r * (1.0 / 12.0) + 1.0;
    series = series * r * (1.0 / 11.0) + 1.0;
    series = series * r * (1.0 / 10.0) + 1.0;
    series = series * r * (1.0 / 9.0) + 1.0;
    series = series * r * (1.0 / 8.0) + 1.0;
    series = series * r * (1.0 / 7.0) + 1.0;
    series = series * r * (1.0 / 6.0) + 1.0;
    series = series * r * (1.0 / 5.0) + 1.0;
    series = series * r * (1.0 / 4.0) + 1.0;
    series = series * r * (1.0 / 3.0) + 1.0;
    series = series * r * 0.5 + 1.0;
    series = series * r + 1.0;
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    if x < 708.0 { series * power } else { 0.0 }
}

/// `ln(1 + e)` for `e` in `[0, 1]`, by `2·atanh(e / (2 + e))`.
///
/// The argument of the series is at most 1/3; the first term left out is `s^35 / 35`.
#[inline(always)]
fn ln_1p(e: f64) -> f64 {
    let s = e / (2.0 + e);
    let s2 = s * s;
    let mut series = 1.0 / 33.0;
    series = series * s2 + 1.0 / 31.0;
    series = series * s2 + 1.0 / 29.0;
    series = series * s2 + 1.0 / 27.0;
    series = series * s2 + 1.0 / 25.0;
    series = series * s2 + 1.0 / 23.0;
    series = series * s2 + 1.0 / 21.0;
    series = series * s2 + 1.0 / 19.0;
    series = series * s2 + 1.0 / 17.0;
    series = series * s2 + 1.0 / 15.0;
    series = series * s2 + 1.0 / 13.0;
    series = series * s2 + 1.0 / 11.0;
    series = series * s2 + 1.0 / 9.0;
    series = series * s2 + 1.0 / 7.0;
    series = series * s2 + 1.0 / 5.0;
    series = series * s2 + 1.0 / 3.0;
    series = series * s2 + 1.0;
    2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_agree_with_the_library() {
        for i in 0..200_000 {
            let x = f64::from(i) * 0.0045;
            let (found, expected) = (exp_of_negative(x), (-x).exp());
            let is_zero = x >= 708.0 && found == 0.0;
            assert!(is_zero || (found / expected - 1.0).abs() < 1e-15, "e^-{x}: {found}");
            let e = f64::from(i) / 199_999.0;
            assert!((ln_1p(e) - e.ln_1p()).abs() <= 1e-15 * e.ln_1p(), "ln(1 + {e})");
        }
    }

    /// 11 bins: more than the lanes, and a rest.
    #[test]
    fn the_sums_are_those_of_a_logistic_regression() {
        let offsets: Vec<f64> = (0..11).map(|i| f64::from(i) - 5.0).collect();
        let users: Vec<f64> = (0..11).map(|i| f64::from(3 + i % 4)).collect();
        let positives: Vec<f64> = (0..11).map(|i| f64::from(i % 3)).collect();
        let (slope, level) = (0.7, -0.4);
        let mut expected = LogLikelihood::default();
        for ((&offset, &users), &positives) in offsets.iter().zip(&users).zip(&positives) {
            let z: f64 = slope * offset + level;
            let p = 1.0 / (1.0 + (-z).exp());
            expected.value += positives * p.ln() + (users - positives) * (1.0 - p).ln();
            expected.by_slope += (positives - users * p) * offset;
            expected.by_level += positives - users * p;
            expected.slope_slope += users * p * (1.0 - p) * offset * offset;
            expected.slope_level += users * p * (1.0 - p) * offset;
            expected.level_level += users * p * (1.0 - p);
        }
        let found = log_likelihood(&offsets, &positives, &users, [slope, level]);
        let pairs = [
            (found.value, expected.value),
            (found.by_slope, expected.by_slope),
            (found.by_level, expected.by_level),
            (found.slope_slope, expected.slope_slope),
            (found.slope_level, expected.slope_level),
            (found.level_level, expected.level_level),
        ];
        for (found, expected) in pairs {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let weights = information(&offsets, &users, [slope, level]);
        assert!((weights.iter().sum::<f64>() - expected.level_level).abs() < 1e-12);
    }
}

//! The sigmoid and its logarithms, in a form that compilers turn into vector code.
//!
//! `libm`'s `exp` and `ln` are calls, twenty times slower over a batch. The functions here are
//! branch-free polynomials with a relative error of at most 3e-7.
#![expect(clippy::inline_always, reason = "these must be part of the caller's vector loop")]
#![expect(clippy::excessive_precision, reason = "the published coefficients")]

/// The sigmoid of a logit `z` and its logarithms, all computed from `e^-|z|`.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// `σ(z)`
    pub p: f32,
    /// `1 - σ(z)`, without cancellation
    pub q: f32,
    /// `-ln σ(z)`, finite for every finite `z`
    pub nll_positive: f32,
    /// `-ln(1 - σ(z))`, finite for every finite `z`
    pub nll_negative: f32,
}

impl Parts {
    /// `(1 - weight)·p + weight·other` and its complement. Each is computed from `p` or `q` itself,
    /// so that neither loses digits.
    #[inline(always)]
    pub fn mixed(self, other: f32, weight: f32) -> (f32, f32) {
        let p = self.p + weight * (other - self.p);
        let q = self.q + weight * (1.0 - other - self.q);
        (p, q)
    }
}

/// The sigmoid of `z`, its complement and both negative logarithms.
#[inline(always)]
pub fn parts(z: f32) -> Parts {
    let e = exp(-z.abs());
    // 1 / (1 + e) and, for the logarithm, e / (2 + e) share one division, the slowest step.
    let inverse = 1.0 / ((1.0 + e) * (2.0 + e));
    let larger = (2.0 + e) * inverse;
    let smaller = e * larger;
    let log = two_atanh(e * (1.0 + e) * inverse);
    let is_positive = z >= 0.0;
    Parts {
        p: if is_positive { larger } else { smaller },
        q: if is_positive { smaller } else { larger },
        nll_positive: log + if z < 0.0 { -z } else { 0.0 },
        nll_negative: log + if z > 0.0 { z } else { 0.0 },
    }
}

/// `e^x` for `x <= 0`; 0 below -87.3, where `f32` would be subnormal.
///
/// Cephes `expf`: `x = n·ln 2 + r`, a polynomial in `r`, `2^n` by its bits.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_375;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Not `max`, which would replace NaN by a number.
    let clamped = if x < -87.3 { -87.3 } else { x };
    // Adding 1.5·2^23 rounds to a whole number and leaves it in the lowest bits: no conversion,
    // which compilers do not vectorise.
    let shifted = clamped * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let mut poly = 1.987_569_15e-4;
    poly = poly * r + 1.398_199_95e-3;
    poly = poly * r + 8.333_451_9e-3;
    poly = poly * r + 4.166_579_6e-2;
    poly = poly * r + 1.666_666_55e-1;
    poly = poly * r + 5.000_000_1e-1;
    let value = poly * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.3 { 0.0 } else { value * power }
}

const ROUNDING: f32 = 12_582_912.0;

/// `ln(x)` for normal positive `x`, with an error of 2e-7 relative or absolute, whichever is more;
/// NaN for NaN.
///
/// Cephes `logf`: `x = 2^n·m` with `m` in `[sqrt(1/2), sqrt(2))`, a polynomial in `m - 1`.
#[inline(always)]
#[expect(clippy::eq_op, reason = "NaN - NaN is NaN")]
pub fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let bits = x.to_bits().wrapping_sub(SQRT_HALF);
    let n = (bits as i32 >> 23) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(SQRT_HALF));
    let r = m - 1.0;
    let r2 = r * r;
    let mut poly = 7.037_683_63e-2;
    poly = poly * r - 1.151_461_03e-1;
    poly = poly * r + 1.167_699_87e-1;
    poly = poly * r - 1.242_014_08e-1;
    poly = poly * r + 1.424_932_28e-1;
    poly = poly * r - 1.666_805_77e-1;
    poly = poly * r + 2.000_071_48e-1;
    poly = poly * r - 2.499_999_4e-1;
    poly = poly * r + 3.333_333_1e-1;
    // The arithmetic on bits would turn NaN into a number; `x - x` is 0, or NaN.
    r - 0.5 * r2 + r * r2 * poly + n * std::f32::consts::LN_2 + (x - x)
}

/// `2·atanh(s)` for `s` in `[0, 1/3]`: `ln(1 + u)` for `s = u / (2 + u)`, also when `u` is tiny.
///
/// The first term left out is `s^15/15`.
#[inline(always)]
fn two_atanh(s: f32) -> f32 {
    let s2 = s * s;
    let mut poly = 1.0 / 13.0;
    poly = poly * s2 + 1.0 / 11.0;
    poly = poly * s2 + 1.0 / 9.0;
    poly = poly * s2 + 1.0 / 7.0;
    poly = poly * s2 + 1.0 / 5.0;
    poly = poly * s2 + 1.0 / 3.0;
    poly = poly * s2 + 1.0;
    2.0 * s * poly
}

/// The logit of a probability strictly between 0 and 1.
pub fn logit(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_agree_with_f64_arithmetic() {
        for step in -12_000..=12_000 {
            let z = step as f32 * 0.01;
            let exact = |z: f64| (1.0 / (1.0 + (-z).exp()), (-z).exp().ln_1p());
            let (p, nll_positive) = exact(f64::from(z));
            let (q, nll_negative) = exact(-f64::from(z));
            let found = parts(z);
            let pairs = [
                (found.p, p),
                (found.q, q),
                (found.nll_positive, nll_positive),
                (found.nll_negative, nll_negative),
            ];
            for (found, exact) in pairs {
                let difference = (f64::from(found) - exact).abs();
                // Below e^-87.3 the result is 0 instead of subnormal.
                assert!(difference <= 4e-7 * exact + 1.3e-38, "{z}: {found} for {exact}");
            }
        }
    }

    #[test]
    fn logarithms_agree_with_f64_arithmetic() {
        for step in 1..=100_000 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).ln();
            let difference = (f64::from(ln(x)) - exact).abs();
            assert!(difference <= 2e-7 * exact.abs().max(1.0), "{x}: {} for {exact}", ln(x));
        }
        assert!((ln(1e-30) - 1e-30_f32.ln()).abs() < 1e-5);
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn huge_logits_stay_finite() {
        assert_eq!(parts(120.0).nll_negative, 120.0);
        assert_eq!(parts(-120.0).nll_positive, 120.0);
        assert_eq!(parts(120.0).nll_positive, 0.0);
    }

    #[test]
    fn nan_stays_nan() {
        let Parts { p, q, nll_positive, nll_negative } = parts(f32::NAN);
        assert!([p, q, nll_positive, nll_negative].iter().all(|part| part.is_nan()));
    }
}

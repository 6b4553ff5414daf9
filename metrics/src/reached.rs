//! The few of many values that reach a bound, found without looking at each alone.

use multiversion::multiversion;

/// Values that are skipped together if none reaches its bound, as nearly all are.
const TOGETHER: usize = 32;

/// Appends the places of values that reach their bound, or `any`, ascending. NaN reaches nothing.
///
/// * `bounds`: one for each value.
/// * `any`: a bound for all of them; infinity if there is none.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn reached(values: &[f32], bounds: &[f32], any: f32, places: &mut Vec<u32>) {
    let reach = |(&value, &bound): (&f32, &f32)| value >= if bound < any { bound } else { any };
    for (i, (values, bounds)) in values.chunks(TOGETHER).zip(bounds.chunks(TOGETHER)).enumerate() {
        if values.iter().zip(bounds).fold(false, |is_any, cell| is_any | reach(cell)) {
            let cells = values.iter().zip(bounds).map(reach).zip(i * TOGETHER..);
            places.extend(cells.filter(|(reaches, _)| *reaches).map(|(_, place)| place as u32));
        }
    }
}

/// Sum and largest of values, none of them negative; (0, 0) without values.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn sum_and_largest(values: &[f32]) -> (f64, f32) {
    /// Sums beside each other; they are added in order at the end.
    const LANES: usize = 16;

    let (mut sums, mut largest) = ([0.0; LANES], [0.0_f32; LANES]);
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for ((sum, largest), &value) in sums.iter_mut().zip(&mut largest).zip(chunk) {
            *sum += f64::from(value);
            *largest = if value > *largest { value } else { *largest };
        }
    }
    let rest_sum: f64 = rest.iter().map(|&value| f64::from(value)).sum();
    let largest = largest.iter().chain(rest).fold(0.0, |a: f32, &b| if b > a { b } else { a });
    (sums.iter().sum::<f64>() + rest_sum, largest)
}

/// Appends values of at least `bound`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn at_least(values: &[f32], bound: f32, list: &mut Vec<f32>) {
    let reaches = |value: &&f32| **value >= bound;
    for values in values.chunks(TOGETHER) {
        if values.iter().fold(false, |is_any, value| is_any | reaches(&value)) {
            list.extend(values.iter().filter(reaches));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_skipped_together_reaches_nothing(
            values in prop::collection::vec(-2.0..2.0_f32, 0..200),
            any in -2.0..4.0_f32,
        ) {
            let bounds: Vec<f32> = (0..values.len()).map(|i| (i % 7) as f32 / 3.0).collect();
            let mut places = Vec::new();
            reached(&values, &bounds, any, &mut places);
            let expected = |&i: &usize| values[i] >= bounds[i].min(any);
            let expected: Vec<u32> = (0..values.len()).filter(expected).map(|i| i as u32).collect();
            prop_assert_eq!(places, expected);

            let mut list = Vec::new();
            at_least(&values, any, &mut list);
            let expected: Vec<f32> = values.iter().copied().filter(|&v| v >= any).collect();
            prop_assert_eq!(list, expected);

            let probs: Vec<f32> = values.iter().map(|v| v.abs()).collect();
            let (sum, largest) = sum_and_largest(&probs);
            prop_assert!((sum - probs.iter().map(|&v| f64::from(v)).sum::<f64>()).abs() < 1e-9);
            prop_assert_eq!(largest, probs.iter().copied().fold(0.0, f32::max));
        }
    }

    #[test]
    fn nan_reaches_nothing() {
        let mut places = Vec::new();
        reached(&[f32::NAN, 1.0], &[0.0, 0.0], f32::INFINITY, &mut places);
        assert_eq!(places, [1]);
    }
}

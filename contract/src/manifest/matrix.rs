//! `matrix`: the combinations of an experiment's swept values, and the names they get.

use indexmap::IndexMap;
use serde_json::{Number, Value};

use super::yaml;

/// Most combinations of one matrix.
pub(super) const MAX_CELLS: usize = 1000;

/// Most keys of one matrix: more of them make too many combinations, unless they have one value.
pub(super) const MAX_KEYS: usize = 10;

/// A key and the values it takes.
pub(super) struct Axis {
    /// As in `train.learning_rate`
    pub(super) key: String,
    pub(super) values: Vec<Value>,
    /// Where the list is written
    pub(super) at: yaml::Path,
}

impl Axis {
    /// The key, part by part.
    pub(super) fn path(&self) -> yaml::Path {
        self.key.split('.').map(str::to_owned).collect()
    }
}

/// Keys of an experiment that are about its matrix.
pub(super) const MATRIX_KEYS: [&str; 2] = ["matrix", "halving"];

/// Where an experiment of a matrix is written.
pub(super) struct Origin {
    /// The experiment with the matrix
    pub(super) matrix: String,
    pub(super) swept: Vec<Swept>,
}

/// A value of an axis in a combination.
pub(super) struct Swept {
    /// As in `train`, `learning_rate`
    pub(super) path: yaml::Path,
    pub(super) value: Value,
    /// Where the axis is written
    pub(super) axis_at: yaml::Path,
    /// Where the value is written
    pub(super) at: yaml::Path,
}

/// Whether an argument of `--set` is about an experiment's matrix, or replaces an experiment whole:
/// then it is set before combinations are made.
pub(super) fn is_of_matrix(set: &str) -> bool {
    let key = set.split_once('=').map_or(set, |(key, _)| key);
    match key.split('.').collect::<Vec<_>>().as_slice() {
        ["experiments", _] => true,
        ["experiments", _, key, ..] => MATRIX_KEYS.contains(key),
        _ => false,
    }
}

/// A combination that is left out, or several: the value of each key that it names, by the places
/// of axis and value.
pub(super) type Exclusion = Vec<(usize, usize)>;

/// The number and the index tuple of every combination that no exclusion matches, in the order of
/// the index tuples.
pub(super) fn combinations(lengths: &[usize], excluded: &[Exclusion]) -> Vec<(u128, Vec<usize>)> {
    let all = tuples(lengths).into_iter();
    let kept = all.filter(|tuple| !excluded.iter().any(|exclusion| matches(exclusion, tuple)));
    kept.map(|tuple| (number(&tuple), tuple)).collect()
}

/// The exclusions that leave out nothing that those before them do not.
pub(super) fn idle_exclusions(lengths: &[usize], excluded: &[Exclusion]) -> Vec<usize> {
    let mut left = tuples(lengths);
    let mut idle = Vec::new();
    for (i, exclusion) in excluded.iter().enumerate() {
        let n_before = left.len();
        left.retain(|tuple| !matches(exclusion, tuple));
        if left.len() == n_before {
            idle.push(i);
        }
    }
    idle
}

fn matches(exclusion: &Exclusion, tuple: &[usize]) -> bool {
    exclusion.iter().all(|&(axis, value)| tuple[axis] == value)
}

/// All index tuples in lexicographic order.
fn tuples(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for &length in lengths {
        let longer = |tuple: &Vec<usize>| -> Vec<Vec<usize>> {
            (0..length).map(|i| [&tuple[..], &[i]].concat()).collect()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// The number of a combination, from 1: the rank of its index tuple among all tuples of natural
/// numbers, ordered by the largest index and then lexicographically. So a value that is added at the
/// end of a list changes no number.
///
/// * `tuple`: at most [`MAX_KEYS`] indices below [`MAX_CELLS`].
fn number(tuple: &[usize]) -> u128 {
    let largest = tuple.iter().copied().max().unwrap_or_default();
    let power = |base: usize, exponent: usize| (base as u128).pow(exponent as u32);
    // All tuples whose largest index is smaller.
    let mut rank = power(largest, tuple.len());
    // Of those with the same largest index, the ones that are smaller at position `i` and agree
    // before it.
    let mut has_largest = false;
    for (i, &index) in tuple.iter().enumerate() {
        let n_after = tuple.len() - i - 1;
        let free = power(largest + 1, n_after);
        let with_largest = if has_largest { free } else { free - power(largest, n_after) };
        // No smaller index at this position is the largest.
        rank += index as u128 * with_largest;
        has_largest |= index == largest;
    }
    rank + 1
}

/// The first value that appears twice, by its place.
pub(super) fn repeated(values: &[Value]) -> Option<usize> {
    (1..values.len()).find(|&i| values[..i].iter().any(|earlier| is_same(earlier, &values[i])))
}

/// Whether two values mean the same: 1 and 1.0 do.
pub(super) fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || is_same_number(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let is_in = |(key, value)| b.get(key).is_some_and(|other| is_same(value, other));
            a.len() == b.len() && a.iter().all(is_in)
        }
        _ => a == b,
    }
}

fn is_same_number(a: &Number, b: &Number) -> bool {
    (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()
}

/// Swept values in one line: `train.learning_rate=0.001 train.hidden=[256]`.
pub fn in_words(values: &IndexMap<String, Value>) -> String {
    let words = values.iter().map(|(key, value)| format!("{key}={}", shown(value)));
    words.collect::<Vec<_>>().join(" ")
}

/// A value as it could be written in the manifest.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{key}: {}", shown(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        // Of single precision, as some settings are once they are read.
        Value::Number(number) if number.is_f64() => {
            let value = number.as_f64().unwrap_or_default();
            let single = value as f32;
            if f64::from(single) == value { single.to_string() } else { value.to_string() }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn numbers(lengths: &[usize], excluded: &[Exclusion]) -> Vec<(u128, Vec<usize>)> {
        let mut all = combinations(lengths, excluded);
        all.sort();
        all
    }

    #[test]
    fn combinations_are_numbered_by_their_largest_index_and_then_in_order() {
        let expected = [
            (1, vec![0, 0]),
            (2, vec![0, 1]),
            (3, vec![1, 0]),
            (4, vec![1, 1]),
            (7, vec![2, 0]),
            (8, vec![2, 1]),
        ];
        // 5 and 6 are (0, 2) and (1, 2), which a third value of the second key would make.
        assert_eq!(numbers(&[3, 2], &[]), expected);
        assert_eq!(numbers(&[3], &[]), [(1, vec![0]), (2, vec![1]), (3, vec![2])]);
    }

    /// By counting: the tuples of three indices up to 3, in the order that defines the numbers.
    #[test]
    fn a_number_is_the_rank_among_all_tuples() {
        let mut all = tuples(&[4, 4, 4]);
        all.sort_by_key(|tuple| (tuple.iter().copied().max(), tuple.clone()));
        for (i, tuple) in all.iter().enumerate() {
            assert_eq!(number(tuple), i as u128 + 1, "{tuple:?}");
        }
    }

    #[test]
    fn a_value_that_is_added_at_the_end_changes_no_number() {
        for (before, after) in [([2, 2], [3, 2]), ([2, 2], [2, 3]), ([3, 1], [3, 4])] {
            let after = numbers(&after, &[]);
            for numbered in numbers(&before, &[]) {
                assert!(after.contains(&numbered), "{numbered:?}");
            }
        }
    }

    #[test]
    fn the_largest_matrix_has_numbers() {
        let tuple = [MAX_CELLS - 1; MAX_KEYS];
        assert_eq!(number(&tuple), 10_u128.pow(30));
    }

    #[test]
    fn an_excluded_combination_leaves_a_gap() {
        let excluded = vec![vec![(0, 1), (1, 0)]];
        let kept: Vec<u128> = numbers(&[2, 2], &excluded).into_iter().map(|(n, _)| n).collect();
        assert_eq!(kept, [1, 2, 4]);
        // An exclusion of one key leaves out every combination that has its value.
        assert_eq!(numbers(&[2, 2], &[vec![(0, 1)]]).len(), 2);
    }

    #[test]
    fn an_exclusion_of_what_is_excluded_already_is_idle() {
        let excluded = [vec![(0, 1)], vec![(0, 1), (1, 0)], vec![(1, 0)]];
        assert_eq!(idle_exclusions(&[2, 2], &excluded), [1]);
    }

    #[test]
    fn values_that_mean_the_same_are_repeated() {
        assert_eq!(repeated(&[json!(1), json!(2), json!(1.0)]), Some(2));
        assert_eq!(repeated(&[json!([8, {"a": 1}]), json!([8.0, {"a": 1}])]), Some(1));
        assert_eq!(repeated(&[json!(null), json!(0), json!("0"), json!([]), json!({})]), None);
        assert_eq!(repeated(&[json!(u64::MAX), json!(u64::MAX - 1)]), None);
    }

    #[test]
    fn values_are_shown_as_they_are_written() {
        let values = [
            ("train.learning_rate", json!(0.001)),
            ("train.dropout", json!(0.1_f32)),
            ("train.hidden", json!([256, 8])),
            ("train.loss", json!({"kind": "bfce", "gamma": 1.5})),
            ("train.patience", json!(null)),
        ];
        let values = values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        assert_eq!(
            in_words(&values),
            "train.learning_rate=0.001 train.dropout=0.1 train.hidden=[256, 8] \
             train.loss={kind: bfce, gamma: 1.5} train.patience=null"
        );
    }
}

//! What changed between two states of a stage's parts, and how it is worded.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// A part of a fingerprint that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// `contract`, `program`, `input.NAME`, or the key of a parameter
    pub part: String,
    /// Its old value; null if it was missing
    pub old: Value,
    /// Its new value; null if it is gone
    pub new: Value,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { part, old, new } = self;
        match (part.as_str(), part.strip_prefix("input."), old, new) {
            ("program", ..) => f.write_str("the program was rebuilt"),
            ("contract", ..) => write!(f, "the contracts' version: {old} -> {new}"),
            ("input.accepted", ..) => f.write_str("other changes are accepted"),
            (_, Some(name), Value::Null, _) => write!(f, "input `{name}` is new"),
            (_, Some(name), _, Value::Null) => write!(f, "input `{name}` is gone"),
            (_, Some(name), ..) => write!(f, "input `{name}` has changed"),
            (_, None, Value::String(old), Value::String(new)) if old.contains('\n') => {
                write!(f, "`{part}` has changed:{}", changed_lines(old, new))
            }
            _ => write!(f, "`{part}`: {} -> {}", shown(old), shown(new)),
        }
    }
}

pub(super) fn value_changes(path: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let side = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or(Value::Null)
                };
                value_changes(&inner, &side(a), &side(b), changes);
            }
        }
        // Lists of maps with names, such as the report's experiments, are compared name by name.
        (Value::Array(a), Value::Array(b))
            if a.iter().chain(b).all(|item| item["name"].is_string()) =>
        {
            let by_name = |items: &[Value]| -> Value {
                let named = |item: &Value| Some((item["name"].as_str()?.to_owned(), item.clone()));
                items.iter().filter_map(named).collect::<serde_json::Map<_, _>>().into()
            };
            value_changes(path, &by_name(a), &by_name(b), changes);
        }
        _ if !is_same(old, new) => {
            changes.push(Change { part: path.to_owned(), old: old.clone(), new: new.clone() });
        }
        _ => {}
    }
}

/// Whether two values are the same. A fraction read back from a record may differ in its last
/// digit. A whole number and a fraction, such as 1 and 1.0, differ: to a query they have different
/// types.
fn is_same(old: &Value, new: &Value) -> bool {
    let fraction = |value: &Value| value.as_f64().filter(|_| value.is_f64());
    let is_close = |(a, b): (f64, f64)| (a - b).abs() <= 2.0 * f64::EPSILON * a.abs();
    old == new || fraction(old).zip(fraction(new)).is_some_and(is_close)
}

/// A value as it was written: a number of single precision without spurious digits.
fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() && f64::from(number as f32) == number => {
            format!("{:?}", number as f32)
        }
        _ => value.to_string(),
    }
}

/// Removed and added lines.
fn changed_lines(old: &str, new: &str) -> String {
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n") + "\n";
    let (old, new) = (trimmed(old), trimmed(new));
    let mut lines = String::new();
    for change in TextDiff::from_lines(&old, &new).iter_all_changes() {
        if change.tag() != ChangeTag::Equal {
            let _ = write!(lines, "\n    {} {}", change.tag(), change.value().trim_end());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changes(old: &Value, new: &Value) -> Vec<String> {
        let mut changes = Vec::new();
        value_changes("", old, new, &mut changes);
        changes.iter().map(ToString::to_string).collect()
    }

    fn words(part: &str, old: Value, new: Value) -> String {
        Change { part: part.to_owned(), old, new }.to_string()
    }

    #[test]
    fn each_kind_of_change_has_its_wording() {
        for (part, old, new, expected) in [
            ("program", json!("a"), json!("b"), "the program was rebuilt"),
            ("contract", json!(1), json!(2), "the contracts' version: 1 -> 2"),
            ("input.accepted", Value::Null, json!("a"), "other changes are accepted"),
            ("input.valid", Value::Null, json!("a"), "input `valid` is new"),
            ("input.valid", json!("a"), Value::Null, "input `valid` is gone"),
            ("input.valid", json!("a"), json!("b"), "input `valid` has changed"),
            ("epochs", json!(30), json!(4), "`epochs`: 30 -> 4"),
            ("patience", json!(5), Value::Null, "`patience`: 5 -> null"),
            ("model", json!("mlp"), json!("popularity"), "`model`: \"mlp\" -> \"popularity\""),
            (
                "sql",
                json!("SELECT\n  a\nFROM t"),
                json!("SELECT\n  b\nFROM t"),
                "`sql` has changed:\n    - a\n    + b",
            ),
        ] {
            assert_eq!(words(part, old, new), expected);
        }
    }

    /// 0.1 in single precision is 0.10000000149011612.
    #[test]
    fn a_number_of_single_precision_is_shown_as_it_was_written() {
        assert_eq!(words("dropout", json!(0.1_f32), json!(0.2_f32)), "`dropout`: 0.1 -> 0.2");
        assert_eq!(words("share", json!(0.1), json!(1.0)), "`share`: 0.1 -> 1.0");
    }

    #[test]
    fn a_change_of_the_last_digit_is_ignored() {
        let next = |value: f64| f64::from_bits(value.to_bits() + 1);
        assert_eq!(changes(&json!({"x": 0.1}), &json!({"x": next(0.1)})), [""; 0]);
        assert_eq!(changes(&json!({"x": -1e300}), &json!({"x": next(-1e300)})), [""; 0]);
        assert_eq!(changes(&json!({"x": 0.1}), &json!({"x": 0.1 + 1e-12})).len(), 1);
        let (whole, fraction) = (json!({"x": 1}), json!({"x": 1.0}));
        assert_eq!(changes(&whole, &fraction), ["`x`: 1 -> 1.0"], "to a query they are two things");
        let (one, other) = (json!({"x": u64::MAX}), json!({"x": u64::MAX - 1}));
        assert_eq!(changes(&one, &other).len(), 1, "whole numbers are compared exactly");
    }

    #[test]
    fn changes_are_reported_with_their_path() {
        let old = json!({"loss": {"kind": "bfce", "gamma": 2.0}, "hidden": [8], "seed": 7});
        let new = json!({"seed": 7, "loss": {"kind": "bfce", "gamma": 3.0}, "hidden": [8, 8]});
        assert_eq!(changes(&old, &new), ["`hidden`: [8] -> [8,8]", "`loss.gamma`: 2.0 -> 3.0"]);
        let tagged = json!({"loss": {"kind": "bce"}, "hidden": [8], "seed": 7});
        assert_eq!(
            changes(&old, &tagged),
            ["`loss.gamma`: 2.0 -> null", "`loss.kind`: \"bfce\" -> \"bce\""]
        );
    }

    #[test]
    fn lists_of_maps_with_names_are_compared_by_name() {
        let old = json!({"experiments": [{"name": "a", "x": 1}, {"name": "b", "x": 2}]});
        let new = json!({"experiments": [{"name": "b", "x": 3}, {"name": "a", "x": 1}]});
        assert_eq!(changes(&old, &new), ["`experiments.b.x`: 2 -> 3"]);
    }
}

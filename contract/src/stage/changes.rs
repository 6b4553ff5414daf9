//! What changed between two states of a stage's parts, and how that is said.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// A part of a fingerprint that is not as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// `contract`, `program`, `input.NAME`, or the key of a parameter
    pub part: String,
    /// What it was; null where it was not there
    pub old: Value,
    /// What it is; null where it is not there any more
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
            (_, Some(name), ..) => write!(f, "input `{name}` has other content"),
            (_, None, Value::String(old), Value::String(new)) if old.contains('\n') => {
                write!(f, "`{part}` says something else:{}", changed_lines(old, new))
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
        // Lists of maps with names, as the report's of experiments, are compared name by name.
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

/// Whether two values are the same; a fraction read back from a record may differ in its last digit.
/// A whole number and a fraction are two things to a query, as 1 and 1.0.
fn is_same(old: &Value, new: &Value) -> bool {
    let fraction = |value: &Value| value.as_f64().filter(|_| value.is_f64());
    let is_close = |(a, b): (f64, f64)| (a - b).abs() <= 2.0 * f64::EPSILON * a.abs();
    old == new || fraction(old).zip(fraction(new)).is_some_and(is_close)
}

/// A value as its setting was written: a number of single precision with no more digits than it has.
fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() && f64::from(number as f32) == number => {
            format!("{:?}", number as f32)
        }
        _ => value.to_string(),
    }
}

/// Lines that were taken out and put in.
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

//! Keys, types and values of a JSON Schema in words, for a cell of a table.

use contract::words::count;
use serde_json::Value;

/// As GitHub makes it of a title that is a path.
pub fn anchor(path: &str) -> String {
    path.replace('.', "")
}

pub fn code(text: &str) -> String {
    format!("`{text}`")
}

/// An item of a list within a cell.
pub fn listed(name: &str, about: &str) -> String {
    if about.is_empty() {
        format!("<br>{name}")
    } else {
        format!("<br>{name}: {}", sentence(about))
    }
}

/// The first paragraph, on one line, with a full stop.
pub fn sentence(text: &str) -> String {
    let text = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    if text.is_empty() || text.ends_with(['.', '?', '!']) { text } else { text + "." }
}

/// `a, b or c`.
pub fn or(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.collect();
    match items.pop() {
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} or {last}", items.join(", ")),
        None => String::new(),
    }
}

/// What a value that holds no other may be, with its range.
pub fn plain_kinds(schema: &Value) -> Vec<String> {
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let is_one = types.iter().filter(|name| **name != "null").count() == 1;
    let range = if is_one { range(schema) } else { String::new() };
    let kind = |name: &str| match name {
        "integer" => format!("whole number{range}"),
        "number" => format!("number{range}"),
        "null" => code("null"),
        "string" => match schema["examples"][0].as_str() {
            Some(example) => format!("string such as {}", code(example)),
            None => "string".to_owned(),
        },
        other => other.to_owned(),
    };
    types.into_iter().map(kind).collect()
}

/// ` (1 to 10)`; empty if there is no bound.
fn range(schema: &Value) -> String {
    let bound = |name: &str, words: &str| {
        schema.get(name).map(|bound| (words.to_owned() + &number(bound), bound))
    };
    let low = bound("minimum", "").or(bound("exclusiveMinimum", "above "));
    let high = bound("maximum", "").or(bound("exclusiveMaximum", "below "));
    match (low, high) {
        (Some((low, from)), Some((_, to))) if from == to => format!(" ({low})"),
        (Some((low, _)), Some((high, _))) if high.starts_with("below") => {
            format!(" ({low}, {high})")
        }
        (Some((low, _)), Some((high, _))) => format!(" ({low} to {high})"),
        (Some((low, _)), None) if low.starts_with("above") => format!(" ({low})"),
        (Some((low, _)), None) => format!(" ({low} or more)"),
        (None, Some((high, _))) if high.starts_with("below") => format!(" ({high})"),
        (None, Some((high, _))) => format!(" (up to {high})"),
        (None, None) => String::new(),
    }
}

/// ` (at least 1)`; empty if a list may have any length.
pub fn length(schema: &Value) -> String {
    let bound = |name: &str, words: &str| schema.get(name).map(|n| format!("{words} {n}"));
    let bounds = [bound("minItems", "at least"), bound("maxItems", "at most")];
    let bounds: Vec<_> = bounds.into_iter().flatten().collect();
    if bounds.is_empty() { String::new() } else { format!(" ({})", bounds.join(", ")) }
}

/// A number for readers: `0.1` where single precision made 0.10000000149011612 of it, `1,024`, and
/// `2^63 - 1`.
fn number(value: &Value) -> String {
    /// From here on a number of ones in binary is written as a power.
    const LARGE: u64 = 1 << 30;
    match (value.as_u64(), value.as_f64()) {
        (Some(whole), _) if whole > LARGE && (whole + 1).is_power_of_two() => {
            format!("2^{} - 1", (whole + 1).trailing_zeros())
        }
        (Some(whole), _) => count(whole),
        (None, Some(real)) if real >= 0.0 && real.fract() == 0.0 => count(real as u64),
        (None, Some(real)) => decimal(real),
        (None, None) => value.to_string(),
    }
}

/// The fewest digits that single precision reads back, where the number came from there.
fn decimal(real: f64) -> String {
    if f64::from(real as f32) == real { (real as f32).to_string() } else { real.to_string() }
}

/// A value on one line, as YAML.
pub fn flow(value: &Value) -> String {
    match value {
        Value::Object(keys) => {
            let keys = keys.iter().map(|(key, value)| format!("{key}: {}", flow(value)));
            format!("{{{}}}", keys.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => decimal(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

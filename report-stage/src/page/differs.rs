//! What an experiment sets differently from the baseline, in a few words: no defaults, no paths.

use std::path::Path;

use contract::manifest::{BrandWeights, Decision, Loss, Memory};
use serde_json::{Map, Value, json};

use crate::format;
use crate::settings::flow;

/// As `sample: uniform; hidden 512-512; loss mse`.
pub fn short(differs: &Map<String, Value>) -> String {
    let has_query = differs.contains_key("sample.sql");
    let part = |(key, value): (&String, &Value)| match key.split_once('.')? {
        ("sample", "sql") => Some(format!("sample: {}", stem(value.as_str()?))),
        // Parameters of another query have no counterpart in the baseline's.
        ("sample", _) if has_query => None,
        ("sample", key) => {
            Some(format!("sample: {}", setting(key.trim_start_matches("params."), value)))
        }
        (_, "pretrained") => Some(format!("pretrained {}", stem(value.as_str()?))),
        (_, key) => Some(setting(key, value)),
    };
    differs.iter().filter_map(part).collect::<Vec<_>>().join("; ")
}

fn stem(path: &str) -> String {
    Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn setting(key: &str, value: &Value) -> String {
    let name = key.replace('_', " ");
    match value {
        Value::Bool(true) => name,
        Value::Null | Value::Bool(false) => format!("no {name}"),
        Value::Array(items) => {
            format!("{name} {}", items.iter().map(flow).collect::<Vec<_>>().join("-"))
        }
        Value::Object(map) => {
            let (kind, rest) = object(key, map);
            [vec![name], kind.into_iter().collect(), rest.into_iter().collect()].concat().join(" ")
        }
        Value::Number(number) => {
            let text = number.as_u64().map_or_else(|| flow(value), format::count);
            format!("{name} {text}")
        }
        value => format!("{name} {}", flow(value)),
    }
}

/// The kind of an object, and in brackets what is not the default of that kind.
fn object(key: &str, map: &Map<String, Value>) -> (Option<String>, Option<String>) {
    let kind_key = ["kind", "policy", "on"].into_iter().find(|kind| map.contains_key(*kind));
    let kind = kind_key.map(|kind| flow(&map[kind]));
    let defaults = defaults(key, kind_key.map(|kind| json!({ kind: map[kind] })));
    let is_set = |(key, value): &(&String, &Value)| {
        Some(key.as_str()) != kind_key
            && !value.is_null()
            && !is_same(value, &defaults[key.as_str()])
    };
    let rest = map.iter().filter(is_set);
    let rest = rest.map(|(key, value)| format!("{} {}", key.replace('_', " "), flow(value)));
    let rest: Vec<String> = rest.collect();
    (kind, (!rest.is_empty()).then(|| format!("({})", rest.join(", "))))
}

/// What the manifest's types fill in where only the kind is given; null where that is not known.
fn defaults(key: &str, of_kind: Option<Value>) -> Value {
    let of_kind = of_kind.unwrap_or_else(|| json!({}));
    let filled = match key {
        "loss" => serde_json::from_value::<Loss>(of_kind).map(|value| json!(value)),
        "decision" => serde_json::from_value::<Decision>(of_kind).map(|value| json!(value)),
        "memory" => serde_json::from_value::<Memory>(of_kind).map(|value| json!(value)),
        "brand_weights" => {
            serde_json::from_value::<BrandWeights>(of_kind).map(|value| json!(value))
        }
        _ => return Value::Null,
    };
    filled.unwrap_or_default()
}

/// Whether two values are the same, in single precision.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs().max(b.abs()),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(differs: Value) -> String {
        short(differs.as_object().unwrap())
    }

    #[test]
    fn settings_are_named_without_paths_defaults_and_nulls() {
        let query = json!({
            "sample.sql": "../../sample-stage/sql/uniform.sql", "sample.params.n_users": 3,
            "train.hidden": [512, 512], "train.loss": {"kind": "mse"}
        });
        assert_eq!(of(query), "sample: uniform; hidden 512-512; loss mse");
        let gain = json!({"score.decision": {
            "policy": "gain", "brand_share": null, "user_loss": 0.01, "over": "scored"
        }});
        assert_eq!(of(gain), "decision gain (over scored)");
        let expected = json!({"score.decision": {"policy": "expected_f1", "over": "valid"}});
        assert_eq!(of(expected), "decision expected_f1");
        let loss = json!({"train.loss": {"kind": "bfce", "gamma": 1.0}, "train.refit": true});
        assert_eq!(of(loss), "loss bfce (gamma 1); refit");
        let weights = json!({"train.brand_weights": {"power": 1.0, "scale": 1.0, "on": "both"}});
        assert_eq!(of(weights), "brand weights both");
        let oracle = json!({
            "train.pretrained": "raw/oracle.arrow", "sample.sql": null, "sample.params.seed": null
        });
        assert_eq!(of(oracle), "pretrained oracle");
        let numbers = json!({"sample.params.n_clones": 48000, "train.learning_rate": 0.003});
        assert_eq!(of(numbers), "sample: n clones 48,000; learning rate 0.003");
        assert_eq!(of(json!({"score.memory": null})), "no memory");
        assert_eq!(of(json!({})), "");
    }
}

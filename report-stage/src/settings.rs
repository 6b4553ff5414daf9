//! An experiment's settings as the manifest writes them, and what differs between two experiments.

use std::path::Path;

use contract::Manifest;
use contract::manifest::Experiment;
use serde_json::{Map, Value, json};

/// The F1 that brands are counted by.
pub fn f1_buckets(manifest: &Manifest) -> Vec<f64> {
    manifest.report.f1_buckets.iter().map(|bucket| bucket.0).collect()
}

/// The manifest's values of an experiment, without those that do not change its results.
pub fn settings(experiment: &Experiment, manifest: &Manifest) -> Value {
    let dir = manifest.path.parent().unwrap_or(Path::new(""));
    let relative = |path: &Path| path.strip_prefix(dir).unwrap_or(path).display().to_string();
    let mut train = json!(experiment.train);
    train["pretrained"] = json!(experiment.train.pretrained.as_deref().map(relative));
    let mut score = json!(experiment.score);
    for stage in [&mut train, &mut score] {
        stage.as_object_mut().expect("a struct is a map").shift_remove("threads");
    }
    if !manifest.seeds.is_empty() {
        train.as_object_mut().expect("a struct is a map").shift_remove("seed"); // has no effect
    }
    let sample = if experiment.needs_sample() {
        json!({"sql": relative(experiment.sql()), "params": experiment.sample.params})
    } else {
        Value::Null
    };
    tidy(json!({"sample": sample, "train": train, "score": score}))
}

/// Gives numbers that were `f32` the digits that the manifest has: 0.001, not 0.0010000000475.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, tidy(value))).collect(),
        Value::Array(items) => items.into_iter().map(tidy).collect(),
        Value::Number(number) if number.is_f64() => {
            let wide = number.as_f64().expect("just asked");
            let narrow = wide as f32;
            let is_narrow = (f64::from(narrow) - wide).abs() == 0.0;
            let shortest = is_narrow.then(|| narrow.to_string().parse::<f64>().ok()).flatten();
            json!(shortest.unwrap_or(wide))
        }
        other => other,
    }
}

/// What differs from the baseline, by `stage.key`; a query's parameters one by one.
pub fn differences(ours: &Value, baseline: &Value) -> Map<String, Value> {
    let (ours, baseline) = (leaves(ours), leaves(baseline));
    let gone = baseline.keys().filter(|key| !ours.contains_key(*key));
    let gone: Vec<_> = gone.map(|key| (key.clone(), Value::Null)).collect();
    ours.into_iter().filter(|(key, value)| baseline.get(key) != Some(value)).chain(gone).collect()
}

/// The value of a key of [`differences`]; null where the key is not set.
pub fn leaf(settings: &Value, key: &str) -> Value {
    leaves(settings).shift_remove(key).unwrap_or_default()
}

fn leaves(settings: &Value) -> Map<String, Value> {
    let mut leaves = Map::new();
    for (stage, values) in settings.as_object().into_iter().flatten() {
        for (key, value) in values.as_object().into_iter().flatten() {
            match value {
                Value::Object(params) if key == "params" => {
                    leaves.extend(
                        params.iter().map(|(k, v)| (format!("{stage}.{key}.{k}"), v.clone())),
                    );
                }
                value => leaves.extend([(format!("{stage}.{key}"), value.clone())]),
            }
        }
    }
    leaves
}

/// Settings in a sentence.
pub fn words(differs: &Map<String, Value>) -> String {
    if differs.is_empty() {
        return "nothing".to_owned();
    }
    differs
        .iter()
        .map(|(key, value)| format!("{key}: {}", flow(value)))
        .collect::<Vec<_>>()
        .join("; ")
}

/// A value as YAML on one line, without what is not set.
pub fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Null => "not set".to_owned(),
        Value::Object(map) => {
            let entries = map.iter().filter(|(_, value)| !value.is_null());
            let entries = entries.map(|(key, value)| format!("{key}: {}", flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Number(number) if number.is_f64() => {
            number.as_f64().expect("just asked").to_string()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_of_the_manifest() {
        assert_eq!(
            tidy(json!({"a": 0.001_f32, "b": [0.1_f64, 2.0_f32, 7]})),
            json!({"a": 0.001, "b": [0.1, 2.0, 7]})
        );
    }

    #[test]
    fn differences_name_the_key_and_our_value() {
        let baseline =
            json!({"sample": {"sql": "a.sql", "params": {"n": 1, "m": 2}}, "train": {"epochs": 5}});
        let ours = json!({"sample": {"sql": "a.sql", "params": {"n": 3}}, "train": {"epochs": 5}});
        let expected = json!({"sample.params.n": 3, "sample.params.m": null});
        assert_eq!(Value::Object(differences(&ours, &baseline)), expected);
        assert!(differences(&baseline, &baseline).is_empty());
    }

    #[test]
    fn settings_read_as_the_manifest_writes_them() {
        let differs = json!({"train.hidden": [512, 512], "train.loss": {"kind": "bfce", "gamma": 2.0}, "sample.sql": "a.sql"});
        assert_eq!(
            words(differs.as_object().unwrap()),
            "train.hidden: [512, 512]; train.loss: {kind: bfce, gamma: 2}; sample.sql: a.sql"
        );
        assert_eq!(words(&Map::new()), "nothing");
        let without =
            json!({"sample.sql": null, "score.memory": {"neighbours": 200, "weight": null}});
        assert_eq!(
            words(without.as_object().unwrap()),
            "sample.sql: not set; score.memory: {neighbours: 200}"
        );
    }
}

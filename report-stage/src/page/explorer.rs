//! The data of the table of all brands, for the script that searches and sorts it.

use std::collections::BTreeMap;

use contract::output::visible_line;
use serde_json::{Value, json};

use crate::definitions::meaning;
use crate::experiment::Experiment;
use crate::load::Threshold;
use crate::page::blocks::Explorer;
use crate::page::view::View;

/// Headings of the table and the terms that define them.
const MEANINGS: [(&str, &str); 10] = [
    ("Tier", "head, torso, tail"),
    ("Volume", "volume"),
    ("Support", "support"),
    ("Predicted", "audience"),
    ("Precision", "F1"),
    ("Recall", "F1"),
    ("F1", "F1"),
    ("F1, compared", "F1"),
    ("Change", "change"),
    ("Threshold", "threshold"),
];

pub fn explorer(view: &View) -> Explorer {
    let list = &view.brands.list;
    let scored = view.scored();
    let first = view.baseline().or(scored.first().copied()).map_or("", |e| &e.name);
    let of_experiment = |e: &&Experiment| {
        let scored = view.trial(e).scored.as_ref()?;
        let counts = &scored.evaluation.counts;
        let thresholds = scored.thresholds.as_ref();
        let threshold = |t: &Threshold| short(t.prob);
        Some(json!({
            "name": e.name,
            "tp": counts.iter().map(|c| c.tp).collect::<Vec<_>>(),
            "fp": counts.iter().map(|c| c.fp).collect::<Vec<_>>(),
            "threshold": thresholds.map(|all| one_or_all(all.iter().map(threshold).collect())),
        }))
    };
    let supports = scored.first().and_then(|e| view.trial(e).scored.as_ref());
    let supports =
        supports.map(|s| s.evaluation.counts.iter().map(|c| c.support()).collect::<Vec<_>>());
    let data = json!({
        "brands": {
            "id": list.iter().map(|brand| id_text(&brand.id)).collect::<Vec<_>>(),
            "name": list.iter().map(|brand| visible_line(&brand.name)).collect::<Vec<_>>(),
            "tier": list.iter().map(|brand| brand.tier.name()).collect::<Vec<_>>(),
            "volume": list.iter().map(|brand| brand.volume).collect::<Vec<_>>(),
            "support": supports,
        },
        "meanings": MEANINGS.map(|(title, term)| (title, meaning(term)))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        "experiments": scored.iter().filter_map(of_experiment).collect::<Vec<_>>(),
    });
    Explorer {
        data: inert(&data),
        n_brands: view.report.n_brands,
        experiments: scored.iter().map(|e| e.name.clone()).collect(),
        shown: view.selected().map_or(first, |e| &e.name).to_owned(),
        compared: first.to_owned(),
    }
}

/// One value where all are the same.
fn one_or_all(values: Vec<Value>) -> Value {
    match values.split_first() {
        Some((first, rest)) if rest.iter().all(|value| value == first) => first.clone(),
        _ => Value::Array(values),
    }
}

/// An id as text: a script cannot hold every whole number.
fn id_text(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), |text| visible_line(text).into_owned())
}

/// Three digits, as many as are shown; more would double the size of the page.
fn short(prob: f64) -> Value {
    format!("{prob:.2e}").parse::<f64>().map_or(Value::Null, |short| json!(short))
}

/// JSON that cannot end the script element it stands in.
fn inert(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_threshold_for_all_brands_is_one_number() {
        assert_eq!(one_or_all(vec![json!(0.5), json!(0.5)]), json!(0.5));
        assert_eq!(one_or_all(vec![json!(0.5), json!(0.25)]), json!([0.5, 0.25]));
        assert_eq!(one_or_all(Vec::new()), json!([]));
    }

    #[test]
    fn large_ids_keep_their_digits() {
        assert_eq!(id_text(&json!(9_007_199_254_740_993_i64)), "9007199254740993");
        assert_eq!(id_text(&json!("a1")), "a1");
    }

    #[test]
    fn the_name_of_a_brand_cannot_end_the_script() {
        let data = json!({"name": ["</script><script>alert(1)</script>", "<!--", "é \"'\\"]});
        let text = inert(&data);
        assert!(!text.contains('<'), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), data);
    }
}

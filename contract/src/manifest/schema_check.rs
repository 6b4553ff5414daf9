//! Checks a value against the manifest's JSON Schema and reports every violation.
//!
//! The schema is made from the manifest's own types, so what an editor shows, what is checked here
//! and what the stages receive cannot differ. Only the part of draft 7 that those types produce is
//! understood.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::problems::suggest;
use super::yaml::Path;

/// A violation: the node, whether its key (not its value) is wrong, and the message.
pub(crate) struct Violation {
    pub(crate) path: Path,
    pub(crate) is_key: bool,
    pub(crate) message: String,
}

/// Violations of a schema of [`crate::schema`] by a value, each with its path.
pub fn schema_problems(value: &Value, schema: &Value) -> Vec<String> {
    let found = check(&mut value.clone(), schema).into_iter();
    // The message of a wrong value has its place already.
    let with_place = |Violation { path, is_key, message }: Violation| {
        if is_key { format!("{}: {message}", path.join(".")) } else { message }
    };
    found.map(with_place).collect()
}

/// Every violation of `schema` (with its `definitions`) by `value`. Where the schema wants a whole
/// number, one that is written as a fraction, such as `1e3` or `16.0`, becomes one.
pub(crate) fn check(value: &mut Value, schema: &Value) -> Vec<Violation> {
    let mut walk = Walk { root: schema, path: Vec::new(), found: Vec::new() };
    walk.node(value, schema);
    walk.found
}

struct Walk<'a> {
    root: &'a Value,
    path: Path,
    found: Vec<Violation>,
}

impl<'a> Walk<'a> {
    fn node(&mut self, value: &mut Value, schema: &'a Value) {
        let schema = self.resolve(schema);
        let branches = schema.get("anyOf").or_else(|| schema.get("oneOf"));
        if let Some(Value::Array(branches)) = branches {
            self.branches(value, branches);
            return;
        }
        if let Some(Value::Array(allowed)) = schema.get("enum") {
            if !allowed.contains(value) {
                let names: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
                self.value(format!(
                    "{} is not one of the choices; {}",
                    show(value),
                    choices(value, &names)
                ));
            }
            return;
        }
        if let Some(only) = schema.get("const") {
            if only != value {
                self.value(format!("must be {}, got {}", show(only), show(value)));
            }
            return;
        }
        if !type_fits(value, schema) {
            self.value(format!("expected {}, got {}", type_name(schema), show(value)));
            return;
        }
        if let Value::Number(number) = value
            && has_type(schema, "integer")
            && let Some(whole) = whole(number)
        {
            *number = whole;
        }
        match value {
            Value::Number(number) => self.number(number, schema),
            Value::Array(items) => self.array(items, schema),
            Value::Object(map) => self.object(map, schema),
            Value::String(text) => self.text(text, schema),
            _ => {}
        }
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        loop {
            let target = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref"));
            match target.and_then(Value::as_str) {
                Some(reference) => {
                    let pointer = reference.trim_start_matches('#');
                    schema = self.root.pointer(pointer).expect("the schema refers to itself only");
                }
                None => return schema,
            }
        }
    }

    /// Picks the branch by its tag (`kind`, `policy`), then by the value's type and keys.
    fn branches(&mut self, value: &mut Value, branches: &'a [Value]) {
        // A branch may be a choice of its own, as an optional one of several forms.
        let mut flat: Vec<&Value> = Vec::new();
        for branch in branches.iter().map(|branch| self.resolve(branch)) {
            match branch.get("anyOf") {
                Some(Value::Array(inner)) => flat.extend(inner.iter().map(|b| self.resolve(b))),
                _ => flat.push(branch),
            }
        }
        let branches = flat;
        let tags: Vec<(&str, &str)> = branches.iter().filter_map(|b| tag(b)).collect();
        if let (Value::Object(map), Some(&(key, _))) = (&*value, tags.first()) {
            let names: Vec<_> = tags.iter().map(|&(_, name)| name).collect();
            let Some(found) = map.get(key) else {
                self.value(format!("`{key}` is missing; known: {}", list(&names)));
                return;
            };
            let fits = |b: &&&Value| tag(b).is_some_and(|(_, name)| found == name);
            if let Some(branch) = branches.iter().find(fits) {
                self.node(value, branch);
            } else {
                self.path.push(key.to_owned());
                self.value(format!(
                    "{} is not one of the choices; {}",
                    show(found),
                    choices(found, &names)
                ));
                self.path.pop();
            }
            return;
        }
        // A plain choice of names, each a branch of its own with a description.
        let names: Vec<_> = branches.iter().filter_map(|b| constant(b)).collect();
        if value.is_string() && !names.is_empty() {
            if !names.iter().any(|name| *value == **name) {
                self.value(format!(
                    "{} is not one of the choices; {}",
                    show(value),
                    choices(value, &names)
                ));
            }
            return;
        }
        let fitting: Vec<&Value> =
            branches.iter().copied().filter(|branch| type_fits(value, branch)).collect();
        match fitting.as_slice() {
            [] => self.value(format!("expected {}, got {}", forms(&branches), show(value))),
            [branch] => self.node(value, branch),
            several => self.maps(value, several),
        }
    }

    /// Chooses among several kinds of map by their keys.
    fn maps(&mut self, value: &mut Value, branches: &[&'a Value]) {
        let Value::Object(map) = &*value else { return self.node(value, branches[0]) };
        let knows = |branch: &Value, key: &String| {
            branch.get("properties").is_some_and(|known| known.get(key).is_some())
        };
        let meant: Vec<&Value> = branches
            .iter()
            .copied()
            .filter(|branch| map.keys().any(|key| knows(branch, key)))
            .collect();
        // Keys that several have, such as `time` beside `table` or `sql`, decide nothing.
        let has_all = |branch: &&Value| map.keys().all(|key| knows(branch, key));
        let complete: Vec<&Value> = meant.iter().copied().filter(has_all).collect();
        match meant.as_slice() {
            [branch] => self.node(value, branch),
            _ if complete.len() == 1 => self.node(value, complete[0]),
            _ if complete.len() > 1 => {
                self.value(format!("expected {}, got {}", forms(branches), show(value)));
            }
            [] if map.is_empty() => {
                self.value(format!("expected {}, got `{{}}`", forms(branches)));
            }
            [] => {
                let known = branches.iter().filter_map(|branch| branch["properties"].as_object());
                let known: Vec<&str> = known.flat_map(Map::keys).map(String::as_str).collect();
                for key in map.keys() {
                    self.path.push(key.clone());
                    let hint = suggest(key, known.iter().copied());
                    self.key(format!("unknown key `{key}`; {hint}"));
                    self.path.pop();
                }
            }
            several => {
                let of_several = |key: &&String| {
                    let n_branches = several.iter().filter(|branch| knows(branch, key)).count();
                    (1..several.len()).contains(&n_branches)
                };
                let keys: Vec<&str> = map.keys().filter(of_several).map(String::as_str).collect();
                self.value(format!(
                    "{} do not go together; expected {}",
                    list(&keys),
                    forms(several)
                ));
            }
        }
    }

    fn text(&mut self, text: &str, schema: &Value) {
        let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else { return };
        let pattern = Regex::new(pattern).expect("the schema's patterns are ours");
        if !pattern.is_match(text) {
            let examples = schema.get("examples").and_then(Value::as_array);
            let examples: Vec<_> = examples.into_iter().flatten().map(show).collect();
            self.value(format!("expected a string like {}, got `{text}`", examples.join(" or ")));
        }
    }

    fn number(&mut self, number: &Number, schema: &Value) {
        // What a program reads in single precision must be in range there as well.
        let is_single = schema.get("format").is_some_and(|format| format == "float");
        let held = if is_single { single(number) } else { number.clone() };
        let rule = |key: &str, allowed: &[Ordering], words: &str| {
            let bound = schema.get(key)?.as_number()?;
            let bound_held = if is_single { single(bound) } else { bound.clone() };
            let holds = allowed.contains(&compare(&held, &bound_held));
            Some((holds, format!("{words} {}", plain(bound))))
        };
        let low = rule("exclusiveMinimum", &[Ordering::Greater], "greater than");
        let low =
            low.or_else(|| rule("minimum", &[Ordering::Greater, Ordering::Equal], "at least"));
        let high = rule("exclusiveMaximum", &[Ordering::Less], "less than");
        let high = high.or_else(|| rule("maximum", &[Ordering::Less, Ordering::Equal], "at most"));
        let rules: Vec<_> = [low, high].into_iter().flatten().collect();
        if rules.iter().all(|(holds, _)| *holds) {
            return;
        }
        let rules: Vec<_> = rules.into_iter().map(|(_, rule)| rule).collect();
        let is_other = compare(&held, number) != Ordering::Equal;
        let rounded = if is_other {
            format!(", in single precision {}", plain(&held))
        } else {
            String::new()
        };
        self.value(format!("must be {}, got {}{rounded}", rules.join(" and "), plain(number)));
    }

    fn array(&mut self, items: &mut [Value], schema: &'a Value) {
        if let Some(least) = schema.get("minItems").and_then(Value::as_u64)
            && (items.len() as u64) < least
        {
            self.value(format!("must have at least {least} item, got {}", items.len()));
        }
        if let Some(most) = schema.get("maxItems").and_then(Value::as_u64)
            && (items.len() as u64) > most
        {
            self.value(format!("must have at most {most} items, got {}", items.len()));
        }
        for (i, item) in items.iter_mut().enumerate() {
            let of_item = match schema.get("items") {
                Some(Value::Array(by_place)) => by_place.get(i),
                of_all => of_all,
            };
            if let Some(of_item) = of_item {
                self.path.push(i.to_string());
                self.node(item, of_item);
                self.path.pop();
            }
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>, schema: &'a Value) {
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let name = required.as_str().unwrap_or_default();
            if !map.contains_key(name) {
                self.value(format!("`{name}` is missing"));
            }
        }
        for (key, value) in map {
            self.path.push(key.clone());
            let other = schema.get("additionalProperties");
            if let Some(property) = schema.get("properties").and_then(|p| p.get(key)) {
                self.node(value, property);
            } else if let Some(other @ Value::Object(_)) = other {
                self.node(value, other);
            } else if other == Some(&Value::Bool(false)) {
                let hint = suggest(key, known.keys().map(String::as_str));
                self.key(format!("unknown key `{key}`; {hint}"));
            }
            self.path.pop();
        }
    }

    fn key(&mut self, message: String) {
        self.found.push(Violation { path: self.path.clone(), is_key: true, message });
    }

    fn value(&mut self, message: String) {
        let message = match self.path.last() {
            Some(_) => format!("`{}`: {message}", self.path.join(".")),
            None => message,
        };
        self.found.push(Violation { path: self.path.clone(), is_key: false, message });
    }
}

/// The whole number that a number is, if it is one of 64 bits.
fn whole(number: &Number) -> Option<Number> {
    /// 2^63 and 2^64.
    const POWERS: [f64; 2] = [9_223_372_036_854_775_808.0, 18_446_744_073_709_551_616.0];

    if !number.is_f64() {
        return Some(number.clone());
    }
    match number.as_f64()? {
        value if value.fract() != 0.0 => None,
        value if (0.0..POWERS[1]).contains(&value) => Some((value as u64).into()),
        value if (-POWERS[0]..0.0).contains(&value) => Some((value as i64).into()),
        _ => None,
    }
}

/// The nearest number of single precision.
fn single(number: &Number) -> Number {
    let nearest = number.as_f64().map_or(0.0, |value| f64::from(value as f32));
    Number::from_f64(nearest).unwrap_or_else(|| number.clone())
}

/// Whole numbers are compared exactly.
fn compare(a: &Number, b: &Number) -> Ordering {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or(f64::NAN).total_cmp(&b.as_f64().unwrap_or(f64::NAN)),
    }
}

/// Without the `.0` of a fraction that is whole.
fn plain(number: &Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// The forms of the branches, such as `` a string or `{path: …}` ``.
fn forms(branches: &[&Value]) -> String {
    branches.iter().map(|branch| type_name(branch)).collect::<Vec<_>>().join(" or ")
}

/// The key and value that distinguish this branch from its siblings.
fn tag(schema: &Value) -> Option<(&str, &str)> {
    let properties = schema.get("properties")?.as_object()?;
    properties.iter().find_map(|(key, property)| Some((key.as_str(), constant(property)?)))
}

fn constant(schema: &Value) -> Option<&str> {
    if let Some(only) = schema.get("const") {
        return only.as_str();
    }
    match schema.get("enum").and_then(Value::as_array).map(Vec::as_slice) {
        Some([only]) => only.as_str(),
        _ => None,
    }
}

fn choices(found: &Value, names: &[&str]) -> String {
    found.as_str().map_or_else(|| list(names), |text| suggest(text, names.iter().copied()))
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn has_type(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::Array(names)) => names.iter().any(|other| other == name),
        other => other.is_some_and(|other| other == name),
    }
}

fn type_fits(value: &Value, schema: &Value) -> bool {
    let fits = |name: &Value| match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.as_f64().is_some_and(|v| v.fract() == 0.0),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    match schema.get("type") {
        Some(Value::Array(names)) => names.iter().any(fits),
        Some(name) => fits(name),
        None => schema.get("const").is_none_or(|only| only == value),
    }
}

fn type_name(schema: &Value) -> String {
    let say = |name: &Value| match name.as_str() {
        Some("integer") => "a whole number".to_owned(),
        Some("number") => "a number".to_owned(),
        Some("string") => "a string".to_owned(),
        Some("array") => "a list".to_owned(),
        Some("object") => map_form(schema),
        Some("boolean") => "true or false".to_owned(),
        other => other.unwrap_or("something else").to_owned(),
    };
    match schema.get("type") {
        Some(Value::Array(names)) => {
            let names = names.iter().filter(|n| *n != "null");
            names.map(say).collect::<Vec<_>>().join(" or ")
        }
        Some(name) => say(name),
        None => constant(schema).map_or_else(|| "something else".into(), |c| format!("`{c}`")),
    }
}

/// A map, shown by its required keys.
fn map_form(schema: &Value) -> String {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let keys: Vec<String> =
        required.filter_map(Value::as_str).map(|key| format!("{key}: …")).collect();
    if keys.is_empty() { "a map".to_owned() } else { format!("`{{{}}}`", keys.join(", ")) }
}

/// The value as found, short enough for a message.
fn show(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        return format!("`{text}`");
    }
    let start: String = text.chars().take(57).collect();
    format!("`{start}…`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use serde_json::json;

    /// The messages about a value of a type of the manifest.
    fn messages(definition: &str, value: &Value) -> Vec<String> {
        let mut schema = Manifest::schema();
        schema["$ref"] = json!(format!("#/definitions/{definition}"));
        check(&mut value.clone(), &schema).into_iter().map(|found| found.message).collect()
    }

    #[test]
    fn whole_numbers_may_be_written_as_fractions() {
        let mut value = json!({"updates": 1e3, "batch_size": 16.0, "seed": 1e15, "hidden": [8.0]});
        let mut schema = Manifest::schema();
        schema["$ref"] = json!("#/definitions/TrainParams");
        assert!(check(&mut value, &schema).is_empty());
        let expected = json!({
            "updates": 1000, "batch_size": 16, "seed": 1_000_000_000_000_000_u64, "hidden": [8],
        });
        assert_eq!(value, expected);
        assert_eq!(messages("KeepBrands", &json!({"top": 5e2})), [""; 0]);
    }

    #[test]
    fn a_number_that_is_not_whole_is_rejected() {
        assert_eq!(
            messages("TrainParams", &json!({"updates": 1.5})),
            ["`updates`: expected a whole number, got `1.5`"]
        );
        assert_eq!(
            messages("TrainParams", &json!({"epochs": 1e300, "members": -1e300})),
            [
                "`epochs`: must be at least 1 and at most 1000000, got 1e+300",
                "`members`: must be at least 1 and at most 20, got -1e+300",
            ]
        );
    }

    #[test]
    fn whole_numbers_are_compared_to_the_last_digit() {
        assert_eq!(messages("TrainParams", &json!({"seed": i64::MAX})), [""; 0]);
        assert_eq!(
            messages("TrainParams", &json!({"seed": u64::MAX})),
            [
                "`seed`: must be at least 0 and at most 9223372036854775807, got 18446744073709551615"
            ]
        );
    }

    #[test]
    fn a_number_must_be_in_range_in_single_precision_too() {
        assert_eq!(
            messages(
                "TrainParams",
                &json!({"learning_rate": 1e-300, "dropout": 0.999_999_999_999})
            ),
            [
                "`learning_rate`: must be greater than 0 and at most 1, got 1e-300, in single precision 0",
                "`dropout`: must be at least 0 and less than 1, got 0.999999999999, in single precision 1",
            ]
        );
    }

    #[test]
    fn items_of_a_pair_are_checked_each_by_its_own_schema() {
        let pair = json!({"items": [{"type": "number"}, {"type": "null"}], "maxItems": 2});
        assert_eq!(schema_problems(&json!([1, null]), &pair), [""; 0]);
        assert_eq!(
            schema_problems(&json!([null, 1]), &pair),
            ["`0`: expected a number, got `null`", "`1`: expected null, got `1`"]
        );
    }

    #[test]
    fn a_choice_of_forms_names_them() {
        let rows = [
            ("KeepBrands", json!(5), "expected `{min_volume: …}` or `{top: …}`, got `5`"),
            ("KeepBrands", json!({}), "expected `{min_volume: …}` or `{top: …}`, got `{}`"),
            ("KeepBrands", json!({"tops": 5}), "unknown key `tops`; did you mean `top`?"),
            (
                "KeepBrands",
                json!({"top": 5, "min_volume": 1}),
                "`top`, `min_volume` do not go together; expected `{min_volume: …}` or `{top: …}`",
            ),
            ("View", json!("users"), "expected `{table: …}` or `{sql: …}`, got `\"users\"`"),
            ("TableSource", json!(5), "expected a string or `{path: …}`, got `5`"),
            ("FeatureSource", json!({}), "`column` is missing"),
        ];
        for (definition, value, expected) in rows {
            assert_eq!(messages(definition, &value), [expected], "{value}");
        }
    }

    /// Keywords that [`check`] reads.
    const CHECKED: [&str; 21] = [
        "$ref",
        "additionalProperties",
        "allOf", // one `$ref`
        "anyOf",
        "const",
        "definitions",
        "enum",
        "examples", // in messages
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format", // `float`: in single precision
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "oneOf",
        "pattern",
        "properties",
        "required",
        "type",
    ];

    /// Formats that say no more than the schema's type and bounds.
    const NUMBERS: [&str; 7] = ["double", "float", "int64", "uint", "uint16", "uint32", "uint64"];

    /// Calls `look` with every schema within a schema, and its place.
    fn each_schema(at: &str, schema: &Value, look: &mut dyn FnMut(&str, &Map<String, Value>)) {
        let Value::Object(map) = schema else {
            assert!(schema.is_boolean(), "{at} is no schema: {schema}");
            return;
        };
        look(at, map);
        for (key, inner) in map {
            let at = format!("{at}/{key}");
            match (key.as_str(), inner) {
                ("properties" | "definitions", Value::Object(named)) => {
                    for (name, schema) in named {
                        each_schema(&format!("{at}/{name}"), schema, look);
                    }
                }
                ("anyOf" | "oneOf" | "allOf" | "items", Value::Array(schemas)) => {
                    for schema in schemas {
                        each_schema(&at, schema, look);
                    }
                }
                ("items" | "additionalProperties", schema) => each_schema(&at, schema, look),
                _ => {}
            }
        }
    }

    /// A keyword that is ignored would let through what the schema forbids.
    #[test]
    fn every_keyword_of_our_schemas_is_checked() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
        let documented = std::fs::read_dir(folder).unwrap().map(|file| {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            serde_json::from_str(&text).unwrap()
        });
        let schemas: Vec<Value> = documented.chain([Manifest::schema()]).collect();
        assert!(schemas.len() > 10, "{}", schemas.len());
        let annotations = ["$schema", "title", "description", "default"];
        for schema in &schemas {
            let title = schema["title"].as_str().unwrap_or_default();
            each_schema(title, schema, &mut |at, schema| {
                for key in schema.keys().map(String::as_str) {
                    let is_known = CHECKED.contains(&key)
                        || annotations.contains(&key)
                        || key.starts_with("x-");
                    assert!(is_known, "{at}: `{key}` is not checked");
                }
                if let Some(all) = schema.get("allOf") {
                    let is_one_reference = all
                        .as_array()
                        .is_some_and(|all| all.len() == 1 && all[0]["$ref"].is_string());
                    assert!(is_one_reference, "{at}: `allOf` of more than a reference");
                }
                if let Some(format) = schema.get("format") {
                    let is_number = NUMBERS.iter().any(|number| format == number);
                    assert!(is_number, "{at}: format {format} is not checked");
                }
                // Beside one of these nothing else is looked at; a type says no more than they do.
                let alone = ["$ref", "allOf", "anyOf", "oneOf", "enum", "const"];
                if let Some(key) = alone.into_iter().find(|key| schema.contains_key(*key)) {
                    let mut others = schema.keys().map(String::as_str).filter(|other| {
                        CHECKED.contains(other) && ![key, "definitions", "type"].contains(other)
                    });
                    assert_eq!(others.next(), None, "{at}: not checked beside `{key}`");
                }
            });
        }
    }

    /// Every number of the manifest, by the place of its schema.
    fn numbers<'a>(at: &str, schema: &'a Value, found: &mut Vec<(String, &'a Value)>) {
        if has_type(schema, "integer") || has_type(schema, "number") {
            found.push((at.to_owned(), schema));
        }
        match schema {
            Value::Object(map) => {
                map.iter().for_each(|(key, inner)| numbers(&format!("{at}/{key}"), inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| numbers(at, inner, found)),
            _ => {}
        }
    }

    #[test]
    fn every_number_has_a_range() {
        let schema = Manifest::schema();
        let mut found = Vec::new();
        numbers("", &schema, &mut found);
        assert!(found.len() > 40, "{}", found.len());
        for (at, number) in found {
            let has = |keys: [&str; 2]| keys.iter().any(|key| number.get(*key).is_some());
            assert!(has(["minimum", "exclusiveMinimum"]), "{at} has no lower bound");
            assert!(has(["maximum", "exclusiveMaximum"]), "{at} has no upper bound");
        }
    }
}

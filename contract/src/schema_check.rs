//! Checks a value against the manifest's JSON Schema and reports every violation.
//!
//! The schema comes from the manifest's own types, so what an editor is told, what
//! is checked here and what the stages receive cannot differ. Only the part of
//! draft 7 that those types produce is understood.

use regex::Regex;
use serde_json::{Map, Value};

use crate::problems::suggest;
use crate::yaml::Path;

/// A violation: the node, whether its key (not its value) is wrong, and the message.
pub(crate) struct Violation {
    pub(crate) path: Path,
    pub(crate) is_key: bool,
    pub(crate) message: String,
}

/// What in a value is not as a schema of [`crate::schema`] says, with its place.
pub fn schema_problems(value: &Value, schema: &Value) -> Vec<String> {
    let found = check(value, schema).into_iter();
    found.map(|violation| format!("{}: {}", violation.path.join("."), violation.message)).collect()
}

/// Every violation of `schema` (with its `definitions`) by `value`.
pub(crate) fn check(value: &Value, schema: &Value) -> Vec<Violation> {
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
    fn node(&mut self, value: &Value, schema: &'a Value) {
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
        match value {
            Value::Number(number) => self.number(number.as_f64().unwrap_or(f64::NAN), schema),
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

    /// Picks the branch by its tag (`kind`, `policy`), then by the value's type.
    fn branches(&mut self, value: &Value, branches: &'a [Value]) {
        let branches: Vec<&Value> = branches.iter().map(|b| self.resolve(b)).collect();
        let tags: Vec<(&str, &str)> = branches.iter().filter_map(|b| tag(b)).collect();
        if let (Value::Object(map), Some(&(key, _))) = (value, tags.first()) {
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
            if !names.iter().any(|name| value == name) {
                self.value(format!(
                    "{} is not one of the choices; {}",
                    show(value),
                    choices(value, &names)
                ));
            }
            return;
        }
        // Several maps: the one that shares the most keys with what was written.
        let shared = |branch: &Value| match (value, branch.get("properties")) {
            (Value::Object(map), Some(Value::Object(known))) => {
                map.keys().filter(|key| known.contains_key(*key)).count()
            }
            _ => 0,
        };
        let best = branches
            .iter()
            .filter(|branch| type_fits(value, branch))
            .max_by_key(|branch| shared(branch));
        if let Some(branch) = best {
            self.node(value, branch);
        } else {
            let expected: Vec<_> = branches.iter().map(|b| type_name(b)).collect();
            self.value(format!("expected {}, got {}", expected.join(" or "), show(value)));
        }
    }

    fn text(&mut self, text: &str, schema: &Value) {
        let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else { return };
        let pattern = Regex::new(pattern).expect("the schema's patterns are ours");
        if !pattern.is_match(text) {
            let examples = schema.get("examples").and_then(Value::as_array);
            let examples: Vec<_> = examples.into_iter().flatten().map(show).collect();
            self.value(format!("expected a text like {}, got `{text}`", examples.join(" or ")));
        }
    }

    fn number(&mut self, number: f64, schema: &Value) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let low = bound("exclusiveMinimum").map(|b| (number > b, format!("greater than {b}")));
        let low = low.or(bound("minimum").map(|b| (number >= b, format!("at least {b}"))));
        let high = bound("exclusiveMaximum").map(|b| (number < b, format!("less than {b}")));
        let high = high.or(bound("maximum").map(|b| (number <= b, format!("at most {b}"))));
        let rules: Vec<_> = [low, high].into_iter().flatten().collect();
        if rules.iter().any(|(holds, _)| !holds) {
            let rules: Vec<_> = rules.into_iter().map(|(_, rule)| rule).collect();
            self.value(format!("must be {}, got {number}", rules.join(" and ")));
        }
    }

    fn array(&mut self, items: &[Value], schema: &'a Value) {
        if let Some(least) = schema.get("minItems").and_then(Value::as_u64)
            && (items.len() as u64) < least
        {
            self.value(format!("must have at least {least} item, got {}", items.len()));
        }
        if let Some(item_schema) = schema.get("items") {
            for (i, item) in items.iter().enumerate() {
                self.path.push(i.to_string());
                self.node(item, item_schema);
                self.path.pop();
            }
        }
    }

    fn object(&mut self, map: &Map<String, Value>, schema: &'a Value) {
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

/// The key and value that tell this branch from its siblings.
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
        Some("string") => "a text".to_owned(),
        Some("array") => "a list".to_owned(),
        Some("object") => "a map".to_owned(),
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

/// The value as found, short enough for a message.
fn show(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        return format!("`{text}`");
    }
    let start: String = text.chars().take(57).collect();
    format!("`{start}…`")
}

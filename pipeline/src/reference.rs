//! docs/MANIFEST.md: every key of the manifest with its type, range and default, made from the JSON
//! Schema.
//!
//! Only what schemars makes of the manifest's types is read: `$ref`, `allOf` of one, `anyOf`,
//! `oneOf`, objects, lists, maps and plain values.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use words::{anchor, code, flow, length, listed, or, plain_kinds, sentence};

mod words;

const HEAD: &str = include_str!("reference/head.md");

/// A page of tables, one a section of the manifest, without a line break at its end.
pub fn markdown(schema: &Value) -> String {
    let mut page = Page { definitions: &schema["definitions"], places: HashMap::new() };
    let mut text = HEAD.trim_end().to_owned();
    let (top, sections) = page.top(schema);
    add_section(&mut text, "Top level", "", &top);
    for Entry { path, key, .. } in sections {
        let mut rows = Vec::new();
        page.properties(&path, key, &mut rows);
        let about = format!("{}\n\n", sentence(key.description));
        add_section(&mut text, &code(&path), &about, &rows);
    }
    text.trim_end().to_owned()
}

fn add_section(text: &mut String, title: &str, about: &str, rows: &[Row]) {
    let _ = write!(text, "\n\n### {title}\n\n{about}");
    let _ = writeln!(text, "| key | type | default | meaning |\n| --- | --- | --- | --- |");
    for Row { key, kind, default, meaning } in rows {
        let meaning = meaning.trim_start_matches("<br>");
        let cells = [&code(key), kind, default, meaning].map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.truncate(text.trim_end().len());
}

/// A line of a table, in Markdown.
struct Row {
    key: String,
    kind: String,
    default: String,
    meaning: String,
}

/// A schema after its references, with what was said on the way.
#[derive(Clone, Copy)]
struct Opened<'a> {
    schema: &'a Value,
    /// Of the key; else of its type
    description: &'a str,
    /// Name of the type among the definitions
    definition: Option<&'a str>,
    default: Option<&'a Value>,
    is_nullable: bool,
}

/// What a value may look like.
enum Form<'a> {
    /// An object of known keys
    Keys(&'a Map<String, Value>),
    /// An object whose keys are names
    Names(&'a Value),
    /// An object of which one key says which others it has
    Tagged(&'a str, Vec<Opened<'a>>),
    /// One of several forms that nothing but their look tells apart
    Choices(Vec<Opened<'a>>),
    /// One of some strings
    Values(Vec<Opened<'a>>),
    List(Opened<'a>),
    Plain,
}

/// A key, where it stands, and what it is if it is not written.
struct Entry<'a> {
    path: String,
    key: Opened<'a>,
    default: String,
}

struct Page<'a> {
    definitions: &'a Value,
    /// The key at which each definition's own keys are listed
    places: HashMap<&'a str, String>,
}

impl<'a> Page<'a> {
    /// Rows of the manifest's own keys, and the objects that get a section each.
    fn top(&mut self, schema: &'a Value) -> (Vec<Row>, Vec<Entry<'a>>) {
        let (mut rows, mut sections) = (Vec::new(), Vec::new());
        let mut todo = self.keys_of(self.open(schema), "");
        todo.reverse();
        while let Some(entry) = todo.pop() {
            let inner = self.keys_of(entry.key, &entry.path);
            if inner.is_empty() {
                self.key(entry, "", &mut rows);
                continue;
            }
            let mut row = self.row(&entry, "");
            if inner.iter().all(|inner| matches!(self.form(inner.key), Form::Keys(_))) {
                todo.extend(inner.into_iter().rev());
            } else {
                let _ = write!(row.meaning, " Keys: [below](#{}).", anchor(&entry.path));
                if let Some(name) = entry.key.definition {
                    self.places.insert(name, entry.path.clone());
                }
                sections.push(entry);
            }
            rows.push(row);
        }
        (rows, sections)
    }

    /// The keys of an object; none if it is something else.
    fn keys_of(&self, object: Opened<'a>, path: &str) -> Vec<Entry<'a>> {
        let Form::Keys(properties) = self.form(object) else { return Vec::new() };
        let entry = |(name, schema): (&String, &'a Value)| {
            let key = self.open(schema);
            let default = if contains(&object.schema["required"], name) {
                "required".to_owned()
            } else {
                self.default(key)
            };
            Entry { path: join(path, name), key, default }
        };
        properties.iter().map(entry).collect()
    }

    /// The row of a key, then those of what it holds.
    ///
    /// * `condition`: what is said before the meaning.
    fn key(&mut self, entry: Entry<'a>, condition: &str, rows: &mut Vec<Row>) {
        let mut row = self.row(&entry, condition);
        let Entry { path, key, .. } = entry;
        let form = self.form(key);
        if let (Some(name), Form::Keys(_) | Form::Tagged(..) | Form::Choices(_)) =
            (key.definition, &form)
        {
            if let Some(place) = self.places.get(name) {
                let _ = write!(row.meaning, " Keys: as in `{place}`.");
                rows.push(row);
                return;
            }
            self.places.insert(name, path.clone());
        }
        rows.push(row);
        match form {
            Form::Keys(_) => self.properties(&path, key, rows),
            Form::Names(value) => self.inner(join(&path, "NAME"), self.open(value), rows),
            Form::List(item) => self.inner(format!("{path}[]"), item, rows),
            Form::Tagged(tag, variants) => self.variants(&path, tag, &variants, rows),
            Form::Choices(choices) => self.choices(&path, &choices, rows),
            Form::Values(_) | Form::Plain => {}
        }
    }

    fn properties(&mut self, path: &str, object: Opened<'a>, rows: &mut Vec<Row>) {
        for entry in self.keys_of(object, path) {
            self.key(entry, "", rows);
        }
    }

    /// Rows of what a map or a list holds, where one line has not said it all.
    fn inner(&mut self, path: String, key: Opened<'a>, rows: &mut Vec<Row>) {
        if !self.is_plain(key) {
            self.key(Entry { path, key, default: String::new() }, "", rows);
        }
    }

    /// Rows of an object of which the key `tag` says which others it has: a key that several
    /// variants have alike is one row.
    fn variants(&mut self, path: &str, tag: &str, variants: &[Opened<'a>], rows: &mut Vec<Row>) {
        let tag_of = |variant: &Opened<'a>| {
            variant.schema["properties"][tag]["const"].as_str().unwrap_or_default()
        };
        let tag_path = join(path, tag);
        rows.push(Row {
            key: tag_path.clone(),
            kind: or(variants.iter().map(|variant| code(tag_of(variant)))),
            default: "required".to_owned(),
            meaning: variants.iter().map(|v| listed(&code(tag_of(v)), v.description)).collect(),
        });
        let mut shared: Vec<(Entry<'a>, Vec<String>)> = Vec::new();
        for variant in variants {
            let value = code(&format!("{tag}: {}", tag_of(variant)));
            for entry in self.keys_of(*variant, path).into_iter().filter(|e| e.path != tag_path) {
                match shared.iter_mut().find(|(other, _)| other.is_alike(&entry)) {
                    Some((_, values)) => values.push(value.clone()),
                    None => shared.push((entry, vec![value.clone()])),
                }
            }
        }
        for (entry, values) in shared {
            let condition = format!("With {}: ", or(values.into_iter()));
            self.key(entry, &condition, rows);
        }
    }

    /// Rows of the keys of those choices that are objects.
    fn choices(&mut self, path: &str, choices: &[Opened<'a>], rows: &mut Vec<Row>) {
        let objects: Vec<_> =
            choices.iter().filter(|choice| matches!(self.form(**choice), Form::Keys(_))).collect();
        let mut listed: Vec<String> = Vec::new(); // a key that several forms have is one row
        for object in &objects {
            let mut entries = self.keys_of(**object, path);
            entries.retain(|entry| !listed.contains(&entry.path));
            listed.extend(entries.iter().map(|entry| entry.path.clone()));
            if objects.len() > 1 {
                for entry in &mut entries {
                    entry.default.clear();
                }
            }
            let condition = match entries.len() {
                1 => sentence(object.description) + " ",
                _ => String::new(),
            };
            for entry in entries {
                self.key(entry, &condition, rows);
            }
        }
    }

    fn row(&self, entry: &Entry<'a>, condition: &str) -> Row {
        let Entry { path, key, default } = entry;
        let mut meaning = format!("{condition}{}", sentence(key.description));
        let definition = key.definition.map_or("", |name| text(&self.definitions[name]));
        for paragraph in definition.split("\n\n").skip(1) {
            let _ = write!(meaning, " {}", sentence(paragraph));
        }
        match self.form(*key) {
            Form::Values(values) => {
                for value in &values {
                    meaning.push_str(&listed(&code(value_of(value)), value.description));
                }
            }
            Form::Choices(choices) => {
                for choice in &choices {
                    let is_object_of_one = self.keys_of(*choice, path).len() == 1;
                    if !is_object_of_one && !choice.description.is_empty() {
                        meaning.push_str(&listed(&self.kind(*choice), choice.description));
                    }
                }
            }
            _ => {}
        }
        let (key, kind) = (path.clone(), self.kind(*key));
        Row { key, kind, default: default.clone(), meaning }
    }

    fn default(&self, key: Opened<'a>) -> String {
        match key.default {
            None | Some(Value::Null) => "none".to_owned(),
            // Its keys have theirs.
            Some(_) if matches!(self.form(key), Form::Keys(_)) => String::new(),
            Some(default) => code(&flow(default)),
        }
    }

    /// What may be written for the key, with its range.
    fn kind(&self, key: Opened<'a>) -> String {
        or(self.kinds(key).into_iter())
    }

    fn kinds(&self, key: Opened<'a>) -> Vec<String> {
        let mut kinds = match self.form(key) {
            Form::Keys(_) | Form::Tagged(..) => vec!["object".to_owned()],
            Form::Names(value) if self.is_plain(self.open(value)) => {
                vec![format!("map of {}", self.kind(self.open(value)))]
            }
            Form::Names(_) => vec!["map".to_owned()],
            Form::Values(values) => values.iter().map(|value| code(value_of(value))).collect(),
            Form::Choices(choices) => choices.iter().flat_map(|c| self.kinds(*c)).collect(),
            Form::List(item) => {
                vec![format!("list{} of {}", length(key.schema), self.kind(item))]
            }
            Form::Plain => plain_kinds(key.schema),
        };
        if key.is_nullable {
            kinds.push(code("null"));
        }
        kinds.dedup();
        kinds
    }

    fn is_plain(&self, key: Opened<'a>) -> bool {
        match self.form(key) {
            Form::Plain => true,
            Form::List(item) => self.is_plain(item),
            Form::Choices(choices) => {
                key.definition.is_none() && choices.iter().all(|choice| self.is_plain(*choice))
            }
            _ => false,
        }
    }

    fn form(&self, key: Opened<'a>) -> Form<'a> {
        let schema = key.schema;
        let open_all = |items: &'a Vec<Value>| -> Vec<_> {
            items.iter().map(|item| self.open(item)).collect()
        };
        if let Some(properties) = schema["properties"].as_object() {
            return Form::Keys(properties);
        }
        if schema["additionalProperties"].is_object() {
            return Form::Names(&schema["additionalProperties"]);
        }
        if schema["items"].is_object() {
            return Form::List(self.open(&schema["items"]));
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            return Form::Choices(open_all(choices));
        }
        let Some(variants) = schema["oneOf"].as_array() else { return Form::Plain };
        let is_tag = |(_, value): &(&String, &Value)| value["const"].is_string();
        let first = variants.first().and_then(|variant| variant["properties"].as_object());
        match first.and_then(|properties| properties.iter().find(is_tag)) {
            Some((tag, _)) => Form::Tagged(tag, open_all(variants)),
            None => Form::Values(open_all(variants)),
        }
    }

    /// Follows references and takes `null` apart.
    fn open(&self, schema: &'a Value) -> Opened<'a> {
        let mut opened = Opened {
            schema,
            description: text(schema),
            definition: None,
            default: schema.get("default"),
            is_nullable: contains(&schema["type"], "null") && schema["items"].is_object(),
        };
        loop {
            let schema = opened.schema;
            if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
                opened.definition = Some(name);
                opened.schema = &self.definitions[name];
            } else if let Some([only]) = schema["allOf"].as_array().map(Vec::as_slice) {
                opened.schema = only;
            } else if let Some([some, null]) = schema["anyOf"].as_array().map(Vec::as_slice)
                && null["type"] == "null"
            {
                opened.schema = some;
                opened.is_nullable = true;
            } else {
                break;
            }
        }
        if opened.description.is_empty() {
            opened.description = text(opened.schema);
        }
        opened
    }
}

impl Entry<'_> {
    /// Whether one row can stand for both.
    fn is_alike(&self, other: &Self) -> bool {
        (&self.path, &self.default, self.key.schema, self.key.description)
            == (&other.path, &other.default, other.key.schema, other.key.description)
    }
}

/// The one string that a schema allows.
fn value_of<'a>(key: &Opened<'a>) -> &'a str {
    key.schema["const"].as_str().unwrap_or_default()
}

fn text(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

fn contains(list: &Value, text: &str) -> bool {
    list.as_array().is_some_and(|items| items.iter().any(|item| item == text))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The tables without the head.
    fn tables(schema: &Value) -> String {
        let page = markdown(schema);
        page.strip_prefix(HEAD.trim_end()).expect("the head comes first").trim().to_owned()
    }

    #[test]
    fn a_section_has_a_row_for_each_key() {
        let schema = json!({
            "properties": {
                "version": {"type": "integer", "minimum": 1, "maximum": 1, "description": "Of this format"},
                "train": {"allOf": [{"$ref": "#/definitions/Train"}], "description": "Trains", "default": {}},
            },
            "required": ["version"],
            "definitions": {"Train": {
                "properties": {
                    "rate": {"type": "number", "exclusiveMinimum": 0.0, "maximum": 1.0, "default": 0.1_f32, "description": "Step\nsize"},
                    "seed": {"type": ["integer", "null"], "minimum": 0, "maximum": u64::MAX >> 1, "default": null},
                    "hidden": {"type": "array", "items": {"type": "integer"}, "maxItems": 64, "default": [256, 2]},
                },
            }},
        });
        let expected = "\
### Top level

| key | type | default | meaning |
| --- | --- | --- | --- |
| `version` | whole number (1) | required | Of this format. |
| `train` | object |  | Trains. Keys: [below](#train). |

### `train`

Trains.

| key | type | default | meaning |
| --- | --- | --- | --- |
| `train.rate` | number (above 0 to 1) | `0.1` | Step size. |
| `train.seed` | whole number (0 to 2^63 - 1) or `null` | none |  |
| `train.hidden` | list (at most 64) of whole number | `[256, 2]` |  |";
        assert_eq!(tables(&schema), expected);
    }

    #[test]
    fn a_key_that_several_variants_have_alike_is_one_row() {
        let variant = |name: &str, about: &str| {
            let over = json!({"type": "string", "default": "valid", "description": "Of whom"});
            json!({"properties": {"policy": {"const": name}, "over": over}, "description": about})
        };
        let schema = json!({"properties": {"decision": {
            "oneOf": [variant("gain", "Both"), variant("f1", "Brands"), {"properties": {"policy": {"const": "no"}}}],
            "default": {"policy": "no"}, "description": "What is predicted",
        }}});
        let rows = "\
| `decision` | object | `{policy: no}` | What is predicted. |
| `decision.policy` | `gain`, `f1` or `no` | required | `gain`: Both.<br>`f1`: Brands.<br>`no` |
| `decision.over` | string | `valid` | With `policy: gain` or `policy: f1`: Of whom. |";
        let tables = tables(&schema);
        assert!(tables.ends_with(rows), "{tables}");
    }

    #[test]
    fn a_type_that_is_used_twice_is_listed_once() {
        let view = json!({"$ref": "#/definitions/View"});
        let schema = json!({
            "properties": {"users": view, "brands": view},
            "required": ["users", "brands"],
            "definitions": {"View": {"description": "Rows", "anyOf": [
                {"properties": {"table": {"type": "string", "description": "Its name"}}, "required": ["table"], "description": "A table"},
                {"type": "string", "description": "A | file"},
            ]}},
        });
        let rows = "\
| `users` | object or string | required | Rows.<br>string: A \\| file. |
| `users.table` | string | required | A table. Its name. |
| `brands` | object or string | required | Rows.<br>string: A \\| file. Keys: as in `users`. |";
        let tables = tables(&schema);
        assert!(tables.ends_with(rows), "{tables}");
    }
}

//! YAML text to a JSON value, and the place of every node in the text.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, Span};
use serde_json::Value;

/// The way to a node: map keys and sequence indices from the root.
pub(crate) type Path = Vec<String>;

/// 1-based line and column.
pub(crate) type Place = (usize, usize);

/// A parsed document with the place of its nodes.
pub(crate) struct Document {
    pub(crate) value: Value,
    places: HashMap<Path, (Place, Place)>, // of the key, of the value
    /// Keys that stand twice in one mapping: path, first place, second place.
    pub(crate) repeated: Vec<(Path, Place, Place)>,
}

impl Document {
    /// Parses `text`. The error is the parser's message with its 1-based place.
    pub(crate) fn parse(text: &str) -> Result<Self, (Place, String)> {
        let (places, repeated) = places(text)?;
        // A repeated key is reported with both places by the caller; so that all other
        // mistakes are reported too, the last of its values stands.
        let value = match parse_value(text) {
            Ok(value) => value,
            Err(_) if !repeated.is_empty() => serde_yaml::from_str(text).unwrap_or(Value::Null),
            Err(err) => return Err(err),
        };
        Ok(Self { value, places, repeated })
    }

    /// Place of the key that leads to `path`, or of the nearest ancestor that stands in the text.
    pub(crate) fn key_place(&self, path: &[String]) -> Place {
        self.nearest(path).map_or((1, 1), |(key, _)| key)
    }

    /// Place of the value at `path`, or of the nearest ancestor that stands in the text.
    pub(crate) fn value_place(&self, path: &[String]) -> Place {
        match self.places.get(path) {
            Some(&(_, value)) => value,
            None => self.key_place(path),
        }
    }

    fn nearest(&self, path: &[String]) -> Option<(Place, Place)> {
        (0..=path.len()).rev().find_map(|n| self.places.get(&path[..n]).copied())
    }
}

/// A scalar, list or map written on one line, as after `--set key=`.
pub(crate) fn parse_value(text: &str) -> Result<Value, (Place, String)> {
    let fail = |err: serde_yaml::Error| {
        let place = err.location().map_or((1, 1), |at| (at.line(), at.column()));
        (place, err.to_string())
    };
    let mut value: serde_yaml::Value = serde_yaml::from_str(text).map_err(fail)?;
    value.apply_merge().map_err(fail)?;
    serde_json::to_value(value).map_err(|err| ((1, 1), format!("not usable here: {err}")))
}

type Places = HashMap<Path, (Place, Place)>;
type Repeated = Vec<(Path, Place, Place)>;

/// Walks the parser's events; `serde_yaml` keeps no places of its values.
fn places(text: &str) -> Result<(Places, Repeated), (Place, String)> {
    enum Open {
        Map { key: Option<(String, Place)> },
        Seq { next: usize },
    }
    fn here(span: Span) -> Place {
        (span.start.line(), span.start.col() + 1)
    }

    let mut found = HashMap::new();
    let mut repeated = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut path: Path = Vec::new();

    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|err| {
            ((err.marker().line(), err.marker().col() + 1), err.info().to_string())
        })?;
        let at = here(span);
        // A scalar in key position is no node of its own.
        if let (Some(Open::Map { key: key @ None }), Event::Scalar(text, ..)) =
            (open.last_mut(), &event)
        {
            *key = Some((text.to_string(), at));
            continue;
        }
        let starts_node = matches!(
            event,
            Event::Scalar(..)
                | Event::Alias(_)
                | Event::MappingStart(..)
                | Event::SequenceStart(..)
        );
        if starts_node {
            let key_at = match open.last_mut() {
                None => at,
                Some(Open::Map { key }) => {
                    let (name, key_at) = key.take().unwrap_or_default();
                    path.push(name);
                    key_at
                }
                Some(Open::Seq { next }) => {
                    path.push(next.to_string());
                    *next += 1;
                    at
                }
            };
            if let Some((first, _)) = found.insert(path.clone(), (key_at, at)) {
                repeated.push((path.clone(), first, key_at));
            }
        }
        match event {
            Event::MappingStart(..) => open.push(Open::Map { key: None }),
            Event::SequenceStart(..) => open.push(Open::Seq { next: 0 }),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                path.pop();
            }
            Event::Scalar(..) | Event::Alias(_) => {
                path.pop();
            }
            _ => {}
        }
    }
    Ok((found, repeated))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn every_node_has_its_line_and_column() {
        let doc = Document::parse("a: 1\nb:\n  c: [x, {d: 2}]\n").unwrap();
        assert_eq!(doc.key_place(&path("b.c")), (3, 3));
        assert_eq!(doc.value_place(&path("b.c")), (3, 6));
        assert_eq!(doc.value_place(&path("b.c.1.d")), (3, 14));
        assert_eq!(doc.key_place(&path("b.not.there")), (2, 1), "the nearest ancestor");
    }

    #[test]
    fn a_repeated_key_is_found_with_both_places() {
        let doc = Document::parse("x: {a: 1}\ny: 2\nx: 3\n").unwrap();
        assert_eq!(doc.repeated, vec![(path("x"), (1, 1), (3, 1))]);
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let (place, _) = Document::parse("a: [1, 2\nb: 3\n").err().unwrap();
        assert_eq!(place.0, 2);
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let doc = Document::parse("a: &x {p: 1}\nb: {<<: *x, q: 2}\n").unwrap();
        assert_eq!(doc.value["b"], serde_json::json!({"q": 2, "p": 1}));
    }
}

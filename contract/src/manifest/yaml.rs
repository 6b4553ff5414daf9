//! YAML text to a JSON value, and the place of every node in the text.

use std::fmt;

use serde::de::{EnumAccess, MapAccess, SeqAccess, VariantAccess as _, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use places::{Places, Repeated, places};

mod places;

pub(crate) use places::{Path, Place};

/// Nodes that YAML allows and a manifest does not, and what they are.
pub(crate) type Unusable = Vec<(Path, String)>;

/// A parsed document with the place of its nodes.
pub(crate) struct Document {
    pub(crate) value: Value,
    /// They are null in `value`.
    pub(crate) unusable: Unusable,
    places: Places,
    pub(crate) repeated: Repeated,
}

impl Document {
    /// Parses `text`. The error is the parser's message with its 1-based place.
    pub(crate) fn parse(text: &str) -> Result<Self, (Place, String)> {
        let (places, repeated) = places(text)?;
        // A repeated key is reported by the caller, with both places; the last value counts.
        let (value, unusable) = parse_value(text)?;
        Ok(Self { value, unusable, places, repeated })
    }

    /// Place of the key of `path`, or of its nearest ancestor in the text.
    pub(crate) fn key_place(&self, path: &[String]) -> Place {
        self.nearest(path).map_or((1, 1), |(key, _)| key)
    }

    /// Place of the value at `path`, or of its nearest ancestor in the text.
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

/// The value of a YAML text, such as that of `--set key=`, and its nodes that cannot be used, as in
/// [`Document::unusable`].
pub(crate) fn parse_value(text: &str) -> Result<(Value, Unusable), (Place, String)> {
    let fail = |err: serde_yaml::Error| {
        let place = err.location().map_or((1, 1), |at| (at.line(), at.column()));
        (place, err.to_string())
    };
    let Any(mut value) = serde_yaml::from_str(text).map_err(fail)?;
    value.apply_merge().map_err(fail)?;
    let mut unusable = Vec::new();
    let value = to_json(value, &mut Vec::new(), &mut unusable);
    Ok((value, unusable))
}

/// Any value, also with repeated keys, of which the last counts. Whole numbers beyond 64 bits
/// become fractions; the schema then checks their range.
struct Any(serde_yaml::Value);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor).map(Self)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = serde_yaml::Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(serde_yaml::Value::Null)
    }

    /// An empty document.
    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(serde_yaml::Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Self::Value, E> {
        Ok((value as f64).into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Self::Value, E> {
        Ok((value as f64).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Any(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = serde_yaml::Mapping::new();
        while let Some((Any(key), Any(value))) = map.next_entry()? {
            entries.insert(key, value);
        }
        Ok(entries.into())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Self::Value, A::Error> {
        let (tag, content) = tagged.variant::<String>()?;
        let Any(value) = content.newtype_variant()?;
        let tag = serde_yaml::value::Tag::new(tag);
        Ok(serde_yaml::Value::Tagged(Box::new(serde_yaml::value::TaggedValue { tag, value })))
    }
}

fn to_json(value: serde_yaml::Value, path: &mut Path, unusable: &mut Unusable) -> Value {
    match value {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(value) => value.into(),
        serde_yaml::Value::String(text) => text.into(),
        serde_yaml::Value::Number(number) => {
            let whole = number.as_u64().map(Value::from).or(number.as_i64().map(Value::from));
            let finite = || serde_json::Number::from_f64(number.as_f64()?).map(Value::from);
            whole.or_else(finite).unwrap_or_else(|| {
                unusable.push((path.clone(), format!("expected a finite number, got `{number}`")));
                Value::Null
            })
        }
        serde_yaml::Value::Sequence(items) => {
            let mut list = Vec::new();
            for (i, item) in items.into_iter().enumerate() {
                path.push(i.to_string());
                list.push(to_json(item, path, unusable));
                path.pop();
            }
            list.into()
        }
        serde_yaml::Value::Mapping(entries) => {
            let mut map = serde_json::Map::new();
            for (key, value) in entries {
                let key = match key {
                    serde_yaml::Value::String(text) => text,
                    serde_yaml::Value::Number(number) => number.to_string(),
                    serde_yaml::Value::Bool(value) => value.to_string(),
                    serde_yaml::Value::Null => "null".to_owned(),
                    _ => {
                        unusable.push((path.clone(), "a key must be a string".to_owned()));
                        continue;
                    }
                };
                path.push(key.clone());
                map.insert(key, to_json(value, path, unusable));
                path.pop();
            }
            map.into()
        }
        serde_yaml::Value::Tagged(tagged) => {
            let message = format!("tag `{}`: a manifest has no tags; remove it", tagged.tag);
            unusable.push((path.clone(), message));
            Value::Null
        }
    }
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
    fn unusable_values_are_reported_with_their_path() {
        let doc = Document::parse("a: [1, .nan]\nb: {c: -.inf}\nd: !e 1\n").unwrap();
        let found = |at: &str, message: &str| (path(at), message.to_owned());
        assert_eq!(
            doc.unusable,
            [
                found("a.1", "expected a finite number, got `.nan`"),
                found("b.c", "expected a finite number, got `-.inf`"),
                found("d", "tag `!e`: a manifest has no tags; remove it"),
            ]
        );
        assert_eq!(doc.value, serde_json::json!({"a": [1, null], "b": {"c": null}, "d": null}));
    }

    #[test]
    fn tabs_second_documents_and_lists_as_keys_are_rejected_with_their_place() {
        let err = |text: &str| Document::parse(text).err().unwrap();
        let (place, message) = err("a:\n\tb: 1\n");
        assert_eq!(place, (2, 2));
        assert!(message.ends_with("indent with spaces"), "{message}");
        assert_eq!(err("a: 1\n---\nb: 1\n").0, (2, 1));
        let (place, message) = err(&"- ".repeat(100_000));
        assert_eq!((place, &*message), ((1, 131), "nested more than 64 levels deep"));
        assert_eq!(err("a: 1\n? [b]\n: 1\n"), ((2, 3), "a key must be a string".to_owned()));
    }

    #[test]
    fn whole_numbers_beyond_64_bits_are_numbers() {
        let doc = Document::parse("a: 99999999999999999999\nb: -99999999999999999999\n").unwrap();
        assert_eq!(doc.value, serde_json::json!({"a": 1e20, "b": -1e20}));
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let doc = Document::parse("a: &x {p: 1}\nb: {<<: *x, q: 2}\n").unwrap();
        assert_eq!(doc.value["b"], serde_json::json!({"q": 2, "p": 1}));
    }
}

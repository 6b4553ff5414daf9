//! The content of a query file, apart from its comments and layout.

use std::path::Path;

use indexmap::IndexMap;
use serde_json::Value;
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::depth::{DEPTH_MAX, depth, on_large_stack};
use super::shipped;

/// Depth from which a query gets a large stack; less fits into the stack of any thread.
const DEPTH_SMALL: usize = 60;

/// The text of a query file, without the byte order mark that some editors write first; of a plain name
/// the shipped query's.
///
/// # Errors
///
/// If the file cannot be read or is not UTF-8.
pub fn read(path: &Path) -> std::io::Result<String> {
    if let Some(text) = shipped::text(path) {
        return Ok(text.to_owned());
    }
    let text = std::fs::read_to_string(path)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// A placeholder's default, from a comment in the query's header: `-- $name = value: what it is`.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamDefault {
    /// Without the `$`
    pub name: String,
    /// A number, a string, true, false, null or a list
    pub value: Value,
    /// 1-based
    pub line: usize,
}

/// A line of the header that begins like a default and is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadDefault {
    /// 1-based
    pub line: usize,
    /// The comment's text, or the repeated name
    pub found: BadDefaultFound,
}

/// What is wrong with a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadDefaultFound {
    /// Its value cannot be read
    Unreadable(String),
    /// Another line has this name
    Repeated(String),
}

/// The defaults of a query's header: its first lines, as far as they are comments or empty.
///
/// # Errors
///
/// The first line that begins like a default and is not one.
pub fn defaults(text: &str) -> Result<Vec<ParamDefault>, BadDefault> {
    let header = text.lines().take_while(|line| line.starts_with("--") || line.is_empty());
    let mut defaults: Vec<ParamDefault> = Vec::new();
    for (i, line) in header.enumerate() {
        let comment = line.trim_start_matches("--").trim();
        let Some((name, rest)) = declaration(comment) else { continue };
        let bad = |found| BadDefault { line: i + 1, found };
        let value =
            value_of(rest).ok_or_else(|| bad(BadDefaultFound::Unreadable(comment.to_owned())))?;
        if defaults.iter().any(|default| default.name == name) {
            return Err(bad(BadDefaultFound::Repeated(name.to_owned())));
        }
        defaults.push(ParamDefault { name: name.to_owned(), value, line: i + 1 });
    }
    Ok(defaults)
}

/// Name and rest of a comment that starts with `$name =`.
fn declaration(comment: &str) -> Option<(&str, &str)> {
    let (name, rest) = comment.strip_prefix('$')?.split_once('=')?;
    let name = name.trim_end();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, rest))
}

/// The value of `value` or `value: what it is`.
fn value_of(rest: &str) -> Option<Value> {
    let value = rest.split_once(": ").map_or(rest, |(value, _)| value).trim();
    let value: Value = serde_yaml::from_str(value).ok()?;
    let is_plain = |value: &Value| !value.is_object() && !value.is_array();
    let is_param = match &value {
        Value::Array(items) => !items.is_empty() && items.iter().all(is_plain),
        value => is_plain(value),
    };
    is_param.then_some(value)
}

/// The query parsed and printed again, one clause per line: the same for queries that differ only
/// in comments, layout and the case of keywords. A query that cannot be parsed or is deeper than
/// [`DEPTH_MAX`] is left as it is; the stage reports it when it runs.
pub fn canonical(text: &str) -> String {
    let depth = depth(text);
    let printed = if depth <= DEPTH_SMALL {
        printed(text)
    } else if depth <= DEPTH_MAX {
        on_large_stack(|| printed(text)).unwrap_or_default()
    } else {
        None
    };
    printed.unwrap_or_else(|| text.to_owned())
}

fn printed(text: &str) -> Option<String> {
    let statements = Parser::parse_sql(&GenericDialect {}, text).ok()?;
    let printed: Vec<String> = statements.iter().map(|s| format!("{s:#}")).collect();
    Some(printed.join(";\n"))
}

/// The parameters that a query uses, without the `$`, in order of their names; none of a text that is
/// no SQL.
pub fn placeholders(text: &str) -> Vec<String> {
    placeholders_of_sql(text).unwrap_or_default()
}

/// As [`placeholders`], but `None` of a text that is no SQL.
pub fn placeholders_of_sql(text: &str) -> Option<Vec<String>> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().ok()?;
    let mut used: Vec<String> = tokens
        .into_iter()
        .filter_map(|token| match token {
            Token::Placeholder(name) => name.strip_prefix('$').map(str::to_owned),
            _ => None,
        })
        .collect();
    used.sort();
    used.dedup();
    Some(used)
}

/// The parameters that a query uses, with their values: those given, else its own defaults. One
/// with neither is null; the stage reports it when it runs.
pub fn effective_params(text: &str, given: &IndexMap<String, Value>) -> IndexMap<String, Value> {
    let defaults = defaults(text).unwrap_or_default();
    let value = |name: String| {
        let default = defaults.iter().find(|default| default.name == name);
        let value = given.get(&name).or(default.map(|default| &default.value));
        (name, value.cloned().unwrap_or_default())
    };
    placeholders(text).into_iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const QUERY: &str = "-- Draws users.\n-- $seed = 7: of the draw\nselect user_id from users where draw(user_id, $seed, 0) < $share";

    #[test]
    fn comments_layout_and_case_of_keywords_change_nothing() {
        let other =
            "SELECT user_id\n  FROM users -- all\n  WHERE draw(user_id, $seed, 0) < $share\n";
        assert_eq!(canonical(QUERY), canonical(other));
        assert_ne!(canonical(QUERY), canonical(&QUERY.replace('<', "<=")));
        assert_eq!(canonical("select (\n-- a"), "select (\n-- a", "no query is left as it is");
    }

    /// A text that is left as it is keeps its comment.
    #[test]
    fn a_deep_query_is_printed_and_one_too_deep_is_left_as_it_is() {
        let query = |n: usize| {
            format!(
                "-- all\nselect user_id from users where {}",
                vec!["user_id > 0"; n].join(" and ")
            )
        };
        let printed = canonical(&query(500));
        assert!(printed.starts_with("SELECT") && printed.matches("AND").count() == 499);
        assert_eq!(canonical(&query(100_000)), query(100_000));
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q.sql");
        std::fs::write(&path, format!("\u{feff}{QUERY}")).unwrap();
        assert_eq!(read(&path).unwrap(), QUERY);
    }

    #[test]
    fn only_what_the_query_uses_counts() {
        let given =
            IndexMap::from([("share".to_owned(), json!(0.5)), ("n_users".to_owned(), json!(1000))]);
        let params = effective_params(QUERY, &given);
        assert_eq!(json!(params), json!({"seed": 7, "share": 0.5}));
        let given = IndexMap::from([("seed".to_owned(), json!(8))]);
        assert_eq!(json!(effective_params(QUERY, &given)), json!({"seed": 8, "share": null}));
    }

    #[test]
    fn a_bad_default_has_its_line() {
        let found = BadDefaultFound::Unreadable("$seed = [".to_owned());
        assert_eq!(defaults("--\n-- $seed = [\n").unwrap_err(), BadDefault { line: 2, found });
        let found = BadDefaultFound::Repeated("a".to_owned());
        assert_eq!(defaults("-- $a = 1\n-- $a = 2\n").unwrap_err(), BadDefault { line: 2, found });
    }
}

//! The place of every node in a YAML text; `serde_yaml` keeps none of its values.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, Span};

/// The path of a node: map keys and sequence indices from the root.
pub(crate) type Path = Vec<String>;

/// 1-based line and column.
pub(crate) type Place = (usize, usize);

/// The place of each node's key, or of the node itself if it has none, and of its value.
pub(super) type Places = HashMap<Path, (Place, Place)>;

/// Keys that appear twice in one mapping: path, first place, second place.
pub(super) type Repeated = Vec<(Path, Place, Place)>;

/// Deepest nesting of maps and lists: each node keeps its path from the root.
const MAX_DEPTH: usize = 64;

/// Finds the places of all nodes. The error is the parser's message with its place.
pub(super) fn places(text: &str) -> Result<(Places, Repeated), (Place, String)> {
    let mut walk = Walk::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|err| {
            let hint =
                if err.info().contains("tabs disallowed") { "; indent with spaces" } else { "" };
            ((err.marker().line(), err.marker().col() + 1), format!("{}{hint}", err.info()))
        })?;
        walk.step(&event, here(span))?;
    }
    Ok((walk.found, walk.repeated))
}

fn here(span: Span) -> Place {
    (span.start.line(), span.start.col() + 1)
}

#[derive(Default)]
struct Walk {
    found: Places,
    repeated: Repeated,
    /// Maps and lists that are not closed yet, the innermost last
    open: Vec<Open>,
    /// Path of the node that is being read
    path: Path,
}

enum Open {
    Map { key: Option<(String, Place)> },
    Seq { next: usize },
}

impl Walk {
    fn step(&mut self, event: &Event, at: Place) -> Result<(), (Place, String)> {
        if matches!(event, Event::DocumentStart(..)) && !self.found.is_empty() {
            return Err((at, "a second document begins here, expected one".to_owned()));
        }
        // A scalar in key position is not a node of its own.
        if let (Some(Open::Map { key: key @ None }), Event::Scalar(text, ..)) =
            (self.open.last_mut(), event)
        {
            *key = Some((text.to_string(), at));
            return Ok(());
        }
        if self.open.len() > MAX_DEPTH {
            return Err((at, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        match event {
            Event::Scalar(..) | Event::Alias(_) => {
                self.node(at)?;
                self.path.pop();
            }
            Event::MappingStart(..) => {
                self.node(at)?;
                self.open.push(Open::Map { key: None });
            }
            Event::SequenceStart(..) => {
                self.node(at)?;
                self.open.push(Open::Seq { next: 0 });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
                self.path.pop();
            }
            _ => {}
        }
        Ok(())
    }

    /// Starts a node: adds its key or index to the path.
    fn node(&mut self, at: Place) -> Result<(), (Place, String)> {
        let key_at = match self.open.last_mut() {
            None => at,
            Some(Open::Map { key }) => {
                let Some((name, key_at)) = key.take() else {
                    return Err((at, "a key must be a string".to_owned()));
                };
                self.path.push(name);
                key_at
            }
            Some(Open::Seq { next }) => {
                self.path.push(next.to_string());
                *next += 1;
                at
            }
        };
        if let Some((first, _)) = self.found.insert(self.path.clone(), (key_at, at)) {
            self.repeated.push((self.path.clone(), first, key_at));
        }
        Ok(())
    }
}

//! What `train.own_history` names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::History;

/// The features that hold a user's past brands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Histories {
    /// One feature
    One(String),
    /// Several, each with another weight of the brands
    Several(#[schemars(length(min = 1, max = 16))] Vec<String>),
}

impl Histories {
    /// The names of the features, in order.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }

    /// Replaces the name of a history that the stage makes by all its features; a list stays as it is.
    pub fn expand(&mut self, history: &History) {
        if *self == Self::One(history.name.clone()) && history.weights.len() > 1 {
            *self = Self::Several(history.names());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_history_stands_for_all_its_features() {
        let history: History = serde_json::from_value(
            serde_json::json!({"name": "past", "weights": ["count", "since_last"]}),
        )
        .unwrap();
        let expanded = |mut own: Histories| {
            own.expand(&history);
            own.names().to_vec()
        };
        let one = |name: &str| Histories::One(name.to_owned());
        assert_eq!(expanded(one("past")), ["past", "past_since_last"]);
        assert_eq!(expanded(one("other")), ["other"]);
        assert_eq!(expanded(Histories::Several(vec!["past".to_owned()])), ["past"]);
    }
}

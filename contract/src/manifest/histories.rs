//! What `train.own_history` names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TrainParams;
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
}

impl TrainParams {
    /// Replaces the name of a history that the stage makes, in `own_history`, by all its features; a
    /// list stays as it is. Where `features` names the history too, the model reads them all: the
    /// layers the first, as before, the rest through `own_history` alone.
    pub(super) fn expand_history(&mut self, history: &History) {
        if self.own_history != Some(Histories::One(history.name.clone()))
            || history.weights.len() < 2
        {
            return;
        }
        let names = history.names();
        if let Some(features) = self.features.as_mut().filter(|f| f.contains(&history.name)) {
            let missing = names.iter().filter(|name| !features.contains(name));
            let missing: Vec<String> = missing.cloned().collect();
            features.extend(missing);
        }
        self.own_history = Some(Histories::Several(names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_history_stands_for_all_its_features() {
        let weights = serde_json::json!({"name": "past", "weights": ["count", "since_last"]});
        let history: History = serde_json::from_value(weights).unwrap();
        let expanded = |own: Histories, features: Option<&[&str]>| {
            let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            let mut train = TrainParams {
                own_history: Some(own),
                features: features.map(names),
                ..TrainParams::default()
            };
            train.expand_history(&history);
            (train.own_history.unwrap().names().to_vec(), train.features)
        };
        let one = |name: &str| Histories::One(name.to_owned());
        assert_eq!(expanded(one("past"), None).0, ["past", "past_since_last"]);
        let (_, features) = expanded(one("past"), Some(&["x", "past"]));
        assert_eq!(features.unwrap(), ["x", "past", "past_since_last"]);
        let (own, features) = expanded(one("other"), Some(&["past"]));
        assert_eq!((own, features.unwrap()), (vec!["other".to_owned()], vec!["past".to_owned()]));
        assert_eq!(expanded(Histories::Several(vec!["past".to_owned()]), None).0, ["past"]);
    }
}

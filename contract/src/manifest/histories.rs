//! What `train.own_history` names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

    /// The same with each name replaced by the features that it stands for.
    ///
    /// * `features_of`: those of a name, in order; only itself if it is a feature.
    #[must_use]
    pub fn resolved(self, features_of: impl Fn(&str) -> Vec<String>) -> Self {
        let features: Vec<String> =
            self.names().iter().flat_map(|name| features_of(name)).collect();
        if features == self.names() { self } else { Self::Several(features) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_history_stands_for_all_its_features() {
        let features_of = |name: &str| match name {
            "past" => vec!["past".to_owned(), "past_since_last".to_owned()],
            feature => vec![feature.to_owned()],
        };
        let past = Histories::One("past".to_owned());
        assert_eq!(past.resolved(features_of).names(), ["past", "past_since_last"]);
        let feature = Histories::One("other".to_owned());
        assert_eq!(feature.clone().resolved(features_of), feature);
    }
}

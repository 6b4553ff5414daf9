//! Brands by volume: head, torso and tail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Brands by volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The fewest largest brands that hold a given share of all labels
    Head,
    /// Brands between the two
    Torso,
    /// The smallest brands that hold a given share of all labels
    Tail,
}

impl Tier {
    /// From the largest to the smallest brands.
    pub const ALL: [Self; 3] = [Self::Head, Self::Torso, Self::Tail];

    /// Name in `brands.arrow`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Torso => "torso",
            Self::Tail => "tail",
        }
    }

    /// The tier of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

/// One value per tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByTier<T> {
    /// Of the largest brands
    pub head: T,
    /// Of those between
    pub torso: T,
    /// Of the smallest brands
    pub tail: T,
}

impl<T> ByTier<T> {
    /// Makes the value of each tier.
    pub fn of(mut value: impl FnMut(Tier) -> T) -> Self {
        Self { head: value(Tier::Head), torso: value(Tier::Torso), tail: value(Tier::Tail) }
    }

    /// The tier's value.
    pub fn get(&self, tier: Tier) -> &T {
        match tier {
            Tier::Head => &self.head,
            Tier::Torso => &self.torso,
            Tier::Tail => &self.tail,
        }
    }
}

//! Brands by volume: head, torso and tail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Brands by volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The fewest largest brands that hold a given share of all labels
    Head,
    /// Between the two
    Torso,
    /// The smallest brands that hold a given share of all labels
    Tail,
}

impl Tier {
    /// From the largest to the smallest brands.
    pub const ALL: [Self; 3] = [Self::Head, Self::Torso, Self::Tail];

    /// As in `brands.arrow`.
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

/// One value a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByTier<T> {
    /// Largest brands
    pub head: T,
    /// Between
    pub torso: T,
    /// Smallest brands
    pub tail: T,
}

impl<T> ByTier<T> {
    /// Asks for each tier's value.
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

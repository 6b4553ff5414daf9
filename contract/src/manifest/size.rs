//! Amounts of memory and disk, such as `4GiB`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An amount of memory: a number and `MiB`, `GiB` or `TiB`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct MemorySize(
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,5}(\.[0-9]+)? ?(MiB|GiB|TiB)$"), extend("examples" = ["4GiB"]))]
     String,
);

impl MemorySize {
    /// In bytes.
    pub fn bytes(&self) -> u64 {
        Self::parse(&self.0).expect("checked against the schema")
    }

    /// Bytes of a size such as `4GiB`; `None` for any other text.
    pub fn parse(text: &str) -> Option<u64> {
        let (number, unit) = text.split_at(text.find(['M', 'G', 'T'])?);
        let number: f64 = number.trim().parse().ok()?;
        let power = match unit {
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return None,
        };
        (number > 0.0).then_some((number * (1_u64 << power) as f64) as u64)
    }
}

impl Default for MemorySize {
    fn default() -> Self {
        Self("4GiB".to_owned())
    }
}

/// An amount of disk, written as a [`MemorySize`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct ScratchSize(MemorySize);

impl ScratchSize {
    /// In bytes.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

impl Default for ScratchSize {
    fn default() -> Self {
        Self(MemorySize("100GiB".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_a_binary_unit() {
        for (text, bytes) in [
            ("4GiB", Some(4 << 30)),
            ("0.5 MiB", Some(1 << 19)),
            ("1.5TiB", Some(3 << 39)),
            ("4GB", None),
            ("4", None),
            ("GiB", None),
            ("0GiB", None),
            ("-1GiB", None),
        ] {
            assert_eq!(MemorySize::parse(text), bytes, "{text}");
        }
        assert_eq!(MemorySize::default().bytes(), 4 << 30);
        assert_eq!(ScratchSize::default().bytes(), 100 << 30);
    }
}

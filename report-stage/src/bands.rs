//! Brands grouped by volume or by F1.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::Brand;

/// The volume bands that have brands, the largest first: steps of 1, 3, 10 from 10 up, and one band
/// below 10.
pub fn volume_bands(brands: &[Brand]) -> Vec<VolumeBand> {
    let mut edges = vec![0, 10];
    while edges.last().is_some_and(|&edge| edge < u64::MAX / 10) {
        let edge = edges[edges.len() - 1];
        edges.push(if edge.to_string().starts_with('1') { 3 * edge } else { edge / 3 * 10 });
    }
    let band = |(i, &from): (usize, &u64)| {
        let below = edges.get(i + 1).copied();
        let is_in = |brand: &Brand| brand.volume >= from && below.is_none_or(|b| brand.volume < b);
        let members: Vec<usize> = (0..brands.len()).filter(|&b| is_in(&brands[b])).collect();
        VolumeBand { from, below, members }
    };
    let bands = edges.iter().enumerate().map(band);
    let mut bands: Vec<VolumeBand> = bands.filter(|band| !band.members.is_empty()).collect();
    bands.reverse();
    if let Some(largest) = bands.first_mut() {
        largest.below = None;
    }
    bands
}

/// Brands of similar volume.
#[derive(Clone, Debug)]
pub struct VolumeBand {
    /// Least training users of a brand
    pub from: u64,
    /// A brand has fewer training users than this; `None` for the largest brands
    pub below: Option<u64>,
    /// The `brand_idx` of the brands
    pub members: Vec<usize>,
}

/// Number of brands in a range of F1.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct F1Band {
    /// Least F1 of the band, which ends where the next begins; the first band holds only 0
    pub from: f64,
    /// Brands in the band
    pub n: u64,
}

/// Lower ends of the bands of F1. The first holds only 0, the second what is above 0.
const F1_BANDS: [f64; 12] = [0.0, 0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// Counts brands by F1.
pub fn f1_bands(f1s: impl Iterator<Item = f64>) -> Vec<F1Band> {
    let mut bands = F1_BANDS.map(|from| F1Band { from, n: 0 }).to_vec();
    for f1 in f1s {
        let band = if f1 > 0.0 { F1_BANDS.partition_point(|&from| from <= f1) - 1 } else { 0 };
        bands[band].n += 1;
    }
    bands
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::brands::Tier;
    use serde_json::Value;

    /// Zero has its own band; .05 and .1 each start one.
    #[test]
    fn every_f1_is_in_one_band() {
        let bands = f1_bands([0.0, 0.01, 0.05, 0.1, 0.19, 1.0].into_iter());
        let counts: Vec<u64> = bands.iter().map(|band| band.n).collect();
        assert_eq!(counts, [1, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn every_brand_is_in_one_volume_band() {
        let brand =
            |volume| Brand { id: Value::Null, name: String::new(), volume, tier: Tier::Tail };
        let volumes = [4000, 300, 299, 10, 9, 0].map(brand);
        let bands: Vec<_> = volume_bands(&volumes)
            .into_iter()
            .map(|VolumeBand { from, below, members }| (from, below, members))
            .collect();
        let expected = [
            (3000, None, vec![0]),
            (300, Some(1000), vec![1]),
            (100, Some(300), vec![2]),
            (10, Some(30), vec![3]),
            (0, Some(10), vec![4, 5]),
        ];
        assert_eq!(bands, expected);
        assert!(volume_bands(&[]).is_empty());
    }
}

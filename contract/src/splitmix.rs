//! The generator splitmix64 as two functions of their arguments (Steele, Lea and Flood 2014,
//! "Fast splittable pseudorandom number generators").

/// The step between two states: 2^64 divided by the golden ratio.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The random number of a state: a bijection whose every output bit depends on every input bit.
#[inline]
pub fn mix(state: u64) -> u64 {
    let mut random = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    random ^ (random >> 31)
}

/// The first random number of a generator seeded with `key`: a hash of it.
#[inline]
pub fn hash(key: u64) -> u64 {
    mix(key.wrapping_add(GOLDEN))
}

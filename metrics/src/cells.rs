//! Cells: neighbouring logits that are counted in one bin, the narrower the nearer they are to the
//! brand's highest logits.

use multiversion::multiversion;

/// Bins are narrower than their distance from the exact logits by this factor or up to double.
///
/// With 36,000 simulated users and brands of 25 to 5,000 of them, mean average precision is then
/// within 0.01 % of the exact one and the mean of the best F1 within 0.1 %, at any scale of the
/// logits (`exact.rs`). A brand has some 1,100 bins, however many users: 80 MB for 3,000 brands,
/// and two and a half times the rows in `histogram.arrow` that steps alone would give. Twice as fine,
/// the best F1 would be within 0.05 %, with a quarter more bins.
pub(crate) const FINENESS: i64 = 1 << FINENESS_BITS;
const FINENESS_BITS: u32 = 6;

/// Steps of the logit that no bin crosses; `histogram.arrow` says of each bin which it lies in.
pub const N_STEPS: usize = 1024;

/// Lower end of the first step: a probability of 8e-7.
pub const LOGIT_MIN: f32 = -14.0;

/// Upper end of the last step: a probability of 1 - 8e-7.
pub const LOGIT_MAX: f32 = 14.0;

/// Logits beyond this are counted as if they were this, NaN as the lowest.
const LOGIT_LIMIT: f32 = 16_384.0;

const STEP_WIDTH: f64 = (LOGIT_MAX - LOGIT_MIN) as f64 / N_STEPS as f64;

/// A position is a logit in units of `STEP_WIDTH / 2^STEP_BITS`, 1e-10, from [`LOGIT_MIN`] on.
const STEP_BITS: u32 = 28;

/// Positions from [`LOGIT_MIN`] to [`LOGIT_MAX`].
const END: i64 = (N_STEPS as i64) << STEP_BITS;

/// Step of a logit, in `0..N_STEPS`: step `s` holds `[LOGIT_MIN + s·width, LOGIT_MIN +
/// (s + 1)·width)`, `width` being 28 / 1024. The first and the last also hold what lies beyond.
pub fn step_of(logit: f32) -> usize {
    (position(kept(logit)) >> STEP_BITS).clamp(0, N_STEPS as i64 - 1) as usize
}

/// Logit in the middle of a step.
pub fn step_centre(step: usize) -> f32 {
    (f64::from(LOGIT_MIN) + (step as f64 + 0.5) * STEP_WIDTH) as f32
}

/// A logit as it is counted: finite, and with one zero only.
pub(crate) fn kept(logit: f32) -> f32 {
    if logit.is_nan() { -LOGIT_LIMIT } else { logit.clamp(-LOGIT_LIMIT, LOGIT_LIMIT) + 0.0 }
}

/// * `logit`: within the limits.
#[inline]
pub(crate) fn position(logit: f32) -> i64 {
    /// Where this is added, what is left of a number is a whole one, in the lowest bits: faster
    /// than a conversion, which would have to check the range.
    const WHOLE: f64 = 1.5 * (1_u64 << 52) as f64;

    let steps = (f64::from(logit) - f64::from(LOGIT_MIN)) / STEP_WIDTH;
    let whole = steps * (1_u64 << STEP_BITS) as f64 + WHOLE;
    whole.to_bits().wrapping_sub(WHOLE.to_bits()).cast_signed()
}

/// A stretch of `2^level` positions from `index << level` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    level: u32,
    index: i64,
}

impl Cell {
    /// The cell of a position.
    ///
    /// * `floor`: position of the lowest exact logit, not below `position`.
    ///
    /// It is the widest that ends at least [`FINENESS`] of its widths below the floor and crosses
    /// no step. As the floor rises a cell stays or becomes part of a wider one, never of two: so
    /// bins made for a lower floor can be merged for a higher one.
    #[inline]
    pub(crate) fn of(position: i64, floor: i64) -> Self {
        let widest = match position {
            ..0 => i64::BITS - 2,
            0..END => STEP_BITS,
            END.. => STEP_BITS + N_STEPS.ilog2(),
        };
        let level = level(position, floor).min(widest);
        Self { level, index: position >> level }
    }
}

/// The widest level that ends far enough below the floor.
#[inline]
fn level(position: i64, floor: i64) -> u32 {
    let distance = floor.wrapping_sub(position).cast_unsigned();
    let level = ((distance >> FINENESS_BITS) | 1).ilog2();
    let is_near = (floor >> level).wrapping_sub(position >> level) <= FINENESS;
    level - u32::from(is_near && level > 0)
}

/// Cells of a level that is neither the widest nor the narrowest.
const CELLS: u32 = FINENESS as u32 + 1;

/// Fewer than 2 to the power of this are the positions below the steps.
const BELOW_BITS: u32 = 48;

/// The widest level of a cell below the steps: its width is at most 1/64 of its distance from the floor.
const WIDEST_BELOW: u32 = BELOW_BITS - FINENESS_BITS - 1;

/// Levels from a step on that cells below the steps have.
const WIDE_LEVELS: u32 = WIDEST_BELOW + 1 - STEP_BITS;

/// Slots of cells, by ascending logit: those below the steps that are as wide or wider, then those as
/// wide as a step, then the narrower.
///
/// The narrowest have twice as many, as they also lie next to the floor.
pub(crate) const N_SLOTS: usize = N_STEPS + ((WIDEST_BELOW + 2) * CELLS) as usize;

/// Whether the cell of a logit has a slot.
///
/// * `floor`: the lowest exact logit.
pub(crate) fn has_slot(logit: f32, floor: f32) -> bool {
    logit >= -LOGIT_LIMIT && logit < LOGIT_MAX.min(floor)
}

/// The slots of some logits, as [`slot_of`].
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn slots_of(logits: &[f32], floor: i64, slots: &mut [u32]) {
    for (slot, &logit) in slots.iter_mut().zip(logits) {
        *slot = slot_of(logit, floor);
    }
}

/// The slot of the cell of a logit.
///
/// * `logit`: one that [`has_slot`], else the result has no meaning.
/// * `floor`: position of the lowest exact logit.
///
/// This is [`Cell::of`] in a form that compilers turn into vector code: by logical shifts of numbers
/// that are at least 0, and with the logarithm from the exponent of a floating-point number.
#[inline(always)]
pub(crate) fn slot_of(logit: f32, floor: i64) -> u32 {
    const EXPONENT_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    const BIAS: u64 = f64::MAX_EXP as u64 - 1;
    /// Or-ed with a number below 2^52 it is 2^52 more, as a floating-point number.
    const OFFSET: f64 = (1_u64 << EXPONENT_BITS) as f64;
    /// Added to positions, so that none is negative; whole cells of every level.
    const RAISED: u64 = 1 << BELOW_BITS;

    let raised = |position: i64| position.cast_unsigned().wrapping_add(RAISED);
    let (position, floor) = (raised(position(logit)), raised(floor));
    let widths = (floor.wrapping_sub(position) >> FINENESS_BITS) | 1;
    let exact = f64::from_bits(widths | OFFSET.to_bits()) - OFFSET;
    let level = (exact.to_bits() >> EXPONENT_BITS).wrapping_sub(BIAS) as u32;
    let is_near = floor.wrapping_shr(level).wrapping_sub(position.wrapping_shr(level))
        <= FINENESS.cast_unsigned();
    let level = level.wrapping_sub(u32::from(is_near && level > 0));
    // The farthest cell of a level is 2·FINENESS + 1 below the floor's.
    let farthest = floor.wrapping_shr(level).wrapping_sub(2 * FINENESS.cast_unsigned() + 1);
    let in_level = position.wrapping_shr(level).wrapping_sub(farthest) as u32;
    let of_level = WIDEST_BELOW.wrapping_sub(level).wrapping_mul(CELLS).wrapping_add(in_level);
    let narrow = of_level.wrapping_add(N_STEPS as u32);
    let in_step = (position.wrapping_sub(RAISED) >> STEP_BITS) as u32;
    let stepwise = in_step.wrapping_add(WIDE_LEVELS * CELLS);
    let wide = if position < RAISED { of_level } else { stepwise };
    if level < STEP_BITS { narrow } else { wide }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_equal_parts_of_the_logit() {
        // Width 28 / 1024 = 0.02734375: logit 0 is the lower end of step 512.
        assert_eq!([-0.001, 0.0, 0.0273, 0.02735].map(step_of), [511, 512, 512, 513]);
        assert_eq!(step_centre(512), 0.013_671_875); // 28 / 1024 / 2
        for step in 0..N_STEPS {
            assert_eq!(step_of(step_centre(step)), step);
            assert_eq!(step_of(LOGIT_MIN + step as f32 * 0.027_343_75), step);
        }
    }

    #[test]
    fn logits_beyond_the_steps_are_in_the_first_or_last_and_nan_in_the_first() {
        assert_eq!([14.0, 99.0, f32::INFINITY].map(step_of), [1023; 3]);
        assert_eq!([-14.0, -99.0, f32::NEG_INFINITY, f32::NAN].map(step_of), [0; 4]);
    }

    /// Every cell below any floor has one slot, and the slots ascend.
    #[test]
    fn a_slot_is_a_cell() {
        for floor in [-900.0, -14.0, -13.99, -12.3, -3.0, -2.999, 0.0, 7.5, 13.0] {
            let floor_at = position(floor);
            let mut last: Option<(Cell, u32)> = None;
            for span in [28.0, 17_000.0] {
                let below = (0..200_000).map(|i| floor - span * (i as f32 / 2e5).powi(4));
                for logit in below.filter(|&logit| has_slot(logit, floor)) {
                    let cell = Cell::of(position(logit), floor_at);
                    let slot = slot_of(logit, floor_at);
                    assert!((slot as usize) < N_SLOTS, "{floor} {logit}");
                    if let Some((last_cell, last_slot)) = last {
                        assert_eq!(cell == last_cell, slot == last_slot, "{floor} {logit}");
                        assert!(slot <= last_slot, "{floor} {logit}");
                    }
                    last = Some((cell, slot));
                }
                last = None;
            }
        }
    }
}

//! Counts the users of one brand in bins, nearly all of them by an addition at a known place.

use crate::bins::{Bin, EXACT, coarsen, interleave};
use crate::cells::{N_SLOTS, has_slot, kept, position, slot_of, slots_of};

/// Logits without a slot that wait to be sorted. While users come, fewer and fewer have none: with
/// this many, a few hundred thousand users are sorted in five times.
const MOST_WAITING: usize = 3 * EXACT;

/// A brand's users; it depends on them alone, not on their order.
pub(crate) struct Counter {
    /// Not above the lowest exact logit; nearly all users below it have slots
    floor: f32,
    /// `(N_SLOTS,)`, or empty without a floor
    slots: Vec<Slot>,
    /// Users without a slot, ascending
    bins: Vec<Bin>,
    /// Logits without a slot that are not in `bins` yet
    waiting: Vec<f32>,
    /// Those of them of users with the label
    waiting_positives: Vec<f32>,
}

/// Users of a cell.
#[derive(Clone, Copy)]
struct Slot {
    low: f32,
    high: f32,
    users: u32,
    positives: u32,
}

impl Counter {
    /// Without users.
    pub(crate) fn new() -> Self {
        Self {
            floor: f32::NEG_INFINITY,
            slots: Vec::new(),
            bins: Vec::new(),
            waiting: Vec::new(),
            waiting_positives: Vec::new(),
        }
    }

    /// Adds users.
    ///
    /// * `logits`: of all of them.
    /// * `positives`: of those of them who have the label.
    pub(crate) fn add(&mut self, logits: &[f32], positives: impl Iterator<Item = f32>) {
        /// Logits whose slots are found before any is looked up.
        const TOGETHER: usize = 64;

        let is_first = self.slots.is_empty() && self.bins.is_empty() && self.waiting.is_empty();
        if let Some(floor) = is_first.then(|| lowest_exact(logits)).flatten() {
            self.raise_to(floor);
        }
        let (floor, floor_at) = (self.floor, position(kept(self.floor)));
        let mut places = [0; TOGETHER];
        for logits in logits.chunks(TOGETHER) {
            slots_of(logits, floor_at, &mut places);
            for (&place, &logit) in places.iter().zip(logits) {
                if has_slot(logit, floor) {
                    self.slots[place as usize].add(logit + 0.0); // one zero only
                } else {
                    self.waiting.push(kept(logit));
                }
            }
        }
        for logit in positives {
            if has_slot(logit, floor) {
                self.slots[slot_of(logit, floor_at) as usize].positives += 1;
            } else {
                self.waiting_positives.push(kept(logit));
            }
        }
        if self.waiting.len() >= MOST_WAITING {
            self.sort_waiting();
            if self.bins.len() >= 2 * EXACT {
                self.raise();
            }
        }
    }

    /// The bins of all users, ascending.
    pub(crate) fn into_bins(mut self) -> Vec<Bin> {
        self.sort_waiting();
        let mut bins = interleave(&self.take_slots(), &self.bins);
        coarsen(&mut bins);
        bins.as_slice().to_vec() // no longer than it must be
    }

    fn sort_waiting(&mut self) {
        self.waiting.sort_unstable_by(f32::total_cmp);
        self.waiting_positives.sort_unstable_by(f32::total_cmp);
        let mut positives = self.waiting_positives.chunk_by(|a, b| a >= b).peekable();
        let of_logit = |tied: &[f32]| {
            let have_it = positives.next_if(|positives| positives[0] <= tied[0]);
            let n_positives = have_it.map_or(0, <[f32]>::len);
            Bin::at(tied[0], n_positives as u64, (tied.len() - n_positives) as u64)
        };
        let sorted: Vec<Bin> = self.waiting.chunk_by(|a, b| a >= b).map(of_logit).collect();
        self.bins = interleave(&self.bins, &sorted);
        self.waiting.clear();
        self.waiting_positives.clear();
    }

    /// Gives slots to all users below the [`EXACT`] highest logits.
    fn raise(&mut self) {
        let mut bins = interleave(&self.take_slots(), &self.bins);
        coarsen(&mut bins);
        let floor = bins[bins.len() - EXACT].low;
        self.raise_to(floor);
        let floor_at = position(floor);
        bins.retain(|bin| {
            let is_counted = has_slot(bin.low, floor);
            if is_counted {
                self.slots[slot_of(bin.low, floor_at) as usize] = Slot::of(bin);
            }
            !is_counted
        });
        self.bins = bins;
    }

    fn raise_to(&mut self, floor: f32) {
        self.floor = floor;
        self.slots.resize(N_SLOTS, Slot::EMPTY);
    }

    /// What the slots have counted; leaves them empty.
    fn take_slots(&mut self) -> Vec<Bin> {
        let mut bins = Vec::new();
        for slot in &mut self.slots {
            if slot.users > 0 {
                let Slot { low, high, users, positives } = std::mem::replace(slot, Slot::EMPTY);
                let negatives = u64::from(users - positives);
                bins.push(Bin { low, high, positives: positives.into(), negatives });
            }
        }
        bins
    }
}

impl Slot {
    const EMPTY: Self =
        Self { low: f32::INFINITY, high: f32::NEG_INFINITY, users: 0, positives: 0 };

    /// * `bin`: of one cell; at most `u32::MAX` users.
    fn of(bin: &Bin) -> Self {
        let (users, positives) = (bin.users() as u32, bin.positives as u32);
        Self { low: bin.low, high: bin.high, users, positives }
    }

    #[inline]
    fn add(&mut self, logit: f32) {
        // `f32::min` and `max` take longer: they have to look for NaN.
        self.low = if logit < self.low { logit } else { self.low };
        self.high = if logit > self.high { logit } else { self.high };
        self.users += 1;
    }
}

/// The lowest exact logit of these users alone, or `None` if it would take long to find.
fn lowest_exact(logits: &[f32]) -> Option<f32> {
    let n_low = logits.len().checked_sub(2 * EXACT).filter(|&n_low| n_low > 0)?;
    let mut logits: Vec<f32> = logits.iter().map(|&logit| kept(logit)).collect();
    logits.select_nth_unstable_by(n_low, f32::total_cmp);
    let mut highest = logits.split_off(n_low);
    highest.sort_unstable_by(f32::total_cmp);
    highest.dedup();
    highest.len().checked_sub(EXACT).map(|i| highest[i])
}

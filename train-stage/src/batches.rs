//! A thread that gathers the next batches while the network is updated on the current one.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::examples::{ExampleBatch, Examples};

/// Batches that are gathered in advance.
const AHEAD: usize = 2;

/// Batches of examples in order of training.
///
/// Every epoch takes each example once, in an order that depends on the seed and the epoch alone.
pub struct Batches {
    ready: Receiver<ExampleBatch>,
    used: SyncSender<ExampleBatch>,
}

impl Batches {
    /// Starts the thread.
    ///
    /// * `first_update`: from 0, over all epochs.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
    pub fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        examples: &'env dyn Examples,
        batch_size: usize,
        seed: u64,
        first_update: u64,
    ) -> io::Result<Self> {
        let (ready_in, ready) = sync_channel(AHEAD);
        let (used, used_out) = sync_channel(AHEAD + 1);
        for _ in 0..=AHEAD {
            used.send(ExampleBatch::default()).expect("there is room");
        }
        std::thread::Builder::new().spawn_scoped(scope, move || {
            let per_epoch = updates_per_epoch(examples.len(), batch_size);
            let mut skipped = (first_update % per_epoch) as usize;
            for epoch in first_update / per_epoch.. {
                let order = order(examples.len(), seed, epoch);
                for rows in order.chunks(batch_size).skip(std::mem::take(&mut skipped)) {
                    // Both channels are closed when training ends.
                    let Ok(mut batch): Result<ExampleBatch, _> = used_out.recv() else { return };
                    examples.gather(rows, &mut batch);
                    if ready_in.send(batch).is_err() {
                        return;
                    }
                }
            }
        })?;
        Ok(Self { ready, used })
    }

    /// Waits for the next batch.
    ///
    /// # Panics
    ///
    /// If the gathering thread panicked.
    pub fn next(&self) -> ExampleBatch {
        self.ready.recv().expect("the gathering thread runs until this is dropped")
    }

    /// Returns a batch, so that its allocations are used again.
    pub fn reuse(&self, batch: ExampleBatch) {
        let _ = self.used.try_send(batch);
    }
}

/// Updates in one pass over the examples; the last batch may be smaller.
pub fn updates_per_epoch(n_examples: usize, batch_size: usize) -> u64 {
    n_examples.div_ceil(batch_size) as u64
}

fn order(n_examples: usize, seed: u64, epoch: u64) -> Vec<u32> {
    // Each epoch has its own generator, so that training can resume in any of them.
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(epoch << 32).wrapping_add(1));
    let mut order: Vec<u32> = (0..n_examples as u32).collect();
    order.shuffle(&mut rng);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::ArrayExamples;
    use ndarray::Array2;

    /// The first feature of every example of the first `n` batches from `first_update` on.
    fn batches(first_update: u64, n: usize) -> Vec<Vec<f32>> {
        let records = Array2::from_shape_fn((10, 1), |(i, _)| i as f32);
        let targets = Array2::zeros((10, 1));
        let examples = ArrayExamples::new(records.view(), targets.view()).unwrap();
        std::thread::scope(|scope| {
            let batches = Batches::start(scope, &examples, 4, 7, first_update).unwrap();
            let take = |_| {
                let batch = batches.next();
                let rows = batch.inputs.dense.iter().copied().collect();
                batches.reuse(batch);
                rows
            };
            (0..n).map(take).collect()
        })
    }

    #[test]
    fn every_epoch_takes_each_example_once_in_an_order_of_its_own() {
        let epochs = batches(0, 6);
        assert_eq!(epochs.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2, 4, 4, 2]);
        let all = |batches: &[Vec<f32>]| {
            let mut rows = batches.concat();
            rows.sort_by(f32::total_cmp);
            rows
        };
        let expected: Vec<f32> = (0..10).map(|i| i as f32).collect();
        assert_eq!([all(&epochs[..3]), all(&epochs[3..])], [expected.clone(), expected]);
        assert_ne!(epochs[..3], epochs[3..]);
    }

    #[test]
    fn batches_resume_at_any_update() {
        let whole = batches(0, 9);
        for first in 0..8 {
            assert_eq!(batches(first, 9 - first as usize), whole[first as usize..], "{first}");
        }
    }
}

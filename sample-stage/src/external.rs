//! Numbers of 128 bits that may not fit into memory: kept in order of coming, or sorted.
//!
//! Labels and examples are such numbers, with what they are sorted by in the upper bits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;

use anyhow::Result;
use contract::scratch::ScratchFile;
use rayon::prelude::*;

use crate::room::{Memory, Room};

/// Bytes of a number.
const SIZE: usize = size_of::<u128>();

/// Numbers that are read or written at a time, 1 MiB.
pub const BLOCK: usize = 1 << 16;

/// Memory for blocks of runs that are merged, in bytes.
const MERGE_BYTES: usize = 64 << 20;

/// Numbers in memory, as many as there is room for.
struct Buffer {
    numbers: Vec<u128>,
    memory: Memory,
    /// Numbers that there is always room for
    n_min: usize,
}

impl Buffer {
    fn new(room: &Room, what: &str, n_min: usize) -> Self {
        Self { numbers: Vec::new(), memory: room.memory(what), n_min }
    }

    /// Takes the first of some numbers; returns the others, which are all if there is no room.
    fn take<'a>(&mut self, numbers: &'a [u128]) -> &'a [u128] {
        let Self { numbers: taken, memory, n_min } = self;
        if taken.len() == taken.capacity() {
            let more = (taken.capacity() / 2).max(*n_min);
            if memory.grow(more * SIZE) || taken.capacity() == 0 {
                taken.reserve_exact(more);
            }
        }
        let n = numbers.len().min(taken.capacity() - taken.len());
        taken.extend_from_slice(&numbers[..n]);
        &numbers[n..]
    }

    fn free(&mut self) {
        self.numbers = Vec::new();
        self.memory.free();
    }
}

/// Numbers in order of coming, to be read any number of times.
pub struct Kept {
    /// The first numbers, if there is no room for all
    file: Option<ScratchFile>,
    buffer: Buffer,
}

impl Kept {
    /// None yet.
    ///
    /// * `what`: they are, for messages.
    pub fn new(room: &Room, what: &str) -> Self {
        Self { file: None, buffer: Buffer::new(room, what, BLOCK) }
    }

    /// Adds numbers.
    ///
    /// # Errors
    ///
    /// If the disk is full, or the limit of what may be on it is reached.
    pub fn add(&mut self, room: &Room, numbers: &[u128]) -> Result<()> {
        let mut left = numbers;
        while !left.is_empty() {
            let rest = self.buffer.take(left);
            if rest.len() == left.len() {
                append(room, &mut self.file, &self.buffer.numbers)?;
                self.buffer.numbers.clear();
            }
            left = rest;
        }
        Ok(())
    }

    /// Reads from the start.
    pub fn blocks(&self) -> Blocks<'_> {
        Blocks { kept: self, n_read: 0, block: Vec::new() }
    }

    fn n_filed(&self) -> usize {
        self.file.as_ref().map_or(0, |file| file.n_bytes() as usize / SIZE)
    }
}

/// [`Kept`] numbers, some at a time.
pub struct Blocks<'a> {
    kept: &'a Kept,
    n_read: usize,
    /// From the file
    block: Vec<u128>,
}

impl Blocks<'_> {
    /// The next [`BLOCK`] numbers, fewer at the end, at last none.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn next(&mut self) -> Result<&[u128]> {
        let Self { kept, n_read, block } = self;
        let n_filed = kept.n_filed();
        let in_memory = &kept.buffer.numbers;
        let end = (n_filed + in_memory.len()).min(*n_read + BLOCK);
        let places = std::mem::replace(n_read, end)..end;
        match &kept.file {
            Some(file) if places.start < n_filed => {
                read(file, places.start..end.min(n_filed), block)?;
                block.extend_from_slice(&in_memory[..end.saturating_sub(n_filed)]);
                Ok(block)
            }
            _ => Ok(&in_memory[places.start - n_filed..end - n_filed]),
        }
    }
}

/// Sorts numbers: in memory, or in runs on disk that are merged.
pub struct Sorter {
    /// Run after run, each sorted
    file: Option<ScratchFile>,
    runs: Vec<Range<usize>>,
    buffer: Buffer,
}

impl Sorter {
    /// None yet.
    ///
    /// * `what`: they are, for messages.
    pub fn new(room: &Room, what: &str) -> Self {
        Self::with_least(room, what, BLOCK)
    }

    /// * `n_min`: numbers of a run if there is no memory.
    fn with_least(room: &Room, what: &str, n_min: usize) -> Self {
        Self { file: None, runs: Vec::new(), buffer: Buffer::new(room, what, n_min) }
    }

    /// Adds numbers.
    ///
    /// # Errors
    ///
    /// As [`Kept::add`].
    pub fn add(&mut self, room: &Room, numbers: &[u128]) -> Result<()> {
        let mut left = numbers;
        while !left.is_empty() {
            let rest = self.buffer.take(left);
            if rest.len() == left.len() {
                self.end_run(room)?;
            }
            left = rest;
        }
        Ok(())
    }

    fn end_run(&mut self, room: &Room) -> Result<()> {
        self.buffer.numbers.par_sort_unstable();
        append(room, &mut self.file, &self.buffer.numbers)?;
        let start = self.runs.last().map_or(0, |run| run.end);
        self.runs.push(start..start + self.buffer.numbers.len());
        self.buffer.numbers.clear();
        Ok(())
    }

    /// All numbers in order.
    ///
    /// # Errors
    ///
    /// As [`Kept::add`].
    pub fn finish(mut self, room: &Room) -> Result<Sorted> {
        if self.file.is_some() {
            self.end_run(room)?;
            self.buffer.free();
        } else {
            self.buffer.numbers.par_sort_unstable();
        }
        let Self { file, runs, buffer } = self;
        let Some(file) = file else {
            return Ok(Sorted { buffer, n_read: 0, merge: None });
        };
        let n_at_once = (MERGE_BYTES / SIZE / runs.len()).clamp(256, BLOCK);
        let new = |run| Run { left: run, block: Vec::new(), place: 0, n_at_once };
        let mut runs: Vec<Run> = runs.into_iter().map(new).collect();
        let mut heap = BinaryHeap::new();
        for (i, run) in runs.iter_mut().enumerate() {
            heap.extend(run.next(&file)?.map(|number| Reverse((number, i))));
        }
        Ok(Sorted { buffer, n_read: 0, merge: Some(Merge { file, runs, heap }) })
    }

    /// All numbers in order, to be read any number of times.
    ///
    /// # Errors
    ///
    /// As [`Kept::add`].
    pub fn keep(self, room: &Room, what: &str) -> Result<Kept> {
        let mut sorted = self.finish(room)?;
        if sorted.merge.is_none() {
            return Ok(Kept { file: None, buffer: sorted.buffer });
        }
        let mut kept = Kept::new(room, what);
        loop {
            let numbers = sorted.next()?;
            if numbers.is_empty() {
                return Ok(kept);
            }
            kept.add(room, numbers)?;
        }
    }
}

/// Numbers in order, to be read once.
pub struct Sorted {
    /// All numbers, or the next ones of the runs
    buffer: Buffer,
    n_read: usize,
    merge: Option<Merge>,
}

impl Sorted {
    /// The next numbers; none at the end.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn next(&mut self) -> Result<&[u128]> {
        if let Some(merge) = &mut self.merge {
            self.buffer.numbers.clear();
            merge.next(&mut self.buffer.numbers)?;
            return Ok(&self.buffer.numbers);
        }
        let rest = &self.buffer.numbers[self.n_read..];
        let next = &rest[..rest.len().min(BLOCK)];
        self.n_read += next.len();
        Ok(next)
    }
}

struct Merge {
    file: ScratchFile,
    runs: Vec<Run>,
    /// The least number of each run that has one left
    heap: BinaryHeap<Reverse<(u128, usize)>>,
}

impl Merge {
    fn next(&mut self, numbers: &mut Vec<u128>) -> Result<()> {
        while numbers.len() < BLOCK {
            let Some(mut least) = self.heap.peek_mut() else { break };
            let Reverse((number, run)) = *least;
            numbers.push(number);
            match self.runs[run].next(&self.file)? {
                Some(next) => *least = Reverse((next, run)),
                None => drop(PeekMut::pop(least)),
            }
        }
        Ok(())
    }
}

/// A sorted part of a file.
struct Run {
    left: Range<usize>,
    block: Vec<u128>,
    place: usize,
    n_at_once: usize,
}

impl Run {
    fn next(&mut self, file: &ScratchFile) -> Result<Option<u128>> {
        if self.place == self.block.len() {
            let end = self.left.end.min(self.left.start + self.n_at_once);
            read(file, self.left.start..end, &mut self.block)?;
            (self.left.start, self.place) = (end, 0);
        }
        self.place += 1;
        Ok(self.block.get(self.place - 1).copied())
    }
}

/// Adds numbers to a file, which is made for the first.
fn append(room: &Room, file: &mut Option<ScratchFile>, numbers: &[u128]) -> Result<()> {
    let file = match file {
        Some(file) => file,
        none => none.insert(room.file()?),
    };
    let mut bytes = Vec::with_capacity(BLOCK.min(numbers.len()) * SIZE);
    for block in numbers.chunks(BLOCK) {
        bytes.clear();
        bytes.extend(block.iter().flat_map(|number| number.to_le_bytes()));
        file.append(&bytes).map_err(|err| room.write_error(err))?;
        room.check_disk()?;
    }
    Ok(())
}

/// Reads the numbers at some places of a file.
fn read(file: &ScratchFile, places: Range<usize>, numbers: &mut Vec<u128>) -> Result<()> {
    let mut bytes = vec![0; places.len() * SIZE];
    file.read_at(&mut bytes, (places.start * SIZE) as u64)?;
    let (found, _) = bytes.as_chunks::<SIZE>();
    numbers.clear();
    numbers.extend(found.iter().map(|bytes| u128::from_le_bytes(*bytes)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::tests::{room, scratch};
    use contract::splitmix::hash;

    /// Some numbers, of which many are the same.
    fn numbers(n: u64) -> Vec<u128> {
        (0..n).map(|i| u128::from(hash(i) % n) << 64 | u128::from(i % 3)).collect()
    }

    fn read_all(mut next: impl FnMut() -> Vec<u128>) -> Vec<u128> {
        std::iter::from_fn(|| Some(next()).filter(|block| !block.is_empty())).flatten().collect()
    }

    /// 1000 numbers with room for 10 are 100 runs, merged.
    #[test]
    fn numbers_are_sorted_in_memory_and_on_disk() {
        let (_dir, scratch) = scratch();
        let mut expected = numbers(1000);
        expected.sort_unstable();
        for (memory, n_runs) in [(1 << 20, 0), (0, 100)] {
            let room = room(&scratch, memory, 1 << 20);
            let mut sorter = Sorter::with_least(&room, "numbers", 10);
            for some in numbers(1000).chunks(7) {
                sorter.add(&room, some).unwrap();
            }
            let mut sorted = sorter.finish(&room).unwrap();
            assert_eq!(sorted.merge.as_ref().map_or(0, |merge| merge.runs.len()), n_runs);
            assert_eq!(read_all(|| sorted.next().unwrap().to_vec()), expected);
            drop(sorted);
            let mut sorter = Sorter::with_least(&room, "numbers", 10);
            sorter.add(&room, &numbers(1000)).unwrap();
            let kept = sorter.keep(&room, "numbers").unwrap();
            let mut blocks = kept.blocks();
            assert_eq!(read_all(|| blocks.next().unwrap().to_vec()), expected);
            drop(kept);
            assert_eq!(scratch.used_bytes(), 0);
        }
        let room = room(&scratch, 0, 0);
        let mut none = Sorter::new(&room, "numbers").finish(&room).unwrap();
        assert!(none.next().unwrap().is_empty());
    }

    #[test]
    fn numbers_are_kept_in_order_and_read_again() {
        let (_dir, scratch) = scratch();
        let all = numbers(3 * BLOCK as u64 + 5);
        for memory in [1 << 30, 0] {
            let room = room(&scratch, memory, 1 << 30);
            let mut kept = Kept::new(&room, "numbers");
            for some in all.chunks(BLOCK / 2 + 1) {
                kept.add(&room, some).unwrap();
            }
            assert_eq!(kept.file.is_some(), memory == 0);
            for _ in 0..2 {
                let mut blocks = kept.blocks();
                assert_eq!(read_all(|| blocks.next().unwrap().to_vec()), all);
            }
            let mut blocks = kept.blocks();
            assert_eq!([(); 5].map(|()| blocks.next().unwrap().len()), [BLOCK, BLOCK, BLOCK, 5, 0]);
        }
    }

    #[test]
    fn more_on_disk_than_the_limit_is_an_error() {
        let (_dir, scratch) = scratch();
        let room = room(&scratch, 0, 100);
        let mut sorter = Sorter::with_least(&room, "numbers", 10);
        let message = sorter.add(&room, &numbers(20)).unwrap_err().to_string();
        assert!(message.contains("`data.scratch_limit`\nhint: "), "{message}");
    }
}

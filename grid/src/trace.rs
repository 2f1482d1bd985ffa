//! The trace: which blocks are read and written, call by call, on the way to whoever records them
//! (`hooktool trace`). Nothing is noted while the switch `TRACE` is off.
//!
//! A ring of words. Any process notes a run of blocks; one reader, in the hook server, takes them
//! in the order in which their places were claimed.
//!
//! ```text
//!   63       62      61        46 45     40 39                    0
//!  +---+----------+-------------+---------+------------------------+
//!  | 1 | a write? | record (16) | blocks  | first block (40)       |    0: nothing here
//!  +---+----------+-------------+---------+------------------------+
//!   blocks: their number less one; blocks of 4 KiB, whatever the size of the file's blocks
//!
//!    taken         claimed, stored or about to be       free
//!  ---------------+----------------------------------+--------------
//!                tail                              head          head - tail <= SLOTS
//! ```
//!
//! A run is one word, so it is never half there. Rules (`docs/design.md`, section 2.9): a writer
//! claims the place at `head`, while there is one, and stores its word there once; where there is
//! none, it counts the run as dropped and goes on. The reader empties the place at `tail` by one
//! step and moves `tail` behind it; a place whose owner does not come (it was killed or stopped
//! between its two steps) it leaves behind in the end, and counts the run as lost. If the owner
//! comes after all, its run is found one turn of the ring later, or written over: it has been
//! counted. So the runs noted are those taken, lost and dropped together.

use crate::sync::{AtomicU64, Ordering};

/// Places of the ring: 512 KiB, allocated when somebody records for the first time.
pub const SLOTS: u64 = 65536;

/// log2 of the blocks that runs are counted in.
pub const BLOCK_LOG2: u8 = 12;

/// Blocks of one run.
pub const RUN_BLOCKS_MAX: u64 = 64;

/// Runs of one call; what lies behind them counts as dropped.
pub const CALL_RUNS_MAX: u64 = 16;

/// Attempts at one place before a run is dropped: others are claiming places just as fast.
const TRIES_MAX: u32 = 16;

const PRESENT: u64 = 1 << 63;
const WRITE: u64 = 1 << 62;
const FIRST_MASK: u64 = (1 << 40) - 1;

/// The words of the ring that move, in the region's header.
#[repr(C)]
pub struct Ends {
    /// Places claimed so far.
    pub head: AtomicU64,
    /// Places left behind by the reader.
    pub tail: AtomicU64,
    /// Runs for which there was no place.
    pub dropped: AtomicU64,
}

/// Blocks that one call read or wrote, next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the file's record.
    pub record: u16,
    /// Written, not read.
    pub is_write: bool,
    /// First block.
    pub first: u64,
    /// How many blocks, 1 to `RUN_BLOCKS_MAX`.
    pub blocks: u64,
}

/// What the reader finds at the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A run.
    Run(Run),
    /// Nothing: all has been taken.
    Empty,
    /// A place that was claimed and not stored to yet.
    Awaited,
}

/// The ring.
#[derive(Clone, Copy)]
pub struct Trace<'a> {
    /// Its ends.
    pub ends: &'a Ends,
    /// Its places; a power of two.
    pub slots: &'a [AtomicU64],
}

impl Run {
    fn to_word(self) -> u64 {
        let blocks = (self.blocks.clamp(1, RUN_BLOCKS_MAX) - 1) << 40;
        let kind = if self.is_write { WRITE } else { 0 };
        PRESENT | kind | u64::from(self.record) << 46 | blocks | self.first & FIRST_MASK
    }

    fn of_word(word: u64) -> Run {
        Run {
            record: (word >> 46) as u16,
            is_write: word & WRITE != 0,
            first: word & FIRST_MASK,
            blocks: (word >> 40 & 0x3F) + 1,
        }
    }
}

impl Trace<'_> {
    /// Notes the blocks of a call on `len` bytes at `offset`. False: not all of them had a place.
    pub fn note_call(&self, record: u32, is_write: bool, offset: u64, len: u64) -> bool {
        let Some(last) = len.checked_sub(1).and_then(|len| offset.checked_add(len)) else {
            return true;
        };
        let (mut first, last) = (offset >> BLOCK_LOG2, last >> BLOCK_LOG2);
        let Some(record) = u16::try_from(record).ok().filter(|_| last <= FIRST_MASK) else {
            return self.drop_one();
        };
        for _ in 0..CALL_RUNS_MAX {
            let blocks = (last - first + 1).min(RUN_BLOCKS_MAX);
            let run = Run {
                record,
                is_write,
                first,
                blocks,
            };
            if !self.note(run) {
                return false;
            }
            first += blocks;
            if first > last {
                return true;
            }
        }
        self.drop_one()
    }

    /// Notes a run. False: there was no place, which is counted.
    pub fn note(&self, run: Run) -> bool {
        for _ in 0..TRIES_MAX {
            // The tail first: a head that moves on meanwhile makes the ring look fuller, not
            // emptier, than it is.
            let tail = self.ends.tail.load(Ordering::Acquire);
            let head = self.ends.head.load(Ordering::Relaxed);
            if head.wrapping_sub(tail) >= self.slots.len() as u64 {
                break;
            }
            let next = head.wrapping_add(1);
            let claimed =
                self.ends
                    .head
                    .compare_exchange(head, next, Ordering::Relaxed, Ordering::Relaxed);
            if claimed.is_ok() {
                self.slot(head).store(run.to_word(), Ordering::Release);
                return true;
            }
        }
        self.drop_one()
    }

    /// Counts a run as dropped; false, for its caller to return.
    pub fn drop_one(&self) -> bool {
        self.ends.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Takes the next run (the one reader).
    pub fn take(&self) -> Taken {
        let tail = self.ends.tail.load(Ordering::Relaxed);
        if tail == self.ends.head.load(Ordering::Relaxed) {
            return Taken::Empty;
        }
        // In one step: a late owner's word is taken or stays, and is not wiped out unseen.
        match self.slot(tail).fetch_and(0, Ordering::Acquire) {
            0 => Taken::Awaited,
            word => {
                self.ends
                    .tail
                    .store(tail.wrapping_add(1), Ordering::Release);
                Taken::Run(Run::of_word(word))
            }
        }
    }

    /// Leaves an awaited place behind (the one reader): its run is lost.
    pub fn leave(&self) {
        let tail = self.ends.tail.load(Ordering::Relaxed);
        self.ends
            .tail
            .store(tail.wrapping_add(1), Ordering::Release);
    }

    /// Wipes out what an earlier recording has left (the one reader, the switch off).
    pub fn clear(&self) {
        for slot in self.slots {
            slot.store(0, Ordering::Relaxed);
        }
        let head = self.ends.head.load(Ordering::Relaxed);
        self.ends.tail.store(head, Ordering::Release);
    }

    fn slot(&self, place: u64) -> &AtomicU64 {
        &self.slots[(place % self.slots.len() as u64) as usize]
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use std::vec::Vec;

    struct Ring(Ends, Vec<AtomicU64>);

    impl Ring {
        fn of(slots: usize) -> Ring {
            let zero = || AtomicU64::new(0);
            let ends = Ends {
                head: zero(),
                tail: zero(),
                dropped: zero(),
            };
            Ring(ends, (0..slots).map(|_| zero()).collect())
        }

        fn trace(&self) -> Trace<'_> {
            Trace {
                ends: &self.0,
                slots: &self.1,
            }
        }
    }

    fn taken(trace: Trace<'_>) -> Vec<Run> {
        let next = || match trace.take() {
            Taken::Run(run) => Some(run),
            _ => None,
        };
        core::iter::from_fn(next).collect()
    }

    fn run(record: u16, is_write: bool, first: u64, blocks: u64) -> Run {
        Run {
            record,
            is_write,
            first,
            blocks,
        }
    }

    #[test]
    fn a_word_holds_a_run() {
        for run in [
            run(0, false, 0, 1),
            run(u16::MAX, true, FIRST_MASK, 64),
            run(0x1234, false, 0x56_789A_BCDE, 33),
        ] {
            assert_eq!(Run::of_word(run.to_word()), run);
            assert_ne!(run.to_word(), 0);
        }
    }

    #[test]
    fn a_call_is_cut_into_runs_of_whole_blocks() {
        let ring = Ring::of(64);
        let trace = ring.trace();
        assert!(trace.note_call(7, false, 4095, 2));
        assert!(trace.note_call(7, true, 8192, 4096));
        assert!(trace.note_call(7, false, 0, 65 * 4096));
        assert!(trace.note_call(7, false, 100, 0));
        let runs = [
            run(7, false, 0, 2),
            run(7, true, 2, 1),
            run(7, false, 0, 64),
            run(7, false, 64, 1),
        ];
        assert_eq!(taken(trace), runs);
        assert_eq!(trace.ends.dropped.load(Ordering::Relaxed), 0);
        assert!(!trace.note_call(7, false, 0, 1 << 30));
        assert!(!trace.note_call(1 << 16, false, 0, 1));
        assert!(!trace.note_call(7, false, u64::MAX - 1, 1));
        assert_eq!(taken(trace).len(), CALL_RUNS_MAX as usize);
        assert_eq!(trace.ends.dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn what_finds_no_place_is_counted() {
        let ring = Ring::of(4);
        let trace = ring.trace();
        for block in 0..6 {
            assert_eq!(trace.note(run(1, false, block, 1)), block < 4);
        }
        assert_eq!(trace.ends.dropped.load(Ordering::Relaxed), 2);
        let first: Vec<_> = taken(trace).iter().map(|run| run.first).collect();
        assert_eq!(first, [0, 1, 2, 3]);
        assert!(trace.note(run(1, false, 9, 1)));
        assert_eq!(taken(trace), [run(1, false, 9, 1)]);
    }

    #[test]
    fn a_place_whose_owner_is_gone_is_left_behind() {
        let ring = Ring::of(4);
        let trace = ring.trace();
        ring.0.head.store(1, Ordering::Relaxed);
        assert!(trace.note(run(1, false, 5, 1)));
        assert_eq!(trace.take(), Taken::Awaited);
        assert_eq!(trace.take(), Taken::Awaited);
        trace.leave();
        assert_eq!(trace.take(), Taken::Run(run(1, false, 5, 1)));
        assert_eq!(trace.take(), Taken::Empty);
    }
}

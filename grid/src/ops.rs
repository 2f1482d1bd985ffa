//! Operation records: what every write in flight has entered, so that the hook server can release
//! the cells of a process that died in the middle (rule W1: the record is published before any cell
//! is touched). The slots are a common pool; a slot belongs to one thread from claim to retirement.
//!
//! ```text
//!   0         8          16         24                        64
//!  +---------+----------+----------+-------------------------+
//!  | state   | file     | first    | reserved                |
//!  |         | hash     | block    |                         |
//!  +---------+----------+----------+-------------------------+
//!   state:  0 idle | owner << 32 | count << 16 | kind
//!           kind: 1 claimed, 2 blocks, 3 file, 4 pin
//! ```

use crate::sync::{AtomicU64, Ordering};

const IDLE: u64 = 0;
const CLAIMED: u64 = 1;
const BLOCKS: u64 = 2;
const FILE: u64 = 3;
const PIN: u64 = 4;

/// What part of a file a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Unknown, long, or not expressible in blocks: the whole file.
    File,
    /// `count` blocks from `first`, at most `SPAN_BLOCKS_MAX`.
    Blocks {
        /// Number of the first block.
        first: u64,
        /// How many blocks.
        count: u32,
    },
}

/// The content of a live record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// Hash of the file's identity.
    pub file_hash: u64,
    /// Which cells it enters.
    pub span: Span,
    /// Whether it also enters the file's `writes` cell (all writes do, pins do not).
    pub guards_stamp: bool,
}

/// One record, one cache line.
#[repr(C, align(64))]
pub struct OpSlot {
    state: AtomicU64,
    file_hash: AtomicU64,
    first: AtomicU64,
    _unused: [AtomicU64; 5],
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<OpSlot>() == 64);

impl OpSlot {
    /// An idle record (for tests and the model; the region's memory starts out zeroed).
    pub fn idle() -> OpSlot {
        OpSlot {
            state: AtomicU64::new(IDLE),
            file_hash: AtomicU64::new(0),
            first: AtomicU64::new(0),
            _unused: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// The pool of records.
#[derive(Clone, Copy)]
pub struct Ops<'a>(pub &'a [OpSlot]);

impl Ops<'_> {
    /// Claims a record for process `owner` and publishes `op` in it. `None`: all are in use.
    pub fn publish(&self, owner: u16, op: Op) -> Option<usize> {
        let owner_bits = u64::from(owner) << 32;
        let slot = self.claim(owner_bits)?;
        let record = &self.0[slot];
        record.file_hash.store(op.file_hash, Ordering::Relaxed);
        let shape = match (op.span, op.guards_stamp) {
            (Span::File, true) => FILE,
            (Span::File, false) => PIN,
            (Span::Blocks { first, count }, _) => {
                record.first.store(first, Ordering::Relaxed);
                u64::from(count) << 16 | BLOCKS
            }
        };
        record.state.store(owner_bits | shape, Ordering::SeqCst);
        Some(slot)
    }

    fn claim(&self, owner_bits: u64) -> Option<usize> {
        // Where to start: spread by owner, so that processes seldom meet.
        let start = (owner_bits >> 32) as usize * 7;
        for nth in 0..self.0.len() {
            let slot = (start + nth) % self.0.len();
            let state = &self.0[slot].state;
            if state.load(Ordering::Relaxed) == IDLE
                && state
                    .compare_exchange(
                        IDLE,
                        owner_bits | CLAIMED,
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    )
                    .is_ok()
            {
                return Some(slot);
            }
        }
        None
    }

    /// Gives the record back; its cells have been left.
    pub fn retire(&self, slot: usize) {
        self.0[slot].state.store(IDLE, Ordering::Release);
    }

    /// The live operation in `slot` with its owner; `None` if idle or not yet published.
    pub fn live(&self, slot: usize) -> Option<(u16, Op)> {
        let record = &self.0[slot];
        let state = record.state.load(Ordering::SeqCst);
        let file_hash = record.file_hash.load(Ordering::Relaxed);
        let span = match state & 0xFFFF {
            BLOCKS => Span::Blocks {
                first: record.first.load(Ordering::Relaxed),
                count: (state >> 16 & 0xFFFF) as u32,
            },
            FILE | PIN => Span::File,
            _ => return None,
        };
        let guards_stamp = state & 0xFFFF != PIN;
        Some((
            (state >> 32) as u16,
            Op {
                file_hash,
                span,
                guards_stamp,
            },
        ))
    }

    /// The process that holds `slot`, live or only claimed.
    pub fn owner(&self, slot: usize) -> Option<u16> {
        let state = self.0[slot].state.load(Ordering::SeqCst);
        (state != IDLE).then_some((state >> 32) as u16)
    }

    /// Number of records in the pool.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the pool has no records at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

//! The pages of a channel file that live: a producer's and a consumer's page for each direction.
//!
//! ```text
//!  0        4096        8192        12288       16384       20480
//!  +--------+-----------+-----------+-----------+-----------+-------------+-------------+
//!  | header | A to B:   | A to B:   | B to A:   | B to A:   | A to B:     | B to A:     |
//!  |        | producer  | consumer  | producer  | consumer  | data, 2^n   | data, 2^m   |
//!  +--------+-----------+-----------+-----------+-----------+-------------+-------------+
//!             A writes    B writes    B writes    A writes    A writes      B writes
//! ```
//!
//! Each page has one writer, and whoever is not the writer maps it read-only, so that a stray store
//! of one side cannot break the other. What one side polls lies 128 bytes apart from everything
//! else (two cache lines: processors fetch them in pairs). `docs/bus.md` lists every field; the
//! offsets are asserted below.

use crate::owner::Owner;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::trace::TraceSlot;

/// Bytes of a page of the layout, whatever the machine's own.
pub const PAGE_BYTES: u64 = 4096;
/// Every record begins on a multiple of this, so that what is left before the end of the ring can
/// always hold the head of a padding record.
pub const RECORD_ALIGN: u64 = 32;
/// Smallest ring of one direction.
pub const RING_BYTES_MIN: u64 = 4096;
/// Largest ring of one direction.
pub const RING_BYTES_MAX: u64 = 1 << 32;
/// A message may take at most this share of its ring: it must fit behind a padding of its own size.
pub const MESSAGE_SHARE: u64 = 4;
/// Trace slots of a page. The model traces nothing.
pub const TRACE_SLOTS: usize = words(64);

/// So many, or under the model, where a word costs a hundred times more, one.
const fn words(count: usize) -> usize {
    match cfg!(feature = "model") {
        true => 1,
        false => count,
    }
}

/// The two words by which one side sleeps and the other wakes it (`wait`).
#[repr(C)]
#[derive(Debug, Default)]
pub struct Bell {
    /// The ticket this side sleeps under; 0: awake.
    pub waiting: AtomicU32,
    /// The last ticket of the other side this side has rung for; what the other side sleeps on.
    pub doorbell: AtomicU32,
    _unused: [AtomicU32; words(30)],
}

/// A position, alone in its pair of cache lines.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Position {
    /// Bytes since the channel was made; the place in the ring is this modulo its size.
    pub at: AtomicU64,
    _unused: [AtomicU64; words(15)],
}

/// Counters of one side. Only that side writes them; all start at 0 and never go back.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages committed or handed out.
    pub messages: AtomicU64,
    /// Bytes of their payloads.
    pub bytes: AtomicU64,
    /// Times the producer found it full.
    pub full: AtomicU64,
    /// Times this side went to sleep.
    pub sleeps: AtomicU64,
    /// Times this side woke the other.
    pub wakes: AtomicU64,
    /// Most bytes that were in the ring when this side looked.
    pub depth_bytes_max: AtomicU64,
    /// Wall clock of the last binding, in nanoseconds since 1970.
    pub bound_ns: AtomicU64,
    /// Times this side was taken over from a dead process.
    pub takeovers: AtomicU64,
    /// Messages handed out a second time (consumer).
    pub redelivered: AtomicU64,
    /// Messages lost to damage (consumer).
    pub damaged_messages: AtomicU64,
    /// Bytes skipped because of damage (consumer).
    pub damaged_bytes: AtomicU64,
    /// Messages thrown away by `clean` (consumer).
    pub cleaned: AtomicU64,
    _unused: [AtomicU64; words(4)],
}

/// What a producer writes.
#[repr(C)]
#[derive(Debug)]
pub struct ProducerPage {
    /// Everything before it is committed: the one store that publishes.
    pub tail: Position,
    /// Waiting for room; waking the consumer.
    pub bell: Bell,
    /// Who may write this page and the data.
    pub owner: Owner,
    /// What was done.
    pub counters: Counters,
    /// Number of the last message committed: a hint, for viewers (recovery reads the ring).
    pub last_seq: AtomicU64,
    _unused: [AtomicU64; words(175)],
    /// Traced messages that were sent here.
    pub traces: [TraceSlot; TRACE_SLOTS],
}

/// What a consumer writes.
#[repr(C)]
#[derive(Debug)]
pub struct ConsumerPage {
    /// Everything before it is acknowledged: the producer may overwrite it.
    pub head: Position,
    /// Waiting for a message; waking the producer.
    pub bell: Bell,
    /// Who may write this page.
    pub owner: Owner,
    /// What was done.
    pub counters: Counters,
    /// Number of the last message handed to the program. Stored before the program sees it.
    pub handed: AtomicU64,
    /// Origin (epoch) of the last relayed message handed out.
    pub origin_epoch: AtomicU64,
    /// Origin (number) of the last relayed message handed out.
    pub origin_seq: AtomicU64,
    /// Where a relay empties this ring: the epoch of the ring on the far host that it fills; 0: not
    /// known yet.
    pub far_epoch: AtomicU64,
    /// Number, here, of the last message that was handed to the far program, as far as known.
    pub far_read: AtomicU64,
    /// Messages up to this number may have been handed out from an earlier ring on the far host.
    pub far_doubt: AtomicU64,
    _unused: [AtomicU64; words(170)],
    /// Traced messages that were received here.
    pub traces: [TraceSlot; TRACE_SLOTS],
}

#[cfg(not(feature = "model"))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Bell>() == 128 && size_of::<Position>() == 128);
    assert!(size_of::<Counters>() == 128 && size_of::<Owner>() == 256);
    assert!(size_of::<ProducerPage>() as u64 == PAGE_BYTES);
    assert!(size_of::<ConsumerPage>() as u64 == PAGE_BYTES);
    assert!(offset_of!(ProducerPage, tail) == 0 && offset_of!(ConsumerPage, head) == 0);
    assert!(offset_of!(ProducerPage, bell) == 128 && offset_of!(ConsumerPage, bell) == 128);
    assert!(offset_of!(ProducerPage, owner) == 256 && offset_of!(ConsumerPage, owner) == 256);
    assert!(offset_of!(ProducerPage, counters) == 512 && offset_of!(ConsumerPage, counters) == 512);
    assert!(offset_of!(ProducerPage, last_seq) == 640 && offset_of!(ConsumerPage, handed) == 640);
    assert!(offset_of!(ConsumerPage, origin_epoch) == 648);
    assert!(offset_of!(ConsumerPage, origin_seq) == 656);
    assert!(offset_of!(ConsumerPage, far_epoch) == 664);
    assert!(offset_of!(ConsumerPage, far_read) == 672);
    assert!(offset_of!(ProducerPage, traces) == 2048 && offset_of!(ConsumerPage, traces) == 2048);
};

#[cfg(feature = "model")]
impl Default for ProducerPage {
    fn default() -> ProducerPage {
        ProducerPage {
            tail: Position::default(),
            bell: Bell::default(),
            owner: Owner::default(),
            counters: Counters::default(),
            last_seq: AtomicU64::new(0),
            _unused: std::array::from_fn(|_| AtomicU64::new(0)),
            traces: std::array::from_fn(|_| TraceSlot::default()),
        }
    }
}

#[cfg(feature = "model")]
impl Default for ConsumerPage {
    fn default() -> ConsumerPage {
        ConsumerPage {
            head: Position::default(),
            bell: Bell::default(),
            owner: Owner::default(),
            counters: Counters::default(),
            handed: AtomicU64::new(0),
            origin_epoch: AtomicU64::new(0),
            origin_seq: AtomicU64::new(0),
            far_epoch: AtomicU64::new(0),
            far_read: AtomicU64::new(0),
            far_doubt: AtomicU64::new(0),
            _unused: std::array::from_fn(|_| AtomicU64::new(0)),
            traces: std::array::from_fn(|_| TraceSlot::default()),
        }
    }
}

/// Adds to a counter whose only writer is the caller: no locked instruction.
#[inline]
pub fn count(counter: &AtomicU64, more: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(more),
        Ordering::Relaxed,
    );
}

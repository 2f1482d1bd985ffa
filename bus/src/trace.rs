//! Where a traced message passed by: a few slots in the page of each side it crossed.
//!
//! A sender may mark a message with a trace number. Each side that commits or hands out such a
//! message leaves the number and the time here, round and round; `hooktool bus trace ID` collects
//! the slots of all channels and prints them in order of time. Nothing else ever reads them.

use crate::sync::{AtomicU64, Ordering};

/// One passage: 32 bytes.
#[repr(C)]
#[derive(Debug, Default)]
pub struct TraceSlot {
    /// The trace number; 0: unused, or being written.
    pub id: AtomicU64,
    /// Wall clock, in nanoseconds since 1970.
    pub at_ns: AtomicU64,
    /// Number of the message in this ring.
    pub seq: AtomicU64,
    /// Bytes of the payload.
    pub bytes: AtomicU64,
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<TraceSlot>() == 32);

/// One passage, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The trace number.
    pub id: u64,
    /// Wall clock, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Number of the message in this ring.
    pub seq: u64,
    /// Bytes of the payload.
    pub bytes: u64,
}

/// Leaves a mark in the slot after the youngest one.
pub fn mark(slots: &[TraceSlot], passage: Passage) {
    let youngest = |slot: &TraceSlot| slot.at_ns.load(Ordering::Relaxed);
    let Some(oldest) = slots.iter().min_by_key(|slot| youngest(slot)) else {
        return;
    };
    // Hidden while it changes: a viewer that sees the same number twice saw one passage.
    oldest.id.store(0, Ordering::Relaxed);
    oldest.at_ns.store(passage.at_ns, Ordering::Release);
    oldest.seq.store(passage.seq, Ordering::Release);
    oldest.bytes.store(passage.bytes, Ordering::Release);
    oldest.id.store(passage.id, Ordering::Release);
}

/// The passages in some slots, unordered.
pub fn read(slots: &[TraceSlot]) -> impl Iterator<Item = Passage> + '_ {
    slots.iter().filter_map(|slot| {
        let id = slot.id.load(Ordering::Acquire);
        let passage = Passage {
            id,
            at_ns: slot.at_ns.load(Ordering::Acquire),
            seq: slot.seq.load(Ordering::Acquire),
            bytes: slot.bytes.load(Ordering::Acquire),
        };
        (id != 0 && slot.id.load(Ordering::Acquire) == id).then_some(passage)
    })
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_mark_makes_room() {
        let slots: [TraceSlot; 4] = Default::default();
        for n in 1..=6 {
            mark(
                &slots,
                Passage {
                    id: n,
                    at_ns: n * 10,
                    seq: n,
                    bytes: 1,
                },
            );
        }
        let mut left: Vec<u64> = read(&slots).map(|passage| passage.id).collect();
        left.sort_unstable();
        assert_eq!(left, [3, 4, 5, 6]);
    }
}

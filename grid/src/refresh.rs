//! Refresh slots: blocks on their way from a target process to the memory nodes. A process claims a
//! free slot, reads the block into it from the page cache (never from the caller's buffer, which
//! may change), and marks it ready; the hook server sends it on and frees the slot. Nobody waits:
//! no free slot means the refresh is dropped and counted.
//!
//! ```text
//!  slot header (128 bytes)                                      content: `slot_bytes` each, apart
//!  +-------+-----+-----+-------+-------+-------+---------+------+
//!  | state | dev | ino | birth | block | epoch | version | log2 |
//!  +-------+-----+-----+-------+-------+-------+---------+------+
//!  | record (index, generation) | reserved ...                  |
//!  +----------------------------------------------------------- +
//!   state:  owner << 8 | { 0 free, 1 writing, 2 ready, 3 sending }
//! ```

use crate::files::RecordRef;
use crate::ident::FileIdent;
use crate::sync::{AtomicU64, Ordering};

const FREE: u64 = 0;
const WRITING: u64 = 1;
const READY: u64 = 2;
const SENDING: u64 = 3;
const KIND: u64 = 0xFF;

/// One slot's header: two cache lines.
#[repr(C, align(128))]
pub struct RefreshSlot {
    state: AtomicU64,
    dev: AtomicU64,
    ino: AtomicU64,
    birth_ns: AtomicU64,
    block: AtomicU64,
    epoch: AtomicU64,
    version: AtomicU64,
    log2: AtomicU64,
    record: AtomicU64,
    _unused: [AtomicU64; 7],
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<RefreshSlot>() == 128);

/// A block under the versions its filler saw (rule F1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The file.
    pub ident: FileIdent,
    /// Block number.
    pub block: u64,
    /// log2 of the block size.
    pub log2: u8,
    /// Epoch of the file.
    pub epoch: u64,
    /// Version of the block.
    pub version: u64,
    /// The file's record.
    pub record: RecordRef,
}

impl RefreshSlot {
    /// A free slot (for tests and the model; the region's memory starts out zeroed).
    pub fn free() -> RefreshSlot {
        let zero = || AtomicU64::new(0);
        RefreshSlot {
            state: zero(),
            dev: zero(),
            ino: zero(),
            birth_ns: zero(),
            block: zero(),
            epoch: zero(),
            version: zero(),
            log2: zero(),
            record: zero(),
            _unused: core::array::from_fn(|_| zero()),
        }
    }
}

/// All slots.
#[derive(Clone, Copy)]
pub struct RefreshSlots<'a>(pub &'a [RefreshSlot]);

impl RefreshSlots<'_> {
    /// Claims a free slot for process `owner`, starting to look at `hint`. `None`: all are in use.
    pub fn claim(&self, owner: u16, hint: usize) -> Option<usize> {
        let next = u64::from(owner) << 8 | WRITING;
        (0..self.0.len())
            .map(|nth| (hint + nth) % self.0.len())
            .find(|slot| {
                let state = &self.0[*slot].state;
                state.load(Ordering::Relaxed) == FREE
                    && state
                        .compare_exchange(FREE, next, Ordering::Acquire, Ordering::Relaxed)
                        .is_ok()
            })
    }

    /// Hands a claimed slot, its content written, to the hook server.
    pub fn submit(&self, slot: usize, refresh: Refresh) {
        let header = &self.0[slot];
        header.dev.store(refresh.ident.dev, Ordering::Relaxed);
        header.ino.store(refresh.ident.ino, Ordering::Relaxed);
        header
            .birth_ns
            .store(refresh.ident.birth_ns, Ordering::Relaxed);
        header.block.store(refresh.block, Ordering::Relaxed);
        header.epoch.store(refresh.epoch, Ordering::Relaxed);
        header.version.store(refresh.version, Ordering::Relaxed);
        header
            .log2
            .store(u64::from(refresh.log2), Ordering::Relaxed);
        let record = u64::from(refresh.record.index) << 32 | u64::from(refresh.record.generation);
        header.record.store(record, Ordering::Relaxed);
        header.state.store(READY, Ordering::Release);
    }

    /// Gives a slot back, claimed or taken.
    pub fn free(&self, slot: usize) {
        self.0[slot].state.store(FREE, Ordering::Release);
    }

    /// Takes a ready slot for sending (hook server).
    pub fn take(&self, slot: usize) -> Option<Refresh> {
        let header = &self.0[slot];
        header
            .state
            .compare_exchange(READY, SENDING, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        let record = header.record.load(Ordering::Relaxed);
        Some(Refresh {
            ident: FileIdent {
                dev: header.dev.load(Ordering::Relaxed),
                ino: header.ino.load(Ordering::Relaxed),
                birth_ns: header.birth_ns.load(Ordering::Relaxed),
            },
            block: header.block.load(Ordering::Relaxed),
            log2: header.log2.load(Ordering::Relaxed) as u8,
            epoch: header.epoch.load(Ordering::Relaxed),
            version: header.version.load(Ordering::Relaxed),
            record: RecordRef {
                index: (record >> 32) as u32,
                generation: record as u32,
            },
        })
    }

    /// Slots that somebody has claimed and not given back.
    pub fn in_use(&self) -> usize {
        let is_used = |slot: &&RefreshSlot| slot.state.load(Ordering::Relaxed) != FREE;
        self.0.iter().filter(is_used).count()
    }

    /// Frees the slots that a process now proved dead was writing.
    pub fn release_owner(&self, owner: u16) {
        for slot in self.0 {
            let state = slot.state.load(Ordering::Acquire);
            if state & KIND == WRITING && (state >> 8) as u16 == owner {
                slot.state.store(FREE, Ordering::Release);
            }
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_block_travels_once_and_a_full_pool_refuses() {
        let slots: Vec<RefreshSlot> = (0..2).map(|_| RefreshSlot::free()).collect();
        let slots = RefreshSlots(&slots);
        let refresh = Refresh {
            ident: FileIdent {
                dev: 1,
                ino: 2,
                birth_ns: 3,
            },
            block: 4,
            log2: 13,
            epoch: 5,
            version: 6,
            record: RecordRef {
                index: 7,
                generation: 8,
            },
        };
        let slot = slots.claim(1, 0).expect("free");
        assert!(slots.take(slot).is_none());
        slots.submit(slot, refresh);
        assert_eq!(slots.take(slot), Some(refresh));
        assert!(slots.take(slot).is_none());
        let second = slots.claim(2, 0).expect("one is left");
        assert!(slots.claim(1, 0).is_none());
        slots.release_owner(2);
        assert_eq!(slots.claim(1, 0), Some(second));
        slots.free(slot);
    }
}

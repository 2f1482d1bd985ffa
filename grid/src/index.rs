//! The block index: which blocks a memory node is believed to hold. A hint, never a promise: the
//! key asked for carries the version that the reader saw in the cells, and the node's answer proves
//! itself (envelope), so a wrong entry costs a round trip and a lost one costs a disk read.
//!
//! ```text
//!  bucket (64 bytes, two chosen by file and block): 16 entries of 32 bits
//!   31          16 15           8 7        2 1    0
//!  +--------------+--------------+----------+------+
//!  | block tag    | version tag  | unused   | heat |       0 = empty
//!  +--------------+--------------+----------+------+
//! ```
//!
//! A block may live in either of two buckets and goes where there is more room, so that an index
//! that is three quarters full loses nearly nothing (Azar et al., "Balanced Allocations"). It has
//! at most one entry: a new version replaces the old one. Entries are evicted at will, coldest
//! first.

use crate::ident::fold;
use crate::sync::{AtomicU32, Ordering};

/// Entries of one bucket: one cache line.
pub const BUCKET_ENTRIES: usize = 16;

const HEAT_MASK: u32 = 3;
const KEY_MASK: u32 = !0xFF;

/// One bucket.
#[repr(C, align(64))]
pub struct Bucket(pub [AtomicU32; BUCKET_ENTRIES]);

/// The index: a power of two of buckets.
#[derive(Clone, Copy)]
pub struct Index<'a>(pub &'a [Bucket]);

/// Which block, under which version: what an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    buckets: [u64; 2],
    key: u32,
}

impl Held {
    /// `block_hash` as `ident::block_hash`; `log2`, `epoch` and `version` as in the key.
    pub fn new(block_hash: u64, log2: u8, epoch: u64, version: u64) -> Held {
        let block_tag = (block_hash >> 48) as u32 | 1;
        let mix = fold(
            epoch ^ u64::from(log2) << 56,
            version ^ 0x94D0_49BB_1331_11EB,
        );
        let version_tag = (mix & 0xFF) as u32;
        let first = fold(block_hash, 0x2545_F491_4F6C_DD1D);
        Held {
            buckets: [first, fold(first, 0x9FB2_1C65_1E98_DF25)],
            key: block_tag << 16 | version_tag << 8,
        }
    }
}

impl<'a> Index<'a> {
    /// The entries of both buckets that a block may live in.
    fn entries(&self, held: Held) -> impl Iterator<Item = &'a AtomicU32> + use<'a> {
        let buckets = self.0;
        held.buckets
            .into_iter()
            .flat_map(move |hash| &buckets[hash as usize & (buckets.len() - 1)].0)
    }

    /// Whether a node is believed to hold exactly this version; the heat it has reached.
    pub fn heat(&self, held: Held) -> Option<u32> {
        self.entries(held).find_map(|entry| {
            let word = entry.load(Ordering::Relaxed);
            (word & KEY_MASK == held.key).then_some(word & HEAT_MASK)
        })
    }

    /// Whether any version of the block is believed to be held: it was worth keeping once.
    pub fn holds_any_version(&self, held: Held) -> bool {
        self.entries(held)
            .any(|entry| entry.load(Ordering::Relaxed) >> 16 == held.key >> 16)
    }

    /// Raises the heat of an entry to `heat` (the one shared store of a hit).
    pub fn set_heat(&self, held: Held, heat: u32) {
        for entry in self.entries(held) {
            let word = entry.load(Ordering::Relaxed);
            if word & KEY_MASK == held.key && word & HEAT_MASK != heat {
                let next = held.key | heat & HEAT_MASK;
                let _ = entry.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Enters a block that a node has acknowledged. True: the index gained an entry; false: an
    /// older version or another block made room.
    pub fn insert(&self, held: Held) -> bool {
        let mut same = None;
        let mut empty: [Option<&AtomicU32>; 2] = [None; 2];
        let mut room = [0u32; 2];
        // Among equally cold entries the choice turns with the key, so that none is stuck.
        let turn = held.key as usize >> 8;
        let mut coldest: Option<((u32, usize), &AtomicU32)> = None;
        for (nth, entry) in self.entries(held).enumerate() {
            let word = entry.load(Ordering::Relaxed);
            let half = nth / BUCKET_ENTRIES;
            let rank = (word & HEAT_MASK, (nth + turn) % (2 * BUCKET_ENTRIES));
            if word >> 16 == held.key >> 16 {
                same = Some(entry);
            } else if word == 0 {
                empty[half] = Some(entry);
                room[half] += 1;
            } else if coldest.is_none_or(|(least, _)| rank < least) {
                coldest = Some((rank, entry));
            }
        }
        let roomier = if room[1] > room[0] {
            empty[1]
        } else {
            empty[0]
        };
        let place = same.or(roomier).or(coldest.map(|(_, entry)| entry));
        if let Some(place) = place {
            place.store(held.key, Ordering::Relaxed);
        }
        same.is_none() && roomier.is_some()
    }

    /// Forgets an entry: the node answered that it does not hold the block.
    pub fn remove(&self, held: Held) {
        for entry in self.entries(held) {
            let word = entry.load(Ordering::Relaxed);
            if word & KEY_MASK == held.key {
                let _ = entry.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Forgets everything (flush, node lost).
    pub fn clear(&self) {
        self.0
            .iter()
            .flat_map(|bucket| &bucket.0)
            .for_each(|e| e.store(0, Ordering::Relaxed));
    }

    /// Cools the buckets of one slice of the index: heat falls by one. The hook server walks slice
    /// by slice, so that "read twice" means twice within one round. Counts the entries it meets.
    pub fn cool(&self, slice: core::ops::Range<usize>) -> usize {
        let mut held = 0;
        for entry in self.0[slice].iter().flat_map(|bucket| &bucket.0) {
            let word = entry.load(Ordering::Relaxed);
            held += usize::from(word != 0);
            if word != 0 && word & HEAT_MASK != 0 {
                let _ =
                    entry.compare_exchange(word, word - 1, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
        held
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn buckets(count: usize) -> Vec<Bucket> {
        (0..count)
            .map(|_| Bucket(core::array::from_fn(|_| AtomicU32::new(0))))
            .collect()
    }

    #[test]
    fn a_new_version_replaces_the_old_one() {
        let buckets = buckets(4);
        let index = Index(&buckets);
        let old = Held::new(77, 13, 1, 1);
        let new = Held::new(77, 13, 1, 2);
        assert!(index.insert(old));
        assert_eq!(index.heat(old), Some(0));
        assert!(index.holds_any_version(new) && index.heat(new).is_none());
        assert!(!index.insert(new));
        assert_eq!((index.heat(old), index.heat(new)), (None, Some(0)));
        index.remove(new);
        assert_eq!(index.heat(new), None);
    }

    #[test]
    fn an_index_three_quarters_full_loses_nearly_nothing() {
        let buckets = buckets(256);
        let index = Index(&buckets);
        let held = |n: u64| Held::new(crate::ident::block_hash(7, n), 13, 1, 1);
        let blocks = 256 * BUCKET_ENTRIES as u64 * 3 / 4;
        for n in 0..blocks {
            index.insert(held(n));
        }
        let kept = (0..blocks)
            .filter(|n| index.heat(held(*n)).is_some())
            .count() as u64;
        assert!(kept * 1000 >= blocks * 998, "{kept} of {blocks}");
    }

    #[test]
    fn a_full_bucket_gives_up_a_cold_entry() {
        let buckets = buckets(1);
        let index = Index(&buckets);
        let held = |n: u64| Held::new(n << 48 | 1 << 49, 13, 1, 1);
        let hot = held(2);
        index.insert(hot);
        index.set_heat(hot, 2);
        for n in 0..64 {
            index.insert(held(n * 4 + 4));
        }
        assert_eq!(index.heat(hot), Some(2));
        assert_eq!(index.cool(0..1), BUCKET_ENTRIES);
        assert_eq!(index.heat(hot), Some(1));
    }
}

//! The block index: which blocks a memory node is believed to hold. A hint, never a promise: the
//! key asked for carries the version that the reader saw in the cells, and the node's answer proves
//! itself (envelope), so a wrong entry costs a round trip and a lost one costs a disk read.
//!
//! ```text
//!  bucket (64 bytes, chosen by file and block): 16 entries of 32 bits
//!   31          16 15           8 7        2 1    0
//!  +--------------+--------------+----------+------+
//!  | block tag    | version tag  | unused   | heat |       0 = empty
//!  +--------------+--------------+----------+------+
//! ```
//!
//! A block has at most one entry in its bucket: a new version replaces the old one. Entries are
//! evicted at will, coldest first.

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
    bucket: u64,
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
        Held {
            bucket: fold(block_hash, 0x2545_F491_4F6C_DD1D),
            key: block_tag << 16 | version_tag << 8,
        }
    }
}

impl<'a> Index<'a> {
    fn bucket(&self, held: Held) -> &'a Bucket {
        &self.0[held.bucket as usize & (self.0.len() - 1)]
    }

    /// Whether a node is believed to hold exactly this version; the heat it has reached.
    pub fn heat(&self, held: Held) -> Option<u32> {
        self.bucket(held).0.iter().find_map(|entry| {
            let word = entry.load(Ordering::Relaxed);
            (word & KEY_MASK == held.key).then_some(word & HEAT_MASK)
        })
    }

    /// Whether any version of the block is believed to be held: it was worth keeping once.
    pub fn holds_any_version(&self, held: Held) -> bool {
        self.bucket(held)
            .0
            .iter()
            .any(|e| e.load(Ordering::Relaxed) >> 16 == held.key >> 16)
    }

    /// Raises the heat of an entry to `heat` (the one shared store of a hit).
    pub fn set_heat(&self, held: Held, heat: u32) {
        for entry in &self.bucket(held).0 {
            let word = entry.load(Ordering::Relaxed);
            if word & KEY_MASK == held.key && word & HEAT_MASK != heat {
                let next = held.key | heat & HEAT_MASK;
                let _ = entry.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Enters a block that a node has acknowledged. True: the bucket gained an entry; false: an
    /// older version or another block made room.
    pub fn insert(&self, held: Held) -> bool {
        let entries = &self.bucket(held).0;
        let words: [u32; BUCKET_ENTRIES] =
            core::array::from_fn(|nth| entries[nth].load(Ordering::Relaxed));
        let same = words.iter().position(|word| word >> 16 == held.key >> 16);
        let empty = || words.iter().position(|word| *word == 0);
        let coldest = || {
            let start = held.key as usize >> 8;
            (0..BUCKET_ENTRIES)
                .map(|nth| (start + nth) % BUCKET_ENTRIES)
                .min_by_key(|nth| words[*nth] & HEAT_MASK)
                .unwrap_or(0)
        };
        let gained = same.is_none() && empty().is_some();
        let place = same.or_else(empty).unwrap_or_else(coldest);
        entries[place].store(held.key, Ordering::Relaxed);
        gained
    }

    /// Forgets an entry: the node answered that it does not hold the block.
    pub fn remove(&self, held: Held) {
        for entry in &self.bucket(held).0 {
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

//! The names of items that left not long ago: hashes in a small set-associative table.
//!
//! Called by `s3fifo`. It remembers about as many as there is room for 4 KiB blocks, four bytes
//! each; the oldest of a set of four makes room for a new one. Two items with one 32-bit hash are
//! taken for each other: the stranger then starts in the main queue, which costs a little memory
//! and nothing else.

/// Entries of a set.
const WAYS: usize = 4;

/// Bytes of ghost per chunk of slab: one entry per four chunks, that is per 4 KiB block.
pub const GHOST_BYTES_PER_CHUNK: usize = size_of::<u32>() / 4;

/// An empty entry. A hash that is 0 is never found, which costs it a chance in four billion.
const EMPTY: u32 = 0;

/// The table.
pub struct Ghost {
    /// Hashes of items, in each set the latest first.
    sets: Vec<[u32; WAYS]>,
}

impl Ghost {
    /// For a shard of so many chunks.
    pub fn new(chunks: u32) -> Ghost {
        let sets = (chunks as usize / (4 * WAYS)).max(1);
        Ghost {
            sets: vec![[EMPTY; WAYS]; sets],
        }
    }

    /// Notes that the item left.
    pub fn remember(&mut self, hash: u32) {
        let set = self.set(hash);
        set.rotate_right(1);
        set[0] = hash;
    }

    /// Did the item leave not long ago? If so, forgets that.
    pub fn forget(&mut self, hash: u32) -> bool {
        let set = self.set(hash);
        let found = set.iter().position(|entry| *entry == hash && hash != EMPTY);
        if let Some(place) = found {
            // The older ones move up, so that the hole is what makes room next.
            set[place..].rotate_left(1);
            set[WAYS - 1] = EMPTY;
        }
        found.is_some()
    }

    fn set(&mut self, hash: u32) -> &mut [u32; WAYS] {
        // The index takes the upper bits of the same hash, so mix before taking them again.
        let mixed = hash.wrapping_mul(0x9e37_79b1);
        let set = (u64::from(mixed) * self.sets.len() as u64) >> 32;
        &mut self.sets[set as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_once_and_not_for_ever() {
        let mut ghost = Ghost::new(1600);
        ghost.remember(7);
        assert!(ghost.forget(7));
        assert!(!ghost.forget(7));
        ghost.remember(7);
        (1000..20_000).for_each(|hash| ghost.remember(hash));
        assert!(!ghost.forget(7));
        assert!(ghost.forget(19_999));
    }

    #[test]
    fn the_oldest_of_a_set_goes_first_and_holes_before_it() {
        let mut ghost = Ghost::new(16);
        (1..=4).for_each(|hash| ghost.remember(hash));
        assert!(ghost.forget(2));
        ghost.remember(5);
        ghost.remember(6);
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 0].map(|hash| ghost.forget(hash)),
            [false, false, true, true, true, true, false]
        );
    }
}

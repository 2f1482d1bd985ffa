//! The names of items that left not long ago: hashes in a small set-associative table.
//!
//! Called by `s3fifo`. It remembers about as many as there is room for 4 KiB blocks, eight bytes
//! each; the oldest of a set of four makes room for a new one. Two items with one 32-bit hash are
//! taken for each other: the stranger then starts in the main queue, which costs a little memory
//! and nothing else.

/// Entries of a set.
const WAYS: usize = 4;

/// Bytes of ghost per chunk of slab: one entry per four chunks, that is per 4 KiB block.
pub const GHOST_BYTES_PER_CHUNK: usize = size_of::<Entry>() / 4;

#[derive(Clone, Copy, Default)]
struct Entry {
    /// Hash of the item; meaningless while `stamp` is 0.
    hash: u32,
    /// When it left, in departures counted from 1; 0 is an empty entry.
    stamp: u32,
}

/// The table.
pub struct Ghost {
    sets: Vec<[Entry; WAYS]>,
    /// Departures so far.
    departures: u32,
}

impl Ghost {
    /// For a shard of so many chunks.
    pub fn new(chunks: u32) -> Ghost {
        let sets = (chunks as usize / (4 * WAYS)).max(1);
        Ghost {
            sets: vec![[Entry::default(); WAYS]; sets],
            departures: 0,
        }
    }

    /// Notes that the item left.
    pub fn remember(&mut self, hash: u32) {
        self.departures = self.departures.wrapping_add(1).max(1);
        let now = self.departures;
        let set = self.set(hash);
        let age = |entry: &Entry| {
            if entry.stamp == 0 {
                u32::MAX
            } else {
                now - entry.stamp
            }
        };
        let oldest = set
            .iter_mut()
            .max_by_key(|entry| match now.checked_sub(entry.stamp) {
                Some(_) => age(entry),
                None => u32::MAX, // from before the counter wrapped
            });
        if let Some(entry) = oldest {
            *entry = Entry { hash, stamp: now };
        }
    }

    /// Did the item leave not long ago? If so, forgets that.
    pub fn forget(&mut self, hash: u32) -> bool {
        let found = self
            .set(hash)
            .iter_mut()
            .find(|entry| entry.stamp != 0 && entry.hash == hash);
        match found {
            Some(entry) => {
                *entry = Entry::default();
                true
            }
            None => false,
        }
    }

    fn set(&mut self, hash: u32) -> &mut [Entry; WAYS] {
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
    fn survives_the_wrap_of_its_counter() {
        let mut ghost = Ghost::new(16);
        ghost.departures = u32::MAX - 2;
        (0..8).for_each(|hash| ghost.remember(hash));
        assert!(ghost.forget(7));
        assert!(!ghost.forget(0));
    }
}

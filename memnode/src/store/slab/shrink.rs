//! A slab that gets smaller, and larger again: what lies behind its limit moves away, and its pages
//! go back to the kernel.
//!
//! Called by `shard`, in steps (`docs/design.md`, section 13): begin, sort the free chunks, pull
//! the items in, give back. It moves what it is told to and never chooses what is given up.

use super::super::arena::PAGE_BYTES_MAX;
use super::free::Runs;
use super::{CHUNK_BYTES, LAST_TAG, NONE, Slab, TAG_BITS, place};

impl Slab {
    /// Lets more chunks be used, up to as many as the part has room for.
    pub fn grow(&mut self, limit: u32) {
        assert!(self.is_sorted() && self.behind == 0, "still shrinking");
        let limit = limit.min(u32::try_from(self.part.len() / CHUNK_BYTES).unwrap_or(NONE - 1));
        self.free_chunks += limit.saturating_sub(self.limit);
        self.limit = self.limit.max(limit);
    }

    /// Lets fewer chunks be used. What lies behind the limit stays until it is pulled in or
    /// removed; nothing new goes there.
    pub fn begin_shrink(&mut self, limit: u32) {
        assert!(self.is_sorted() && self.behind == 0, "still shrinking");
        self.limit = limit.min(self.limit);
        self.unsorted = std::mem::replace(&mut self.free, Runs::none());
        self.free_chunks = self.limit.saturating_sub(self.fresh);
        self.behind = self.fresh.saturating_sub(self.limit);
    }

    /// Looks at some of the returned chunks; `true` when all were looked at.
    pub fn sort_free(&mut self, most: u32) -> bool {
        let mut rest = most;
        while rest > 0
            && let Some((start, chunks)) = self.take_unsorted(rest)
        {
            rest -= chunks;
            self.free_run(start, chunks);
        }
        self.is_sorted()
    }

    fn is_sorted(&self) -> bool {
        self.unsorted.is_empty()
    }

    /// How many chunks behind the limit are not nobody's yet.
    pub fn behind(&self) -> u32 {
        self.behind
    }

    /// How many chunks of an item lie behind the limit.
    pub fn chunks_behind(&self, item: u32) -> u32 {
        let (mut rest, mut count) = (Some(item), 0);
        while let Some(chunk) = rest {
            count += u32::from(chunk >= self.limit);
            rest = self.following(chunk);
        }
        count
    }

    /// Moves what an item has behind the limit to free chunks, of which there must be enough, and
    /// returns where the item is now. Never one that is pinned. Who points to it has to be told.
    pub fn pull_in(&mut self, item: u32) -> u32 {
        debug_assert!(!self.is_pinned(item) && self.free_chunks >= self.chunks_behind(item));
        let behind = self.chunks_behind(item);
        let mut places = (behind > 0).then(|| self.take(behind));
        let (mut first, mut last, mut rest) = (item, NONE, Some(item));
        while let Some(chunk) = rest {
            rest = self.following(chunk);
            let mut now = chunk;
            if chunk >= self.limit
                && let Some(place_now) = places
            {
                places = self.following(place_now);
                now = place_now;
                let mut bytes = [0; CHUNK_BYTES];
                bytes.copy_from_slice(self.part.read(place(chunk, 0), CHUNK_BYTES));
                self.put(now, 0, &bytes);
                self.free_run(chunk, 1);
            }
            match last {
                NONE => first = now,
                before => self.set_link(before, now),
            }
            last = now;
        }
        self.set_link(last, first | LAST_TAG);
        first
    }

    /// Gives some memory behind the limit back to the kernel, at most so many bytes; `true` when
    /// there is no more. Only when nothing is left there.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub fn give_back(&mut self, most_bytes: usize) -> std::io::Result<bool> {
        assert!(self.is_sorted() && self.behind == 0, "still shrinking");
        if self.fresh <= self.limit {
            return Ok(true);
        }
        let most = (most_bytes / CHUNK_BYTES).max(1) as u32;
        let from = self.limit.max(self.fresh.saturating_sub(most));
        // To the end of the pages that the last piece has cut.
        let end = place(self.fresh, 0) + PAGE_BYTES_MAX;
        self.fresh = from; // whatever the kernel says: a refusal costs memory and no more
        self.part
            .give_back(place(from, 0), end.min(self.part.len()))?;
        Ok(self.fresh == self.limit)
    }

    /// The item that a chunk behind the limit belongs to, once all free ones are sorted.
    pub fn owner(&self, chunk: u32) -> Option<u32> {
        debug_assert!(chunk >= self.limit && self.is_sorted());
        let mut link = self.link(chunk);
        while link & TAG_BITS == 0 {
            link = self.link(link);
        }
        (link & TAG_BITS == LAST_TAG).then_some(link & !TAG_BITS)
    }

    /// Chunks from here on were never used, or given back.
    pub fn fresh(&self) -> u32 {
        self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;

    #[test]
    fn what_lies_behind_the_limit_is_pulled_in_and_its_place_is_nobodys() {
        let mut slab = testing::slab(32);
        let items: Vec<u32> = (0..8u8)
            .map(|n| slab.insert(&[n], &[n; 3500], 0).unwrap())
            .collect();
        for odd in [1, 3, 5, 7] {
            slab.remove(items[odd]);
        }
        slab.begin_shrink(18);
        assert!(!slab.sort_free(3) && slab.sort_free(100));
        for (n, item) in (0..8u8).zip(items).step_by(2) {
            let now = slab.pull_in(item);
            let mut out = Vec::new();
            slab.read_value(now, &mut out);
            assert_eq!((slab.key(now), out), (&[n][..], vec![n; 3500]));
            assert_eq!(slab.chunks_behind(now), 0);
        }
        assert_eq!(
            (slab.behind(), slab.used_chunks(), slab.free_chunks()),
            (0, 16, 2)
        );
        while !slab.give_back(1).unwrap() {}
        assert_eq!(slab.insert(b"k", &[0; 3500], 7), None);
        slab.grow(1000);
        assert_eq!((slab.chunks(), slab.free_chunks()), (32, 16));
        assert!(slab.insert(b"k", &[0; 3500], 7).is_some());
    }
}

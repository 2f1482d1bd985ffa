//! Free chunks as runs of neighbours, so that the next item finds a place in one piece.
//!
//! Called by the slab when it takes chunks and gets them back. A run that comes back joins the free
//! runs beside it; a taker gets the shortest run that is long enough, else memory that was never
//! used, else what there is, in pieces: it never fails while enough chunks are free, wherever they
//! lie. Both ends of a free run say how long it is (in the table of links), its first chunk holds
//! the links of its list, and there is one list per length: every step here takes the same time
//! however much is free.

use super::{CHUNK_BYTES, FREE_TAG, LAST_TAG, NEXT_AT, NONE, PREV_AT, Slab, TAG_BITS};

/// Lists: one for each length up to 63 chunks, which is a block of 64 KiB, and one for the rest.
const LISTS: usize = 64;
const _: () = assert!(LISTS * CHUNK_BYTES > 65 * 1024);

/// Free runs by length.
pub struct Runs {
    /// First run of each list, linked through `prev` and `next` of its first chunk.
    heads: [u32; LISTS],
    /// Which lists are not empty, a bit each.
    filled: u64,
}

impl Runs {
    /// No runs.
    pub const fn none() -> Runs {
        Runs {
            heads: [NONE; LISTS],
            filled: 0,
        }
    }

    /// No runs?
    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Some run of the first list that may have one of so many chunks.
    fn at_least(&self, chunks: u32) -> Option<u32> {
        let longer = self.filled >> list(chunks) << list(chunks);
        (longer != 0).then(|| self.heads[longer.trailing_zeros() as usize])
    }

    /// Some run of the longest there are.
    pub fn longest(&self) -> Option<u32> {
        let top = self.filled.checked_ilog2()?;
        Some(self.heads[top as usize])
    }

    fn set_head(&mut self, list: usize, run: u32) {
        self.heads[list] = run;
        match run {
            NONE => self.filled &= !(1 << list),
            _ => self.filled |= 1 << list,
        }
    }
}

/// Which list a run of so many chunks is in.
fn list(chunks: u32) -> usize {
    (chunks as usize).clamp(1, LISTS) - 1
}

impl Slab {
    /// Is there one piece of so many chunks, or more?
    pub fn has_run(&self, wanted: u32) -> bool {
        let unused = self.limit.saturating_sub(self.fresh);
        unused >= wanted || self.fitting(wanted).is_some()
    }

    fn fitting(&self, wanted: u32) -> Option<u32> {
        let run = self.free.at_least(wanted);
        run.filter(|run| self.run_chunks(*run) >= wanted)
    }

    /// Takes chunks, linked as those of one item, and returns the first. So many must be free.
    pub(super) fn take(&mut self, wanted: u32) -> u32 {
        debug_assert!(wanted > 0 && wanted <= self.free_chunks);
        self.free_chunks -= wanted;
        let (mut first, mut last, mut rest) = (NONE, NONE, wanted);
        while rest > 0 {
            let (start, chunks) = self.take_run(rest);
            match last {
                NONE => first = start,
                before => self.set_link(before, start),
            }
            last = start + chunks - 1;
            (start..last).for_each(|chunk| self.set_link(chunk, chunk + 1));
            rest -= chunks;
        }
        self.set_link(last, first | LAST_TAG);
        first
    }

    /// Where a run begins, and its length: as many chunks as wanted, or as can be had.
    fn take_run(&mut self, wanted: u32) -> (u32, u32) {
        let unused = self.limit.saturating_sub(self.fresh);
        let from_free = match self.fitting(wanted) {
            None if unused >= wanted => None,
            None => self.free.longest(),
            run => run,
        };
        let Some(run) = from_free else {
            let taken = unused.min(wanted);
            self.fresh += taken;
            return (self.fresh - taken, taken);
        };
        let chunks = self.run_chunks(run);
        self.unlink(run, chunks);
        let taken = chunks.min(wanted);
        if taken < chunks {
            self.list_run(run + taken, chunks - taken);
        }
        (run, taken)
    }

    /// Notes that chunks side by side hold nothing any more; those behind the limit are nobody's
    /// from now on.
    pub(super) fn free_run(&mut self, mut start: u32, mut chunks: u32) {
        let over = (start + chunks).saturating_sub(self.limit.max(start));
        for chunk in start + chunks - over..start + chunks {
            self.set_link(chunk, NONE);
        }
        self.behind -= over;
        chunks -= over;
        if chunks == 0 {
            return;
        }
        self.free_chunks += chunks;
        // While runs are unsorted it is not known which list a neighbour is in.
        if self.unsorted.is_empty() {
            if let Some(before) = start.checked_sub(1).and_then(|left| self.free_at(left)) {
                start -= before;
                self.unlink(start, before);
                chunks += before;
            }
            let end = start + chunks;
            if end < self.fresh.min(self.limit)
                && let Some(after) = self.free_at(end)
            {
                self.unlink(end, after);
                chunks += after;
            }
        }
        self.list_run(start, chunks);
    }

    /// Takes any unsorted run out of its list, at most so many of its last chunks: where they
    /// begin, and how many.
    pub(super) fn take_unsorted(&mut self, most: u32) -> Option<(u32, u32)> {
        let run = self.unsorted.longest()?;
        let chunks = self.run_chunks(run);
        let (from, next) = (list(chunks), self.word(run, NEXT_AT));
        self.unsorted.set_head(from, next);
        let rest = chunks.saturating_sub(most);
        if rest > 0 {
            let to = list(rest);
            self.set_link(run, FREE_TAG | rest);
            self.set_word(run, NEXT_AT, self.unsorted.heads[to]);
            self.unsorted.set_head(to, run);
        }
        Some((run + rest, chunks - rest))
    }

    /// How many chunks the free run has that begins or ends here, if one does.
    fn free_at(&self, chunk: u32) -> Option<u32> {
        let link = self.link(chunk);
        (link & TAG_BITS == FREE_TAG).then_some(link & !TAG_BITS)
    }

    fn run_chunks(&self, run: u32) -> u32 {
        self.link(run) & !TAG_BITS
    }

    fn list_run(&mut self, run: u32, chunks: u32) {
        self.set_link(run, FREE_TAG | chunks);
        self.set_link(run + chunks - 1, FREE_TAG | chunks);
        let list = list(chunks);
        let next = self.free.heads[list];
        self.set_word(run, PREV_AT, NONE);
        self.set_word(run, NEXT_AT, next);
        if next != NONE {
            self.set_word(next, PREV_AT, run);
        }
        self.free.set_head(list, run);
    }

    fn unlink(&mut self, run: u32, chunks: u32) {
        let (prev, next) = (self.word(run, PREV_AT), self.word(run, NEXT_AT));
        match prev {
            NONE => self.free.set_head(list(chunks), next),
            prev => self.set_word(prev, NEXT_AT, next),
        }
        if next != NONE {
            self.set_word(next, PREV_AT, prev);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;

    #[test]
    fn neighbours_that_come_back_are_one_piece_again() {
        let mut slab = testing::slab(64);
        let small: Vec<u32> = (0..64u8)
            .map(|n| slab.insert(&[n], b"", 0).unwrap())
            .collect();
        assert_eq!(slab.insert(b"k", b"", 0), None);
        // Every second one first, then the ones between them, from the middle outwards.
        small.iter().step_by(2).for_each(|item| slab.remove(*item));
        let scattered = slab.insert(b"k", &[1; 20 * 1024], 0).unwrap();
        assert_eq!(slab.pieces(scattered), slab.chunks_of(scattered));
        slab.remove(scattered);
        let between: Vec<u32> = small.into_iter().skip(1).step_by(2).collect();
        for item in between[16..].iter().chain(between[..16].iter().rev()) {
            slab.remove(*item);
        }
        assert_eq!(slab.free_chunks(), 64);
        let whole = slab.insert(b"k", &[1; 64 * 1024], 0).unwrap();
        assert_eq!(slab.pieces(whole), 1);
    }

    #[test]
    fn the_shortest_run_that_is_long_enough_is_taken() {
        let mut slab = testing::slab(64);
        let bytes_of = |chunks: usize| chunks * super::CHUNK_BYTES - 100;
        let items: Vec<u32> = [4, 1, 16, 1, 8, 1, 31]
            .map(|chunks| slab.insert(b"k", &vec![1; bytes_of(chunks)], 0).unwrap())
            .into();
        assert_eq!(slab.free_chunks(), 2);
        [0, 2, 4]
            .iter()
            .for_each(|index| slab.remove(items[*index]));
        for (chunks, index) in [(8, 4), (4, 0), (16, 2)] {
            let item = slab.insert(b"k", &vec![1; bytes_of(chunks)], 0).unwrap();
            assert_eq!((item, slab.pieces(item)), (items[index], 1));
        }
        // Only what was never used is left; then nothing is.
        assert!(slab.insert(b"k", &[1; 2000], 0).is_some());
        assert_eq!((slab.free_chunks(), slab.insert(b"k", b"", 0)), (0, None));
    }
}

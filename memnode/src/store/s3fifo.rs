//! S3-FIFO (Yang et al., SOSP 2023) with one bit instead of two: three queues, no order to keep.
//!
//! Called by `shard` through `Policy`. New items enter a *small* queue, a tenth of the memory. What
//! is read there moves on to the *main* queue, what is not leaves, and its name is kept for a
//! while in the *ghost* queue: if it comes back soon it goes straight to main. In main an item that
//! was read since it last came by the exit gets another round.
//!
//! A scan therefore passes through the small queue and never touches main. One bit ties with or
//! beats the paper's two for a cache below another cache, which is what a memory node is.

use super::eviction::Policy;
use super::ghost::Ghost;
use super::list::List;
use super::slab::Slab;

/// The small queue may hold this share of the memory before it is what gets evicted from.
const SMALL_SHARE: u32 = 10;

const SMALL: u8 = 1;
const MAIN: u8 = 2;

/// The three queues.
pub struct S3Fifo {
    /// Where the new items prove themselves.
    small: List,
    /// Where the proven ones live.
    main: List,
    /// What left `small` unread, not long ago.
    ghost: Ghost,
    /// The weight beyond which `small` is evicted from first, in chunks.
    small_chunks_max: u32,
}

impl S3Fifo {
    /// Without items, for a shard of so many chunks.
    pub fn new(chunks: u32, ghost: Ghost) -> S3Fifo {
        let small_chunks_max = chunks / SMALL_SHARE;
        S3Fifo {
            small: List::new(),
            main: List::new(),
            ghost,
            small_chunks_max,
        }
    }

    fn enter_main(&mut self, slab: &mut Slab, item: u32) {
        slab.set_queue(item, MAIN);
        slab.set_seen(item, false);
        self.main.push(slab, item);
    }

    fn leave_small(&mut self, slab: &mut Slab) -> Option<u32> {
        while let Some(item) = self.small.tail() {
            self.small.unlink(slab, item);
            if !slab.seen(item) {
                self.ghost.remember(slab.hash(item));
                return Some(item);
            }
            self.enter_main(slab, item);
        }
        None
    }

    /// Ends, because every item that goes round loses the bit that sent it there.
    fn leave_main(&mut self, slab: &mut Slab) -> Option<u32> {
        while let Some(item) = self.main.tail() {
            self.main.unlink(slab, item);
            if !slab.seen(item) {
                return Some(item);
            }
            self.enter_main(slab, item);
        }
        None
    }
}

impl Policy for S3Fifo {
    fn inserted(&mut self, slab: &mut Slab, item: u32) {
        if self.ghost.forget(slab.hash(item)) {
            self.enter_main(slab, item);
        } else {
            slab.set_queue(item, SMALL);
            self.small.push(slab, item);
        }
    }

    fn touched(&mut self, slab: &mut Slab, item: u32) {
        slab.set_seen(item, true);
    }

    fn removed(&mut self, slab: &mut Slab, item: u32) {
        match slab.queue(item) {
            SMALL => self.small.unlink(slab, item),
            _ => self.main.unlink(slab, item),
        }
    }

    fn moved(&mut self, slab: &mut Slab, item: u32) {
        match slab.queue(item) {
            SMALL => self.small.moved(slab, item),
            _ => self.main.moved(slab, item),
        }
    }

    fn resized(&mut self, chunks: u32) {
        self.small_chunks_max = chunks / SMALL_SHARE;
    }

    fn victim(&mut self, slab: &mut Slab) -> Option<u32> {
        let small_first = self.small.chunks() > self.small_chunks_max;
        let small = if small_first {
            self.leave_small(slab)
        } else {
            None
        };
        small
            .or_else(|| self.leave_main(slab))
            .or_else(|| self.leave_small(slab))
    }
}

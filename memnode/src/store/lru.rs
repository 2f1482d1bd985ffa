//! Least recently used: the textbook policy, kept to compare with.
//!
//! Called by `shard` through `Policy`. A second-level cache sees the misses of the first, in which
//! recency says little: expect about half the hits of S3-FIFO for the same memory, and a scan to
//! wash everything out.

use super::eviction::Policy;
use super::list::List;
use super::slab::Slab;

/// One queue, most recently used first.
pub struct Lru {
    items: List,
}

impl Lru {
    /// Without items.
    pub const fn new() -> Lru {
        Lru { items: List::new() }
    }
}

impl Policy for Lru {
    fn inserted(&mut self, slab: &mut Slab, item: u32) {
        self.items.push(slab, item);
    }

    fn touched(&mut self, slab: &mut Slab, item: u32) {
        self.items.unlink(slab, item);
        self.items.push(slab, item);
    }

    fn removed(&mut self, slab: &mut Slab, item: u32) {
        self.items.unlink(slab, item);
    }

    fn moved(&mut self, slab: &mut Slab, item: u32) {
        self.items.moved(slab, item);
    }

    fn resized(&mut self, _: u32) {}

    fn victim(&mut self, slab: &mut Slab) -> Option<u32> {
        let item = self.items.tail()?;
        self.items.unlink(slab, item);
        Some(item)
    }
}

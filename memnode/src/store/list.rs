//! A queue of items, linked through their own headers: no memory of its own.
//!
//! Called by the eviction policies. Head is where items arrive, tail is where they leave; its
//! weight is counted in chunks, because that is what eviction has to free.

use super::slab::{NONE, Slab};

/// One doubly linked queue. The caller keeps apart which queue an item is in.
pub struct List {
    head: u32,
    tail: u32,
    chunks: u32,
}

impl List {
    /// A queue without items.
    pub const fn new() -> List {
        List {
            head: NONE,
            tail: NONE,
            chunks: 0,
        }
    }

    /// The weight of all items, in chunks.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// The item that has been here longest.
    pub fn tail(&self) -> Option<u32> {
        (self.tail != NONE).then_some(self.tail)
    }

    /// Puts an item that is in no queue at the head.
    pub fn push(&mut self, slab: &mut Slab, item: u32) {
        slab.set_prev(item, NONE);
        slab.set_next(item, self.head);
        match self.head {
            NONE => self.tail = item,
            head => slab.set_prev(head, item),
        }
        self.head = item;
        self.chunks += slab.chunks_of(item);
    }

    /// An item of this queue lies elsewhere now, its links with it: tells its neighbours.
    pub fn moved(&mut self, slab: &mut Slab, item: u32) {
        match slab.prev(item) {
            NONE => self.head = item,
            prev => slab.set_next(prev, item),
        }
        match slab.next(item) {
            NONE => self.tail = item,
            next => slab.set_prev(next, item),
        }
    }

    /// Takes an item of this queue out of it.
    pub fn unlink(&mut self, slab: &mut Slab, item: u32) {
        let (prev, next) = (slab.prev(item), slab.next(item));
        match prev {
            NONE => self.head = next,
            prev => slab.set_next(prev, next),
        }
        match next {
            NONE => self.tail = prev,
            next => slab.set_prev(next, prev),
        }
        self.chunks -= slab.chunks_of(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_leave_in_the_order_they_came_wherever_one_is_taken_out() {
        let mut slab = super::super::slab::testing::slab(8);
        let mut list = List::new();
        let items: Vec<u32> = (0..4u8)
            .map(|n| slab.insert(&[n], b"", 0).unwrap())
            .collect();
        for taken in 0..4 {
            items.iter().for_each(|item| list.push(&mut slab, *item));
            assert_eq!(list.chunks(), 4);
            list.unlink(&mut slab, items[taken]);
            for item in items.iter().filter(|item| **item != items[taken]) {
                assert_eq!(list.tail(), Some(*item));
                list.unlink(&mut slab, *item);
            }
            assert_eq!((list.tail(), list.chunks()), (None, 0));
        }
    }
}

//! The memory that blocks live in: one mapping, reserved up front, never dumped, never grown.
//!
//! Called by `store`, which reserves it, and by `slab`, each of which works in a part of its own.
//! Pages are touched as they fill, so a node that holds little costs little; what was touched
//! stays. Replies are sent straight from here: a `Span` names bytes of an item that is pinned.
//!
//! # Safety
//! The mapping is shared by all shards, so its bytes are reached through a raw pointer, and two
//! rules make references to them sound. (1) A `Part` is the only way to write its range, it is not
//! `Clone`, parts do not overlap, and it writes only through `&mut self`. (2) The bytes behind a
//! `Span` belong to the value of a pinned item, and `slab` writes no byte of such a value before
//! the last pin is gone; links and marks in the same chunk are other bytes, borrowed by themselves.
#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw};
use rustix::mm::{Advice as Wish, MlockFlags, madvise, mlock_with, munlock};

/// Largest ordinary page of the machines this runs on, in bytes.
pub const PAGE_BYTES_MAX: usize = 64 * 1024;

/// Pages of the size of most machines' huge pages, as a power of two.
const HUGE_LOG2: u8 = 21;

/// How much huge pages are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// Reserved ones (`vm.nr_hugepages`) if there are enough, else transparent ones. The default.
    #[default]
    Try,
    /// Transparent ones only.
    Transparent,
    /// Reserved ones, or the node does not start.
    Require,
    /// Ordinary pages only.
    Off,
}

impl HugePages {
    /// The wish called so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<HugePages> {
        match name {
            "try" => Some(HugePages::Try),
            "require" => Some(HugePages::Require),
            "off" => Some(HugePages::Off),
            _ => None,
        }
    }
}

/// The whole mapping.
pub struct Arena {
    map: MmapRaw,
    /// On reserved huge pages, which the kernel never swaps.
    reserved: bool,
    /// Kept out of swap.
    locked: AtomicBool,
}

/// Bytes of a pinned item's value.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    at: usize,
    bytes: u32,
}

impl Span {
    /// How many bytes.
    pub fn len(self) -> usize {
        self.bytes as usize
    }
}

impl Arena {
    /// Reserves `bytes` of address space; the kernel gives pages as they are touched.
    ///
    /// # Errors
    /// The kernel refuses the mapping: over a limit of this process or of the machine, or too few
    /// huge pages where they are required.
    pub fn reserve(bytes: usize, huge: HugePages) -> io::Result<Arc<Arena>> {
        let reserved = match huge {
            HugePages::Off | HugePages::Transparent => None,
            HugePages::Try => map_reserved(bytes).ok(),
            HugePages::Require => Some(map_reserved(bytes)?),
        };
        let on_reserved = reserved.is_some();
        let map = match reserved {
            Some(map) => map,
            None => map_ordinary(bytes, huge)?,
        };
        // Blocks are other people's data: never in a core file. A wish: a kernel that does not
        // know it still serves.
        let _ = map.advise(Advice::DontDump);
        Ok(Arc::new(Arena {
            map: MmapRaw::from(map),
            reserved: on_reserved,
            locked: AtomicBool::new(false),
        }))
    }

    /// Keeps the pages out of swap, each from the moment it is touched. Usually refused to
    /// ordinary users by RLIMIT_MEMLOCK; the node works without.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn lock(&self) -> io::Result<()> {
        if self.reserved {
            return Ok(());
        }
        let (start, bytes) = (self.map.as_mut_ptr().cast(), self.map.len());
        // SAFETY: the range is exactly the mapping owned by `self.map`, alive during the call;
        // locking changes where pages may be (not in swap), never what they hold.
        unsafe { mlock_with(start, bytes, MlockFlags::ONFAULT) }?;
        self.locked.store(true, Relaxed);
        Ok(())
    }

    /// Gives the whole pages of a range back to the kernel; they read as zeros from then on.
    /// Called by `Part`, for bytes of its own that nobody needs.
    fn give_back(&self, start: usize, end: usize) -> io::Result<()> {
        let page = match self.reserved {
            true => 1 << HUGE_LOG2,
            false => PAGE_BYTES_MAX,
        };
        let (start, end) = (start.next_multiple_of(page), end / page * page);
        if start >= end {
            return Ok(());
        }
        assert!(end <= self.map.len(), "inside the mapping");
        // SAFETY: inside the mapping (checked), so the pointer stays in it.
        let (at, bytes) = (
            unsafe { self.map.as_mut_ptr().add(start) }.cast(),
            end - start,
        );
        let locked = self.locked.load(Relaxed);
        if locked {
            // SAFETY: the range is mapped; unlocking changes where pages may be, not their bytes.
            unsafe { munlock(at, bytes) }?;
        }
        // SAFETY: the pages belong to one `Part`, whose owner has lent it to us mutably and says
        // that no item, and so no span, has bytes in them: what they hold may be lost.
        let given = unsafe { madvise(at, bytes, Wish::LinuxDontNeed) };
        if locked {
            // SAFETY: as above. A refusal leaves pages that may be swapped, as without the lock.
            let _ = unsafe { mlock_with(at, bytes, MlockFlags::ONFAULT) };
        }
        Ok(given?)
    }

    /// Cuts the mapping into `count` parts of `bytes` each.
    pub fn cut(self: &Arc<Arena>, count: usize, bytes: usize) -> Vec<Part> {
        assert!(count * bytes <= self.map.len(), "the parts lie inside");
        (0..count)
            .map(|index| Part {
                arena: self.clone(),
                start: index * bytes,
                bytes,
            })
            .collect()
    }

    /// The bytes of a span, to send. Its item must still be pinned.
    pub fn pinned(&self, span: Span) -> &[u8] {
        debug_assert!(span.at + span.len() <= self.map.len());
        // SAFETY: spans are made by `Part::span` inside its range; rule 2 of the head of this file
        // keeps the bytes unwritten while the item is pinned.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(span.at), span.len()) }
    }
}

fn map_reserved(bytes: usize) -> io::Result<MmapMut> {
    let whole = bytes.next_multiple_of(1 << HUGE_LOG2);
    MmapOptions::new()
        .len(whole)
        .huge(Some(HUGE_LOG2))
        .map_anon()
}

fn map_ordinary(bytes: usize, huge: HugePages) -> io::Result<MmapMut> {
    let map = MmapOptions::new().len(bytes).map_anon()?;
    // Large pages spare TLB misses, and are given only where they are wanted.
    let wish = match huge {
        HugePages::Off => Advice::NoHugePage,
        _ => Advice::HugePage,
    };
    let _ = map.advise(wish);
    Ok(map)
}

/// A range of the arena with one owner.
pub struct Part {
    arena: Arc<Arena>,
    start: usize,
    bytes: usize,
}

impl Part {
    /// Bytes to read.
    pub fn read(&self, at: usize, bytes: usize) -> &[u8] {
        let start = self.checked(at, bytes);
        // SAFETY: inside the mapping (checked), which `self.arena` keeps alive; written only
        // through `&mut self` (rule 1).
        unsafe { std::slice::from_raw_parts(start, bytes) }
    }

    /// Bytes to write. Never those of a pinned item's value.
    pub fn write(&mut self, at: usize, bytes: usize) -> &mut [u8] {
        let start = self.checked(at, bytes);
        // SAFETY: inside the mapping (checked), which `self.arena` keeps alive; this part is the
        // only one with this range (rule 1), and no span covers these bytes (rule 2).
        unsafe { std::slice::from_raw_parts_mut(start, bytes) }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Gives the whole pages between two places back to the kernel. No item may have bytes there.
    ///
    /// # Errors
    /// The kernel does not take them.
    pub fn give_back(&mut self, from: usize, end: usize) -> io::Result<()> {
        self.checked(from, end - from);
        self.arena.give_back(self.start + from, self.start + end)
    }

    /// Names bytes that are about to be pinned, for [`Arena::pinned`].
    pub fn span(&self, at: usize, bytes: usize) -> Span {
        self.checked(at, bytes);
        Span {
            at: self.start + at,
            bytes: bytes as u32,
        }
    }

    fn checked(&self, at: usize, bytes: usize) -> *mut u8 {
        let end = at.checked_add(bytes);
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "outside of its part"
        );
        // SAFETY: `cut` has placed the whole part inside the mapping, and `at` is inside the part.
        unsafe { self.arena.map.as_mut_ptr().add(self.start + at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_apart() {
        for huge in [HugePages::Try, HugePages::Off] {
            let arena = Arena::reserve(4 << 20, huge).unwrap();
            let mut parts = arena.cut(2, 2 << 20);
            parts[0].write(0, 2 << 20).fill(1);
            parts[1].write(0, 2 << 20).fill(2);
            let span = parts[0].span((2 << 20) - 3, 3);
            assert_eq!(arena.pinned(span), [1, 1, 1]);
            assert_eq!(parts[1].read(0, 2), [2, 2]);
            assert_eq!(parts[0].read(4096, 2), [1, 1]);
        }
    }

    #[test]
    #[should_panic(expected = "outside of its part")]
    fn no_part_reaches_into_the_next() {
        let arena = Arena::reserve(2 << 20, HugePages::Off).unwrap();
        arena.cut(2, 1 << 20)[0].read((1 << 20) - 1, 2);
    }
}

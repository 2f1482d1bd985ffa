//! The local cache: a few pages in the region, for blocks that remote hits keep coming back to. It
//! works in pages of 4 KiB, whatever the block size, four ways to a set. Tags live apart from the
//! content, so that content can be given back to the kernel (punched) while tags stay mapped.
//!
//! ```text
//!  tag (64 bytes)
//!  +-------+-------+-------+-------+-------+-------+---------+--------+
//!  | seq   | dev   | ino   | birth | page  | epoch | version | used   |
//!  +-------+-------+-------+-------+-------+-------+---------+--------+
//!   seq:  count << 16 | owner << 1 | busy      (rule S2: even and unchanged around the copy)
//!   used: 0 nobody has found it yet, 1 a reader has, 2 read ahead and not wanted yet. A filler of
//!         a full set takes one that is 0; a page that was read ahead becomes 0 when it is read: it
//!         has done its service, and must not be taken before
//!  set = 4 tags; sets beyond `active` are out of use (their content may be punched)
//! ```
//!
//! A filler that dies leaves its tag busy; the hook server frees it on proof of death. Content
//! moves through `copy`; the caller of `find` re-checks the version cells after the copy (rule S3).

use crate::ident::{FileIdent, block_hash};
use crate::sync::{AtomicU64, Ordering, fence};

/// Bytes of one page of the local cache.
pub const PAGE_BYTES: usize = 4096;
/// Tags in a set.
pub const WAYS: usize = 4;

const BUSY: u64 = 1;
const COUNT_ONE: u64 = 1 << 16;

/// One tag: one cache line.
#[repr(C, align(64))]
pub struct Tag {
    seq: AtomicU64,
    dev: AtomicU64,
    ino: AtomicU64,
    birth_ns: AtomicU64,
    page: AtomicU64,
    epoch: AtomicU64,
    version: AtomicU64,
    used: AtomicU64,
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<Tag>() == 64);

/// Why a page is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was read, again and again.
    Wanted,
    /// It is about to be read, once.
    Ahead,
}

/// Values of `used`.
const UNUSED: u64 = 0;
const USED: u64 = 1;
const AWAITED: u64 = 2;

/// Which page, under which versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageKey {
    /// The file.
    pub ident: FileIdent,
    /// Number of the 4 KiB page in the file.
    pub page: u64,
    /// Epoch of the file.
    pub epoch: u64,
    /// Version of the block that the page lies in.
    pub version: u64,
}

/// A tag that matched, with the sequence count under which it did.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// Number of the tag, which is also the number of the content page.
    pub slot: usize,
    seq: u64,
}

/// The tags and how many sets of them are in use.
#[derive(Clone, Copy)]
pub struct Local<'a> {
    /// All tags, `WAYS` to a set; a power of two.
    pub tags: &'a [Tag],
    /// Sets in use (a word of the region's header).
    pub active: &'a AtomicU64,
}

impl Tag {
    /// An empty tag (for tests and the model; the region's memory starts out zeroed).
    pub fn empty() -> Tag {
        let zero = || AtomicU64::new(0);
        Tag {
            seq: zero(),
            dev: zero(),
            ino: zero(),
            birth_ns: zero(),
            page: zero(),
            epoch: zero(),
            version: zero(),
            used: zero(),
        }
    }

    fn key(&self) -> PageKey {
        PageKey {
            ident: FileIdent {
                dev: self.dev.load(Ordering::Relaxed),
                ino: self.ino.load(Ordering::Relaxed),
                birth_ns: self.birth_ns.load(Ordering::Relaxed),
            },
            page: self.page.load(Ordering::Relaxed),
            epoch: self.epoch.load(Ordering::Relaxed),
            version: self.version.load(Ordering::Relaxed),
        }
    }

    fn set_key(&self, key: PageKey) {
        self.dev.store(key.ident.dev, Ordering::Relaxed);
        self.ino.store(key.ident.ino, Ordering::Relaxed);
        self.birth_ns.store(key.ident.birth_ns, Ordering::Relaxed);
        self.page.store(key.page, Ordering::Relaxed);
        self.epoch.store(key.epoch, Ordering::Relaxed);
        self.version.store(key.version, Ordering::Relaxed);
    }

    fn claim(&self, seq: u64, owner: u16) -> bool {
        let busy = (seq & !0xFFFF) | u64::from(owner) << 1 | BUSY;
        self.seq
            .compare_exchange(seq, busy, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    fn release(&self, seq: u64) {
        self.seq
            .store((seq & !0xFFFF).wrapping_add(COUNT_ONE), Ordering::Release);
    }
}

impl Local<'_> {
    /// First tag of the set of a page, or `None` while that set is out of use.
    fn set(&self, file_hash: u64, page: u64) -> Option<usize> {
        let sets = self.tags.len() / WAYS;
        let set = block_hash(file_hash, page) as usize & sets.wrapping_sub(1);
        (sets != 0 && (set as u64) < self.active.load(Ordering::Relaxed)).then_some(set * WAYS)
    }

    /// Looks a page up. Copy its content, then ask `is_unchanged`, then re-check the cells.
    pub fn find(&self, file_hash: u64, key: PageKey) -> Option<Hit> {
        let first = self.set(file_hash, key.page)?;
        (first..first + WAYS).find_map(|slot| {
            let tag = &self.tags[slot];
            let seq = tag.seq.load(Ordering::Acquire);
            if seq & BUSY != 0 || tag.key() != key {
                return None;
            }
            match tag.used.load(Ordering::Relaxed) {
                UNUSED => tag.used.store(USED, Ordering::Relaxed),
                AWAITED => tag.used.store(UNUSED, Ordering::Relaxed),
                _ => {}
            }
            Some(Hit { slot, seq })
        })
    }

    /// Rule S2, second half: the tag is as it was when `find` matched it.
    pub fn is_unchanged(&self, hit: Hit) -> bool {
        fence(Ordering::Acquire);
        self.tags[hit.slot].seq.load(Ordering::Relaxed) == hit.seq
    }

    /// Where in the set that begins at `first` a page goes: where an older version of it is, where
    /// nothing is, or where nobody has found anything since the last time that all were in use.
    fn place(&self, first: usize, key: PageKey) -> usize {
        let set = &self.tags[first..first + WAYS];
        let start = (key.page ^ key.version) as usize % WAYS;
        let ways = || (0..WAYS).map(|nth| (start + nth) % WAYS);
        let is_older = |way: &usize| {
            let held = set[*way].key();
            held.ident == key.ident && held.page == key.page
        };
        let is_empty = |way: &usize| set[*way].key().ident == FileIdent::default();
        let is_unused = |way: &usize| set[*way].used.load(Ordering::Relaxed) == UNUSED;
        let way = ways()
            .find(is_older)
            .or_else(|| ways().find(is_empty))
            .or_else(|| ways().find(is_unused))
            .unwrap_or_else(|| {
                for tag in set {
                    tag.used.store(UNUSED, Ordering::Relaxed);
                }
                start
            });
        first + way
    }

    /// Puts a page in: claims a tag of its set, calls `copy_in` with the number of the content
    /// page, publishes. False: the set is out of use or busy.
    pub fn fill(
        &self,
        file_hash: u64,
        key: PageKey,
        owner: u16,
        why: Why,
        copy_in: impl FnOnce(usize),
    ) -> bool {
        let Some(first) = self.set(file_hash, key.page) else {
            return false;
        };
        let slot = self.place(first, key);
        let tag = &self.tags[slot];
        let seq = tag.seq.load(Ordering::Relaxed);
        if seq & BUSY != 0 || !tag.claim(seq, owner) {
            return false;
        }
        fence(Ordering::SeqCst);
        tag.set_key(key);
        let used = match why {
            Why::Wanted => UNUSED,
            Why::Ahead => AWAITED,
        };
        tag.used.store(used, Ordering::Relaxed);
        copy_in(slot);
        tag.release(seq);
        true
    }

    /// Empties tag `slot` and calls `punch` while nobody can fill it. False: it was busy.
    pub fn evict(&self, slot: usize, owner: u16, punch: impl FnOnce(usize)) -> bool {
        let tag = &self.tags[slot];
        let seq = tag.seq.load(Ordering::Relaxed);
        if seq & BUSY != 0 || !tag.claim(seq, owner) {
            return false;
        }
        fence(Ordering::SeqCst);
        tag.set_key(PageKey {
            ident: FileIdent::default(),
            page: 0,
            epoch: 0,
            version: 0,
        });
        punch(slot);
        tag.release(seq);
        true
    }

    /// Calls `visit` with the file of every page that is held (hook server: statistics).
    pub fn visit_held(&self, mut visit: impl FnMut(FileIdent)) {
        let idents = self.tags.iter().map(|tag| tag.key().ident);
        idents
            .filter(|ident| *ident != FileIdent::default())
            .for_each(&mut visit);
    }

    /// Frees the tags that a process now proved dead was filling.
    pub fn release_owner(&self, owner: u16) {
        for tag in self.tags {
            let seq = tag.seq.load(Ordering::Acquire);
            if seq & BUSY != 0 && (seq >> 1 & 0x7FFF) as u16 == owner {
                tag.set_key(PageKey {
                    ident: FileIdent::default(),
                    page: 0,
                    epoch: 0,
                    version: 0,
                });
                tag.release(seq);
            }
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_page_is_found_under_its_exact_key_only_and_not_beyond_the_active_sets() {
        let tags: Vec<Tag> = (0..64).map(|_| Tag::empty()).collect();
        let active = AtomicU64::new(16);
        let local = Local {
            tags: &tags,
            active: &active,
        };
        let ident = FileIdent {
            dev: 1,
            ino: 2,
            birth_ns: 3,
        };
        let key = PageKey {
            ident,
            page: 9,
            epoch: 4,
            version: 5,
        };
        assert!(local.fill(ident.hash(), key, 3, Why::Wanted, |_| ()));
        let hit = local.find(ident.hash(), key).expect("filled");
        assert!(local.is_unchanged(hit));
        assert!(
            local
                .find(ident.hash(), PageKey { version: 6, ..key })
                .is_none()
        );
        assert!(local.evict(hit.slot, 0, |_| ()));
        assert!(!local.is_unchanged(hit));
        assert!(local.find(ident.hash(), key).is_none());
        active.store(0, Ordering::Relaxed);
        assert!(!local.fill(ident.hash(), key, 3, Why::Wanted, |_| ()));
    }

    const FILE: FileIdent = FileIdent {
        dev: 1,
        ino: 2,
        birth_ns: 3,
    };

    /// The key of a page of the file.
    fn nth(page: u64) -> PageKey {
        PageKey {
            ident: FILE,
            page,
            epoch: 0,
            version: 0,
        }
    }

    #[test]
    fn a_full_set_gives_up_what_nobody_found() {
        let tags: Vec<Tag> = (0..WAYS).map(|_| Tag::empty()).collect();
        let active = AtomicU64::new(1);
        let local = Local {
            tags: &tags,
            active: &active,
        };
        let finds = |page| local.find(FILE.hash(), nth(page)).is_some();
        for page in [0, 4, 8, 12] {
            assert!(local.fill(FILE.hash(), nth(page), 1, Why::Wanted, |_| ()));
        }
        assert!([0, 4, 12].into_iter().all(finds), "room for all of them");
        assert!(local.fill(FILE.hash(), nth(16), 1, Why::Wanted, |_| ()));
        assert!(!finds(8) && [0, 4, 12, 16].into_iter().all(finds));
        assert!(local.fill(FILE.hash(), nth(20), 1, Why::Wanted, |_| ()));
        assert!(finds(20), "one of the four had to go");
    }

    #[test]
    fn what_was_read_ahead_stays_until_it_is_read_and_goes_first_then() {
        let tags: Vec<Tag> = (0..WAYS).map(|_| Tag::empty()).collect();
        let active = AtomicU64::new(1);
        let local = Local {
            tags: &tags,
            active: &active,
        };
        let fill = |page, why| assert!(local.fill(FILE.hash(), nth(page), 1, why, |_| ()));
        let finds = |page| local.find(FILE.hash(), nth(page)).is_some();
        [0, 4].into_iter().for_each(|page| fill(page, Why::Wanted));
        [8, 12].into_iter().for_each(|page| fill(page, Why::Ahead));
        assert!(finds(0));
        fill(16, Why::Ahead);
        assert!(!finds(4) && finds(8), "4 was the only one to spare");
        fill(20, Why::Ahead);
        assert!(!finds(8) && [0, 12, 16, 20].into_iter().all(finds));
    }

    #[test]
    fn a_dead_fillers_tag_comes_back_empty() {
        let tags: Vec<Tag> = (0..4).map(|_| Tag::empty()).collect();
        let active = AtomicU64::new(1);
        let local = Local {
            tags: &tags,
            active: &active,
        };
        assert!(tags[2].claim(0, 7));
        local.release_owner(7);
        assert_eq!(tags[2].seq.load(Ordering::Relaxed), COUNT_ONE);
    }
}

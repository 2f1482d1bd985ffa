//! Files that this process may go on changing in ways nobody counts: a writable mapping, an
//! asynchronous write, a ring, a stream that a fork has doubled. They are out of service in the
//! region, and in every region that this process joins later (`session`). A fork inherits the list
//! with what is on it.
//!
//! Nothing is ever taken off: nobody could say when. A process whose list is full never joins
//! another region than the one it is in.

use grid::cell;
use grid::ident::FileIdent;
use grid::region::Region;
use grid::sync::{AtomicU64, Ordering};

const FILES_MAX: usize = 256;

struct Entry {
    /// 0 free, 1 being written, 2 in use.
    state: AtomicU64,
    dev: AtomicU64,
    ino: AtomicU64,
    birth_ns: AtomicU64,
}

static ALL: [Entry; FILES_MAX] = [const {
    Entry {
        state: AtomicU64::new(0),
        dev: AtomicU64::new(0),
        ino: AtomicU64::new(0),
        birth_ns: AtomicU64::new(0),
    }
}; FILES_MAX];
static IS_FULL: AtomicU64 = AtomicU64::new(0);

impl Entry {
    fn ident(&self) -> Option<FileIdent> {
        (self.state.load(Ordering::Acquire) == 2).then(|| FileIdent {
            dev: self.dev.load(Ordering::Relaxed),
            ino: self.ino.load(Ordering::Relaxed),
            birth_ns: self.birth_ns.load(Ordering::Relaxed),
        })
    }
}

/// Puts a file on the list.
pub fn note(ident: FileIdent) {
    if all().any(|known| known == ident) {
        return;
    }
    for entry in &ALL {
        let free = &entry.state;
        if free
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            entry.dev.store(ident.dev, Ordering::Relaxed);
            entry.ino.store(ident.ino, Ordering::Relaxed);
            entry.birth_ns.store(ident.birth_ns, Ordering::Relaxed);
            return entry.state.store(2, Ordering::Release);
        }
    }
    IS_FULL.store(1, Ordering::Relaxed);
}

/// Whether a file may be missing from the list.
pub fn is_full() -> bool {
    IS_FULL.load(Ordering::Relaxed) != 0
}

/// The files on the list.
pub fn all() -> impl Iterator<Item = FileIdent> {
    ALL.iter().filter_map(Entry::ident)
}

/// Takes all of them out of service in a region that the process is about to join.
pub fn renew(region: &Region) {
    for ident in all() {
        cell::poison(&region.cells().file(ident.hash()).epoch);
    }
}

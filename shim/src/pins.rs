//! Files out of service while a stream of this process may write them. One entry per descriptor of
//! such a stream; the mark itself is an operation record in the region, so that the hook server
//! releases it when the process dies.
//!
//! A fork duplicates the stream with its buffered bytes: who flushes them, and when, is unknown
//! from then on. So a process that holds pins when it forks gives those files up for the session.

use grid::sync::{AtomicU64, Ordering};
use grid::writes;

use crate::session::{self, Member};
use crate::sys::file::stat_fd;
use crate::{classify, write};

/// Streams for writing that are tracked; one more takes its file out of service for good.
const PINS: usize = 256;

struct Pin {
    /// Descriptor + 1, 0 free, u64::MAX being changed.
    fd: AtomicU64,
    hash: AtomicU64,
    op: AtomicU64,
}

const CHANGING: u64 = u64::MAX;

static ALL: [Pin; PINS] = [const {
    Pin {
        fd: AtomicU64::new(0),
        hash: AtomicU64::new(0),
        op: AtomicU64::new(0),
    }
}; PINS];

/// A stream that may write has been opened on `fd`.
pub fn pin(fd: i32) {
    if session::config().is_none() {
        return;
    }
    let Ok(stat) = stat_fd(fd) else { return };
    if classify::eligible(fd, &stat).is_err() {
        return;
    }
    let Some(member) = session::join() else {
        return;
    };
    unpin(fd);
    let hash = stat.ident.hash();
    if !enter(member, fd, hash) {
        write::poison(member, hash);
    }
}

fn enter(member: Member, fd: i32, hash: u64) -> bool {
    let swap = |pin: &&Pin| {
        pin.fd
            .compare_exchange(0, CHANGING, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    };
    let (Some(slot), Some(pin)) = (member.slot, ALL.iter().find(swap)) else {
        return false;
    };
    let (cells, ops) = (member.region().cells(), member.region().ops());
    match writes::pin(cells, ops, slot, hash) {
        Some(op) => {
            pin.hash.store(hash, Ordering::Relaxed);
            pin.op.store(op as u64, Ordering::Relaxed);
            pin.fd.store(fd as u64 + 1, Ordering::Release);
            true
        }
        None => {
            pin.fd.store(0, Ordering::Release);
            false
        }
    }
}

/// The stream on `fd` has been closed.
pub fn unpin(fd: i32) {
    let Some(member) = session::member() else {
        return;
    };
    for pin in &ALL {
        let mine = fd as u64 + 1;
        if fd >= 0
            && pin
                .fd
                .compare_exchange(mine, CHANGING, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            let (cells, ops) = (member.region().cells(), member.region().ops());
            let hash = pin.hash.load(Ordering::Relaxed);
            writes::unpin(cells, ops, hash, pin.op.load(Ordering::Relaxed) as usize);
            pin.fd.store(0, Ordering::Release);
        }
    }
}

/// After a `freopen`: the old stream's number is unpinned unless a new stream has it.
pub fn unpin_unless_open(fd: i32, failed: bool) {
    if failed || stat_fd(fd).is_err() {
        unpin(fd);
    }
}

/// Before a fork: the child inherits the streams. Their files are given up.
pub fn before_fork() {
    let Some(member) = session::member() else {
        return;
    };
    for pin in &ALL {
        if pin.fd.load(Ordering::Acquire) != 0 {
            write::poison(member, pin.hash.load(Ordering::Relaxed));
        }
    }
}
